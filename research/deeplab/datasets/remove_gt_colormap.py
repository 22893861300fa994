"""Convert label PNGs with a palette to grayscale PNGs with the same label values.

The converters of this package read both; other tools often read the palette's colors.
"""

import glob
import os
from collections.abc import Sequence

from absl import flags, logging

from deeplab import common
from deeplab.cli import script
from deeplab.core.wording import counted
from deeplab.utils import files
from deeplab.utils.progress import Progress

_DATA = "./VOCdevkit/VOC2012"


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script, with their official defaults."""
    define = common.definer("deeplab.datasets.remove_gt_colormap", flag_values)
    define(
        "string",
        "original_gt_folder",
        f"{_DATA}/SegmentationClass",
        "Folder of the labels with a palette.",
    )
    define("string", "segmentation_format", "png", "Extension of the labels; they are PNG files.")
    define(
        "string",
        "output_dir",
        f"{_DATA}/SegmentationClassRaw",
        "Folder of the new labels.",
    )


def main(argv: Sequence[str]) -> None:
    """Convert every file of the folder."""
    del argv
    # Imports TensorFlow, which takes seconds: not for --help.
    from deeplab.datasets import image_files, label_files

    values = flags.FLAGS
    pattern = f"*.{glob.escape(values.segmentation_format)}"
    paths = sorted(glob.glob(os.path.join(glob.escape(values.original_gt_folder), pattern)))
    if not paths:
        raise ValueError(
            f"there is no file {pattern} in {values.original_gt_folder} (--original_gt_folder)"
        )
    results = [os.path.join(values.output_dir, os.path.basename(path)) for path in paths]
    image_files.refuse_overwriting("output_dir", paths, results)
    progress = Progress("converted", len(paths))
    only_alpha = []
    for path, result in zip(paths, results, strict=True):
        data = files.read_bytes(path)
        try:
            plain = label_files.as_gray(data)
        except ValueError as error:
            raise ValueError(f"label {path} {error}") from None
        files.write_bytes(result, plain)
        if label_files.only_alpha(data, label_files.read_indices(plain)):
            only_alpha.append(path)
        progress.advance()
    if only_alpha:
        logging.warning("%s", label_files.only_alpha_remark(only_alpha))
    logging.info("%s in %s", counted(len(paths), "label"), values.output_dir)


def run() -> None:
    """Parse the flags and run `main`."""
    script.run(main, define_flags, local=("original_gt_folder",), cpu_only=True)


if __name__ == "__main__":
    run()
