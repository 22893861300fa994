import subprocess
import sys

import numpy as np
import pytest

from deeplab.core.options import ModelOptions
from deeplab.testing import tiny
from deeplab.training.recipe import measuring


def _request(folder, **changes):
    samples = {
        f"image_{index}": (tiny.picture(33, 33, index), np.full((33, 33), index % 4, np.uint8))
        for index in range(3)
    }
    tiny.write_records(folder, samples, split="train")
    tiny.DATASET.save(folder / "tiny.json")
    values = {
        "network": tiny.OPTIONS,
        "dataset": f"{folder}/tiny.json",
        "dataset_dir": str(folder),
        "split": "train",
        "crop_size": 33,
        **changes,
    }
    return measuring.StepRequest(**values)


class _Pipe(list):
    """Takes what a process would send."""

    def send(self, message):
        self.append(message)


@pytest.mark.slow
def test_steps_are_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "_BATCH_SIZES", (2,))
    monkeypatch.setattr(measuring, "_SECONDS", 0.0)
    pipe = _Pipe()
    with tiny.minimal():
        measuring._send_measurements(pipe, _request(tmp_path))
    kinds = [kind for kind, _ in pipe]
    assert kinds == ["memory_bytes", "idle_bytes", "first_step", "measurement"]
    (_, limit), (_, idle), _, (_, found) = pipe
    assert limit > idle > 0
    assert (found.crop_size, found.batch_size) == (33, 2)
    assert found.seconds > 0
    assert found.peak_bytes >= idle


@pytest.mark.slow
def test_an_error_of_the_process_is_one_line(tmp_path):
    network = ModelOptions(num_classes=4, decoder_output_stride=(3,))
    with pytest.raises(ValueError, match="^a training step fails: --decoder_output_stride has 3"):
        measuring.measure(_request(tmp_path, network=network))


def test_the_process_hides_remarks_before_it_imports_tensorflow():
    program = (
        "import sys, deeplab.make_recipe, deeplab.training.recipe.measuring\nassert {} not in {}"
    )
    program = program.format("'tensorflow'", "sys.modules")
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_memory_of_a_gpu_is_what_is_free(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\ncase "$*" in *memory.free*) echo 100; echo 7;; esac\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert measuring._gpu_bytes() == 100 * 2**20
    tool.write_text("#!/bin/sh\necho '[N/A]'\n")
    assert measuring._gpu_bytes() is None


def test_this_machine_tells_its_memory():
    assert 0 < measuring._status("VmRSS") <= measuring._status("VmHWM")
    assert measuring._free_bytes() > 0
