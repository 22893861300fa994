"""Images of any size go through a network of one size."""

import numpy as np
import pytest

from deeplab.export import fitting

MEAN = (1.5, 2.5, 3.5)


@pytest.mark.parametrize("size", [(8, 10), (5, 10), (1, 1)])
def test_an_image_that_fits_is_padded_as_exports_pad(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    fitted = fitting.fit(image, (8, 10), MEAN)
    assert fitted.size == size
    np.testing.assert_array_equal(fitted.pixels[: size[0], : size[1]], image)
    outside = np.ones((8, 10), bool)
    outside[: size[0], : size[1]] = False
    assert (fitted.pixels[outside] == MEAN).all()
    labels = np.arange(80).reshape(8, 10)
    np.testing.assert_array_equal(
        fitting.restore(labels, fitted, size), labels[: size[0], : size[1]]
    )


@pytest.mark.parametrize(
    ("size", "shown"),
    [((16, 20), (8, 10)), ((16, 16), (8, 8)), ((9, 40), (2, 10)), ((1, 99), (1, 10))],
)
def test_a_larger_one_keeps_its_aspect_ratio(size, shown):
    fitted = fitting.fit(np.full((*size, 3), 9, np.uint8), (8, 10), MEAN)
    assert fitted.size == shown
    assert (fitted.pixels[: shown[0], : shown[1]] == 9).all()
    labels = np.arange(80).reshape(8, 10)
    restored = fitting.restore(labels, fitted, size)
    assert (restored.shape, restored.dtype) == (size, np.int32)
    # Every label that is seen is somewhere, and those of the corners are in the corners.
    np.testing.assert_array_equal(np.unique(restored), np.unique(labels[: shown[0], : shown[1]]))
    assert restored[-1, -1] == labels[shown[0] - 1, shown[1] - 1]
