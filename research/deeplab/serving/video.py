"""Videos: frames that are read and written with OpenCV."""

import contextlib
import dataclasses
import errno
import itertools
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from deeplab.core import regular_files
from deeplab.datasets import images
from deeplab.utils import file_systems, files, temporary_files

# Extensions of the files that count as videos.
EXTENSIONS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
# Containers and codecs, the preferred one first. The last one needs nothing but OpenCV.
_FORMATS = ((".mp4", "mp4v"), (".avi", "MJPG"))
# The speed of a video whose file does not state it.
_FRAMES_PER_SECOND = 25.0
_MOST_FRAMES_PER_SECOND = 1000.0
# A disk with fewer free bytes counts as full, because videos are written in blocks.
_FULL = 2**20
# The variable that tells OpenCV's video library what to log, and the value for nothing.
_LIBRARY_LOG, _QUIET = "OPENCV_FFMPEG_LOGLEVEL", "-8"


class Unreadable(ValueError):
    """A video that OpenCV cannot read, or that is not on this machine."""


@dataclasses.dataclass(frozen=True)
class VideoFacts:
    """Speed and length of a video, as it says itself.

    Args:
        frames_per_second: Its speed.
        count: Number of frames that the file states, which may be wrong; None if it states none.
    """

    frames_per_second: float
    count: int | None


def is_video(path: str) -> bool:
    """Return whether a path has the name of a video."""
    return path.lower().endswith(EXTENSIONS)


@contextlib.contextmanager
def reading(path: str) -> Iterator[tuple[VideoFacts, Iterator[np.ndarray]]]:
    """Yield the facts of a video, and its frames, uint8 [height, width, 3], RGB.

    Args:
        path: The file.

    Raises:
        Unreadable: OpenCV cannot read the file, or it is not on this machine.
    """
    if file_systems.is_remote(path):
        raise Unreadable(f"video {path} is not on this machine: OpenCV cannot read it; copy it")
    if not _is_text(path):
        raise Unreadable(f"video {path} has a name that is not UTF-8: rename it")
    try:
        regular_files.require(path)
    except OSError as error:
        raise Unreadable(f"video {error}") from None
    with _without_remarks():
        capture = cv2.VideoCapture(path)
        try:
            frames = _frames(capture)
            first = next(frames, None)
            if first is None:
                raise Unreadable(
                    f"video {path} cannot be read: it is damaged, or OpenCV does not know its"
                    " format"
                )
            speed = capture.get(cv2.CAP_PROP_FPS)
            count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            facts = VideoFacts(
                speed if 0 < speed <= _MOST_FRAMES_PER_SECOND else _FRAMES_PER_SECOND,
                round(count) if math.isfinite(count) and count >= 1 else None,
            )
            yield facts, itertools.chain([first], frames)
        finally:
            capture.release()


def _is_text(path: str) -> bool:
    """Return whether a path is UTF-8; OpenCV ends the process for any other."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _frames(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    while capture.isOpened():
        try:
            found, frame = capture.read()
        except cv2.error:  # As for a size that no memory holds.
            return
        if not found:
            return
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def paths(stem: str) -> list[str]:
    """Return the possible paths of a video that `write` writes for this stem."""
    return [stem + extension for extension, _ in _FORMATS]


def write(stem: str, frames: Iterable[np.ndarray], frames_per_second: float) -> str:
    """Write a video to a temporary file, then rename it.

    Args:
        stem: Path of the video without the extension, which depends on the codecs of this machine.
        frames: uint8 [height, width, 3], RGB, at least one. Frames of other sizes are resized to
            the size of the first frame. Odd sizes are padded by a row or a column.
        frames_per_second: Speed of the video.

    Returns:
        The path.

    Raises:
        OSError: OpenCV cannot write videos, or this file.
    """
    frames = iter(frames)
    first = next(frames)
    height, width = first.shape[:2]
    # Codecs need even sizes.
    even = (height + height % 2, width + width % 2)
    extension, codec = _format(even, frames_per_second)
    path = stem + extension
    if not _is_text(path):
        raise OSError(f"{path} cannot be written: its name is not UTF-8")
    if not file_systems.is_remote(path):
        temporary_files.remove_leftovers_of(path)
    with files.replacing(path) as temporary:
        # OpenCV takes the container from the extension, which a temporary file does not have.
        beside = os.path.join(os.path.dirname(temporary), os.path.basename(path))
        with temporary_files.temporary_folder(beside) as folder:
            video = os.path.join(folder, f"video{extension}")
            with _open(video, codec, even, frames_per_second) as writer:
                count = 0
                for frame in itertools.chain([first], frames):
                    writer.write(_fitted(frame, (height, width), even))
                    count += 1
            # OpenCV does not report frames that it failed to write.
            if not _holds(video, count):
                if shutil.disk_usage(folder).free < _FULL:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                raise OSError(f"{path} cannot be written: OpenCV does not say why")
            os.replace(video, temporary)
    return path


def _holds(path: str, count: int) -> bool:
    """Return whether a video was written completely, with this many frames."""
    with _without_remarks():
        capture = cv2.VideoCapture(path)
        try:
            return capture.isOpened() and capture.get(cv2.CAP_PROP_FRAME_COUNT) >= count
        finally:
            capture.release()


def _fitted(frame: np.ndarray, size: tuple[int, int], even: tuple[int, int]) -> np.ndarray:
    """Return a frame as OpenCV writes it: BGR, of the size of the video."""
    if frame.shape[:2] != size:
        frame = cv2.resize(frame, size[::-1])
    below, right = np.subtract(even, size).tolist()
    frame = cv2.copyMakeBorder(frame, 0, below, 0, right, cv2.BORDER_REPLICATE)
    return cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)


def _format(size: tuple[int, int], frames_per_second: float) -> tuple[str, str]:
    """Return the first container and codec that can be written here."""
    with tempfile.TemporaryDirectory() as folder:
        for extension, codec in _FORMATS:
            path = os.path.join(folder, f"video{extension}")
            with _open(path, codec, size, frames_per_second) as writer:
                if writer.isOpened():
                    return extension, codec
    names = ", ".join(codec for _, codec in _FORMATS)
    raise OSError(f"OpenCV cannot write videos of {size[1]}x{size[0]} pixels here ({names})")


@contextlib.contextmanager
def _open(
    path: str, codec: str, size: tuple[int, int], frames_per_second: float
) -> Iterator[cv2.VideoWriter]:
    with _without_remarks():
        fourcc = cv2.VideoWriter.fourcc(*codec)
        writer = cv2.VideoWriter(path, fourcc, frames_per_second, size[::-1])
        try:
            yield writer
        finally:
            writer.release()


@contextlib.contextmanager
def _without_remarks() -> Iterator[None]:
    """Keep OpenCV and its video library from printing messages about a file."""
    # The library reads the variable once.
    os.environ.setdefault(_LIBRARY_LOG, _QUIET)
    with images.without_remarks():
        yield
