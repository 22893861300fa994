"""Runs a notebook without Jupyter, and stores the outputs in it.

    python -m deeplab.testing.notebook g3doc/fine_tuning.ipynb folder_to_run_in

Lines that begin with `!` are commands of the shell, as in Jupyter. The
outputs of a cell are its standard output and the value of its last line, as a picture or HTML if it
is one. Of IPython, there is `display.IFrame`.
"""

import ast
import base64
import contextlib
import io
import json
import os
import pathlib
import shlex
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from deeplab.utils import files

# The folder of the package, for shell commands.
_ROOT = pathlib.Path(__file__).parents[2]


class IFrame:
    """A page in a notebook, as `IPython.display.IFrame` shows it.

    Args:
        src: Path or address of the page.
        width: Pixels, or a share such as "100%".
        height: The same.
    """

    def __init__(self, src: str, width: int | str, height: int | str):
        self.src, self.width, self.height = src, width, height

    def _repr_html_(self) -> str:
        return f'<iframe width="{self.width}" height="{self.height}" src="{self.src}"></iframe>'


@contextlib.contextmanager
def _ipython() -> Iterator[None]:
    """Let `IPython.display` be imported, as Jupyter has it; only what notebooks use is there."""
    package, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    package.display, display.IFrame = display, IFrame
    modules = {"IPython": package, "IPython.display": display}
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module


def code(cell: dict[str, Any]) -> str:
    """Return the source of a cell."""
    return "".join(cell["source"])


def run(
    path: str | os.PathLike[str], run_module: Callable[[str, Sequence[str]], None] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the cells of a notebook in turn, in the working directory.

    Args:
        path: Path of the notebook.
        run_module: Takes the module and the arguments of a command `python -m`, and runs it in this
            process, which saves the time of importing TensorFlow. None: commands are processes.

    Returns:
        The notebook with new outputs, and the names that its cells defined.

    Raises:
        Exception: A cell fails. For a command it is a `subprocess.CalledProcessError`.
    """
    notebook = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for count, cell in enumerate(cells, start=1):
        output = io.StringIO()
        with contextlib.redirect_stdout(output), _ipython():
            value = _run(code(cell), names, run_module)
        cell["execution_count"] = count
        cell["outputs"] = []
        if text := output.getvalue():
            lines = text.splitlines(keepends=True)
            cell["outputs"].append({"name": "stdout", "output_type": "stream", "text": lines})
        if value is not None:
            cell["outputs"].append(
                {
                    "data": _shown(value),
                    "execution_count": count,
                    "metadata": {},
                    "output_type": "execute_result",
                }
            )
    return notebook, names


def _run(
    source: str,
    names: dict[str, Any],
    run_module: Callable[[str, Sequence[str]], None] | None,
) -> Any:
    """Run a cell; return the value of its last line, if that is an expression."""
    commands = source.replace("\\\n", " ").splitlines()
    if source.startswith("!"):
        for command in commands:
            match shlex.split(command.removeprefix("!")):
                case ["python", "-m", module, *arguments] if run_module:
                    run_module(module, arguments)
                case _:
                    _shell(command.removeprefix("!"))
        return None
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None


def _shell(command: str) -> None:
    """Run a command with this Python and this copy of the package; print its output."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(_ROOT)}
    done = subprocess.run(
        command, shell=True, check=True, env=environment, stdout=subprocess.PIPE, text=True
    )
    print(done.stdout, end="")


def _shown(value: Any) -> dict[str, Any]:
    """Return a value in the form of Jupyter's outputs."""
    if draw := getattr(value, "_repr_png_", None):
        return {"image/png": base64.b64encode(draw()).decode(), "text/plain": ["<picture>"]}
    if draw := getattr(value, "_repr_html_", None):
        return {"text/html": [draw()], "text/plain": ["<page>"]}
    return {"text/plain": repr(value).splitlines(keepends=True)}


def main(path: str, folder: str) -> None:
    """Run a notebook in a folder and store its outputs in it."""
    path = os.path.abspath(path)
    os.chdir(folder)
    notebook, _ = run(path)
    files.write_text(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
