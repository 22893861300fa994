"""Color maps of the official datasets (official `get_dataset_colormap.py`)."""

from collections.abc import Callable

import numpy as np

_ADE20K = "ade20k"
_CITYSCAPES = "cityscapes"
_MAPILLARY_VISTAS = "mapillary_vistas"
_PASCAL = "pascal"

# Three bytes a class, in hexadecimal: ADE20K's 150 classes after the unlabeled 0, ...
_ADE20K_COLORS = (
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
# ... the 65 classes of Mapillary Vistas and its unlabeled last one, ...
_MAPILLARY_VISTAS_COLORS = (
    "a52a2a00c000c4c4c4be9999b4a5b466669c66669c8040ff8c8cc8aaaaaafaaaa0606060e6968c804080"
    "6e6e6ef423e896646446464696785adc143cff0000ff0000ff0000c88080ffffff40aa408040404682b4"
    "ffffff98fb986b8e2300aa1effff80fa001e000000dcdcdcaaaaaade282864aa1e282828212121aaaaaa"
    "00008eaaaaaad2aa6499999980808000008efaaa1ec0c0c0dcdc00b4a5b4770b2000008e003c6400008e"
    "00005a0000e600506480404000006e0000460000c0202020000000000000"
)
# ... and the 19 training classes of Cityscapes.
_CITYSCAPES_COLORS = (
    "804080f423e846464666669cbe9999999999faaa1edcdc006b8e2398fb984682b4dc143cff000000008e"
    "000046003c640050640000e6770b20"
)

# Bits of a label that PASCAL's rule gives a color.
_PASCAL_BITS = 9


def create_ade20k_label_colormap() -> np.ndarray:
    """Return the color map of ADE20K, uint8 [151, 3], RGB."""
    return _from_hex(_ADE20K_COLORS)


def create_cityscapes_label_colormap() -> np.ndarray:
    """Return the color map of Cityscapes, uint8 [256, 3], RGB; black from class 19 on."""
    colormap = np.zeros((256, 3), np.uint8)
    colors = _from_hex(_CITYSCAPES_COLORS)
    colormap[: len(colors)] = colors
    return colormap


def create_mapillary_vistas_label_colormap() -> np.ndarray:
    """Return the color map of Mapillary Vistas, uint8 [66, 3], RGB."""
    return _from_hex(_MAPILLARY_VISTAS_COLORS)


def create_pascal_label_colormap() -> np.ndarray:
    """Return the color map of PASCAL VOC, uint8 [512, 3], RGB.

    The bits of a label, three at a time, fill the bits of red, green and blue from the highest.
    """
    labels = np.arange(2**_PASCAL_BITS)
    colormap = np.zeros((len(labels), 3), np.int64)
    for bit in range(_PASCAL_BITS):
        colormap[:, bit % 3] |= bit_get(labels, bit) << (7 - bit // 3)
    return colormap.astype(np.uint8)


# Maker of each color map, by its official name.
_MAKERS: dict[str, Callable[[], np.ndarray]] = {
    _ADE20K: create_ade20k_label_colormap,
    _CITYSCAPES: create_cityscapes_label_colormap,
    _MAPILLARY_VISTAS: create_mapillary_vistas_label_colormap,
    _PASCAL: create_pascal_label_colormap,
}


def get_ade20k_name() -> str:
    """Return the name of ADE20K's color map."""
    return _ADE20K


def get_cityscapes_name() -> str:
    """Return the name of Cityscapes' color map."""
    return _CITYSCAPES


def get_mapillary_vistas_name() -> str:
    """Return the name of Mapillary Vistas' color map."""
    return _MAPILLARY_VISTAS


def get_pascal_name() -> str:
    """Return the name of PASCAL VOC's color map."""
    return _PASCAL


def bit_get(val: int | np.ndarray, idx: int | np.ndarray) -> int | np.ndarray:
    """Return bit `idx` of `val`, 0 or 1; the lowest bit is number 0."""
    return (val >> idx) & 1


def create_label_colormap(dataset: str = _PASCAL) -> np.ndarray:
    """Return an official color map.

    Args:
        dataset: `ade20k`, `cityscapes`, `mapillary_vistas` or `pascal`.

    Returns:
        uint8 [entries, 3], RGB.

    Raises:
        ValueError: There is no color map of that name.
    """
    if dataset not in _MAKERS:
        raise ValueError(f"there is no color map {dataset!r}; known are {', '.join(_MAKERS)}")
    return _MAKERS[dataset]()


def get_dataset_colormap_max_entries(dataset: str) -> int:
    """Return the number of entries of an official color map."""
    return len(create_label_colormap(dataset))


def label_to_color_image(label: np.ndarray, dataset: str | np.ndarray = _PASCAL) -> np.ndarray:
    """Give every pixel the color of its label.

    Args:
        label: Integers [height, width].
        dataset: Name of an official color map, or colors [entries, 3], RGB 0..255.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        ValueError: The label has another shape or type, or a value that has no color.
    """
    label = np.asarray(label)
    if label.ndim != 2:
        raise ValueError(f"a label has the shape [height, width], not {list(label.shape)}")
    if not np.issubdtype(label.dtype, np.integer):
        raise ValueError(f"a label holds integers, not {label.dtype}")
    if isinstance(dataset, str):
        title = f"color map {dataset!r}"
        colormap = create_label_colormap(dataset)
    else:
        title = "color map"
        colormap = np.asarray(dataset)
    for value in (label.min(initial=0), label.max(initial=0)):
        if not 0 <= value < len(colormap):
            raise ValueError(
                f"label value {value} has no color: the {title} has {len(colormap)} entries,"
                f" 0 to {len(colormap) - 1}"
            )
    return colormap.astype(np.uint8)[label]


def _from_hex(colors: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(colors), np.uint8).reshape(-1, 3).copy()
