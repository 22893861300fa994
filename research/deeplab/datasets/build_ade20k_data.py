"""Convert ADE20K (the scene parsing challenge of 2016) to TFRecords.

Write the splits train and val in four shards each, shuffled with a fixed seed. Label 0 marks pixels
without a class; they are ignored.
"""

import os
import random
from collections.abc import Sequence

from absl import flags, logging

from deeplab import common
from deeplab.cli import converter_flags, processes, script
from deeplab.core.wording import counted
from deeplab.datasets import descriptors, source_files
from deeplab.utils import file_systems

_NUM_SHARDS = 4
_SEED = 0
_JPEG = (".jpg", ".jpeg")
_DATA = "./ADE20K/ADEChallengeData2016"


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script; official flags have their official defaults."""
    converter_flags.define_flags(flag_values)
    define = common.definer("deeplab.datasets.build_ade20k_data", flag_values)
    for split, folder, images in (
        ("train", "training", "training images"),
        ("val", "validation", "validation images"),
    ):
        define(
            "string",
            f"{split}_image_folder",
            f"{_DATA}/images/{folder}",
            f"Folder of the {images}.",
        )
        define(
            "string",
            f"{split}_image_label_folder",
            f"{_DATA}/annotations/{folder}",
            f"Folder of the labels of the {images}.",
        )
    define("string", "output_dir", "./ADE20K/tfrecord", "Folder of the TFRecords.")


def _sources(images: str, labels: str, flag: str) -> list[source_files.Source]:
    """Return the JPEG images of a folder with their labels, shuffled; names are the paths."""
    entries = [entry for entry in file_systems.names_in(images) if not entry.startswith(".")]
    paths = [os.path.join(images, entry) for entry in entries if entry.lower().endswith(_JPEG)]
    if not paths:
        raise ValueError(f"there is no image (*.jpg) in {images} (--{flag})")
    if others := [entry for entry in entries if not entry.lower().endswith(_JPEG)]:
        logging.warning(
            "passed over %s in %s (--%s), not JPEG (%s), such as %s",
            *(counted(len(others), "file"), images, flag, ", ".join(_JPEG), others[0]),
        )
    random.Random(_SEED).shuffle(paths)
    stems = [os.path.splitext(os.path.basename(path))[0] for path in paths]
    return [
        source_files.Source(path, path, os.path.join(labels, f"{stem}.png"))
        for path, stem in zip(paths, stems, strict=True)
    ]


def main(argv: Sequence[str]) -> None:
    """Convert the splits train and val to TFRecords."""
    del argv
    processes.start_early(flags.FLAGS.num_processes, ["deeplab.datasets.shared_reading"])
    # Imports TensorFlow, which takes seconds: not for --help.
    from deeplab.datasets import conversion, label_files, samples

    values = flags.FLAGS
    runner = converter_flags.runner_options(values)
    common.log_unused_flags(values, {"image_format": "ADE20K's images are *.jpg"})
    labels = label_files.LabelReader(
        descriptors.load("ade20k"), remedy="use the labels of ADEChallengeData2016"
    )
    splits = {}
    for split in ("train", "val"):
        sources = _sources(
            values[f"{split}_image_folder"].value,
            values[f"{split}_image_label_folder"].value,
            f"{split}_image_folder",
        )
        splits[split] = samples.FileSamples(sources, labels)
    conversion.convert(splits, values.output_dir, _NUM_SHARDS, values.num_processes, runner=runner)


def run() -> None:
    """Parse the flags and run `main`."""
    script.run(main, define_flags, cpu_only=True)


if __name__ == "__main__":
    run()
