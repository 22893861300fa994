"""Scripts: help, exit codes, and errors that are one line."""

import pathlib
import subprocess
import sys

import pytest

_SCRIPT = '''"""Says hello."""
from absl import flags
from deeplab import common
from deeplab.cli import script

def define_flags(flag_values=flags.FLAGS):
    common.define_flags(flag_values)
    common.definer("hello", flag_values)("string", "name", None, "Whom to greet.")

def main(argv):
    errors = {"value": ValueError("bad value\\nand more"), "file": FileNotFoundError("no file"),
              "loss": FloatingPointError("not finite"), "bug": KeyError("a bug"),
              "stop": KeyboardInterrupt(),
              "traced": ValueError("in user code:\\n  File x\\n    ValueError: bad weights\\n"),
              "graph": ValueError("Graph execution error:\\n\\nDetected at node x\\n{{node y}} bad"
                                  "\\n\\t [[{{node z}}]] [Op:__inference_step]")}
    if flags.FLAGS.name == "operation":
        import tensorflow as tf
        tf.io.decode_png(b"no image")
    if flags.FLAGS.name in errors:
        raise errors[flags.FLAGS.name]
    print("hello", flags.FLAGS.name)

if __name__ == "__main__":
    script.run(main, define_flags, required=("name",))
'''


@pytest.fixture
def run(tmp_path: pathlib.Path):
    file = tmp_path / "hello.py"
    file.write_text(_SCRIPT)
    root = pathlib.Path(__file__).resolve().parents[2]

    def call(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, str(file), *arguments],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
            check=False,
        )

    return call


def test_a_script_runs(run):
    done = run("--name=you")
    assert (done.returncode, done.stdout) == (0, "hello you\n")


@pytest.mark.parametrize("flag", ["--help", "-h", "--helpshort"])
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
        ("file", "error: no file"),
        ("loss", "error: not finite"),
        ("traced", "error: bad weights"),
        ("graph", "error: bad"),
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
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr


def test_where_an_error_was_raised_is_shown_on_demand(run):
    done = run("--name=value", "--verbosity=1")
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1] == "error: bad value"


def test_an_interrupt_is_one_line(run):
    done = run("--name=stop")
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")


def test_a_mistake_in_the_program_keeps_its_traceback(run):
    done = run("--name=bug")
    assert done.returncode == 1
    assert "KeyError: 'a bug'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--name=you", "stray"), "error: unexpected argument 'stray'"),
        (("--name=you", "--merge_method=sum"), "error: flag --merge_method=sum"),
        (("--name=you", "--multi_grid=one"), "error: flag --multi_grid=one"),
        (("--name=you", "--no_such_flag=1"), "error: Unknown command line flag 'no_such_flag'"),
        ((), "error: flag --name=None: it must be given"),
        (("--name=",), "error: flag --name=: it must be given"),
    ],
)
def test_a_wrong_flag_is_one_line(run, arguments, message):
    done = run(*arguments)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(message)
