"""The state of a training run: what a checkpoint holds, and how a run resumes.

A run is its variables and its step. Everything else follows from them:

- The n-th image of training and its augmentation are functions of (seed, n):
  `data_generator.Dataset.training` starts at any step.
- Dropout and drop path are functions of (seed, step): `TrainState.reseed` sets their random
  generators before each update.
- The learning rate, hard example mining and drop path's share are functions of the step.

So a checkpoint holds no position of an iterator and no random state. It holds, under the official
names:

- the variables of the network, its quantizers' ranges included: `<variable>`;
- the number of updates: `global_step`;
- the optimizer's slots: `<variable>/Momentum`, or `<variable>/Adam`, `<variable>/Adam_1`,
  `beta1_power` and `beta2_power`;
- moving averages of the quantizers' ranges: `<quantizer>/<quantizer>/min/biased`, ...;
- the moving averages of the weights (`--ema_decay`): `<variable>/ExponentialMovingAverage`;
- the scale of the loss (`--precision=mixed_float16`): `loss_scale`, `loss_scale_good_steps`;
- the updates of a network that is quantized later (`--quantize_delay_step`):
  `fake_quantization_step`.

The last three are *extras*: a run may take them up at any step, see `TrainState.restore`. The sums
of gradient accumulation are zero between steps and not saved.

To resume, `Trainer.open` finds the newest checkpoint that is whole (`checkpoint_integrity`), and
`TrainState.restore` reads it. The training script asks for the batches from that step on. A run
that was killed at any moment then ends with the same bits as one that never stopped, on the same
machine, with the same options, and with operations that are deterministic.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from deeplab import model
from deeplab.core import layers, training_hooks
from deeplab.core.options import TrainOptions
from deeplab.training import optimizers
from deeplab.training.batch_parts import BatchParts
from deeplab.training.loss_scale import LossScale
from deeplab.utils import checkpoint

# Official name of the number of updates of a network that is quantized later.
QUANTIZATION_STEP = "fake_quantization_step"


@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that training changes.

    Attributes:
        net: the network.
        optimizer: the optimizer, with its slots, the moving averages of the weights, and the step.
        seed: seed of the run.
        generators: the network's random generators, of dropout and drop path.
        ranges: what the quantizers need to learn their ranges, by official name.
        quantization_step: number of updates of a network that is quantized later; else None.
        loss_scale: the scale of the loss, with float16; else None.
    """

    net: model.DeepLab
    optimizer: optimizers.OfficialOptimizer
    seed: int
    generators: Sequence[keras.random.SeedGenerator]
    ranges: Mapping[str, keras.Variable]
    quantization_step: keras.Variable | None
    loss_scale: LossScale | None

    @property
    def step(self) -> int:
        """The number of updates made so far, the global step."""
        return int(self.optimizer.iterations.numpy())

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next update."""
        return float(keras.ops.convert_to_numpy(self.optimizer.learning_rate))

    # --- What a checkpoint holds ---

    @functools.cached_property
    def network(self) -> dict[str, keras.Variable]:
        """The network's variables by official name."""
        return checkpoint.official_variables(self.net)

    def slots(self) -> dict[str, keras.Variable]:
        """The optimizer's state; a run cannot resume without it."""
        return self.optimizer.official_variables(self.network)

    def extras(self) -> dict[str, keras.Variable]:
        """State that a run may begin with at any step."""
        return {**self.optimizer.official_averages(self.network), **self._scale_and_count()}

    def variables(self) -> dict[str, keras.Variable]:
        """What a checkpoint holds besides the step, by name."""
        return {**self.network, **self.slots(), **self.ranges, **self.extras()}

    def own_variables(self) -> dict[str, keras.Variable]:
        """State that neither the network nor the optimizer holds."""
        return {**self.ranges, **self._scale_and_count()}

    def _scale_and_count(self) -> dict[str, keras.Variable]:
        variables = self.loss_scale.variables() if self.loss_scale else {}
        if self.quantization_step is not None:
            variables[QUANTIZATION_STEP] = self.quantization_step
        return variables

    # --- Saving and resuming ---

    def save(self, folder: str, max_to_keep: int = 5) -> str:
        """Write a checkpoint, and the network's options beside it; return its prefix.

        Args:
            folder: folder of the checkpoints.
            max_to_keep: how many checkpoints the folder keeps.

        Raises:
            FloatingPointError: a variable is not finite. Nothing is written.
            OSError: the files cannot be written. Everything is as before.
            tf.errors.OpError: likewise.
        """
        variables = self.variables()
        for name, variable in variables.items():
            if not np.all(np.isfinite(variable.numpy())):
                raise FloatingPointError(
                    f"{name} is not finite after step {self.step}; nothing is saved, and the newest"
                    f" checkpoint is {checkpoint.latest(folder) or 'none'}"
                )
        checkpoint.save_options(folder, self.net.options)
        return checkpoint.save(folder, self.step, variables, max_to_keep)

    def restore(self, path: str) -> None:
        """Take the values of a checkpoint, of this code or of the official one.

        Extras that it lacks begin here: averages as the weights, the count of updates of a network
        that is quantized later as the step, the scale of the loss as it is.

        Args:
            path: prefix of the checkpoint.

        Raises:
            ValueError: the checkpoint is of another network or optimizer, or damaged.
        """
        reader = checkpoint.read(path)
        slots = self.slots()
        if not any(reader.has_tensor(name) for name in slots):
            raise ValueError(
                f"{path} was not written with --optimizer={self.optimizer.name}: it lacks"
                f" {next(iter(slots))} and its like; give the optimizer that it was trained with,"
                " or name another --train_logdir"
            )
        variables = self.variables()
        new = [name for name in self.extras() if not reader.has_tensor(name)]
        for name in new:
            del variables[name]
        checkpoint.assign(variables, reader, path)
        step = checkpoint.global_step(reader)
        self._begin_extras(new, step)
        self.optimizer.iterations.assign(step)

    def _begin_extras(self, names: Iterable[str], step: int) -> None:
        extras = self.extras()
        for name in names:
            weight, _, kind = name.rpartition("/")
            if kind == checkpoint.AVERAGE:
                extras[name].assign(self.network[weight])
            elif name == QUANTIZATION_STEP:
                extras[name].assign(step)

    # --- Random numbers ---

    def reseed(self, step: tf.Tensor, part: tf.Tensor) -> None:
        """Make the random numbers of the next update a function of seed, step and part.

        Args:
            step: number of updates made so far, int64 scalar.
            part: number of the part of the batch, int64 scalar; see `BatchParts`.
        """
        for index, generator in enumerate(self.generators):
            state = tf.stack([self.seed + index + part * 2**32, step * 2**16])
            generator.state.assign(tf.cast(state, generator.state.dtype))


def begin_run(net: model.DeepLab, options: TrainOptions) -> TrainState:
    """Put a network into training mode, and make the state of a new run at step 0.

    It sets what batch norms do in training, and calls the layers' `begin_training`. Call it in the
    scope of the distribution strategy that the network was made in, before any step is compiled.

    Args:
        net: the network; its weights stay as they are.
        options: how to train it.

    Raises:
        ValueError: options that contradict each other, the network or the strategy.
    """
    parts = BatchParts.of(options)
    _check_quantization(net, options, parts)
    optimizer = optimizers.from_options(options)
    optimizer.build(net.trainable_weights)
    quantization_step = None
    if options.quantize_delay_step > 0:
        quantization_step = keras.Variable(
            0, dtype="int64", trainable=False, name=QUANTIZATION_STEP
        )

    def progress() -> tf.Tensor:
        step = tf.cast(tf.convert_to_tensor(optimizer.iterations), tf.float32)
        return step / options.training_number_of_steps

    def is_rounding() -> tf.Tensor:
        # The first update is number 1.
        return quantization_step.value + 1 >= options.quantize_delay_step

    schedule = training_hooks.TrainingSchedule(
        progress=progress,
        is_rounding=None if quantization_step is None else is_rounding,
        drop_path_keep_prob=options.drop_path_keep_prob,
    )
    _set_batch_norm(net, options, parts)
    return TrainState(
        net,
        optimizer,
        options.seed,
        generators=layers.seed_generators(net),
        ranges=training_hooks.begin_training(net, schedule),
        quantization_step=quantization_step,
        loss_scale=LossScale() if net.compute_dtype == "float16" else None,
    )


def _check_quantization(net: model.DeepLab, options: TrainOptions, parts: BatchParts) -> None:
    delay, quantized = options.quantize_delay_step, net.options.quantize
    if quantized != (delay >= 0):
        raise ValueError(
            f"--quantize_delay_step is {delay}, but the network is"
            f" {'' if quantized else 'not '}quantised: give the step that its training began"
            " with (--train_logdir goes on with the network that it holds)"
        )
    if quantized and parts.replicas > 1:
        raise ValueError(
            f"--quantize_delay_step={delay} trains on one device, not on {parts.replicas}: give"
            " --num_clones=1, on one host"
        )


def _set_batch_norm(net: model.DeepLab, options: TrainOptions, parts: BatchParts) -> None:
    net.set_fine_tune_batch_norm(options.fine_tune_batch_norm)
    layers.set_sync_batch_norm(net, parts.shares_statistics)
    if parts.shares_statistics or parts.averages_statistics:
        logging.info(
            "batch norm takes the statistics of %d images, those of %s",
            parts.statistics_images,
            "all replicas" if parts.shares_statistics else "each replica (--nosync_batch_norm)",
        )
