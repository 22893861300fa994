"""The registry of backbones: nothing else in the package knows their names."""

import ast
import inspect
import pathlib
import re

import pytest

from deeplab.core import feature_extractor

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]
_BACKBONES = feature_extractor.BACKBONES
_NAMES = {*_BACKBONES, *(backbone.scope for backbone in _BACKBONES.values())}
# A name of the registry or of a scope, or what lies in a scope.
_PATTERN = re.compile(rf"({'|'.join(sorted(_NAMES))})(/.*)?")


def _constants(path: pathlib.Path) -> set[str]:
    """The strings in the code of a module; none if it names no backbone."""
    text = path.read_text(encoding="utf-8")
    if not _PATTERN.search(text):
        return set()
    nodes = ast.walk(ast.parse(text))
    return {
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def _knows_names(path: pathlib.Path) -> bool:
    """Whether a module is one that may: of a backbone, or about published checkpoints."""
    if path.parent == _PACKAGE / "core":
        modules = filter(inspect.ismodule, vars(feature_extractor).values())
        backbones = {pathlib.Path(module.__file__ or "") for module in modules}
        return path in backbones or path.stem == "feature_extractor"
    # The default of an option.
    return path.parent == _PACKAGE / "zoo" or path.stem == "model_options"


def _modules() -> list[pathlib.Path]:
    return [
        path
        for path in sorted(_PACKAGE.rglob("*.py"))
        if not re.search(r"_test\.py$|/conftest\.py$|/testing/", str(path))
    ]


def test_no_other_module_names_a_backbone():
    named = {
        str(path.relative_to(_PACKAGE)): found
        for path in _modules()
        if not _knows_names(path) and (found := set(filter(_PATTERN.fullmatch, _constants(path))))
    }
    assert not named


def test_an_unknown_name_is_an_error_that_lists_the_known_ones():
    with pytest.raises(
        ValueError, match="--model_variant is 'resnet'; .*mobilenet_v2.*xception_71"
    ):
        feature_extractor.get_backbone("resnet")
