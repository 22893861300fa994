"""Fixtures and helpers of the converters' tests."""

import hashlib
import pathlib
import struct
import zlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from absl import flags

from deeplab.datasets.source_files import Source


@pytest.fixture
def run_script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a script's main in this process: `run_script(module, "--flag=value", ...)`."""

    def run(module: ModuleType, *arguments: str) -> Any:
        values = flags.FlagValues()
        module.define_flags(values)
        values(["script", *arguments])
        monkeypatch.setattr(flags, "FLAGS", values)
        return module.main(["script"])

    return run


def png(
    pixels: np.ndarray, bit_depth: int = 8, color_type: int = 0, palette: bytes | None = None
) -> bytes:
    """A PNG file, of kinds that OpenCV does not write.

    Args:
        pixels: Integers [height, width] or [height, width, channels].
        bit_depth: Bits of a channel.
        color_type: 0 gray, 2 RGB, 3 palette, 4 gray and alpha, 6 RGBA.
        palette: The colors, three bytes each.
    """
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1).astype(">u2")
    bits = np.unpackbits(rows.view(np.uint8).reshape(height, -1, 2), axis=2)[..., -bit_depth:]
    packed = np.packbits(bits.reshape(height, -1), axis=1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in packed))
    header = struct.pack(">IIBBBBB", width, height, bit_depth, color_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    if palette is not None:
        chunks.insert(1, (b"PLTE", palette))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def jpeg(height: int, width: int, orientation: int | None = None, seed: int = 0) -> bytes:
    """A JPEG file of smooth noise, with an EXIF orientation where one is given."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    data = cv2.imencode(".jpg", cv2.resize(noise, (width, height)))[1].tobytes()
    if orientation is None:
        return data
    tag = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + tag + b"\0\0\0\0"
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


def with_orientation(data: bytes, extension: str, orientation: int) -> bytes:
    """Adds an EXIF orientation to a JPEG, PNG, TIFF or 30x20 WebP file without one."""
    exif = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHHI", 274, 3, 1, orientation, 0, 0)
    if extension == ".jpg":
        exif = b"Exif\0\0" + exif
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    if extension == ".png":
        chunk = b"eXIf" + exif
        chunk = struct.pack(">I", len(exif)) + chunk + struct.pack(">I", zlib.crc32(chunk))
        return data[:33] + chunk + data[33:]
    if extension == ".webp":
        assert data[12:16] in (b"VP8 ", b"VP8L")
        width, height = 30, 20
        header = b"VP8X" + struct.pack("<II", 10, 8) + (width - 1).to_bytes(3, "little")
        header += (height - 1).to_bytes(3, "little")
        data = b"WEBP" + header + data[12:] + b"EXIF" + struct.pack("<I", len(exif)) + exif
        return b"RIFF" + struct.pack("<I", len(data)) + data
    order = "<" if data.startswith(b"II") else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    entries = [data[start + 2 + 12 * index : start + 14 + 12 * index] for index in range(count)]
    entries.append(struct.pack(f"{order}HHIHH", 274, 3, 1, orientation, 0))
    entries.sort(key=lambda entry: struct.unpack(f"{order}H", entry[:2]))
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)
    return data[:4] + struct.pack(f"{order}I", len(data)) + data[8:] + directory


def write_pairs(folder: pathlib.Path, count: int) -> list[Source]:
    """Images of 9x8 pixels with labels of 0, each pair in a folder of its own, as sources."""
    sources = []
    for index in range(count):
        own = folder / f"{index:02d}"
        own.mkdir(parents=True)
        (own / "photo.jpg").write_bytes(jpeg(8, 9, seed=index))
        (own / "label.png").write_bytes(png(np.zeros((8, 9), int)))
        sources.append(Source(own.name, str(own / "photo.jpg"), str(own / "label.png")))
    return sources


def read_records(path: Any) -> Iterator[dict[str, Any]]:
    """The features of each record of a TFRecord file, by name."""
    import tensorflow as tf

    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        yield {
            name: list(feature.bytes_list.value or feature.int64_list.value)
            for name, feature in features.items()
        }


def describe(example: Any) -> dict[str, Any]:
    """A tf.train.Example in the form of the golden file."""
    facts = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        values = list(getattr(feature, kind).value)
        if name.endswith("encoded"):
            values = [
                f"sha1:{hashlib.sha1(value).hexdigest()} len {len(value)}" for value in values
            ]
        elif kind == "bytes_list":
            values = [value.decode() for value in values]
        facts[name] = [kind, values]
    return facts
