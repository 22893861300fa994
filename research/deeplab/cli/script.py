"""Runs a script: its flags, its help, signals, and errors of one line."""

import os
import re
import signal
import sys
import types
from collections.abc import Callable, Collection, Iterable, Sequence

from absl import app, flags, logging

import deeplab
from deeplab import common
from deeplab.cli import flag_sources, path_flags, remarks
from deeplab.core import error_text

_HELP = frozenset({"-h", "-help", "--help", "-helpshort", "--helpshort"})
# Exit codes of a process that a signal ends, as shells report them.
_INTERRUPTED = 128 + signal.SIGINT
_TERMINATED = 128 + signal.SIGTERM
# Raised for bad flags, files, records and losses. Other errors of arithmetic are mistakes.
_EXPECTED = ValueError | OSError | FloatingPointError


def run(
    main: Callable[[Sequence[str]], int | None],
    define_flags: Callable[[], None],
    required: Iterable[str] = (),
    *,
    local: Collection[str] = (),
    cpu_only: bool = False,
) -> None:
    """Define the flags, parse them, run `main` and exit with its return value.

    An exception ends the script with one line on standard error and exit code 1; `--verbosity=1`
    shows its traceback. SIGTERM ends it, too, after temporary files are removed.

    Args:
        main: Takes the arguments that are not flags; returns an exit code or None.
        define_flags: Defines the script's flags in `flags.FLAGS`.
        required: Names of the flags that must be given.
        local: Names of the flags whose files must be on this machine, not in another file system.
        cpu_only: Keep TensorFlow from using GPUs, whose memory other programs may need.
    """
    remarks.hide()
    # File names may hold bytes that are not text.
    sys.stdout.reconfigure(errors="backslashreplace")
    interrupts = _Interrupts()
    define_flags()
    for name in required:
        flags.register_validator(name, bool, message="it must be given, and not be empty")
    if _HELP.intersection(sys.argv[1:]):
        print(_help(sys.modules[main.__module__].__doc__ or ""))
        sys.exit(0)
    called = _on_cpu(main) if cpu_only else main

    def checked(argv: Sequence[str]) -> int | None:
        path_flags.check_file_systems(flags.FLAGS, local)
        return called(argv)

    app.run(lambda argv: _main(checked, argv, interrupts), flags_parser=_parse)


def arguments(flag_values: flags.FlagValues, leave_out: Iterable[str] = ()) -> list[str]:
    """Return the flags that were given, those of flag files too, as the arguments of a command.

    Args:
        flag_values: Parsed flags.
        leave_out: Names of flags that are left out.
    """
    given: list[str] = []
    for name in flag_values:
        flag = flag_values[name]
        if not flag.present or name in leave_out or name in ("flagfile", "undefok"):
            continue
        if isinstance(flag, flags.MultiFlag):
            given += [f"--{name}={value}" for value in flag.value]
        else:
            given.append(flag.serialize())
    return given


def _on_cpu(main: Callable[[Sequence[str]], int | None]) -> Callable[[Sequence[str]], int | None]:
    def on_cpu(argv: Sequence[str]) -> int | None:
        import tensorflow as tf

        tf.config.set_visible_devices([], "GPU")
        return main(argv)

    return on_cpu


class _Interrupts:
    """Turns SIGTERM into an exit that removes temporary files, and notes Ctrl-C.

    Attributes:
        received: Whether there was a Ctrl-C. During an import it may arrive as another exception.
    """

    def __init__(self):
        self.received = False
        # A process in the background may have been started to ignore signals.
        if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._terminate)
        if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, deeplab.leave):
            signal.signal(signal.SIGINT, self._interrupt)

    def _terminate(self, number: int, frame: types.FrameType | None) -> None:
        del number, frame
        # A second one ends it at once.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.exit(_TERMINATED)

    def _interrupt(self, number: int, frame: types.FrameType | None) -> None:
        self.received = True
        signal.default_int_handler(number, frame)


def parse(argv: Sequence[str], flag_values: flags.FlagValues) -> Sequence[str]:
    """Parse the flags, and check the ranges of all numbers.

    Args:
        argv: The command line, with the name of the program.
        flag_values: The flags that are defined.

    Returns:
        The name of the program.

    Raises:
        ValueError: A flag is unknown, or its value is wrong; an argument is not a flag; or
            a flag file cannot be read.
    """
    files_given = " ".join(word for word in argv if word.lstrip("-").startswith("flagfile"))
    origin = f"; flags come from {files_given}, too" if files_given else ""
    try:
        arguments = flag_values([argv[0], *flag_sources.merge(argv[1:], flag_values)])
    except flags.Error as error:
        # It quotes the value, which may have line breaks.
        reason = error_text.shortened(error_text.escaped(str(error).strip()))
        message = f"{reason} (--help lists the flags{origin})"
        raise ValueError(message) from None
    except (ValueError, OSError) as error:
        reason = error_text.shortened(error_text.one_line(error))
        message = f"{files_given} cannot be read: {reason}"
        raise ValueError(message) from None
    if len(arguments) > 1:
        word = error_text.shortened(repr(arguments[1]))
        message = f"unexpected argument {word}: every option is a flag, --name=value{origin}"
        raise ValueError(message)
    try:
        common.check_ranges(flag_values)
    except ValueError as error:
        raise ValueError(f"{error}{origin}") from None
    return arguments


def _parse(argv: Sequence[str]) -> Sequence[str]:
    """Return the arguments that are not flags; end the script if one cannot be parsed."""
    try:
        return parse(argv, flags.FLAGS)
    except ValueError as error:
        sys.exit(_fail(str(error)))


def _main(
    main: Callable[[Sequence[str]], int | None], argv: Sequence[str], interrupts: _Interrupts
) -> int | None:
    logging.use_absl_handler()
    try:
        return main(argv)
    except KeyboardInterrupt:
        _fail("interrupted")
        return _INTERRUPTED
    except Exception as error:
        if interrupts.received:
            _fail("interrupted")
            return _INTERRUPTED
        return _fail(error)


def _fail(error: Exception | str) -> int:
    """Print the error as one line; return the exit code."""
    if isinstance(error, Exception) and flags.FLAGS.verbosity > 0:
        logging.exception("the script failed")
    print(f"error: {_message(error)}", file=sys.stderr)
    return 1


def _message(error: Exception | str) -> str:
    message = error_text.one_line(error)
    if isinstance(error, UnicodeError) and isinstance(error.object, str):
        return f"{error.object!a} is not a name in UTF-8, so TensorFlow cannot use it: rename it"
    if isinstance(error, OSError) or error_text.is_of_tensorflow(error):
        return message + _flag_of(message)
    if isinstance(error, MemoryError):
        return f"not enough memory: {message}"
    if isinstance(error, _EXPECTED | str):
        return message
    return (
        f"{type(error).__name__}: {message} (this is a fault of the program: please report it, with"
        " the traceback that --verbosity=1 shows)"
    )


def _flag_of(message: str) -> str:
    """Return the flag whose path an error is about, such as " (--vis_logdir)"; "" without one."""
    if "--" in message:
        return ""
    paths = {}
    for name in flags.FLAGS:
        value = flags.FLAGS[name].value
        # The value, as a path or the beginning of one; a word such as "val" is none.
        if (
            isinstance(value, str)
            and (os.sep in value or (len(value) > 2 and os.path.lexists(value)))
            and re.search(rf"(^|['\"\s]){re.escape(value)}($|['\"\s:/])", message)
        ):
            paths[name] = value
    return f" (--{max(paths, key=lambda name: len(paths[name]))})" if paths else ""


def _help(description: str) -> str:
    """Return the script's description and its flags, without those of the flag library."""
    modules = flags.FLAGS.flags_by_module_dict()
    ours = [name for name in modules if not name.startswith("absl.")]
    # A script's own flags come first, then the shared ones.
    ours.sort(key=lambda name: (name == "deeplab.common", name))
    return "\n".join([description.strip(), *(flags.FLAGS.module_help(name) for name in ours)])
