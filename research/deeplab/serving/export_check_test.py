"""The check of an export: what is fine has no findings, and each fault is found."""

import json
import os
import pathlib
import re
import shutil
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from deeplab import check_export
from deeplab.export import server_files, warm_up
from deeplab.serving import check_report, export_check, server_settings, stored_versions
from deeplab.serving.findings import ExportFindings
from deeplab.testing import tiny


def _kinds(findings, level=None):
    return [each.kind for each in findings if level in (None, each.level)]


def _run(*arguments):
    """Run the script; return its exit code."""
    values = tiny.parse(check_export, [str(argument) for argument in arguments])
    with mock.patch.object(flags, "FLAGS", values):
        return check_export.main(["script"])


def _save(path, functions, **attributes):
    """Write a SavedModel that this project did not make."""
    module = tf.Module()
    for name, value in attributes.items():
        setattr(module, name, value)
    tf.saved_model.save(module, str(path), signatures=functions)


def _function(*specs, **options):
    return tf.function(input_signature=specs, autograph=False, **options)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A model of another maker, with what an export avoids, and without a number."""
    path = tmp_path_factory.mktemp("foreign") / "model"
    scale = tf.Variable(2.0)

    @_function(tf.TensorSpec([None, 8, 8, 3], tf.float32, "images"))
    def scaled(images):
        return {"scores": images * scale, "maker": tf.constant("another")}

    @_function(tf.TensorSpec([None], tf.string, "data"))
    def decoded(data):
        sizes = tf.map_fn(
            lambda each: tf.shape(tf.io.decode_png(each, channels=3))[:2], data, tf.int32
        )
        return {"sizes": sizes}

    @_function(tf.TensorSpec([2], tf.float32, "a"), jit_compile=True)
    def compiled(a):
        return {"b": a / 0.0}

    @_function(tf.TensorSpec([1, 6, 6, 3], tf.float32, "images"))
    def dilated(images):
        kernel = tf.ones([3, 3, 3, 1])
        found = tf.raw_ops.DepthwiseConv2dNative(
            input=images, filter=kernel, strides=[1] * 4, padding="SAME", dilations=[1, 2, 2, 1]
        )
        return {"found": tf.math.log(-tf.square(found) - 1)}

    functions = {"scaled": scaled, "decoded": decoded, "compiled": compiled, "dilated": dilated}
    _save(path, functions, scale=scale)
    return path


@pytest.mark.slow
@tiny.unoptimized()
def test_an_export_of_this_project_is_fine(served, tmp_path, capsys):
    assert (
        _run(f"--export_path={served}", f"--json={tmp_path}/check.json", "--fail_on=warning") == 0
    )
    text = capsys.readouterr().out
    assert "0 faults, 0 warnings" in text
    assert "versions: 1; a server takes 1" in text
    found = json.loads((tmp_path / "check.json").read_text())
    assert found["own"]
    assert found["tensorflow_version"] == tf.__version__
    assert found["served_version"] == 1
    assert found["bytes"] == sum(each["bytes"] for each in found["files"])
    assert found["variable_bytes"] < found["bytes"]
    assert not found["onednn_operations"] + found["xla_functions"] + found["unknown_operations"]
    signatures = {each["name"]: each for each in found["signatures"]}
    assert signatures["serving_png"]["inputs"] == [
        {"name": "image_bytes", "type": "string", "shape": [None]}
    ]
    assert {each["signature"] for each in found["warm_up"]} == set(signatures)
    # Those of files also get a bad image.
    batches = [(each["signature"], each["rows"]) for each in found["requests"]]
    assert {("serving_png", 3), ("serving_bytes", 3), ("serving_labels", 1)} <= set(batches)
    assert all(each["second_seconds"] > 0 for each in found["warm_up"] + found["requests"])
    assert not found["findings"]


@pytest.mark.slow
def test_what_a_foreign_model_lacks_is_named(foreign, capsys):
    assert _run(f"--export_path={foreign}") == 0
    assert _run(f"--export_path={foreign}", "--fail_on=warning") == 2
    report = export_check.check(str(foreign))
    assert not report.is_own
    assert report.graph.variable_bytes == 4
    kinds = _kinds(report.findings)
    expected = {"no_version", "no_default_signature", "no_warm_up", "needs_onednn", "needs_xla"}
    assert expected | {"foreign", "not_tried", "bad_image", "outputs"} == set(kinds)
    messages = "\n".join(map(str, report.findings))
    assert "decoded fails for a batch with one bad image" in messages
    assert "warning: dilated: found is not finite" in messages
    assert "the inputs of compiled are not those of an image" in messages
    assert "1 operation runs with oneDNN only" in capsys.readouterr().out


@pytest.fixture
def copy(foreign, tmp_path):
    """A version of a model that a test may damage."""
    return shutil.copytree(foreign, tmp_path / "models" / "model" / "1")


def test_a_failing_warm_up_is_a_fault(copy):
    request = warm_up.Request("nothing", {"a": np.zeros(2, np.float32)})
    warm_up.write(str(copy), "model", [request])
    findings = export_check.check(str(copy)).findings
    (message,) = [
        each.message for each in findings if (each.kind, each.level) == ("warm_up", "fault")
    ]
    assert message.endswith("would not load this version: no such signature")
    # A session would convert it.
    request = warm_up.Request("compiled", {"a": np.zeros(2, np.int32)})
    warm_up.write(str(copy), "model", [request])
    findings = export_check.check(str(copy)).findings
    assert "a has the type int32 in place of float32" in "\n".join(map(str, findings))
    path = copy / warm_up.FILE
    with tf.io.TFRecordWriter(str(path)) as writer:
        # A request to classify, which is empty.
        writer.write(b"\x12\0")
    findings = export_check.check(str(copy)).findings
    assert "warm_up" in _kinds(findings, "warning")
    assert "warm_up" not in _kinds(findings, "fault")
    warm_up.write(str(copy), "model", [request])
    path.write_bytes(path.read_bytes()[:-3])
    assert "warm_up" in _kinds(export_check.check(str(copy)).findings, "fault")


def test_an_image_that_the_export_refuses_by_its_size_is_named(copy, tmp_path):
    (copy / "assets").mkdir(exist_ok=True)
    (copy / "assets" / "options.json").write_text('{"export": {"max_pixels": 63}}')
    image = tmp_path / "photo.png"
    image.write_bytes(tiny.png(tiny.picture(8, 8)))
    with pytest.raises(ValueError, match=f"--image={image} has 8x8 pixels, but .*--max_pixels=63"):
        export_check.check(str(copy), str(image))


def test_a_remote_folder_is_checked(foreign, tmp_path):
    base = "ram://export_check_test/models/model"
    for file in tiny.files(foreign):
        tf.io.gfile.makedirs(os.path.dirname(f"{base}/1/{file}"))
        tf.io.gfile.copy(f"{foreign}/{file}", f"{base}/1/{file}")
    server_files.write(os.path.dirname(base), "model")
    report = export_check.check(base)
    assert report.stored.checked == f"{base}/1"
    assert report.sizes == stored_versions.sizes(str(foreign))
    assert {each.signature for each in report.trials} == {"scaled", "decoded", "dilated"}
    assert len(report.server_files) == 2
    assert not _kinds(report.findings, "fault")
    check_report.write_json(f"{tmp_path}/check.json", report)


def test_an_operation_that_no_server_knows_is_a_fault(copy):
    path = copy / "saved_model.pb"
    path.write_bytes(path.read_bytes().replace(b"DecodePng", b"DecodeXyz"))
    report = export_check.check(str(copy))
    assert report.graph.unknown == ("DecodeXyz",)
    assert "unknown_operations" in _kinds(report.findings, "fault")
    assert check_report.facts(report)["unknown_operations"] == ["DecodeXyz"]


_WEIGHTS = "variables/variables.data-00000-of-00001"


@pytest.mark.parametrize("path", ["saved_model.pb", "variables/variables.index", _WEIGHTS])
@pytest.mark.parametrize("damage", ["cut off", "missing", "a folder"])
def test_damaged_files_are_faults(copy, path, damage):
    data = (copy / path).read_bytes()
    (copy / path).unlink()
    if damage == "cut off":
        (copy / path).write_bytes(data[: len(data) // 2])
    elif damage == "a folder":
        (copy / path).mkdir()
    report = export_check.check(str(copy.parent))
    assert "unreadable" in _kinds(report.findings, "fault")
    assert "fault: " in check_report.text(report)
    json.dumps(check_report.facts(report))


def test_the_page_has_every_kind_of_finding_and_every_key():
    folder = pathlib.Path(export_check.__file__).parent
    sources = (path.read_text() for path in folder.glob("*.py") if "_test" not in path.name)
    kinds = {
        kind
        for source in sources
        for kind in re.findall(r'(?:findings\.(?:fault|warn|note)|add)\(\s*"(\w+)"', source)
    }
    page = (folder.parent / "g3doc" / "check_export.md").read_text()
    keys, _, findings = page.partition("## Findings")

    def named(text):
        cells = re.findall(r"^\| (`.+?) \|", text, re.MULTILINE)
        return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}

    assert named(findings) == kinds
    stored = stored_versions.Stored("model")
    report = check_report.Report("model", stored, {}, [], ExportFindings())
    assert set(check_report.facts(report)) <= named(keys)


def _versions(root, *names):
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "saved_model.pb").write_bytes(b"graph")
    return root


def test_the_largest_number_is_served(tmp_path):
    base = _versions(tmp_path / "model", "2", "10", "9")
    stored = stored_versions.find(str(base))
    assert stored.checked == str(base / "10")
    assert [version.number for version in stored.versions] == [2, 9, 10]
    findings = ExportFindings()
    stored_versions.judge(stored, findings)
    assert not findings
    stored_versions.judge(stored_versions.find(str(base / "9")), findings)
    assert _kinds(findings) == ["not_served"]


def test_links_to_nothing_are_no_traceback(tmp_path):
    base = _versions(tmp_path / "model", "1")
    for link in (base / "1" / "link", base / "2", base / "other"):
        link.symlink_to("nowhere")
    stored = stored_versions.find(str(base))
    assert [(version.bytes, version.is_whole) for version in stored.versions] == [
        (5, True),
        (0, False),
    ]
    assert stored_versions.sizes(str(base / "1")) == {"saved_model.pb": 5, "link": 0}


def test_what_is_odd_about_versions_is_named(tmp_path):
    base = _versions(tmp_path / "model", "1", "007")
    (base / "12").mkdir()
    (base / ".version.host.1.tmp").mkdir()
    os.chmod(base / "1" / "saved_model.pb", 0o600)
    stored = stored_versions.find(str(base))
    findings = ExportFindings()
    stored_versions.judge(stored, findings)
    assert _kinds(findings) == ["leading_zeros", "incomplete_version", "stray_files"]
    assert findings[1].level == "fault"
    # A version that is not served may be private.
    (base / "12").rmdir()
    _versions(base, "7")
    os.chmod(base / "7", 0o700)
    findings.clear()
    stored_versions.judge(stored_versions.find(str(base / "7")), findings)
    assert _kinds(findings, "fault") == ["same_version", "permissions"]
    assert findings[-1].message.endswith(f"chmod -R a+rX {base}")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("nothing", "is not there"),
        ("file.onnx", "is an ONNX model; give the folder"),
        ("empty/", "is no export; give the folder"),
        ("models/pascal/3/saved_model.pb", "models holds the models .*/models/pascal: check each"),
    ],
)
def test_other_paths_are_one_error(tmp_path, made, message):
    path = tmp_path / made
    if made.endswith("/"):
        path.mkdir()
    elif made != "nothing":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"-")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        stored_versions.find(str(tmp_path / made.split("/")[0]))


_CONFIG = 'config { name: "a" base_path: "/a/model" model_platform: "tensorflow" }'


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        (None, []),
        ('model_config_list { config { name: "x" base_path: "/models/x" } }', ["not_in"]),
        ('model_config_list { config { name: "model" base_path: "/m" } }', ["base", "model_plat"]),
        ("model_config_list { config {", ["server_file"]),
        ("model_config_lists { }", ["server_file"]),
        ("model_config_list: 1", ["server_file"]),
        ('model_config_list { config { path: "/models/model" } }', ["server_file"]),
        ("model_config_list { config { name: 5 } }", ["server_file"]),
        (f"model_config_list {{ {_CONFIG} {_CONFIG} }}", ["server_file"]),
        (f"model_config_list {{ {_CONFIG} }}".replace('"/a', '"a'), ["base"]),
        (
            "model_config_list { config { base_path: '/a/model' model_type: TENSORFLOW"
            " model_version_policy { latest { num_versions: 2 } } } }",
            [],
        ),
        ("model_config_list { config { base_path: '/a/model' model_type: 1 } }", []),
        (
            'model_config_list { config { base_path: "/a/model/" model_platform: "tensorflow"'
            " model_version_policy { specific { versions: 5 } } } }",
            ["pinned"],
        ),
    ],
)
def test_files_of_the_server_are_checked(tmp_path, text, kinds):
    tmp_path.chmod(0o755)
    base = _versions(tmp_path / "model", "1")
    server_files.write(str(tmp_path), "model")
    server_files.write_batching(str(base / "1"), 4)
    if text:
        (tmp_path / "models.config").write_text(text)
    findings = ExportFindings()
    stored = stored_versions.find(str(base))
    paths = server_settings.judge(stored, None, findings)
    assert [os.path.basename(path) for path in paths] == [
        *("models.config", "monitoring.config", "batching_params.pbtxt"),
    ]
    found = _kinds(findings, "fault")
    assert len(found) == len(kinds)
    assert all(kind.startswith(start) for kind, start in zip(found, kinds, strict=True))


def test_the_fields_of_files_are_those_of_the_server(tmp_path):
    tmp_path.chmod(0o755)
    base = _versions(tmp_path / "model", "1")
    (tmp_path / "monitoring.config").write_text("prometheus_config { enabled: true }")
    findings = ExportFindings()
    server_settings.judge(stored_versions.find(str(base)), None, findings)
    (finding,) = findings
    assert finding.kind == "server_file"
    assert "there is no field enabled there" in finding.message
    config_pb2 = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")

    def compare(message, known):
        fields = {field.name: field.message_type for field in message.fields}
        assert set(fields) == set(known)
        for name, within in known.items():
            if isinstance(within, dict):
                compare(fields[name], within)

    known = server_settings._FIELDS[server_files.MODELS_FILE]
    compare(config_pb2.ModelServerConfig.DESCRIPTOR, known)


def test_a_file_that_cannot_be_read_is_a_finding(tmp_path):
    tmp_path.chmod(0o755)
    base = _versions(tmp_path / "model", "1")
    (tmp_path / "models.config").mkdir()
    findings = ExportFindings()
    server_settings.judge(stored_versions.find(str(base)), None, findings)
    assert _kinds(findings, "fault") == ["server_file"]


def test_the_path_of_a_folder_with_a_space_fits_to_it(tmp_path):
    tmp_path.chmod(0o755)
    base = _versions(tmp_path / 'a "model"', "1")
    server_files.write(str(tmp_path), base.name)
    findings = ExportFindings()
    assert server_settings.judge(stored_versions.find(str(base)), None, findings)
    assert not findings
    os.chmod(tmp_path / "models.config", 0o600)
    server_settings.judge(stored_versions.find(str(base)), None, findings)
    assert _kinds(findings, "fault") == ["permissions"]
    assert findings[0].message.endswith(f"chmod a+rX {tmp_path}/models.config")
    # The folder that a server enters to read it.
    os.chmod(tmp_path, 0o700)
    server_settings.judge(stored_versions.find(str(base)), None, findings)
    assert findings[1].message.endswith(f"chmod a+rX {tmp_path} {tmp_path}/models.config")


def test_batching_is_what_the_server_takes(tmp_path):
    base = _versions(tmp_path / "model", "1")
    text = "max_batch_size { value: 8 } allowed_batch_sizes: [1, 4] num_batch_threads { value: 2 }"
    (base / "1" / "batching_params.pbtxt").write_text(text)
    findings = ExportFindings()
    server_settings.judge(stored_versions.find(str(base)), None, findings)
    assert [each.level for each in findings] == ["fault", "warning"]
    # The server's own largest batch.
    (base / "1" / "batching_params.pbtxt").write_text("allowed_batch_sizes: [1, 1000]")
    server_settings.judge(stored_versions.find(str(base)), None, no_findings := ExportFindings())
    assert not no_findings
    for text in (
        "max_batch_sizes { value: 8 }",
        "max_batch_size: 8",
        "max_batch_size { value: 0 }",
        "pad_variable_length_inputs: 'true'",
        "max_batch_size { value: 8 } allowed_batch_sizes: [4, 2, 8]",
    ):
        (base / "1" / "batching_params.pbtxt").write_text(text)
        server_settings.judge(stored_versions.find(str(base)), None, faults := ExportFindings())
        assert [each.level for each in faults] == ["fault"], text
    with pytest.raises(FileNotFoundError, match="--server_config_dir=.* has neither"):
        server_settings.judge(stored_versions.find(str(base)), str(base), findings)
