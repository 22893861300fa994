"""Draw a small dataset in the layout of PASCAL VOC, for experiments.

Images show textured shapes on textured backgrounds. Shape and texture tell the class, color does
not. Images have different sizes. Labels have VOC's palette, and 255 along the borders of objects.

  python -m deeplab.datasets.make_sample_data --output_dir=sample
  python -m deeplab.datasets.build_voc2012_data --image_format=jpg --dataset=sample/sample.json \\
      --image_folder=sample/JPEGImages --semantic_segmentation_folder=sample/SegmentationClass \\
      --list_folder=sample/ImageSets/Segmentation --output_dir=sample/tfrecord
"""

import os
from collections.abc import Sequence
from typing import Annotated

import cv2
import numpy as np
from absl import flags, logging

from deeplab import common
from deeplab.cli import script
from deeplab.core.options import fields
from deeplab.core.wording import counted
from deeplab.datasets import descriptors
from deeplab.utils import files, get_dataset_colormap
from deeplab.utils.progress import Progress

CLASS_NAMES = ("background", "disc", "square", "triangle", "star", "cross")
IGNORE_LABEL = 255

# The names of the images have six digits.
_Count = Annotated[int, fields.Range(at_least=1, at_most=500_000)]
_SIZES = (90, 160)
# Shapes are drawn larger by this factor and averaged, for smooth edges.
_OVERSAMPLING = 4
_BORDER = np.ones((3, 3), np.uint8)
_JPEG_QUALITY = 92


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script."""
    define = common.definer("deeplab.datasets.make_sample_data", flag_values)
    define("string", "output_dir", None, "Folder of the dataset.")
    define("integer", "num_train", 320, "Number of training images.", within=_Count)
    define("integer", "num_val", 64, "Number of validation images.", within=_Count)
    define("integer", "seed", 1, "Seed of all random choices.", within=fields.NonNegativeInt)


def draw(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw one image.

    Args:
        random: Source of all random choices.

    Returns:
        The image, uint8 [height, width, 3], RGB, and its label, uint8 [height, width].
    """
    height, width = random.integers(_SIZES[0], _SIZES[1], 2, endpoint=True)
    image = _ground(random, height, width)
    label = np.zeros((height, width), np.uint8)
    for class_id in random.permutation(np.arange(1, len(CLASS_NAMES)))[: random.integers(1, 5)]:
        _place(random, image, label, int(class_id))
    image += random.normal(0, 4, image.shape[:2])[..., np.newaxis]
    return np.clip(image, 0, 255).astype(np.uint8), label


def _place(
    random: np.random.Generator, image: np.ndarray, label: np.ndarray, class_id: int
) -> None:
    """Draw an object of a class onto an image and its label."""
    height, width = label.shape
    radius = min(height, width) * random.uniform(0.2, 0.36)
    center = np.array([random.uniform(0.1, 0.9) * width, random.uniform(0.1, 0.9) * height])
    angle = random.uniform(0, 2 * np.pi)
    name = CLASS_NAMES[class_id]
    cover = _cover(_outline(name) * radius @ _rotation(angle) + center, height, width)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    across, along = np.tensordot(
        _rotation(random.uniform(0, 2 * np.pi)), [columns - center[0], rows - center[1]], 1
    )
    dark, light = _colors(random)
    pattern = _texture(name, across, along, random.uniform(6.5, 9.5))[..., np.newaxis]
    # Light falls from the upper left.
    shade = 1 - 0.22 * ((columns - center[0]) + (rows - center[1])) / (2 * radius)
    surface = (dark + (light - dark) * pattern) * np.clip(shade, 0.7, 1.2)[..., np.newaxis]
    shadow = cv2.warpAffine(cover, np.array([[1.0, 0, 2], [0, 1, 3]]), (width, height))
    image *= 1 - 0.45 * cv2.GaussianBlur(shadow, (0, 0), 2.5)[..., np.newaxis]
    image += (surface - image) * cover[..., np.newaxis]
    inside = (cover > 0.5).astype(np.uint8)
    label[inside > 0] = class_id
    label[cv2.dilate(inside, _BORDER) > cv2.erode(inside, _BORDER)] = IGNORE_LABEL


def _outline(name: str) -> np.ndarray:
    """Return the corners of a shape with a radius of about 1, float [corners, 2]."""
    if name == "square":
        return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.82
    if name == "cross":
        arm = np.array([[0.36, -0.36], [1.05, -0.36], [1.05, 0.36]])
        return np.concatenate([arm @ _rotation(turn * np.pi / 2) for turn in range(4)])
    corners = {"disc": 48, "triangle": 3, "star": 10}[name]
    turn = np.arange(corners) * 2 * np.pi / corners
    reach = {"disc": 0.9, "triangle": 1.15, "star": 1.15}[name] * np.ones(corners)
    if name == "star":
        reach[1::2] *= 0.5
    return np.stack([reach * np.cos(turn), reach * np.sin(turn)], axis=1)


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def _cover(corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the share of each pixel that a polygon covers, float32 [height, width]."""
    mask = np.zeros((height * _OVERSAMPLING, width * _OVERSAMPLING), np.float32)
    cv2.fillPoly(mask, [np.round(corners * _OVERSAMPLING).astype(np.int32)], 1.0)
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)


def _texture(name: str, across: np.ndarray, along: np.ndarray, period: float) -> np.ndarray:
    """Return a class's texture, 0 to 1, at positions in pixels relative to the object."""
    x, y = across * (2 * np.pi / period), along * (2 * np.pi / period)
    wave = {
        "disc": np.cos(np.hypot(x, y)),
        "square": np.sin(x) * np.sin(y) * 2,
        "triangle": np.sin(x),
        "star": np.cos(x) + np.cos(y) - 0.7,
        "cross": np.maximum(np.sin(x + y), np.sin(x - y)) - 0.6,
    }[name]
    return np.clip(0.5 + 1.5 * wave, 0, 1)


def _colors(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a dark and a light color of any hue, float32 [3], RGB."""
    hue = random.uniform(0, 360)
    hues = (hue, hue + random.uniform(-60, 60))
    saturations = random.uniform(0.35, 0.85), random.uniform(0.15, 0.6)
    values = random.uniform(0.2, 0.55), random.uniform(0.65, 1.0)
    dark, light = (_from_hsv(*color) for color in zip(hues, saturations, values, strict=True))
    return dark, light


def _from_hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    color = np.array([[[hue % 360, saturation, value]]], np.float32)
    return cv2.cvtColor(color, cv2.COLOR_HSV2RGB)[0, 0] * 255


def _ground(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return clouds in two muted colors, with a grain, float32 [height, width, 3]."""
    clouds = np.zeros((height, width), np.float32)
    for cells, weight in ((3, 1.0), (7, 0.5), (18, 0.3)):
        noise = random.standard_normal((cells, cells)).astype(np.float32)
        clouds += weight * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    hue = random.uniform(0, 360)
    first = _from_hsv(hue, random.uniform(0.05, 0.35), random.uniform(0.35, 0.9))
    second = _from_hsv(
        hue + random.uniform(-90, 90), random.uniform(0.05, 0.35), random.uniform(0.35, 0.9)
    )
    share = 1 / (1 + np.exp(-1.5 * clouds[..., np.newaxis]))
    grain = cv2.GaussianBlur(
        random.standard_normal((height, width)).astype(np.float32),
        (0, 0),
        sigmaX=random.uniform(0.6, 4),
        sigmaY=random.uniform(0.6, 4),
    )
    grain *= 9 / max(float(grain.std()), 1e-6)
    return first + (second - first) * share + grain[..., np.newaxis]


def main(argv: Sequence[str]) -> None:
    """Draw the images and write lists and descriptor."""
    del argv
    # Imports TensorFlow, which takes seconds: not for --help.
    from deeplab.datasets import label_files

    values = flags.FLAGS
    sizes = {"train": values.num_train, "val": values.num_val}
    total = sum(sizes.values())
    palette = get_dataset_colormap.create_label_colormap("pascal")[:256]
    names = [f"sample_{index:06d}" for index in range(total)]

    def path(*parts: str) -> str:
        return os.path.join(values.output_dir, *parts)

    progress = Progress("drawn", total)
    for index, name in enumerate(names):
        image, label = draw(np.random.default_rng([values.seed, index]))
        quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        jpeg = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), quality)[1]
        files.write_bytes(path("JPEGImages", f"{name}.jpg"), jpeg.tobytes())
        png = label_files.with_palette(label_files.encode(label), palette)
        files.write_bytes(path("SegmentationClass", f"{name}.png"), png)
        progress.advance()
    lists = {
        "train": names[: sizes["train"]],
        "val": names[sizes["train"] :],
        "trainval": names,
    }
    for split, listed in lists.items():
        text = "".join(f"{name}\n" for name in listed)
        files.write_text(path("ImageSets", "Segmentation", f"{split}.txt"), text)
    descriptors.DatasetDescriptor(
        name="sample",
        num_classes=len(CLASS_NAMES),
        ignore_label=IGNORE_LABEL,
        splits_to_sizes={split: len(listed) for split, listed in lists.items()},
        class_names=CLASS_NAMES,
        colormap=tuple(tuple(map(int, color)) for color in palette[: len(CLASS_NAMES)]),
    ).save(path("sample.json"))
    logging.info(
        "wrote %s to %s, described by %s",
        *(counted(total, "image"), values.output_dir, path("sample.json")),
    )


def run() -> None:
    """Parse the flags and run `main`."""
    script.run(main, define_flags, required=("output_dir",), cpu_only=True)


if __name__ == "__main__":
    run()
