"""Scripts: help, exit codes, and errors that are one line."""

import functools
import pathlib
import signal
import subprocess
import sys

import pytest
from absl import flags

from deeplab.cli import script

# Each case takes half a second, for a process of its own.
_slow = functools.partial(pytest.param, marks=pytest.mark.slow)

_SCRIPT = '''"""Says hello."""
import signal
from absl import flags
from deeplab import common
from deeplab.cli import script
from deeplab.utils import files

def define_flags(flag_values=flags.FLAGS):
    common.define_flags(flag_values)
    common.definer("hello", flag_values)("string", "name", None, "Whom to greet.")

def main(argv):
    errors = {"value": ValueError("bad value\\nand more"), "file": FileNotFoundError("no file"),
              "loss": FloatingPointError("not finite"), "bug": KeyError("a bug"),
              "zero": ZeroDivisionError("division by zero"),
              "stop": KeyboardInterrupt(),
              "traced": ValueError("in user code:\\n  File x\\n    ValueError: bad weights\\n"),
              "graph": ValueError("Graph execution error:\\n\\nDetected at node x\\n{{node y}} bad"
                                  "\\n\\t [[{{node z}}]] [Op:__inference_step]")}
    if flags.FLAGS.name == "operation":
        import tensorflow as tf
        tf.io.decode_png(b"no image")
    if flags.FLAGS.name.startswith("/"):
        open(flags.FLAGS.name + "/file")
    if flags.FLAGS.name.startswith("not_utf8"):
        flags.FLAGS.name.encode()
    if flags.FLAGS.name == "interrupted_import":
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("initialization failed")
    if flags.FLAGS.name.startswith("terminated:"):
        with files.replacing_folder(flags.FLAGS.name.removeprefix("terminated:")):
            print("terminating", flush=True)
            signal.raise_signal(signal.SIGTERM)
            print("still there")
    if flags.FLAGS.name in errors:
        raise errors[flags.FLAGS.name]
    print("hello", flags.FLAGS.name)

if __name__ == "__main__":
    script.run(main, define_flags, required=("name",))
'''

# Presses Ctrl-C when a module of the package is looked for, and hides that as C extensions do.
_INTERRUPTING_IMPORTS = """
import signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "deeplab.common":
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                raise ImportError("initialization failed")

sys.meta_path.insert(0, Finder())
"""


@pytest.fixture
def run(tmp_path: pathlib.Path):
    file = tmp_path / "hello.py"
    file.write_text(_SCRIPT)
    root = pathlib.Path(__file__).resolve().parents[2]

    def call(*arguments: str | bytes) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, str(file), *arguments],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
            check=False,
            # Tests in the background may have been started to ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    return call


def test_a_script_runs(run):
    done = run("--name=you")
    assert (done.returncode, done.stdout) == (0, "hello you\n")


@pytest.mark.slow
def test_an_unknown_file_system_ends_the_script_before_it_begins(run):
    done = run("--name=xyz://a/b")
    assert done.returncode == 1
    assert "hello" not in done.stdout
    assert done.stderr.splitlines()[-1].startswith("error: --name=xyz://a/b: TensorFlow knows no")


@pytest.mark.parametrize("flag", ["--help", _slow("-h"), _slow("--helpshort")])
def test_help_shows_the_scripts_own_flags_first_and_no_library_flags(run, flag):
    done = run(flag)
    assert done.returncode == 0
    assert done.stdout.startswith("Says hello.")
    assert done.stdout.index("--name: Whom to greet.") < done.stdout.index("--model_variant")
    assert "--stderrthreshold" not in done.stdout


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("value", "error: bad value"),
        _slow("file", "error: no file"),
        _slow("loss", "error: not finite"),
        _slow("traced", "error: bad weights"),
        _slow("graph", "error: bad"),
    ],
)
def test_an_error_is_one_line(run, name, line):
    done = run(f"--name={name}")
    assert done.returncode == 1
    assert done.stderr == line + "\n"


@pytest.mark.slow
def test_the_error_of_an_operation_is_one_line(run):
    done = run("--name=operation")
    assert done.returncode == 1
    # Without what TensorFlow says about itself.
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")


@pytest.mark.slow
def test_where_an_error_was_raised_is_shown_on_demand(run):
    done = run("--name=value", "--verbosity=1")
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1] == "error: bad value"


def test_an_interrupt_is_one_line(run):
    done = run("--name=stop")
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")


def test_a_mistake_in_the_program_is_one_line_that_asks_for_a_report(run):
    done = run("--name=bug")
    assert done.returncode == 1
    assert done.stderr == (
        "error: KeyError: 'a bug' (this is a fault of the program: please report it, with the"
        " traceback that --verbosity=1 shows)\n"
    )
    done = run("--name=bug", "--verbosity=1")
    assert "Traceback" in done.stderr
    assert "KeyError: 'a bug'" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: KeyError: 'a bug' (")


@pytest.mark.slow
def test_an_error_of_arithmetic_is_a_mistake_in_the_program(run):
    assert run("--name=zero").stderr == (
        "error: ZeroDivisionError: division by zero (this is a fault of the program: please report"
        " it, with the traceback that --verbosity=1 shows)\n"
    )


@pytest.mark.slow
def test_an_interrupt_that_arrives_as_another_exception_is_one_line(run):
    done = run("--name=interrupted_import")
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")


@pytest.mark.slow
def test_an_interrupt_while_a_command_imports_is_one_line(tmp_path):
    """Before `run` is called, and even if the import makes another exception of it."""
    (tmp_path / "sitecustomize.py").write_text(_INTERRUPTING_IMPORTS)
    root = pathlib.Path(__file__).resolve().parents[2]
    train = root / "deeplab" / "train.py"
    for program in (["-m", "deeplab.train"], [str(train)]):
        done = subprocess.run(
            [sys.executable, *program, "--help"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"PYTHONPATH": f"{tmp_path}:{root}", "PATH": "/usr/bin:/bin"},
            check=False,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        assert (done.returncode, done.stderr, done.stdout) == (130, "error: interrupted\n", "")


def test_a_program_that_imports_the_package_keeps_its_signals(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import deeplab, signal\n"
        "assert signal.getsignal(signal.SIGINT) is not deeplab.leave, 'replaced'\n"
    )
    root = pathlib.Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, str(program)], env={"PYTHONPATH": str(root)}, check=True)


def test_sigterm_removes_temporary_files(run, tmp_path):
    done = run(f"--name=terminated:{tmp_path / 'export'}")
    assert (done.returncode, done.stdout) == (143, "terminating\n")
    assert [path.name for path in tmp_path.iterdir()] == ["hello.py"]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x81", _slow(b"--name=\x80\n")])
def test_a_binary_flag_file_is_one_line(run, tmp_path, content):
    path = tmp_path / "flags.txt"
    path.write_bytes(content)
    done = run(f"--flagfile={path}")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: --flagfile={path} cannot be read: ")


@pytest.mark.slow
def test_a_name_that_is_no_text_is_one_line(run):
    done = run(b"--name=not_utf8:\xff")
    assert done.returncode == 1
    assert done.stderr == (
        "error: 'not_utf8:\\udcff' is not a name in UTF-8, so TensorFlow cannot use it: rename it\n"
    )


def test_an_error_of_a_file_names_its_flag(run, tmp_path):
    done = run(f"--name={tmp_path}/missing")
    assert done.returncode == 1
    assert done.stderr == (
        f"error: [Errno 2] No such file or directory: '{tmp_path}/missing/file' (--name)\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--name=you", "stray"), "error: unexpected argument 'stray'"),
        _slow(("--name=you", "--merge_method=sum"), "error: flag --merge_method=sum"),
        _slow(
            ("--name=you", "--label_weights=nan"), "error: --label_weights is [nan]; it must be a"
        ),
        _slow(("--name=you", "--multi_grid=0"), "error: --multi_grid is [0]; it must be a list of"),
        _slow(("--name=you", "--multi_grid=one"), "error: flag --multi_grid=one"),
        (("--name=you", "--no_such_flag=1"), "error: Unknown command line flag 'no_such_flag'"),
        _slow((), "error: flag --name=None: it must be given"),
        _slow(("--name=",), "error: flag --name=: it must be given"),
    ],
)
def test_a_wrong_flag_is_one_line(run, arguments, message):
    done = run(*arguments)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(message)


def test_a_stray_word_of_a_flag_file_names_the_file(tmp_path):
    file = tmp_path / "flags.txt"
    file.write_text("--name=you\nstray\n")
    values = flags.FlagValues()
    flags.DEFINE_string("name", None, "A name.", flag_values=values)
    with pytest.raises(ValueError, match=f"^unexpected argument 'stray'.*--flagfile={file}, too$"):
        script.parse(["script", f"--flagfile={file}"], values)


@pytest.mark.parametrize("word", ["--sides=1\n2,3", "--no\nsuch=3"])
def test_a_line_break_in_a_flag_cuts_nothing_off(word):
    values = flags.FlagValues()
    flags.DEFINE_list("sides", None, "Sides.", flag_values=values)
    with pytest.raises(ValueError, match=r"\\n.* \(--help lists the flags\)$") as error:
        script.parse(["script", word], values)
    assert "\n" not in str(error.value)
