"""Videos are read and written."""

import contextlib
import os
import shutil
import types

import cv2
import numpy as np
import pytest

from deeplab.serving import video
from deeplab.testing import tiny

_FRAMES = [tiny.picture(48, 64, seed) for seed in range(8)]


def _read(path) -> tuple[video.VideoFacts, list[np.ndarray]]:
    with video.reading(str(path)) as (facts, frames):
        return facts, list(frames)


def test_frames_come_back_nearly_as_they_were(tmp_path):
    path = video.write(str(tmp_path / "new" / "clip"), _FRAMES, 12.5)
    facts, frames = _read(path)
    assert facts == video.VideoFacts(12.5, 8)
    assert len(frames) == 8
    for frame, expected in zip(frames, _FRAMES, strict=True):
        assert frame.shape == expected.shape
        assert np.abs(frame.astype(int) - expected).mean() < 12
    assert tiny.files(tmp_path) == ["new/clip.mp4"]


def test_a_build_without_the_codec_writes_the_other_container(tmp_path, monkeypatch):
    formats = ((".mp4", "none"), (".avi", "MJPG"))
    monkeypatch.setattr(video, "_FORMATS", formats)
    path = video.write(str(tmp_path / "clip"), _FRAMES, 25)
    assert path in video.paths(str(tmp_path / "clip"))
    assert path.endswith(".avi")
    assert len(_read(path)[1]) == 8
    monkeypatch.setattr(video, "_FORMATS", formats[:1])
    with pytest.raises(OSError, match=r"cannot write videos of 64x48 pixels here \(none\)"):
        video.write(str(tmp_path / "clip"), _FRAMES, 25)


@pytest.mark.parametrize("formats", [video._FORMATS, video._FORMATS[1:]])
@pytest.mark.parametrize("speed", [0.5, 23.976, 29.97, 240.0])
def test_every_speed_is_written_to_the_end(tmp_path, monkeypatch, formats, speed):
    monkeypatch.setattr(video, "_FORMATS", formats)
    assert len(_read(video.write(str(tmp_path / "clip"), _FRAMES, speed))[1]) == 8


@pytest.mark.parametrize(
    ("free", "message"), [(0, "No space left on device"), (2**40, "OpenCV does not say why")]
)
def test_a_video_that_a_full_disk_cuts_off_is_an_error(tmp_path, monkeypatch, free, message):
    """Each writer says that it is done; of the file only the first half is there."""
    (tmp_path / "clip.mp4").write_bytes(b"before")
    opened = video._open

    @contextlib.contextmanager
    def cut(path, *arguments):
        with opened(path, *arguments) as writer:
            yield writer
        if os.path.exists(path):
            os.truncate(path, os.path.getsize(path) // 2)

    monkeypatch.setattr(video, "_open", cut)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=free))
    with pytest.raises(OSError, match=f"{tmp_path}/clip.mp4 cannot be written: {message}"):
        video.write(str(tmp_path / "clip"), _FRAMES, 25)
    assert tiny.files(tmp_path) == ["clip.mp4"]
    assert (tmp_path / "clip.mp4").read_bytes() == b"before"


def test_odd_and_changing_sizes_are_fitted(tmp_path):
    path = video.write(str(tmp_path / "a"), [_FRAMES[0][:-1, :-1], tiny.picture(90, 30)], 25)
    assert [frame.shape for frame in _read(path)[1]] == [(48, 64, 3)] * 2


def test_nothing_is_left_of_a_video_that_breaks_off(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"before")

    def frames():
        yield from _FRAMES[:3]
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        video.write(str(tmp_path / "clip"), frames(), 25)
    assert tiny.files(tmp_path) == ["clip.mp4"]
    assert (tmp_path / "clip.mp4").read_bytes() == b"before"


@pytest.mark.parametrize("data", [b"", b"no video", None])
def test_what_is_no_video_is_named_once(tmp_path, capfd, data):
    path = tmp_path / "clip.mp4"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(video.Unreadable, match=f"video {path} cannot be read: it is damaged"):
        _read(path)
    assert capfd.readouterr().err == ""


def test_names_that_are_no_text_are_refused(tmp_path):
    """OpenCV would end the process."""
    path = video.write(str(tmp_path / "clip"), _FRAMES, 25)
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    os.rename(path, f"{odd}.mp4")
    with pytest.raises(video.Unreadable, match="has a name that is not UTF-8: rename it"):
        _read(f"{odd}.mp4")
    with pytest.raises(OSError, match=r"mp4 cannot be written: its name is not UTF-8"):
        video.write(odd, _FRAMES, 25)


def test_remote_videos_are_named():
    with (
        pytest.raises(video.Unreadable, match="video gs://a/b.mp4 is not on this machine"),
        video.reading("gs://a/b.mp4"),
    ):
        pass


@pytest.mark.parametrize("count, speed", [(-1.0, 0.0), (0.0, float("nan")), (8.0, 9000.0)])
def test_what_a_video_does_not_say_is_not_needed(monkeypatch, count, speed):
    class Capture:
        """A video with 3 frames."""

        left = 3

        def isOpened(self):  # noqa: N802 (the name is OpenCV's)
            return True

        def read(self):
            self.left -= 1
            return self.left >= 0, _FRAMES[0]

        def get(self, name):
            return {cv2.CAP_PROP_FPS: speed, cv2.CAP_PROP_FRAME_COUNT: count}[name]

        def release(self):
            pass

    monkeypatch.setattr(cv2, "VideoCapture", lambda path: Capture())
    facts, frames = _read("clip.mp4")
    assert facts.frames_per_second == 25
    assert facts.count == (8 if count > 0 else None)
    assert len(frames) == 3


def test_names_tell_videos():
    assert video.is_video("a/B.MP4")
    assert not video.is_video("mp4.png")
