"""Requests to a loaded export: its warm-up requests, an image, and a bad image."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from deeplab.core import error_text
from deeplab.export import decoding, inference_graph, loaded_model, signatures, warm_up
from deeplab.serving.findings import ExportFindings

# A server refuses an export with more warm-up records.
_MOST_RECORDS = 1000
# How far the probabilities of a pixel may sum to something else than one.
_SUM_TOLERANCE = 1e-2
# Share of pixels that may differ: signatures may break ties between classes differently.
_LABEL_TOLERANCE = 1e-2
_PIXEL_TYPES = (tf.uint8, tf.int32, tf.float32)
# Results with at most this many numbers are shown in full.
_SHOWN_VALUES = 8
# A file that is not an image.
_NO_IMAGE = b"no image"


@dataclasses.dataclass(frozen=True)
class Trial:
    """A request that was sent twice.

    Args:
        signature: The signature.
        rows: Number of images.
        seconds: Time of the first and of the second call; empty if it failed.
        error: The error message; "" if there was no error.
        record: Number of its warm-up record, counted from 1; None for an image.
        result: Description of the outputs.
    """

    signature: str
    rows: int
    seconds: tuple[float, ...] = ()
    error: str = ""
    record: int | None = None
    result: str = ""


def _call(
    signature: loaded_model.LoadedSignature, inputs: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], tuple[float, float]]:
    """Return the outputs, and the seconds of two calls."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        outputs = signature.run(inputs)
        seconds.append(time.perf_counter() - start)
    return outputs, tuple(seconds)


# Errors of operations, and those of a request that does not fit the signature.
_ERRORS = (tf.errors.OpError, ValueError, TypeError)


def replay(path: str, loaded: loaded_model.LoadedModel, findings: ExportFindings) -> list[Trial]:
    """Send the warm-up requests of an export, as a server does after loading.

    Args:
        path: Folder of the export.
        loaded: The export.
        findings: List to which new findings are added.
    """
    try:
        requests = warm_up.read(path)
    except warm_up.OtherRequest as error:
        findings.warn("warm_up", f"{error}: the warm-up requests were not tried")
        return []
    except ValueError as error:
        findings.fault("warm_up", f"{error}: a server would not load this version")
        return []
    if not requests:
        findings.warn(
            "no_warm_up",
            f"{warm_up.FILE} has no requests, or is not there: the first request to each signature"
            " is slow",
        )
        return []
    if len(requests) > _MOST_RECORDS:
        findings.fault("warm_up", f"{len(requests)} warm-up requests; a server takes 1000")
    trials = []
    for number, request in enumerate(requests[:_MOST_RECORDS], start=1):
        name = request.signature or signatures.DEFAULT
        rows = max((len(value) for value in request.inputs.values() if value.ndim), default=0)
        signature = loaded.signatures.get(name)
        try:
            if signature is None:
                raise ValueError("no such signature")
            signature.check(request.inputs)
            _, seconds = _call(signature, request.inputs)
            trials.append(Trial(name, rows, seconds, record=number))
        except _ERRORS as error:
            reason = error_text.one_line(error)
            trials.append(Trial(name, rows, error=reason, record=number))
            findings.fault(
                "warm_up",
                f"warm-up request {number}, to {name}, fails, so that a server would not load this"
                f" version: {reason}",
            )
        if rows > 1:
            findings.warn("warm_up", f"warm-up request {number}, to {name}, is a batch of {rows}")
    unheated = sorted(set(loaded.signatures) - {trial.signature for trial in trials})
    if unheated:
        findings.note("no_warm_up", f"no warm-up request calls {', '.join(unheated)}")
    return trials


def with_image(
    loaded: loaded_model.LoadedModel, image: np.ndarray, is_own: bool, findings: ExportFindings
) -> list[Trial]:
    """Send an image to every signature, and a bad image as well to those that take files.

    Args:
        loaded: The export.
        image: uint8 [height, width, 3], RGB.
        is_own: Whether `deeplab-export-model` wrote it. For other models the input is a guess, so
            an error is only a warning.
        findings: List to which new findings are added.
    """
    add = findings.fault if is_own else findings.warn
    trials, labels = [], {}
    for name, signature in loaded.signatures.items():
        inputs = _inputs(signature, [image])
        if inputs is None:
            findings.note("not_tried", f"the inputs of {name} are not those of an image")
            continue
        try:
            outputs, seconds = _call(signature, inputs)
        except _ERRORS as error:
            reason = error_text.one_line(error)
            trials.append(Trial(name, 1, error=reason))
            add("signature", f"{name} fails for an image: {reason}")
            continue
        for problem in _problems(outputs, image):
            add("outputs", f"{name}: {problem}")
        if (found := _labels(outputs)) is not None:
            labels[name] = found
        trials.append(Trial(name, 1, seconds, result=_described(outputs)))
        if _takes_files(signature):
            trials.append(_with_bad_image(name, signature, image, outputs, findings))
    _compare(labels, findings)
    return trials


def _takes_files(signature: loaded_model.LoadedSignature) -> bool:
    (spec,) = signature.inputs.values()
    return spec.dtype == tf.string


def _inputs(
    signature: loaded_model.LoadedSignature, images: Sequence[np.ndarray]
) -> dict[str, Any] | None:
    """Return images as the input of a signature; None if it does not take images."""
    if len(signature.inputs) != 1:
        return None
    ((name, spec),) = signature.inputs.items()
    if spec.dtype == tf.string and spec.shape.rank == 1:
        return {name: [_png(image) for image in images]}
    if spec.dtype not in _PIXEL_TYPES or spec.shape.rank != 4 or spec.shape[-1] not in (3, None):
        return None
    batch, height, width, _ = spec.shape
    if batch not in (None, len(images)):
        return None
    sized = [cv2.resize(each, (width or each.shape[1], height or each.shape[0])) for each in images]
    return {name: np.stack(sized).astype(spec.dtype.as_numpy_dtype)}


def _png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def _labels(outputs: Mapping[str, np.ndarray], row: int = 0) -> np.ndarray | None:
    """Return the labels of an image; None if they are in colors or not there."""
    if inference_graph.PREDICTIONS in outputs:
        return outputs[inference_graph.PREDICTIONS][row]
    if signatures.LABEL_PNG in outputs:
        data = np.frombuffer(outputs[signatures.LABEL_PNG][row], np.uint8)
        return cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    return None


def _described(outputs: Mapping[str, np.ndarray]) -> str:
    """Return a description of the outputs."""
    parts = []
    for name, value in outputs.items():
        if value.dtype == object:
            parts.append(f"{name} {sum(map(len, value.ravel()))} bytes")
        elif value.dtype.kind in "iu" and 0 < value.size <= _SHOWN_VALUES:
            parts.append(f"{name} {value.tolist()}")
        else:
            parts.append(f"{name} {'x'.join(map(str, value.shape[1:]))}")
    return ", ".join(parts)


def _problems(outputs: Mapping[str, np.ndarray], image: np.ndarray) -> list[str]:
    """Return the faults in the outputs for an image."""
    problems = []
    for name, value in outputs.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            problems.append(f"{name} is not finite")
    probabilities = outputs.get(inference_graph.PROBABILITIES)
    if probabilities is not None and np.isfinite(probabilities).all():
        worst = np.abs(probabilities.sum(axis=-1) - 1).max(initial=0)
        if worst > _SUM_TOLERANCE:
            problems.append(
                f"{inference_graph.PROBABILITIES} of a pixel do not sum to one, by {worst:.2g}"
            )
    status = outputs.get(signatures.STATUS)
    if status is not None and status.tolist() != [decoding.FINE]:
        problems.append(f"{signatures.STATUS} is {status.tolist()} for an image that is fine")
        return problems
    labels = _labels(outputs)
    if labels is not None and labels.shape != image.shape[:2]:
        size = "x".join(map(str, labels.shape))
        problems.append(f"the labels are {size} for an image of {image.shape[0]}x{image.shape[1]}")
    return problems


def _with_bad_image(
    name: str,
    signature: loaded_model.LoadedSignature,
    image: np.ndarray,
    alone: Mapping[str, np.ndarray],
    findings: ExportFindings,
) -> Trial:
    """Send a batch of the image, a bad one, and a smaller one."""
    ((given, _),) = signature.inputs.items()
    height, width = image.shape[:2]
    smaller = cv2.resize(image, (max(1, width // 2), max(1, height * 2 // 3)))
    batch = {given: [_png(image), _NO_IMAGE, _png(smaller)]}
    try:
        outputs, seconds = _call(signature, batch)
    except _ERRORS as error:
        reason = error_text.one_line(error)
        findings.warn(
            "bad_image",
            f"{name} fails for a batch with one bad image, so with batching in the server one"
            f" client fails the others: {reason}",
        )
        return Trial(name, 3, error=reason)
    status = outputs.get(signatures.STATUS)
    expected = [decoding.FINE, decoding.UNKNOWN_FORMAT, decoding.FINE]
    if status is None:
        findings.warn("bad_image", f"{name} does not tell which images of a batch are bad")
    elif status.tolist() != expected:
        findings.fault(
            "bad_image", f"{name}: {signatures.STATUS} is {status.tolist()} in place of {expected}"
        )
    elif not _same_first(outputs, alone, height, width):
        findings.fault("bad_image", f"{name}: a bad image changes the result of another one")
    return Trial(name, 3, seconds, result=_described(outputs))


def _same_first(
    outputs: Mapping[str, np.ndarray], alone: Mapping[str, np.ndarray], height: int, width: int
) -> bool:
    """Return whether the first image of a batch has the result that it has alone."""
    for name, value in alone.items():
        # In a batch, labels and probabilities are padded.
        found = outputs[name][0]
        if np.ndim(found) >= 2:
            found = found[:height, :width]
        if value.dtype.kind == "f":
            is_same = np.allclose(found, value[0], atol=_SUM_TOLERANCE, equal_nan=True)
        else:
            is_same = np.array_equal(found, value[0])
        if not is_same:
            return False
    return True


def _compare(labels: Mapping[str, np.ndarray], findings: ExportFindings) -> None:
    """Compare the labels of all signatures with those of the first."""
    names = list(labels)
    for name in names[1:]:
        first, other = labels[names[0]], labels[name]
        if first.shape != other.shape:
            continue
        share = float(np.mean(first != other)) if first.size else 0.0
        if share > _LABEL_TOLERANCE:
            findings.fault(
                "outputs",
                f"{name} and {names[0]} give {share:.1%} of the pixels different labels",
            )
