"""The flags of the dense CRF, and the options that they make."""

import dataclasses
import inspect

import numpy as np
import pytest

from deeplab import eval as eval_script
from deeplab import export_model, vis
from deeplab.cli import crf_flags
from deeplab.core import dense_crf
from deeplab.core.options import CrfOptions
from deeplab.testing import tiny


def _options(*arguments):
    return crf_flags.from_flags(tiny.parse(crf_flags, arguments))


def test_there_is_none_without_the_flag():
    assert _options() is None


def test_defaults_are_those_of_the_function():
    """Flags, options and `mean_field`: one set of defaults."""
    assert _options("--crf") == CrfOptions()
    parameters = inspect.signature(dense_crf.mean_field).parameters
    for field in dataclasses.fields(CrfOptions):
        assert parameters[field.name].default == field.default, field.name


def test_every_flag_counts(tmp_path):
    np.save(tmp_path / "matrix.npy", [[-1, 2], [3, -4]])
    expected = CrfOptions(
        iterations=5,
        pos_w=1,
        pos_sxy=2,
        bi_w=6,
        bi_sxy=50,
        bi_srgb=4.5,
        normalization="after",
        compatibility=((-1, 2), (3, -4)),
    )
    flags = [
        f"--crf_{name}={value}"
        for name, value in dataclasses.asdict(expected).items()
        if name != "compatibility"
    ]
    found = _options("--crf", *flags, f"--crf_compatibility={tmp_path / 'matrix.npy'}")
    assert found == expected


@pytest.mark.parametrize("script", [eval_script, vis, export_model])
def test_the_scripts_have_them(script):
    values = tiny.parse(script, ["--crf", "--crf_bi_sxy=50"])
    assert crf_flags.from_flags(values) == CrfOptions(bi_sxy=50)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--crf_bi_w=3"], "--crf_bi_w has no effect without --crf"),
        (["--crf", "--crf_bi_w=-3"], "--crf_bi_w is -3.0; it must be a finite number, at least 0"),
        (["--crf", "--crf_compatibility=/no.npy"], "--crf_compatibility=/no.npy does not exist"),
        (["--crf", f"--crf_compatibility={__file__}"], "is not a .npy file of numbers"),
        (["--crf", "--crf_compatibility=/"], "is not a .npy file of numbers"),
    ],
)
def test_what_cannot_be_names_the_flag(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        _options(*arguments)
    assert "\n" not in str(error.value)


def test_a_matrix_for_a_kernel_that_is_left_out_is_an_error(tmp_path):
    np.save(tmp_path / "matrix.npy", np.eye(3))
    matrix = f"--crf_compatibility={tmp_path / 'matrix.npy'}"
    message = "--crf_bi_w is 0, which leaves out the kernel that --crf_compatibility is for"
    with pytest.raises(ValueError, match=message):
        _options("--crf", "--crf_bi_w=0", matrix)
    assert _options("--crf", "--crf_pos_w=0", matrix).compatibility


def test_an_archive_is_no_matrix(tmp_path):
    np.savez(tmp_path / "matrix.npz", np.eye(3))
    with pytest.raises(ValueError, match="matrix.npz is not a .npy file of numbers"):
        _options("--crf", f"--crf_compatibility={tmp_path / 'matrix.npz'}")


@pytest.mark.parametrize("cut", [0, 1, 9, 40, 100, 130])
def test_a_damaged_matrix_is_one_line(tmp_path, cut):
    path = tmp_path / "matrix.npy"
    np.save(path, np.eye(3))
    data = path.read_bytes()
    for damaged in (data[:cut], data[:cut] + b"\xff\x00{(" + data[cut + 4 :]):
        path.write_bytes(damaged)
        try:
            _options("--crf", f"--crf_compatibility={path}")
        except ValueError as error:
            assert str(path) in str(error)
