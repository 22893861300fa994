import cv2
import numpy as np
import pytest

from deeplab.datasets import perceptual_hash


def _picture(height, width, seed):
    """An image with details of all sizes, as photographs have, uint8 [height, width, 3]."""
    random = np.random.default_rng(seed)
    picture = np.full((height, width, 3), 128.0)
    for cells, contrast in ((3, 40), (6, 28), (12, 20), (24, 14)):
        noise = random.normal(0, contrast, (cells, cells, 3))
        picture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _distance(first, second):
    return (perceptual_hash.of_image(first) ^ perceptual_hash.of_image(second)).bit_count()


def _jpeg(image, quality):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        lambda image: _jpeg(image, 20),
        lambda image: cv2.resize(image, (90, 70), interpolation=cv2.INTER_AREA),
        lambda image: cv2.resize(image, (400, 290)),
        lambda image: cv2.convertScaleAbs(image, alpha=0.8, beta=20),
        lambda image: np.ascontiguousarray(image[2:-2, 3:-3]),
        lambda image: np.roll(image, 2, axis=1),
    ],
)
def test_copies_of_an_image_have_nearly_its_hash(change):
    for seed in range(4):
        image = _picture(150, 200, seed)
        assert _distance(image, change(image)) <= perceptual_hash.MAX_DISTANCE


def test_other_images_have_other_hashes():
    hashes = np.array([perceptual_hash.of_image(_picture(60, 80, s)) for s in range(60)])
    places, distances = perceptual_hash.nearest(hashes[:30], hashes[30:])
    assert np.all(places == -1)
    assert np.all(distances == -1)


def test_an_image_without_contrast_is_like_no_other():
    flat = np.full((20, 30, 3), 128, np.uint8)
    assert perceptual_hash.of_image(flat) == perceptual_hash.NO_HASH
    hashes = np.zeros(3, np.uint64)
    assert np.all(perceptual_hash.nearest(hashes, hashes)[0] == -1)


@pytest.mark.parametrize("max_distance", [0, 3, 6])
def test_the_nearest_are_those_of_a_comparison_of_all_pairs(max_distance, monkeypatch):
    # Several chunks of pairs.
    monkeypatch.setattr(perceptual_hash, "_PAIRS", 64)
    random = np.random.default_rng(0)
    others = random.integers(1, 2**63, 200).astype(np.uint64)
    others[50:60] = others[40:50]
    flips = [sum(1 << int(b) for b in random.choice(64, n % 9, False)) for n in range(150)]
    hashes = others[:150] ^ np.array(flips, np.uint64)
    all_pairs = np.bitwise_count(hashes[:, np.newaxis] ^ others).astype(int)
    smallest = all_pairs.min(axis=1)
    is_near = smallest <= max_distance
    places, distances = perceptual_hash.nearest(hashes, others, max_distance)
    np.testing.assert_array_equal(places, np.where(is_near, all_pairs.argmin(axis=1), -1))
    np.testing.assert_array_equal(distances, np.where(is_near, smallest, -1))
    assert 0 < is_near.sum() < 150
