"""Evaluation, pictures and predictions are the same on several devices and hosts."""

import json

import numpy as np
import pytest
import tensorflow as tf

from deeplab import eval as eval_script
from deeplab import predict, vis
from deeplab.testing import processes, tiny

_SCRIPTS = {"eval": eval_script, "vis": vis, "predict": predict}


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    """The flags of each script, without the folder of its results."""
    folder = tmp_path_factory.mktemp("work")
    samples = {}
    (folder / "images").mkdir()
    for number, size in enumerate([(20, 30), (33, 33), (31, 12), (33, 33), (25, 33), (40, 33)]):
        label = np.random.default_rng(number).integers(0, 4, size).astype(np.uint8)
        image = tiny.picture(*size, number)
        samples[f"image_{number}"] = (image, label)
        (folder / "images" / f"{number}.png").write_bytes(tiny.png(image))
    tiny.DATASET.save(folder / "tiny.json")
    data = [f"--dataset={folder}/tiny.json", f"--dataset_dir={tiny.write_records(folder, samples)}"]
    with tiny.minimal():
        net = tiny.network()
    checkpoint = f"--checkpoint_dir={tiny.save(net, folder / 'train', 7)}"
    return {
        "eval": [*data, checkpoint, "--eval_crop_size=33,33"],
        "vis": [
            *(*data, checkpoint, "--vis_crop_size=33,33"),
            *("--max_number_of_iterations=1", "--also_save_raw_predictions"),
        ],
        "predict": [f"--images={folder}/images", f"--export_path={_export(folder / '1')}"],
    }


def _export(path):
    """A stand-in for a network: the class of a pixel is its red channel, less 1, modulo 4."""
    module = tf.Module()
    module.one = tf.Variable(1)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, "ImageTensor")])
    def serve(images):
        labels = (tf.cast(images[..., 0], tf.int32) - module.one) % 4
        return {"SemanticPredictions": labels, "SemanticProbabilities": tf.one_hot(labels, 4)}

    tf.saved_model.save(module, str(path), signatures=serve)
    return path


def _folders(root):
    """Return the flags with the folders of the results."""
    return {
        "eval": [f"--eval_logdir={root}/eval", f"--report_dir={root}/report"],
        "vis": [f"--vis_logdir={root}/vis", f"--contact_sheet={root}/vis/sheet.png"],
        "predict": [f"--output_dir={root}/predict"],
    }


def _results(folder):
    """Return the results that are the same in each run."""
    # The events hold the time, and the end of the report shows the command.
    return {
        name: (folder / name).read_bytes().partition(b"The command")[0]
        for name in tiny.files(folder)
        if "events" not in name and not name.endswith(".log")
    }


def _assert_equal(folder, alone):
    """The names and bytes of all results are those of one device."""
    expected, found = _results(alone), _results(folder)
    assert sorted(found) == sorted(expected)
    assert len(found) > 50
    assert [name for name in found if found[name] != expected[name]] == []


@pytest.mark.slow
def test_two_hosts_give_the_files_of_one(flags, tmp_path):
    """The second one has two devices."""
    cluster = {"worker": ["host0:2222", "host1:2222"]}
    logs = [tmp_path / f"{index}.log" for index in range(2)]
    running = []
    for index, log in enumerate(logs):
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        devices = ["--num_clones=2", "--clone_on_cpu"] if index else []
        for name in _SCRIPTS:
            arguments = [*flags[name], *_folders(tmp_path / "two")[name], *devices]
            started = processes.start(name, arguments, log, minimal=True, TF_CONFIG=config)
            running.append(started)
    with tiny.minimal():
        for name, script in _SCRIPTS.items():
            tiny.run(script, *flags[name], *_folders(tmp_path / "one")[name])
    for process in running:
        process.join(timeout=300)
    assert [process.exitcode for process in running] == [0] * 6
    _assert_equal(tmp_path / "two", tmp_path / "one")
    chief, other = (log.read_text() for log in logs)
    for log, host in ((chief, "host 0 of 2 (host0:2222)"), (other, "host 1 of 2 (host1:2222)")):
        assert log.count(f"{host}: the hosts of TF_CONFIG share the work") == len(_SCRIPTS)
    # Only the chief reports.
    assert "mIoU" in chief
    assert "mIoU" not in other
