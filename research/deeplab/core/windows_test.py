"""Windows: the mean of all that see a pixel, as a brute-force loop finds it."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from deeplab.core import windows
from deeplab.core.options import WindowOptions

_CLASSES = 3


def _starts(length, side, stride):
    """Return where windows start: every stride, the last one moved inward."""
    starts = list(range(0, max(length - side, 0) + 1, stride))
    return starts if starts[-1] + side >= length else [*starts, length - side]


def _weights(height, width):
    """Return a pyramid, one at its edges."""
    rows, columns = (
        np.array([min(index + 1, side - index) for index in range(side)])
        for side in (height, width)
    )
    return rows[:, np.newaxis] * columns


def brute_force(predict, image, sides, window):
    """Return the mean probabilities [H, W, classes] of an image, in double precision."""
    total, weight = 0.0, np.zeros(image.shape[:2])
    places = (
        _starts(length, side, stride)
        for length, side, stride in zip(image.shape[:2], sides, window.strides, strict=True)
    )
    for y, x in itertools.product(*places):
        own = np.zeros(image.shape[:2])
        own[y : y + sides[0], x : x + sides[1]] = _weights(*sides)
        found = np.zeros((*image.shape[:2], _CLASSES))
        crop = image[y : y + sides[0], x : x + sides[1]]
        found[y : y + sides[0], x : x + sides[1]] = predict(crop[np.newaxis])[0]
        total, weight = total + own[..., np.newaxis] * found, weight + own
    assert (weight > 0).all()
    return total / weight[..., np.newaxis]


def _predict(crops):
    """Predict what depends on the place in the window and on all of its pixels."""
    crops = tf.cast(crops, tf.float32)
    mean = tf.reduce_mean(crops, axis=(1, 2), keepdims=True)
    shape = tf.shape(crops)
    place = tf.cast(tf.range(shape[1])[:, tf.newaxis] - tf.range(shape[2]), tf.float32)
    return tf.nn.softmax((crops - mean) / 50.0 + tf.sin(place)[..., tf.newaxis])


def _all(probabilities):
    return [tf.argmax(probabilities, -1, tf.int32), probabilities]


def _average(images, sides, window):
    """Return labels and probabilities; eagerly."""
    return windows.average(_predict, images, sides, window, _CLASSES, _all)


@tf.function(
    input_signature=[tf.TensorSpec((None, None, None, 3)), tf.TensorSpec(2, tf.int32)],
    autograph=False,
)
def _graph(images, sides):
    return _average(images, sides, WindowOptions(size=(9, 12)))


@pytest.mark.parametrize(
    "size", [(9, 12), (18, 24), (19, 25), (10, 13), (9, 40), (31, 12), (23, 37), (5, 20), (80, 13)]
)
def test_it_is_the_mean_of_all_windows(size):
    images = np.random.default_rng(0).uniform(0, 255, (2, *size, 3)).astype(np.float32)
    sides = np.minimum(size, (9, 12)).astype(np.int32)
    labels, probabilities = (each.numpy() for each in _graph(images, sides))
    assert labels.shape == (2, *size) and labels.dtype == np.int32
    for image, found in zip(images, probabilities, strict=True):
        expected = brute_force(_predict, image, sides, WindowOptions(size=(9, 12)))
        np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-5)
    np.testing.assert_array_equal(labels, probabilities.argmax(axis=-1))


@pytest.mark.parametrize(
    ("size", "overlap"),
    [((7, 7), 0), ((8, 5), 0), ((8, 5), 0.2), ((7, 7), 0.5), ((8, 5), 0.5), ((4, 5), 0.75)],
)
def test_windows_overlap_by_their_share(size, overlap):
    window = WindowOptions(size=size, overlap=overlap)
    images = np.random.default_rng(1).uniform(0, 255, (1, 17, 10, 3)).astype(np.float32)
    _, found = _average(images, window.size, window)
    expected = brute_force(_predict, images[0], window.size, window)
    np.testing.assert_allclose(found[0], expected, atol=1e-6)


def test_one_window_is_the_whole_image_to_the_last_bit():
    images = np.random.default_rng(2).uniform(0, 255, (2, 17, 23, 3)).astype(np.float32)
    _, found = _average(images, (17, 23), WindowOptions(size=(33, 33)))
    np.testing.assert_array_equal(found, _predict(images))


def test_windows_without_overlap_are_cut_out_to_the_last_bit():
    images = np.random.default_rng(2).uniform(0, 255, (1, 12, 8, 3)).astype(np.float32)
    window = WindowOptions(size=(6, 8), overlap=0)
    _, found = _average(images, (6, 8), window)
    expected = tf.concat([_predict(images[:, :6]), _predict(images[:, 6:])], axis=1)
    np.testing.assert_array_equal(found, expected)


def test_a_high_image_is_one_mean_although_it_is_worked_on_in_bands(monkeypatch):
    images = np.random.default_rng(3).uniform(0, 255, (1, 31, 7, 3)).astype(np.float32)
    window = WindowOptions(size=(5, 7), overlap=0.6)
    found = []
    for band in (1, 2, 1000):
        monkeypatch.setattr(windows, "_BAND", band)
        found.append(_average(images, window.size, window)[1])
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[2])


@pytest.mark.slow
def test_what_is_held_does_not_grow_with_the_image():
    """At most a window's width of a band is finished at a time."""
    largest = []
    for size in ((40, 8), (80, 8), (40, 32)):
        seen = []

        def finish(probabilities, seen=seen):
            seen.append(int(tf.size(probabilities)))
            return [tf.argmax(probabilities, -1)]

        images = np.zeros((1, *size, 3), np.float32)
        window = WindowOptions(size=(4, 4), overlap=0)
        windows.average(
            lambda crops: tf.fill([*crops.shape[:3], _CLASSES], 1 / _CLASSES),
            images,
            window.size,
            window,
            _CLASSES,
            finish,
        )
        largest.append(max(seen))
    assert largest == [8 * 4 * 4 * _CLASSES] * 3


@pytest.mark.parametrize(
    ("size", "padded", "seen", "sides"),
    [
        # Larger than the window: inside the image, whatever the crop size is.
        ((50, 60), (50, 60), (50, 60), (33, 41)),
        ((34, 42), (65, 65), (34, 42), (33, 41)),
        # Not larger: as without windows.
        ((33, 41), (33, 41), (33, 41), (33, 41)),
        ((20, 30), (33, 33), (33, 33), (33, 33)),
        ((20, 30), (65, 65), (65, 65), (65, 65)),
        # In one direction only.
        ((20, 60), (25, 60), (25, 60), (25, 41)),
    ],
)
def test_an_image_that_the_window_covers_is_padded_as_without_windows(size, padded, seen, sides):
    found = windows.layout([size], [padded], WindowOptions(size=(33, 41)))
    np.testing.assert_array_equal(found, [[seen], [sides]])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"overlap": 1.0}, "--window_overlap is 1.0; it must be .* at least 0 and below 1"),
        ({"overlap": -0.1}, "--window_overlap is -0.1; it must be"),
        ({"overlap": float("nan")}, "--window_overlap is nan"),
        ({"size": (0, 5)}, r"--window is \(0, 5\); it must be height,width: two whole numbers"),
        ({"size": (5,)}, r"--window is \(5,\); it must be height,width"),
        ({"size": (99999, 5)}, "--window is .* at most 16384"),
    ],
)
def test_options_that_cannot_be_name_their_flag(values, message):
    with pytest.raises(ValueError, match=message) as error:
        WindowOptions(**values)
    assert "\n" not in str(error.value)


def test_windows_advance_by_a_pixel_at_least():
    assert WindowOptions(size=(9, 513), overlap=0.999).strides == (1, 1)
    assert WindowOptions(size=(513, 257), overlap=0).strides == (513, 257)
    assert WindowOptions(size=(513, 257)).strides == (256, 128)
