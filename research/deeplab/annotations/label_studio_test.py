import numpy as np
import pytest

from deeplab.annotations.conftest import drawn


def _brush_bytes(mask):
    """The bytes of a brush, written value by value as the tool's encoder may do."""
    channels = np.repeat(mask[..., np.newaxis] * 255, 4, axis=2)
    channels[..., :3] = 9  # Only the alpha channel counts.
    bits = f"{channels.size:032b}" + f"{7:05b}" + f"{2:04b}" * 4
    for value in channels.ravel():
        bits += "0" + "00" + "000" + f"{value:08b}"
    bits += "0" * (-len(bits) % 8)
    return list(int(bits, 2).to_bytes(len(bits) // 8))


def _result(kind, label, value, **more):
    return {
        "id": "x1",
        "type": kind,
        "value": {**value, kind: [label]},
        "origin": "manual",
        "to_name": "image",
        "from_name": "label",
        "image_rotation": 0,
        "original_width": 20,
        "original_height": 10,
        **more,
    }


_SQUARE = {"points": [[10, 20], [50, 20], [50, 80], [10, 80]], "closed": True}
_POLYGON = _result("polygonlabels", "roof", _SQUARE)


def _task(*results, image="/data/upload/1/0a1b2c3d-a.jpg", **annotation):
    return {
        "id": 1,
        "annotations": [{"id": 5, "was_cancelled": False, "result": list(results), **annotation}],
        "file_upload": "0a1b2c3d-a.jpg",
        "drafts": [],
        "predictions": [],
        "data": {"image": image},
        "meta": {},
    }


@pytest.fixture
def read(project):
    project.images("a.jpg", "b c.jpg", "d+e.jpg")

    def read(*tasks):
        project.write("export.json", list(tasks))
        return project.read("export.json").images

    return read


def test_polygons_are_in_percent(read):
    (image,) = read(_task(_POLYGON))
    mask = np.zeros((10, 20), bool)
    mask[2:8, 2:10] = True
    (region,) = image.regions
    assert (region.name, image.size) == ("roof", (10, 20))
    np.testing.assert_array_equal(drawn(region, 10, 20), mask)


def test_the_alpha_channel_of_a_brush_is_the_mask(read):
    mask = np.random.default_rng(0).random((10, 20)) < 0.5
    brush = {"format": "rle", "rle": _brush_bytes(mask)}
    (image,) = read(_task(_result("brushlabels", "car", brush)))
    np.testing.assert_array_equal(drawn(image.regions[0], 10, 20), mask)
    with pytest.raises(ValueError, match="has 800 values; four channels of 20x11 pixels"):
        drawn(image.regions[0], 11, 20)


def test_rectangles_and_ellipses_are_in_percent_and_may_be_turned(read):
    box = {"x": 50, "y": 20, "width": 25, "height": 40, "rotation": 90}
    disc = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 30, "rotation": 0}
    (image,) = read(
        _task(_result("rectanglelabels", "a", box), _result("ellipselabels", "b", disc))
    )
    mask = np.zeros((10, 20), bool)
    mask[2:7, 6:10] = True  # Turned clockwise around its first corner (10, 2).
    np.testing.assert_array_equal(drawn(image.regions[0], 10, 20), mask)
    y, x = np.mgrid[:10, :20] + 0.5
    mask = ((x - 10) / 4) ** 2 + ((y - 5) / 3) ** 2 <= 1
    np.testing.assert_array_equal(drawn(image.regions[1], 10, 20), mask)


def test_answers_that_are_no_regions_are_left_out(read):
    choice = {"type": "choices", "value": {"choices": ["good"]}, "from_name": "q", "to_name": "i"}
    relation = {"type": "relation", "from_id": "x1", "to_id": "x2"}
    text = {"type": "textarea", "value": {"text": ["near the road"], **_SQUARE}, "id": "x1"}
    (image,) = read(_task(choice, relation, _POLYGON, text))
    assert len(image.regions) == 1


def test_a_label_may_stand_in_a_result_of_its_own_and_regions_without_one_are_logged(read, caplog):
    size = {"original_width": 20, "original_height": 10}
    shape = {"id": "x2", "type": "polygon", "value": _SQUARE, **size}
    label = {"id": "x2", "type": "labels", "value": {**_SQUARE, "labels": ["car"]}, **size}
    (image,) = read(_task(shape, label))
    assert [region.name for region in image.regions] == ["car"]
    assert not caplog.text
    read(_task({**shape, "id": [2]}, _POLYGON))
    assert "1 region has no label and is left out, the first is" in caplog.text
    assert "annotations[0].result[0]" in caplog.text


def test_drafts_and_predictions_do_not_count(read):
    task = _task(_POLYGON)
    task["drafts"] = task["predictions"] = [{"result": [_POLYGON] * 3}]
    assert len(read(task)[0].regions) == 1


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("a.jpg", "a.jpg"),
        ("/data/upload/1/0a1b2c3d-a.jpg", "a.jpg"),
        ("https://host/x/a.jpg?token=1", "a.jpg"),
        ("/data/local-files/?d=photos%2Fb%20c.jpg", "b c.jpg"),
        ("/data/local-files/?d=photos/0a1b2c3d-b c.jpg", "b c.jpg"),
        ("/data/local-files/?d=photos/d+e.jpg", "d+e.jpg"),
        ("s3://bucket/b%20c.jpg", "b c.jpg"),
    ],
)
def test_the_image_is_found_without_prefix_and_address(read, project, url, file):
    (image,) = read(_task(_POLYGON, image=url))
    assert image.image == str(project.folder / "images" / file)


def test_the_folder_of_a_local_file_counts(read, project):
    project.images("photos/c.jpg", "other/c.jpg")
    (image,) = read(_task(_POLYGON, image="/data/local-files/?d=photos/c.jpg"))
    assert image.image.endswith("/photos/c.jpg")


def test_an_exact_name_comes_before_one_without_prefix(read, project):
    project.images("0a1b2c3d-a.jpg")
    (image,) = read(_task(_POLYGON))
    assert image.image.endswith("/0a1b2c3d-a.jpg")


def test_of_several_annotations_the_last_counts_and_cancelled_ones_do_not(read, caplog):
    task = _task(_POLYGON)
    others = ({"result": []}, {"result": [_POLYGON] * 2}, {"result": [], "was_cancelled": True})
    task["annotations"] += others
    skipped = _task(image="b c.jpg", was_cancelled=True)
    (image,) = read(task, skipped)
    assert len(image.regions) == 2
    assert "1 task has several annotations, of which the last counts" in caplog.text
    assert "2 tasks have canceled annotations, which are left out" in caplog.text


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (_result("polygonlabels", "a", {"points": [[1, 2]]}), ".value.points has 1 point;"),
        (_result("brushlabels", "a", {"rle": [300]}), ".value.rle must be a list of bytes"),
        (_result("keypointlabels", "a", {"x": 1}), " has the type 'keypointlabels', which has no"),
        (_result("polygonlabels", "a", _SQUARE, image_rotation=90), ".image_rotation is 90, but"),
        (_result("polygonlabels", 7, _SQUARE), r".value.polygonlabels is \[7\]"),
        (_result("polygonlabels", "a", _SQUARE, original_width=None), " has no original_width"),
        (
            _result("rectanglelabels", "a", {"x": 1}, original_width=10**400),
            ".original_width is 1000.*; it must be an integer from 1 to 9007199254740992",
        ),
        (
            {**_POLYGON, "value": {**_SQUARE, "polygonlabels": ["a", "b"]}},
            ".value.polygonlabels has 2 labels; a pixel has one",
        ),
    ],
)
def test_a_malformed_region_is_named(read, result, message):
    place = r"export.json: \[0\].annotations\[0\].result\[1\]"
    with pytest.raises(ValueError, match=place + message):
        read(_task(_POLYGON, result))


def test_a_text_that_looks_like_an_address_but_is_none_is_no_traceback(read):
    with pytest.raises(
        FileNotFoundError, match=r"export.json: .* names the image 'http://\[1/c.jpg"
    ):
        read(_task(_POLYGON, image="http://[1/c.jpg"))


def test_tasks_must_agree_on_size_and_name_an_image_once(read):
    with pytest.raises(ValueError, match=r"result\[1\] is for an image of 9x10 pixels"):
        read(_task(_POLYGON, {**_POLYGON, "original_width": 9}))
    with pytest.raises(ValueError, match=r"\[1\] and .*\[0\] are both about the image .*a.jpg"):
        read(_task(_POLYGON), _task(_POLYGON))
    with pytest.raises(ValueError, match=r"\[0\].data names no image: {'image': 'x'}"):
        read(_task(_POLYGON, image="x"))
    with pytest.raises(FileNotFoundError, match=r"\[0\].data names the image 'd.jpg'"):
        read(_task(_POLYGON, image="d.jpg"))
