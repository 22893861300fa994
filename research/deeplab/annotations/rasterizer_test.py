import numpy as np
import pytest

from deeplab.annotations import rasterizer, run_lengths

# Polygons in an image of 20x14 pixels (width x height), with the mask that COCO's own code
# (pycocotools 2.0) draws, in its compressed form.
_DRAWN_BY_COCO = {
    "fractions": ([[1.3, 2.7, 17.9, 4.1, 8.2, 12.6]], "o01=2N1O2N1O1O1OO2O0O1O1O1O1O1O10h0"),
    "beyond the image": ([[-5.5, -3.25, 30.0, 4.75, 12.5, 40.25]], "0;32Na30_L0000001O00000000"),
    "a hole by a bridge": (
        [[1, 1, 15, 1, 15, 12, 1, 12, 1, 1, 4, 4, 4, 9, 11, 9, 11, 4, 4, 4]],
        "?;30000H20N020N020N020N020N020N020N8000000U2",
    ),
    "runs into itself": ([[2, 2, 16, 11, 16, 2, 2, 11]], "n096N2N101N1O2O00O101N2O0O2N2e1"),
    "two parts": (
        [
            [1.5, 1.5, 7.5, 1.5, 7.5, 9.5],
            [6.2, 3.3, 14.9, 3.3, 14.9, 12.2, 6.2, 12.2],
        ],
        "n01=1O1O2N5K01O000000000000S2",
    ),
    "no pixel": ([[3.1, 3.1, 3.3, 3.1, 3.2, 3.3]], "h8"),
    "a star": (
        [[18.0, 7.0, 3.53, 10.53, 12.47, 1.29, 12.47, 12.71, 3.53, 3.47]],
        "Z213150I17OI1e0N^O031M011O04O400000b1",
    ),
}


@pytest.mark.parametrize("name", _DRAWN_BY_COCO)
def test_polygons_cover_the_pixels_that_cocos_code_gives_them(name):
    parts, text = _DRAWN_BY_COCO[name]
    mask = np.zeros((14, 20), bool)
    for part in parts:
        mask |= rasterizer.polygon(np.array(part, float).reshape(-1, 2), 14, 20)
    counts = run_lengths.coco_counts(text)
    np.testing.assert_array_equal(mask, run_lengths.coco_mask(counts, 14, 20))


def test_whole_numbers_are_corners_of_pixels():
    expected = np.zeros((6, 8), bool)
    expected[1:4, 2:7] = True
    corners = np.array([[2, 1], [7, 1], [7, 4], [2, 4]], float)
    for vertices in (corners, corners[::-1], np.roll(corners, 1, axis=0), corners[[0, 0, 1, 2, 3]]):
        np.testing.assert_array_equal(rasterizer.polygon(vertices, 6, 8), expected)


def test_a_large_polygon_covers_the_middles_of_pixels_inside_but_at_its_border():
    """By the even-odd rule, for each pixel on its own."""
    vertices = np.random.default_rng(0).uniform(-10, 60, (9, 2))
    mask = rasterizer.polygon(vertices, 40, 50)
    different = 0
    for y in range(40):
        for x in range(50):
            inside = False
            for (x0, y0), (x1, y1) in zip(vertices, np.roll(vertices, -1, axis=0), strict=True):
                crosses = (y0 > y + 0.5) != (y1 > y + 0.5)
                inside ^= crosses and x + 0.5 < x0 + (y + 0.5 - y0) / (y1 - y0) * (x1 - x0)
            different += inside != mask[y, x]
    # Of 2000; the border passes many more.
    assert different < 20


def test_a_polygon_outside_of_the_image_covers_nothing():
    vertices = np.array([[100, 100], [120, 100], [110, 130]], float)
    assert not rasterizer.polygon(vertices, 5, 5).any()
    assert not rasterizer.polygon(-vertices, 5, 5).any()


def test_an_ellipse_covers_the_middles_of_pixels_inside():
    mask = rasterizer.ellipse((5.0, 4.0), (3.0, 2.0), 8, 10)
    for y in range(8):
        for x in range(10):
            inside = ((x + 0.5 - 5) / 3) ** 2 + ((y + 0.5 - 4) / 2) ** 2 <= 1
            assert mask[y, x] == inside
    turned = rasterizer.ellipse((5.0, 4.0), (2.0, 3.0), 8, 10, degrees=90.0)
    np.testing.assert_array_equal(turned, mask)


@pytest.mark.parametrize("radii", [(0.0, 0.0), (3.0, 0.0), (0.0, 3.0)])
def test_an_ellipse_without_area_covers_nothing(radii):
    assert not rasterizer.ellipse((4.5, 4.5), radii, 8, 10).any()


def test_a_strip_has_its_width_and_ends_where_its_line_ends():
    expected = np.zeros((12, 12), bool)
    expected[3:7, 2:9] = True
    expected[5:10, 7:11] = True
    points = np.array([[2, 5], [9, 5], [9, 10]], float)
    np.testing.assert_array_equal(rasterizer.strip(points, 4, 12, 12), expected)
