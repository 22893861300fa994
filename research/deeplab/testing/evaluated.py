"""Evaluated images without a network, for tests of reports and tables."""

from collections.abc import Iterator

import cv2
import numpy as np

from deeplab.datasets.descriptors import DatasetDescriptor
from deeplab.evaluation import segmentation
from deeplab.evaluation.evaluator import EvaluatedImage


def images(
    descriptor: DatasetDescriptor, count: int, size: tuple[int, int] = (48, 64)
) -> Iterator[EvaluatedImage]:
    """Yield images of blocks whose predictions are shifted, and wrong in some blocks.

    Their names are `<name>-<number>`, with characters that HTML and CSV have to escape.

    Args:
        descriptor: The dataset.
        count: Number of images.
        size: Height and width.
    """
    height, width = size
    for number in range(count):
        random = np.random.default_rng(number)
        # The last class is in no label; a third one in no label of this image.
        blocks = random.integers(0, descriptor.num_classes - 1, (3, 4))
        blocks[blocks == number % descriptor.num_classes] = 0
        label = _enlarged(blocks, size)
        wrong = random.random(blocks.shape) < 0.3
        guesses = np.where(wrong, random.integers(0, descriptor.num_classes, blocks.shape), blocks)
        prediction = np.roll(_enlarged(guesses, size), number % 3, axis=1).astype(np.int32)
        label[:2] = descriptor.ignore_label
        image = cv2.resize(random.integers(0, 256, (6, 8, 3), np.uint8), (width, height))
        yield EvaluatedImage(
            f'<i>&amp;"image", {number}',
            image,
            label,
            prediction,
            segmentation.measure(
                label, prediction, descriptor.num_classes, descriptor.ignore_label
            ),
            random.choice([0.5, 0.93, 0.99], (1, 1)).repeat(height, 0).repeat(width, 1),
        )


def _enlarged(blocks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    rows, columns = (np.arange(n) * m // n for n, m in zip(size, blocks.shape, strict=True))
    return blocks[rows[:, np.newaxis], columns].astype(np.int32)
