"""The body of train.py: trains as the flags say."""

import functools

import keras
import tensorflow as tf
from absl import flags, logging

from deeplab import common, model
from deeplab.cli import script, train_flags
from deeplab.datasets import data_generator, descriptors, first_records
from deeplab.evaluation import evaluator, predictor
from deeplab.training import distribution
from deeplab.training.evaluation import TrainingEvaluation
from deeplab.training.trainer import Trainer
from deeplab.utils import checkpoint


def run(values: flags.FlagValues) -> None:
    """Train as the flags of train.py say.

    Args:
        values: The flags of train.py.

    Raises:
        ValueError: A flag, a record or a checkpoint is wrong; see also `Trainer`.
        OSError: A file cannot be found or written.
    """
    trainer, records, evaluation = prepare(values)
    with records.named_errors():
        training = functools.partial(
            records.training, trainer.options.train_batch_size, start_step=trainer.step
        )
        batches = distribution.batches(trainer.strategy, training)
        # Only now, after all checks: a run that is rejected leaves no folder.
        script.make_folder("train_logdir", values.train_logdir)
        trainer.train(batches, evaluation)


def prepare(
    values: flags.FlagValues,
) -> tuple[Trainer, data_generator.Dataset, TrainingEvaluation | None]:
    """Check the flags, build the network, and open the run.

    Args:
        values: The flags of train.py.

    Returns:
        The open trainer, the records to train on, and the evaluation for `--eval_every`, if any.
    """
    if values.eval_every < 0:
        raise ValueError(f"--eval_every is {values.eval_every}; it must be at least 0")
    if values.deterministic_ops:
        tf.config.experimental.enable_op_determinism()
    strategy = distribution.make_strategy(
        values.num_clones,
        clone_on_cpu=values.clone_on_cpu,
        num_replicas=values.num_replicas,
        task=values.task,
    )
    descriptor = descriptors.load(values.dataset)
    train_options = train_flags.train_options(values)
    is_resumed = bool(checkpoint.names(values.train_logdir))
    options = common.ModelOptions.from_flags(
        values,
        stored=checkpoint.load_options(values.train_logdir) if is_resumed else None,
        num_classes=descriptor.num_classes,
        crop_size=values.train_crop_size,
    )
    keras.utils.set_random_seed(train_options.seed)
    with strategy.scope():
        net = model.DeepLab(options, dtype=values.precision)
        trainer = Trainer(net, train_options, descriptor.ignore_label)
        trainer.begin()
    records = data_generator.Dataset(
        descriptor,
        values.train_split,
        values.dataset_dir,
        net.preprocessing(),
        scales=train_flags.random_scale(values),
        seed=train_options.seed,
    )
    evaluation = _evaluation(values, net, descriptor) if values.eval_every else None
    first_records.check(records)
    trainer.open(values.train_logdir, values.tf_initial_checkpoint, values.initialize_last_layer)
    logging.info(
        "training %s on %d images of %s/%s",
        options.model_variant,
        len(records),
        descriptor.name,
        values.train_split,
    )
    return trainer, records, evaluation


def _evaluation(
    values: flags.FlagValues, net: model.DeepLab, descriptor: descriptors.DatasetDescriptor
) -> TrainingEvaluation:
    """Return the evaluation for `--eval_every`."""
    options = net.options.replace(crop_size=values.eval_crop_size)
    records = data_generator.Dataset(
        descriptor,
        values.eval_split,
        values.dataset_dir,
        net.preprocessing(options.crop_size),
    )
    first_records.check(records)
    network = predictor.Predictor(options, net=net)
    return TrainingEvaluation(evaluator.Evaluator(network, records), values.eval_every)
