"""Tests that code outside the package uses only names of the package that exist.

Benchmarks, tools and notebooks take too long to run with the fast tests.
"""

import ast
import importlib
import json
import pathlib
import types
from collections.abc import Iterator

import pytest

from deeplab.testing import notebook

_PACKAGE = pathlib.Path(__file__).parent
_ROOT = _PACKAGE.parents[1]
_FILES = [
    path
    for pattern in ("benchmarks/*.py", "tools/*.py", "research/deeplab/**/*.ipynb")
    for path in sorted(_ROOT.glob(pattern))
]


def _tree(path: pathlib.Path) -> ast.Module:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = map(notebook.code, json.loads(text)["cells"])
        kinds = [cell["cell_type"] for cell in json.loads(text)["cells"]]
        codes = [code for code, kind in zip(cells, kinds, strict=True) if kind == "code"]
        text = "\n".join(code for code in codes if not code.startswith(("!", "%")))
    return ast.parse(text)


def _imported(tree: ast.Module) -> Iterator[tuple[str, object]]:
    """Yield the names that come from the package, and what they are."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "deeplab":
            for alias in node.names:
                try:
                    value = importlib.import_module(f"{node.module}.{alias.name}")
                except ModuleNotFoundError:
                    value = getattr(importlib.import_module(node.module), alias.name)
                yield alias.asname or alias.name, value


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.name)
def test_names_of_the_package_exist(path):
    tree = _tree(path)
    imported = dict(_imported(tree))
    own = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    missing = [
        f"{node.value.id}.{node.attr}, line {node.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id not in own
        and isinstance(imported.get(node.value.id), types.ModuleType)
        and not hasattr(imported[node.value.id], node.attr)
    ]
    assert not missing


def test_there_is_code_outside_the_package():
    assert {path.suffix for path in _FILES} == {".py", ".ipynb"}
