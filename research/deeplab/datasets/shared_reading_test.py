"""Several processes read images in order, and a killed one is one error."""

import os
import signal
import threading
from concurrent import futures

import pytest

from deeplab.datasets import descriptors, label_files, shared_reading
from deeplab.datasets.conftest import write_pairs

_READER = label_files.LabelReader(descriptors.DatasetDescriptor("test", 3, 255))


def test_while_other_processes_start_this_one_reads_what_they_were_not_given(tmp_path, monkeypatch):
    sources = write_pairs(tmp_path, 9)
    read, begun = shared_reading._read, threading.Event()
    here = []

    def starting(task):
        begun.wait(60)
        return read(*task)

    def reading(source, labels):
        here.append(source.name)
        begun.set()
        return read(source, labels)

    monkeypatch.setattr(shared_reading, "_try_to_read", starting)
    monkeypatch.setattr(shared_reading, "_read", reading)
    monkeypatch.setattr(shared_reading, "_HANDED_OUT", 2)
    with futures.ThreadPoolExecutor(1) as pool:
        samples = list(shared_reading._share(pool, 1, sources, _READER))
    names = [source.name for source in sources]
    assert [sample.name for sample in samples] == names
    # The first two were handed out.
    assert here[0] == names[2]
    assert not {names[0], names[1]} & set(here)


def _kill(task):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_process_is_one_error_that_names_memory_and_flag(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_reading, "_try_to_read", _kill)
    message = "a process .* was killed, most likely because memory .*: set --num_processes below 2"
    with pytest.raises(ChildProcessError, match=message):
        list(shared_reading.read_all(write_pairs(tmp_path, 4), _READER, 2))
