import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab.core.options import LossOptions
from deeplab.testing import golden
from deeplab.training import losses

CASES = {name: case for name, case in golden.misc("losses")[0].items() if name[0] != "_"}


@functools.cache
def _arrays():
    arrays = golden.misc("losses")[1]
    return arrays | {
        "lab255": arrays["labels_255"],
        "lab0": arrays["labels_0"],
        "all": np.full_like(arrays["labels_255"], 255),
    }


def _arguments(case):
    """Return the arguments of `SegmentationLoss`."""
    options = dict(case["args"])
    return {
        "ignore_label": case["ignore_label"],
        "label_weights": options.pop("loss_weight", 1.0),
    } | options


def _options(case):
    options = _arguments(case)
    del options["ignore_label"]
    if isinstance(options["label_weights"], float):
        options["label_weights"] = [options["label_weights"]] * 5
    return LossOptions(**options)


def _with_gradients(case, step):
    """Return losses, their sum and its gradients, computed as by a trainer."""
    names = ["logits_merged", "logits_0.50"][: 1 + case["two_scales"]]
    logits = {name: tf.constant(_arrays()[name]) for name in names}
    with tf.GradientTape() as tape:
        tape.watch(logits)
        labels = tf.constant(_arrays()[case["labels"]])
        each = {
            name: losses.softmax_cross_entropy(
                each, labels, _options(case), ignore_label=case["ignore_label"], step=step
            )
            for name, each in logits.items()
        }
        total = tf.add_n(list(each.values()))
    return each, total, tape.gradient(total, logits)


@pytest.mark.parametrize(
    ("name", "compiled"),
    [pytest.param(name, False, id=f"{name}-eager") for name in CASES]
    + [
        pytest.param(
            name, True, id=f"{name}-xla", marks=[] if name == "topk0.25" else [pytest.mark.slow]
        )
        for name in CASES
    ],
)
def test_values_and_gradients_are_the_official_ones(name, compiled):
    case = CASES[name]
    function = functools.partial(_with_gradients, case)
    if compiled:
        function = tf.function(function, jit_compile=True)
    each, total, gradients = function(tf.constant(case["global_step"], tf.int64))
    np.testing.assert_allclose(list(each.values()), case["losses"], rtol=1e-6)
    np.testing.assert_allclose(total, case["total"], rtol=1e-6)
    official = [_arrays()[f"grad_{name}"]]
    if case["two_scales"]:
        official.append(_arrays()[f"grad2_{name}"])
    for ours, theirs in zip(gradients.values(), official, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6 * max(np.abs(theirs).max(), 1e-30))


def test_labels_of_any_dtype_and_without_a_channel_mean_the_same():
    logits, labels = _arrays()["logits_merged"], _arrays()["lab255"]
    for same in (labels[..., 0], labels.astype(np.int64), labels.astype(np.float32)):
        for upsample in (True, False):
            a, b = (
                losses.softmax_cross_entropy(
                    logits, each, LossOptions(upsample_logits=upsample), ignore_label=255
                )
                for each in (labels, same)
            )
            assert a == b


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_low_precision_logits_lose_nothing_but_their_own_digits(dtype):
    logits = tf.cast(_arrays()["logits_merged"], dtype)
    labels = _arrays()["lab255"]
    loss = losses.softmax_cross_entropy(logits, labels, ignore_label=255)
    assert loss.dtype == tf.float32
    assert loss == losses.softmax_cross_entropy(
        tf.cast(logits, tf.float32), labels, ignore_label=255
    )


def test_the_ignored_pixels_logits_get_no_gradient():
    logits = tf.random.stateless_normal([1, 5, 5, 3], [1, 2])
    labels = np.zeros([1, 5, 5], np.int32)
    labels[:, :2] = 7
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = losses.softmax_cross_entropy(logits, labels, ignore_label=7)
    gradient = tape.gradient(loss, logits)
    assert not np.any(gradient[:, :2])
    assert np.all(gradient[:, 2:])


def test_a_label_that_is_no_class_is_an_error():
    labels = np.full([1, 4, 4], 3)
    for weights in (None, [1.0, 2.0, 3.0]):
        with pytest.raises(tf.errors.InvalidArgumentError, match="label value of 3"):
            losses.softmax_cross_entropy(
                tf.zeros([1, 4, 4, 3]),
                labels,
                LossOptions(label_weights=weights),
                ignore_label=255,
            )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_weights": [1.0, 2.0]}, "label_weights holds 2 weights for 5 classes"),
        ({"top_k_percent_pixels": 25}, "top_k_percent_pixels is 25; .* at least 0 and at most 1"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        losses.softmax_cross_entropy(
            _arrays()["logits_merged"],
            _arrays()["lab255"],
            LossOptions(**options),
            ignore_label=255,
        )


def test_parts_of_a_batch_average_to_the_whole_with_the_mean_count():
    logits, labels = _arrays()["logits_merged"], _arrays()["lab255"].copy()
    labels[1, :20] = 255
    mean = np.float32((labels != 255).sum() / 2)
    whole = losses.softmax_cross_entropy(logits, labels, ignore_label=255)
    parts = [
        losses.softmax_cross_entropy(
            logits[i : i + 1], labels[i : i + 1], ignore_label=255, normalizer=lambda _: mean
        )
        for i in range(2)
    ]
    np.testing.assert_allclose(np.mean(parts), whole, rtol=1e-6)


def test_l2_loss_is_half_the_squares_and_its_gradient_the_weights():
    variables = [keras.Variable(np.full([2, 3], 2.0)), tf.Variable([3.0])]
    with tf.GradientTape() as tape:
        loss = losses.l2_loss(variables, 0.5)
    assert loss == 0.5 * (6 * 2.0 + 4.5)
    for gradient, variable in zip(tape.gradient(loss, variables), variables, strict=True):
        np.testing.assert_array_equal(gradient, 0.5 * variable.numpy())
    assert losses.l2_loss([], 0.5) == 0.0


class TestSegmentationLoss:
    @pytest.mark.parametrize("name", [n for n in CASES if not CASES[n]["two_scales"]])
    def test_is_the_official_loss(self, name):
        case = CASES[name]
        loss = losses.SegmentationLoss(step=tf.Variable(case["global_step"]), **_arguments(case))
        loss = losses.SegmentationLoss.from_config(loss.get_config() | {"step": loss.step})
        value = loss(_arrays()[case["labels"]], _arrays()["logits_merged"])
        assert value.shape == ()
        np.testing.assert_allclose(value, case["total"], rtol=1e-6)

    def test_is_saved_by_its_arguments(self):
        loss = losses.SegmentationLoss(255, [0.5, 1.0], False, 0.25, 100)
        config = keras.losses.serialize(loss)
        assert config["registered_name"] == "deeplab>SegmentationLoss"
        assert keras.losses.deserialize(config).get_config() == loss.get_config()

    def test_refuses_what_it_cannot_honour(self):
        labels, logits = _arrays()["lab255"], _arrays()["logits_merged"]
        with pytest.raises(ValueError, match="takes no sample_weight: set label_weights"):
            losses.SegmentationLoss(255)(labels, logits, sample_weight=np.ones(2))
        loss = losses.SegmentationLoss(255, top_k_percent_pixels=0.5, hard_example_mining_step=9)
        with pytest.raises(ValueError, match="step=optimizer.iterations"):
            loss(labels, logits)

    def test_fit_takes_the_gradient_of_the_official_loss(self):
        case = CASES["weights"]
        logits = keras.Input([9, 11, 5])
        model = keras.Model(logits, _Bias(name="bias")(logits))
        model.compile(keras.optimizers.SGD(1.0), losses.SegmentationLoss(**_arguments(case)))
        model.fit(_arrays()["logits_merged"], _arrays()["lab255"], epochs=1, verbose=0)
        np.testing.assert_allclose(
            model.get_layer("bias").bias, -_arrays()["grad_weights"].sum((0, 1, 2)), atol=1e-6
        )


class _Bias(keras.layers.Layer):
    """Adds a bias to each class."""

    def build(self, input_shape):
        self.bias = self.add_weight(shape=input_shape[-1:], initializer="zeros")

    def call(self, inputs):
        return inputs + self.bias
