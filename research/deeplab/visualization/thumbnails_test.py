import base64

import cv2
import numpy as np
import pytest

from deeplab.visualization import colors, thumbnails

_COLORS = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)
_LEGEND = colors.Legend(_COLORS, ignore_label=255)


def _pixels(uri):
    """Decode a picture: RGB or RGBA."""
    kind, data = uri.split(",")
    assert kind == "data:image/webp;base64"
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_UNCHANGED)
    swap = cv2.COLOR_BGRA2RGBA if picture.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return cv2.cvtColor(picture, swap)


def _sample(height, width):
    random = np.random.default_rng(0)
    image = cv2.resize(random.integers(0, 256, (5, 6, 3), np.uint8), (width, height))
    label = random.integers(0, 3, (height, width))
    label[0] = 255
    return image, label, random.integers(0, 3, (height, width))


class TestLayers:
    def test_labels_and_errors_keep_their_exact_colors(self):
        image, label, prediction = _sample(20, 31)
        found = thumbnails.layers(image, label, prediction, _LEGEND)
        assert (found.width, found.height) == (31, 20)
        pictures = dict(zip(thumbnails.LAYERS, map(_pixels, found.uris), strict=True))
        np.testing.assert_array_equal(
            pictures["label"], colors.colorize(label, _COLORS, ignore_label=255)
        )
        np.testing.assert_array_equal(pictures["prediction"], _COLORS[prediction])
        red = (pictures["errors"][..., :3] == (230, 40, 30)).all(axis=-1)
        np.testing.assert_array_equal(red, (label != prediction) & (label != 255))
        opaque = pictures["errors"][..., 3] > 0
        np.testing.assert_array_equal(opaque, (label != prediction) | (label == 255))
        assert np.abs(pictures["image"].astype(int) - image).mean() < 8

    @pytest.mark.parametrize("most", [60_000, 20_000, 6_000])
    def test_they_are_as_small_as_needed(self, most):
        image, label, prediction = _sample(60, 90)
        blocks = [np.kron(each, np.ones((8, 8), int)) for each in (label, prediction)]
        found = thumbnails.layers(cv2.resize(image, (720, 480)), *blocks, _LEGEND, most)
        assert sum(map(len, found.uris)) <= most
        assert found.width / found.height == pytest.approx(1.5, abs=0.03)

    def test_a_float_image_is_cut_to_its_range(self):
        image, label, prediction = _sample(8, 8)
        found = thumbnails.layers(np.full((8, 8, 3), 300.0), label, prediction, _LEGEND)
        assert _pixels(found.uris[0]).min() > 250


def test_an_outlined_crop_shows_the_region_and_its_surroundings():
    image = np.full((300, 400, 3), 120, np.uint8)
    image[100:140, 200:260] = (10, 200, 10)
    mask = np.zeros((300, 400), bool)
    mask[100:140, 200:260] = True
    picture = _pixels(thumbnails.outlined(image, mask)).astype(int)
    assert max(picture.shape) == 200
    yellow = (picture[..., 0] > 200) & (picture[..., 1] > 180) & (picture[..., 2] < 120)
    assert yellow.any()
    # Green inside, gray outside.
    middle = picture[picture.shape[0] // 2, picture.shape[1] // 2]
    np.testing.assert_allclose(middle, (10, 200, 10), atol=12)
    np.testing.assert_allclose(picture[2, 2], (120, 120, 120), atol=12)
    # At a corner of the image as well, and for a single pixel.
    mask[:] = False
    mask[0, 0] = True
    assert _pixels(thumbnails.outlined(image, mask)).size
