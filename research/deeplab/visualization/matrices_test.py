import numpy as np

from deeplab.visualization import drawing, matrices

_NAMES = ["sky", "a building with a long name", "road"]


def test_cells_are_the_stronger_the_larger_their_share_is():
    shares = np.array([[1.0, 0.0, 0.0], [0.25, 0.5, 0.25], [np.nan] * 3])
    picture = matrices.draw(shares, _NAMES, "caption").astype(int)
    cell = 44
    margin = max(map(drawing.text_width, _NAMES)) + 2 * drawing.GAP
    top = drawing.LINE + drawing.GAP + margin

    def color(row, column):
        return picture[top + row * cell + 2, margin + column * cell + 2]

    np.testing.assert_array_equal(color(0, 0), matrices._HIT)
    np.testing.assert_array_equal(color(0, 1), [255, 255, 255])
    np.testing.assert_array_equal(color(1, 0), color(1, 2))
    # Half of the way, or a quarter of it, from white to the full color.
    np.testing.assert_allclose(color(1, 1), (np.array(matrices._HIT) + 255) / 2, atol=1)
    np.testing.assert_allclose(color(1, 0), 255 + (np.array(matrices._MISS) - 255) / 4, atol=1)
    # A row without a value is paper.
    np.testing.assert_array_equal(color(2, 2), drawing.paper(1, 1)[0, 0])


def test_names_stand_beside_rows_and_above_columns():
    shares = np.zeros((3, 3))
    named, plain = (matrices.draw(shares, names) for names in (_NAMES, ["", "", ""]))
    margin = max(map(drawing.text_width, _NAMES)) + 2 * drawing.GAP
    top = drawing.LINE + drawing.GAP + margin
    dark = named.max(axis=2) < 200
    rows, columns = dark[top:, :margin].any(axis=1), dark[:top, margin:].any(axis=0)
    for index in range(3):
        assert rows[index * 44 : (index + 1) * 44].any()
        assert columns[index * 44 : (index + 1) * 44].any()
    assert not (plain.max(axis=2) < 200).any()
    assert not dark[:, : drawing.GAP - 2].any()
    assert not dark[: drawing.LINE].any()


def test_a_caption_fits():
    caption = "a caption that is longer than a matrix of one class is wide"
    picture = matrices.draw(np.ones((1, 1)), ["a"], caption)
    assert picture.shape[1] >= drawing.text_width(caption)
    assert not (picture[:, -drawing.GAP // 2 :].max(axis=2) < 200).any()
