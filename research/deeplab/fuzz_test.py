"""Damaged files end in one clean error that names them; `tools/fuzz.py` tries many more."""

import pytest

from deeplab.testing import fuzz, fuzz_subjects

_CASES_EACH = 20


@pytest.mark.parametrize("subject", fuzz_subjects.all_subjects(), ids=lambda each: each.name)
def test_a_damaged_file_is_one_clean_error(subject, tmp_path):
    """The intact one is read, too."""
    fuzz.write(subject.files, tmp_path)
    subject.read(str(tmp_path))
    for number in range(max(1, round(_CASES_EACH * subject.weight))):
        fuzz.check(subject, tmp_path, number)
