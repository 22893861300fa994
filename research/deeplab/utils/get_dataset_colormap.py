"""Colour maps: the colour of each label, official, generated or a data set's own."""

from collections.abc import Callable

import cv2
import numpy as np

# Three bytes a class, in hexadecimal: ADE20K's 150 classes after the unlabelled 0, ...
_ADE20K = (
    "000000787878b4787806e6e650323204c8037878508c8c8ccc05ffe6e6e604fa07e005ffebff0796053d"
    "78784608ff33ff06528fff8cccff04ff3307cc46030066c83de6faff06330b66ffff0747ff09e00907e6"
    "dcdcdcff095c7009ff08ffd607ffe0ffb8060aff47ff290a07ffffe0ff086608ffff3d06ffc207ff7a08"
    "00ff14ff0829ff05990633ffeb0cffa0961400a3ff8c8c8cfa0a0f14ff001fff00ff1f00ffe00099ff00"
    "0000ffff470000ebff00adff1f00ff0bc8c8ff520000fff5003dff00ff7000ff85ff0000ffa300ff6600"
    "c2ff00008fff33ff000052ff00ff2900ffad0a00ffadff0000ff99ff5c00ff00ffff00f5ff0066ffad00"
    "ff0014ffb8b8001fff00ff3d0047ffff00cc00ffc200ff52000aff0070ff3300ff00c2ff007aff00ffa3"
    "ff990000ff0aff70008fff005200ffa3ff00ffeb0008b8aa8500ff00ff5cb800ffff001f00b8ff00d6ff"
    "ff00705cff0000e0ff70e0ff46b8a0a300ff9900ff47ff00ff00a3ffcc00ff008f00ffeb85ff00ff00eb"
    "f500ffff007afff5000abed4d6ff0000ccff1400ffffff000099ff0029ff00ffcc2900ff29ff00ad00ff"
    "00f5ff4700ff7a00ff00ffb8005cffb8ff000085ffffd60019c2c266ff005c00ff"
)
# ... the 65 classes of Mapillary Vistas and its unlabelled last one, ...
_MAPILLARY_VISTAS = (
    "a52a2a00c000c4c4c4be9999b4a5b466669c66669c8040ff8c8cc8aaaaaafaaaa0606060e6968c804080"
    "6e6e6ef423e896646446464696785adc143cff0000ff0000ff0000c88080ffffff40aa408040404682b4"
    "ffffff98fb986b8e2300aa1effff80fa001e000000dcdcdcaaaaaade282864aa1e282828212121aaaaaa"
    "00008eaaaaaad2aa6499999980808000008efaaa1ec0c0c0dcdc00b4a5b4770b2000008e003c6400008e"
    "00005a0000e600506480404000006e0000460000c0202020000000000000"
)
# ... and the 19 training classes of Cityscapes.
_CITYSCAPES = (
    "804080f423e846464666669cbe9999999999faaa1edcdc006b8e2398fb984682b4dc143cff000000008e"
    "000046003c640050640000e6770b20"
)


def _from_hex(colors: str, size: int | None = None) -> np.ndarray:
    listed = np.frombuffer(bytes.fromhex(colors), np.uint8).reshape(-1, 3)
    colormap = np.zeros((size or len(listed), 3), np.uint8)
    colormap[: len(listed)] = listed
    return colormap


def _pascal() -> np.ndarray:
    """PASCAL VOC's rule: the label's bits, three at a time, fill the channels from the top."""
    label = np.arange(512)[:, np.newaxis]
    channel = np.arange(3)
    colormap = np.zeros((512, 3), np.int64)
    for digit in range(3):
        colormap |= ((label >> (3 * digit + channel)) & 1) << (7 - digit)
    return colormap.astype(np.uint8)


# Official name (flag --colormap_type) to the maker of its map.
_NAMED: dict[str, Callable[[], np.ndarray]] = {
    "ade20k": lambda: _from_hex(_ADE20K),
    "cityscapes": lambda: _from_hex(_CITYSCAPES, 256),
    "mapillary_vistas": lambda: _from_hex(_MAPILLARY_VISTAS),
    "pascal": _pascal,
}
NAMES = tuple(_NAMED)


def create_label_colormap(name: str = "pascal") -> np.ndarray:
    """An official colour map (official `get_dataset_colormap.create_label_colormap`).

    Args:
        name: one of `NAMES`.

    Returns:
        uint8 [entries, 3], RGB: 151 entries for ADE20K, 256 for Cityscapes (black from 19 on), 66
        for Mapillary Vistas, 512 for PASCAL.

    Raises:
        ValueError: there is no map of that name.
    """
    if name not in _NAMED:
        raise ValueError(f"there is no colour map {name!r}; known are {', '.join(NAMES)}")
    return _NAMED[name]()


def generate(num_classes: int, *, background: bool = False) -> np.ndarray:
    """Colours that are easy to tell apart, for a data set that has none of its own.

    Each colour is, of a grid of colours, the one farthest in CIELAB from white, black and those
    before it. So a class keeps its colour when classes are added after it.

    Args:
        num_classes: number of colours.
        background: whether class 0 is a background, to be drawn black.

    Returns:
        uint8 [num_classes, 3], RGB, all different; none is white, and black is the background's
        only.

    Raises:
        ValueError: more than 2048 colours are asked for.
    """
    levels = np.linspace(0, 255, 14).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    if not 0 <= num_classes <= 2048:
        raise ValueError(f"can make 0 to 2048 colours, not {num_classes}")
    lab = cv2.cvtColor(grid[np.newaxis].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    # Black and white are the first and the last of the grid, and taken.
    distance = np.minimum(*(np.linalg.norm(lab - lab[taken], axis=1) for taken in (0, -1)))
    colormap = np.zeros((num_classes, 3), np.uint8)
    for index in range(int(background), num_classes):
        farthest = int(distance.argmax())
        colormap[index] = grid[farthest]
        distance = np.minimum(distance, np.linalg.norm(lab - lab[farthest], axis=1))
    return colormap


def label_to_color_image(label: np.ndarray, colormap: str | np.ndarray = "pascal") -> np.ndarray:
    """Gives every pixel the colour of its label (official function of the same name).

    Args:
        label: integers [height, width].
        colormap: one of `NAMES`, or colours [entries, 3], RGB 0..255.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        ValueError: the label has another shape or type, or a value that has no colour.
    """
    label = np.asarray(label)
    if label.ndim != 2:
        raise ValueError(f"a label has the shape [height, width], not {list(label.shape)}")
    if not np.issubdtype(label.dtype, np.integer):
        raise ValueError(f"a label holds integers, not {label.dtype}")
    if isinstance(colormap, str):
        title = f"colour map {colormap!r}"
        colormap = create_label_colormap(colormap)
    else:
        title = "colour map"
        colormap = np.asarray(colormap)
    for value in (label.min(initial=0), label.max(initial=0)):
        if not 0 <= value < len(colormap):
            raise ValueError(
                f"label value {value} has no colour: the {title} has {len(colormap)} entries,"
                f" 0 to {len(colormap) - 1}"
            )
    return colormap.astype(np.uint8)[label]
