import numpy as np
import pytest

from deeplab.testing import tiny
from deeplab.visualization import colors, contact_sheet, drawing, tiles

_COLORS = np.array([[10, 20, 30], [200, 0, 0], [0, 200, 0]], np.uint8)
_LEGEND = colors.Legend(_COLORS, ["a", "b", "c"], ignore_label=255)


def _tile(image, label, prediction=None, **options):
    size = max(image.shape[:2])
    return tiles.draw(image, label, prediction, _LEGEND, size=size, **options)


def test_a_sheet_has_every_image_and_its_label():
    images = [tiny.picture(64, 64, seed) for seed in range(8)]
    samples = [_tile(image, np.full((64, 64), seed % 3)) for seed, image in enumerate(images)]
    sheet = contact_sheet.draw([("train", samples), ("val", samples[:1])], _LEGEND)
    windows = np.lib.stride_tricks.sliding_window_view(sheet[::1, :, 0], (64, 64))
    for image in images:
        assert np.any(np.all(windows[:, :, ::9, ::9] == image[::9, ::9, 0], axis=(2, 3)))
    for color in _COLORS:
        assert np.count_nonzero(np.all(sheet == color, axis=2)) >= 64 * 64


def test_ignored_pixels_are_hatched_and_images_may_lack_labels():
    image = tiny.picture(30, 60)
    label = np.full((30, 60), 255)
    groups = [("test", [_tile(image, None)]), ("val", [_tile(image, label)])]
    sheet = contact_sheet.draw(groups, _LEGEND)
    assert np.count_nonzero(np.all(sheet == 160, axis=2)) > 100
    assert sheet.dtype == np.uint8


def test_names_are_below_their_tiles_and_long_ones_lose_their_beginning():
    image = tiny.picture(30, 60)
    plain = contact_sheet.draw([("val", [_tile(image, None)] * 3)], _LEGEND)
    named = [_tile(image, None, name=name) for name in ("a", "", "folder/" * 40 + "end")]
    sheet = contact_sheet.draw([("val", named)], _LEGEND)
    assert sheet.shape[0] == plain.shape[0] + drawing.LINE
    assert sheet.shape[1] == plain.shape[1]
    below = slice(drawing.LINE + drawing.GAP + 30, drawing.LINE + drawing.GAP + 30 + drawing.LINE)
    written = np.flatnonzero((sheet[below] < 200).any(axis=(0, 2)))
    pitch = 60 + drawing.GAP
    assert {int(column - drawing.GAP) // pitch for column in written} == {0, 2}
    assert written.max() < drawing.GAP + 2 * pitch + 60


@pytest.mark.parametrize("labeled, predicted", [(True, True), (False, True), (True, False)])
def test_a_tile_shows_what_there_is(labeled, predicted):
    image = tiny.picture(20, 30)
    label, prediction = np.zeros((20, 30), int), np.zeros((20, 30), int)
    label[:5], label[5:7], prediction[5:12] = 2, 255, 1
    tile = _tile(image, label if labeled else None, prediction if predicted else None)
    lefts = range(0, tile.picture.shape[1], 30 + tiles.SEAM)
    assert tile.picture.shape == (20, lefts[-1] + 30, 3)
    parts = [tile.picture[:, left : left + 30] for left in lefts]
    np.testing.assert_array_equal(parts.pop(0), image)
    if labeled:
        shown = parts.pop(0)
        np.testing.assert_array_equal(shown[:5], np.broadcast_to(_COLORS[2], (5, 30, 3)))
        assert set(np.unique(shown[5:7])) == {160, 255}
    if predicted:
        np.testing.assert_array_equal(parts.pop(0), _COLORS[prediction])
    if labeled and predicted:
        errors = parts.pop(0).astype(int)
        red = errors[..., 0] - errors[..., 1] > 100
        wrong = (label != prediction) & (label != 255)
        np.testing.assert_array_equal(red, wrong)
        gray = np.ptp(errors, axis=-1) < 3
        np.testing.assert_array_equal(gray, ~wrong)
    assert not parts
    values = {0} | ({2, 255} if labeled else set()) | ({1} if predicted else set())
    assert tile.values == tuple(sorted(values))


def test_a_tile_survives_json():
    tile = _tile(tiny.picture(20, 31), None, np.ones((20, 31), int), name="a")
    other = tiles.Tile.of_json(tile.as_json())
    np.testing.assert_array_equal(other.picture, tile.picture)
    assert (other.values, other.name) == (tile.values, tile.name)
