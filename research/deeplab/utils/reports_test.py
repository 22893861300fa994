import numpy as np

from deeplab.utils import reports


def test_json_has_a_line_for_each_entry(tmp_path):
    reports.write_json(tmp_path / "x", {"a": [[1, 2], [3, 4]], "b": [], "ü": np.float32(0.5)})
    assert (tmp_path / "x").read_text(encoding="utf-8").splitlines() == [
        "{",
        '  "a": [',
        "    [1, 2],",
        "    [3, 4]",
        "  ],",
        '  "b": [],',
        '  "ü": 0.5',
        "}",
    ]
