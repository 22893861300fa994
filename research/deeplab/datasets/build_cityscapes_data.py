"""Convert Cityscapes to TFRecords.

--cityscapes_root must hold leftImg8bit/{train,val,test} and gtFine/{train,val,test}, as the
archives unpack. Labels are *_gtFine_labelTrainIds.png, which cityscapesscripts create; if there are
none, *_gtFine_labelIds.png are converted to training ids. Write the splits train_fine, val_fine
and, if there are test images, test_fine, in ten shards each, in the order of the file names.
"""

import glob
import os
from collections.abc import Sequence

from absl import flags, logging

from deeplab import common
from deeplab.cli import converter_flags, script
from deeplab.datasets import descriptors, source_files

_NUM_SHARDS = 10
_SPLITS = {"train_fine": "train", "val_fine": "val", "test_fine": "test"}
_IMAGE_SUFFIX = "_leftImg8bit"
_TRAIN_IDS = "_gtFine_labelTrainIds.png"
_LABEL_IDS = "_gtFine_labelIds.png"
_REMEDY = "training uses labelTrainIds: create the file again with cityscapesscripts"


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script; official flags have their official defaults."""
    converter_flags.define_flags(flag_values)
    define = common.definer("deeplab.datasets.build_cityscapes_data", flag_values)
    define("string", "cityscapes_root", "./cityscapes", "Folder of the dataset.")
    define("string", "output_dir", "./tfrecord", "Folder of the TFRecords.")


def label_map() -> dict[int, int]:
    """Return the training id of each label id; label ids without one are ignored."""
    descriptor = descriptors.load("cityscapes")
    train_ids = {label: train_id for train_id, label in enumerate(descriptor.train_id_to_eval_id)}
    return {label: train_ids.get(label, descriptor.ignore_label) for label in range(256)}


def _sources(root: str, folder: str, label_suffix: str) -> list[source_files.Source]:
    """Return the images of a folder of `leftImg8bit`, sorted, with their labels."""
    pattern = os.path.join(glob.escape(root), "leftImg8bit", folder, "*", f"*{_IMAGE_SUFFIX}.png")
    sources = []
    for image in sorted(glob.glob(pattern)):
        city = os.path.basename(os.path.dirname(image))
        name = os.path.basename(image).removesuffix(f"{_IMAGE_SUFFIX}.png")
        label = os.path.join(root, "gtFine", folder, city, name + label_suffix)
        sources.append(source_files.Source(name, image, label))
    return sources


def main(argv: Sequence[str]) -> None:
    """Convert the splits."""
    del argv
    # Imports TensorFlow, which takes seconds: not for --help.
    from deeplab.datasets import build_data, label_files

    values = flags.FLAGS
    common.log_unused_flags(values, {"image_format": "Cityscapes' images are *.png"})
    root = values.cityscapes_root
    reader = label_files.LabelReader(descriptors.load("cityscapes"), remedy=_REMEDY)
    label_suffix = _TRAIN_IDS
    labels = os.path.join(glob.escape(root), "gtFine", "*", "*", "*")
    if not glob.glob(labels + _TRAIN_IDS) and glob.glob(labels + _LABEL_IDS):
        logging.info("found no labelTrainIds: converting labelIds to training ids")
        label_suffix = _LABEL_IDS
        reader = label_files.LabelReader(reader.descriptor, label_map(), remedy=_REMEDY)
    splits = {split: _sources(root, folder, label_suffix) for split, folder in _SPLITS.items()}
    for split, sources in splits.items():
        if not sources and split == "test_fine":
            continue
        if not sources:
            raise ValueError(
                f"there is no image in {root}/leftImg8bit/{_SPLITS[split]}/<city>"
                " (--cityscapes_root)"
            )
        build_data.convert(
            split, sources, reader, values.output_dir, _NUM_SHARDS, values.num_processes
        )


def run() -> None:
    """Run the script."""
    script.run(main, define_flags, local=("cityscapes_root",), cpu_only=True)


if __name__ == "__main__":
    run()
