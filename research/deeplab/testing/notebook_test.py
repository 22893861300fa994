"""The notebook runner."""

import json
import subprocess

import pytest

from deeplab.testing import notebook


def _write(folder, *sources):
    cells = [{"cell_type": "code", "source": source.splitlines(True)} for source in sources]
    cells.insert(0, {"cell_type": "markdown", "source": ["1 / 0"]})
    path = folder / "test.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    return path


def test_cells_share_their_names_and_show_what_they_give(tmp_path):
    path = _write(
        tmp_path, "a = 1\nprint('one')", "!echo \\\n  two\n!python -c 'print(3)'", "a + 3"
    )
    run, names = notebook.run(path)
    assert names["a"] == 1
    outputs = [cell["outputs"] for cell in run["cells"][1:]]
    assert outputs[0][0]["text"] == ["one\n"]
    assert outputs[1][0]["text"] == ["two\n", "3\n"]
    assert outputs[2][0]["data"] == {"text/plain": ["4"]}


def test_a_cell_or_a_command_that_fails_is_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError):
        notebook.run(_write(tmp_path, "1 / 0"))
    with pytest.raises(subprocess.CalledProcessError):
        notebook.run(_write(tmp_path, "!exit 3"))
