r"""Measures the conversion of images and labels to TFRecords, by one process and by several.

It draws photographs and labels with a palette, and converts them with each number of processes in
turn. The time is that of `conversion.convert`. As in the converters, worker processes are copies of
a process that has imported TensorFlow before.

Example:
    PYTHONPATH=research python benchmarks/convert.py --images=500 --size=1024,768 --rounds=3
"""

import argparse
import contextlib
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator

import cv2
import numpy as np

from deeplab.cli import processes
from deeplab.datasets import conversion, descriptors, label_files, samples, source_files

_CLASSES = 21


def main() -> int:
    """Print the images per second of each number of processes, and their ratio to one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--size", default="1024,768", help="width,height")
    parser.add_argument("--processes", default="1,2", help="comma separated; the first is 1")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split(","))
    numbers = [int(number) for number in options.processes.split(",")]
    reader = label_files.LabelReader(descriptors.load("pascal_voc_seg"))
    seconds = {number: [] for number in numbers}
    with tempfile.TemporaryDirectory() as folder, _prepared(max(numbers)):
        sources = _draw(pathlib.Path(folder), options.images, height, width)
        found = samples.FileSamples(sources, reader)
        for _ in range(options.rounds):
            for number in numbers:
                start = time.perf_counter()
                conversion.convert({"all": found}, f"{folder}/out", 4, number)
                seconds[number].append(time.perf_counter() - start)
    print(f"{options.images} images of {width}x{height} pixels, load {os.getloadavg()[0]:.1f}")
    for number in numbers:
        print(
            f"{number} processes: {options.images / statistics.median(seconds[number]):.1f}"
            f" images/s, {_ratio(seconds, number):.2f} times the speed of one"
        )
    return 0


@contextlib.contextmanager
def _prepared(most: int) -> Iterator[None]:
    """Prepare the process of which the workers are copies."""
    processes.start_early(most, ["deeplab.datasets.shared_reading"])
    with processes.pool(1, "waits", remedy="") as pool:
        pool.submit(os.getpid).result()
    yield


def _ratio(seconds: dict[int, list[float]], number: int) -> float:
    return statistics.median(
        one / several for one, several in zip(seconds[1], seconds[number], strict=True)
    )


def _draw(folder: pathlib.Path, count: int, height: int, width: int) -> list[source_files.Source]:
    random = np.random.default_rng(0)
    sources = []
    for index in range(count):
        small = random.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        image = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        label = random.integers(0, _CLASSES, (height // 40, width // 40), np.uint8)
        label = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST)
        palette = random.integers(0, 256, (256, 3))
        data = label_files.with_palette(label_files.encode(label), palette)
        paths = folder / f"{index}.jpg", folder / f"{index}.png"
        paths[0].write_bytes(cv2.imencode(".jpg", image)[1].tobytes())
        paths[1].write_bytes(data)
        sources.append(source_files.Source(str(index), *map(str, paths)))
    return sources


if __name__ == "__main__":
    sys.exit(main())
