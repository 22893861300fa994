r"""Compares the speed of training and inference of a DeepLab v3+ with that of other libraries.

The network is a DeepLab v3+ on ResNet-50 with output stride 16, atrous rates 6, 12 and 18, and 21
classes. The other libraries train the most similar network that they have. Training is one update
with batch norm, cross entropy at the size of the images, and SGD with momentum. Inference returns
the labels at the size of the images. Every form runs in a separate process; they take turns. A
library that is not installed is left out with a message.

Example:
    pip install torch segmentation-models-pytorch keras-hub
    PYTHONPATH=research python benchmarks/peers.py --rounds=5
"""

import argparse
import functools
import os
import tempfile
from collections.abc import Callable
from typing import Any

import turns

_CLASSES = 21
_OURS, _TORCH, _HUB = "this package", "segmentation_models.pytorch", "keras-hub"
_PRECISIONS = ("float32", "bfloat16")
_TASKS = ("training", "inference")


def _batch(values: argparse.Namespace) -> tuple[Any, Any]:
    """Return noise: images [B, H, W, 3], 0..255, and labels [B, H, W]."""
    import numpy as np

    random = np.random.default_rng(0)
    shape = (values.batch_size, values.size, values.size)
    images = random.uniform(0, 255, (*shape, 3)).astype(np.float32)
    return images, random.integers(0, _CLASSES, shape)


def _ours(task: str, precision: str, values: argparse.Namespace) -> Callable[[], object]:
    """Return a call of this package."""
    import tensorflow as tf

    from deeplab import common, model
    from deeplab.core.options import TrainOptions
    from deeplab.training import precision as precisions
    from deeplab.training.state import begin_run
    from deeplab.training.step import TrainStep

    images, labels = _batch(values)
    options = common.ModelOptions(
        model_variant="resnet_v1_50_beta",
        num_classes=_CLASSES,
        atrous_rates=(6, 12, 18),
        decoder_output_stride=(4,),
    )
    if task == "inference":
        return _export(options, precision, images)
    is_mixed = precision == "bfloat16"
    net = model.DeepLab(options, dtype="mixed_bfloat16" if is_mixed else "float32")
    train = TrainOptions(train_batch_size=values.batch_size)
    step = TrainStep(begin_run(net, train), train, ignore_label=255)
    if is_mixed:
        measured = precisions.measure(net, values.batch_size, (values.size, values.size))
        print(f"{_OURS}: {measured.choice}", flush=True)
        measured.choice.apply(net)
    images, labels = tf.constant(images), tf.constant(labels[..., None], tf.int32)
    return lambda: float(step(images, labels)["total_loss"])


def _export(options: Any, precision: str, images: Any) -> Callable[[], object]:
    """Return a call of an export for this machine."""
    import tensorflow as tf

    from deeplab import model
    from deeplab.core.options import ExportOptions
    from deeplab.export import exporter

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "export")
        net = model.DeepLab(options)
        target = "cpu" if not tf.config.list_physical_devices("GPU") else "portable"
        exporter.export_saved_model(
            net, path, options=ExportOptions(target=target, precision=precision)
        )
        loaded = tf.saved_model.load(path)
    signature = loaded.signatures["serving_labels"]
    (name,) = signature.structured_input_signature[1]
    images = tf.constant(images.astype("uint8"))
    # A signature works only as long as the loaded object exists.
    return lambda: (loaded, signature(**{name: images})["SemanticPredictions"].numpy())


def _torch(task: str, precision: str, values: argparse.Namespace) -> Callable[[], object]:
    """Return a call of segmentation_models.pytorch, with channels last."""
    import segmentation_models_pytorch as smp
    import torch

    torch.set_num_threads(values.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = smp.DeepLabV3Plus(
        "resnet50",
        encoder_weights=None,
        encoder_output_stride=16,
        decoder_atrous_rates=(6, 12, 18),
        classes=_CLASSES,
    )
    net = net.to(device, memory_format=torch.channels_last)
    images, labels = map(torch.from_numpy, _batch(values))
    images = images.permute(0, 3, 1, 2).to(device, memory_format=torch.channels_last)
    labels = labels.to(device)
    autocast = functools.partial(
        torch.autocast, device, dtype=torch.bfloat16, enabled=precision == "bfloat16"
    )
    if task == "inference":
        net.eval()

        def predict() -> object:
            with torch.inference_mode(), autocast():
                return net(images).argmax(1).cpu().numpy()

        return predict
    optimizer = torch.optim.SGD(net.parameters(), 1e-4, momentum=0.9, weight_decay=4e-5)

    def train() -> float:
        optimizer.zero_grad()
        with autocast():
            loss = torch.nn.functional.cross_entropy(net(images), labels, ignore_index=255)
        loss.backward()
        optimizer.step()
        return loss.item()

    return train


def _hub(task: str, precision: str, values: argparse.Namespace) -> Callable[[], object]:
    """Return a call of keras-hub, on TensorFlow."""
    import keras
    import keras_hub
    import tensorflow as tf

    if precision == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    shape = (values.size, values.size, 3)
    encoder = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[3, 4, 6, 3],
        stackwise_num_strides=[1, 2, 2, 1],
        block_type="bottleneck_block",
        image_shape=shape,
    )
    # The last block has stride 1 here, so the features at stride 16 are those after all blocks.
    levels = encoder.pyramid_outputs
    encoder.pyramid_outputs = {"P2": levels["P2"], "P4": levels["P5"]}
    backbone = keras_hub.models.DeepLabV3Backbone(
        image_encoder=encoder,
        low_level_feature_key="P2",
        spatial_pyramid_pooling_key="P4",
        upsampling_size=4,
        dilation_rates=[6, 12, 18],
        image_shape=shape,
    )
    net = keras_hub.models.DeepLabV3ImageSegmenter(backbone=backbone, num_classes=_CLASSES)
    images, labels = map(tf.constant, _batch(values))
    if task == "inference":
        predict = tf.function(lambda x: tf.argmax(net(x, training=False), axis=-1))
        return lambda: predict(images).numpy()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    net.compile(keras.optimizers.SGD(1e-4, momentum=0.9), loss, metrics=[])
    return lambda: net.train_on_batch(images, labels)


_LIBRARIES = {_OURS: _ours, _TORCH: _torch, _HUB: _hub}


def table(results: dict[str, turns.Measured], batch_size: int) -> str:
    """Return a Markdown table: images a second, and how many times as fast this package is.

    Args:
        results: The results of each form, named "<task>, <precision>, <library>".
        batch_size: Number of images in a call.
    """
    lines = [f"| | {' | '.join(_LIBRARIES)} |", "| --- |" + " --- |" * len(_LIBRARIES)]
    for task in _TASKS:
        for precision in _PRECISIONS:
            ours = results.get(f"{task}, {precision}, {_OURS}")
            if ours is None:
                continue
            cells = []
            for library in _LIBRARIES:
                each = results.get(f"{task}, {precision}, {library}")
                if each is None:
                    cells.append("not measured")
                    continue
                ratio = f" (ours {ours.times_as_fast(each):.2f} times)" if each is not ours else ""
                cells.append(f"{batch_size / each.median:.2f}{ratio}")
            lines.append(f"| {task}, {precision} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each form is timed")
    parser.add_argument("--calls", type=int, default=1, help="calls that are timed together")
    parser.add_argument("--batch_size", type=int, default=4, help="images in a call")
    parser.add_argument("--size", type=int, default=256, help="height and width of the images")
    parser.add_argument("--tasks", nargs="+", choices=_TASKS, default=_TASKS, help="what to time")
    parser.add_argument("--precisions", nargs="+", choices=_PRECISIONS, default=_PRECISIONS)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of PyTorch")
    values = parser.parse_args()
    # One task at a time, so that fewer networks are in memory.
    results = {}
    for task in values.tasks:
        forms = {
            f"{task}, {precision}, {library}": functools.partial(make, task, precision, values)
            for precision in values.precisions
            for library, make in _LIBRARIES.items()
        }
        results |= turns.measure(forms, values.rounds, values.calls)
        print(table(results, values.batch_size), flush=True)


if __name__ == "__main__":
    main()
