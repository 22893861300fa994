"""The other files that `fuzz` damages, and how scripts read them; and the list of all."""

import functools
import io
import os
import shutil
import tarfile
import types
import zipfile

import numpy as np
import tensorflow as tf
from absl import flags

from deeplab import eval as eval_script
from deeplab import train
from deeplab.cli import crf_flags, script
from deeplab.core import layers
from deeplab.evaluation import eval_coco_format
from deeplab.evaluation.earlier_evaluation import EarlierEvaluation
from deeplab.export import server_files
from deeplab.serving import server_settings, stored_versions, video
from deeplab.serving.findings import ExportFindings
from deeplab.testing import fuzz, fuzz_datasets, fuzz_networks, tiny
from deeplab.testing.fuzz import Subject
from deeplab.training import precision, run_record
from deeplab.zoo import download

_SIZE = (21, 18)
_LABEL = (np.indices(_SIZE).sum(axis=0) // 3 % 4).astype(np.uint8)
_STEP = 7
_MODELS = """model_config_list {
  config {
    name: "pascal"
    base_path: '/models/pascal'
    model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 versions: 2 } }
  }
}
"""
_RUN = {
    "seed": 1,
    "train_crop_size": [33, 33],
    "dataset": "tiny.json",
    "train_split": "train",
    "min_resize_value": None,
    "number_of_records": 3,
    "descriptor": {"name": "tiny", "splits": {"train": 3}},
}


def _read_flags(folder: str) -> None:
    flag_values = flags.FlagValues()
    train.define_flags(flag_values)
    script.parse(["train", f"--flagfile={folder}/flags.txt"], flag_values)


def _read_matrix(folder: str) -> None:
    parsed = tiny.parse(eval_script, ["--crf", f"--crf_compatibility={folder}/matrix.npy"])
    options = crf_flags.from_flags(parsed)
    assert options.compatibility is None or np.isfinite(options.compatibility).all()


def _read_panoptic(folder: str) -> None:
    results = eval_coco_format.eval_coco_format(
        f"{folder}/gt.json", f"{folder}/pred.json", num_categories=4
    )
    for group in results.values():
        assert group["n"] >= 0
        assert all(0 <= group[name] <= 1 for name in ("pq", "sq", "rq") if group["n"]), group


def _read_comparison(folder: str) -> None:
    compared = EarlierEvaluation(f"{folder}/eval.json", ("ground", "disc"))
    assert len(compared.class_iou()) == 2
    assert isinstance(compared.metric("miou"), float)
    compared.changes()


def _read_run_record(folder: str) -> None:
    """A damaged record is a warning."""
    records = types.SimpleNamespace(descriptor=tiny.DATASET)
    run_record.keep(folder, _RUN, records, is_resumed=True)


def _read_server_file(folder: str) -> None:
    stored = stored_versions.find(os.path.join(folder, "pascal"))
    server_settings.judge(stored, None, ExportFindings())


def _read_precision(folder: str) -> None:
    choice = precision.settle(tf.distribute.get_strategy(), folder, None)
    assert set(choice.float32) <= set(layers.KINDS)


def _video() -> bytes:
    frames = [tiny.picture(*_SIZE, seed) for seed in range(3)]
    (data,) = fuzz.files_made_by(lambda folder: video.write(f"{folder}/clip", frames, 25)).values()
    return data


def _read_video(folder: str) -> None:
    with video.reading(f"{folder}/clip.mp4") as (facts, frames):
        assert facts.frames_per_second > 0
        for frame in frames:
            assert frame.dtype == np.uint8
            assert frame.ndim == 3


def _read_archive(name: str, content: bytes, has_checksum: bool, folder: str) -> None:
    try:
        download.unpack(f"{folder}/{name}", f"{folder}/unpacked", f"{folder}/{name}")
        path = f"{folder}/unpacked/model/file"
        if has_checksum or os.path.exists(path):
            with open(path, "rb") as file:
                found = file.read()
            assert len(found) == len(content)
            assert not has_checksum or found == content
    finally:
        # A download unpacks to a temporary folder.
        shutil.rmtree(f"{folder}/unpacked", ignore_errors=True)


def _tar(content: bytes, mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        member = tarfile.TarInfo("model/file")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def _zip(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/file", content)
    return stream.getvalue()


def _others() -> list[Subject]:
    matrix = io.BytesIO()
    np.save(matrix, np.eye(4))
    segments = [{"id": index, "category_id": index} for index in range(1, 4)]
    truth = {
        "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": segments}],
        "categories": [{"id": index, "isthing": index % 2} for index in range(4)],
    }
    ids = tiny.png(np.stack([_LABEL, 0 * _LABEL, 0 * _LABEL], axis=-1))
    panoptic = {
        "gt.json": fuzz.json_bytes(truth),
        "pred.json": fuzz.json_bytes({"annotations": truth["annotations"]}),
        "gt/a.png": ids,
        "pred/a.png": ids,
    }
    result = {
        "step": _STEP,
        "miou": 0.5,
        "classes": [
            {"id": 0, "name": "ground", "iou": 0.5},
            {"id": 1, "name": "disc", "iou": None},
        ],
    }
    table = f"eval-{_STEP}-images.csv"
    evaluation = {
        "eval.json": fuzz.json_bytes(result),
        table: b'image,miou,accuracy,pixels,iou_ground,iou_disc\na,0.5,0.6,99,0.5,\n"b,",,,0,,\n',
    }
    given = "--output_stride=16\n--atrous_rates=6\n--train_crop_size=513,513\n--momentum=0.9\n"
    content = bytes(range(256)) * 9
    archives = {
        "a.tar.gz": _tar(content, "w:gz"),
        "a.tar": _tar(content, "w"),
        "a.zip": _zip(content),
    }
    return [
        Subject(
            "flag file",
            {"flags.txt": f"# A recipe\n{given}".encode()},
            "flags.txt",
            _read_flags,
            True,
            weight=0.3,
        ),
        Subject(
            "matrix", {"matrix.npy": matrix.getvalue()}, "matrix.npy", _read_matrix, weight=0.3
        ),
        Subject(
            "run record",
            {run_record.FILE: fuzz.json_bytes(_RUN)},
            run_record.FILE,
            _read_run_record,
            True,
        ),
        Subject(
            "server file",
            {server_files.MODELS_FILE: _MODELS.encode(), "pascal/1/saved_model.pb": b"-"},
            server_files.MODELS_FILE,
            _read_server_file,
            True,
        ),
        Subject(
            "precision",
            {precision.FILE: fuzz.json_bytes({"float32": ["depthwise", "spatial"]})},
            precision.FILE,
            _read_precision,
            True,
            weight=0.3,
        ),
        Subject("video", {"clip.mp4": _video()}, "clip.mp4", _read_video, weight=0.5),
        *(
            Subject(f"compared {name}", evaluation, name, _read_comparison, True)
            for name in evaluation
        ),
        *(
            Subject(f"panoptic {victim}", panoptic, victim, _read_panoptic, is_text, called=called)
            for victim, is_text, called in (
                ("gt.json", True, "gt"),
                ("pred.json", True, "pred"),
                ("gt/a.png", False, None),
                ("pred/a.png", False, None),
            )
        ),
        *(
            Subject(
                f"archive {name}",
                {name: data},
                name,
                # A tar archive has no checksum of the content, and a zip file may be cut to none.
                functools.partial(_read_archive, name, content, name == "a.tar.gz"),
            )
            for name, data in archives.items()
        ),
    ]


@functools.cache
def all_subjects() -> list[Subject]:
    """Return every kind of file except those of `fuzz_networks.exports`."""
    return [*fuzz_datasets.subjects(), *fuzz_networks.subjects(), *_others()]
