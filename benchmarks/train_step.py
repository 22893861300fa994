"""Compares forms of the training step on this machine: images a second, and peak memory.

Each form is a separate process, and they take turns. A row has the median of images a second over
the rounds, how many times as fast as the plain float32 step that is (the median of the ratios), and
the memory: on a GPU the largest amount that TensorFlow held there, otherwise the largest growth of
the process from the first step on.

`keras` is the same network with `train_on_batch` and a loss and an optimizer of Keras. It lacks
weight decay, gradient multipliers and official momentum, which the others have. `bfloat16` is
`--precision=mixed_bfloat16`, which keeps layers in float32 that are slower in bfloat16 here; `all
bfloat16` keeps none. `deterministic` is the step with `--deterministic_ops`.

Example:
    PYTHONPATH=research python benchmarks/train_step.py --rounds=10
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import turns
from absl import flags

from deeplab.cli import script

# Precision of the network and training options of each form.
_FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "keras": ("float32", {}),
    "float32": ("float32", {}),
    "bfloat16": ("mixed_bfloat16", {}),
    "all bfloat16": ("mixed_bfloat16", {}),
    "float16": ("mixed_float16", {}),
    "XLA": ("float32", {"jit_compile": True}),
    "XLA bfloat16": ("mixed_bfloat16", {"jit_compile": True}),
    "2 parts": ("float32", {"gradient_accumulation_steps": 2}),
    "4 parts": ("float32", {"gradient_accumulation_steps": 4}),
    "deterministic": ("float32", {}),
}
_REFERENCE, _DETERMINISTIC, _EVERYWHERE = "float32", "deterministic", "all bfloat16"
_V3PLUS = {"atrous_rates": (6, 12, 18), "decoder_output_stride": (4,)}
_CLASSES, _IGNORE_LABEL = 21, 255


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the script's flags."""
    define = {"flag_values": flag_values, "lower_bound": 1}
    flags.DEFINE_integer("rounds", 10, "How often each form is timed.", **define)
    flags.DEFINE_integer("steps", 3, "Steps that are timed together.", **define)
    flags.DEFINE_integer("batch_size", 8, "Images a step.", **define)
    flags.DEFINE_integer("crop_size", 321, "Height and width of the images.", **define)
    flags.DEFINE_string(
        "model_variant", "mobilenet_v2", "The network's backbone.", flag_values=flag_values
    )
    flags.DEFINE_bool(
        "v3plus", False, "Add an ASPP of rates 6, 12, 18 and a decoder.", flag_values=flag_values
    )
    flags.DEFINE_float(
        "depth_multiplier", 0.5, "Factor on its channels (MobileNets).", flag_values=flag_values
    )
    flags.DEFINE_list(
        "forms",
        list(_FORMS),
        f"Forms to measure: {', '.join(_FORMS)}. {_REFERENCE} is always measured.",
        flag_values=flag_values,
    )


def _step(form: str, values: dict[str, Any]) -> Callable[[], None]:
    """Make the network of a form; return a function that makes a step with a batch of noise."""
    import keras
    import numpy as np
    import tensorflow as tf

    from deeplab import common, model
    from deeplab.core.options import TrainOptions
    from deeplab.training import precision as precisions
    from deeplab.training.state import begin_run
    from deeplab.training.step import TrainStep

    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    if form == _DETERMINISTIC:
        tf.config.experimental.enable_op_determinism()
    precision, options = _FORMS[form]
    keras.utils.set_random_seed(0)
    net = model.DeepLab(
        common.ModelOptions(
            model_variant=values["model_variant"],
            depth_multiplier=values["depth_multiplier"],
            num_classes=_CLASSES,
            **(_V3PLUS if values["v3plus"] else {}),
        ),
        dtype=precision,
    )
    size = values["crop_size"]
    shape = (values["batch_size"], size, size)
    images = np.random.default_rng(0).uniform(0, 255, (*shape, 3)).astype(np.float32)
    labels = np.random.default_rng(1).integers(0, _CLASSES, (*shape, 1)).astype(np.int32)
    images, labels = tf.constant(images), tf.constant(labels)
    if form != "keras":
        options = TrainOptions(train_batch_size=shape[0], **options)
        step = TrainStep(begin_run(net, options), options, _IGNORE_LABEL)
        if precision == "mixed_bfloat16" and form != _EVERYWHERE:
            measured = precisions.measure(
                net, step.parts.size, shape[1:], jit_compile=options.jit_compile
            )
            print(f"{form}: {measured.choice}, {measured.passes}", flush=True)
            measured.choice.apply(net)
        return lambda: float(step(images, labels)["total_loss"])
    inputs = keras.Input((size, size, 3))
    logits = keras.layers.Resizing(size, size)(net(inputs))
    plain = keras.Model(inputs, logits)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=_IGNORE_LABEL)
    plain.compile(keras.optimizers.SGD(1e-4, momentum=0.9), loss)
    return lambda: plain.train_on_batch(images, labels)


def main(argv: Sequence[str]) -> None:
    """Print the table."""
    del argv
    values = flags.FLAGS.flag_values_dict()
    forms = [form for form in _FORMS if form in (_REFERENCE, *values["forms"])]
    if unknown := set(values["forms"]) - set(_FORMS):
        raise ValueError(f"--forms names {', '.join(unknown)}; known are {', '.join(_FORMS)}")
    names = ("model_variant", "v3plus", "depth_multiplier", "batch_size", "crop_size")
    chosen = {name: values[name] for name in names}
    results = turns.measure(
        {form: functools.partial(_step, form, chosen) for form in forms},
        values["rounds"],
        values["steps"],
    )
    reference = results[_REFERENCE]
    print(f"{'form':16}{'images/s':>10}{'times':>8}{'peak MiB':>10}")
    for form, each in results.items():
        speed, times = values["batch_size"] / each.median, each.times_as_fast(reference)
        print(f"{form:16}{speed:10.2f}{times:8.2f}{each.peak_bytes / 2**20:10.0f}")


if __name__ == "__main__":
    script.run(main, define_flags)
