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
from deeplab.training.progress import TrainProgress
from deeplab.training.saver import CheckpointSaver
from deeplab.training.state import TrainState
from deeplab.training.step import TrainStep
from deeplab.training.stop_signals import StopSignals
from deeplab.training.summaries import TrainSummaries
from deeplab.utils import checkpoint


def train(
    train_step: TrainStep,
    options: TrainOptions,
    batches: Iterable[Mapping[str, tf.Tensor]],
    logdir: str,
    *,
    is_chief: bool = True,
    evaluation: TrainingEvaluation | None = None,
) -> None:
    """Train up to the last step, or to a signal to stop; see `Trainer.train`.

    Args:
        train_step: makes the steps; its state is where the run starts from.
        options: how to train.
        batches: `image`, `label` and `image_name`, from the state's step on.
        logdir: folder of the run.
        is_chief: whether this host writes checkpoints and logs.
        evaluation: evaluates on the way, after a checkpoint of the same step.
    """
    state, last = train_step.state, options.training_number_of_steps
    first = state.step + 1
    chief_logdir = logdir if is_chief else None
    with _stopping(state, train_step.strategy) as stop:
        if evaluation and first > 1 and evaluation.is_missing(state.step, last, logdir):
            _evaluate(evaluation, state, chief_logdir, checkpoint.latest(logdir), stop)
        if state.step >= last:
            logging.info("nothing to do: step %d of %d is reached", state.step, last)
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
        # It is held until the last step is saved: its threads may take seconds to end.
        iterator = iter(batches)
        with profiler:
            for step, batch in enumerate(iterator, start=first):
                rate = state.learning_rate
                with profiler.step(step), guard.of_batch(batch, step, rate):
                    losses = train_step(batch["image"], batch["label"])
                    guard.check_finite(losses)
                progress.add(losses["total_loss"])
                if step == first:
                    progress.restart(step)  # It was compiled meanwhile.
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
    """Whether to stop: this host, or all of them.

    Args:
        strategy: whose hosts.
        signals: the signals that this host gets.
    """

    def __init__(self, strategy: tf.distribute.Strategy, signals: StopSignals):
        self._strategy = strategy
        self._signals = signals
        self.was_asked = False

    def is_received(self) -> bool:
        """Whether this host was told to stop."""
        return bool(self._signals.received)

    def is_asked(self) -> bool:
        """Whether any host was told to stop; all have to ask at the same points of the loop."""
        self.was_asked = distribution.mean_over_hosts(self._strategy, self.is_received()) > 0
        return self.was_asked


@contextlib.contextmanager
def _stopping(state: TrainState, strategy: tf.distribute.Strategy) -> Iterator[_Stop]:
    """Inside, signals to stop are noted; at the end all hosts wait for each other.

    Raises:
        KeyboardInterrupt: SIGINT was received.
    """
    with StopSignals() as signals:
        stop = _Stop(strategy, signals)
        yield stop
        distribution.leave_together(strategy)
    if stop.was_asked or signals.received:
        logging.info("stopped at step %d; the same command goes on from there", state.step)
    signals.interrupt()


def _evaluate(
    evaluation: TrainingEvaluation,
    state: TrainState,
    logdir: str | None,
    path: str | None,
    stop: _Stop,
) -> None:
    """Evaluate what was just saved, unless it could not be, or another host does it."""
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
    """Write histograms and, if asked for, images; the first time the graph, later warnings."""
    net, ignore_label = train_step.state.net, train_step.ignore_label
    summaries.histograms(train_step.state.network, step)
    if is_first:
        summaries.graph(train_step.graph(batch["image"], batch["label"]))
    if is_first and not options.save_summaries_images:
        return
    # No more images than fit beside the training.
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
