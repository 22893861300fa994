"""The state of a training run: the content of a checkpoint, and how a run resumes.

A run is its variables and its step. Everything else follows from them:

- The n-th training image and its augmentation are functions of (seed, n).
  `data_generator.Dataset.training` can start at any step.
- Dropout and drop path are functions of (seed, step). `TrainState.reseed` sets their random
  generators before each update.
- The learning rate, hard example mining, drop path's probability and the start of quantization are
  functions of the step.

So a checkpoint contains no iterator and no random generator. It contains, by official name:

- the variables of the network, including the ranges of its quantizers: `<variable>`;
- the number of updates: `global_step`;
- the optimizer's slots: `<variable>/Momentum`; or `<variable>/Adam`, `<variable>/Adam_1`,
  `beta1_power` and `beta2_power`; or the same with `AdamW` and `AdamW_1`;
- the state of the moving ranges of quantizers: `<quantizer>/<quantizer>/min/biased` and others;
- the moving averages of the weights (`--ema_decay`): `<variable>/ExponentialMovingAverage`;
- the loss scale (`--precision=mixed_float16`): `loss_scale`, `loss_scale_good_steps`;
- the number of updates of a network that is quantized later (`--quantize_delay_step`):
  `fake_quantization_step`.

The last three are called *extras*: a run can begin with them at any step, see `TrainState.restore`.
The sums of gradient accumulation are zero between steps and are not saved.

To resume a run, `Trainer.open` finds its newest intact checkpoint (`checkpoint_integrity`),
`TrainState.restore` reads it, and the training script requests batches from that step on. A run
that was killed at any moment then ends with the same bits as a run that was not, on the same
machine, with the same options and deterministic operations. `run_record` keeps what decides the
samples beside the checkpoints, and tells which of these options are no longer the same;
`precision` keeps which layers of a network in bfloat16 compute in float32.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from deeplab import model
from deeplab.core import networks, training_hooks
from deeplab.core.options import TrainOptions
from deeplab.training import optimizers
from deeplab.training.batch_parts import BatchParts
from deeplab.training.loss_scale import LossScale
from deeplab.utils import checkpoint, checkpoint_files, stored_options

# Official name of the number of updates of a network that is quantized later.
QUANTIZATION_STEP = "fake_quantization_step"


@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that training changes.

    Attributes:
        net: The network.
        optimizer: The optimizer, with its slots, the moving averages of the weights, and the step.
        seed: Seed of the run.
        generators: The network's random generators, of dropout and drop path.
        ranges: The variables with which quantizers learn their ranges, by official name.
        quantization_step: Number of updates of a network that is quantized later; otherwise None.
        loss_scale: The loss scale for float16; otherwise None.
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

    # --- The content of a checkpoint ---

    @functools.cached_property
    def network(self) -> dict[str, keras.Variable]:
        """The network's variables by official name."""
        return checkpoint.official_variables(self.net)

    def slots(self) -> dict[str, keras.Variable]:
        """Return the optimizer's state; a run cannot be resumed without it."""
        return self.optimizer.official_variables(self.network)

    def extras(self) -> dict[str, keras.Variable]:
        """Return the state that a run can begin with at any step."""
        return {**self.optimizer.official_averages(self.network), **self._scale_and_count()}

    def variables(self) -> dict[str, keras.Variable]:
        """Return everything that a checkpoint contains besides the step, by name."""
        return {**self.network, **self.slots(), **self.ranges, **self.extras()}

    def own_variables(self) -> dict[str, keras.Variable]:
        """Return the state that neither the network nor the optimizer holds."""
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
            folder: Folder of the checkpoints.
            max_to_keep: Number of checkpoints that the folder keeps.

        Raises:
            FloatingPointError: A variable is not finite. Nothing is written.
            OSError: The files cannot be written. Everything is as before.
            tf.errors.OpError: The same.
        """
        variables = self.variables()
        for name, variable in variables.items():
            if not np.all(np.isfinite(variable.numpy())):
                raise FloatingPointError(
                    f"{name} is not finite after step {self.step}; nothing is saved, and the newest"
                    f" checkpoint is {checkpoint_files.latest(folder) or 'none'}"
                )
        stored_options.save(folder, self.net.options)
        return checkpoint.save(folder, self.step, variables, max_to_keep)

    def restore(self, path: str) -> None:
        """Assign the values of a checkpoint, which may be an official one.

        Extras that the checkpoint lacks begin here: moving averages with the weights, the number
        of updates of a network that is quantized later with the step, and the loss scale with its
        initial value.

        Args:
            path: Prefix of the checkpoint.

        Raises:
            ValueError: The checkpoint has another network or optimizer, or is damaged.
        """
        reader = checkpoint.read(path)
        slots = self.slots()
        # The powers have the same names in several optimizers.
        if not any(reader.has_tensor(name) for name in slots if "/" in name):
            raise ValueError(
                f"{path} was not written with --optimizer={self.optimizer.name}: it has no"
                f" {next(iter(slots))} and no other slots; use the optimizer of the run, or another"
                " --train_logdir"
            )
        variables = self.variables()
        new = [name for name in self.extras() if not reader.has_tensor(name)]
        for name in new:
            del variables[name]
        checkpoint.assign(variables, reader, path)
        step = checkpoint.global_step(reader, path)
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
            step: Number of updates made so far, int64 scalar.
            part: Number of the part of the batch, int64 scalar; see `BatchParts`.
        """
        for index, generator in enumerate(self.generators):
            state = tf.stack([self.seed + index + part * 2**32, step * 2**16])
            generator.state.assign(tf.cast(state, generator.state.dtype))


def begin_run(net: model.DeepLab, options: TrainOptions) -> TrainState:
    """Put a network into training mode, and return the state of a new run at step 0.

    This sets how batch norm is trained, and calls `begin_training` of the layers that have it. Call
    it in the scope of the network's distribution strategy, before a step is compiled.

    Args:
        net: The network. Its weights do not change.
        options: Options of the training.

    Raises:
        ValueError: The options contradict each other, the network or the strategy.
    """
    parts = BatchParts.of(options)
    _check_quantization(net, options, parts.replicas)
    optimizer = optimizers.from_options(options)
    if options.optimizer == "adamw":
        decayed = {variable.path for variable in networks.regularized_variables(net)}
        optimizer.exclude_from_weight_decay(
            [variable for variable in net.trainable_weights if variable.path not in decayed]
        )
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
        generators=networks.seed_generators(net),
        ranges=training_hooks.begin_training(net, schedule),
        quantization_step=quantization_step,
        loss_scale=LossScale() if net.compute_dtype == "float16" else None,
    )


def _check_quantization(net: model.DeepLab, options: TrainOptions, replicas: int) -> None:
    delay, quantized = options.quantize_delay_step, net.options.quantize
    if quantized != (delay >= 0):
        raise ValueError(
            f"--quantize_delay_step is {delay}, but the network is"
            f" {'' if quantized else 'not '}quantized: use the value with which the run began"
            " (a run in --train_logdir keeps its network)"
        )
    if quantized and replicas > 1 and options.jit_compile:
        raise ValueError(
            f"--quantize_delay_step={delay} with --jit_compile can train on one device only, not on"
            f" {replicas}, because XLA compiles each device's computation separately: remove"
            " --jit_compile"
        )


def _set_batch_norm(net: model.DeepLab, options: TrainOptions, parts: BatchParts) -> None:
    net.set_fine_tune_batch_norm(options.fine_tune_batch_norm)
    networks.set_sync_batch_norm(net, parts.shares_statistics)
    if parts.shares_statistics or parts.averages_statistics:
        logging.info(
            "batch norm uses the statistics of %d images, those of %s",
            parts.statistics_images,
            "all replicas" if parts.shares_statistics else "each replica (--nosync_batch_norm)",
        )
