"""The model zoo: its table, its commands, its downloads, its page."""

import contextlib
import dataclasses
import gzip
import hashlib
import http.server
import importlib
import io
import pathlib
import re
import shlex
import subprocess
import sys
import tarfile
import threading

import numpy as np
import pytest
from absl import flags

from deeplab import common, model_zoo, train
from deeplab.datasets import descriptors
from deeplab.testing import golden, tiny
from deeplab.zoo import flag_files, published_checkpoints
from deeplab.zoo.published_checkpoints import CHECKPOINTS, PublishedCheckpoint

_PAGES = {
    "zoo": golden.DATA.parents[1] / "g3doc" / "model_zoo.md",
    "recipes": flag_files.RECIPES / "README.md",
}
_PREFIX = "/zoo of mine/model.ckpt-30000"


def _ids(checkpoint: PublishedCheckpoint) -> str:
    return checkpoint.name


def _parsed(command: str) -> tuple[str, flags.FlagValues]:
    """A command's module, and its flags as the script parses them."""
    lines = [line for line in command.splitlines() if not line.startswith("#")]
    words = shlex.split("\n".join(lines).replace("${DATASET_DIR}", "tfrecord"))
    assert words[:2] == ["python", "-m"]
    return words[2], tiny.parse(importlib.import_module(words[2]), words[3:])


def _options(module: str, values: flags.FlagValues) -> common.ModelOptions:
    descriptor = descriptors.load(values.dataset)
    crop_size = {
        "deeplab.train": "train_crop_size",
        "deeplab.eval": "eval_crop_size",
        "deeplab.vis": "vis_crop_size",
        "deeplab.export_model": "crop_size",
    }[module]
    return common.ModelOptions.from_flags(
        values, num_classes=descriptor.num_classes, crop_size=values[crop_size].value
    )


def test_names_and_addresses_are_unique():
    assert len({each.name for each in CHECKPOINTS}) == len(CHECKPOINTS)
    assert len({checkpoint.url for checkpoint in CHECKPOINTS}) == len(CHECKPOINTS)


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=_ids)
def test_facts_are_well_formed(checkpoint):
    assert re.fullmatch(r"https://\S+\.(tar\.gz|tgz)", checkpoint.url)
    least, most = checkpoint.size_limits
    if checkpoint.num_bytes:
        assert least == most == checkpoint.num_bytes
        rounded = dataclasses.replace(checkpoint, num_bytes=None).size_limits
        assert rounded[0] < checkpoint.num_bytes < rounded[1]
    elif checkpoint.size:
        assert 0.8e6 * float(checkpoint.size[:-2]) < least < most
    if checkpoint.digest:
        algorithm, _, digits = checkpoint.digest.partition(":")
        assert len(digits) == 2 * hashlib.new(algorithm).digest_size
        assert re.fullmatch("[0-9a-f]+", digits)
    for result in checkpoint.results:
        assert 30 < float(result.miou) < 90


def test_the_list_has_every_checkpoint_and_result(capsys):
    tiny.run(model_zoo, "--list")
    lines = capsys.readouterr().out.splitlines()
    header, body = lines[0], lines[2:]
    for title in ("name", "backbone", "trained on", "evaluation", "mIoU", "MAdds", "size", "URL"):
        column = header.index(title)
        assert all(line[column - 1] == " " and line[column] != " " for line in body if column)
    assert len(body) == sum(max(1, len(checkpoint.results)) for checkpoint in CHECKPOINTS)
    for name, *facts in (
        ("mobilenetv2_coco_voc_trainaug", "OS16", "75.32 val", "2.75B", "23MB"),
        ("xception65_coco_voc_trainval", "OS8, scales 0.5:0.25:1.75, flipped", "87.80 test"),
        ("xception71_dpc_cityscapes_trainval", "scales 0.75:0.25:2, flipped", "82.66 test"),
        ("EdgeTPU-DeepLab-slim", "mobilenet_edgetpu x0.75", "OS32", "70.0 val", "3.5B"),
        ("resnet_v1_101_beta_imagenet", "477MB", "/models/resnet_v1_101_2018_05_04.tar.gz"),
    ):
        line = next(line for line in body if line.split()[0] == name)
        assert all(fact in line for fact in facts), line


def test_the_list_needs_no_tensorflow():
    code = (
        "import sys; from deeplab import model_zoo; model_zoo.table();"
        " assert 'tensorflow' not in sys.modules"
    )
    root = str(golden.DATA.parents[2])
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": root})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --list or --download=NAME"),
        (["--list", "--download=EdgeTPU-DeepLab"], "give either --list or --download=NAME"),
        (["--download=deeplab"], "^--download=deeplab is not a published checkpoint; known are"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        tiny.run(model_zoo, *arguments)
    assert "\n" not in str(error.value)
    if "deeplab is no" in message:
        assert all(each.name in str(error.value) for each in CHECKPOINTS)


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=_ids)
def test_commands_are_those_of_the_published_results(checkpoint):
    first, *texts = model_zoo.commands(checkpoint, "/my results", _PREFIX)
    assert first.endswith("\nDATASET_DIR=tfrecord")
    assert all(text.startswith("# ") for text in texts)
    parsed = [_parsed(text) for text in texts]
    modules = [module for module, _ in parsed]
    options = [_options(*each) for each in parsed]
    for network, (module, values) in zip(options, parsed, strict=True):
        # One network: an error if not.
        common.ModelOptions.from_flags(
            values,
            stored=options[0],
            num_classes=network.num_classes,
            crop_size=network.crop_size,
        )
        assert network.model_variant == checkpoint.model_variant
        assert network.depth_multiplier == checkpoint.depth_multiplier
        if module != "deeplab.export_model":
            assert values.dataset_dir == "tfrecord"
        assert f"of {values.dataset}:" in first
    if not checkpoint.results:
        assert modules == ["deeplab.train"]
        assert parsed[0][1].tf_initial_checkpoint == _PREFIX
        return
    count = len(checkpoint.results)
    assert modules == ["deeplab.eval"] * count + ["deeplab.vis", "deeplab.export_model"]
    for result, text, network, (_, values) in zip(
        checkpoint.results, texts, options, parsed, strict=False
    ):
        assert f"Published: {result.miou} " in text
        assert network.output_stride == result.output_stride
        assert tuple(values.eval_scales) == result.eval_scales
        assert values.add_flipped_images == result.flipped
        assert values.checkpoint_dir == _PREFIX
        if not result.on_test:
            assert values.eval_split == result.split
    vis, export = parsed[-2][1], parsed[-1][1]
    result = checkpoint.results[0]
    assert vis.vis_split == result.split
    assert vis.also_save_raw_predictions == result.on_test
    assert tuple(vis.eval_scales) == result.eval_scales
    assert vis.add_flipped_images == result.flipped
    assert options[-2] == options[0]
    assert export.checkpoint_path == _PREFIX
    assert export.export_path == "/my results/export/frozen_inference_graph.pb"
    assert export.num_classes == options[0].num_classes


class _Handler(http.server.BaseHTTPRequestHandler):
    content = b""
    requests = 0

    def do_GET(self) -> None:  # noqa: N802
        type(self).requests += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_) -> None:
        """Says nothing."""


def _archive(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(stream.getvalue())


@pytest.fixture
def publish(monkeypatch):
    """Lays an archive on this machine as that of a published checkpoint."""
    monkeypatch.setenv("no_proxy", "*")
    with contextlib.ExitStack() as stack:

        def publish(name: str, archive: bytes) -> tuple[PublishedCheckpoint, type[_Handler]]:
            class Handler(_Handler):
                content = archive

            server = stack.enter_context(http.server.HTTPServer(("127.0.0.1", 0), Handler))
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            checkpoint = dataclasses.replace(
                published_checkpoints.get(name),
                url=f"http://127.0.0.1:{server.server_port}/deeplab.tar.gz",
                num_bytes=len(archive),
                digest=f"sha256:{hashlib.sha256(archive).hexdigest()}",
            )
            monkeypatch.setattr(published_checkpoints, "CHECKPOINTS", (checkpoint,))
            return checkpoint, Handler

        yield publish


@pytest.fixture
def published(publish):
    """A checkpoint of empty files."""
    names = ("._model.ckpt-7.index", "model.ckpt-7.index", "model.ckpt-7.data-00000-of-00001")
    archive = _archive({f"deeplab/{name}": b"" for name in names})
    return publish("mobilenetv2_coco_voc_trainaug", archive)


def test_a_checkpoint_is_downloaded_once(published, tmp_path, capsys):
    checkpoint, handler = published
    arguments = (f"--download={checkpoint.name}", f"--output_dir={tmp_path}")
    tiny.run(model_zoo, *arguments)
    first = capsys.readouterr().out
    folder = tmp_path / checkpoint.name
    prefix = folder / "deeplab" / "model.ckpt-7"
    assert first.startswith(f"{checkpoint.name} is in {folder}\ncheckpoint: {prefix}\n")
    assert first.count(f"--checkpoint_dir={prefix}") == 3
    assert f"--checkpoint_path={prefix}" in first

    # What the commands write is not taken for the checkpoint.
    (results,) = re.findall(r"--vis_logdir=(\S+)/vis", first)
    (pathlib.Path(results) / "train").mkdir(parents=True)
    (pathlib.Path(results) / "train" / "model.ckpt-1.index").touch()
    tiny.run(model_zoo, *arguments)
    again = capsys.readouterr().out
    assert f"is already in {folder}, so it is not downloaded again" in again
    assert again.partition("\n")[2] == first.partition("\n")[2]
    assert handler.requests == 1


def test_a_wrong_archive_leaves_nothing(published, tmp_path):
    checkpoint, handler = published
    handler.content = handler.content[:-1] + b"?"
    with pytest.raises(ValueError, match="is not the published file: its sha256"):
        tiny.run(model_zoo, f"--download={checkpoint.name}", f"--output_dir={tmp_path}")
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_checkpoint_is_an_error_that_says_what_to_do(published, tmp_path):
    checkpoint, _ = published
    (tmp_path / checkpoint.name).mkdir()
    with pytest.raises(
        ValueError, match="contains no checkpoint .* move it away and run this again"
    ):
        tiny.run(model_zoo, f"--download={checkpoint.name}", f"--output_dir={tmp_path}")


@pytest.mark.slow
@tiny.shallow()
def test_the_printed_commands_run(publish, tmp_path, capsys):
    name = "mobilenetv2_dm05_coco_voc_trainaug"
    values = tiny.parse(train, [f"--flagfile={flag_files.RECIPES / name / 'train.txt'}"])
    tiny.save(tiny.network(_options("deeplab.train", values)), tmp_path, 7, with_options=False)
    files = {f"deeplab/{path.name}": path.read_bytes() for path in tmp_path.glob("model.ckpt-7.*")}
    publish(name, _archive(files))
    label = np.zeros((33, 33), np.uint8)
    records = tiny.write_records(tmp_path / "records", {"one": (tiny.picture(33, 33), label)})

    tiny.run(model_zoo, f"--download={name}", f"--output_dir={tmp_path}")
    printed = capsys.readouterr().out.replace('"${DATASET_DIR}"', records)
    for text in printed.split("\n\n")[2:]:
        module, *arguments = shlex.split(text.partition("\n")[2])[2:]
        tiny.run(importlib.import_module(module), *arguments)

    results = tmp_path / f"{name}_results"
    assert "miou" in (results / "eval" / "eval.json").read_text()
    assert list((results / "vis" / "segmentation_results").iterdir())
    assert (results / "export" / "frozen_inference_graph.pb").exists()


def _rows(page: pathlib.Path) -> list[str]:
    return [line for line in page.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=_ids)
def test_the_page_has_the_facts(checkpoint):
    rows = [row for row in _rows(_PAGES["zoo"]) if f"`{checkpoint.name}`" in row]
    assert len(rows) == max(1, len(checkpoint.results))
    assert checkpoint.url in rows[0]
    assert not checkpoint.size or checkpoint.size.replace("MB", " MB") in rows[0]
    for row, result in zip(rows, checkpoint.results, strict=False):
        for fact in (model_zoo.evaluation_text(result), model_zoo.miou_text(result)):
            assert f"| {fact} |" in row
        assert not result.madds or f"| {result.madds} B |" in row
        assert not result.pixel_accuracy or result.pixel_accuracy in row


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=_ids)
def test_the_recipes_page_has_the_results(checkpoint):
    rows = [row for row in _rows(_PAGES["recipes"]) if f"[{checkpoint.recipe}]" in row]
    for result in checkpoint.results:
        text = f"{result.miou} {'test' if result.on_test else 'val'}"
        assert any(text in row and f"`{result.flag_file}`" in row for row in rows)
    assert rows
