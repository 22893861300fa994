"""Quantized training: its start, its exact resume, and its use by every script."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab import convert_to_tflite, export_model, model, train
from deeplab import eval as eval_script
from deeplab.testing import tiny, training
from deeplab.training import trainer
from deeplab.utils import checkpoint


def _trainer(quantize_delay_step: int, quantize: bool = True) -> trainer.Trainer:
    return training.new(
        training.OPTIONS.replace(quantize=quantize), quantize_delay_step=quantize_delay_step
    )


@pytest.fixture(scope="module", autouse=True)
def _minimal():
    """Use minimal networks, because most of the time is spent on graphs."""
    with tiny.minimal():
        yield


@pytest.fixture(scope="module")
def delayed() -> trainer.Trainer:
    """Return a run whose third update is the first that rounds."""
    return _trainer(3)


def test_network_and_training_agree_on_it():
    with pytest.raises(ValueError, match="--quantize_delay_step is -1, but the network is quant"):
        _trainer(-1)
    with pytest.raises(ValueError, match="is 0, but the network is not quantized"):
        _trainer(0, quantize=False)


@pytest.mark.slow
def test_xla_on_several_devices_is_refused():
    devices = [tf.config.LogicalDevice("CPU:0", "CPU"), tf.config.LogicalDevice("CPU:1", "CPU")]
    strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
    with (
        strategy.scope(),
        pytest.raises(ValueError, match="one device only, not on 2, because .*: remove --jit_co"),
    ):
        training.new(
            training.OPTIONS.replace(quantize=True), quantize_delay_step=0, jit_compile=True
        )


def test_values_are_rounded_from_the_step_on(delayed):
    """Ranges are learned from the first update on."""
    (batch,) = training.batches(0, 1)
    counts = []
    for updates in range(4):
        delayed.variables()["fake_quantization_step"].assign(updates)
        outputs = delayed.net.single_scale(batch["image"], training=True)
        counts.append(len(np.unique(outputs["layer_2"])))
    assert min(counts[:2]) > 1000
    assert max(counts[2:]) <= 256
    values = training.values(delayed)
    assert values["MobilenetV2/Conv/act_quant/max"] != 6.0
    assert all(value == 4 for name, value in values.items() if name.endswith("local_step"))


def test_a_checkpoint_without_the_count_of_updates_resumes_at_its_step(delayed, tmp_path):
    variables = delayed.variables()
    count = variables.pop("fake_quantization_step")
    count.assign(7)
    checkpoint.save(str(tmp_path), 2, variables)
    delayed.open(str(tmp_path))
    assert (delayed.step, int(count.value)) == (2, 2)


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_bits(delayed, tmp_path):
    """It is interrupted before the first update that rounds.

    All that a checkpoint holds is lost, and what it does not hold is that of the end.
    """

    def train(first: int, last: int) -> dict[str, np.ndarray]:
        with tiny.eager():
            for batch in training.batches(first, last):
                delayed.train_step(batch["image"], batch["label"])
        return training.values(delayed)

    delayed.optimizer.iterations.assign(0)
    delayed.variables()["fake_quantization_step"].assign(0)
    train(0, 2)
    delayed.save(str(tmp_path))
    stored = checkpoint.read(str(tmp_path))
    assert "aspp0/act_quant/aspp0/act_quant/max/biased" in stored.get_variable_to_shape_map()
    count = stored.get_tensor("fake_quantization_step")
    assert (count, count.dtype, count.shape) == (2, np.int64, ())

    whole = train(2, 4)
    assert whole["fake_quantization_step"] == 4
    for variable in delayed.variables().values():
        variable.assign(tf.fill(variable.shape, tf.cast(9, variable.dtype)))
    delayed.open(str(tmp_path))
    assert delayed.step == 2
    parts = train(2, 4)
    assert set(parts) == set(whole)
    for name, value in parts.items():
        np.testing.assert_array_equal(value, whole[name], err_msg=name)


@pytest.mark.slow
def test_from_a_float_checkpoint_to_integers(tmp_path, caplog):
    """Train, evaluate, export and convert; only train.py needs the official flag."""
    label = np.random.default_rng(0).integers(0, 4, (33, 33)).astype(np.uint8)
    samples = {f"image_{index}": (tiny.picture(33, 33, index), label) for index in range(2)}
    records = tiny.write_records(tmp_path / "records", samples)
    tiny.DATASET.save(tmp_path / "tiny.json")
    data = (f"--dataset_dir={records}", f"--dataset={tmp_path / 'tiny.json'}")
    plain = tiny.save(tiny.network(), tmp_path / "plain", 9)
    with tiny.eager(), caplog.at_level("INFO", logger="absl"):
        tiny.run(
            train,
            *data,
            *tiny.NETWORK_FLAGS,
            "--train_split=val",
            "--train_crop_size=33,33",
            "--train_batch_size=2",
            "--training_number_of_steps=2",
            "--quantize_delay_step=0",
            f"--tf_initial_checkpoint={plain}",
            f"--train_logdir={tmp_path / 'train'}",
        )
    new = caplog.text[caplog.text.index("not in the checkpoint, so new") :]
    assert "MobilenetV2/Conv/weights_quant/min ()" in new
    stored = checkpoint.read(str(tmp_path / "train")).get_variable_to_shape_map()
    assert "aspp0/act_quant/aspp0/act_quant/max/biased" in stored
    assert "fake_quantization_step" not in stored

    folder = f"--checkpoint_dir={tmp_path / 'train'}"
    caplog.clear()
    flags = (*data, folder, "--eval_crop_size=33,33", "--max_number_of_evaluations=1")
    with tiny.eager():
        tiny.run(eval_script, *flags, f"--eval_logdir={tmp_path / 'eval'}")
    assert (tmp_path / "eval" / "eval-2.json").exists()
    assert "does not have" not in caplog.text

    graph, lite = tmp_path / "graph.pb", tmp_path / "model.tflite"
    path = f"--checkpoint_path={tmp_path / 'train'}"
    tiny.run(export_model, path, f"--export_path={graph}", "--quantize_delay_step=0")
    tiny.run(
        convert_to_tflite,
        f"--quantized_graph_def_path={graph}",
        f"--output_tflite_path={lite}",
    )
    (given,) = tf.lite.Interpreter(model_path=str(lite)).get_input_details()
    assert given["dtype"] == np.uint8


def test_a_float_checkpoint_is_no_quantized_one(tmp_path):
    net = model.DeepLab(tiny.OPTIONS)
    path = tiny.save(net, tmp_path, 1, with_options=False)
    quantized = model.DeepLab(tiny.OPTIONS.replace(quantize=True))
    with pytest.raises(
        ValueError, match="is not a checkpoint of a quantized network.*leave --quantize_delay"
    ):
        checkpoint.restore(quantized, path)


@pytest.mark.slow
def test_a_float_network_says_that_the_checkpoint_is_quantized(tmp_path, caplog):
    quantized = model.DeepLab(tiny.OPTIONS.replace(quantize=True))
    path = tiny.save(quantized, tmp_path, 1, with_options=False)
    checkpoint.restore(model.DeepLab(tiny.OPTIONS), path)
    assert "--quantize_delay_step is missing" in caplog.text
