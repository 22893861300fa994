"""Converts PASCAL VOC 2012, or any data set in its layout, to TFRecords.

Every list <split>.txt in --list_folder becomes a split of four shards
<split>-00000-of-00004.tfrecord ... in --output_dir, in the order of the list. Labels may have
VOC's palette (SegmentationClass) or be grey-scale files of label values (SegmentationClassRaw).
The images of VOC are JPEG: --image_format=jpg.
"""

import os
from collections.abc import Sequence

from absl import flags, logging

from deeplab import common
from deeplab.cli import converter_flags, script
from deeplab.datasets import descriptors, label_files, source_files

_NUM_SHARDS = 4
_DATA = "./VOCdevkit/VOC2012"


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of this script; the official ones have their official defaults."""
    converter_flags.define_flags(flag_values)
    define = common.definer("deeplab.datasets.build_voc2012_data", flag_values)
    define("string", "image_folder", f"{_DATA}/JPEGImages", "Folder of the images.")
    define(
        "string",
        "semantic_segmentation_folder",
        f"{_DATA}/SegmentationClassRaw",
        "Folder of the labels.",
    )
    define(
        "string",
        "list_folder",
        f"{_DATA}/ImageSets/Segmentation",
        "Folder of the lists: one file <split>.txt a split, one name an image and line.",
    )
    define("string", "output_dir", "./tfrecord", "Folder of the TFRecords.")
    define(
        "string",
        "dataset",
        "pascal_voc_seg",
        "Data set whose classes the labels are checked against: a name, or the path of a"
        " descriptor (.json).",
    )


def _warn(lists: dict[str, list[str]], descriptor: descriptors.DatasetDescriptor) -> None:
    """Says where lists are not what they are known to be."""
    for split, names in lists.items():
        expected = descriptor.split_size(split)
        if expected not in (None, len(names)):
            logging.warning(
                "%s.txt has %d names; the split %s of %s has %d images",
                *(split, len(names), split, descriptor.name, expected),
            )
        both = set(names).intersection(lists.get("val", ()))
        if both and split.startswith("train") and not split.startswith("trainval"):
            logging.warning(
                "%d names of %s.txt are also in val.txt, such as %s: what is trained on says"
                " nothing when it is evaluated",
                *(len(both), split, min(both)),
            )


def main(argv: Sequence[str]) -> None:
    """Converts every list."""
    del argv
    # Reads and writes with TensorFlow, which takes seconds to import: not for --help.
    from deeplab.datasets import build_data

    values = flags.FLAGS
    descriptor = descriptors.load(values.dataset)
    labels = label_files.LabelReader(
        descriptor, remedy="mend the file, or name the classes with --dataset=<descriptor>.json"
    )
    lists = source_files.read_lists(values.list_folder)
    _warn(lists, descriptor)
    for split, names in lists.items():
        sources = [
            source_files.Source(
                name,
                os.path.join(values.image_folder, f"{name}.{values.image_format}"),
                os.path.join(values.semantic_segmentation_folder, f"{name}.{values.label_format}"),
            )
            for name in names
        ]
        build_data.convert(
            split, sources, labels, values.output_dir, _NUM_SHARDS, values.num_processes
        )


def run() -> None:
    """Runs the script."""
    script.run(main, define_flags)


if __name__ == "__main__":
    run()
