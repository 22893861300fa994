r"""Trains a DeepLab network on TFRecords.

Example:
    python deeplab/train.py \
        --dataset=pascal_voc_seg --dataset_dir=tfrecord --train_split=trainaug \
        --model_variant=xception_65 --atrous_rates=6 --atrous_rates=12 --atrous_rates=18 \
        --output_stride=16 --decoder_output_stride=4 --train_crop_size=513,513 \
        --tf_initial_checkpoint=xception/model.ckpt --train_logdir=train_log
"""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags, logging

from deeplab import common
from deeplab.cli import script, train_flags
from deeplab.utils import stop_signals

if TYPE_CHECKING:
    from deeplab import model
    from deeplab.datasets import data_generator, descriptors
    from deeplab.training import trainer
    from deeplab.training.evaluation import TrainingEvaluation

# Flags of the official trainer's clusters that TensorFlow 2 does otherwise.
_UNUSED_FLAGS = {
    **common.UNUSED_FLAGS,
    "startup_delay_steps": "hosts start together",
    "num_ps_tasks": "every host keeps the variables, and all make the same updates",
    "master": "hosts find each other by TF_CONFIG (g3doc/distributed.md shows how)",
}


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of this script (official `train.py`) and the shared ones."""
    common.define_flags(flag_values)
    train_flags.define_flags(common.definer("deeplab.train", flag_values))


def main(argv: Sequence[str]) -> None:
    """Trains."""
    del argv
    values = flags.FLAGS
    common.log_unused_flags(values, _UNUSED_FLAGS)
    with stop_signals.leaving():
        _train(values)


def _train(values: flags.FlagValues) -> None:
    run, records, evaluation = _prepare(values)

    from deeplab.utils import distribution

    with records.named_errors():
        training = functools.partial(
            records.training, run.options.train_batch_size, start_step=run.step
        )
        batches = distribution.batches(run.strategy, training)
        # Once nothing can be refused any more.
        script.make_folder("train_logdir", values.train_logdir)
        run.train(batches, evaluation)


def _prepare(
    values: flags.FlagValues,
) -> "tuple[trainer.Trainer, data_generator.Dataset, TrainingEvaluation | None]":
    """Everything before the first step: the open trainer, what it trains on and evaluates with."""
    import keras
    import tensorflow as tf

    from deeplab import model
    from deeplab.datasets import data_generator, descriptors, first_records
    from deeplab.training import trainer
    from deeplab.utils import checkpoint, distribution

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
        run = trainer.Trainer(net, train_options, descriptor.ignore_label)
    records = data_generator.Dataset(
        descriptor,
        values.train_split,
        values.dataset_dir,
        **net.image_options(),
        min_scale_factor=values.min_scale_factor,
        max_scale_factor=values.max_scale_factor,
        scale_factor_step_size=values.scale_factor_step_size,
        seed=train_options.seed,
    )
    evaluation = _evaluation(values, net, descriptor) if values.eval_every else None
    first_records.check(records)
    run.open(values.train_logdir, values.tf_initial_checkpoint, values.initialize_last_layer)
    logging.info(
        "training %s on %d images of %s/%s",
        options.model_variant,
        len(records),
        descriptor.name,
        values.train_split,
    )
    return run, records, evaluation


def _evaluation(
    values: flags.FlagValues, net: "model.DeepLab", descriptor: "descriptors.DatasetDescriptor"
) -> "TrainingEvaluation":
    """What evaluates the network on the way."""
    from deeplab.datasets import data_generator, first_records
    from deeplab.evaluation import evaluator, predictor
    from deeplab.training.evaluation import TrainingEvaluation

    options = net.options.replace(crop_size=values.eval_crop_size)
    records = data_generator.Dataset(
        descriptor,
        values.eval_split,
        values.dataset_dir,
        **net.image_options(options.crop_size),
    )
    first_records.check(records)
    network = predictor.Predictor(options, net=net)
    return TrainingEvaluation(evaluator.Evaluator(network, records), values.eval_every)


def run() -> None:
    """The console command."""
    script.run(main, define_flags, required=("train_logdir", "dataset_dir"))


if __name__ == "__main__":
    run()
