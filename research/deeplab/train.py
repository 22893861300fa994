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

from deeplab import common, script
from deeplab.utils import stop_signals

if TYPE_CHECKING:
    from deeplab import model
    from deeplab.datasets import data_generator, descriptor
    from deeplab.evaluation import training_evaluation
    from deeplab.utils import trainer

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
    define = common.definer("deeplab.train", flag_values)
    define("string", "master", "", "No effect: hosts find each other by TF_CONFIG.")
    define("integer", "task", 0, "Number of this host; TF_CONFIG says it.")
    define("integer", "num_clones", 1, "Number of GPUs of this host to train on.")
    define("bool", "clone_on_cpu", False, "Train on the CPU; clones are parts of it.")
    define("integer", "num_replicas", 1, "Number of hosts; TF_CONFIG names them.")
    define("integer", "startup_delay_steps", 15, "No effect: hosts start together.")
    define("integer", "num_ps_tasks", 0, "No effect: every host keeps the variables.")

    define("string", "train_logdir", None, "Folder for checkpoints and logs.")
    define("integer", "log_steps", 10, "Say how it goes every so many steps.")
    define("integer", "save_interval_secs", 1200, "Seconds between two checkpoints.")
    define(
        "integer",
        "save_summaries_secs",
        600,
        "Seconds between two summaries of variables and images.",
    )
    define("bool", "save_summaries_images", False, "Add images, labels and predictions to them.")
    define(
        "string",
        "profile_logdir",
        None,
        "Folder for a profile of five steps, for TensorBoard. Default: none is made.",
    )
    define(
        "integer",
        "eval_every",
        0,
        "Evaluate every so many steps and at the last, and keep the best checkpoint; 0: never.",
    )
    define("string", "eval_split", "val", "Split for --eval_every.")
    define("list", "eval_crop_size", ["513", "513"], "Height,width its images are padded to.")
    define(
        "bool",
        "deterministic_ops",
        False,
        "Only operations that give the same bits twice, on a GPU too; slower there.",
    )

    define("enum", "optimizer", "momentum", "The optimizer.", enum_values=["momentum", "adam"])
    define(
        "enum",
        "learning_policy",
        "poly",
        "How the learning rate falls.",
        enum_values=["poly", "step", "cosine", "multi_steps"],
    )
    define("float", "base_learning_rate", 0.0001, "The learning rate to begin with.")
    define("float", "decay_steps", 0.0, "Steps that poly takes; 0: all.")
    define("float", "end_learning_rate", 0.0, "Last learning rate of poly.")
    define("float", "learning_rate_decay_factor", 0.1, "What step multiplies the rate by ...")
    define("integer", "learning_rate_decay_step", 2000, "... every so many steps.")
    define("float", "learning_power", 0.9, "Power of poly.")
    define(
        "multi_integer",
        "boundaries",
        None,
        "Step, after the slow start, up to which multi_steps keeps a rate; repeat it.",
    )
    define(
        "multi_float",
        "boundary_learning_rates",
        None,
        "Rate up to the boundary, and one more after the last; repeat it.",
    )
    define("integer", "training_number_of_steps", 30000, "Number of steps to train.")
    define("float", "momentum", 0.9, "Momentum of the momentum optimizer.")
    define("float", "adam_learning_rate", 0.001, "Learning rate of Adam, which has no policy.")
    define("float", "adam_epsilon", 1e-08, "Epsilon of Adam.")
    define("integer", "train_batch_size", 8, "Images a step, over all devices and hosts.")
    define(
        "integer",
        "gradient_accumulation_steps",
        1,
        "Parts that a device processes its images of a step in, to save memory.",
    )
    define(
        "enum",
        "precision",
        "float32",
        "What the network computes in.",
        enum_values=["float32", "mixed_bfloat16", "mixed_float16"],
    )
    define("bool", "jit_compile", False, "Compile the step with XLA.")
    define("float", "weight_decay", 0.00004, "Weight decay (L2) of convolution weights.")
    define("list", "train_crop_size", ["513", "513"], "Height,width of the crops.")
    define(
        "float",
        "last_layer_gradient_multiplier",
        1.0,
        "How much faster the last layers learn.",
    )
    define("bool", "upsample_logits", True, "Upsample logits (else downsample labels).")
    define("float", "drop_path_keep_prob", 1.0, "Probability to keep a path of a NAS cell.")
    define(
        "string",
        "tf_initial_checkpoint",
        None,
        "Checkpoint to start from; or, for VGG-16, a weights file of Keras' VGG16.",
    )
    define("bool", "initialize_last_layer", True, "Take the last layers from it too.")
    define(
        "bool",
        "last_layers_contain_logits_only",
        False,
        "The last layers are the logits alone (else all that follows the backbone).",
    )
    define("integer", "slow_start_step", 0, "Steps of slow start ...")
    define("float", "slow_start_learning_rate", 1e-4, "... and their learning rate.")
    define(
        "enum",
        "slow_start_burnin_type",
        "none",
        "Keep that rate, or rise to the base rate.",
        enum_values=["none", "linear"],
    )
    define(
        "bool",
        "fine_tune_batch_norm",
        True,
        "Learn batch statistics; wants at least 12 images a step, else set it to false.",
    )
    define("float", "ema_decay", None, "Decay of moving averages of the weights; default: none.")
    define(
        "bool",
        "sync_batch_norm",
        None,
        "Replicas share their batch statistics. Default: if each has fewer than 16 images.",
    )
    define("float", "min_scale_factor", 0.5, "Smallest random scale of an image.")
    define("float", "max_scale_factor", 2.0, "Largest random scale of an image.")
    define("float", "scale_factor_step_size", 0.25, "Step between them; 0: any scale.")
    define("multi_integer", "atrous_rates", None, "Atrous rate of the ASPP; repeat it.")
    define("integer", "output_stride", 16, "Ratio of image size to feature size.")
    define(
        "integer",
        "hard_example_mining_step",
        0,
        "Step at which --top_k_percent_pixels is reached, from all pixels at step 0.",
    )
    define("float", "top_k_percent_pixels", 1.0, "Share of the pixels, the hardest, that train.")
    define(
        "integer",
        "quantize_delay_step",
        -1,
        "Step from which on the network is trained with values rounded to 8 bits; below 0: never.",
    )

    define(
        "string",
        "dataset",
        "pascal_voc_seg",
        "Name of a data set (pascal_voc_seg, cityscapes, ade20k) or its JSON description.",
    )
    define("string", "train_split", "train", "Which split to train on.")
    define("string", "dataset_dir", None, "Folder of the TFRecords.")
    define("integer", "seed", 0, "Of the weights, the order of images, augmentation and dropout.")


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
) -> (
    "tuple[trainer.Trainer, data_generator.Dataset, training_evaluation.TrainingEvaluation | None]"
):
    """Everything before the first step: the open trainer, what it trains on and evaluates with."""
    import keras
    import tensorflow as tf

    from deeplab import model
    from deeplab.datasets import data_generator, descriptor, first_records
    from deeplab.utils import checkpoint, distribution, trainer

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
    dataset = descriptor.load(values.dataset)
    train_options = trainer.TrainOptions.from_flags(values)
    is_resumed = bool(checkpoint.names(values.train_logdir))
    options = common.ModelOptions.from_flags(
        values,
        stored=checkpoint.load_options(values.train_logdir) if is_resumed else None,
        num_classes=dataset.num_classes,
        crop_size=values.train_crop_size,
    )
    keras.utils.set_random_seed(train_options.seed)
    with strategy.scope():
        net = model.DeepLab(options, dtype=values.precision)
        run = trainer.Trainer(net, train_options, dataset.ignore_label)
    records = data_generator.Dataset(
        dataset,
        values.train_split,
        values.dataset_dir,
        **net.image_options(),
        min_scale_factor=values.min_scale_factor,
        max_scale_factor=values.max_scale_factor,
        scale_factor_step_size=values.scale_factor_step_size,
        seed=train_options.seed,
    )
    evaluation = _evaluation(values, net, dataset) if values.eval_every else None
    first_records.check(records)
    run.open(values.train_logdir, values.tf_initial_checkpoint, values.initialize_last_layer)
    logging.info(
        "training %s on %d images of %s/%s",
        options.model_variant,
        len(records),
        dataset.name,
        values.train_split,
    )
    return run, records, evaluation


def _evaluation(
    values: flags.FlagValues, net: "model.DeepLab", dataset: "descriptor.DatasetDescriptor"
) -> "training_evaluation.TrainingEvaluation":
    """What evaluates the network on the way."""
    from deeplab.datasets import data_generator, first_records
    from deeplab.evaluation import evaluator, predictor, training_evaluation

    options = net.options.replace(crop_size=values.eval_crop_size)
    records = data_generator.Dataset(
        dataset,
        values.eval_split,
        values.dataset_dir,
        **net.image_options(options.crop_size),
    )
    first_records.check(records)
    network = predictor.Predictor(options, net=net)
    return training_evaluation.TrainingEvaluation(
        evaluator.Evaluator(network, records), values.eval_every
    )


def run() -> None:
    """The console command."""
    script.run(main, define_flags, required=("train_logdir", "dataset_dir"))


if __name__ == "__main__":
    run()
