"""Convert images and labels, or annotations of any tool, to TFRecords, and write a descriptor.

Labels are label files (--label_folder: the label of the image a/b.jpg is a/b.png or a/b.tif), or
what an annotation tool wrote (--annotations: COCO, labelme, CVAT, Label Studio, YOLO, Ultralytics
or CSV). Splits are given by lists (--list_folder: <split>.txt, an image name per line, without
extension), by patterns of image files (--split=train='train/*' --split=val='val/*'), or at random
(--split_fractions=train:0.8,val:0.2). The classes of label files are given by --class_names,
--num_classes or --colormap. Pass the descriptor to the other scripts with --dataset.

  python -m deeplab.datasets.build_custom_data --image_folder=images --label_folder=labels \\
      --list_folder=lists --class_names=background,roof,road --output_dir=tfrecord
  python -m deeplab.datasets.build_custom_data --image_folder=images --annotations=coco.json \\
      --split_fractions=train:0.8,val:0.2 --output_dir=tfrecord
  python -m deeplab.datasets.check_data --dataset=tfrecord/dataset.json --dataset_dir=tfrecord
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated

from absl import flags

from deeplab import common
from deeplab.cli import converter_flags, script
from deeplab.core.options import fields
from deeplab.datasets import custom_options, descriptors

ANNOTATION_FORMATS = ("coco", "labelme", "cvat", "label_studio", "yolo", "ultralytics", "csv")


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script."""

    define = common.definer("deeplab.datasets.build_custom_data", flag_values)
    define("string", "image_folder", None, "Folder of the images, in any format that OpenCV reads.")
    define("string", "image_format", None, "Extension of the images, such as jpg. Default: any.")
    define(
        "string",
        "label_folder",
        None,
        "Folder of the labels (PNG or TIFF). Default: images without labels.",
    )
    define(
        "string",
        "annotations",
        None,
        "File or folder that an annotation tool wrote, in place of --label_folder.",
    )
    define(
        "enum",
        "annotation_format",
        None,
        "Format of --annotations. Default: found from the content.",
        enum_values=list(ANNOTATION_FORMATS),
    )
    define(
        "string",
        "label_suffix",
        "",
        "Suffix of a label's name after the image's name, such as _mask.",
    )
    define(
        "string",
        "list_folder",
        None,
        "Folder of the lists of image names: a file <split>.txt for each split.",
    )
    define(
        "multi_string",
        "split",
        None,
        "<split>=<pattern of image files in --image_folder>, in place of lists; repeat it for each"
        " split.",
    )
    define(
        "list",
        "split_fractions",
        [],
        "<split>:<fraction>, separated by commas, such as train:0.8,val:0.2, in place of lists:"
        " images are divided at random, evenly by class.",
    )
    define("integer", "seed", 0, "Seed of --split_fractions.", within=fields.NonNegativeInt)
    define(
        "string",
        "group_by",
        None,
        "Regular expression for --split_fractions: images whose names agree in its groups stay"
        " together, such as '(patient[0-9]+)'.",
    )
    define("string", "output_dir", None, "Folder of the TFRecords.")
    define(
        "string",
        "descriptor",
        None,
        "File of the descriptor. Default: dataset.json in --output_dir.",
    )
    define(
        "integer",
        "num_classes",
        None,
        "Number of classes, including the background, not the ignore label.",
        within=descriptors.NumClasses,
    )
    define(
        "list",
        "class_names",
        None,
        "Names of the labels 0, 1, 2, ... With --annotations: their names, in the order wanted.",
    )
    define(
        "list",
        "class_map",
        [],
        "Names of classes to replace: <name>:<other>, separated by commas, such as"
        " van:car,shadow:ignore; 'ignore' and 'background' have their meaning; an empty name drops"
        " the regions.",
    )
    define(
        "bool",
        "background",
        True,
        "Whether what no region of --annotations covers is the class 0; else it is ignored.",
    )
    define(
        "integer",
        "ignore_label",
        255,
        "Label of pixels that are left out of training and evaluation.",
        within=descriptors.Label,
    )
    define(
        "string",
        "colormap",
        None,
        "JSON file of colors, for labels that are color images: {name: [red, green, blue], ...}"
        " in the order of the classes, or a list of colors. A class may have a list of colors;"
        ' the name "ignore" is the ignore label.',
    )
    define(
        "float",
        "nearest_color",
        None,
        "For labels that are color images with soft edges: a color that is not listed is the"
        " nearest one that is, if it is not farther away than this (0 to 442).",
        within=Annotated[float, fields.Range(at_least=0, at_most=442)],
    )
    define(
        "integer",
        "threshold",
        None,
        "For gray masks of two classes: values above this are label 1, others are 0.",
        within=custom_options.StoredValue,
    )
    define(
        "list",
        "label_map",
        [],
        "Label values to replace: <value>:<label>, separated by commas, such as 255:1,128:0.",
    )
    define(
        "string",
        "write_label_images",
        None,
        "Folder in which labels are also written as PNG files with a palette, to look at.",
    )
    define(
        "integer",
        "num_shards",
        4,
        "Number of files per split.",
        within=converter_flags.NumShards,
    )
    converter_flags.define_num_processes(flag_values)


def main(argv: Sequence[str]) -> None:
    """Convert the splits and write the descriptor."""
    del argv
    # Imports TensorFlow, which takes seconds: not for --help.
    from deeplab.datasets import custom_data

    values = flags.FLAGS
    names = [field.name for field in dataclasses.fields(custom_options.CustomOptions)]
    given = {name: values[name].value for name in names}
    custom_data.convert(custom_options.CustomOptions(**given))


def run() -> None:
    """Parse the flags and run `main`."""
    script.run(
        main,
        define_flags,
        required=("output_dir",),
        local=("image_folder", "label_folder", "annotations", "list_folder", "split"),
        cpu_only=True,
    )


if __name__ == "__main__":
    run()
