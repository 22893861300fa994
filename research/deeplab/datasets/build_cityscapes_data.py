"""Convert Cityscapes to TFRecords.

--cityscapes_root must hold leftImg8bit/{train,val,test} and gtFine/{train,val,test}, as the
archives unpack. Labels are *_gtFine_labelTrainIds.png, which cityscapesscripts create; if there are
none, *_gtFine_labelIds.png are converted to training ids. Write the splits train_fine, val_fine
and, if there are test images, test_fine, in ten shards each, in the order of the file names.

--coarse also writes train_coarse: all training images, leftImg8bit/{train,train_extra}, with the
coarse labels gtCoarse/{train,train_extra}.
"""

import os
from collections.abc import Sequence

from absl import flags, logging

from deeplab import common
from deeplab.cli import converter_flags, processes, script
from deeplab.datasets import descriptors, patterns, source_files

_NUM_SHARDS = 10
_FINE, _COARSE = "gtFine", "gtCoarse"
# The kind of labels of each split, and its folders.
_SPLITS = {
    "train_fine": (_FINE, ("train",)),
    "val_fine": (_FINE, ("val",)),
    "test_fine": (_FINE, ("test",)),
    "train_coarse": (_COARSE, ("train", "train_extra")),
}
_IMAGE_SUFFIX = "_leftImg8bit"
_TRAIN_IDS, _LABEL_IDS = "labelTrainIds.png", "labelIds.png"
_REMEDY = "training uses labelTrainIds: create the file again with cityscapesscripts"


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script; official flags have their official defaults."""
    converter_flags.define_flags(flag_values)
    define = common.definer("deeplab.datasets.build_cityscapes_data", flag_values)
    define("string", "cityscapes_root", "./cityscapes", "Folder of the dataset.")
    define("string", "output_dir", "./tfrecord", "Folder of the TFRecords.")
    define("bool", "coarse", False, "Also write train_coarse, from the labels in gtCoarse.")


def label_map() -> dict[int, int]:
    """Return the training id of each label id; label ids without one are ignored."""
    descriptor = descriptors.load("cityscapes")
    train_ids = {label: train_id for train_id, label in enumerate(descriptor.train_id_to_eval_id)}
    return {label: train_ids.get(label, descriptor.ignore_label) for label in range(256)}


def _sources(root: str, folder: str, kind: str, label_suffix: str) -> list[source_files.Source]:
    """Return the images of a folder of `leftImg8bit`, sorted, with their labels of a kind."""
    pattern = os.path.join(root, "leftImg8bit", folder, "*", f"*{_IMAGE_SUFFIX}.png")
    sources = []
    for image in patterns.expand(pattern):
        city = os.path.basename(os.path.dirname(image))
        name = os.path.basename(image).removesuffix(f"{_IMAGE_SUFFIX}.png")
        label = os.path.join(root, kind, folder, city, f"{name}_{kind}_{label_suffix}")
        sources.append(source_files.Source(name, image, label))
    return sources


def _has_label_ids_only(root: str, kind: str) -> bool:
    """Return whether there are label ids of a kind, but no training ids made from them."""
    labels = os.path.join(root, kind, "*", "*", f"*_{kind}_")
    return not patterns.expand(labels + _TRAIN_IDS) and bool(patterns.expand(labels + _LABEL_IDS))


def main(argv: Sequence[str]) -> None:
    """Convert the splits of the flags to TFRecords."""
    del argv
    processes.start_early(flags.FLAGS.num_processes, ["deeplab.datasets.shared_reading"])
    # Imports TensorFlow, which takes seconds: not for --help.
    from deeplab.datasets import conversion, label_files, samples

    values = flags.FLAGS
    runner = converter_flags.runner_options(values)
    common.log_unused_flags(values, {"image_format": "Cityscapes' images are *.png"})
    root = values.cityscapes_root
    descriptor = descriptors.load("cityscapes")
    readers = {}
    for kind in (_FINE, _COARSE) if values.coarse else (_FINE,):
        readers[kind] = _TRAIN_IDS, label_files.LabelReader(descriptor, remedy=_REMEDY)
        if _has_label_ids_only(root, kind):
            logging.info("%s: found no labelTrainIds: converting labelIds to training ids", kind)
            reader = label_files.LabelReader(descriptor, label_map(), remedy=_REMEDY)
            readers[kind] = _LABEL_IDS, reader
    splits = {}
    for split, (kind, folders) in _SPLITS.items():
        if kind not in readers:
            continue
        suffix, reader = readers[kind]
        sources = []
        for folder in folders:
            found = _sources(root, folder, kind, suffix)
            if not found and split != "test_fine":
                raise ValueError(
                    f"there is no image in {root}/leftImg8bit/{folder}/<city> (--cityscapes_root)"
                )
            sources += found
        if sources:
            splits[split] = samples.FileSamples(sources, reader)
    conversion.convert(splits, values.output_dir, _NUM_SHARDS, values.num_processes, runner=runner)


def run() -> None:
    """Parse the flags and run `main`."""
    script.run(main, define_flags, cpu_only=True)


if __name__ == "__main__":
    run()
