import struct

import cv2
import numpy as np
import pytest

from deeplab.datasets import descriptors, label_files
from deeplab.datasets.conftest import png
from deeplab.testing import golden
from deeplab.utils import get_dataset_colormap

_VALUES = np.arange(12).reshape(3, 4)
_PALETTE = np.random.default_rng(0).integers(0, 256, (256, 3)).astype(np.uint8)
_DATASET = descriptors.DatasetDescriptor("test", num_classes=3, ignore_label=255)


def _decode(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def _label(tmp_path, data):
    path = tmp_path / "label.png"
    path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize("bit_depth", [1, 2, 4, 8])
def test_palette_files_are_read_as_indices(bit_depth):
    values = _VALUES % 2**bit_depth
    palette = _PALETTE[: 2**bit_depth].tobytes()
    data = png(values, bit_depth, 3, palette)
    np.testing.assert_array_equal(label_files.read_indices(data), values)
    np.testing.assert_array_equal(_decode(label_files.as_gray(data)), values)


@pytest.mark.parametrize("bit_depth", [1, 2, 4, 8, 16])
def test_gray_files_are_read_as_they_are(bit_depth):
    values = _VALUES % 2 ** min(bit_depth, 8)
    data = png(values, bit_depth)
    np.testing.assert_array_equal(label_files.read_indices(data), values)
    np.testing.assert_array_equal(_decode(label_files.as_gray(data)), values)


def test_values_above_255_are_not_cut_off():
    np.testing.assert_array_equal(label_files.read_indices(png(_VALUES + 300, 16)), _VALUES + 300)
    with pytest.raises(ValueError, match="values up to 311"):
        label_files.as_gray(png(_VALUES + 300, 16))


@pytest.mark.parametrize(("color_type", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_gray_stored_in_channels_is_read_as_values(color_type, channels):
    pixels = np.repeat(_VALUES[..., np.newaxis], channels, axis=2)
    if channels != 3:
        pixels[..., -1] = 99
    np.testing.assert_array_equal(label_files.read_indices(png(pixels, 8, color_type)), _VALUES)


@pytest.mark.parametrize(("color_type", "kind"), [(2, "RGB"), (6, "RGBA")])
def test_colors_are_refused(color_type, kind):
    pixels = np.zeros((3, 4, len(kind)), int)
    pixels[1, 2, 0] = 128
    with pytest.raises(ValueError, match=rf"color image \({kind}\).*build_custom_data.*--colormap"):
        label_files.read_indices(png(pixels, 8, color_type))


def test_voc_palette_files_equal_the_official_raw_ones():
    folder = golden.DATA / "misc" / "tfrecords_voc"
    paths = sorted((folder / "SegmentationClass").glob("*.png"))
    assert len(paths) == 5
    for path in paths:
        raw = _decode((folder / "SegmentationClassRaw" / path.name).read_bytes())
        np.testing.assert_array_equal(label_files.read_indices(path.read_bytes()), raw)


def test_eight_bit_gray_is_kept_byte_for_byte(tmp_path):
    data = png(_VALUES % 3)
    assert label_files.as_gray(data) is data
    assert label_files.LabelReader(_DATASET).read(_label(tmp_path, data)).data == data


def _tiff(values, palette=None, bits=8):
    """An uncompressed TIFF file of 8 bits or of one, with a palette if there is one."""
    height, width = values.shape
    data = (np.packbits(values, axis=1) if bits == 1 else values.astype(np.uint8)).tobytes()
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, bits), (259, 3, 1, 1)]
    entries += [(262, 3, 1, 1 if palette is None else 3), (273, 4, 1, 8)]
    entries += [(277, 3, 1, 1), (278, 3, 1, height), (279, 4, 1, len(data))]
    start = 8 + len(data)
    colors = b""
    if palette is not None:
        colors = (palette.T.astype("<u2") * 257).tobytes()
        entries.append((320, 3, 768, start + 2 + 12 * (len(entries) + 1) + 4))
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", start) + data + directory + colors


def _bitmap(values, grays):
    """A BMP file of one bit with two colors."""
    height, width = values.shape
    rows = np.packbits(np.pad(values[::-1], ((0, 0), (0, -width % 32))), axis=1).tobytes()
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 1, 0, len(rows), 0, 0, 2, 2)
    colors = b"".join(bytes([gray] * 3 + [0]) for gray in grays)
    start = 14 + len(header) + len(colors)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + colors + rows


@pytest.mark.parametrize("palette", [None, _PALETTE])
def test_tiff_files_are_read_as_values(palette):
    values = np.arange(300).reshape(15, 20) % 7
    np.testing.assert_array_equal(label_files.read_indices(_tiff(values, palette)), values)


def test_one_bit_is_0_or_1_and_lies_on_both_sides_of_a_threshold():
    values = np.random.default_rng(1).integers(0, 2, (15, 20))
    reader = label_files.LabelReader(_DATASET, threshold=127)
    for data in (_tiff(values, bits=1), png(values, 1), _bitmap(values, (0, 255))):
        np.testing.assert_array_equal(label_files.read_indices(data), values)
        np.testing.assert_array_equal(_decode(reader.parse(data).data), values)


def test_a_bitmap_of_one_bit_with_other_grays_has_these(tmp_path):
    values = np.random.default_rng(1).integers(0, 2, (15, 20))
    data = _bitmap(values, (10, 200))
    np.testing.assert_array_equal(label_files.read_indices(data), np.array([10, 200])[values])
    masks = label_files.LabelReader(_DATASET, threshold=127)
    np.testing.assert_array_equal(_decode(masks.parse(data).data), values)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_tiff_files_may_have_other_types(dtype):
    values = np.arange(300).reshape(15, 20)
    data = cv2.imencode(".tif", values.astype(dtype))[1].tobytes()
    np.testing.assert_array_equal(label_files.read_indices(data), values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((9, 9), 0.5, np.float32), "has values of the type float32, not whole numbers"),
        (np.full((9, 9), -1, np.int32), "has values from -1 to -1; labels are 0 to 255"),
        (np.arange(243).reshape(9, 9, 3).astype(np.uint8), r"is a color image \(RGB\)"),
    ],
)
def test_tiff_files_without_labels_are_refused(values, message):
    data = cv2.imencode(".tif", values)[1].tobytes()
    with pytest.raises(ValueError, match=message):
        label_files.read_indices(data)
    with pytest.raises(ValueError, match="is a broken or unknown image file"):
        label_files.read_indices(data[:20])


def test_soft_edges_have_the_label_of_the_nearest_color(tmp_path):
    colors = {(0, 0, 0): 0, (200, 0, 0): 1}
    pixels = np.array([[[0, 0, 0], [90, 0, 0], [110, 0, 0], [200, 20, 0]]])
    path = _label(tmp_path, png(pixels, 8, 2))
    reader = label_files.LabelReader(_DATASET, colors=colors, nearest_color=100)
    np.testing.assert_array_equal(_decode(reader.read(path).data), [[0, 0, 1, 1]])
    reader = label_files.LabelReader(_DATASET, colors=colors, nearest_color=89)
    with pytest.raises(ValueError, match=r"\[90, 0, 0\] .*\[110, 0, 0\] .*--nearest_color"):
        reader.read(path)


def test_a_palette_is_added_and_removed_without_loss():
    gray = label_files.encode(_VALUES.astype(np.uint8))
    colored = label_files.with_palette(
        gray, get_dataset_colormap.create_label_colormap("pascal")[:256]
    )
    assert label_files.as_gray(colored) == gray
    # OpenCV decodes colors, in the order blue, green, red.
    np.testing.assert_array_equal(_decode(colored)[1, 2], [128, 128, 0])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not a PNG file"),
        (b"GIF89a", "is not a PNG file"),
        (png(_VALUES)[:20], "is a broken PNG file"),
        (png(_VALUES)[:-14], "is a broken PNG file"),
        (png(_VALUES, 8, 3, _PALETTE.tobytes())[:-14], "is a broken PNG file"),
    ],
)
def test_broken_files_are_refused(data, message, tmp_path):
    with pytest.raises(ValueError, match=rf"label .*label.png {message}"):
        label_files.LabelReader(_DATASET).read(_label(tmp_path, data))


def test_values_that_are_no_label_are_listed_with_their_pixels(tmp_path):
    values = np.array([[0, 1, 2, 255], [7, 7, 7, 128]])
    reader = label_files.LabelReader(_DATASET, remedy="change --num_classes")
    message = (
        r"label .*label.png has values that are neither a class \(0 to 2\) nor the ignore label"
        r" \(255\): 7 \(3 pixels\), 128 \(1 pixel\); change --num_classes"
    )
    with pytest.raises(ValueError, match=message):
        reader.read(_label(tmp_path, png(values)))


def test_many_wrong_values_are_not_all_listed(tmp_path):
    values = np.arange(100).reshape(10, 10)
    with pytest.raises(ValueError, match="and 89 more"):
        label_files.LabelReader(_DATASET).read(_label(tmp_path, png(values)))


def test_wrong_values_of_sixteen_bits_are_not_taken_for_others(tmp_path):
    with pytest.raises(ValueError, match=r"257 \(1 pixel\)"):
        label_files.LabelReader(_DATASET).read(_label(tmp_path, png(np.array([[257]]), 16)))


def test_an_ignore_label_may_be_a_class(tmp_path):
    ade = descriptors.load("ade20k")
    label_files.LabelReader(ade).read(_label(tmp_path, png(np.array([[0, 150]]))))
    with pytest.raises(ValueError, match=r"255 \(1 pixel\)"):
        label_files.LabelReader(ade).read(_label(tmp_path, png(np.array([[0, 255]]))))


def test_values_are_replaced_once(tmp_path):
    reader = label_files.LabelReader(_DATASET, {128: 1, 1: 2, 7: 255})
    label = reader.read(_label(tmp_path, png(np.array([[0, 1, 128, 7]]))))
    np.testing.assert_array_equal(_decode(label.data), [[0, 2, 1, 255]])
    assert (label.height, label.width) == (1, 4)


def test_colors_become_labels(tmp_path):
    colors = {(0, 0, 0): 0, (10, 20, 30): 1, (30, 20, 10): 2, (9, 9, 9): 255}
    pixels = np.array([[[0, 0, 0], [10, 20, 30], [30, 20, 10], [9, 9, 9]]])
    reader = label_files.LabelReader(_DATASET, colors=colors)
    label = reader.read(_label(tmp_path, png(pixels, 8, 2)))
    np.testing.assert_array_equal(_decode(label.data), [[0, 1, 2, 255]])


@pytest.mark.parametrize("colors", [None, {(0, 0, 0): 0}])
@pytest.mark.parametrize("extension", [".png", ".tif", ".bmp"])
def test_a_mask_in_the_alpha_channel_is_noticed(extension, colors):
    reader = label_files.LabelReader(_DATASET, colors=colors)
    for alpha, noticed in ((np.arange(6), True), (np.full(6, 7), False)):
        pixels = np.dstack([np.zeros((2, 3, 3)), alpha.reshape(2, 3)]).astype(np.uint8)
        label = reader.parse(cv2.imencode(extension, pixels)[1].tobytes())
        assert label.only_alpha == noticed
        assert not _decode(label.data).any()
    gray = cv2.imencode(extension, np.zeros((2, 3), np.uint8))[1].tobytes()
    assert not reader.parse(gray).only_alpha


def test_an_unknown_color_is_named_with_its_pixels(tmp_path):
    pixels = np.array([[[0, 0, 0], [1, 2, 3], [1, 2, 3]]])
    reader = label_files.LabelReader(_DATASET, colors={(0, 0, 0): 0})
    with pytest.raises(ValueError, match=r"label.png has colors.*\[1, 2, 3\] \(2 pixels\)"):
        reader.read(_label(tmp_path, png(pixels, 8, 2)))


@pytest.mark.parametrize("palette", [None, bytes(768)])
def test_a_damaged_label_is_refused_as_in_training(tmp_path, palette):
    values = np.random.default_rng(0).integers(0, 3, (20, 30))
    data = png(values, 8, 0 if palette is None else 3, palette)
    assert label_files.LabelReader(_DATASET).read(_label(tmp_path, data)).height == 20
    for position in range(data.index(b"IDAT") + 4, data.index(b"IEND") - 4, 7):
        damaged = bytearray(data)
        damaged[position] ^= 4
        with pytest.raises(ValueError, match="label.png is a broken PNG file"):
            label_files.LabelReader(_DATASET).read(_label(tmp_path, bytes(damaged)))
