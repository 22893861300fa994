import base64
import struct

import numpy as np
import pytest

from deeplab.datasets import mat_files

_LABEL = np.arange(15).reshape(3, 5) % 7
_LABEL[0, 0] = 20
# A structure as in the files of SBD, written by SciPy with compression.
_COMPRESSED = base64.b64decode(
    "DwAAAJIAAAB4nONjYGCwYGRgYAPSHEDMxAABrFA+IxIGibmHJOcUg9ksDEJQcTMgdsovzUtJLMpMLYYawBCc"
    "mp6bmleSWJKZnwcRcU4sSU3PB6kJKEotBsoBxfhA9jMg7GfDYz8IcELFYQCk3wFJPyeafmYoG6Yf5D9+IBZh"
    "ZWZkY2FigFJgcwzwmMOE5g4mIGQEKgYALNMUMw=="
)
HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
FILE = HEADER + _COMPRESSED


def _element(kind, data, order="<"):
    return struct.pack(f"{order}II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def _array(name, values, order="<"):
    values = values.astype(np.uint8)
    parts = _element(6, struct.pack(f"{order}II", 9, 0), order)
    parts += _element(5, struct.pack(f"{order}ii", *values.shape), order)
    parts += _element(1, name.encode(), order) + _element(2, values.tobytes("F"), order)
    return _element(14, parts, order)


def test_the_array_of_a_structure_is_found():
    np.testing.assert_array_equal(mat_files.find_labels(FILE, "Segmentation"), _LABEL)
    found = mat_files.find_labels(FILE, "CategoriesPresent")
    np.testing.assert_array_equal(found, [[1], [6]])


@pytest.mark.parametrize("order", ["<", ">"])
def test_files_of_either_byte_order_are_read(order):
    header = HEADER if order == "<" else HEADER[:124] + b"\1\0MI"
    data = header + _array("other", _LABEL.T, order) + _array("labels", _LABEL, order)
    np.testing.assert_array_equal(mat_files.find_labels(data, "labels"), _LABEL)


def test_what_is_no_such_file_is_refused():
    with pytest.raises(ValueError, match="is not a MATLAB file of version 5"):
        mat_files.find_labels(b"MATLAB 7.3", "labels")
    with pytest.raises(ValueError, match="has no array 'labels' of 8-bit integers"):
        mat_files.find_labels(FILE, "labels")
    for length in range(len(HEADER) + 8, len(FILE), 20):
        with pytest.raises(ValueError, match="is a broken MATLAB file|has no array"):
            mat_files.find_labels(FILE[:length], "Segmentation")
