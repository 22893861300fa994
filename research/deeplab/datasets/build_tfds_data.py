"""Convert a segmentation dataset of tensorflow_datasets to TFRecords, and write its descriptor.

It needs the package tensorflow_datasets: pip install 'deeplab[tfds]'. The dataset is downloaded to
--data_dir if it is not there. Class names are those of the dataset, if its labels have some.

  python -m deeplab.datasets.build_tfds_data --name=oxford_iiit_pet --image_feature=image \\
      --label_feature=segmentation_mask --label_map=1:0,2:1,3:2 --class_names=pet,ground,border \\
      --split=train --split=val=test --output_dir=tfrecord
"""

from collections.abc import Sequence

from absl import flags

from deeplab import common
from deeplab.cli import converter_flags, script
from deeplab.datasets.tfds_options import TfdsOptions


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script."""
    define = common.definer("deeplab.datasets.build_tfds_data", flag_values)
    common.define_options(define, TfdsOptions)
    converter_flags.define_runner(flag_values)


def main(argv: Sequence[str]) -> None:
    """Convert the splits and write the descriptor."""
    del argv
    # Imports TensorFlow, which takes seconds: not for --help.
    from deeplab.datasets import tfds_data

    tfds_data.convert(
        TfdsOptions(**common.option_values(TfdsOptions, flags.FLAGS)),
        converter_flags.runner_options(flags.FLAGS),
    )


def run() -> None:
    """Parse the flags and run `main`."""
    script.run(main, define_flags, required=("name", "output_dir"), cpu_only=True)


if __name__ == "__main__":
    run()
