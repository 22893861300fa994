"""The image operations of preprocessing, against official numbers and TensorFlow's kernels."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab.core import preprocess_utils
from deeplab.core.options import RandomScale
from deeplab.testing import golden

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)


def _golden(name):
    return golden.misc("preprocess")[0][name]


@pytest.mark.parametrize(
    "case", [c for c in _golden("resize_to_range_sizes__h_w_min_max_factor_keep_outh_outw") if c[5]]
)
def test_sizes_in_range_are_official(case):
    height, width, min_size, max_size, factor, _, new_height, new_width = case
    size = preprocess_utils.size_in_range(tf.constant([height, width]), min_size, max_size, factor)
    assert tuple(size.numpy()) == (new_height, new_width)


def test_only_a_maximal_size_is_an_error():
    with pytest.raises(ValueError, match="--max_resize_value=513 and --resize_factor=16 need it"):
        preprocess_utils.resize_to_range(tf.zeros([5, 7, 3]), None, None, 513, 16)


def test_resizing_without_label():
    image, label = preprocess_utils.resize_to_range(tf.zeros([5, 7, 3], tf.uint8), None, 9)
    assert image.shape == (9, 12, 3)
    assert image.dtype == tf.float32
    assert label is None


def _scales(min_scale, max_scale, step):
    return RandomScale(
        min_scale_factor=min_scale, max_scale_factor=max_scale, scale_factor_step_size=step
    )


@pytest.mark.parametrize("name", list(_golden("get_random_scale")))
def test_random_scales_are_official(name):
    facts = _golden("get_random_scale")[name]
    bounds = [float(number) for number in name.split("_")]
    largest = np.nextafter(np.float32(1), np.float32(0))
    uniforms = tf.constant(np.linspace(0, largest, 41), tf.float32)
    scales = [preprocess_utils.random_scale(_scales(*bounds), u).numpy() for u in uniforms]
    if bounds[2] == 0:
        np.testing.assert_allclose(scales, 0.5 + uniforms * 1.5, rtol=1e-6)
    else:
        assert sorted(set(map(float, scales))) == sorted(set(facts["distinct"]))


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (
            (2.0, 0.5, 0.25),
            "--min_scale_factor is 2.0; .* --max_scale_factor, which is 0.5",
        ),
        ((0.0, 0.5, 0.25), "--min_scale_factor is 0.0; it must be a finite number, above 0"),
        ((0.5, 2.0, -0.25), "--scale_factor_step_size is -0.25; .* at least 0"),
    ],
)
def test_wrong_scales(bounds, message):
    with pytest.raises(ValueError, match=message):
        _scales(*bounds)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [(tf.float32, [123.15, 115.9, 103.06]), (tf.int32, 255), (tf.uint8, 255)],
)
def test_padding(dtype, value):
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3))
    padded = preprocess_utils.pad_to_bounding_box(tf.cast(image, dtype), 2, 1, 9, 7, value)
    expected = np.broadcast_to(np.float32(value), (9, 7, 3)).copy()
    expected[2:6, 1:6] = image
    assert padded.dtype == dtype
    np.testing.assert_allclose(padded, expected, rtol=0, atol=2e-5)


def _positions(size, scaled_size):
    return preprocess_utils.aligned_positions(
        tf.constant(size), tf.constant(scaled_size), tf.constant(0), scaled_size
    )


@pytest.mark.parametrize("scale", SCALES)
def test_sampling_a_whole_image_is_the_official_scaling(scale):
    _, arrays = golden.misc("preprocess")
    image, label = arrays["scale_img"], arrays["scale_lab"]
    expected_image = arrays[f"scale_{scale:.2f}_img"]
    expected_label = arrays[f"scale_{scale:.2f}_lab"]
    rows, columns = (_positions(image.shape[i], expected_image.shape[i]) for i in range(2))
    np.testing.assert_allclose(
        preprocess_utils.sample_bilinear(image, rows, columns), expected_image, rtol=0, atol=1e-4
    )
    np.testing.assert_array_equal(
        preprocess_utils.sample_nearest(label, rows, columns), expected_label
    )


@pytest.mark.slow
def test_nearest_positions_are_those_of_the_kernel_for_every_size():
    for size in (2, 3, 64, 97, 375, 500):
        side = np.arange(size, dtype=np.int32)[None, :, None, None]
        for scaled_size in range(2, 2 * size + 3):
            expected = tf.raw_ops.ResizeNearestNeighbor(
                images=side, size=[scaled_size, 1], align_corners=True
            )
            rows = _positions(size, scaled_size)
            ours = preprocess_utils.sample_nearest(side[0], rows, tf.zeros([1]))
            np.testing.assert_array_equal(ours, expected[0], err_msg=f"{size} {scaled_size}")


def test_a_part_is_sampled_as_in_the_whole():
    image = np.random.default_rng(0).integers(0, 256, (23, 31, 3)).astype(np.uint8)
    whole = preprocess_utils.sample_bilinear(image, _positions(23, 41), _positions(31, 50))

    def part(size, scaled_size, start, limit):
        return preprocess_utils.aligned_positions(
            *(tf.constant(n) for n in (size, scaled_size, start)), limit
        )

    sampled = preprocess_utils.sample_bilinear(image, part(23, 41, 7, 20), part(31, 50, 35, 20))
    # The second part reaches past the end.
    np.testing.assert_allclose(sampled, whole[7:27, 35:50], rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_side_may_be_scaled_to_one_pixel_and_from_one(size):
    np.testing.assert_array_equal(_positions(size, 1), [0.0])
    np.testing.assert_array_equal(_positions(1, size), np.zeros(size))
