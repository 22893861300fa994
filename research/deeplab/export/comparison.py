"""Compares an export with its network, on an image of noise and on photographs."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from deeplab import model
from deeplab.core import error_text
from deeplab.core.options import InferenceOptions, WindowOptions
from deeplab.export import (
    agreement,
    decoding,
    inference_graph,
    loaded_model,
    photographs,
    runtimes,
    signatures,
    warm_up,
)
from deeplab.export.export_details import ExportDetails

# Sums in another order change results a little: probabilities by at most this much, and labels of
# at most this share of pixels, where two classes are equally likely.
_PROBABILITY_TOLERANCE = 1e-3
_LABEL_TOLERANCE = 1e-3
# bfloat16 has only 8 digits, which can change a lot at single pixels. So here the difference of the
# probabilities is the mean over the pixels. On the drawn image, a good network for CamVid has
# 0.036, and other labels at 5 % of the pixels, at 9 % before resizing; on photographs at 0.5 %.
_BFLOAT16_PROBABILITY_TOLERANCE = 0.15
_BFLOAT16_LABEL_TOLERANCE = 0.2
_REAL_NUMBERS = (
    inference_graph.PROBABILITIES,
    inference_graph.RAW_PROBABILITIES,
    inference_graph.LOGITS,
)
# Side of the image to compare on, for a network without a crop size.
_TEST_SIZE = 129

Outputs = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Signature:
    """A signature of a SavedModel.

    Attributes:
        takes_files: Whether its input is the contents of image files, not pixels.
        run: Takes the input and returns the outputs by their names.
    """

    takes_files: bool
    run: Callable[[Any], Outputs]


def crop_size(net: model.DeepLab) -> tuple[int, int]:
    """Return the size of images that need no padding."""
    return net.options.crop_size or (_TEST_SIZE, _TEST_SIZE)


def test_images(
    net: model.DeepLab,
    window: WindowOptions | None = None,
    precision: str = "float32",
    max_pixels: int | None = None,
) -> np.ndarray:
    """Return one image of noise, uint8 [1, H, W, 3], that has to be padded.

    With a window, it is higher and narrower than the window. It has at most `max_pixels` pixels, as
    many as the signatures for files take. For bfloat16 it is a drawn photograph, because on noise
    too many labels would depend on the missing digits.
    """
    height, width = crop_size(net)
    height = -(-3 * height // 4)
    if window:
        height, width = (-(-5 * window.size[0] // 4), -(-3 * min(width, window.size[1]) // 4))
    height, width = decoding.limited((height, width), max_pixels)
    if precision != "float32":
        return photographs.drawn((height, width))[0].image[np.newaxis]
    noise = np.random.default_rng(0).integers(0, 256, (1, height, width, 3))
    return noise.astype(np.uint8)


def expected(net: model.DeepLab, images: np.ndarray, inference: InferenceOptions) -> Outputs:
    """Return the outputs of the network itself.

    Raises:
        ValueError: They are not finite.
    """
    outputs = inference_graph.predict_outputs(net, tf.constant(images), inference)
    values = {name: tensor.numpy() for name, tensor in outputs.items()}
    if not np.isfinite(values[inference_graph.PROBABILITIES]).all():
        raise ValueError(
            "the network's probabilities are not finite: the checkpoint holds weights that are"
            " infinite or not a number"
        )
    return values


def compare(title: str, outputs: Outputs, wanted: Outputs, precision: str = "float32") -> None:
    """Reject outputs that differ from those of the network.

    Args:
        title: Name of the export, for messages.
        outputs: Outputs of the export by name.
        wanted: Outputs of the network by name. Others are ignored.
        precision: Type in which the features were computed.

    Raises:
        ValueError: An output has a different shape, or differs by more than rounding explains.
    """
    exact = precision == "float32"
    probability_tolerance = _PROBABILITY_TOLERANCE if exact else _BFLOAT16_PROBABILITY_TOLERANCE
    remedy = "" if exact else "; leave out --precision=bfloat16 to export in float32"
    for name, values in outputs.items():
        values, right = np.asarray(values), np.asarray(wanted[name])
        if values.shape != right.shape:
            raise ValueError(
                f"{title}: {name} has the shape {list(values.shape)}, but {list(right.shape)} in"
                " the network; nothing was exported"
            )
        if name in _REAL_NUMBERS:
            tolerance = probability_tolerance
            differences = np.abs(values - right).max(axis=-1)
            difference = differences.max() if exact else differences.mean()
            if name == inference_graph.LOGITS:
                difference /= np.abs(right).max()
        else:
            tolerance = _LABEL_TOLERANCE if exact else _BFLOAT16_LABEL_TOLERANCE
            difference = np.mean(values != right) if values.size else 0.0
        if not difference <= tolerance:
            raise ValueError(
                f"{title}: {name} differs from the network's by {difference:.2g}, more than"
                f" {tolerance:g}; nothing was exported{remedy}"
            )


def compare_labels(
    title: str,
    net: model.DeepLab,
    inference: InferenceOptions,
    details: ExportDetails,
    network: runtimes.Network,
    *,
    required: bool = True,
) -> None:
    """Compare an export's labels on photographs with those of its network; print how many agree.

    Args:
        title: Name of the export, for messages.
        net: The network.
        inference: How it is applied.
        details: The photographs, and the dataset for its ignore label.
        network: The export.
        required: Whether too many different labels are an error.

    Raises:
        ValueError: Too many labels differ.
    """

    def predictions() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        for photo in details.photos or ():
            outputs = expected(net, photo.image[np.newaxis], inference)
            labels = outputs[inference_graph.PREDICTIONS][0]
            yield labels, network.predict(photo.image), photo.label

    ignore_label = details.descriptor.ignore_label if details.descriptor else None
    found = agreement.measure(predictions(), net.options.num_classes, ignore_label)
    print(f"{title}: {found}")
    if required:
        agreement.require(title, found)


@contextlib.contextmanager
def open_frozen_graph(path: str) -> Iterator[Callable[[np.ndarray], Outputs]]:
    """Yield a function from images, uint8 [1, H, W, 3], to the outputs of a frozen graph."""
    with open(path, "rb") as file:
        graph_def = tf.compat.v1.GraphDef.FromString(file.read())
    with tf.Graph().as_default() as graph:
        tf.compat.v1.import_graph_def(graph_def, name="")
    outputs = {name: f"{name}:0" for name in inference_graph.OUTPUTS}
    # As a context manager, the session would make its graph the default one.
    with contextlib.closing(tf.compat.v1.Session(graph=graph)) as session:
        yield lambda images: session.run(outputs, {f"{inference_graph.INPUT}:0": images})


@contextlib.contextmanager
def open_saved_model(path: str) -> Iterator[dict[str, Signature]]:
    """Yield the signatures of a SavedModel as a server runs them: in a session, by their names."""
    with loaded_model.opened(path, optimize_once=True) as loaded:

        def signature(found: loaded_model.LoadedSignature) -> Signature:
            ((name, given),) = found.inputs.items()
            return Signature(given.dtype == tf.string, lambda value: found.run({name: value}))

        yield {name: signature(found) for name, found in loaded.signatures.items()}


def check_saved_model(
    title: str,
    path: str,
    images: np.ndarray,
    wanted: Outputs,
    colors: np.ndarray,
    precision: str = "float32",
) -> None:
    """Reject a SavedModel whose results differ from those of its network, or that fails to warm up.

    Args:
        title: Its final path, for messages.
        path: Its present path.
        images: uint8 [1, H, W, 3].
        wanted: Outputs of the network for these images.
        colors: See `signatures.signatures`.
        precision: Type in which the features are computed.

    Raises:
        ValueError: The results of a signature differ, or a warm-up request fails.
    """
    labels = wanted[inference_graph.PREDICTIONS]
    wanted = {
        **wanted,
        signatures.STATUS: [0],
        signatures.IMAGE_SIZE: [images.shape[1:3]],
        signatures.LABEL_PNG: labels,
        signatures.COLOR_LABEL_PNG: colors[labels],
    }
    encoded = [tf.io.encode_png(images[0]).numpy()]
    requests = warm_up.read(path)
    with open_saved_model(path) as loaded:
        for name, signature in sorted(loaded.items()):
            outputs = dict(signature.run(encoded if signature.takes_files else images))
            for png in {signatures.LABEL_PNG, signatures.COLOR_LABEL_PNG} & set(outputs):
                outputs[png] = _pixels(outputs[png][0])[np.newaxis]
            compare(f"{title}, signature {name}", outputs, wanted, precision)
        for request in requests:
            (value,) = request.inputs.values()
            try:
                loaded[request.signature].run(value)
            except tf.errors.OpError as error:
                raise ValueError(
                    f"{title}: the warm-up request to {request.signature} fails:"
                    f" {error_text.one_line(error)}; nothing was exported"
                ) from None


def _pixels(png: bytes) -> np.ndarray:
    """Return the pixels of a PNG file as they are stored, colors in the order RGB."""
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    return pixels[..., ::-1] if pixels.ndim == 3 else pixels
