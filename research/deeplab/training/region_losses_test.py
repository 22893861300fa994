"""Each loss against a plain NumPy form of its paper, in parts of a batch, and its gradient."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab.core.options import LossOptions, TrainOptions
from deeplab.training import losses

_IGNORE_LABEL = 255
_LOSSES = ("cross_entropy", "focal", "dice", "cross_entropy_dice", "tversky", "lovasz")
# Every parameter that a loss has, other than its default.
_PARAMETERS = {
    "focal": {"focal_gamma": 1.5},
    "cross_entropy_dice": {"dice_loss_weight": 0.4},
    "tversky": {"tversky_alpha": 0.2, "tversky_beta": 0.9},
}
_WEIGHTS = (0.5, 2.0, 0.0, 1.25)


def _batch() -> tuple[np.ndarray, np.ndarray]:
    """Return logits and labels of four images: with all classes, two, one and no labeled pixel."""
    random = np.random.default_rng(3)
    logits = random.normal(0, 2, (4, 5, 6, 4)).astype(np.float32)
    labels = random.integers(0, 4, (4, 5, 6))
    labels[1] = random.integers(1, 3, (5, 6))
    labels[2] = 3
    labels[0, :2, :3] = labels[1, 4] = labels[3] = _IGNORE_LABEL
    return logits, labels


def _options(loss: str, **changes) -> LossOptions:
    return LossOptions(loss=loss, **_PARAMETERS.get(loss, {}), **changes)


def _loss(logits, labels, options: LossOptions, **keywords) -> tf.Tensor:
    return losses.segmentation_loss(logits, labels, options, ignore_label=_IGNORE_LABEL, **keywords)


# --- The plain forms, one pixel and one class after the other, in float64 ---


def _probabilities(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(np.float64(logits) - logits.max())
    return powers / powers.sum()


def _pixels(logits: np.ndarray, labels: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Return the probabilities and the label of each pixel that counts."""
    flat = zip(logits.reshape(-1, logits.shape[-1]), labels.flat, strict=True)
    return [(_probabilities(own), int(label)) for own, label in flat if label != _IGNORE_LABEL]


def _focal(logits, labels, gamma, weights) -> float:
    pixels = _pixels(logits, labels)
    each = [weights[c] * -np.log(p[c]) * (1 - p[c]) ** gamma for p, c in pixels]
    return sum(each) / len(pixels) if pixels else 0.0


def _dice_of_class(pixels, own) -> float:
    over = sum(p[own] * (c == own) for p, c in pixels)
    return 1 - 2 * over / sum(p[own] ** 2 + (c == own) ** 2 for p, c in pixels)


def _tversky_of_class(pixels, own, alpha=0.2, beta=0.9) -> float:
    hits = sum(p[own] for p, c in pixels if c == own)
    wrong = sum(p[own] for p, c in pixels if c != own)
    missed = sum(1 - p[own] for p, c in pixels if c == own)
    return 1 - hits / (hits + alpha * wrong + beta * missed)


def _lovasz_of_class(pixels, own) -> float:
    """The integral of 1 - IoU over thresholds: the pixels above one are those that are wrong.

    For a set function whose value of the empty set is 0, this integral is the Lovász extension.
    """
    errors = [1 - p[own] if c == own else p[own] for p, c in pixels]
    total, below = 0.0, 0.0
    for threshold in sorted(set(errors)):
        wrong = [error >= threshold for error in errors]
        predicted = [(c == own) != bad for (_, c), bad in zip(pixels, wrong, strict=True)]
        both = sum(a and c == own for a, (_, c) in zip(predicted, pixels, strict=True))
        either = sum(a or c == own for a, (_, c) in zip(predicted, pixels, strict=True))
        total += (threshold - below) * (1 - both / either)
        below = threshold
    return total


def _of_regions(of_class, logits, labels, weights) -> float:
    each = []
    for image, label in zip(logits, labels, strict=True):
        pixels = _pixels(image, label)
        present = sorted({c for _, c in pixels})
        if present:
            total = sum(weights[c] for c in present)
            own = [weights[c] * of_class(pixels, c) for c in present]
            each.append(sum(own) / total if total else 0.0)
    return np.mean(each) if each else 0.0


def _plain(loss: str, logits, labels, weights=(1.0, 1.0, 1.0, 1.0)) -> float:
    if loss == "cross_entropy_dice":
        dice = _of_regions(_dice_of_class, logits, labels, weights)
        return _focal(logits, labels, 0.0, weights) + 0.4 * dice
    if loss in ("cross_entropy", "focal"):
        return _focal(logits, labels, 1.5 if loss == "focal" else 0.0, weights)
    of_class = {"dice": _dice_of_class, "tversky": _tversky_of_class, "lovasz": _lovasz_of_class}
    return _of_regions(of_class[loss], logits, labels, weights)


@pytest.mark.parametrize("loss", _LOSSES)
def test_a_loss_is_its_plain_form(loss):
    logits, labels = _batch()
    found = _loss(logits, labels, _options(loss))
    np.testing.assert_allclose(found, _plain(loss, logits, labels), rtol=1e-5)
    assert found.dtype == tf.float32
    weighted = _loss(logits, labels[..., np.newaxis], _options(loss, label_weights=_WEIGHTS))
    np.testing.assert_allclose(weighted, _plain(loss, logits, labels, _WEIGHTS), rtol=1e-5)


@pytest.mark.parametrize("loss", _LOSSES)
def test_a_gradient_is_the_finite_difference(loss):
    logits, labels = _batch()
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = _loss(variable, labels, _options(loss, label_weights=_WEIGHTS))
    gradient = tape.gradient(value, variable).numpy()
    # Ignored pixels learn nothing.
    np.testing.assert_array_equal(gradient[labels == _IGNORE_LABEL], 0)
    random = np.random.default_rng(5)
    for _ in range(6):
        direction = random.normal(size=logits.shape)
        ahead, behind = (
            _plain(loss, np.float64(logits) + step * direction, labels, _WEIGHTS)
            for step in (1e-5, -1e-5)
        )
        np.testing.assert_allclose(
            np.sum(gradient * direction), (ahead - behind) / 2e-5, rtol=2e-3, atol=2e-5
        )


@pytest.mark.parametrize("upsample_logits", [True, False])
@pytest.mark.parametrize("loss", _LOSSES)
def test_the_mean_of_the_parts_is_the_whole(loss, upsample_logits):
    """With the mean counts, however many labeled pixels and images a part has; gradients too."""
    logits, labels = _batch()
    labels = np.repeat(np.repeat(labels, 2, axis=1), 2, axis=2)[..., np.newaxis]
    options = _options(loss, label_weights=_WEIGHTS, upsample_logits=upsample_logits)
    size = None if upsample_logits else logits.shape[1:3]
    counts = losses.count_labeled(tf.constant(labels), _IGNORE_LABEL, size)
    assert counts.images == 3

    def value_and_gradient(logits, labels, **keywords):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = _loss(logits, labels, options, **keywords)
        return value, tape.gradient(value, logits)

    logits, labels = tf.constant(logits), tf.constant(labels)
    whole, gradient = value_and_gradient(logits, labels)
    mean = losses.Counts(*(count / 4 for count in counts))
    parts, gradients = zip(
        *(
            value_and_gradient(
                logits[i : i + 1],
                labels[i : i + 1],
                normalizer=lambda own, unit: getattr(mean, unit),
            )
            for i in range(4)
        ),
        strict=True,
    )
    np.testing.assert_allclose(np.mean(parts), whole, rtol=1e-5)
    np.testing.assert_allclose(tf.concat(gradients, 0) / 4, gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_xla_compiles_the_losses_of_regions():
    """Labels are an argument: which classes an image has is not known when it compiles."""
    logits, labels = _batch()

    @tf.function(jit_compile=True)
    def compiled(logits, labels):
        each = [_loss(logits, labels, _options(loss)) for loss in ("dice", "tversky", "lovasz")]
        return tf.stack(each), tf.gradients(each, logits)[0]

    expected = [_plain(loss, logits, labels) for loss in ("dice", "tversky", "lovasz")]
    for same in (slice(None), slice(None, None, -1)):
        found, gradient = compiled(tf.constant(logits[same]), tf.constant(labels[same]))
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("loss", _LOSSES)
def test_a_batch_without_a_labeled_pixel_is_zero(loss):
    logits, labels = _batch()
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = _loss(variable, np.full_like(labels, _IGNORE_LABEL), _options(loss))
    assert value == 0
    np.testing.assert_array_equal(tape.gradient(value, variable), 0)


@pytest.mark.parametrize("loss", _LOSSES)
@pytest.mark.parametrize("certainty", [60.0, -60.0])
def test_certain_pixels_have_finite_gradients(loss, certainty):
    """Probabilities are exactly 0 and 1; a gamma below 1 has a vertical slope there."""
    labels = np.arange(12).reshape(1, 3, 4) % 3
    logits = tf.Variable(certainty * np.eye(3, dtype=np.float32)[labels])
    options = LossOptions(loss=loss, **({"focal_gamma": 0.5} if loss == "focal" else {}))
    with tf.GradientTape() as tape:
        value = _loss(logits, labels, options)
    assert np.all(np.isfinite(tape.gradient(value, logits)))
    assert value < 1e-6 if certainty > 0 else value > 0.5


@pytest.mark.parametrize("loss", _LOSSES)
def test_low_precision_logits_are_computed_in_float32(loss):
    logits, labels = _batch()
    low = tf.cast(logits, tf.bfloat16)
    same = _loss(tf.cast(low, tf.float32), labels, _options(loss))
    assert _loss(low, labels, _options(loss)) == same


@pytest.mark.parametrize("loss", ("dice", "tversky", "lovasz"))
def test_a_label_that_is_no_class_is_never_learned_silently(loss):
    logits, labels = _batch()
    labels[1, 0, 0] = 4
    assert np.isnan(_loss(logits, labels, _options(loss)))


def test_lovasz_of_hard_labels_is_one_minus_the_iou():
    random = np.random.default_rng(7)
    labels, predicted = random.integers(0, 3, (2, 1, 20, 20))
    logits = 100.0 * np.eye(3, dtype=np.float32)[predicted]
    ious = [
        np.sum((labels == c) & (predicted == c)) / np.sum((labels == c) | (predicted == c))
        for c in range(3)
    ]
    found = _loss(logits, labels, LossOptions(loss="lovasz"))
    np.testing.assert_allclose(found, 1 - np.mean(ious), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "iou"}, "--loss is 'iou'; it must be one of cross_entropy, focal"),
        ({"loss": "dice", "top_k_percent_pixels": 0.5}, "percent_pixels=0.5 belongs to --loss=cro"),
        ({"loss": "focal", "hard_example_mining_step": 9}, "--hard_example_mining_step=9 belongs"),
        ({"focal_gamma": 1.0}, "--focal_gamma=1.0 belongs to --loss=focal, but --loss is cross_en"),
        ({"loss": "dice", "dice_loss_weight": 2}, "belongs to --loss=cross_entropy_dice"),
        ({"loss": "tversky", "tversky_beta": 0}, "--tversky_beta is 0; it must be .*above 0"),
    ],
)
def test_options_that_have_no_meaning_are_one_error(options, message):
    for options_class in (LossOptions, TrainOptions):
        with pytest.raises(ValueError, match=message) as error:
            options_class(**options)
        assert "\n" not in str(error.value)


def test_weights_are_one_a_class():
    logits, labels = _batch()
    for loss in ("focal", "dice"):
        with pytest.raises(ValueError, match="label_weights holds 2 weights for 4 classes"):
            _loss(logits, labels, LossOptions(loss=loss, label_weights=(1.0, 2.0)))


@pytest.mark.parametrize("loss", _LOSSES)
def test_the_keras_loss_is_the_same(loss):
    logits, labels = _batch()
    keras_loss = losses.SegmentationLoss(
        _IGNORE_LABEL, list(_WEIGHTS), loss=loss, **_PARAMETERS.get(loss, {})
    )
    copy = losses.SegmentationLoss.from_config(keras_loss.get_config())
    expected = _loss(logits, labels, _options(loss, label_weights=_WEIGHTS))
    assert copy(labels, logits) == keras_loss(labels, logits) == expected
