"""Runs a script: its flags, its help, and errors of one line."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence

from absl import app, flags, logging

from deeplab.utils import error_text

_HELP = frozenset({"-h", "-help", "--help", "-helpshort", "--helpshort"})


def run(
    main: Callable[[Sequence[str]], int | None],
    define_flags: Callable[[], None],
    required: Iterable[str] = (),
    *,
    cpu_only: bool = False,
) -> None:
    """Define the flags, parse them, run `main`, and exit with its return value.

    A `ValueError`, `OSError` or `ArithmeticError` (the errors of bad flags, files, records and
    losses) or an error of a TensorFlow operation ends the script with one line on standard error
    and exit code 1. `--verbosity=1` also shows where it was raised.

    Args:
        main: takes the arguments that are not flags; returns an exit code or None.
        define_flags: defines the script's flags in `flags.FLAGS`.
        required: names of the flags that must be given.
        cpu_only: keep TensorFlow from using GPUs, whose memory other programs may need.
    """
    # Hide TensorFlow's notes about its own build, but not its errors.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    define_flags()
    for name in required:
        flags.register_validator(name, bool, message="it must be given, and not be empty")
    if _HELP.intersection(sys.argv[1:]):
        print(_help(sys.modules[main.__module__].__doc__ or ""))
        sys.exit(0)
    app.run(lambda argv: _main(_on_cpu(main) if cpu_only else main, argv), flags_parser=_parse)


def _on_cpu(main: Callable[[Sequence[str]], int | None]) -> Callable[[Sequence[str]], int | None]:
    def on_cpu(argv: Sequence[str]) -> int | None:
        import tensorflow as tf

        tf.config.set_visible_devices([], "GPU")
        return main(argv)

    return on_cpu


def _parse(argv: Sequence[str]) -> Sequence[str]:
    """Return the arguments that are not flags; end the script if a flag cannot be parsed."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        sys.exit(_fail(f"{error_text.one_line(error)} (--help lists the flags)"))


def _main(main: Callable[[Sequence[str]], int | None], argv: Sequence[str]) -> int | None:
    logging.use_absl_handler()
    if len(argv) > 1:
        return _fail(f"unexpected argument {argv[1]!r}: every option is a flag, --name=value")
    try:
        return main(argv)
    except (ValueError, OSError, ArithmeticError) as error:
        return _fail(error)
    except KeyboardInterrupt:
        _fail("interrupted")
        return 130
    except Exception as error:
        if not _raised_by_tensorflow(error):
            raise
        return _fail(error)


def _fail(error: Exception | str) -> int:
    if isinstance(error, Exception) and flags.FLAGS.verbosity > 0:
        logging.exception("the script failed")
    print(f"error: {error_text.one_line(error)}", file=sys.stderr)
    return 1


def _raised_by_tensorflow(error: Exception) -> bool:
    """Return whether an operation failed, without importing TensorFlow."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(error, tensorflow.errors.OpError)


def _help(description: str) -> str:
    """Return the script's description and its flags, without those of the flag library."""
    modules = flags.FLAGS.flags_by_module_dict()
    ours = [name for name in modules if not name.startswith("absl.")]
    # A script's own flags come first, then the shared ones.
    ours.sort(key=lambda name: (name == "deeplab.common", name))
    return "\n".join([description.strip(), *(flags.FLAGS.module_help(name) for name in ours)])
