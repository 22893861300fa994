"""Tests that the page of the architecture names files, functions and fields that exist."""

import ast
import functools
import pathlib
import re
import tomllib

_PACKAGE = pathlib.Path(__file__).resolve().parent
_PAGE = _PACKAGE / "g3doc/architecture.md"
_TEXT = _PAGE.read_text(encoding="utf-8")
# Code spans that are not Python names of a linked file.
_OTHERS = {"core", "datasets", "visualization", "weights", "model_options.json"}


def _paragraphs() -> list[str]:
    """Return the paragraphs of the page; a row of a table or an item of a list is one, too."""
    text = re.sub(r"^```.*?^```$", "", _TEXT, flags=re.MULTILINE | re.DOTALL)
    return re.split(r"\n\n|\n(?=\d+\. |\| )", text)


def _linked(paragraph: str) -> list[pathlib.Path]:
    """Return the modules that a paragraph links to."""
    links = re.findall(r"\]\(([^)#]+\.py)\)", paragraph)
    return [(_PAGE.parent / link).resolve() for link in links]


@functools.cache
def _names(path: pathlib.Path) -> frozenset[str]:
    """Return the names that a module defines or imports, fields and arguments included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(getattr(node, "id", getattr(node, "attr", None)))
    return frozenset(names)


def _spans(paragraph: str) -> list[str]:
    """Return the code spans of a paragraph that may be Python names."""
    return re.findall(r"`([A-Za-z_][\w.]*)`", paragraph)


def test_a_module_that_a_paragraph_links_to_has_what_the_paragraph_names():
    checked = 0
    for paragraph in _paragraphs():
        modules = _linked(paragraph)
        defined = frozenset().union(*map(_names, modules))
        for span in _spans(paragraph):
            if span in _OTHERS or (_PACKAGE / span).exists():
                continue
            # Without the object that it is looked up on, such as `options.atrous_rates`.
            missing = set(span.split(".")) - defined - {"options"}
            assert not missing, f"{span}: {[path.name for path in modules]} have no {missing}"
            checked += 1
    assert checked > 40


def test_a_method_belongs_to_the_class_that_it_is_named_with():
    for paragraph in _paragraphs():
        for owner, method in re.findall(r"`([A-Z]\w+)\.(\w+)`", paragraph):
            bodies = {
                node.name: {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
                for path in _linked(paragraph)
                for node in ast.parse(path.read_text(encoding="utf-8")).body
                if isinstance(node, ast.ClassDef)
            }
            # `from_flags` is set from outside, by the module that knows flags.
            assert method in bodies.get(owner, ()) or method == "from_flags", f"{owner}.{method}"


def _check_order(text: str) -> None:
    """Check that a text has the layers of the contract in their order, below the scripts."""
    settings = tomllib.loads((_PACKAGE.parents[1] / "pyproject.toml").read_text())
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    # The scripts are not all listed.
    place = text.index("scripts")
    for layer in layers[1:]:
        starts = []
        for name in layer.split("|"):
            match = re.search(rf"\b{name.strip(' ()')}\b", text)
            # A folder that is optional in the contract may be missing here, too.
            assert match or "(" in name, f"{name.strip()} is missing"
            starts += [match.start()] if match else []
        assert min(starts) > place, layer
        place = max(starts)


def test_the_drawing_has_every_folder_in_the_order_of_the_contract():
    (drawing,) = re.findall(r"^```\n(.*?)^```$", _TEXT, flags=re.MULTILINE | re.DOTALL)
    _check_order(drawing)


def test_the_page_for_contributors_has_every_folder_in_the_order_of_the_contract():
    text = (_PACKAGE.parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (rule,) = re.findall(r"Imports run one way: (.*?)\. ", text, flags=re.DOTALL)
    _check_order(rule)
