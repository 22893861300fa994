"""The trainer: a network in training, and its checkpoints."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from deeplab import model
from deeplab.core.options import TrainOptions
from deeplab.training.loop import TrainingLoop
from deeplab.training.step import TrainStep
from deeplab.utils import checkpoint, checkpoint_integrity, distribution

if TYPE_CHECKING:
    from deeplab.training.evaluation import TrainingEvaluation


class Trainer:
    """Trains a network as the official trainer does, and keeps its checkpoints.

    Example:
        trainer = Trainer(net, TrainOptions(training_number_of_steps=600), ignore_label=255)
        trainer.open("train_log", initial_checkpoint="pascal/model.ckpt")
        trainer.train(records.training(batch_size=8, start_step=trainer.step))
    """

    def __init__(self, net: model.DeepLab, options: TrainOptions, ignore_label: int):
        """Prepares the step.

        Under a distribution strategy, network and trainer are made in its scope.

        Args:
            net: the network.
            options: how to train it.
            ignore_label: label of the pixels that do not count.
        """
        self.net = net
        self.options = options
        self.ignore_label = ignore_label
        self.logdir: str | None = None
        # Makes one update: `trainer.train_step(images, labels)`.
        self.train_step = TrainStep(net, options, ignore_label)
        self.optimizer = self.train_step.optimizer
        self.strategy = self.train_step.strategy
        # Whether this host is the one that writes checkpoints and logs.
        self.is_chief = distribution.is_chief(self.strategy)

    @property
    def step(self) -> int:
        """The number of updates made so far, the global step."""
        return int(self.optimizer.iterations.numpy())

    @property
    def learning_rate(self) -> float:
        """The rate of the next update."""
        return float(keras.ops.convert_to_numpy(self.optimizer.learning_rate))

    def variables(self) -> dict[str, keras.Variable]:
        """What a checkpoint holds besides the step: the network and the optimizer's state."""
        return self.train_step.variables()

    # --- Starting, stopping and going on ---

    def open(
        self,
        logdir: str,
        initial_checkpoint: str | None = None,
        initialize_last_layer: bool = True,
    ) -> None:
        """Takes a folder for checkpoints and logs; goes on from the newest whole checkpoint in it.

        Args:
            logdir: the folder; made when something is written, where it is not there.
            initial_checkpoint: where a new run's weights come from.
            initialize_last_layer: whether the last layers' weights come from there too.

        Raises:
            FileNotFoundError: the initial checkpoint is not there.
            ValueError: a checkpoint does not fit the network, or the folder holds damaged ones
                and nothing else.
        """
        self.logdir = logdir
        if self.is_chief:
            checkpoint_integrity.remove_leftovers(logdir)
        if newest := checkpoint_integrity.newest_whole(logdir):
            self._resume(newest)
            ignored = f"; --tf_initial_checkpoint={initial_checkpoint} is therefore ignored"
            logging.info(
                "going on from step %d of %s%s (for a new run, name another --train_logdir)",
                self.step,
                newest,
                ignored if initial_checkpoint else "",
            )
        elif initial_checkpoint:
            excluded = ()
            if not initialize_last_layer:
                excluded = model.last_layer_scopes(self.options.last_layers_contain_logits_only)
            checkpoint.initialize(self.net, initial_checkpoint, excluded)
        else:
            logging.info("starting from random weights: no --tf_initial_checkpoint")
        if not distribution.is_same_on_all_hosts(self.strategy, self.step):
            raise ValueError(
                f"this host starts from step {self.step} of --train_logdir={logdir}, not all others"
                " do: it has to be one folder that all hosts see"
            )

    def _resume(self, path: str) -> None:
        """Restores everything that training changes."""
        reader = checkpoint.read(path)
        slots = self.train_step.slots()
        if not any(reader.has_tensor(name) for name in slots):
            raise ValueError(
                f"{path} was not written with --optimizer={self.options.optimizer}: it lacks"
                f" {next(iter(slots))} and its like; give the optimizer that it was trained with,"
                " or name another --train_logdir"
            )
        variables = self.variables()
        new = [name for name in self.train_step.extras() if not reader.has_tensor(name)]
        for name in new:
            del variables[name]
        checkpoint.assign(variables, reader, path)
        step = checkpoint.global_step(reader)
        self.train_step.begin_extras(new, step)
        self.optimizer.iterations.assign(step)

    def save(self, folder: str | None = None, max_to_keep: int = 5) -> str:
        """Writes a checkpoint, and the options beside it; returns its prefix.

        Of several hosts, only the chief is to call it.

        Args:
            folder: where to; None: the folder that was opened.
            max_to_keep: how many checkpoints the folder keeps.

        Raises:
            FloatingPointError: a variable is not finite. Nothing is written.
            OSError: the files cannot be written, and all is as it was before.
            tf.errors.OpError: likewise.
        """
        folder = folder or self.logdir
        variables = self.variables()
        for name, variable in variables.items():
            if not np.all(np.isfinite(variable.numpy())):
                raise FloatingPointError(
                    f"{name} is not finite after step {self.step}; nothing is saved, and the newest"
                    f" checkpoint is {checkpoint.latest(self.logdir) or 'none'}"
                )
        checkpoint.save_options(folder, self.net.options)
        return checkpoint.save(folder, self.step, variables, max_to_keep)

    # --- The loop ---

    def train(
        self,
        batches: Iterable[Mapping[str, tf.Tensor]],
        evaluation: "TrainingEvaluation | None" = None,
    ) -> None:
        """Trains up to the last step; logs, saves and evaluates on the way and at the end.

        SIGTERM ends it after the current step, which is saved; so does SIGINT (Ctrl-C). The same
        call on a trainer that opens the same folder goes on from there.

        Args:
            batches: what to train on, from the current step on: `image`, `label` and
                `image_name`.
            evaluation: evaluates on the way, after a checkpoint of the same step.

        Raises:
            FloatingPointError: the loss is not finite. The last checkpoint stays the newest.
            ValueError: a label is neither a class nor the ignore label; the message names the
                image.
            OSError: the last checkpoint could not be written. Any other one that cannot is an
                error in the log.
            KeyboardInterrupt: SIGINT was received, and the step is saved.
        """
        TrainingLoop(self, evaluation).run(batches)
