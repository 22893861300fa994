"""The choice of what stays in float32: made once, stored, and read by every later process."""

import json
import os
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab.core import layers, networks, normalization
from deeplab.testing import training
from deeplab.training import distribution, layer_times, pass_times, precision
from deeplab.training.layer_times import Times
from deeplab.utils import checkpoint_integrity

_FASTER = Times(float32=2.0, bfloat16=1.0, float32_between=2.5)
_SLOWER = Times(float32=1.0, bfloat16=2.0, float32_between=1.5)


def _twice_as_fast(choice: precision.Choice) -> tuple[float, float]:
    """Return the times of passes of a whole network."""
    return 2.0, 1.0


def test_each_kind_computes_in_the_type_in_which_it_is_faster():
    times = {"spatial": _FASTER, "pointwise": _FASTER, "depthwise": _SLOWER}
    assert precision.choose(times, _twice_as_fast).choice == precision.Choice(("depthwise",))
    assert precision.choose({"spatial": _FASTER}, _twice_as_fast).choice == precision.Choice()


def test_the_whole_network_computes_in_float32_where_that_is_faster():
    times = {"pointwise": Times(1.0, 0.9, 1.5), "depthwise": _SLOWER}
    assert precision.choose(times, pytest.fail).choice.is_whole
    # So small a gain may be noise.
    assert precision.choose({"spatial": Times(1.0, 0.97, 1.2)}, pytest.fail).choice.is_whole


def test_bfloat16_is_chosen_if_the_network_does_not_fit_into_the_memory_in_float32():
    def passes(choice: precision.Choice) -> tuple[float, float]:
        raise tf.errors.ResourceExhaustedError(None, None, "no memory")

    measured = precision.choose({"spatial": _FASTER, "depthwise": _SLOWER}, passes)
    assert measured.choice == precision.Choice(("depthwise",))
    assert "network" not in json.loads(measured.to_json())["measured_milliseconds"]


def test_what_convolutions_gain_may_be_lost_between_them():
    times = {"pointwise": _FASTER, "depthwise": _SLOWER}
    asked = []

    def passes(choice: precision.Choice) -> tuple[float, float]:
        asked.append(choice)
        return 1.0, 1.2

    measured = precision.choose(times, passes)
    assert measured.choice.is_whole
    assert asked == [precision.Choice(("depthwise",))]
    stored = json.loads(measured.to_json())["measured_milliseconds"]
    assert stored["network"] == {"float32": 1000.0, "mixed": 1200.0}
    assert stored["depthwise"]["bfloat16"] == 2000.0


def test_the_stored_choice_wins_over_another_measurement(tmp_path, caplog):
    strategy = tf.distribute.get_strategy()
    measured = precision.choose({"depthwise": _FASTER}, _twice_as_fast)
    first = precision.settle(strategy, str(tmp_path), lambda: measured)
    assert first == precision.Choice()
    with caplog.at_level("INFO", logger="absl"):
        again = precision.settle(strategy, str(tmp_path), pytest.fail)
    assert again == first
    assert "the network computes in bfloat16, according to" in caplog.messages[-1]
    assert precision.settle(strategy, str(tmp_path), None) == first
    stored = json.loads((tmp_path / precision.FILE).read_text())
    assert stored["measured_milliseconds"]["depthwise"]["bfloat16"] == 1000.0


def test_deterministic_operations_have_a_fixed_choice(tmp_path):
    strategy = tf.distribute.get_strategy()
    choice = precision.settle(strategy, str(tmp_path), None)
    assert choice == precision.FIXED
    assert str(choice) == (
        "the network computes in bfloat16, but depthwise convolutions compute in float32"
    )


def test_other_hosts_read_the_choice_of_the_chief(tmp_path, monkeypatch):
    strategy = tf.distribute.get_strategy()
    whole = precision.Measured(precision.Choice(layers.KINDS))
    theirs = precision.settle(strategy, str(tmp_path), lambda: whole)
    monkeypatch.setattr(distribution, "is_chief", lambda strategy: False)
    assert precision.settle(strategy, str(tmp_path), pytest.fail) == theirs
    os.remove(tmp_path / precision.FILE)
    with pytest.raises(ValueError, match="precision.json was written by the chief and is not here"):
        precision.settle(strategy, str(tmp_path), pytest.fail)


@pytest.mark.parametrize("content", ["[]", "{}", '{"float32": 1}', '{"float32": ["dense"]}', "{"])
def test_a_damaged_file_is_one_error(tmp_path, content):
    (tmp_path / precision.FILE).write_text(content)
    with pytest.raises(ValueError, match=r"precision\.json.*restore the file, or del") as error:
        precision.settle(tf.distribute.get_strategy(), str(tmp_path), pytest.fail)
    assert "\n" not in str(error.value)


def test_what_a_killed_process_left_of_it_is_known():
    assert re.fullmatch(checkpoint_integrity.WRITTEN, precision.FILE)


def test_a_convolution_computes_in_float32_between_values_in_bfloat16():
    options = normalization.BatchNormOptions(decay=0.9, epsilon=1e-3)
    layer = layers.DepthwiseConv2D(3, batch_norm=options, activation=tf.nn.relu6, name="layer")
    x = tf.cast(tf.random.stateless_normal((2, 9, 9, 4), seed=(0, 1)), tf.bfloat16)
    exact = layer(tf.cast(x, tf.float32), training=True)
    networks.set_precision(layer, keras.DTypePolicy("mixed_bfloat16"))
    low = layer(x, training=True)
    networks.compute_in_float32(layer, {"depthwise"})
    y = layer(x, training=True)
    assert y.dtype == tf.bfloat16
    np.testing.assert_array_equal(y, tf.cast(exact, tf.bfloat16))
    assert not np.array_equal(y, low)
    networks.compute_in_float32(layer, {"pointwise"})
    np.testing.assert_array_equal(layer(x, training=True), low)


def _trainer(choice: precision.Choice):
    """Return a trainer in bfloat16."""
    run = training.new(training_number_of_steps=4)
    networks.set_precision(run.net, keras.DTypePolicy("mixed_bfloat16"))
    choice.apply(run.net)
    return run


@pytest.mark.slow
def test_a_network_wholly_in_float32_has_its_bits():
    image = next(training.batches(0, 1))["image"]
    exact = training.new().net
    whole = _trainer(precision.Choice(layers.KINDS)).net
    np.testing.assert_array_equal(whole(image), exact(image))
    mixed = _trainer(precision.FIXED).net
    assert not np.array_equal(mixed(image), exact(image))


@pytest.mark.slow
def test_a_resumed_run_in_bfloat16_has_the_same_bits(tmp_path):
    """A later process computes with what is stored, whatever it would choose itself."""
    strategy, folder = tf.distribute.get_strategy(), str(tmp_path)
    whole = _trainer(precision.FIXED)
    for batch in training.batches(0, 4):
        whole.train_step(batch["image"], batch["label"])
    for first, last in ((0, 2), (2, 4)):
        part = _trainer(precision.settle(strategy, folder, pytest.fail if first else None))
        part.open(folder)
        assert part.step == first
        for batch in training.batches(first, last):
            part.train_step(batch["image"], batch["label"])
        part.save()
    ours, theirs = training.values(part), training.values(whole)
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


@pytest.mark.slow
def test_measuring_changes_nothing_and_covers_each_kind():
    run = _trainer(precision.Choice())
    before = training.values(run)
    times = layer_times.measure(run.net, 2, (33, 33))
    assert list(times) == list(layers.KINDS)
    assert all(value > 0 for each in times.values() for value in vars(each).values())
    computed_in = []

    def form(copy):
        computed_in.append(copy.compute_dtype)
        precision.FIXED.apply(copy)

    seconds = pass_times.measure(run.net, (form, form), 2, (33, 33))
    assert computed_in == ["bfloat16"] * 2
    assert len(seconds) == 2 and min(seconds) > 0
    np.testing.assert_equal(training.values(run), before)
