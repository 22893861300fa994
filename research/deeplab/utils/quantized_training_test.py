"""Quantised training: from its step on, with every bit kept, and to every script's end."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, convert_to_tflite, export_model, model, train
from deeplab import eval as eval_script
from deeplab.testing import tiny
from deeplab.utils import checkpoint, trainer


def _trainer(quantize_delay_step: int, steps: int = 4, quantize: bool = True) -> trainer.Trainer:
    keras.utils.set_random_seed(1)
    options = common.ModelOptions(
        depth_multiplier=0.1, aspp_convs_filters=8, num_classes=3, quantize=quantize
    )
    return trainer.Trainer(
        model.DeepLab(options),
        trainer.TrainOptions(
            quantize_delay_step=quantize_delay_step,
            training_number_of_steps=steps,
            train_batch_size=2,
            base_learning_rate=0.01,
            decay_steps=4,
        ),
        ignore_label=255,
    )


def _batches(first: int, last: int):
    for step in range(first, last):
        random = np.random.default_rng(step)
        yield {
            "image": tf.constant(random.uniform(0, 255, (2, 33, 33, 3)), tf.float32),
            "label": tf.constant(random.integers(0, 3, (2, 33, 33, 1)), tf.int32),
            "image_name": tf.constant([f"image{step}a", f"image{step}b"]),
        }


def _values(run: trainer.Trainer) -> dict[str, np.ndarray]:
    return {name: variable.numpy() for name, variable in run.variables().items()}


def test_network_and_training_agree_on_it():
    with pytest.raises(ValueError, match="--quantize_delay_step is -1, but the network is quant"):
        _trainer(-1)
    with pytest.raises(ValueError, match="is 0, but the network is not quantised"):
        _trainer(0, quantize=False)


def test_several_devices_are_refused():
    devices = [tf.config.LogicalDevice("CPU:0", "CPU"), tf.config.LogicalDevice("CPU:1", "CPU")]
    strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
    with strategy.scope(), pytest.raises(ValueError, match="one device, not on 2: give --num_clo"):
        _trainer(0)


def test_values_are_rounded_from_the_step_on():
    """The third update is the first that is; ranges are learnt from the first on."""
    run = _trainer(3)
    (batch,) = _batches(0, 1)
    counts = []
    for updates in range(4):
        run.optimizer.iterations.assign(updates)
        outputs = run.net.single_scale(batch["image"], training=True)
        counts.append(len(np.unique(outputs["layer_2"])))
    assert min(counts[:2]) > 1000
    assert max(counts[2:]) <= 256
    values = _values(run)
    assert values["MobilenetV2/Conv/act_quant/max"] != 6.0
    assert all(value == 4 for name, value in values.items() if name.endswith("local_step"))


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_bits(tmp_path):
    """It is interrupted before the step from which on values are rounded."""
    for folder, ends in (("whole", (4,)), ("parts", (2, 4))):
        for end in ends:
            run = _trainer(3, end)
            run.open(str(tmp_path / folder))
            run.train(_batches(run.step, end))
    whole, parts = (checkpoint.read(str(tmp_path / folder)) for folder in ("whole", "parts"))
    names = whole.get_variable_to_shape_map()
    assert set(names) == set(parts.get_variable_to_shape_map())
    assert "aspp0/act_quant/aspp0/act_quant/max/biased" in names
    for name in names:
        ours, theirs = whole.get_tensor(name), parts.get_tensor(name)
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


@pytest.mark.slow
def test_from_a_float_checkpoint_to_integers(tmp_path, caplog):
    """train, eval and export with the official flag, which only train needs; then TFLite."""
    label = np.random.default_rng(0).integers(0, 4, (33, 33)).astype(np.uint8)
    samples = {f"image_{index}": (tiny.picture(33, 33, index), label) for index in range(2)}
    records = tiny.write_records(tmp_path / "records", samples)
    tiny.DATASET.save(tmp_path / "tiny.json")
    data = (f"--dataset_dir={records}", f"--dataset={tmp_path / 'tiny.json'}")
    plain = tiny.save(tiny.network(), tmp_path / "plain", 9)
    with caplog.at_level("INFO", logger="absl"):
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
    new = caplog.text[caplog.text.index("not found in it, so new") :]
    assert "MobilenetV2/Conv/weights_quant/min ()" in new
    stored = checkpoint.read(str(tmp_path / "train")).get_variable_to_shape_map()
    assert "aspp0/act_quant/aspp0/act_quant/max/biased" in stored

    folder = f"--checkpoint_dir={tmp_path / 'train'}"
    caplog.clear()
    flags = (*data, folder, "--eval_crop_size=33,33", "--max_number_of_evaluations=1")
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


def test_a_float_checkpoint_is_no_quantised_one(tmp_path):
    net = model.DeepLab(tiny.OPTIONS)
    path = tiny.save(net, tmp_path, 1, with_options=False)
    quantized = model.DeepLab(tiny.OPTIONS.replace(quantize=True))
    with pytest.raises(ValueError, match="is not of a quantised network.*leave --quantize_delay"):
        checkpoint.restore(quantized, path)


def test_a_float_network_says_that_the_checkpoint_is_quantised(tmp_path, caplog):
    quantized = model.DeepLab(tiny.OPTIONS.replace(quantize=True))
    path = tiny.save(quantized, tmp_path, 1, with_options=False)
    checkpoint.restore(model.DeepLab(tiny.OPTIONS), path)
    assert "--quantize_delay_step are missing" in caplog.text
