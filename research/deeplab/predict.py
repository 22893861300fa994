r"""Predicts the classes of images with a SavedModel of `export_model.py`, and draws them.

For each image it writes to --output_dir: <name>_labels.png (the labels themselves, in grey),
<name>_prediction.png (in the colours of the classes), <name>_overlay.png (these over the image) and
<name>_panel.png (all of it side by side, with a legend).

Example:
    python deeplab/predict.py \
        --export_path=export/1 --images='photos/*.jpg' --output_dir=predictions
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags, logging

from deeplab import common
from deeplab.cli import script

if TYPE_CHECKING:
    import numpy as np

    from deeplab.datasets.descriptors import DatasetDescriptor

# A class with a smaller share of an image is not worth a mention.
_WORTH_SAYING = 0.005


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of this script."""
    define = common.definer("deeplab.predict", flag_values)
    define("string", "export_path", None, "Folder of the SavedModel.")
    define(
        "string",
        "images",
        None,
        "Images: a folder, a pattern such as 'photos/*.jpg', paths separated by commas, or a .txt"
        " file with one path a line.",
    )
    define("string", "output_dir", None, "Folder for the pictures.")
    define(
        "string",
        "dataset",
        None,
        "Name of the data set, or its JSON description, for the names and colours of the classes."
        " Default: what was exported with the network, if anything.",
    )


def main(argv: Sequence[str]) -> None:
    """Predicts."""
    del argv
    values = flags.FLAGS

    import numpy as np

    from deeplab.datasets import descriptors, image_files
    from deeplab.evaluation import report
    from deeplab.export import saved_model

    descriptor = descriptors.load(values.dataset) if values.dataset else None
    paths = image_files.find(values.images)
    network = saved_model.SavedModel(values.export_path)
    if descriptor and descriptor.num_classes != network.num_classes:
        raise ValueError(
            f"--dataset={values.dataset} has {descriptor.num_classes} classes, the network in"
            f" {values.export_path} {network.num_classes}"
        )
    descriptor = (
        descriptor
        or network.descriptor
        or descriptors.DatasetDescriptor("unknown", network.num_classes, ignore_label=255)
    )
    seen = set()
    for path in paths:
        image = image_files.read(path)
        labels = network.predict(image)
        save_pictures(image, labels, descriptor, values.output_dir, image_files.base_name(path))
        logging.info("%s: %s", path, summary(labels, descriptor))
        seen.update(np.unique(labels).tolist())
    if remark := report.single_class_remark(seen, descriptor.class_names):
        logging.warning(remark)
    logging.info("the pictures are in %s", values.output_dir)


def save_pictures(
    image: "np.ndarray",
    labels: "np.ndarray",
    descriptor: "DatasetDescriptor",
    folder: str,
    name: str,
) -> None:
    """Writes the four pictures of one image.

    Args:
        image: uint8 [height, width, 3], RGB.
        labels: integers [height, width].
        descriptor: names and colours of the classes.
        folder: where the files go; made if it is not there.
        name: what the files' names begin with.
    """
    import numpy as np

    from deeplab.utils import save_annotation
    from deeplab.visualization import panels

    pictures = {
        "labels": labels.astype(np.uint8),
        **panels.pictures(
            image, labels, descriptor.label_colors(), class_names=descriptor.class_names
        ),
    }
    save_annotation.write_pngs(
        {
            os.path.join(folder, f"{name}_{title}.png"): picture
            for title, picture in pictures.items()
        }
    )


def summary(labels: "np.ndarray", descriptor: "DatasetDescriptor") -> str:
    """The classes in a prediction with their shares, the largest first."""
    import numpy as np

    shares = np.bincount(labels.ravel(), minlength=descriptor.num_classes) / labels.size
    names = descriptor.class_names or range(descriptor.num_classes)
    return ", ".join(
        f"{names[label]} {shares[label]:.1%}"
        for label in np.argsort(-shares)
        if shares[label] >= _WORTH_SAYING
    )


def run() -> None:
    """The console command."""
    script.run(main, define_flags, required=("export_path", "images", "output_dir"))


if __name__ == "__main__":
    run()
