"""The training loop: check, log, save, evaluate, stop."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping

import tensorflow as tf
from absl import logging

from deeplab import model
from deeplab.core.options import TrainOptions
from deeplab.training import distribution, guards
from deeplab.training.evaluation import TrainingEvaluation
from deeplab.training.profiler import StepProfiler
from deeplab.training.saver import CheckpointSaver
from deeplab.training.state import TrainState
from deeplab.training.step import TrainStep
from deeplab.training.stop_signals import StopSignals
from deeplab.training.summaries import TrainSummaries
from deeplab.training.train_progress import TrainProgress
from deeplab.utils import checkpoint_files


def train(
    train_step: TrainStep,
    options: TrainOptions,
    batches: Iterable[Mapping[str, tf.Tensor]],
    logdir: str,
    *,
    is_chief: bool = True,
    evaluation: TrainingEvaluation | None = None,
) -> None:
    """Train until the last step, or until a signal to stop; see `Trainer.train`.

    Args:
        train_step: Makes the steps. The run starts from its state.
        options: Options of the training.
        batches: Batches of `image`, `label` and `image_name`, from the state's step on.
        logdir: Folder of the run.
        is_chief: Whether this host writes checkpoints and summaries.
        evaluation: Evaluates during training, after a checkpoint of the same step.
    """
    state, last = train_step.state, options.training_number_of_steps
    first = state.step + 1
    chief_logdir = logdir if is_chief else None
    with _stopping(state, train_step.strategy) as stop:
        if evaluation and first > 1 and evaluation.is_missing(state.step, last, logdir):
            _evaluate(evaluation, state, chief_logdir, checkpoint_files.latest(logdir), stop)
        if state.step >= last:
            logging.info("nothing to do: the run is at step %d of %d", state.step, last)
            return
        if stop.is_asked():
            return

        guards.warn_of_options(train_step, options)
        guard = guards.StepGuard(train_step, logdir)
        summaries = TrainSummaries(chief_logdir)
        progress = TrainProgress(state.step, last, options.train_batch_size)
        profiler = StepProfiler(options.profile_logdir if is_chief else None, state.step, last)
        saver = CheckpointSaver(
            state, chief_logdir, options.save_interval_secs, guard.describe_batch
        )
        summary_due = time.monotonic()
        # Kept until the last step is saved, because its threads may take seconds to end.
        iterator = iter(batches)
        with profiler:
            for step, batch in enumerate(iterator, start=first):
                rate = state.learning_rate
                with profiler.step(step), guard.of_batch(batch, step, rate):
                    losses = train_step(batch["image"], batch["label"])
                    guard.check_finite(losses)
                progress.add(losses["total_loss"])
                if step == first:
                    progress.restart(step)  # This step includes the compilation.
                if step % options.log_steps == 0 or step in (1, last):
                    progress.log(step, rate)
                    summaries.losses(losses, rate, step)
                if time.monotonic() >= summary_due or step == last:
                    if is_chief:
                        _write_summaries(summaries, train_step, options, batch, step, step == first)
                    summary_due = time.monotonic() + options.save_summaries_secs
                    progress.restart(step)
                if step == last or stop.is_asked():
                    break
                evaluates = evaluation and evaluation.is_due(step, last)
                if evaluates or saver.is_due():
                    saver.save()
                    progress.restart(step)
                if evaluates:
                    _evaluate(evaluation, state, chief_logdir, saver.newest, stop)
                    progress.restart(step)
                    if stop.is_asked():
                        break
        saver.save(needed=True)
        if evaluation and state.step >= last and not stop.is_received():
            _evaluate(evaluation, state, chief_logdir, saver.newest, stop)


class _Stop:
    """Tells whether this host, or any host, has received a signal to stop.

    Args:
        strategy: The strategy of the hosts.
        signals: The signals of this host.

    Attributes:
        was_asked: Whether `is_asked` returned true the last time.
    """

    def __init__(self, strategy: tf.distribute.Strategy, signals: StopSignals):
        self._strategy = strategy
        self._signals = signals
        self.was_asked = False

    def is_received(self) -> bool:
        """Return whether this host has received a signal."""
        return bool(self._signals.received)

    def is_asked(self) -> bool:
        """Return whether any host has; all hosts must call it at the same points of the loop."""
        self.was_asked = distribution.mean_over_hosts(self._strategy, self.is_received()) > 0
        return self.was_asked


@contextlib.contextmanager
def _stopping(state: TrainState, strategy: tf.distribute.Strategy) -> Iterator[_Stop]:
    """Catch signals to stop, and let all hosts leave together.

    Raises:
        KeyboardInterrupt: SIGINT was received.
    """
    with StopSignals() as signals:
        stop = _Stop(strategy, signals)
        yield stop
        distribution.leave_together(strategy)
    if stop.was_asked or signals.received:
        logging.info("stopped at step %d; the same command resumes from there", state.step)
    signals.interrupt()


def _evaluate(
    evaluation: TrainingEvaluation,
    state: TrainState,
    logdir: str | None,
    path: str | None,
    stop: _Stop,
) -> None:
    """Evaluate the checkpoint, if there is one and this is the chief."""
    if logdir and path:
        evaluation.run(state, logdir, path, stop.is_received)


def _write_summaries(
    summaries: TrainSummaries,
    train_step: TrainStep,
    options: TrainOptions,
    batch: Mapping[str, tf.Tensor],
    step: int,
    is_first: bool,
) -> None:
    """Write histograms, images if requested, and the graph once; check the predictions."""
    net, ignore_label = train_step.state.net, train_step.ignore_label
    summaries.histograms(train_step.state.network, step)
    # Functions that run eagerly, to be debugged, have no graph.
    if is_first and not tf.config.functions_run_eagerly():
        summaries.graph(train_step.graph(batch["image"], batch["label"]))
    if is_first and not options.save_summaries_images:
        return
    # Not more images than a device processes at a time.
    images, labels = (
        distribution.local(train_step.strategy, batch[name])[: train_step.parts.size]
        for name in ("image", "label")
    )
    predictions, _ = model.predict_labels(net, images)
    if options.save_summaries_images:
        summaries.images(images, labels, predictions, net.options.num_classes, step)
    if not is_first:
        guards.warn_of_one_class(
            predictions.numpy(), labels.numpy(), ignore_label=ignore_label, step=step
        )
