"""The body of train.py: trains a network according to the options."""

import functools
from collections.abc import Callable

import keras
import tensorflow as tf
from absl import logging

from deeplab import common, model
from deeplab.cli import writable
from deeplab.core.options import RunOptions, TrainingRun, batch_memory
from deeplab.core.wording import counted
from deeplab.datasets import data_generator, descriptors, first_records
from deeplab.evaluation import evaluator, predictor
from deeplab.evaluation.worst_images import WorstImages
from deeplab.training import distribution, precision, run_record
from deeplab.training.evaluation import TrainingEvaluation
from deeplab.training.trainer import Trainer
from deeplab.utils import checkpoint, checkpoint_files

# Number of images of an evaluation that TensorBoard shows with --save_summaries_images.
_WORST_IMAGES = 4


def run(options: TrainingRun, asked: Callable[..., common.ModelOptions]) -> None:
    """Train a network.

    Args:
        options: All options except those of the network.
        asked: Returns the network's options, given those of its training (`stored`; None for a new
            run), `num_classes` and `crop_size`.

    Raises:
        ValueError: A flag, a record or a checkpoint is wrong; see also `Trainer`.
        OSError: A file cannot be found or written.
    """
    trainer, records, evaluation = prepare(options, asked)
    logdir, profile_logdir = options.files.train_logdir, options.training.profile_logdir
    with records.named_errors():
        training = functools.partial(
            records.training, trainer.options.train_batch_size, start_step=trainer.step
        )
        batches = distribution.batches(trainer.strategy, training)
        # Only now, after all checks: a run that is rejected leaves no folder.
        writable.make_folder("train_logdir", logdir)
        if trainer.is_chief:
            if profile_logdir:
                writable.make_folder("profile_logdir", profile_logdir)
            now = run_record.describe(options, trainer.net.options, records)
            run_record.keep(logdir, now, records, is_resumed=trainer.step > 0)
        if options.files.precision == "mixed_bfloat16":
            _choose_precision(trainer, options.files)
        with distribution.ending(trainer.strategy):
            trainer.train(batches, evaluation)


def prepare(
    options: TrainingRun, asked: Callable[..., common.ModelOptions]
) -> tuple[Trainer, data_generator.Dataset, TrainingEvaluation | None]:
    """Check the options, build the network, and open the run.

    Args:
        options: All options except those of the network.
        asked: Returns the network's options, given those of its training (`stored`; None for a new
            run), `num_classes` and `crop_size`.

    Returns:
        The open trainer, the records to train on, and the evaluation for `--eval_every`, if any.
    """
    run_options, train_options = options.files, options.training
    batch_memory.check(
        "train",
        train_options.train_batch_size,
        run_options.train_crop_size,
        run_options.num_replicas,
    )
    if run_options.deterministic_ops:
        tf.config.experimental.enable_op_determinism()
    strategy = distribution.make_strategy(
        run_options.num_clones,
        clone_on_cpu=run_options.clone_on_cpu,
        num_replicas=run_options.num_replicas,
        task=run_options.task,
    )
    descriptor = descriptors.load(run_options.dataset)
    is_resumed = bool(checkpoint_files.names(run_options.train_logdir))
    model_options = asked(
        stored=checkpoint.load_options(run_options.train_logdir) if is_resumed else None,
        num_classes=descriptor.num_classes,
        crop_size=run_options.train_crop_size,
    )
    begins_with = run_options.train_logdir if is_resumed else run_options.tf_initial_checkpoint
    model_options = checkpoint.complete(model_options, begins_with)
    keras.utils.set_random_seed(train_options.seed)
    with strategy.scope():
        net = model.DeepLab(model_options, dtype=run_options.precision)
        trainer = Trainer(net, train_options, descriptor.ignore_label)
        trainer.begin()
    records = data_generator.Dataset(
        descriptor,
        run_options.train_split,
        run_options.dataset_dir,
        net.preprocessing(),
        scales=options.scales,
        augmentation=options.augmentation,
        seed=train_options.seed,
    )
    evaluation = _evaluation(options, net, descriptor) if run_options.eval_every else None
    first_records.check(records)
    if evaluation:
        evaluation.check_best(run_options.train_logdir)
    trainer.open(
        run_options.train_logdir,
        run_options.tf_initial_checkpoint,
        run_options.initialize_last_layer,
    )
    logging.info(
        "training %s on %s of %s/%s",
        model_options.model_variant,
        counted(len(records), "image"),
        descriptor.name,
        run_options.train_split,
    )
    return trainer, records, evaluation


def _choose_precision(trainer: Trainer, options: RunOptions) -> None:
    """Let layers that are slower in bfloat16 compute in float32."""
    measure = functools.partial(
        precision.measure,
        trainer.net,
        trainer.train_step.parts.size,
        options.train_crop_size,
        jit_compile=trainer.options.jit_compile,
    )
    choice = precision.settle(
        trainer.strategy, trainer.logdir, None if options.deterministic_ops else measure
    )
    choice.apply(trainer.net)


def _evaluation(
    run: TrainingRun, net: model.DeepLab, descriptor: descriptors.DatasetDescriptor
) -> TrainingEvaluation:
    """Return the evaluation for `--eval_every`."""
    options = run.files
    model_options = net.options.replace(crop_size=options.eval_crop_size)
    records = data_generator.Dataset(
        descriptor,
        options.eval_split,
        options.dataset_dir,
        net.preprocessing(model_options.crop_size),
    )
    first_records.check(records)
    network = predictor.NetworkPredictor(model_options, net=net)
    worst = None
    if run.training.save_summaries_images:
        worst = functools.partial(WorstImages, descriptor, _WORST_IMAGES, range(len(records)))
    return TrainingEvaluation(evaluator.Evaluator(network, records), options.eval_every, worst)
