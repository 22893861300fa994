"""The files of annotation tools that `fuzz` damages, and how their readers read them."""

import functools

from deeplab.annotations import formats, image_index, values
from deeplab.testing import fuzz
from deeplab.testing.fuzz import Subject

_HEIGHT, _WIDTH = 21, 18
_POLYGON = [0, 0, 9, 0, 9.5, 9]


def _read(name: str, folder: str) -> None:
    index = image_index.ImageIndex(f"{folder}/images", [".png"])
    path = f"{folder}/{name}"
    formats.read(values.ReaderInput(path, (".png",), index), formats.detect(path))


def _coco() -> object:
    return {
        "images": [{"id": 1, "file_name": "a.png", "height": _HEIGHT, "width": _WIDTH}],
        "categories": [{"id": 3, "name": "disc"}],
        "annotations": [
            {"image_id": 1, "category_id": 3, "segmentation": [_POLYGON], "iscrowd": 0},
            {
                "image_id": 1,
                "category_id": 3,
                "segmentation": {"size": (_HEIGHT, _WIDTH), "counts": [8, 9]},
            },
        ],
    }


def _labelme() -> object:
    return {
        "imagePath": "a.png",
        "imageHeight": _HEIGHT,
        "imageWidth": _WIDTH,
        "shapes": [
            {"label": "disc", "shape_type": "polygon", "points": [[0, 0], [9, 0], [9.5, 9]]},
            {"label": "square", "shape_type": "circle", "points": [[5, 5], [9, 5]]},
        ],
    }


def _label_studio() -> object:
    size = {"original_width": _WIDTH, "original_height": _HEIGHT}
    polygon = {"points": [[10, 20], [50, 20], [50, 80]], "polygonlabels": ["disc"]}
    # A brush of one value, for a picture of another size: it is read and not drawn.
    brush = {"rle": [0, 0, 0, 1, 56, 0, 0, 0], "format": "rle", "brushlabels": ["square"]}
    results = [{"type": "x", "value": value, **size} for value in (polygon, brush)]
    return [
        {
            "data": {"image": "/data/upload/1/0a1b2c3d-a.png"},
            "annotations": [{"was_cancelled": False, "result": results}],
        }
    ]


def subjects(label: bytes) -> list[Subject]:
    """Return the files of annotation tools.

    Args:
        label: A PNG file of labels.
    """
    image = {"images/a.png": label}
    yolo = b"0 0.1 0.1 0.9 0.1 0.5 0.9\n1 0 0 1 0 1 1\n"
    yaml = b"path: .\ntrain: images\nval:\n- images\nnames:\n  0: disc\n  1: square\n"
    cvat = {
        "cvat/labelmap.txt": b"# label:color_rgb:parts:actions\ndisc:1,1,1::\nsquare:2,2,2::\n",
        "cvat/SegmentationClass/a.png": label,
        "cvat/ImageSets/Segmentation/train.txt": b"a\n",
    }
    found = [
        Subject(
            f"annotations of {name}",
            {"a.json": fuzz.json_bytes(content), **image},
            "a.json",
            functools.partial(_read, "a.json"),
            True,
        )
        for name, content in (
            ("COCO", _coco()),
            ("labelme", _labelme()),
            ("Label Studio", _label_studio()),
        )
    ]
    return [
        *found,
        Subject(
            "annotations in CSV",
            {"a.csv": b'image,label,split\na.png,a.png,train\n"b.png",,test\n', **image}
            | {"images/b.png": label},
            "a.csv",
            functools.partial(_read, "a.csv"),
            True,
        ),
        Subject(
            "annotations of YOLO",
            {"labels/a.txt": yolo, "labels/classes.txt": b"disc\nsquare\n", **image},
            "labels/a.txt",
            functools.partial(_read, "labels"),
            True,
        ),
        Subject(
            "annotations of Ultralytics",
            {"data.yaml": yaml, "labels/a.txt": yolo, **image},
            "data.yaml",
            functools.partial(_read, "data.yaml"),
            True,
            # A word that is exchanged may name another folder, or no class of a label.
            called="",
        ),
        *(
            Subject(
                f"annotations of CVAT, {victim}",
                {**cvat, **image},
                f"cvat/{victim}",
                functools.partial(_read, "cvat"),
                True,
            )
            for victim in ("labelmap.txt", "ImageSets/Segmentation/train.txt")
        ),
    ]
