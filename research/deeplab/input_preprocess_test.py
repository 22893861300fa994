"""Crops for evaluation equal the official ones, crops for training the official chain."""

import collections
import functools

import numpy as np
import pytest
import tensorflow as tf

from deeplab import input_preprocess
from deeplab.core.options import AugmentationOptions, RandomScale
from deeplab.input_preprocess import Preprocessing
from deeplab.testing import golden

MEAN_PIXEL = (123.15, 115.9, 103.06)


def _cases():
    facts, arrays = golden.misc("preprocess")
    return [name for name in facts if name.startswith("case") and f"{name}_img" in arrays]


@pytest.mark.parametrize("case", _cases())
def test_evaluation_is_the_official_one(case):
    facts, arrays = golden.misc("preprocess")
    expected, options = facts[case], facts[case]["kw"]
    mean_pixel = facts["mean_pixel"][str(expected["model_variant"])]
    original, image, label = input_preprocess.preprocess_for_evaluation(
        tf.constant(arrays[f"{case}_img"]),
        tf.constant(arrays[f"{case}_lab"]),
        Preprocessing(
            crop_size=expected["crop"],
            mean_pixel=mean_pixel,
            ignore_label=expected["ignore_label"],
            **options,
        ),
    )
    assert original.dtype == expected["original_dtype"]
    assert image.dtype == expected["processed_dtype"]
    assert label.dtype == expected["label_dtype"]
    np.testing.assert_allclose(image, arrays[f"{case}_processed"], rtol=1e-6)
    np.testing.assert_array_equal(label, arrays[f"{case}_label"])
    expected_original = arrays[f"{case}_original" if options else f"{case}_img"]
    np.testing.assert_allclose(original, expected_original, rtol=1e-6)
    # The last pixel is padding where there is any.
    np.testing.assert_allclose(image[-1, -1], expected["pad_pixel"], rtol=1e-6)


def test_evaluation_without_a_label():
    original, image, label = input_preprocess.preprocess_for_evaluation(
        tf.zeros([5, 40, 3], tf.uint8),
        None,
        Preprocessing(crop_size=(33, 33), mean_pixel=MEAN_PIXEL),
    )
    assert original.shape == (5, 40, 3)
    assert image.shape == (33, 40, 3)
    assert label is None


def test_only_a_maximal_size_is_an_error():
    image = tf.zeros([5, 7, 3])
    preprocessing = Preprocessing(
        crop_size=(33, 33), mean_pixel=MEAN_PIXEL, ignore_label=255, max_resize_value=9
    )
    with pytest.raises(ValueError, match="min_resize_value"):
        input_preprocess.preprocess_for_evaluation(image, None, preprocessing)
    with pytest.raises(ValueError, match="min_resize_value"):
        input_preprocess.preprocess_for_training(
            image, image[..., :1], tf.constant([0, 0]), preprocessing
        )


@pytest.mark.parametrize("sizes", [{}, {"min_resize_value": 20, "max_resize_value": 30}])
@pytest.mark.parametrize("crop_size", [(33, 17), None])
def test_a_batch_is_prepared_like_each_of_its_images(sizes, crop_size):
    image, label = _picture((24, 41))
    images, labels = tf.stack([image, image[::-1]]), tf.stack([label, label[::-1]])
    preprocessing = Preprocessing(crop_size=crop_size, mean_pixel=MEAN_PIXEL, **sizes)
    found = input_preprocess.preprocess_for_evaluation(images, labels, preprocessing)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        alone = input_preprocess.preprocess_for_evaluation(image, label, preprocessing)
        for ours, theirs in zip(found, alone, strict=True):
            np.testing.assert_array_equal(ours[index], theirs)
            assert ours.dtype == theirs.dtype


# Training, against the official chain, one step after the other.

SCALES = {"min_scale_factor": 0.5, "max_scale_factor": 2.0, "scale_factor_step_size": 0.25}
SIZES = {
    "larger": (97, 130),
    "smaller": (24, 30),
    "wide": (30, 129),
    "high": (129, 24),
    "equal": (65, 65),
    "one_row": (1, 40),
}
CROP = (65, 65)


def _picture(size):
    """Noise, the hardest of images for resampling, and a label with the place of each pixel."""
    image = np.random.default_rng(size).integers(0, 256, (*size, 3)).astype(np.uint8)
    label = np.arange(size[0] * size[1], dtype=np.int32).reshape(*size, 1)
    return tf.constant(image), tf.constant(label)


def _choices(seed, size, crop, scales):
    """Scale, offset and flip for a seed: which uniform number decides about what."""
    uniform = tf.random.stateless_uniform([4], seed, alg="philox").numpy()
    number = int((scales[1] - scales[0]) / scales[2] + 1)
    table = tf.raw_ops.LinSpace(start=scales[0], stop=scales[1], num=number).numpy()
    scale = table[int(uniform[0] * number)]
    scaled_size = np.maximum((np.float32(size) * scale).astype(np.int32), 1)
    places = np.maximum(scaled_size, crop) - crop + 1
    offset = (uniform[1:3] * places.astype(np.float32)).astype(np.int32)
    return scaled_size, offset, uniform[3] < 0.5


def _official_chain(image, label, scaled_size, offset, flip, crop=CROP, ignore_label=255):
    """Scales, pads, crops and flips with TensorFlow's own operations."""
    image = tf.raw_ops.ResizeBilinear(
        images=tf.cast(image, tf.float32)[None], size=scaled_size, align_corners=True
    )[0]
    label = tf.raw_ops.ResizeNearestNeighbor(
        images=label[None], size=scaled_size, align_corners=True
    )[0]
    padding = [[0, max(crop[0] - scaled_size[0], 0)], [0, max(crop[1] - scaled_size[1], 0)], [0, 0]]
    image = np.stack(
        [
            np.pad(image[..., channel], padding[:2], constant_values=MEAN_PIXEL[channel])
            for channel in range(3)
        ],
        axis=-1,
    )
    label = np.pad(label, padding, constant_values=ignore_label)
    window = np.s_[offset[0] : offset[0] + crop[0], offset[1] : offset[1] + crop[1]]
    image, label = image[window], label[window]
    return (image[:, ::-1], label[:, ::-1]) if flip else (image, label)


def _trained(image, label, seed, **options):
    scales = {name: options.pop(name) for name in SCALES if name in options}
    # Any scale between two bounds, unless there is a step.
    scales = RandomScale(**{"scale_factor_step_size": 0.0} | scales) if scales else None
    options = {"crop_size": CROP, "mean_pixel": MEAN_PIXEL, "ignore_label": 255} | options
    return input_preprocess.preprocess_for_training(
        image, label, seed, Preprocessing(**options), scales
    )


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_training_equals_the_official_chain(size):
    image, label = _picture(size)
    crop = tf.function(lambda seed: _trained(image, label, seed, **SCALES), autograph=False)
    for number in range(60):
        seed = tf.constant([1, number], tf.int64)
        ours, our_label = crop(seed)
        choices = _choices(seed, size, CROP, tuple(SCALES.values()))
        theirs, their_label = _official_chain(image, label, *choices)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * 255, err_msg=str(choices))
        np.testing.assert_array_equal(our_label, their_label, err_msg=str(choices))


@pytest.mark.slow
def test_training_equals_the_official_chain_for_any_scale():
    """Scales between the steps, where positions have no simple fractions."""
    size = (97, 130)
    image, label = _picture(size)
    scales = (0.5, 2.0, 0.01)
    options = dict(zip(SCALES, scales, strict=True))
    crop = tf.function(lambda seed: _trained(image, label, seed, **options), autograph=False)
    for number in range(150):
        seed = tf.constant([2, number], tf.int64)
        choices = _choices(seed, size, CROP, scales)
        theirs, their_label = _official_chain(image, label, *choices)
        ours, our_label = crop(seed)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * 255, err_msg=str(choices))
        np.testing.assert_array_equal(our_label, their_label, err_msg=str(choices))


@pytest.mark.parametrize("size", [(360, 480), (375, 500)])
def test_training_equals_the_official_chain_for_photographs(size):
    image, label = _picture(size)
    for number in range(6):
        seed = tf.constant([3, number], tf.int64)
        ours, our_label = _trained(image, label, seed, crop_size=(321, 321), **SCALES)
        choices = _choices(seed, size, (321, 321), tuple(SCALES.values()))
        theirs, their_label = _official_chain(image, label, *choices, crop=(321, 321))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * 255)
        np.testing.assert_array_equal(our_label, their_label)


def test_training_resizes_first():
    size = (60, 90)
    image, label = _picture(size)
    resizing = {"min_resize_value": 80, "max_resize_value": 97, "resize_factor": 16}
    resized, _, resized_label = input_preprocess.preprocess_for_evaluation(
        image, label, Preprocessing(crop_size=(1, 1), mean_pixel=MEAN_PIXEL, **resizing)
    )
    assert resized.shape == (65, 97, 3)
    for number in range(10):
        seed = tf.constant([4, number], tf.int64)
        ours, our_label = _trained(image, label, seed, **resizing, **SCALES)
        choices = _choices(seed, (65, 97), CROP, tuple(SCALES.values()))
        theirs, their_label = _official_chain(resized, resized_label, *choices)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * 255)
        np.testing.assert_array_equal(our_label, their_label)


def test_training_without_scaling_copies_pixels():
    image, label = _picture((97, 130))
    ours, our_label = _trained(image, label, tf.constant([5, 5]))
    # The label holds each pixel's place.
    rows, columns = np.divmod(our_label.numpy()[..., 0], 130)
    np.testing.assert_allclose(ours, image.numpy()[rows, columns], rtol=0, atol=1e-4)


def test_training_gives_static_shapes_and_official_types():
    spec = [
        tf.TensorSpec([None, None, 3], tf.uint8),
        tf.TensorSpec([None, None, 1], tf.uint8),
        tf.TensorSpec([2], tf.int64),
    ]
    crop = tf.function(
        lambda *args: _trained(*args, **SCALES), input_signature=spec, autograph=False
    )
    image, label = crop.get_concrete_function().structured_outputs
    assert (image.shape, image.dtype) == ((65, 65, 3), tf.float32)
    assert (label.shape, label.dtype) == ((65, 65, 1), tf.int32)


def test_padding_is_the_mean_pixel_and_the_ignore_label():
    image, label = _picture((24, 30))
    ours, our_label = _trained(image, label, tf.constant([6, 1]), ignore_label=77777)
    padding = our_label.numpy()[..., 0] == 77777
    assert padding.sum() == 65 * 65 - 24 * 30
    np.testing.assert_allclose(
        ours.numpy()[padding], np.tile(np.float32(MEAN_PIXEL), (padding.sum(), 1)), rtol=1e-6
    )


@pytest.mark.slow
def test_distribution_is_the_official_one():
    """Scales, offsets and flips come with equal chances, independently of each other."""
    size, samples = (66, 69), 6000
    # The image's pixels tell their own place.
    places = np.stack(np.meshgrid(np.arange(66), np.arange(69), indexing="ij"), -1)
    image = tf.constant(np.concatenate([places, places[..., :1]], -1), tf.float32)
    label = tf.zeros((*size, 1), tf.int32)
    options = SCALES | {"max_scale_factor": 1.5, "min_scale_factor": 1.0}

    @tf.autograph.experimental.do_not_convert
    def corners(number):
        crop, _ = _trained(image, label, [tf.constant(7, tf.int64), number], **options)
        return tf.stack([crop[0, 0], crop[-1, -1]])

    found = tf.data.Dataset.range(samples).map(corners, num_parallel_calls=2).batch(samples)
    first, last = np.moveaxis(found.get_single_element().numpy()[..., :2], 1, 0)
    flipped = first[:, 1] > last[:, 1]
    left = np.minimum(first[:, 1], last[:, 1])
    spans = last[:, 0] - first[:, 0]
    counts = collections.Counter()
    for scale, span in ((1.0, 64.0), (1.25, 64 * 65 / 81), (1.5, 64 * 65 / 98)):
        chosen = np.abs(spans - span) < 0.2
        counts[scale] = chosen.sum()
        scaled_size = (np.array(size) * scale).astype(int)
        positions = np.stack([first[chosen, 0], left[chosen]], 1)
        offsets = np.rint(positions * (scaled_size - 1) / (np.array(size) - 1)).astype(int)
        for axis in range(2):
            _assert_even(offsets[:, axis], scaled_size[axis] - 65 + 1)
        _assert_even(flipped[chosen], 2)
    assert sum(counts.values()) == samples
    _assert_even(np.repeat([0, 1, 2], list(counts.values())), 3)


def _assert_even(values, number):
    """Every one of `number` values comes as often as the others, up to chance (4 sigma)."""
    counts = np.bincount(np.asarray(values, int), minlength=number)
    assert len(counts) == number
    expected = len(values) / number
    chi_square = ((counts - expected) ** 2 / expected).sum()
    if number > 1:
        # Wilson and Hilferty's approximation to the quantiles of chi-square.
        spread = 2 / (9 * (number - 1))
        assert chi_square < (number - 1) * (1 - spread + 4 * np.sqrt(spread)) ** 3, counts


def test_choices_depend_on_the_seed_alone():
    image, label = _picture((97, 130))
    scales = {"min_scale_factor": 0.8, "max_scale_factor": 2.0}
    crop = tf.function(lambda seed: _trained(image, label, seed, **scales)[1], autograph=False)
    once = [crop(tf.constant([8, n], tf.int64)).numpy().tobytes() for n in range(20)]
    again = [crop(tf.constant([8, n], tf.int64)).numpy().tobytes() for n in reversed(range(20))]
    assert once == again[::-1]
    assert len(set(once)) == 20
    others = [crop(tf.constant([9, n], tf.int64)).numpy().tobytes() for n in range(20)]
    assert not set(once) & set(others)


# What training does besides.

_TINY_CROP = (24, 30)


def _places(size):
    """An image whose first two channels are the place of a pixel, and such a label."""
    places = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1).astype(np.float32)
    image = np.concatenate([places, np.full_like(places[..., :1], 200)], -1)
    label = np.arange(size[0] * size[1], dtype=np.int32).reshape(*size, 1)
    return tf.constant(image), tf.constant(label)


@functools.cache
def _augmentation(crop_size, max_scale, **options):
    """A graph that takes image, label and the number of a sample."""
    preprocessing = Preprocessing(crop_size=crop_size, mean_pixel=MEAN_PIXEL, ignore_label=-1)
    scales = RandomScale(
        min_scale_factor=1 / max_scale, max_scale_factor=max_scale, scale_factor_step_size=0
    )
    augmentation = AugmentationOptions(**options)

    @tf.function(autograph=False)
    def augmented(image, label, number):
        seed = tf.stack([tf.constant(10, tf.int64), number])
        return input_preprocess.preprocess_for_training(
            image, label, seed, preprocessing, scales, augmentation
        )

    return augmented


def _augmented(image, label, number, crop_size=_TINY_CROP, max_scale=2.0, **options):
    graph = _augmentation(crop_size, max_scale, **options)
    crop, places = graph(image, label, tf.constant(number, tf.int64))
    return crop.numpy(), places.numpy()[..., 0]


@pytest.mark.parametrize(
    "options",
    [
        {"random_vertical_flip": True},
        {"random_quarter_turns": True},
        {"max_rotation": 180, "random_vertical_flip": True, "random_quarter_turns": True},
    ],
    ids=["flipped", "turned", "rotated"],
)
def test_image_and_label_of_every_geometry_show_the_same_places(options):
    """Interpolation of places is exact, so that a label is off by half a pixel at most."""
    image, label = _places((40, 27))
    shown = 0
    for number in range(25):
        crop, places = _augmented(image, label, number, **options)
        outside = places == -1
        assert np.all(crop[outside] == np.float32(MEAN_PIXEL))
        difference = crop[..., :2] - np.stack(np.divmod(places, 27), -1)
        assert np.abs(difference[~outside]).max() <= 0.5 + 1e-3
        np.testing.assert_allclose(crop[~outside][:, 2], 200, rtol=1e-6)
        shown += np.mean(~outside)
    assert shown > 10


def test_turns_and_flips_come_evenly():
    image, label = _places((9, 9))
    found = collections.Counter()
    for number in range(240):
        _, places = _augmented(
            image,
            label,
            number,
            crop_size=(5, 5),
            max_scale=1.0,
            random_quarter_turns=True,
            random_vertical_flip=True,
        )
        rows, columns = np.divmod(places, 9)
        found[
            np.sign(rows[-1, 0] - rows[0, 0]),
            np.sign(columns[-1, 0] - columns[0, 0]),
            np.sign(rows[0, -1] - rows[0, 0]),
            np.sign(columns[0, -1] - columns[0, 0]),
        ] += 1
    assert len(found) == 8
    _assert_even(np.repeat(range(8), list(found.values())), 8)


@pytest.mark.slow
def test_what_is_done_besides_changes_nothing_else():
    """Scale, place and left-right flip are the official ones of the seed; colors move no pixel."""
    image, label = _places((40, 27))
    colors = {"random_brightness": 32, "random_contrast": 0.5, "random_blur": 2}
    changed = 0
    for number in range(12):
        crop, places = _augmented(image, label, number)
        upside_down = _augmented(image, label, number, random_vertical_flip=True)
        assert any(
            np.array_equal(upside_down[0], each) and np.array_equal(upside_down[1], same)
            for each, same in ((crop, places), (crop[::-1], places[::-1]))
        )
        colored, same = _augmented(image, label, number, **colors)
        np.testing.assert_array_equal(same, places)
        # Padding keeps its color.
        np.testing.assert_array_equal(colored[places == -1], crop[places == -1])
        changed += not np.array_equal(colored, crop)
    assert changed > 6


@pytest.mark.parametrize(
    "turns",
    [{}, {"max_rotation": 180, "random_quarter_turns": True}],
    ids=["straight", "rotated"],
)
def test_a_class_has_at_most_its_share_of_a_crop(turns):
    """The first of ten crops that does not exceed it is taken, else the one with the least."""
    size = (90, 40)
    random = np.random.default_rng(1)
    label = np.where(np.arange(90)[:, None] < 60, 0, random.integers(1, 4, size))
    label[75:] = -1
    label = tf.constant(label[..., np.newaxis].astype(np.int32))
    image = tf.zeros((*size, 3))

    def share(places):
        counts = np.bincount(places[places >= 0], minlength=4)
        return counts.max() / counts.sum() if counts.sum() else 1.0

    kept, found = 0, []
    for number in range(30):
        _, official = _augmented(image, label, number, crop_size=(15, 15), **turns)
        _, places = _augmented(
            image, label, number, crop_size=(15, 15), max_class_share=0.6, **turns
        )
        if share(official) <= 0.6:
            np.testing.assert_array_equal(places, official)
            kept += 1
        else:
            assert share(places) <= share(official)
            found.append(share(places) <= 0.6)
    assert kept > 2
    assert np.mean(found) > 0.6


def test_an_image_of_one_class_keeps_its_crop():
    image, label = _picture((50, 60))
    label = tf.zeros_like(label)
    crops = [_augmented(image, label, 3, max_class_share=limit)[0] for limit in (0.5, 1.0)]
    np.testing.assert_array_equal(*crops)
