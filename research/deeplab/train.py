r"""Train a DeepLab network on TFRecords.

Example:
    python deeplab/train.py \
        --dataset=pascal_voc_seg --dataset_dir=tfrecord --train_split=train_aug \
        --model_variant=xception_65 --atrous_rates=6 --atrous_rates=12 --atrous_rates=18 \
        --output_stride=16 --decoder_output_stride=4 --train_crop_size=513,513 \
        --tf_initial_checkpoint=xception/model.ckpt --train_logdir=train_log
"""

import functools
from collections.abc import Sequence

from absl import flags

from deeplab import common
from deeplab.cli import augmentation_flags, script, train_flags
from deeplab.training import stop_signals

# Official flags for clusters that have no effect; TensorFlow 2 works differently.
_UNUSED_FLAGS = {
    **common.UNUSED_FLAGS,
    "startup_delay_steps": "hosts start together",
    "num_ps_tasks": "every host keeps the variables, and all make the same updates",
    "master": "hosts find each other by TF_CONFIG (g3doc/distributed.md shows how)",
}


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script (official `train.py`) and the shared ones."""
    common.define_flags(flag_values)
    augmentation_flags.define_flags(flag_values)
    train_flags.define_flags(common.definer("deeplab.train", flag_values))


def main(argv: Sequence[str]) -> None:
    """Train a network according to the flags."""
    del argv
    values = flags.FLAGS
    common.log_unused_flags(values, _UNUSED_FLAGS)
    asked = functools.partial(common.ModelOptions.from_flags, values)
    with stop_signals.leaving():
        from deeplab.training import run as training_run

        training_run.run(train_flags.training_run(values), asked)


def run() -> None:
    """Parse the flags and run `main`."""
    script.run(main, define_flags, required=("train_logdir", "dataset_dir"))


if __name__ == "__main__":
    run()
