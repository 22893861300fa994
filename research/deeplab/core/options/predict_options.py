"""The network, the images and the results of predictions."""

import dataclasses
from typing import Annotated, Literal

from deeplab.core.options.device_options import DeviceOptions
from deeplab.core.options.fields import InOneFlag
from deeplab.core.options.runner_options import RunnerOptions
from deeplab.core.options.server_options import ServerOptions
from deeplab.core.options.window_options import WindowOptions

Output = Literal["labels", "prediction", "overlay", "panel", "json", "records"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictOptions(ServerOptions, DeviceOptions, RunnerOptions):
    """The network and the images of predictions, and the files to write.

    Example:
        options = PredictOptions(
            export_path="export/1", images="photos", output_dir="predictions", outputs=("json",)
        )

    Raises:
        ValueError: A value is out of range, has no effect, or contradicts another one; the message
            names the flag.
    """

    export_path: Annotated[
        str | None,
        "The network: folder of a SavedModel or of its versions, a .pb, .tflite or .onnx file, or a"
        " checkpoint. Default: that of --server.",
    ] = None
    images: Annotated[
        str | None,
        "Images and videos: a folder, a pattern such as 'photos/*.jpg', paths separated by commas,"
        " or a .txt file with one path per line. For a pipeline, TFRecords too.",
    ] = None
    output_dir: Annotated[str | None, "Folder for the results."] = None
    outputs: Annotated[
        tuple[Output, ...],
        InOneFlag(),
        "Results to write, separated by commas: labels (a PNG file of the labels), prediction (of"
        " their colors), overlay (the colors over the image; of a video, a video), panel (all of"
        " them with a legend), json (predictions.json, the classes of each image and their"
        " shares; of a pipeline, JSON lines), records (of a pipeline: TFRecords of the images with"
        " these labels).",
    ] = ("labels", "prediction", "overlay", "panel")
    dataset: Annotated[
        str | None,
        "Name of the dataset, or its JSON descriptor, that defines names and colors of the classes."
        " Default: the one stored with the network.",
    ] = None
    exif_orientation: Annotated[
        bool,
        "Turn images as their EXIF data says, as viewers show them. --noexif_orientation: take the"
        " pixels as they are stored, as training does.",
    ] = True
    window: Annotated[WindowOptions | None, "Windows of larger images. Default: whole images."] = (
        None
    )

    def __post_init__(self):
        super().__post_init__()
        self._check_runner()
        if not self.server:
            return
        if self.export_path:
            raise ValueError(
                f"--export_path={self.export_path} and --server={self.server} both name a network:"
                " remove one of them"
            )
        if self.window:
            raise ValueError(
                "--window is for --export_path; for a server, give it to deeplab-export-model"
            )
        if self.num_clones > 1 or self.clone_on_cpu:
            raise ValueError(
                f"--{'clone_on_cpu' if self.clone_on_cpu else 'num_clones'} is for --export_path;"
                " a server has devices of its own"
            )

    def _check_runner(self) -> None:
        """Reject options of a pipeline without one, and options that a pipeline cannot follow."""
        RunnerOptions.__post_init__(self)
        if self.runner != "beam":
            if "records" in self.outputs:
                raise ValueError("--outputs=records is for --runner=beam")
            return
        for flag, is_given in {
            "server": self.server,
            "num_clones": self.num_clones > 1,
            "clone_on_cpu": self.clone_on_cpu,
        }.items():
            if is_given:
                raise ValueError(f"--{flag} is for --runner=local; a pipeline has its own workers")
