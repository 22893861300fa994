"""The trainer: equal to the official steps, exact resume, checkpoints and logs."""

import contextlib
import dataclasses
import functools
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, model, train
from deeplab.cli import train_flags
from deeplab.core import keras_internals
from deeplab.testing import golden, tiny, training
from deeplab.training import trainer
from deeplab.utils import checkpoint, checkpoint_files

_STEPS, _ARRAYS = golden.misc("train_steps")


def _network_options(case: str) -> common.ModelOptions:
    """Return the network's options of a golden case."""
    settings = _STEPS[case]["settings"]
    known = {field.name for field in dataclasses.fields(common.ModelOptions)}
    options = {name: value for name, value in settings["flags"].items() if name in known}
    for name, key in (
        ("crop_size", "crop"),
        ("num_classes", "num_classes"),
        ("output_stride", "output_stride"),
        ("atrous_rates", "atrous_rates"),
    ):
        options[name] = settings[key]
    return common.ModelOptions(**options)


# Building a network takes as long as a step; the cases of one follow each other.
@functools.lru_cache(maxsize=1)
def _network(options: common.ModelOptions) -> model.DeepLab:
    """Return a network without dropout."""
    net = model.DeepLab(options, random_weights=False)
    for layer in keras_internals.sublayers(net):
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    return net


def _golden_trainer(case: str) -> trainer.Trainer:
    """Return the trainer of a golden case, with golden weights and without dropout."""
    settings = _STEPS[case]["settings"]
    net = _network(_network_options(case))
    golden.assign(checkpoint.official_variables(net))
    run = trainer.Trainer(net, _golden_options(settings), training.IGNORE_LABEL)
    run.begin()
    return run


def _golden_options(settings: dict) -> trainer.TrainOptions:
    """Return the training options of a golden case."""
    names = {
        "last_mult": "last_layer_gradient_multiplier",
        "logits_only": "last_layers_contain_logits_only",
        "optimizer": "optimizer",
        "slow_start_step": "slow_start_step",
        "top_k": "top_k_percent_pixels",
        "hard_step": "hard_example_mining_step",
        "upsample": "upsample_logits",
        "weights": "label_weights",
    }
    extra = {
        names[name]: value for name, value in settings["extra"].items() if name != "no_image_level"
    }
    return trainer.TrainOptions(
        training_number_of_steps=settings["training_number_of_steps"],
        train_batch_size=settings["batch"],
        learning_policy=settings["policy"],
        base_learning_rate=settings["base_learning_rate"],
        learning_power=settings["power"],
        momentum=settings["momentum"],
        weight_decay=settings["weight_decay"],
        fine_tune_batch_norm=settings["fine_tune_batch_norm"],
        **extra,
    )


# Tracing takes longer than the few steps of the other cases.
_TRACED = ("mobilenet_v2_ftbn0",)


def _golden_cases() -> list:
    """Return the golden cases, network by network; all but one are slow tests."""
    return [
        name if name == "mobilenet_v2_ftbn1" else pytest.param(name, marks=pytest.mark.slow)
        for name in sorted(_STEPS, key=lambda case: _network_options(case).to_json())
    ]


@pytest.mark.parametrize("case", _golden_cases())
def test_steps_equal_the_official_ones(case):
    """Compare losses, learning rates and the change of every variable.

    With batch norm trained, a random network is ill-conditioned: two builds of the official code
    differ by a percent after one step, so the third step cannot be compared.
    """
    expected = _STEPS[case]
    settings = expected["settings"]
    run = _golden_trainer(case)
    frozen = not settings["fine_tune_batch_norm"]
    images = tf.constant(_ARRAYS["image"], tf.float32)
    labels = tf.constant(_ARRAYS["label"], tf.int32)
    variables = checkpoint.official_variables(run.net)
    before = {name: variable.numpy() for name, variable in variables.items()}

    for step in range(4 if frozen else 1):
        if settings["extra"].get("optimizer") != "adam":
            np.testing.assert_allclose(run.learning_rate, expected["lr"][step], rtol=1e-6)
        with contextlib.nullcontext() if case in _TRACED else tiny.eager():
            losses = {name: float(value) for name, value in run.train_step(images, labels).items()}
        tolerance = 1e-3 if frozen else 1e-4
        regularization = losses.pop("total_regularization_loss")
        total = losses.pop("total_loss")
        np.testing.assert_allclose(regularization, expected["reg_loss"][step], rtol=1e-5)
        np.testing.assert_allclose(total, expected["total_loss"][step], rtol=tolerance)
        np.testing.assert_allclose(
            sorted(losses.values()), sorted(expected["clone_losses"][step]), rtol=tolerance
        )
        if step == 0:
            _check_changes(case, variables, before, tolerance=1e-3 if frozen else 0.05)
    assert run.step == (4 if frozen else 1)


def _check_changes(case: str, variables: dict, before: dict, tolerance: float) -> None:
    """Compare the first change of every variable: its norm, and its values if they are stored."""
    norms = _STEPS[case]["var__l2_sum_deltal2__after_steps"]["1"]
    assert set(norms) == set(variables)
    for name, (norm, _, change) in norms.items():
        after = variables[name].numpy()
        # A smaller change than the resolution of the variable is rounding.
        resolution = 2e-7 * norm
        ours = np.linalg.norm(after - before[name])
        assert abs(ours - change) <= tolerance * change + resolution, name
        stored = _ARRAYS.get(f"{case}/step1/{name}")
        if stored is not None:
            difference = np.linalg.norm(after - stored)
            assert difference <= 2 * tolerance * change + resolution, name


# --- The trainer's own promises, on a small network ---


@pytest.fixture(scope="module")
def small_network() -> model.DeepLab:
    with tiny.minimal():
        return model.DeepLab(training.OPTIONS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return the folder of a run of one step. Tests leave it as it is."""
    folder = tmp_path_factory.mktemp("finished")
    run = training.new(training_number_of_steps=1, save_summaries_images=True)
    run.open(str(folder))
    with tiny.eager():
        run.train(training.batches(0, 1))
    return folder


@pytest.mark.parametrize(
    ("optimizer", "parts"), [("momentum", 2), pytest.param("adam", 3, marks=pytest.mark.slow)]
)
def test_a_resumed_run_ends_with_the_same_bits(tmp_path: pathlib.Path, optimizer: str, parts: int):
    whole = training.new(optimizer=optimizer)
    whole.open(str(tmp_path / "whole"))
    with tiny.eager():
        whole.train(training.batches(0, 2 * parts))

        for _ in range(parts):
            part = training.new(optimizer=optimizer)
            part.open(str(tmp_path / "parts"))
            part.train(training.batches(part.step, part.step + 2))

    assert whole.step == part.step == 2 * parts
    ours, theirs = training.values(part), training.values(whole)
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


@pytest.mark.parametrize(
    "case",
    ["poly_decay1000_slow100", "poly_slow100_linear", "step_f0.5_s500", "cosine_slow100"]
    + ["multi_steps"],
)
def test_flags_give_the_official_learning_rates(small_network, case):
    facts = golden.misc("learning_rate")[0]
    flags = []
    for name, value in facts["cases"][case]["args"].items():
        values = value if isinstance(value, list) else [value]
        flags += [f"--{name}={each}" for each in values]
    options = train_flags.training_run(tiny.parse(train, flags)).training
    run = trainer.Trainer(small_network, options, training.IGNORE_LABEL)
    run.begin()
    for step, rate in zip(facts["steps"], facts["cases"][case]["lr"], strict=True):
        run.optimizer.iterations.assign(step)
        np.testing.assert_allclose(run.learning_rate, rate, rtol=1e-6)


@pytest.mark.slow
def test_paths_are_dropped_the_more_the_longer_a_run_is():
    """No path is dropped at the beginning; at the end the dropped paths vary."""
    with tiny.shallow():
        net = model.DeepLab(
            common.ModelOptions(
                model_variant="nas_pnasnet",
                nas_stem_output_num_conv_filters=4,
                aspp_with_batch_norm=False,
                output_stride=32,
                num_classes=3,
            )
        )
    golden.assign(checkpoint.official_variables(net))
    options = trainer.TrainOptions(training_number_of_steps=10, drop_path_keep_prob=0.3)
    run = trainer.Trainer(net, options, training.IGNORE_LABEL)
    run.begin()
    (batch,) = training.batches(0, 1)
    for step, same in ((0, True), (10, False)):
        run.optimizer.iterations.assign(step)
        first, second = (net(batch["image"], training=True).numpy() for _ in range(2))
        assert np.array_equal(first, second) == same


@pytest.mark.slow
def test_a_finished_run_is_left_alone(finished: pathlib.Path):
    before = (finished / "checkpoint").read_text()
    again = training.new(training_number_of_steps=1)
    again.open(str(finished))
    again.train(training.batches(1, 2))
    assert again.step == 1
    assert (finished / "checkpoint").read_text() == before


@pytest.mark.slow
def test_a_second_start_says_that_it_ignores_the_initial_checkpoint(finished, caplog):
    with caplog.at_level("INFO", logger="absl"):
        training.new().open(str(finished), initial_checkpoint="elsewhere/model.ckpt")
    assert "resuming from step 1" in caplog.text
    assert "--tf_initial_checkpoint=elsewhere/model.ckpt is ignored" in caplog.text


@pytest.mark.slow
def test_the_first_loss_that_is_not_finite_stops_the_run(tmp_path: pathlib.Path):
    run = training.new()
    run.open(str(tmp_path))

    def batches():
        yield from training.batches(0, 1)
        run.variables()["logits/semantic/biases"].assign([np.inf] * 3)
        yield from training.batches(1, 2)

    with (
        tiny.eager(),
        pytest.raises(
            FloatingPointError,
            match=r"at step 2: .*images image1a, image1b; or the step before broke .* image0a",
        ),
    ):
        run.train(batches())
    assert checkpoint_files.latest(str(tmp_path)) is None


@pytest.mark.slow
def test_frozen_batch_norm_keeps_its_averages_but_learns_gamma_and_beta(tmp_path):
    run = training.new(fine_tune_batch_norm=False)
    golden.assign(checkpoint.official_variables(run.net))
    run.open(str(tmp_path))
    before = training.values(run)
    with tiny.eager():
        run.train(training.batches(0, 2))
    after = training.values(run)
    changed = {name for name, value in before.items() if not np.array_equal(value, after[name])}
    assert not any(name.endswith(("moving_mean", "moving_variance")) for name in changed)
    trainable = [name for name in before if name.endswith(("weights", "gamma", "beta", "biases"))]
    assert set(trainable) <= changed


@pytest.mark.slow
def test_a_resumed_run_keeps_its_optimizer(finished: pathlib.Path):
    with pytest.raises(ValueError, match="was not written with --optimizer=adam"):
        training.new(optimizer="adam").open(str(finished))


@pytest.mark.slow
def test_the_curves_have_the_official_names(finished: pathlib.Path):
    (file,) = finished.glob("events.out.tfevents.*")
    tags = {
        value.tag
        for record in tf.data.TFRecordDataset(str(file))
        for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value
    }
    expected = {"learning_rate", "total_loss", "losses/total_regularization_loss"}
    expected |= {"samples/image", "samples/label", "samples/semantic", "logits/semantic/weights"}
    assert expected <= tags


@pytest.mark.slow
def test_an_official_run_resumes(tmp_path: pathlib.Path):
    """A TensorFlow 1 checkpoint with momentum is resumed; the next one has the same names."""
    official = golden.shared("data/checkpoints/official_mnv2_momentum")
    for file in official.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    net = model.DeepLab(common.ModelOptions(depth_multiplier=0.35))
    options = trainer.TrainOptions(training_number_of_steps=4, train_batch_size=2)
    run = trainer.Trainer(net, options, training.IGNORE_LABEL)
    # The official code cannot resume without slots, either.
    shutil.copytree(golden.shared("golden/_misc/ckpt_mnv2_dm0.35_fill"), tmp_path / "no slots")
    with pytest.raises(ValueError, match="was not written with --optimizer=momentum: it has no"):
        run.open(str(tmp_path / "no slots"))

    run.open(str(tmp_path))
    assert run.step == 3
    reader = tf.train.load_checkpoint(str(official / "model.ckpt-3"))
    for name, variable in run.variables().items():
        np.testing.assert_array_equal(variable.numpy(), reader.get_tensor(name))

    with tiny.eager():
        run.train(training.batches(3, 4))
    ours = tf.train.load_checkpoint(str(tmp_path / "model.ckpt-4"))
    assert ours.get_variable_to_shape_map() == reader.get_variable_to_shape_map()
    assert ours.get_variable_to_dtype_map() == reader.get_variable_to_dtype_map()
    assert ours.get_tensor("global_step") == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training_number_of_steps": 0}, "--training_number_of_steps is 0"),
        ({"train_batch_size": 0}, "--train_batch_size is 0"),
        ({"log_steps": 0}, "--log_steps is 0"),
        ({"base_learning_rate": float("nan")}, "--base_learning_rate is nan"),
        ({"last_layer_gradient_multiplier": -1}, "--last_layer_gradient_multiplier is -1"),
    ],
)
def test_options_without_sense_name_their_flag(change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        trainer.TrainOptions(**change)
