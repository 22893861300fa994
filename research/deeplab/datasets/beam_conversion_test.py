"""A pipeline of Beam writes the records of the local converter, and tells the same faults."""

import pathlib
import sys
from typing import NamedTuple

import numpy as np
import pytest

from deeplab.core.options import RunnerOptions
from deeplab.datasets import conversion, descriptors, label_files
from deeplab.datasets.conftest import jpeg, png, write_pairs
from deeplab.datasets.samples import FileSamples

_READER = label_files.LabelReader(descriptors.DatasetDescriptor("test", 3, 255))
# The engine of Beam's DirectRunner, which would download another one first where it can.
_BEAM = RunnerOptions(runner="beam", beam_options=("--runner=FnApiRunner",))


class _Outcome(NamedTuple):
    """The error of a conversion, what is logged of images, and the files that it wrote."""

    error: tuple[type, str] | None
    told: list[str]
    written: dict[str, bytes]
    pictures: dict[str, bytes]


def _outcome(splits, folder, runner, caplog):
    caplog.clear()
    error = None
    try:
        conversion.convert(splits, str(folder), 2, label_images=f"{folder}-p", runner=runner)
    except (ValueError, OSError) as raised:
        error = type(raised), str(raised)
    told = [record.getMessage() for record in caplog.records if "photo.jpg" in record.getMessage()]
    return _Outcome(error, told, _files(folder), _files(pathlib.Path(f"{folder}-p")))


def _files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_a_pipeline_writes_the_records_of_the_local_converter(tmp_path, caplog):
    pytest.importorskip("apache_beam", reason="needs the extra [beam]")
    sources = write_pairs(tmp_path / "data", 7)
    # Some remarks, and labels that only a test split may lack.
    for source in sources[3:5]:
        pathlib.Path(source.image).write_bytes(jpeg(8, 9, orientation=3))
    pathlib.Path(sources[6].label).unlink()
    # A shard without records, too.
    splits = {"train": sources[:5], "test": sources[5:], "val": sources[:1]}
    splits = {name: FileSamples(found, _READER) for name, found in splits.items()}
    local = _outcome(splits, tmp_path / "local", None, caplog)
    assert local == _outcome(splits, tmp_path / "beam", _BEAM, caplog)
    assert local.error is None
    assert (len(local.told), len(local.written), len(local.pictures)) == (2, 6, 6)


@pytest.mark.slow
def test_faults_are_told_as_by_the_local_converter_and_earlier_splits_stay(tmp_path, caplog):
    pytest.importorskip("apache_beam", reason="needs the extra [beam]")
    sources = write_pairs(tmp_path / "data", 6)
    for source in (sources[3], sources[5]):
        pathlib.Path(source.label).write_bytes(png(np.full((8, 9), 3)))
    pathlib.Path(sources[4].image).unlink()
    for bad in (sources[1:5], sources[3:4]):
        splits = {"train": sources[:2], "val": bad, "trainval": sources[:1]}
        splits = {name: FileSamples(found, _READER) for name, found in splits.items()}
        folder = tmp_path / str(len(bad))
        local = _outcome(splits, folder / "local", None, caplog)
        beam = _outcome(splits, folder / "beam", _BEAM, caplog)
        assert (local.error, local.told, local.written) == (beam.error, beam.told, beam.written)
        assert local.error is not None
        assert {name.partition("-")[0] for name in local.written} == {"train"}


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    splits = {"train": FileSamples(write_pairs(tmp_path / "data", 1), _READER)}
    with pytest.raises(ValueError, match=r"cannot be imported .*: pip install 'deeplab\[beam\]'"):
        conversion.convert(splits, str(tmp_path / "out"), 2, runner=_BEAM)
    assert not (tmp_path / "out").exists()
