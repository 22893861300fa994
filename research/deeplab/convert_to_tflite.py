r"""Converts a frozen graph of `export_model.py` to TensorFlow Lite, and compares the two.

A float graph becomes a float model; a graph that holds fake-quantisation operations becomes a model
of 8-bit integers. The model takes images of the --crop_size that the graph was exported with.

Example:
    python deeplab/convert_to_tflite.py \
        --quantized_graph_def_path=frozen_inference_graph.pb --output_tflite_path=deeplab.tflite \
        --test_image_path=photo.jpg
"""

from collections.abc import Sequence

from absl import flags, logging

from deeplab import common
from deeplab.cli import script


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of this script (official `convert_to_tflite.py`)."""
    define = common.definer("deeplab.convert_to_tflite", flag_values)
    define(
        "string", "quantized_graph_def_path", None, "Path of the frozen graph, quantised or float."
    )
    define("string", "output_tflite_path", None, "Path of the TensorFlow Lite model.")
    define(
        "string",
        "input_tensor_name",
        None,
        "Tensor that the model takes. Default: the backbone's input, such as"
        " MobilenetV2/MobilenetV2/input:0.",
    )
    define(
        "string",
        "output_tensor_name",
        "ArgMax:0",
        "Tensor that the model gives. Default: the labels, where the network finds them.",
    )
    define(
        "string",
        "test_image_path",
        None,
        "Image on which to compare the labels of the model with those of the graph.",
    )
    define("bool", "dynamic_range", False, "Store the weights of a float graph in 8 bits.")


def main(argv: Sequence[str]) -> None:
    """Converts."""
    del argv
    values = flags.FLAGS
    if not values.quantized_graph_def_path:
        raise ValueError(
            "--quantized_graph_def_path names no frozen graph; export_model writes one"
        )

    from deeplab.datasets import image_files
    from deeplab.export import tflite
    from deeplab.utils import files

    path, output_tensor = values.quantized_graph_def_path, values.output_tensor_name
    image = image_files.read(values.test_image_path) if values.test_image_path else None
    graph_def = tflite.read_graph(path)
    input_tensor = values.input_tensor_name or tflite.backbone_input(graph_def)
    model = tflite.convert(graph_def, input_tensor, output_tensor, values.dynamic_range)
    if image is not None:
        share = tflite.agreement(graph_def, model, image, input_tensor, output_tensor)
        print(f"{share:.2%} of the pixels have the same label as in {path}")
    if values.output_tflite_path:
        files.write_bytes(values.output_tflite_path, model)
        logging.info("wrote %s (%d bytes)", values.output_tflite_path, len(model))
    else:
        logging.warning("the model is not kept: --output_tflite_path does not say where")


def run() -> None:
    """The console command."""
    script.run(main, define_flags)


if __name__ == "__main__":
    run()
