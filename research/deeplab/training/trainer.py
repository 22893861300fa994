"""The trainer, with which Python programs train a network."""

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

    With a distribution strategy, create network and trainer in its scope.

    Args:
        net: The network. `open` puts it into training mode.
        options: Options of the training.
        ignore_label: Label of the pixels that do not count.

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
        # Whether this host writes checkpoints and summaries.
        self.is_chief = distribution.is_chief(self.strategy)
        self._train_step: TrainStep | None = None

    def begin(self) -> None:
        """Put the network into training mode and create the optimizer; `open` does this, too.

        Raises:
            ValueError: The options contradict each other, the network or the strategy.
        """
        if self._train_step is None:
            with self.strategy.scope():
                state = begin_run(self.net, self.options)
                self._train_step = TrainStep(state, self.options, self.ignore_label)

    @property
    def train_step(self) -> TrainStep:
        """The step, which makes one update: `trainer.train_step(images, labels)`."""
        if self._train_step is None:
            raise RuntimeError("the run has not begun: call open(logdir) or begin() first")
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
        """Return everything that a checkpoint contains besides the step, by name."""
        return self.state.variables()

    def open(
        self,
        logdir: str,
        initial_checkpoint: str | None = None,
        initialize_last_layer: bool = True,
    ) -> None:
        """Resume the run in a folder from its newest intact checkpoint, or start a new one.

        Args:
            logdir: Folder for checkpoints and logs. It is created with the first file.
            initial_checkpoint: Checkpoint with the initial weights of a new run. None: they are
                random.
            initialize_last_layer: Whether the weights of the last layers are loaded, too.

        Raises:
            FileNotFoundError: The initial checkpoint does not exist.
            ValueError: The options contradict each other, a checkpoint does not match the network,
                or all checkpoints in the folder are damaged.
        """
        self.begin()
        self.logdir = logdir
        if self.is_chief:
            checkpoint_integrity.remove_leftovers(logdir)
        if newest := checkpoint_integrity.newest_whole(logdir):
            self.state.restore(newest)
            ignored = f"; --tf_initial_checkpoint={initial_checkpoint} is ignored"
            logging.info(
                "resuming from step %d of %s%s (for a new run, use another --train_logdir)",
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
                f"this host starts at step {self.step} of --train_logdir={logdir}, but other hosts"
                " do not: it must be a folder that all hosts share"
            )

    def save(self, folder: str | None = None, max_to_keep: int = 5) -> str:
        """Write a checkpoint, and the options beside it; return its prefix.

        With several hosts, call it on the chief only.

        Args:
            folder: Folder of the checkpoint. None: the folder that was opened.
            max_to_keep: Number of checkpoints that the folder keeps.

        Raises:
            FloatingPointError: A variable is not finite. Nothing is written.
            OSError: The files cannot be written. Everything is as before.
            tf.errors.OpError: The same.
        """
        return self.state.save(folder or self.logdir, max_to_keep)

    def train(
        self,
        batches: Iterable[Mapping[str, tf.Tensor]],
        evaluation: TrainingEvaluation | None = None,
    ) -> None:
        """Train until the last step; log, save and evaluate regularly and at the end.

        SIGTERM and SIGINT (Ctrl-C) end training after the current step, which is saved. To resume,
        open the same folder with a new trainer and call `train` again.

        Args:
            batches: Batches of `image`, `label` and `image_name`, from the current step on.
            evaluation: Evaluates during training, after a checkpoint of the same step.

        Raises:
            FloatingPointError: The loss is not finite. The last checkpoint stays the newest.
            ValueError: A label is neither a class nor the ignore label; the message names the
                image.
            OSError: The last checkpoint could not be written. Errors of earlier checkpoints are
                logged.
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
