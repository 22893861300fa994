import numpy as np
import pytest

from deeplab.annotations import run_lengths


def _bits(*numbers):
    """Bytes of numbers, each given with its number of bits."""
    text = "".join(f"{value:0{width}b}" for value, width in numbers)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8)


def test_cocos_lengths_go_down_the_columns_and_begin_outside():
    mask = run_lengths.coco_mask([1, 3, 4, 1], 3, 3)
    np.testing.assert_array_equal(mask, [[0, 1, 0], [1, 0, 0], [1, 0, 1]])
    assert run_lengths.coco_mask([0, 4], 2, 2).all()


def test_the_compressed_form_is_read():
    # Written by pycocotools: a rectangle with a hole, in 20x14 pixels.
    mask = np.zeros((14, 20), bool)
    mask[3:9, 2:18] = True
    mask[5:7, 6:9] = False
    counts = run_lengths.coco_counts("o068000000LJ060J060J0640000000000000000i0")
    np.testing.assert_array_equal(run_lengths.coco_mask(counts, 14, 20), mask)


@pytest.mark.parametrize("text", ["o06\t", "é", "o06o"])
def test_a_broken_compressed_form_is_refused(text):
    with pytest.raises(ValueError, match="has the character|ends within a number"):
        run_lengths.coco_counts(text)


@pytest.mark.parametrize(
    ("counts", "message"), [([3, 3], "has 6 pixels; 3x3 .* are 9"), ([10, -1], "negative length")]
)
def test_lengths_must_give_the_image(counts, message):
    with pytest.raises(ValueError, match=message):
        run_lengths.coco_mask(counts, 3, 3)


def test_brushes_have_runs_of_one_value_and_of_several():
    sizes = [(2, 4), (3, 4), (4, 4), (7, 4)]  # Lengths of 3, 4, 5 and 8 bits.
    runs = [(1, 1), (1, 2), (9, 4), (255, 8)]  # Ten times 255,
    runs += [(0, 1), (0, 2), (2, 3), (7, 8), (0, 8), (9, 8)]  # then 7, 0, 9,
    runs += [(1, 1), (3, 2), (6, 8), (0, 8)]  # then seven times 0.
    data = _bits((20, 32), (7, 5), *sizes, *runs)
    values = run_lengths.brush_values(data)
    np.testing.assert_array_equal(values, [255] * 10 + [7, 0, 9] + [0] * 7)
    with pytest.raises(ValueError, match="ends too early"):
        run_lengths.brush_values(data[:-3])
    with pytest.raises(ValueError, match="has values of 6 bits"):
        run_lengths.brush_values(_bits((20, 32), (5, 5), *sizes, *runs))
