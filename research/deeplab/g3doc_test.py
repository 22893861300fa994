"""Tests of the documentation: its flags, commands, links, code and file names exist."""

import ast
import functools
import importlib
import json
import pathlib
import re
import shlex
import string

import pytest
import yaml
from absl import flags

from deeplab.export import server_files
from deeplab.testing import golden

_PACKAGE = pathlib.Path(__file__).parent
_README = _PACKAGE.parents[1] / "README.md"
_PAGES = [
    *sorted(_README.parent.glob("*.md")),
    _PACKAGE / "recipes/README.md",
    *sorted((_PACKAGE / "g3doc").glob("*.md")),
]
_BENCHMARKS = _README.parent / "benchmarks/README.md"
_OFFICIAL = json.loads((golden.DATA / "flags.json").read_text())

# Scripts that share flags, and the modules that define these flags.
_SHARED_FLAGS = {
    **dict.fromkeys(("model_info", "make_recipe"), ("common.py",)),
    "train": ("common.py", "cli/augmentation_flags.py"),
    **dict.fromkeys(("eval", "export_model"), ("common.py", "cli/crf_flags.py")),
    "vis": ("common.py", "cli/crf_flags.py", "cli/augmentation_flags.py"),
    **dict.fromkeys(
        ("build_voc2012_data", "build_cityscapes_data", "build_ade20k_data"),
        ("datasets/build_data.py",),
    ),
}
_OUR_SCRIPTS = (
    "cli/crf_flags.py",
    "cli/augmentation_flags.py",
    "predict.py",
    "check_export.py",
    "make_recipe.py",
    "model_zoo.py",
    "model_info.py",
    "datasets/build_custom_data.py",
    "datasets/build_tfds_data.py",
    "datasets/check_data.py",
    "datasets/download_data.py",
    "datasets/make_sample_data.py",
)
_SCRIPTS = [*(path.removeprefix("deeplab/") for path in _OFFICIAL), *_OUR_SCRIPTS]
# A code block of a page: its language and its text.
_CODE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_STATUSES = {"same", "changed", "no effect", "ours"}

# Flags of other programs that pages mention: absl, run_tests.sh, tools/, pytest, TensorFlow's
# tools.
_FLAGS_OF_OTHERS = {
    *("flagfile", "help", "helpfull", "verbosity"),
    *("slow", "durations", "cases"),
    # The first words of pip's `--no-deps` and `--wheel-dir`.
    *("no", "wheel"),
    *("model_name", "model_base_path", "port", "rest_api_port", "dir", "all", "logdir"),
    *("model_config_file", "monitoring_config_file", "enable_batching"),
    *("batching_parameters_file", "enable_per_model_batching_parameters"),
    *("model_config_file_poll_wait_seconds", "ssl_config_file"),
    # Slurm's.
    *("nodes", "ntasks", "gpus", "cpus", "time", "requeue", "signal", "kill"),
    # Apache Beam's and those of its containers.
    *("direct_running_mode", "direct_num_workers", "flink_master", "parallelism"),
    *("environment_type", "environment_config", "job_endpoint", "worker_pool", "net", "spark"),
    *("project", "region", "temp_location", "sdk_container_image", "max_num_workers"),
    "experiments",
    # "--name=value", how a flag is written.
    "name",
}


def _module(script: str):
    return importlib.import_module("deeplab." + script.removesuffix(".py").replace("/", "."))


@functools.cache
def _defined(script: str) -> flags.FlagValues:
    values = flags.FlagValues()
    _module(script).define_flags(values)
    values.mark_as_parsed()
    return values


def _own_flags(script: str) -> set[str]:
    """Return the flags of a script that no other script shares."""
    shared = _SHARED_FLAGS.get(pathlib.PurePath(script).stem, ())
    return set(_defined(script)).difference(*map(_defined, shared))


def _written(default) -> str:
    """Return a default as it is written on the page."""
    if default is None or default == []:
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, list):
        return f"`{','.join(map(str, default))}`"
    return f"`{default}`" if default != "" else '`""`'


@functools.cache
def _tables() -> dict[str, dict[str, tuple[str, str]]]:
    """Return the default and status of each flag on the page, by script."""
    tables: dict[str, dict[str, tuple[str, str]]] = {}
    for line in (_PACKAGE / "g3doc/flags.md").read_text().splitlines():
        if heading := re.fullmatch(r"## `(.+)`", line):
            rows = tables.setdefault(heading[1], {})
        elif row := re.match(r"\| `--(\w+)` \| (.+?) \| (.+?) \| \S.* \|$", line):
            assert row[1] not in rows, f"{row[1]} is on the page twice"
            rows[row[1]] = (row[2], row[3])
    return tables


def test_the_page_of_flags_has_every_script():
    assert set(_tables()) == set(_SCRIPTS)
    assert len(_SCRIPTS) == len(set(_SCRIPTS))


@pytest.mark.parametrize("script", _SCRIPTS)
def test_the_page_of_flags_has_every_flag_with_its_default(script):
    defined = _defined(script)
    found = {name: default for name, (default, _) in _tables()[script].items()}
    assert found == {name: _written(defined[name].default) for name in _own_flags(script)}


def _official_default(flag: dict) -> str:
    text, kind = flag["default"], flag["type"]
    plain_text = kind in ("Flag/string", "EnumFlag/string enum") and text != "None"
    value = text if plain_text else ast.literal_eval(text)
    return _written(value)


@pytest.mark.parametrize("script", [path.removeprefix("deeplab/") for path in _OFFICIAL])
def test_the_page_of_flags_has_every_official_flag_with_its_official_default(script):
    rows = _tables()[script]
    official = {flag["name"]: _official_default(flag) for flag in _OFFICIAL[f"deeplab/{script}"]}
    assert {name: rows[name][0] for name in official} == official
    ours = {name for name, (_, status) in rows.items() if status == "ours"}
    assert ours == set(rows) - set(official)


@pytest.mark.parametrize("script", _SCRIPTS)
def test_the_page_of_flags_knows_what_has_no_effect(script):
    rows = _tables()[script]
    assert {status for _, status in rows.values()} <= _STATUSES
    module = _module(script)
    # A script without such flags has no list of them.
    unused = module.UNUSED_FLAGS if script == "common.py" else getattr(module, "_UNUSED_FLAGS", {})
    found = {name for name, row in rows.items() if row[1] == "no effect"}
    assert found == set(unused) & set(rows)


def _mentioned_flags(page: pathlib.Path) -> set[str]:
    return set(re.findall(r"(?<![\w-])--([a-zA-Z]\w*)", page.read_text()))


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_every_flag_that_a_page_mentions_is_there(page):
    known = set(_FLAGS_OF_OTHERS)
    for script in _SCRIPTS:
        defined = _defined(script)
        known |= set(defined)
        known |= {f"no{name}" for name in defined if defined[name].boolean}
    assert not _mentioned_flags(page) - known


def _commands(page: pathlib.Path) -> list[tuple[str, list[str]]]:
    """Return the scripts that a page calls, with the names of their flags."""
    called = re.compile(
        r"(?:deeplab-([\w-]+)|python -m deeplab\.([\w.]+)|python deeplab/([\w/]+)\.py)"
    )
    commands = []
    for language, block in _CODE.findall(page.read_text()):
        if language not in ("", "bash"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            if (match := called.search(line)) is None:
                continue
            name = match[1] or match[2] or match[3]
            stem = re.split(r"[./]", name)[-1].replace("-", "_")
            words = shlex.split(line[match.end() :], comments=True)
            given = [word[2:].partition("=")[0] for word in words if word.startswith("--")]
            commands.append((stem, given))
    return commands


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_every_command_gives_its_script_flags_that_it_has(page):
    scripts = {pathlib.PurePath(script).stem: script for script in _SCRIPTS}
    for stem, given in _commands(page):
        defined = _defined(scripts[stem])
        known = {*defined, *(f"no{name}" for name in defined if defined[name].boolean)}
        assert not set(given) - known - {"flagfile", "help"}, stem


def test_the_pages_call_every_script():
    """Check that the test above sees every script."""
    scripts = {pathlib.PurePath(script).stem for script in _SCRIPTS}
    scripts -= {"common", "crf_flags", "augmentation_flags", "build_data"}
    called = {stem for page in _PAGES for stem, _ in _commands(page)}
    assert called == scripts


def _links(page: pathlib.Path) -> list[str]:
    """Return the relative links of a page, including pictures."""
    text = _CODE.sub("", page.read_text())
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:href|src)="([^"]+)"', text)
    return [link for link in links if not re.match(r"[a-z]+:", link)]


@functools.cache
def _anchors(page: pathlib.Path) -> set[str]:
    """Return the anchors that GitHub creates for the headings of a page."""
    text = _CODE.sub("", page.read_text())
    kept = string.ascii_lowercase + string.digits + "-_ "
    return {
        "".join(letter for letter in title.lower() if letter in kept).strip().replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    }


@pytest.mark.parametrize("page", [*_PAGES, _BENCHMARKS], ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for link in _links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: there is no {target}"
        if anchor:
            assert anchor in _anchors(target), f"{link}: no such heading"


def test_the_index_has_every_page():
    index = _PACKAGE / "g3doc/README.md"
    linked = {link.partition("#")[0] for link in _links(index)}
    pages = {page.name for page in (_PACKAGE / "g3doc").glob("*.md")} - {index.name}
    assert pages <= linked


def test_the_yaml_of_pages_is_read():
    blocks = [
        block
        for page in _PAGES
        for language, block in _CODE.findall(page.read_text())
        if language == "yaml"
    ]
    assert blocks
    for block in blocks:
        for content in yaml.safe_load_all(block):
            assert isinstance(content, dict)


def test_servers_find_what_exports_write():
    """The commands and YAML of the page have the paths, names and ports of the files."""
    text = (_PACKAGE / "g3doc/serving.md").read_text()
    blocks = _CODE.findall(text)
    commands = "\n".join(block for language, block in blocks if language == "bash")
    (path,) = set(re.findall(r"--export_path=(models/\w+) --next_version", commands))
    folder, versions = path.split("/")
    name = server_files.model_name(versions)
    config = re.search(r'base_path: "(.*)"', server_files._model(versions))[1]
    assert config == f"/{folder}/{versions}"
    files = {f"/{folder}/{server_files.MODELS_FILE}", f"/{folder}/{server_files.MONITORING_FILE}"}
    assert set(re.findall(r"--\w+_config_file=(\S+)", commands)) == files
    assert set(re.findall(r'-v "\$PWD/(\w+):(\S+)"', commands)) == {(folder, f"/{folder}")}
    assert set(re.findall(r"/v1/models/(\w+)", text)) == {name}
    assert set(re.findall(r"localhost:(\d+)", text)) == {"8500", "8501"}
    manifests = [
        content
        for language, block in blocks
        if language == "yaml"
        for content in yaml.safe_load_all(block)
    ]
    deployment, service, inference = manifests
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    (mount,) = container["volumeMounts"]
    assert mount["mountPath"] == f"/{folder}"
    assert {arg.partition("=")[2] for arg in container["args"] if "=" in arg} == files
    ports = [each["containerPort"] for each in container["ports"]]
    assert ports == [each["port"] for each in service["spec"]["ports"]] == [8500, 8501]
    probe = container["readinessProbe"]["httpGet"]
    assert (probe["path"], probe["port"]) == (f"/v1/models/{name}", 8501)
    scraped = pod["metadata"]["annotations"]["prometheus.io/path"]
    assert f'path: "{scraped}"' in server_files._MONITORING
    assert service["spec"]["selector"] == pod["metadata"]["labels"]
    assert inference["spec"]["predictor"]["model"]["storageUri"] == f"pvc://{path}"
    asked = set(re.findall(r"--enable_\w+", commands))
    assert asked == {"--enable_batching", "--enable_per_model_batching_parameters"}
    assert "--enable" not in str(manifests)  # Their servers compute on CPU cores.


def _imports(page: pathlib.Path) -> list[tuple[str, str | None]]:
    """Return what the Python code of a page imports from this package: modules and names."""
    imported = []
    for language, block in _CODE.findall(page.read_text()):
        # Indented blocks are parts of a larger expression.
        if language != "python" or block.startswith(" "):
            continue
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                imported += [(node.module, alias.name) for alias in node.names]
            elif isinstance(node, ast.Import):
                imported += [(alias.name, None) for alias in node.names]
    return [each for each in imported if each[0].split(".")[0] == "deeplab"]


def test_the_code_of_pages_imports_what_is_there():
    found = {each for page in _PAGES for each in _imports(page)}
    assert len(found) > 10
    for module, name in found:
        loaded = importlib.import_module(module)
        if name is not None and not hasattr(loaded, name):
            importlib.import_module(f"{module}.{name}")


@pytest.mark.parametrize("page", [*_PAGES, _BENCHMARKS], ids=lambda page: page.name)
def test_the_source_files_that_a_page_names_are_there(page):
    folders = (_PACKAGE, _PACKAGE.parent, _README.parent, _README.parent / "benchmarks")
    for path in re.findall(r"`((?:\w+/)*\w+\.(?:py|sh))`", _CODE.sub("", page.read_text())):
        # The reader creates the example of a new backbone.
        if not pathlib.PurePath(path).name.startswith("small_net"):
            assert any((folder / path).exists() for folder in folders), path
