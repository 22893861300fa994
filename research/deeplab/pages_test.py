"""What the pages and the files of the repository name is there: modules, files, versions."""

import ast
import functools
import importlib
import pathlib
import re

import pytest
import yaml
from packaging import requirements

import deeplab

_PACKAGE = pathlib.Path(__file__).resolve().parent
_ROOT = _PACKAGE.parents[1]
_PAGES = [
    *sorted(_ROOT.glob("*.md")),
    *sorted((_ROOT / "benchmarks").glob("*.md")),
    *sorted((_PACKAGE / "recipes").glob("*.md")),
    *sorted((_PACKAGE / "g3doc").glob("*.md")),
]
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Files that pages tell the reader to write, by page.
_OF_THE_READER = {
    "new_backbone.md": {"core/small_net.py", "core/small_net_test.py"},
    "cluster.md": {"worker.sh"},
}


def _ids(page: pathlib.Path) -> str:
    return str(page.relative_to(_ROOT))


def _without_history(page: pathlib.Path) -> str:
    """A page's text; of the change log, nothing that names what has gone."""
    return "" if page.name == "CHANGELOG.md" else page.read_text(encoding="utf-8")


def _exists(name: str) -> bool:
    """Whether a dotted name is a module, or something that a module or a class has."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        module = ".".join(parts[:count])
        file = _PACKAGE.parent.joinpath(*parts[:count])
        if file.is_dir() or file.with_suffix(".py").is_file():
            found = importlib.import_module(module)
            return _has(found, parts[count:])
    return False


def _has(found: object, attributes: list[str]) -> bool:
    for attribute in attributes:
        if not hasattr(found, attribute):
            return False
        found = getattr(found, attribute)
    return True


@pytest.mark.parametrize("page", _PAGES, ids=_ids)
def test_the_modules_that_a_page_names_are_there(page):
    names = set(re.findall(r"\bdeeplab(?:\.\w+)+", _without_history(page)))
    names -= {name for name in names if re.search(r"\.(git|tflite|onnx|json|whl)$", name)}
    missing = {name for name in names if not _exists(name)}
    assert not missing - {f"deeplab.{file[:-3].replace('/', '.')}" for file in _mine(page)}


def _mine(page: pathlib.Path) -> set[str]:
    return _OF_THE_READER.get(page.name, set())


@pytest.mark.parametrize("page", _PAGES, ids=_ids)
def test_what_the_code_of_a_page_imports_is_there(page):
    mine = {pathlib.PurePath(file).stem for file in _mine(page)}
    for block in _PYTHON.findall(_without_history(page)):
        try:
            nodes = list(ast.walk(ast.parse(block)))
        except SyntaxError:
            # An entry of a dictionary, to be put into one.
            nodes = list(ast.walk(ast.parse(f"{{{block}}}")))
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and node.module.startswith("deeplab"):
                names = {alias.name for alias in node.names} - mine
                assert all(_exists(f"{node.module}.{name}") for name in names), ast.unparse(node)


@pytest.mark.parametrize("page", _PAGES, ids=_ids)
def test_the_files_that_a_page_names_are_there(page):
    subjects = ("datasets", "evaluation")
    folders = (
        page.parent,
        _PACKAGE,
        _PACKAGE.parent,
        _ROOT,
        *(_PACKAGE / subject for subject in subjects),
    )
    for name in re.findall(r"`((?:\w+/)*\w+\.(?:py|sh|ipynb))`", _without_history(page)):
        found = any((folder / name).is_file() for folder in folders)
        assert found or name in _mine(page), name


@functools.cache
def _requirements() -> dict[str, requirements.SpecifierSet]:
    """The versions that setup.py takes of each package, and of Python."""
    found = {}
    for node in ast.walk(ast.parse((_ROOT / "setup.py").read_text())):
        if isinstance(node, ast.keyword) and node.arg == "python_requires":
            found["python"] = requirements.SpecifierSet(node.value.value)
        if isinstance(node, ast.Constant) and re.match(r"[\w-]+>=", str(node.value)):
            requirement = requirements.Requirement(node.value)
            found[requirement.name] = requirement.specifier
    return found


def test_the_versions_of_the_installation_are_those_that_setup_takes():
    text = (_PACKAGE / "g3doc/installation.md").read_text()
    words = (
        r"(Python|TensorFlow|Keras|NumPy) (\d+(?:\.\d+)*)((?:, \d+\.\d+)*(?: (?:to|or) \d+\.\d+)?)"
    )
    named = set()
    for name, first, others in re.findall(words, text):
        for number in [first, *re.findall(r"\d+\.\d+", others)]:
            specifier = _requirements()[name.lower()]
            # "NumPy 2" is any of it.
            numbers = [number] if "." in number else [f"{number}.{minor}" for minor in range(50)]
            assert any(map(specifier.contains, numbers)), f"{name} {number}, not {specifier}"
            named.add(name)
    assert named >= {"Python", "TensorFlow", "Keras"}


def _yaml(name: str) -> dict:
    return yaml.safe_load((_ROOT / name).read_text(encoding="utf-8"))


def test_the_public_workflow_runs_what_ci_runs_on_every_python():
    (job,) = _yaml(".github/workflows/ci.yml")["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    pythons = [f"3.{minor}" for minor in range(11, 14)]
    assert job["strategy"]["matrix"]["python"] == pythons
    assert _requirements()["python"].contains(pythons[0])
    assert not _requirements()["python"].contains("3.10")


def test_pre_commit_checks_the_style_as_ci_does():
    (repository,) = _yaml(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    commands = [hook["entry"].partition(" --")[0] for hook in repository["hooks"]]
    assert commands == ["ruff check", "ruff format"]
    for hook in repository["hooks"]:
        (ruff,) = map(requirements.Requirement, hook["additional_dependencies"])
        assert ruff.specifier == _requirements()[ruff.name]


def test_the_citation_is_of_this_version():
    citation = _yaml("CITATION.cff")
    assert citation["version"] == deeplab.__version__
    assert citation["license"] == "Apache-2.0"
    readme = (_ROOT / "README.md").read_text()
    assert citation["preferred-citation"]["title"] in readme
