"""The training script: from flags to checkpoints."""

import contextlib
import functools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, train
from deeplab import eval as deeplab_eval
from deeplab.datasets import data_generator, first_records
from deeplab.testing import golden, tiny
from deeplab.utils import checkpoint, checkpoint_files

# The case takes a second, for a network.
_slow = functools.partial(pytest.param, marks=pytest.mark.slow)
_RESEARCH = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return the flags of a tiny dataset."""
    records = os.fspath(tmp_path_factory.mktemp("records"))
    for split, count in (("train", 5), ("val", 3)):
        samples = {}
        for index in range(count):
            label = np.random.default_rng(index).integers(0, 4, (36, 40)).astype(np.uint8)
            samples[f"{split}_{index}"] = (tiny.picture(36, 40, index), label)
        tiny.write_records(records, samples, split=split)
    descriptor = os.path.join(records, "tiny.json")
    tiny.DATASET.save(descriptor)
    return f"--dataset={descriptor}", f"--dataset_dir={records}"


def _train(data, logdir, *more, traced=False):
    """Train, by default without tracing, which takes longer than a few steps."""
    with tiny.minimal(), contextlib.nullcontext() if traced else tiny.eager():
        tiny.run(
            train,
            *data,
            f"--train_logdir={logdir}",
            "--depth_multiplier=0.1",
            "--aspp_convs_filters=8",
            "--train_crop_size=33,33",
            "--train_batch_size=2",
            *more,
        )


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> pathlib.Path:
    """Return the folder of a run of one step. Tests leave it as it is."""
    logdir = tmp_path_factory.mktemp("trained")
    _train(data, logdir, "--training_number_of_steps=1", "--atrous_rates=2")
    return logdir


@pytest.fixture
def logdir(trained, tmp_path) -> pathlib.Path:
    """Return a copy of that folder."""
    return shutil.copytree(trained, tmp_path / "train")


def _tensors(logdir: pathlib.Path) -> dict[str, np.ndarray]:
    reader = checkpoint.read(str(logdir))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.mark.slow
def test_two_steps_and_two_more_are_four(data, tmp_path):
    """Weights, slots, order of the images, augmentation and dropout are all resumed."""
    _train(data, tmp_path / "whole", "--training_number_of_steps=4", "--decay_steps=4")
    for steps in (2, 4):
        _train(data, tmp_path / "parts", f"--training_number_of_steps={steps}", "--decay_steps=4")
    whole, parts = _tensors(tmp_path / "whole"), _tensors(tmp_path / "parts")
    assert whole["global_step"] == parts["global_step"] == 4
    assert set(whole) == set(parts)
    for name, value in whole.items():
        np.testing.assert_array_equal(value, parts[name], err_msg=name)


@pytest.mark.slow
def test_training_evaluates_as_eval_does(data, tmp_path):
    """The results equal those of eval.py at another crop size, and the best checkpoint is kept."""
    crop = "--eval_crop_size=49,65"
    more = ("--training_number_of_steps=3", "--eval_every=2", "--save_summaries_images")
    _train(data, tmp_path, *more, crop, traced=True)
    tags = {
        value.tag
        for path in tmp_path.glob("eval/events*")
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    }
    assert {"eval/confusion_matrix", "eval/worst_image_1"} <= tags
    for step in (2, 3):
        inside = json.loads((tmp_path / f"eval/eval-{step}.json").read_text())
        log = tmp_path / f"outside{step}"
        with tiny.minimal():
            tiny.run(
                deeplab_eval,
                *data,
                f"--checkpoint_dir={tmp_path / f'model.ckpt-{step}'}",
                f"--eval_logdir={log}",
                "--max_number_of_evaluations=1",
                crop,
            )
        outside = json.loads((log / "eval.json").read_text())
        for fact in ("step", "images", "crop_size", "miou", "confusion_matrix"):
            assert inside[fact] == outside[fact]
    best = json.loads((tmp_path / "best/eval.json").read_text())
    kept = _tensors(tmp_path / "best")
    assert kept["global_step"] == best["step"]
    for name, value in _tensors(tmp_path / f"model.ckpt-{best['step']}").items():
        np.testing.assert_array_equal(value, kept[name])
    assert checkpoint.load_options(str(tmp_path / "best")).crop_size == (33, 33)


@pytest.mark.slow
def test_another_seed_is_another_run(data, trained, tmp_path):
    _train(data, tmp_path, "--training_number_of_steps=1", "--atrous_rates=2", "--seed=1")
    first, second = _tensors(trained), _tensors(tmp_path)
    assert not np.array_equal(first["aspp0/weights"], second["aspp0/weights"])


@pytest.mark.slow
def test_the_options_lie_beside_the_checkpoint(trained):
    assert checkpoint.load_options(str(trained)) == common.ModelOptions(
        depth_multiplier=0.1,
        aspp_convs_filters=8,
        atrous_rates=(2,),
        num_classes=4,
        crop_size=(33, 33),
    )


@pytest.mark.slow
def test_a_run_in_bfloat16_stores_what_computes_in_float32(data, tmp_path, caplog):
    """A second start reads it."""
    _train(data, tmp_path, "--training_number_of_steps=1", "--precision=mixed_bfloat16")
    stored = tmp_path / "precision.json"
    assert "spatial" in json.loads(stored.read_text())["measured_milliseconds"]
    stored.write_text('{"float32": ["pointwise"]}')
    _train(data, tmp_path, "--training_number_of_steps=2", "--precision=mixed_bfloat16")
    assert "but pointwise convolutions compute in float32" in caplog.text


@pytest.mark.slow
def test_a_second_start_with_another_network_is_refused(data, logdir):
    with pytest.raises(ValueError, match=r"--decoder_output_stride is \(4,\).*trained with None"):
        _train(data, logdir, "--training_number_of_steps=2", "--decoder_output_stride=4")


@pytest.mark.slow
def test_a_second_start_on_another_dataset_is_refused(data, logdir):
    with pytest.raises(ValueError, match="21 classes are asked for .* trained with 4"):
        _train((*data, "--dataset=pascal_voc_seg"), logdir)


@pytest.mark.slow
def test_a_resumed_run_says_what_is_no_longer_the_same(data, logdir, caplog):
    record = logdir / "run_record.json"
    began = record.read_text()
    _train(data, logdir, "--training_number_of_steps=1")
    assert "the run began with" not in caplog.text
    changes = "--seed=3", "--train_batch_size=3", "--min_scale_factor=0.75"
    _train(data, logdir, "--training_number_of_steps=1", *changes)
    for text in (
        "--seed is 3, but the run began with 0:",
        "--train_batch_size is 3, but the run began with 2:",
        "--min_scale_factor is 0.75, but the run began with 0.5:",
    ):
        assert text in caplog.text
    assert caplog.text.count("the run began with") == 3
    assert record.read_text() == began
    # As if an earlier version had trained it.
    record.unlink()
    caplog.clear()
    _train(data, logdir, "--training_number_of_steps=1", "--seed=3")
    assert "the run began with" not in caplog.text
    assert json.loads(record.read_text())["seed"] == 3


@pytest.mark.slow
def test_a_checkpoint_of_another_dataset_starts_a_run(data, tmp_path, caplog):
    """Its logits do not match; the message names the flag that skips them, and the flag works."""
    source = tmp_path / "source"
    with tiny.minimal():
        tiny.save(tiny.network(tiny.OPTIONS.replace(num_classes=7)), source, 9)
    flags = ("--training_number_of_steps=1", "--noadd_image_level_feature")
    flags += (f"--tf_initial_checkpoint={source}/model.ckpt-9",)
    with pytest.raises(ValueError, match="--initialize_last_layer=false"):
        _train(data, tmp_path / "run", *flags)
    with caplog.at_level("INFO", logger="absl"):
        _train(
            data,
            tmp_path / "run",
            *flags,
            "--initialize_last_layer=false",
            "--last_layers_contain_logits_only",
        )
    assert "logits/semantic/weights (1, 1, 8, 4)" in caplog.text
    assert _tensors(tmp_path / "run")["global_step"] == 1


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--num_clones=99", "--num_clones is 99, but TensorFlow can use"),
        ("--num_replicas=2", "--num_replicas is 2, but TF_CONFIG lists 1 host;"),
        ("--task=1", "--task is 1, but TF_CONFIG gives this host the index 0"),
        ("--eval_every=-1", "--eval_every is -1; it must be a whole number, at least 0"),
        _slow("--boundaries=2", "belong to --learning_policy=multi_steps, but it is poly"),
        _slow("--learning_policy=multi_steps", "needs increasing --boundaries and one more"),
        ("--drop_path_keep_prob=0", "--drop_path_keep_prob is 0.0; it must be .* above 0"),
        ("--model_variant=resnet", "--model_variant is 'resnet'; known are"),
        _slow("--train_split=test", r"no file matches .*/test-\*"),
        ("--train_crop_size=33", "must be height,width: two whole numbers, each at least 1"),
        ("--train_crop_size=0,0", "two whole numbers, each at least 1"),
        _slow(
            "--label_weights=1",
            "--label_weights is given 1 times; it must be given once for each of the 4",
        ),
        (
            "--min_scale_factor=3",
            "--min_scale_factor is 3.0; it must be at most --max_scale_factor",
        ),
        (
            "--top_k_percent_pixels=25",
            "--top_k_percent_pixels is 25.0; it must be .* at least 0 and at most 1",
        ),
        ("--base_learning_rate=-1", "--base_learning_rate is -1.0; it must be .* at least 0"),
        (
            "--learning_rate_decay_step=0",
            "--learning_rate_decay_step is 0; it must be .* at least 1",
        ),
        ("--tf_initial_checkpoint=nowhere/model.ckpt", "no checkpoint at nowhere/model.ckpt"),
    ],
)
def test_what_cannot_be_done_is_one_error(data, tmp_path, flag, message):
    with pytest.raises((ValueError, OSError), match=message):
        _train(data, tmp_path / "run", flag, "--training_number_of_steps=1")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("logdir", ["file", pytest.param("file/run", marks=pytest.mark.slow)])
def test_a_folder_that_cannot_be_made_is_one_error(data, tmp_path, logdir):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ValueError, match=f"--train_logdir=.*{logdir} cannot be written"):
        _train(data, tmp_path / logdir, "--training_number_of_steps=1")
    assert (tmp_path / "file").read_text() == "no folder"


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (first_records, "check"),
        pytest.param(data_generator.Dataset, "training", marks=pytest.mark.slow),
    ],
)
def test_sigterm_before_the_first_step_ends_the_run_at_once(
    data, tmp_path, monkeypatch, place, name
):
    """This holds at every stage of the preparation, and the handler is restored."""
    monkeypatch.setattr(place, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as ended:
        _train(data, tmp_path, "--training_number_of_steps=1")
    assert ended.value.code == 0
    assert checkpoint_files.latest(str(tmp_path)) is None
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.slow
def test_flags_of_old_clusters_say_what_does_their_work(data, logdir, caplog):
    with caplog.at_level("INFO", logger="absl"):
        flags = ("--startup_delay_steps=3", "--master=grpc://host", "--num_ps_tasks=2")
        _train(data, logdir, "--training_number_of_steps=1", *flags)
    assert "--startup_delay_steps has no effect: hosts start together" in caplog.text
    assert "--master has no effect: hosts find each other by TF_CONFIG" in caplog.text
    assert "--num_ps_tasks has no effect: every host keeps the variables" in caplog.text


@pytest.mark.slow
def test_checkpoints_without_their_state_file_are_not_written_over(data, logdir):
    """A kill may have prevented the state file: the trainer resumes its own, and rejects others."""
    (logdir / "checkpoint").unlink()
    before = {path.name: path.read_bytes() for path in logdir.glob("model.ckpt-1.*")}
    _train(data, logdir, "--training_number_of_steps=1")
    assert {path.name: path.read_bytes() for path in logdir.glob("model.ckpt-1.*")} == before

    for path in logdir.glob("model.ckpt-1.*"):
        path.rename(str(path).replace("model.ckpt-1", "mine"))
    with pytest.raises(ValueError, match="no checkpoint to resume from, but holds mine: name"):
        _train(data, logdir, "--training_number_of_steps=1")


@pytest.mark.slow
def test_a_run_that_failed_before_its_first_checkpoint_leaves_no_options(data, tmp_path):
    with pytest.raises(FileNotFoundError):
        _train(data, tmp_path, "--tf_initial_checkpoint=nowhere/model.ckpt")
    _train(data, tmp_path, "--training_number_of_steps=1", "--depth_multiplier=0.2")
    assert checkpoint.load_options(str(tmp_path)).depth_multiplier == 0.2


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (np.full((36, 40), 77, np.uint8), r"\(bad\) has a label .* neither a class .*: 77"),
        (np.full((36, 40), 255, np.uint8), r"every pixel is ignored \(label 255\) in 1 of the 1"),
        (None, r"\(bad\) has no label \(is that the right split"),
        (np.zeros((5, 7), np.uint8), r"\(bad\) has a label that is 7x5 pixels"),
    ],
    ids=["no class", "ignored", "no label", "another size"],
)
@pytest.mark.slow
def test_a_bad_record_is_named(tmp_path, label, message):
    records = tiny.write_records(
        tmp_path / "records", {"bad": (tiny.picture(36, 40), label)}, split="train"
    )
    tiny.DATASET.save(tmp_path / "tiny.json")
    flags = (f"--dataset={tmp_path / 'tiny.json'}", f"--dataset_dir={records}")
    with pytest.raises(ValueError, match=message):
        _train(flags, tmp_path / "run", "--training_number_of_steps=1")


def test_a_bad_record_to_evaluate_is_named_before_the_first_step(data, tmp_path):
    label = np.full((36, 40), 77, np.uint8)
    records = data[1].partition("=")[2]
    tiny.write_records(records, {"bad": (tiny.picture(36, 40), label)}, split="bad")
    with pytest.raises(ValueError, match=r"\(bad\) has a label .* neither a class .*: 77"):
        _train(data, tmp_path / "run", "--eval_every=1", "--eval_split=bad")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_real_checkpoint_fine_tunes(data, tmp_path):
    path = golden.shared("data/checkpoints/deeplabv3_mnv2_dm05_pascal") / "model.ckpt"
    tiny.run(
        train,
        *data,
        f"--train_logdir={tmp_path}",
        f"--tf_initial_checkpoint={path}",
        "--depth_multiplier=0.5",
        "--train_crop_size=65,65",
        "--train_batch_size=2",
        "--training_number_of_steps=1",
        "--fine_tune_batch_norm=false",
        "--initialize_last_layer=false",
        "--last_layers_contain_logits_only",
    )
    assert _tensors(tmp_path)["logits/semantic/biases"].shape == (4,)


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "deeplab/train.py"],
        [sys.executable, "-m", "deeplab.train"],
        [os.path.join(os.path.dirname(sys.executable), "deeplab-train")],
    ],
    ids=["file", "module", "command"],
)
def test_scripts_run_three_ways(command):
    if not os.path.exists(command[0]):
        pytest.skip("the package is not installed")
    done = subprocess.run(
        [*command, "--help"], cwd=_RESEARCH, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--train_logdir" in done.stdout
