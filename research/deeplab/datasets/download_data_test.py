"""Tests of downloads, and of the official scripts that download and convert datasets."""

import functools
import http.server
import io
import os
import pathlib
import subprocess
import sys
import tarfile
import threading
import zipfile

import numpy as np
import pytest

from deeplab.datasets import conftest, download_data
from deeplab.testing import tiny

_FOLDER = pathlib.Path(__file__).parent
_FILES = {"data/a.txt": b"a", "data/b/c.txt": b"c" * 5000}


def _tar(files: dict[str, bytes], mode: str = "w") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def _zip(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


_ARCHIVES = {
    "data.tar": _tar(_FILES),
    "data.tar.gz": _tar(_FILES, "w:gz"),
    "data.zip": _zip(_FILES),
}


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        """Log nothing."""


@pytest.fixture
def web(tmp_path, monkeypatch):
    """Serve a folder; return it and its address."""
    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "web"
    folder.mkdir()
    handler = functools.partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _check_unpacked(folder: pathlib.Path, archive: str) -> None:
    assert tiny.files(folder) == sorted([*_FILES, archive])
    for name, content in _FILES.items():
        assert (folder / name).read_bytes() == content
    assert sorted(os.listdir(folder)) == ["data", archive]


@pytest.mark.parametrize("archive", _ARCHIVES)
def test_an_archive_is_downloaded_and_unpacked(web, tmp_path, run_script, archive):
    folder, url = web
    (folder / archive).write_bytes(_ARCHIVES[archive])
    run_script(download_data, f"--url={url}/{archive}", f"--output_dir={tmp_path}/new/data")
    _check_unpacked(tmp_path / "new/data", archive)


def test_an_archive_that_is_there_is_not_downloaded_again(web, tmp_path, run_script):
    (tmp_path / "data.zip").write_bytes(_ARCHIVES["data.zip"])
    run_script(download_data, f"--url={web[1]}/data.zip", f"--output_dir={tmp_path}")
    assert (tmp_path / "data/a.txt").read_bytes() == b"a"


@pytest.mark.parametrize("archive", _ARCHIVES)
def test_half_an_archive_is_refused_and_nothing_of_it_unpacked(web, tmp_path, run_script, archive):
    data = _ARCHIVES[archive]
    path = tmp_path / "data" / archive
    path.parent.mkdir()
    path.write_bytes(data[: len(data) // 2])
    message = f"^{archive} is damaged: .*; remove {path} to download it again$"
    with pytest.raises(ValueError, match=message):
        run_script(download_data, f"--url={web[1]}/{archive}", f"--output_dir={path.parent}")
    assert os.listdir(path.parent) == [archive]


def test_a_changed_byte_of_a_zip_is_found(web, tmp_path, run_script):
    data = _zip(_FILES, zipfile.ZIP_STORED).replace(b"ccc", b"cCc", 1)
    (web[0] / "data.zip").write_bytes(data)
    with pytest.raises(ValueError, match="^data.zip is damaged: "):
        run_script(download_data, f"--url={web[1]}/data.zip", f"--output_dir={tmp_path}/data")
    assert os.listdir(tmp_path / "data") == ["data.zip"]


@pytest.mark.parametrize("name", ["../outside", "/outside", "data/../../outside"])
def test_nothing_of_a_zip_leaves_the_folder(web, tmp_path, run_script, name):
    (web[0] / "data.zip").write_bytes(_zip({**_FILES, name: b""}))
    with pytest.raises(ValueError, match=f"data.zip is not unpacked: {name} leaves the folder"):
        run_script(download_data, f"--url={web[1]}/data.zip", f"--output_dir={tmp_path}/below/data")
    assert os.listdir(tmp_path / "below/data") == ["data.zip"]
    assert os.listdir(tmp_path / "below") == ["data"]


def test_a_link_in_a_zip_is_refused(web, tmp_path, run_script):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        link = zipfile.ZipInfo("data/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc")
    (web[0] / "data.zip").write_bytes(stream.getvalue())
    with pytest.raises(ValueError, match="data/link is a link or a device"):
        run_script(download_data, f"--url={web[1]}/data.zip", f"--output_dir={tmp_path}/data")
    assert os.listdir(tmp_path / "data") == ["data.zip"]


def test_what_is_there_is_not_unpacked_over(web, tmp_path, run_script):
    (web[0] / "data.tar").write_bytes(_ARCHIVES["data.tar"])
    (tmp_path / "data").mkdir()
    with pytest.raises(ValueError, match=f"{tmp_path}/data is there already: move it away"):
        run_script(download_data, f"--url={web[1]}/data.tar", f"--output_dir={tmp_path}")
    assert not os.listdir(tmp_path / "data")


def test_what_a_killed_run_has_moved_stays(tmp_path):
    """It was killed when the first of two entries had taken its place."""
    archive, folder = tmp_path / "two.zip", tmp_path / "new"
    archive.write_bytes(_zip({"a/file": b"a", "b/file": b"b"}))
    folder.mkdir()
    download_data.unpack(str(archive), str(folder))
    (folder / "b" / "file").unlink()
    (folder / "b").rmdir()
    before = (folder / "a" / "file").stat().st_ino
    download_data.unpack(str(archive), str(folder))
    assert tiny.files(folder) == ["a/file", "b/file"]
    assert (folder / "a" / "file").stat().st_ino == before
    for name, content in (("a/file", b"A"), ("b/more", b"")):
        (folder / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{folder}/a is there already|{folder}/b is there"):
            download_data.unpack(str(archive), str(folder))
        (folder / "a" / "file").write_bytes(b"a")


def test_another_kind_of_file_is_refused_before_it_is_downloaded(tmp_path, run_script):
    with pytest.raises(ValueError, match="--url=http://localhost/data.rar is not the address of"):
        run_script(download_data, "--url=http://localhost/data.rar", f"--output_dir={tmp_path}")
    with pytest.raises(ValueError, match=r"^--url=http://\[1/data.zip is not an address: "):
        run_script(download_data, "--url=http://[1/data.zip", f"--output_dir={tmp_path}")


def _run(script: str, folder: pathlib.Path, **environment: str) -> subprocess.CompletedProcess:
    """Run an official script in a folder, with this Python."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    return subprocess.run(
        ["bash", str(_FOLDER / script)],
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
    )


def _voc() -> bytes:
    """Return an archive in the layout of VOC, with two images for each list."""
    files, palette = {}, bytes(range(256)) * 3
    root = "VOCdevkit/VOC2012"
    label = np.array([[0, 15], [255, 20]])
    for split in ("train", "val"):
        names = [f"{split}_{index}" for index in range(2)]
        files[f"{root}/ImageSets/Segmentation/{split}.txt"] = "\n".join(names).encode()
        for name in names:
            files[f"{root}/JPEGImages/{name}.jpg"] = conftest.jpeg(2, 2)
            files[f"{root}/SegmentationClass/{name}.png"] = conftest.png(label, 8, 3, palette)
    return _tar(files)


def _read(folder: pathlib.Path, pattern: str) -> list[dict]:
    return [record for path in sorted(folder.glob(pattern)) for record in _records(path)]


def _records(path: pathlib.Path) -> list[dict]:
    return list(conftest.read_records(path))


@pytest.mark.slow
def test_voc_is_downloaded_and_converted(web, tmp_path):
    (web[0] / "VOCtrainval_11-May-2012.tar").write_bytes(_voc())
    for _ in range(2):
        done = _run("download_and_convert_voc2012.sh", tmp_path, BASE_URL=web[1])
        assert done.returncode == 0, done.stderr
        # The second run finds what the first one downloaded.
        (web[0] / "VOCtrainval_11-May-2012.tar").unlink(missing_ok=True)
    work = tmp_path / "pascal_voc_seg"
    assert (work / "VOCdevkit/VOC2012/SegmentationClassRaw/val_0.png").is_file()
    for split in ("train", "val"):
        assert len(list(work.glob(f"tfrecord/{split}-0000?-of-00004.tfrecord"))) == 4
        names = [record["image/filename"] for record in _read(work, f"tfrecord/{split}-*")]
        assert names == [[b"%s_%d" % (split.encode(), index)] for index in range(2)]


def test_a_download_that_fails_is_one_line_and_leaves_nothing(web, tmp_path):
    done = _run("download_and_convert_voc2012.sh", tmp_path, BASE_URL=web[1])
    assert done.returncode == 1
    url = f"{web[1]}/VOCtrainval_11-May-2012.tar"
    assert done.stderr.splitlines()[-1].startswith(f"error: {url} cannot be downloaded: HTTP 404")
    assert not tiny.files(tmp_path / "pascal_voc_seg")


@pytest.mark.slow
def test_ade20k_is_downloaded_and_converted(web, tmp_path):
    files, root = {}, "ADEChallengeData2016"
    for split, count in (("training", 3), ("validation", 2)):
        for index in range(count):
            files[f"{root}/images/{split}/ADE_{index}.jpg"] = conftest.jpeg(2, 2)
            label = conftest.png(np.array([[0, 1], [149, 150]]))
            files[f"{root}/annotations/{split}/ADE_{index}.png"] = label
    (web[0] / "ADEChallengeData2016.zip").write_bytes(_zip(files))
    done = _run("download_and_convert_ade20k.sh", tmp_path, BASE_URL=web[1])
    assert done.returncode == 0, done.stderr
    for split, count in (("train", 3), ("val", 2)):
        assert len(_read(tmp_path, f"ADE20K/tfrecord/{split}-0000?-of-00004.tfrecord")) == count


@pytest.mark.slow
def test_cityscapes_is_converted_where_it_lies(tmp_path):
    root = tmp_path / "cityscapes"
    for split, city in (("train", "aachen"), ("val", "lindau")):
        image = root / "leftImg8bit" / split / city / f"{city}_000000_000019_leftImg8bit.png"
        label = root / "gtFine" / split / city / f"{city}_000000_000019_gtFine_labelIds.png"
        for path, pixels in ((image, np.zeros((2, 2, 3), np.uint8)), (label, np.full((2, 2), 7))):
            path.parent.mkdir(parents=True)
            path.write_bytes(tiny.png(pixels.astype(np.uint8)))
    done = _run("convert_cityscapes.sh", tmp_path)
    assert done.returncode == 0, done.stderr
    for split in ("train_fine", "val_fine"):
        assert len(_read(root, f"tfrecord/{split}-0000?-of-00010.tfrecord")) == 1
