r"""Converts a frozen graph of `export_model.py` to TensorFlow Lite, and compares the two.

A float graph becomes a model of floats, or with --int8 one of 8-bit integers, whose ranges are
measured on photographs. A graph with fake-quantization operations becomes a model of 8-bit integers
with the ranges of training. The model takes images of the --crop_size that the graph was exported
with.

Example:
    python deeplab/convert_to_tflite.py \
        --quantized_graph_def_path=frozen_inference_graph.pb --output_tflite_path=deeplab.tflite \
        --test_image_path=photo.jpg
"""

from collections.abc import Sequence

from absl import flags

from deeplab import common
from deeplab.cli import script
from deeplab.core.options import LiteOptions


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script (official `convert_to_tflite.py`)."""
    define = common.definer("deeplab.convert_to_tflite", flag_values)
    define("string", "quantized_graph_def_path", None, "Frozen graph, quantized or float.")
    define("string", "output_tflite_path", None, "File to write the TensorFlow Lite model to.")
    define(
        "string",
        "input_tensor_name",
        None,
        "Input tensor of the model. Default: the backbone's input, such as"
        " MobilenetV2/MobilenetV2/input:0.",
    )
    define(
        "string",
        "output_tensor_name",
        "ArgMax:0",
        "Output tensor of the model. Default: the predicted labels.",
    )
    common.define_options(define, LiteOptions)


def main(argv: Sequence[str]) -> None:
    """Convert a frozen graph according to the flags."""
    del argv
    values = flags.FLAGS
    if not values.quantized_graph_def_path:
        raise ValueError(
            "--quantized_graph_def_path must be given: a frozen graph, as export_model writes it"
        )

    from deeplab.export import tflite

    tflite.convert_file(
        values.quantized_graph_def_path,
        values.output_tflite_path,
        values.input_tensor_name,
        values.output_tensor_name,
        LiteOptions(**common.option_values(LiteOptions, values)),
    )


def run() -> None:
    """Parse the flags and run `main`."""
    script.run(main, define_flags)


if __name__ == "__main__":
    run()
