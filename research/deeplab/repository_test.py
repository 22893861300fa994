"""Tests that the files which tools read agree with `setup.py` and `.ci/run`, and of the style."""

import ast
import functools
import pathlib
import re
import subprocess

import yaml
from packaging import requirements

import deeplab

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_PYTHONS = ("3.11", "3.12", "3.13")


def _yaml(name: str) -> dict:
    return yaml.safe_load((_ROOT / name).read_text(encoding="utf-8"))


@functools.cache
def _required() -> dict[str, requirements.SpecifierSet]:
    """Return the versions of Python and of each package that setup.py accepts."""
    found = {}
    for node in ast.walk(ast.parse((_ROOT / "setup.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "python_requires":
            found["python"] = requirements.SpecifierSet(node.value.value)
        if isinstance(node, ast.Constant) and re.match(r"[\w-]+>=", str(node.value)):
            requirement = requirements.Requirement(node.value)
            found[requirement.name] = requirement.specifier
    return found


def test_the_public_workflow_runs_what_ci_runs_on_every_python():
    (job,) = _yaml(".github/workflows/ci.yml")["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert tuple(job["strategy"]["matrix"]["python"]) == _PYTHONS


def test_the_environment_is_made_with_a_python_that_setup_accepts():
    assert all(map(_required()["python"].contains, _PYTHONS))
    assert not _required()["python"].contains("3.10")
    script = (_ROOT / "tools/environment.sh").read_text(encoding="utf-8")
    assert " ".join(f"python{version}" for version in _PYTHONS) in script


def test_the_page_of_versions_has_those_of_setup():
    page = (_ROOT / "research/deeplab/g3doc/installation.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| ([\d.]+) \| ([\d.]+) \|$", page, re.MULTILINE)
    assert {name for name, *_ in rows} == {"tensorflow", "keras", "tensorboard", "numpy"}
    for name, first, end in rows:
        assert _required()[name] == requirements.SpecifierSet(f">={first},<{end}"), name


def test_the_oldest_versions_are_those_that_setup_begins_with():
    script = (_ROOT / "tools/test_oldest.sh").read_text(encoding="utf-8")
    expression = re.search(r"sed -nE '(.+)' setup.py", script)[1]
    output = subprocess.run(
        ["sed", "-nE", expression, _ROOT / "setup.py"], capture_output=True, text=True, check=True
    ).stdout
    pinned = [requirements.Requirement(line) for line in output.split()]
    assert {found.name for found in pinned} == {"tensorflow", "keras", "tensorboard", "numpy"}
    for found in pinned:
        (oldest,) = (s.version for s in _required()[found.name] if s.operator == ">=")
        assert str(found.specifier) == f"=={oldest}.*"


def test_pre_commit_checks_the_style_as_ci_does():
    (repository,) = _yaml(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    commands = [hook["entry"].partition(" --")[0] for hook in repository["hooks"]]
    assert commands == ["ruff check", "ruff format"]
    for hook in repository["hooks"]:
        (ruff,) = map(requirements.Requirement, hook["additional_dependencies"])
        assert ruff.specifier == _required()[ruff.name]


def test_no_docstring_begins_as_a_question():
    """A phrase such as "What a file has" says less than "The content of a file" or a verb."""
    folders = ("benchmarks", "research", "tools")
    paths = [path for folder in folders for path in sorted((_ROOT / folder).rglob("*.py"))]
    found = [path for path in paths if re.search(r'^ *"{3}What ', path.read_text("utf-8"), re.M)]
    assert paths
    assert not found


def test_the_citation_is_of_this_version():
    citation = _yaml("CITATION.cff")
    assert citation["version"] == deeplab.__version__
    assert citation["license"] == "Apache-2.0"
    readme = (_ROOT / "README.md").read_text(encoding="utf-8")
    assert citation["preferred-citation"]["title"] in readme


def test_the_change_log_names_the_modules_that_have_moved():
    text = (_ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    moved = re.findall(r"^\| `(deeplab\.[\w.]+)` \| `(deeplab\.[\w.]+)` \|$", text, re.MULTILINE)
    assert len(moved) > 20
    for old, new in moved:
        assert not _is_module(old), old
        assert _is_module(new), new


def _is_module(name: str) -> bool:
    path = _ROOT / "research" / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()
