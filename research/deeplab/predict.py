r"""Predicts the classes of images with a SavedModel of `export_model.py`, and saves pictures.

For each image, it writes these files to --output_dir: <name>_labels.png (the labels in grayscale),
<name>_prediction.png (the labels in the colors of the classes), <name>_overlay.png (these colors
over the image) and <name>_panel.png (all of them side by side, with a legend).

Example:
    python deeplab/predict.py \
        --export_path=export/1 --images='photos/*.jpg' --output_dir=predictions
"""

from collections.abc import Sequence

from absl import flags

from deeplab import common
from deeplab.cli import network_flags, script
from deeplab.core.options import DeviceOptions


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script."""
    define = common.definer("deeplab.predict", flag_values)
    define("string", "export_path", None, "Folder of the SavedModel.")
    define(
        "string",
        "images",
        None,
        "Images: a folder, a pattern such as 'photos/*.jpg', paths separated by commas, or a .txt"
        " file with one path per line.",
    )
    define(
        "bool",
        "exif_orientation",
        True,
        "Turn images as their EXIF data say, as viewers show them. --noexif_orientation: take the"
        " pixels as they are stored, as training does.",
    )
    define("string", "output_dir", None, "Folder for the pictures.")
    define(
        "string",
        "dataset",
        None,
        "Name of the dataset, or its JSON descriptor, that defines names and colors of the classes."
        " Default: the one stored in the export.",
    )
    common.define_options(define, DeviceOptions)
    network_flags.define_windows(define)


def main(argv: Sequence[str]) -> None:
    """Predict the labels of images, and save them."""
    del argv
    values = flags.FLAGS
    window = network_flags.window_options(values)

    from deeplab.serving import prediction

    prediction.predict(
        values.export_path,
        values.images,
        values.output_dir,
        values.dataset,
        values.exif_orientation,
        DeviceOptions(**common.option_values(DeviceOptions, values)),
        window,
    )


def run() -> None:
    """Parse the flags and run `main`."""
    script.run(main, define_flags, required=("export_path", "images", "output_dir"))


if __name__ == "__main__":
    run()
