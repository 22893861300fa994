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
from deeplab.datasets import descriptors


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script."""
    define = common.definer("deeplab.datasets.build_tfds_data", flag_values)
    define(
        "string",
        "name",
        None,
        "Name of the dataset, with its configuration and version if wanted, such as"
        " oxford_iiit_pet:3.2.0.",
    )
    define("string", "data_dir", None, "Folder of the library's datasets. Default: the library's.")
    define("string", "image_feature", "image", "Feature that holds the image.")
    define("string", "label_feature", "segmentation_mask", "Feature that holds the label image.")
    define(
        "multi_string",
        "split",
        ["train"],
        "Split to convert, or <name>=<split>, such as val=test or val=train[80%:]; repeat it.",
    )
    define("string", "output_dir", None, "Folder of the TFRecords and of dataset.json.")
    define(
        "integer",
        "num_classes",
        None,
        "Number of classes, if the dataset does not name them.",
        within=descriptors.NumClasses,
    )
    define("list", "class_names", None, "Names of the labels 0, 1, 2, ..., after --label_map.")
    define(
        "integer",
        "ignore_label",
        255,
        "Label of pixels that are left out of training and evaluation.",
        within=descriptors.Label,
    )
    define(
        "list",
        "label_map",
        [],
        "Label values to replace: <value>:<label>, separated by commas, such as 1:0,2:1,3:255.",
    )
    define(
        "integer",
        "num_shards",
        4,
        "Number of files per split.",
        within=converter_flags.NumShards,
    )


def main(argv: Sequence[str]) -> None:
    """Convert the splits and write the descriptor."""
    del argv
    # Imports TensorFlow, which takes seconds: not for --help.
    from deeplab.datasets import custom_options, tfds_data

    values = flags.FLAGS
    options = tfds_data.TfdsOptions(
        name=values.name,
        output_dir=values.output_dir,
        data_dir=values.data_dir,
        image_feature=values.image_feature,
        label_feature=values.label_feature,
        splits=tuple(values.split),
        num_classes=values.num_classes,
        class_names=tuple(values.class_names) if values.class_names else None,
        ignore_label=values.ignore_label,
        label_map=custom_options.parse_label_map(values.label_map),
        num_shards=values.num_shards,
    )
    tfds_data.convert(options)


def run() -> None:
    """Parse the flags and run `main`."""
    script.run(main, define_flags, required=("name", "output_dir"), cpu_only=True)


if __name__ == "__main__":
    run()
