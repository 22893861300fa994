"""The checkpoints of a training, one after another: what evaluation and pictures share."""

from collections.abc import Callable, Iterator
from typing import Any

from absl import logging

from deeplab import common
from deeplab.core.options import EvaluationOptions
from deeplab.datasets.descriptors import DatasetDescriptor
from deeplab.evaluation import checkpoint_waiter
from deeplab.evaluation.predictor import NetworkPredictor
from deeplab.sharing import devices
from deeplab.sharing.teams import Team
from deeplab.utils import checkpoint, checkpoint_integrity

# Returns the options of a network, given those of its training (`stored`; None if they are not
# known), `num_classes` and `crop_size`. It is `ModelOptions.from_flags` with its flags bound.
AskedOptions = Callable[..., common.ModelOptions]


def wait_for_network(
    options: EvaluationOptions, descriptor: DatasetDescriptor, asked: AskedOptions
) -> NetworkPredictor:
    """Wait for the first checkpoint, and build its network; the weights are still zeros.

    Args:
        options: The checkpoints, and the use of the network.
        descriptor: The dataset that `options.dataset` names.
        asked: Returns the network's options.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: A flag contradicts what the network was trained with, or there are too few
            devices.
    """
    names = devices.choose(options)
    path = checkpoint_waiter.wait(options.checkpoint_dir)
    found = trained_options(path, options, descriptor, asked)
    return NetworkPredictor(found, options.inference, devices=names)


def restore_each(
    predictor: NetworkPredictor, options: EvaluationOptions, team: Team | None = None
) -> Iterator[tuple[str, int]]:
    """Yield the prefix and the step of each checkpoint, once the predictor has its values.

    A damaged checkpoint is skipped if another one is expected. It counts for `max_number`.

    Args:
        predictor: The predictor that `wait_for_network` returned.
        options: The checkpoints to wait for.
        team: The hosts that use them; the chief chooses. None: this host alone.

    Raises:
        FileNotFoundError: See `checkpoint_waiter.wait`.
        ValueError: The last checkpoint is damaged, or a checkpoint has another network.
    """
    team = team or Team(None, "")
    for task in team.tasks(_tasks(predictor, options)):
        if not team.is_chief:
            predictor.restore(task["checkpoint"], averages=options.use_ema)
        yield task["checkpoint"], task["step"]


def _tasks(predictor: NetworkPredictor, options: EvaluationOptions) -> Iterator[dict[str, Any]]:
    """Yield each checkpoint that the predictor has restored."""
    paths = checkpoint_waiter.new_checkpoints(
        options.checkpoint_dir, options.interval_secs, options.max_number
    )
    for number, path in enumerate(paths, 1):
        try:
            step = predictor.restore(path, averages=options.use_ema)
        except (ValueError, FileNotFoundError) as error:
            is_last = path == options.checkpoint_dir or number == options.max_number
            if is_last or checkpoint_integrity.fault(path) is None:
                raise
            logging.warning("skipping a damaged checkpoint: %s", error)
        else:
            yield {"checkpoint": path, "step": step}


def trained_options(
    path: str, options: EvaluationOptions, descriptor: DatasetDescriptor, asked: AskedOptions
) -> common.ModelOptions:
    """Return the options of the network in a checkpoint, adjusted as asked.

    There are none beside an official checkpoint; then the flags alone define the network.

    Args:
        path: Prefix of the checkpoint.
        options: Options of the evaluation.
        descriptor: The dataset that `options.dataset` names.
        asked: Returns the network's options.

    Raises:
        ValueError: A flag contradicts what the network was trained with.
    """
    stored = checkpoint.load_options(path)
    if stored is None:
        logging.info("no %s beside %s: the flags define the network", common.OPTIONS_FILE, path)
    elif stored.num_classes != descriptor.num_classes:
        raise ValueError(
            f"{path} was trained for {stored.num_classes} classes, but --dataset={options.dataset}"
            f" has {descriptor.num_classes}: name the dataset that it was trained on"
        )
    found = asked(stored=stored, num_classes=descriptor.num_classes, crop_size=options.crop_size)
    return checkpoint.complete(found, path)
