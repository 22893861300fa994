"""The files that an export reads and writes."""

import dataclasses
from typing import Annotated

from deeplab.core.options.fields import PositiveInt, validate


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportFiles:
    """The checkpoint to export, facts about it, and the files to write.

    Raises:
        ValueError: A value has another type; the message names the flag.
    """

    checkpoint_path: Annotated[
        str | None,
        "Checkpoint, such as train_log/model.ckpt-30000, or a folder, for its newest checkpoint; or"
        " a DeepLab saved by Keras.",
    ] = None
    export_path: Annotated[
        str | None,
        "Frozen graph if it ends in .pb, ONNX model if it ends in .onnx, otherwise folder of the"
        " SavedModel. An earlier export there is replaced.",
    ] = None
    next_version: Annotated[
        bool,
        "Write the SavedModel to a new folder in --export_path, whose name is one more than the"
        " largest number there.",
    ] = False
    server_config_dir: Annotated[
        str | None,
        "Folder for models.config and monitoring.config of TensorFlow Serving. Default: they are"
        " not written.",
    ] = None
    save_inference_graph: Annotated[
        bool,
        "Also write the graph without its weights, as text, to inference_graph.pbtxt beside a"
        " frozen graph.",
    ] = False
    dataset: Annotated[
        str | None,
        "Name of the dataset, or its JSON descriptor. The export then stores the names and colors"
        " of the classes.",
    ] = None
    test_images: Annotated[
        str | None,
        "Photographs on which the labels of the export are compared with those of the network: as"
        " --images of deeplab-predict, or folder/split of TFRecords. Default: an ONNX model is"
        " compared on drawn images, other exports on noise.",
    ] = None
    num_test_images: Annotated[PositiveInt, "Compare at most this many of --test_images."] = 16

    def __post_init__(self):
        validate(self)
