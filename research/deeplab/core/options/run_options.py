"""The files that a training run reads and writes, and its devices."""

import dataclasses
from typing import Annotated, Literal

from deeplab.core.options.data_options import DataOptions
from deeplab.core.options.device_options import Count, DeviceOptions
from deeplab.core.options.fields import NonNegativeInt, Range, Size, validate


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions(DataOptions, DeviceOptions):
    """The files that a training run reads and writes, and its devices.

    Names and defaults are those of the official train flags.

    Raises:
        ValueError: A value is out of range; the message names the flag.
    """

    # --- The data ---
    train_crop_size: Annotated[Size, "Height,width of the crops."] = (513, 513)

    # --- The checkpoints ---
    train_logdir: Annotated[str | None, "Folder for checkpoints and logs."] = None
    tf_initial_checkpoint: Annotated[
        str | None,
        "Checkpoint to start from, or a DeepLab saved by Keras; or, for VGG-16, a weights file of"
        " Keras' VGG16.",
    ] = None
    initialize_last_layer: Annotated[
        bool, "Also start the last layers from --tf_initial_checkpoint."
    ] = True

    # --- Evaluation during training ---
    eval_every: Annotated[
        NonNegativeInt,
        "Evaluate every this many steps and after the last one, and keep the best checkpoint."
        " 0: never.",
    ] = 0
    eval_split: Annotated[str, "Split to evaluate on with --eval_every."] = "val"
    eval_crop_size: Annotated[Size, "Height,width of the images of --eval_every."] = (513, 513)

    # --- Hosts and precision ---
    num_replicas: Annotated[Count, "Number of hosts, whose addresses are in TF_CONFIG."] = 1
    task: Annotated[
        int, Range(at_least=0, at_most=65535), "Number of this host. Default: as in TF_CONFIG."
    ] = 0
    precision: Annotated[
        Literal["float32", "mixed_bfloat16", "mixed_float16"],
        "Type that the network computes in. mixed_bfloat16 keeps in float32 what is slower in"
        " bfloat16 on this machine; mixed_float16 scales the loss dynamically.",
    ] = "float32"
    deterministic_ops: Annotated[
        bool,
        "Use only operations whose results are the same in every run, also on a GPU; slower there.",
    ] = False

    def __post_init__(self):
        validate(self)
