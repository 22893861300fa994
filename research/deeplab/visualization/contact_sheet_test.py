import numpy as np

from deeplab.testing import tiny
from deeplab.visualization import contact_sheet

_COLORS = np.array([[10, 20, 30], [200, 0, 0], [0, 200, 0]], np.uint8)


def test_a_sheet_has_every_image_and_its_label():
    images = [tiny.picture(64, 64, seed) for seed in range(8)]
    samples = [(image, np.full((64, 64), seed % 3)) for seed, image in enumerate(images)]
    sheet = contact_sheet.draw([("train", samples), ("val", samples[:1])], _COLORS, size=64)
    windows = np.lib.stride_tricks.sliding_window_view(sheet[::1, :, 0], (64, 64))
    for image, _ in samples:
        assert np.any(np.all(windows[:, :, ::9, ::9] == image[::9, ::9, 0], axis=(2, 3)))
    for color in _COLORS:
        assert np.count_nonzero(np.all(sheet == color, axis=2)) >= 64 * 64


def test_ignored_pixels_are_hatched_and_images_may_lack_labels():
    image = tiny.picture(30, 60)
    label = np.full((30, 60), 255)
    groups = [("test", [(image, None)]), ("val", [(image, label)])]
    sheet = contact_sheet.draw(
        groups, _COLORS, class_names=["a", "b", "c"], ignore_label=255, size=60
    )
    assert np.count_nonzero(np.all(sheet == 160, axis=2)) > 100
    assert sheet.dtype == np.uint8
    assert contact_sheet.draw(groups[:1], _COLORS, size=60).shape[1] == sheet.shape[1]
