"""The models of a stand-in server: versions that come and go, warm-up, and batching."""

import contextlib
import dataclasses
import os
import re
import threading
import time
from collections.abc import Collection, Iterator, Mapping

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2, prediction_log_pb2

from deeplab.export import loaded_model

State = get_model_status_pb2.ModelVersionStatus.State
DEFAULT_SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
_WARM_UP_FILE = "assets.extra/tf_serving_warmup_requests"
_MOST_WARM_UP_RECORDS = 1000
_CODES = {code.value[0]: code for code in grpc.StatusCode}

Tensors = Mapping[str, np.ndarray]


class ServingError(Exception):
    """A request that is answered with an error.

    Args:
        code: Its code.
        message: What is wrong.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


@dataclasses.dataclass(frozen=True)
class Batching:
    """Parameters of batches of requests from several clients, from `batching_params.pbtxt`.

    Args:
        max_batch_size: Most rows of a batch.
        timeout_secs: How long a batch waits for more rows.
        pad_variable_length_inputs: Pad tensors of different shapes; otherwise their batch fails.
    """

    max_batch_size: int = 8
    timeout_secs: float = 0.02
    pad_variable_length_inputs: bool = False


@dataclasses.dataclass(frozen=True)
class Polling:
    """Parameters of a server's search for versions.

    Args:
        interval_secs: Time between two looks.
        retries: How often a version whose load failed is loaded again.
        retry_secs: Time between these.
    """

    interval_secs: float = 1.0
    retries: int = 5
    retry_secs: float = 60.0


class Version:
    """A version of a model, loaded and warmed up.

    Args:
        number: Its number.
        path: Its folder.
        batching: How requests share batches. None: each is run alone.

    Raises:
        Exception: It cannot be loaded, or a warm-up request fails.
    """

    def __init__(self, number: int, path: str, batching: Batching | None):
        self.number = number
        self.uses = 0
        with contextlib.ExitStack() as stack:
            loaded = stack.enter_context(loaded_model.opened(path, optimize_once=True))
            self.definitions = dict(loaded.meta_graph.signature_def)
            self.signatures = loaded.signatures
            self._batchers = {
                name: _Batcher(signature, batching)
                for name, signature in self.signatures.items()
                if batching
            }
            self._warm_up(os.path.join(path, _WARM_UP_FILE))
            self._resources = stack.pop_all()

    def _warm_up(self, path: str) -> None:
        if not os.path.exists(path):
            return
        for number, record in enumerate(tf.data.TFRecordDataset([path]), start=1):
            if number > _MOST_WARM_UP_RECORDS:
                raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"{path}: too many records")
            log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
            request = log.predict_log.request
            inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            signature = self.signature(request.model_spec.signature_name)
            _check(signature, inputs, request.output_filter)
            _run(signature, inputs, request.output_filter)

    def signature(self, name: str) -> loaded_model.LoadedSignature:
        """Return a signature, the default one for an empty name."""
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"no signature {name}")
        return self.signatures[name]

    def predict(
        self, name: str, inputs: Tensors, outputs: Collection[str] = ()
    ) -> dict[str, np.ndarray]:
        """Return outputs of a signature."""
        signature = self.signature(name)
        _check(signature, inputs, outputs)
        if not self._batchers:
            return _run(signature, inputs, outputs)
        found = self._batchers[name or DEFAULT_SIGNATURE].run(inputs)
        return {each: found[each] for each in outputs or found}

    def close(self) -> None:
        """Free the memory."""
        self._resources.close()


def _check(
    signature: loaded_model.LoadedSignature, inputs: Tensors, outputs: Collection[str]
) -> None:
    """Reject a request that does not fit to a signature."""
    try:
        signature.check(inputs)
    except ValueError as error:
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
    if unknown := set(outputs) - set(signature.outputs):
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"no output {min(unknown)}")


def _run(
    signature: loaded_model.LoadedSignature, inputs: Tensors, outputs: Collection[str] = ()
) -> dict[str, np.ndarray]:
    try:
        return signature.run(inputs, outputs)
    except tf.errors.OpError as error:
        raise ServingError(_CODES[error.error_code], error.message) from None
    except ValueError as error:
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None


class _Batch:
    def __init__(self):
        self.requests: list[Tensors] = []
        self.rows: list[int] = []
        self.closed = threading.Event()
        self.done = threading.Event()
        self.results: list[dict[str, np.ndarray]] = []
        self.error: ServingError | None = None


class _Batcher:
    """Runs requests that arrive at about the same time as one, joined along dimension 0."""

    def __init__(self, signature: loaded_model.LoadedSignature, options: Batching):
        self._signature = signature
        self._options = options
        self._lock = threading.Lock()
        self._open: _Batch | None = None

    def run(self, inputs: Tensors) -> dict[str, np.ndarray]:
        counts = {value.shape[0] if value.ndim else 0 for value in inputs.values()}
        if len(counts) != 1 or not 0 < (rows := counts.pop()) <= self._options.max_batch_size:
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT, f"{counts or rows} rows do not fit into a batch"
            )
        with self._lock:
            batch = self._open
            if batch and sum(batch.rows) + rows > self._options.max_batch_size:
                batch.closed.set()
                batch = None
            is_first = batch is None
            if batch is None:
                batch = self._open = _Batch()
            place = len(batch.requests)
            batch.requests.append(inputs)
            batch.rows.append(rows)
            if sum(batch.rows) == self._options.max_batch_size:
                batch.closed.set()
                self._open = None
        if is_first:
            batch.closed.wait(self._options.timeout_secs)
            with self._lock:
                if self._open is batch:
                    self._open = None
            self._finish(batch)
        batch.done.wait()
        if batch.error:
            raise ServingError(batch.error.code, batch.error.message)
        return batch.results[place]

    def _finish(self, batch: _Batch) -> None:
        try:
            padded = self._options.pad_variable_length_inputs
            joined = {
                name: _joined(name, [request[name] for request in batch.requests], padded)
                for name in self._signature.inputs
            }
            batch.results = _split(_run(self._signature, joined), batch.rows)
        except ServingError as error:
            batch.error = error
        except Exception as error:
            batch.error = ServingError(grpc.StatusCode.INTERNAL, repr(error))
        finally:
            batch.done.set()


def _joined(name: str, values: list[np.ndarray], padded: bool) -> np.ndarray:
    shapes = {value.shape[1:] for value in values}
    if len(shapes) > 1:
        if not padded or len({len(shape) for shape in shapes}) > 1:
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"the requests of a batch have different shapes of {name}: {sorted(shapes)}",
            )
        largest = np.max(sorted(shapes), axis=0)
        values = [_padded(value, largest) for value in values]
    return np.concatenate(values)


def _padded(value: np.ndarray, shape: np.ndarray) -> np.ndarray:
    fill = b"" if value.dtype == object else 0
    result = np.full((len(value), *shape), fill, value.dtype)
    result[tuple(map(slice, value.shape))] = value
    return result


def _split(outputs: Tensors, rows: list[int]) -> list[dict[str, np.ndarray]]:
    for name, value in outputs.items():
        if not value.ndim or len(value) != sum(rows):
            raise ServingError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"{name} has the shape {value.shape} for a batch of {sum(rows)}",
            )
    ends = np.cumsum(rows)
    return [
        {name: value[end - count : end] for name, value in outputs.items()}
        for end, count in zip(ends, rows, strict=True)
    ]


class Model:
    """A model whose newest version is served.

    A folder whose name is a whole number is a version. The largest is loaded and warmed up; only
    then does it take the place of the one before, which answers what it has begun. A version that
    fails is tried some more times. A loaded version is not read again.

    Args:
        name: What clients call it.
        path: The folder of the versions.
        batching: How requests share batches. None: each is run alone.
        polling: How versions are looked for.
    """

    def __init__(self, name: str, path: str, batching: Batching | None, polling: Polling):
        self.name = name
        self._path = path
        self._batching = batching
        self._polling = polling
        self._changed = threading.Condition()
        self._loaded: dict[int, Version] = {}
        self._states: dict[int, tuple[int, str]] = {}
        self._failures: dict[int, tuple[int, float]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll, name=f"versions of {name}", daemon=True)
        self._thread.start()

    def states(self) -> dict[int, tuple[int, str]]:
        """Return the state of each version, and the message of its error."""
        with self._changed:
            return dict(self._states)

    def wait(self, number: int, state: int = State.AVAILABLE, timeout_secs: float = 120) -> str:
        """Wait until a version is in a state; return the message of its error.

        Raises:
            TimeoutError: It is not.
        """
        with self._changed:
            reached = self._changed.wait_for(
                lambda: self._states.get(number, (None, ""))[0] == state, timeout_secs
            )
            if not reached:
                raise TimeoutError(f"version {number} of {self.name}: {self._states}")
            return self._states[number][1]

    @contextlib.contextmanager
    def version(self, number: int | None = None) -> Iterator[Version]:
        """Yield a version, the newest by default, which stays loaded until the block ends."""
        with self._changed:
            chosen = max(self._loaded, default=None) if number is None else number
            if chosen not in self._loaded:
                raise ServingError(
                    grpc.StatusCode.NOT_FOUND, f"no version {chosen} of {self.name} is served"
                )
            found = self._loaded[chosen]
            found.uses += 1
        try:
            yield found
        finally:
            with self._changed:
                found.uses -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Answer what was begun, and unload all versions."""
        self._ended.set()
        self._thread.join()
        for number in list(self._loaded):
            self._unload(number)

    def _poll(self) -> None:
        while not self._ended.is_set():
            names = os.listdir(self._path) if os.path.isdir(self._path) else []
            numbers = [int(name) for name in names if re.fullmatch("[0-9]+", name)]
            if numbers and (number := max(numbers)) not in self._loaded and self._may_load(number):
                names = [name for name in names if re.fullmatch("[0-9]+", name)]
                self._load(number, next(name for name in names if int(name) == number))
            self._ended.wait(self._polling.interval_secs)

    def _may_load(self, number: int) -> bool:
        count, last = self._failures.get(number, (0, 0.0))
        waited = time.monotonic() - last >= self._polling.retry_secs
        return count == 0 or (count <= self._polling.retries and waited)

    def _load(self, number: int, name: str) -> None:
        self._set(number, State.LOADING)
        try:
            version = Version(number, os.path.join(self._path, name), self._batching)
        except Exception as error:
            count, _ = self._failures.get(number, (0, 0.0))
            self._failures[number] = count + 1, time.monotonic()
            self._set(number, State.END, str(error))
            return
        with self._changed:
            others = list(self._loaded)
            self._loaded[number] = version
        self._set(number, State.AVAILABLE)
        for other in others:
            self._unload(other)

    def _unload(self, number: int) -> None:
        self._set(number, State.UNLOADING)
        with self._changed:
            version = self._loaded.pop(number)
            self._changed.wait_for(lambda: not version.uses)
        version.close()
        self._set(number, State.END)

    def _set(self, number: int, state: int, message: str = "") -> None:
        with self._changed:
            self._states[number] = state, message
            self._changed.notify_all()
