"""Random access to the records of TFRecord files."""

import os
import struct
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np
import tensorflow as tf

from deeplab.core import regular_files

# A record is its length (8 bytes), a checksum of the length, the data, a checksum of the data.
_HEADER = struct.Struct("<QI")
_CHECKSUM_BYTES = 4
_GZIP_MAGIC = b"\x1f\x8b"


class RecordFiles:
    """The records of TFRecord files, numbered in the order of files and records.

    The constructor reads and verifies only the headers of the records; the checksum of a record's
    data is verified when the record is read.

    Args:
        paths: The files.

    Attributes:
        paths: The files.
        counts: int64 [files], number of records of each file.
        total_bytes: Size of all records, without headers and checksums.

    Raises:
        ValueError: A file is truncated, corrupt or compressed, or there is no record at all.
        OSError: A file cannot be read.

    Example:
        files = RecordFiles(["train-00000-of-00001.tfrecord"])
        example = tf.train.Example.FromString(files[len(files) - 1])
    """

    def __init__(self, paths: Sequence[str]):
        self.paths = tuple(os.fspath(path) for path in paths)
        found = [list(_headers(path)) for path in self.paths]
        self.counts = np.array([len(records) for records in found], np.int64)
        self._first = np.cumsum([0, *self.counts])
        headers = [header for records in found for header in records]
        if not headers:
            raise ValueError(f"there is no record in {', '.join(self.paths) or 'no file'}")
        self._offsets, self._lengths = np.array(headers, np.int64).T
        self.total_bytes = int(self._lengths.sum())
        self._contents: tf.Tensor | None = None
        # The tables that `read` looks records up in. tf.data reads them on the CPU.
        with tf.device("CPU"):
            files = np.repeat(np.arange(len(found)), self.counts)
            self._path_table = tf.constant(self.paths)
            self._file_table = tf.constant(files, tf.int32)
            self._offset_table = tf.constant(self._offsets)
            self._length_table = tf.constant(self._lengths)

    def __len__(self) -> int:
        return int(self._first[-1])

    def describe(self, record: int) -> str:
        """Return where a record is: its number within its file, from 0, the file and the offset."""
        file = int(np.searchsorted(self._first, record, side="right")) - 1
        number = record - self._first[file]
        return f"record {number} of {self.paths[file]} (at byte {self._offsets[record]})"

    def read(self, record: tf.Tensor) -> tf.Tensor:
        """Return the data of a record, as TensorFlow operations (for `tf.data`).

        Args:
            record: Number of the record, an integer scalar in [0, len(self)).

        Returns:
            A string scalar. If its checksum differs, the operation fails with DataLossError.
        """
        if self._contents is not None:
            return self._contents[record]
        # A reader that starts at the record and ends after it: no other operation can seek. It
        # also verifies the checksum and reads from any file system.
        length = self._length_table[record] + _HEADER.size + _CHECKSUM_BYTES
        reader = tf.raw_ops.TFRecordDatasetV2(
            filenames=self._path_table[self._file_table[record]][tf.newaxis],
            compression_type="",
            buffer_size=length,
            byte_offsets=self._offset_table[record][tf.newaxis],
        )
        kind = {"output_types": [tf.string], "output_shapes": [[]]}
        reader = tf.raw_ops.TakeDataset(input_dataset=reader, count=1, **kind)
        return tf.raw_ops.DatasetToSingleElement(dataset=reader, **kind)[0]

    def __getitem__(self, record: int) -> bytes:
        """Return the data of a record.

        Raises:
            IndexError: There is no such record.
            ValueError: The record is corrupt, or its file has changed since it was indexed.
        """
        if not 0 <= record < len(self):
            raise IndexError(f"record {record} of {len(self)}")
        try:
            with tf.device("CPU"):
                return self.read(tf.constant(record, tf.int64)).numpy()
        except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError):
            raise ValueError(
                f"{self.describe(record)} is corrupt: its checksum differs; write the file again"
            ) from None

    def load(self) -> None:
        """Read all records into memory, for `read` to take them from there.

        Raises:
            ValueError: A record is corrupt.
        """
        if self._contents is not None:
            return
        try:
            with tf.device("CPU"):
                records = tf.data.TFRecordDataset(self.paths).batch(len(self))
                self._contents = records.get_single_element()
        except tf.errors.DataLossError:
            for record in range(len(self)):
                self[record]  # The corrupt one raises an error that says where it is.
            raise


def _headers(path: str) -> Iterator[tuple[int, int]]:
    """Yield the offset and the length of each record of a file."""
    with _open(path) as file:
        size = file.seek(0, os.SEEK_END) or file.tell()
        offset = 0
        while offset < size:
            file.seek(offset)
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                raise ValueError(
                    f"{path} is truncated: it ends within the header of the record at byte"
                    f" {offset}; write the file again"
                )
            length, checksum = _HEADER.unpack(header)
            if checksum != _masked_crc32c(header[:-_CHECKSUM_BYTES]):
                if offset == 0 and header.startswith(_GZIP_MAGIC):
                    raise ValueError(f"{path} is compressed with gzip; decompress it (gunzip)")
                raise ValueError(
                    f"{path} is not a TFRecord file, or corrupt: the checksum of the record header"
                    f" at byte {offset} differs"
                )
            end = offset + _HEADER.size + length + _CHECKSUM_BYTES
            if end > size:
                raise ValueError(
                    f"{path} is truncated: the record at byte {offset} ends at byte {end}, the"
                    f" file at byte {size}; write the file again"
                )
            yield offset, length
            offset = end


def _open(path: str) -> BinaryIO:
    regular_files.require(path)
    # GFile fills a large buffer after each seek, which is slow for local files.
    if os.path.isfile(path):
        return open(path, "rb", buffering=0)
    return tf.io.gfile.GFile(path, "rb")


def _crc32c_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC32C_TABLE = _crc32c_table()


def _masked_crc32c(data: bytes) -> int:
    """Return the checksum of TFRecords. Slow: for the 8 bytes of a length only."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC32C_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
