"""Convert PASCAL VOC 2012, or any dataset in its layout, to TFRecords.

Each list <split>.txt in --list_folder becomes a split of four shards
<split>-00000-of-00004.tfrecord ... in --output_dir, in the order of the list. Labels have VOC's
palette (SegmentationClass) or are grayscale files of label values (SegmentationClassRaw). The
images of VOC are JPEG: set --image_format=jpg.

--sbd_folder also writes train_aug: the images of the list train, and those of the Semantic
Boundaries Dataset that are not in the list val.
"""

import os
from collections.abc import Mapping, Sequence

from absl import flags, logging

from deeplab import common
from deeplab.cli import converter_flags, processes, script
from deeplab.core.wording import agree, counted
from deeplab.datasets import descriptors, source_files

_NUM_SHARDS = 4
_AUGMENTED = "train_aug"
_DATA = "./VOCdevkit/VOC2012"


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script; official flags have their official defaults."""
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
        "Folder of the lists: a file <split>.txt for each split, with an image name per line.",
    )
    define("string", "output_dir", "./tfrecord", "Folder of the TFRecords.")
    define(
        "string",
        "dataset",
        "pascal_voc_seg",
        "Dataset that the labels are checked against: its name, or the path of its descriptor"
        " (.json).",
    )
    define(
        "string",
        "sbd_folder",
        None,
        "Folder `dataset` of the Semantic Boundaries Dataset, for the split train_aug.",
    )


def _warn(lists: Mapping[str, Sequence[str]], descriptor: descriptors.DatasetDescriptor) -> None:
    """Warn of lists with an unexpected length, and of images in both a training list and val."""
    for split, names in lists.items():
        expected = descriptor.split_size(split)
        if expected not in (None, len(names)):
            logging.warning(
                "%s.txt has %s; the split %s of %s has %s",
                *(split, counted(len(names), "name"), split, descriptor.name),
                counted(expected, "image"),
            )
        both = set(names).intersection(lists.get("val", ()))
        if both and split.startswith("train") and not split.startswith("trainval"):
            logging.warning(
                "%s of %s.txt %s also in val.txt, such as %s: evaluation must not use"
                " training images",
                *(counted(len(both), "name"), split, agree(len(both), "is", "are")),
                min(both),
            )


def _source(
    line: source_files.Line, folder: source_files.ImageFolder, values: flags.FlagValues
) -> source_files.Source:
    """Return the files of the image that a line names; they need not be there."""
    name, paths = folder.find(line.text)
    return source_files.Source(
        name,
        paths[0] if paths else os.path.join(values.image_folder, f"{name}.{values.image_format}"),
        os.path.join(values.semantic_segmentation_folder, f"{name}.{values.label_format}"),
        line.place + ("" if paths else folder.hint(name)),
    )


def main(argv: Sequence[str]) -> None:
    """Convert the images of every list to TFRecords."""
    del argv
    processes.start_early(flags.FLAGS.num_processes, ["deeplab.datasets.shared_reading"])
    # Imports TensorFlow, which takes seconds: not for --help.
    from deeplab.datasets import conversion, label_files, samples, sbd

    values = flags.FLAGS
    runner = converter_flags.runner_options(values)
    descriptor = descriptors.load(values.dataset)
    labels = label_files.LabelReader(
        descriptor, remedy="correct the file, or set --dataset=<descriptor>.json"
    )
    lists = source_files.read_lists(values.list_folder)
    if values.sbd_folder and not ({"train", "val"} <= set(lists) and _AUGMENTED not in lists):
        raise ValueError(
            f"--sbd_folder makes {_AUGMENTED} of the lists train.txt and val.txt;"
            f" {values.list_folder} has {', '.join(f'{split}.txt' for split in lists)}"
        )
    _warn({split: [line.text for line in lines] for split, lines in lists.items()}, descriptor)
    folder = source_files.ImageFolder(values.image_folder, [f".{values.image_format}"])
    splits = {
        split: [_source(line, folder, values) for line in lines] for split, lines in lists.items()
    }
    if values.sbd_folder:
        val = {source.name for source in splits["val"]}
        splits[_AUGMENTED] = sbd.augmented(values.sbd_folder, folder, splits["train"], val)
    conversion.convert(
        {split: samples.FileSamples(sources, labels) for split, sources in splits.items()},
        values.output_dir,
        _NUM_SHARDS,
        values.num_processes,
        runner=runner,
    )


def run() -> None:
    """Parse the flags and run `main`."""
    script.run(main, define_flags, local=("sbd_folder",), cpu_only=True)


if __name__ == "__main__":
    run()
