"""The loop around the training steps: it checks, logs, saves, evaluates and stops."""

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from absl import logging

from deeplab import model
from deeplab.core import layers
from deeplab.training import guards
from deeplab.training.profiler import StepProfiler
from deeplab.training.progress import TrainProgress
from deeplab.training.summaries import TrainSummaries
from deeplab.utils import checkpoint, distribution, error_text
from deeplab.utils.stop_signals import StopSignals

if TYPE_CHECKING:
    from deeplab.training.evaluation import TrainingEvaluation
    from deeplab.training.trainer import Trainer


class TrainingLoop:
    """Makes a trainer's steps, up to the last one or to a signal to stop.

    What it writes, and when: see `Trainer.train`.
    """

    def __init__(self, trainer: "Trainer", evaluation: "TrainingEvaluation | None" = None):
        """Puts the parts together.

        Args:
            trainer: an open trainer.
            evaluation: what evaluates the network on the way.
        """
        self._trainer = trainer
        self._evaluation = evaluation
        self._last = trainer.options.training_number_of_steps
        self._stop = StopSignals()
        self._stopped = False
        self._saved: str | None = None
        # Of the last step.
        self._names: list[str] = []
        self._rate = 0.0

    def run(self, batches: Iterable[Mapping[str, tf.Tensor]]) -> None:
        """Trains; see `Trainer.train`."""
        trainer = self._trainer
        with self._stop:
            if trainer.step > 0 and self._is_missing_an_evaluation():
                self._saved = checkpoint.latest(trainer.logdir)
                self._evaluate()
            if trainer.step >= self._last:
                logging.info("nothing to do: step %d of %d is reached", trainer.step, self._last)
            elif not self._stops():
                self._warn()
                self._steps(batches)
            distribution.leave_together(trainer.strategy)
        if self._stopped or self._stop.received:
            logging.info("stopped at step %d; the same command goes on from there", trainer.step)
        self._stop.interrupt()

    def _steps(self, batches: Iterable[Mapping[str, tf.Tensor]]) -> None:
        trainer, options = self._trainer, self._trainer.options
        summaries = TrainSummaries(trainer.logdir if trainer.is_chief else None)
        progress = TrainProgress(trainer.step, self._last, options.train_batch_size)
        profile_logdir = options.profile_logdir if trainer.is_chief else None
        profiler = StepProfiler(profile_logdir, trainer.step, self._last)
        first, summary_due = trainer.step + 1, time.monotonic()
        save_due = time.monotonic() + options.save_interval_secs
        # It is held until the last step is saved: its threads may take seconds to end.
        iterator = iter(batches)
        with profiler:
            for step, batch in enumerate(iterator, start=first):
                rate = trainer.learning_rate
                with profiler.step(step):
                    values = self._checked_step(batch, step, rate)
                progress.add(values["total_loss"])
                if step == first:
                    progress.restart(step)  # It was compiled meanwhile.
                if step % options.log_steps == 0 or step in (1, self._last):
                    progress.log(step, rate)
                    summaries.losses(values, rate, step)
                if time.monotonic() >= summary_due or step == self._last:
                    self._write_summaries(summaries, batch, step, is_first=step == first)
                    summary_due = time.monotonic() + options.save_summaries_secs
                    progress.restart(step)
                if step == self._last or self._stops():
                    break
                evaluates = self._evaluation and self._evaluation.is_due(step, self._last)
                if evaluates or time.monotonic() >= save_due:
                    self._save()
                    save_due = time.monotonic() + options.save_interval_secs
                    progress.restart(step)
                if evaluates:
                    self._evaluate()
                    progress.restart(step)
                    if self._stops():
                        break
        self._save(needed=True)
        if trainer.step >= self._last and not self._stop.received:
            self._evaluate()

    def _stops(self) -> bool:
        """Whether any host was told to stop; all of them ask at the same points of the loop."""
        received = distribution.mean_over_hosts(self._trainer.strategy, bool(self._stop.received))
        self._stopped = received > 0
        return self._stopped

    def _local(self, values: tf.Tensor) -> tf.Tensor:
        return distribution.local(self._trainer.strategy, values)

    def _is_missing_an_evaluation(self) -> bool:
        """Whether the run was killed while it evaluated the step that it goes on from."""
        evaluation, trainer = self._evaluation, self._trainer
        return evaluation is not None and evaluation.is_missing(
            trainer.step, self._last, trainer.logdir
        )

    def _checked_step(self, batch: Mapping[str, tf.Tensor], step: int, rate: float) -> Mapping:
        """The losses of an update, which are finite."""
        trainer = self._trainer
        try:
            values = trainer.train_step(batch["image"], batch["label"])
            names = self._names_of(batch)
            guards.check_finite(
                values,
                step=step,
                rate=rate,
                image_names=names,
                previous_names=self._names,
                logdir=trainer.logdir,
            )
        except (tf.errors.InvalidArgumentError, FloatingPointError):
            # Some devices refuse a label that is no class, others make a NaN of it.
            guards.check_labels(
                self._local(batch["label"]).numpy(),
                self._names_of(batch),
                num_classes=trainer.net.options.num_classes,
                ignore_label=trainer.ignore_label,
            )
            raise
        self._names, self._rate = names, rate
        return values

    def _names_of(self, batch: Mapping[str, tf.Tensor]) -> list[str]:
        names = self._local(batch["image_name"]).numpy()
        return [name.decode(errors="replace") for name in names]

    def _warn(self) -> None:
        """Says what in the options makes for bad results."""
        trainer, network = self._trainer, self._trainer.net.options
        batch_norms = [
            layer for layer in layers.sublayers(trainer.net) if isinstance(layer, layers.BatchNorm)
        ]
        if batch_norms and trainer.options.fine_tune_batch_norm:
            guards.warn_of_few_images(trainer.train_step.statistics_images)
        elif batch_norms and not any(np.any(layer.moving_mean.numpy()) for layer in batch_norms):
            guards.warn_of_no_statistics()
        if network.crop_size:
            guards.warn_of_crop_size(network.crop_size, network.output_stride)

    def _write_summaries(
        self, summaries: TrainSummaries, batch: Mapping[str, tf.Tensor], step: int, is_first: bool
    ) -> None:
        """Histograms of the variables and, if asked for, pictures of the batch; the first time the
        graph, later a look at the predictions.
        """
        trainer = self._trainer
        if not trainer.is_chief:
            return
        summaries.histograms(checkpoint.official_variables(trainer.net), step)
        if is_first:
            summaries.graph(trainer.train_step.graph(batch["image"], batch["label"]))
        with_images = trainer.options.save_summaries_images
        if is_first and not with_images:
            return
        # No more of them than fit beside the training.
        count = trainer.train_step.part_size
        images, labels = (self._local(batch[name])[:count] for name in ("image", "label"))
        predictions, _ = model.predict_labels(trainer.net, images)
        if with_images:
            classes = trainer.net.options.num_classes
            summaries.images(images, labels, predictions, classes, step)
        if not is_first:
            guards.warn_of_one_class(
                predictions.numpy(),
                labels.numpy(),
                ignore_label=trainer.ignore_label,
                step=step,
            )

    def _save(self, needed: bool = False) -> None:
        """Saves this step, if that is not done, and no other host's task.

        Raises:
            OSError: it cannot be written, but it is `needed`.
            FloatingPointError: a variable is not finite.
        """
        trainer = self._trainer
        if not trainer.is_chief:
            return
        if self._saved and self._saved.endswith(f"-{trainer.step}"):
            return
        self._saved = None
        try:
            self._saved = trainer.save()
        except FloatingPointError as error:
            raise FloatingPointError(
                f"{error}; learning rate {self._rate:g}, images {', '.join(self._names)}"
                f" ({guards.REMEDY})"
            ) from None
        except (OSError, tf.errors.OpError) as error:
            message = (
                f"step {trainer.step} cannot be saved: {error_text.one_line(error)}; the newest"
                f" checkpoint is still {checkpoint.latest(trainer.logdir) or 'none'}"
            )
            if needed:
                raise OSError(
                    f"{message}; mend that and give the same command to go on from there"
                ) from None
            logging.error("%s; training goes on to the next save", message)
        else:
            logging.info("saved %s", self._saved)

    def _evaluate(self) -> None:
        """Evaluates what was just saved, unless it could not be."""
        if self._evaluation and self._saved and self._trainer.is_chief:
            self._evaluation.run(self._trainer, self._saved, lambda: bool(self._stop.received))
