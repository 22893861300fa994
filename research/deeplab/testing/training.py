"""Training of a small network, for tests."""

from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from deeplab import common, model
from deeplab.testing import tiny
from deeplab.training import trainer

IGNORE_LABEL = 255
OPTIONS = common.ModelOptions(depth_multiplier=0.1, aspp_convs_filters=8, num_classes=3)


def new(options: common.ModelOptions = OPTIONS, **changes) -> trainer.Trainer:
    """Return the begun trainer of a minimal network; its random weights are always the same.

    Args:
        options: Options of the network.
        **changes: Fields of `TrainOptions`.
    """
    keras.utils.set_random_seed(1)
    with tiny.minimal():
        net = model.DeepLab(options)
    values = {"training_number_of_steps": 6, "train_batch_size": 2, "base_learning_rate": 0.01}
    run = trainer.Trainer(net, trainer.TrainOptions(**{**values, **changes}), IGNORE_LABEL)
    run.begin()
    return run


def batches(first: int, last: int) -> Iterator[dict[str, tf.Tensor]]:
    """Yield the batches of steps `first` to `last - 1`; each depends on its step only."""
    for step in range(first, last):
        random = np.random.default_rng(step)
        yield {
            "image": tf.constant(random.uniform(0, 255, (2, 33, 33, 3)), tf.float32),
            "label": tf.constant(random.integers(0, 3, (2, 33, 33, 1)), tf.int32),
            "image_name": tf.constant([f"image{step}a", f"image{step}b"]),
        }


def values(run: trainer.Trainer) -> dict[str, np.ndarray]:
    """Return the values of everything that a checkpoint contains besides the step."""
    return {name: variable.numpy() for name, variable in run.variables().items()}
