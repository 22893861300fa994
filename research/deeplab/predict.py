r"""Predicts the classes of images and videos, with a network or a running server.

The network is a SavedModel of `export_model.py`, another of its forms, or a checkpoint; or that of
a TensorFlow Serving. For each image, these files are written to --output_dir: <name>_labels.png
(the labels in grayscale), <name>_prediction.png (the labels in the colors of the classes),
<name>_overlay.png (these colors over the image) and <name>_panel.png (all of them side by side,
with a legend); for each video <name>_overlay.mp4. --outputs chooses among them, and can add
predictions.json.

Examples:
    python deeplab/predict.py \
        --export_path=export/1 --images='photos/*.jpg' --output_dir=predictions
    python deeplab/predict.py \
        --server=localhost:8500 --images=clip.mp4 --output_dir=predictions
"""

from collections.abc import Sequence

from absl import flags

from deeplab import common
from deeplab.cli import network_flags, script
from deeplab.core.options import PredictOptions


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script."""
    define = common.definer("deeplab.predict", flag_values)
    common.define_options(define, PredictOptions, leave_out=("window",))
    network_flags.define_windows(define)


def main(argv: Sequence[str]) -> None:
    """Predict images and videos according to the flags."""
    del argv
    values = flags.FLAGS
    window = network_flags.window_options(values)
    given = common.option_values(PredictOptions, values) | {"window": window}
    options = PredictOptions(**given)
    if not (options.export_path or options.server):
        raise ValueError("give --export_path (a network) or --server (a running server)")

    from deeplab.serving import prediction

    prediction.predict(options)


def run() -> None:
    """Parse the flags and run `main`."""
    script.run(main, define_flags, required=("images", "output_dir"))


if __name__ == "__main__":
    run()
