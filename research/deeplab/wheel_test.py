"""Tests of the wheel: its contents, the order of its imports, and its commands.

`pyproject.toml` has the order of the imports. It is checked here, on what users install.
"""

import ast
import collections
import configparser
import functools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator
from concurrent import futures

import pytest

_PACKAGE = pathlib.Path(__file__).resolve().parent
_ROOT = _PACKAGE.parents[1]
_TEST = re.compile(r"testing/.*|(.*/)?(conftest|\w+_test)\.py")
# Runs the backend that pip runs, without downloads.
_BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> pathlib.Path:
    """Build the wheel in a copy of the checkout, so that no build folder is left behind."""
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(_ROOT / name, source)
    # The last three are what the official scripts download.
    ignored = shutil.ignore_patterns(
        *("__pycache__", "*.egg-info", "pascal_voc_seg", "ADE20K", "cityscapes")
    )
    shutil.copytree(_ROOT / "research", source / "research", ignore=ignored)
    built = source / "built"
    built.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _BUILD, str(built)], cwd=source, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (path,) = built.glob("deeplab-*.whl")
    return path


@pytest.fixture(scope="module")
def tree(wheel, tmp_path_factory) -> pathlib.Path:
    """Unpack the wheel; return the folder."""
    folder = tmp_path_factory.mktemp("tree")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def nodes(tree) -> dict[pathlib.Path, list[ast.AST]]:
    """Parse every module of the wheel; return its nodes."""
    return {
        path: list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        for path in sorted((tree / "deeplab").rglob("*.py"))
    }


def _run(tree: pathlib.Path, folder: pathlib.Path, *command: str) -> subprocess.CompletedProcess:
    """Run this Python in a folder, with the wheel's package in place of the checkout's."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
    )


def _files(folder: pathlib.Path, pattern: str = "*") -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob(pattern) if path.is_file()}


def _modules(package: pathlib.Path) -> list[pathlib.Path]:
    """Return the modules of a package without its tests."""
    return [
        path
        for path in sorted(package.rglob("*.py"))
        if not _TEST.fullmatch(str(path.relative_to(package)))
    ]


def _name(node: ast.AST) -> str:
    """Return the name that an expression reads, without the object that it belongs to."""
    return getattr(node, "id", getattr(node, "attr", ""))


def test_the_wheel_holds_every_module_script_recipe_and_page_and_nothing_else(tree):
    modules = {str(path.relative_to(_PACKAGE)) for path in _modules(_PACKAGE)}
    recipes = {f"recipes/{name}" for name in _files(_PACKAGE / "recipes")}
    scripts = {f"datasets/{name}" for name in _files(_PACKAGE / "datasets", "*.sh")}
    page = {f"visualization/page.{kind}" for kind in ("css", "js")}
    assert recipes
    assert scripts
    assert _files(tree / "deeplab") == modules | recipes | scripts | page


def test_the_wheel_imports_nothing_of_this_project_that_it_does_not_hold(tree, nodes):
    exists = functools.cache(os.path.exists)
    for path, statements in nodes.items():
        for node in statements:
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for name in names:
                if name.partition(".")[0] == "deeplab":
                    module = tree.joinpath(*name.split("."))
                    # A package or a module, or what either defines.
                    inside = module.parent
                    found = (module, pathlib.Path(f"{module}.py"), inside.with_suffix(".py"))
                    found += (inside / "__init__.py",) if inside.name != "deeplab" else ()
                    assert any(map(exists, found)), f"{path.name} imports {name}"


def test_imports_follow_the_order_of_the_folders(tree):
    """Imports in functions and behind TYPE_CHECKING count; no files import each other."""
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = _run(tree, tree, "-c", command, "--no-cache", "--no-logo", str(_ROOT / "pyproject.toml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_import_is_hidden_from_the_order(nodes):
    for path, expressions in nodes.items():
        hidden = {"import_module", "__import__"}.intersection(map(_name, expressions))
        assert not hidden, f"{path.name}: {hidden}"


def test_the_order_has_no_exceptions():
    settings = tomllib.loads((_ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert len(settings["contracts"]) == 3
    known = {"name", "type", "containers", "layers", "exhaustive", "ancestors"}
    known |= {"source_modules", "forbidden_modules"}
    assert set().union(*settings["contracts"]) == known
    assert settings.keys() == {"root_packages", "contracts"}


def test_no_folder_is_a_grab_bag(tree, nodes):
    lines = collections.Counter()
    for path in nodes:
        folder = path.relative_to(tree / "deeplab").parts[0]
        lines[folder] += len(path.read_text(encoding="utf-8").splitlines())
    shares = {folder: count / lines.total() for folder, count in lines.items()}
    assert shares.pop("core") <= 0.30
    assert max(shares.values()) <= 0.25, shares
    assert lines["utils"] < 1800


def test_only_scripts_and_what_defines_their_flags_read_flags(tree, nodes):
    package = tree / "deeplab"
    allowed = {package / "common.py"}
    allowed |= {file for file, _ in _commands(tree).values()}
    for path, expressions in nodes.items():
        if path not in allowed and path.parent != package / "cli":
            assert "FLAGS" not in map(_name, expressions), path.relative_to(package)


def test_only_the_place_where_graphs_run_is_ambient(nodes):
    """Everything else that decides what a function does is an argument or in a value."""
    ambient = {
        path.name
        for path, expressions in nodes.items()
        for node in expressions
        if isinstance(node, ast.Attribute)
        and f"{_name(node.value)}.{node.attr}" in ("contextvars.ContextVar", "threading.local")
    }
    assert ambient == {"depthwise.py"}


def test_one_file_imports_private_parts(nodes):
    private = re.compile(r"(keras\.src|tensorflow\.(core|python|lite\.python))\b")
    files = {
        path.name
        for path, statements in nodes.items()
        for node in statements
        if isinstance(node, ast.ImportFrom)
        and private.match(node.module or "")
        or isinstance(node, ast.Import)
        and any(private.match(alias.name) for alias in node.names)
    }
    assert files == {"keras_internals.py"}


@pytest.mark.parametrize(
    "folder",
    [
        *("annotations", "core", "export", "serving", "sharing", "training", "utils"),
        *("visualization", "weights", "zoo"),
    ],
)
def test_a_library_does_not_import_flags(tree, nodes, folder):
    for path, statements in nodes.items():
        if path.is_relative_to(tree / "deeplab" / folder):
            for node in statements:
                names = {each.name for each in getattr(node, "names", ()) if hasattr(each, "name")}
                known = isinstance(node, ast.ImportFrom) and node.module == "absl"
                assert not (known and names & {"app", "flags"}), path.relative_to(tree)


def _commands(tree: pathlib.Path) -> dict[str, tuple[pathlib.Path, str]]:
    """Return the file of each installed command, and the Python that starts it."""
    (path,) = tree.glob("deeplab-*.dist-info/entry_points.txt")
    entries = configparser.ConfigParser()
    entries.read(path)
    commands = {}
    for name, value in entries["console_scripts"].items():
        module, function = value.split(":")
        file = tree.joinpath(*module.split(".")).with_suffix(".py")
        commands[name] = (file, f"from {module} import {function}; {function}()")
    return commands


@pytest.mark.slow
def test_every_command_of_the_wheel_gives_help_from_any_folder(tree, tmp_path):
    """It prints its own description, and does not import TensorFlow, which takes seconds."""
    check = "\nimport atexit, sys; atexit.register(lambda: print('tensorflow' in sys.modules))\n"
    commands = _commands(tree)
    assert {f"deeplab-{name}" for name in ("train", "eval", "vis", "export-model")} <= set(commands)
    with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = {
            name: pool.submit(_run, tree, tmp_path, "-c", check + start, "--help")
            for name, (_, start) in commands.items()
        }
    for name, (file, _) in commands.items():
        done = runs[name].result()
        assert done.returncode == 0, done.stderr
        description = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
        assert done.stdout.startswith(description.splitlines()[0])
        assert done.stdout.endswith("\nFalse\n"), f"{name} --help imports TensorFlow"


def test_the_wheel_finds_its_recipes(tree, tmp_path):
    command = "from deeplab.zoo import flag_files; print(*sorted(flag_files.RECIPES.iterdir()))"
    done = _run(tree, tmp_path, "-c", command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == sorted(map(str, (tree / "deeplab/recipes").iterdir()))


# The demo draws hundreds of images, and its network has more layers.
_FEW_IMAGES = {"deeplab-make-sample-data": ["--num_train=3", "--num_val=2"]}
_SHORT_TRAINING = (
    "--model_variant=resnet_v1_18_beta",
    "--depth_multiplier=1",
    "--train_crop_size=33,33",
    "--train_batch_size=2",
    "--training_number_of_steps=2",
)
# What runs without tracing, which takes longer than a few steps or images.
_EAGER = ("deeplab-train", "deeplab-eval", "deeplab-vis")
# Runs commands in forks of a process that has imported TensorFlow, which takes seconds.
_SERVER = """
import os, sys, traceback
from multiprocessing import connection
import tensorflow

def run(start, arguments, eager):
    sys.argv = arguments
    tensorflow.config.run_functions_eagerly(eager)
    try:
        exec(start, {"__name__": "__main__"})
    except SystemExit as end:
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0

with connection.Listener(sys.argv[1]) as listener:
    while True:
        with listener.accept() as client:
            request = client.recv()
            if not (child := os.fork()):
                code = run(*request)
                sys.stdout.flush()
                os._exit(code)
            client.send(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
_CLIENT = """#!{python}
import sys
from multiprocessing import connection
with connection.Client({address!r}) as server:
    server.send(({start!r}, sys.argv + {more!r}, {eager!r}))
    sys.exit(server.recv())
"""


@pytest.fixture
def programs(tree, tmp_path) -> Iterator[pathlib.Path]:
    """Yield a folder with the commands of the wheel, and a process that runs them."""
    folder, address = tmp_path / "bin", str(tmp_path / "server")
    folder.mkdir()
    for name, (_, start) in _commands(tree).items():
        more, eager = _FEW_IMAGES.get(name, []), name in _EAGER
        values = {"start": start, "more": more, "eager": eager, "address": address}
        (folder / name).write_text(_CLIENT.format(python=sys.executable, **values))
        (folder / name).chmod(0o755)
    with open(tmp_path / "log", "wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", _SERVER, address],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tree)},
            stdout=log,
            stderr=log,
        )
        while server.poll() is None and not os.path.exists(address):
            time.sleep(0.1)
        yield folder
        server.terminate()
        server.wait()


@pytest.mark.slow
def test_the_demo_runs_from_the_wheel(tree, programs, tmp_path):
    """Two steps of training, in an empty folder, with the recipes of the wheel."""
    done = subprocess.run(
        [_ROOT / "tools/demo.sh", tree / "deeplab/recipes/sample", *_SHORT_TRAINING],
        cwd=tmp_path,
        env={**os.environ, "PATH": os.pathsep.join([str(programs), os.environ["PATH"]])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "log").read_text()
    demo = tmp_path / "demo"
    assert (demo / "eval/eval.json").is_file()
    assert (demo / "report/report.html").is_file()
    assert list((demo / "vis/segmentation_results").glob("*_panel.png"))
    assert list((demo / "predictions").glob("*_panel.png"))
