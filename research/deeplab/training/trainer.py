"""The trainer: what Python programs use to train a network."""

from collections.abc import Iterable, Mapping

import keras
import tensorflow as tf
from absl import logging

from deeplab import model
from deeplab.core.options import TrainOptions
from deeplab.training import distribution, loop
from deeplab.training.evaluation import TrainingEvaluation
from deeplab.training.optimizers import OfficialOptimizer
from deeplab.training.state import TrainState, begin_run
from deeplab.training.step import TrainStep
from deeplab.utils import checkpoint, checkpoint_integrity


class Trainer:
    """Trains a network as the official trainer does, and keeps its checkpoints.

    Under a distribution strategy, make network and trainer in its scope.

    Args:
        net: the network. The trainer takes it over when the run begins.
        options: how to train it.
        ignore_label: label of the pixels that do not count.

    Example:
        trainer = Trainer(net, TrainOptions(training_number_of_steps=600), ignore_label=255)
        trainer.open("train_log", initial_checkpoint="pascal/model.ckpt")
        trainer.train(records.training(batch_size=8, start_step=trainer.step))
    """

    def __init__(self, net: model.DeepLab, options: TrainOptions, ignore_label: int):
        self.net = net
        self.options = options
        self.ignore_label = ignore_label
        self.logdir: str | None = None
        self.strategy = tf.distribute.get_strategy()
        # Whether this host is the one that writes checkpoints and logs.
        self.is_chief = distribution.is_chief(self.strategy)
        self._train_step: TrainStep | None = None

    def begin(self) -> None:
        """Put the network into training mode and make the optimizer; `open` does so, too.

        Raises:
            ValueError: options that contradict each other, the network or the strategy.
        """
        if self._train_step is None:
            with self.strategy.scope():
                state = begin_run(self.net, self.options)
                self._train_step = TrainStep(state, self.options, self.ignore_label)

    @property
    def train_step(self) -> TrainStep:
        """Makes one update: `trainer.train_step(images, labels)`."""
        if self._train_step is None:
            raise RuntimeError("the run has not begun: call open(logdir), or begin()")
        return self._train_step

    @property
    def state(self) -> TrainState:
        """Everything that training changes."""
        return self.train_step.state

    @property
    def optimizer(self) -> OfficialOptimizer:
        """The optimizer, which counts the steps."""
        return self.state.optimizer

    @property
    def step(self) -> int:
        """The number of updates made so far, the global step."""
        return self.state.step

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next update."""
        return self.state.learning_rate

    def variables(self) -> dict[str, keras.Variable]:
        """Return what a checkpoint holds besides the step: network and optimizer."""
        return self.state.variables()

    def open(
        self,
        logdir: str,
        initial_checkpoint: str | None = None,
        initialize_last_layer: bool = True,
    ) -> None:
        """Resume the run in a folder from its newest whole checkpoint, or start a new one.

        Args:
            logdir: folder for checkpoints and logs; made when the first file is written.
            initial_checkpoint: where a new run's weights come from. None: they are random.
            initialize_last_layer: whether the last layers' weights come from there, too.

        Raises:
            FileNotFoundError: the initial checkpoint is not there.
            ValueError: options that contradict each other, a checkpoint that does not fit the
                network, or a folder whose checkpoints are all damaged.
        """
        self.begin()
        self.logdir = logdir
        if self.is_chief:
            checkpoint_integrity.remove_leftovers(logdir)
        if newest := checkpoint_integrity.newest_whole(logdir):
            self.state.restore(newest)
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

    def save(self, folder: str | None = None, max_to_keep: int = 5) -> str:
        """Write a checkpoint, and the options beside it; return its prefix.

        Of several hosts, only the chief is to call it.

        Args:
            folder: where to. None: the folder that was opened.
            max_to_keep: how many checkpoints the folder keeps.

        Raises:
            FloatingPointError: a variable is not finite. Nothing is written.
            OSError: the files cannot be written. Everything is as before.
            tf.errors.OpError: likewise.
        """
        return self.state.save(folder or self.logdir, max_to_keep)

    def train(
        self,
        batches: Iterable[Mapping[str, tf.Tensor]],
        evaluation: TrainingEvaluation | None = None,
    ) -> None:
        """Train up to the last step; log, save and evaluate on the way and at the end.

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
        loop.train(
            self.train_step,
            self.options,
            batches,
            self.logdir,
            is_chief=self.is_chief,
            evaluation=evaluation,
        )
