"""Pictures of predictions: what is in them, and under which names."""

import collections
import functools
import tempfile

import numpy as np
import pytest
import tensorflow as tf

from deeplab import common
from deeplab.core.options import InferenceOptions
from deeplab.datasets import descriptors
from deeplab.datasets.data_generator import Dataset
from deeplab.evaluation import predictor, visualizer
from deeplab.input_preprocess import Preprocessing
from deeplab.sharing import parallel
from deeplab.sharing.teams import Share
from deeplab.testing import tiny
from deeplab.utils import get_dataset_colormap, save_annotation

_SIZES = {"first": (20, 30), "second": (33, 33), "third": (50, 41)}
_COLORMAP = tiny.DATASET.label_colors()


class _StandIn:
    """In a predictor's place: predicts the red channel's values modulo the number of classes."""

    def __init__(self, num_classes=4, devices=1, **options):
        self._devices = devices
        self._num_classes = num_classes
        self.net = self
        self.options = common.ModelOptions(num_classes=num_classes, **options)
        self.inference = InferenceOptions()

    def map(self, function, items):
        return parallel.map_in_order([functools.partial(function, self)] * self._devices, items)

    def __call__(self, images, sizes):
        return tf.cast(images, tf.int32).numpy()[..., 0] % self._num_classes


def _expected(name, num_classes=4):
    return tiny.picture(*_SIZES[name])[..., 0] % num_classes


def _label(name):
    label = ((_expected(name) + (np.indices(_SIZES[name]).sum(axis=0) % 5 == 0)) % 4).astype("u1")
    label[:3] = 255
    return label


@functools.cache
def _batches(batch_size=1, labeled=True, names=tuple(_SIZES), **options):
    samples = {
        name: (tiny.picture(*_SIZES[name]), _label(name) if labeled else None) for name in names
    }
    with tempfile.TemporaryDirectory() as folder:
        records = Dataset(
            tiny.DATASET,
            "val",
            tiny.write_records(folder, samples),
            Preprocessing(crop_size=(33, 33), mean_pixel=(127.5, 127.5, 127.5), **options),
        )
        return list(records.evaluation(batch_size, labels_required=labeled))


def _numbered(batches):
    """Batches of one image each, with the numbers of an evaluation that has them in this order."""
    return [{**batch, "number": tf.constant([number])} for number, batch in enumerate(batches)]


def _run(tmp_path, batches, stand_in=None, descriptor=tiny.DATASET, **options):
    stand_in = stand_in or _StandIn()
    logdir = tmp_path / "vis"
    pictures = visualizer.Visualizer(stand_in, descriptor, str(logdir), **options)
    total = sum(len(batch["image_name"]) for batch in batches)
    pictures.conclude(pictures.run(batches, total), total)
    return logdir


def _results(logdir, title, stem="000000"):
    return tiny.read_png(logdir / visualizer.RESULTS / f"{stem}_{title}.png")


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_every_image_gets_its_pictures_in_its_own_size(tmp_path, batch_size):
    logdir = _run(tmp_path, _batches(batch_size))
    titles = ("image", "overlay", "panel", "prediction")
    assert tiny.files(logdir) == [
        f"segmentation_results/{number:06d}_{title}.png" for number in range(3) for title in titles
    ]
    for number, name in enumerate(_SIZES):
        stem = f"{number:06d}"
        np.testing.assert_array_equal(
            _results(logdir, "image", stem), tiny.picture(*_SIZES[name]), err_msg=name
        )
        np.testing.assert_array_equal(
            _results(logdir, "prediction", stem), _COLORMAP[_expected(name)], err_msg=name
        )
        assert _results(logdir, "overlay", stem).shape == (*_SIZES[name], 3)


def test_the_pictures_of_hosts_have_the_numbers_of_their_records(tmp_path):
    """Each host gets every other batch."""
    expected = _run(tmp_path, _batches(2))
    samples = {name: (tiny.picture(*size), _label(name)) for name, size in _SIZES.items()}
    records = Dataset(
        tiny.DATASET,
        "val",
        tiny.write_records(tmp_path / "records", samples),
        Preprocessing(crop_size=(33, 33), mean_pixel=(127.5, 127.5, 127.5)),
    )
    logdir = tmp_path / "hosts"
    pictures = visualizer.Visualizer(_StandIn(), tiny.DATASET, str(logdir))
    for share in (Share(0, 2), Share(1, 2)):
        batches = records.evaluation(2, labels_required=False, share=share)
        pictures.run(batches, len(share.numbers(3, 2)))
    assert tiny.files(logdir) == tiny.files(expected)
    for name in tiny.files(logdir):
        assert (logdir / name).read_bytes() == (expected / name).read_bytes(), name


def test_several_devices_save_the_pictures_of_one(tmp_path):
    """Of several raw predictions of a name, too, the last one is kept."""
    batches = _batches()
    same = [{**batch, "image_name": tf.constant(["same"])} for batch in batches]
    one, two = (
        _run(
            tmp_path / str(devices),
            _numbered(same * 3),
            _StandIn(devices=devices),
            also_save_raw_predictions=True,
        )
        for devices in (1, 2)
    )
    assert len(tiny.files(one)) == 9 * 4 + 1
    assert tiny.files(two) == tiny.files(one)
    for name in tiny.files(one):
        assert (two / name).read_bytes() == (one / name).read_bytes(), name
    raw = tiny.read_png(two / visualizer.RAW_RESULTS / "same.png")
    np.testing.assert_array_equal(raw, _expected("third"))


def test_raw_predictions_are_the_labels_under_the_images_names(tmp_path):
    logdir = _run(tmp_path, _batches(2), also_save_raw_predictions=True)
    raw = logdir / visualizer.RAW_RESULTS
    assert tiny.files(raw) == ["first.png", "second.png", "third.png"]
    for name in _SIZES:
        np.testing.assert_array_equal(tiny.read_png(raw / f"{name}.png"), _expected(name))


def test_names_lose_their_folders_as_in_the_official_code(tmp_path):
    batches = [
        {**batch, "image_name": tf.constant(["some/folder/a.jpg"])}
        for batch in _batches(names=("first",))
    ]
    logdir = _run(tmp_path, batches, also_save_raw_predictions=True)
    assert tiny.files(logdir / visualizer.RAW_RESULTS) == ["a.jpg.png"]


def test_raw_predictions_of_images_without_a_name_have_their_numbers(tmp_path):
    batches = [{**batch, "image_name": tf.constant([""])} for batch in _batches()]
    logdir = _run(tmp_path, batches, also_save_raw_predictions=True)
    names = ["000000.png", "000001.png", "000002.png"]
    assert tiny.files(logdir / "raw_segmentation_results") == names


def test_raw_predictions_of_one_name_are_told(tmp_path, caplog):
    batches = [
        {**batch, "image_name": tf.constant([f"{number}/a"])}
        for number, batch in enumerate(_batches())
    ]
    _run(tmp_path, batches, also_save_raw_predictions=True)
    assert any("several images are called a: only the last" in text for text in caplog.messages)


def test_cityscapes_raw_predictions_are_the_ids_of_the_server(tmp_path):
    cityscapes = descriptors.load("cityscapes")
    logdir = _run(
        tmp_path,
        _batches(labeled=False),
        _StandIn(num_classes=19),
        cityscapes,
        also_save_raw_predictions=True,
    )
    ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    expected = _expected("second", 19)
    assert len(np.unique(expected)) == 19
    np.testing.assert_array_equal(
        tiny.read_png(logdir / visualizer.RAW_RESULTS / "second.png"), np.array(ids)[expected]
    )
    # The colors are still those of the training ids.
    colors = get_dataset_colormap.create_label_colormap("cityscapes")
    np.testing.assert_array_equal(_results(logdir, "prediction", "000001"), colors[expected])


def test_the_panel_has_the_label_only_where_there_is_one(tmp_path):
    labeled = _run(tmp_path / "with", _batches())
    plain = _run(tmp_path / "without", _batches(labeled=False))
    # Four pictures side by side, or three.
    with_label, without = (_results(logdir, "panel").shape for logdir in (labeled, plain))
    assert with_label[1] == pytest.approx(without[1] * 4 / 3, rel=0.05)
    for title in ("image", "prediction", "overlay"):
        np.testing.assert_array_equal(_results(labeled, title), _results(plain, title))


def test_batches_need_no_label_at_all(tmp_path):
    batches = [
        {key: value for key, value in batch.items() if key != "label"} for batch in _batches()
    ]
    assert len(tiny.files(_run(tmp_path, batches))) == 12


def test_the_overlay_shows_image_and_prediction(tmp_path):
    overlay = _results(_run(tmp_path, _batches()), "overlay").astype(int)
    image, colors = tiny.picture(*_SIZES["first"]).astype(int), _COLORMAP[_expected("first")]
    low, high = np.minimum(image, colors), np.maximum(image, colors)
    assert ((overlay >= low - 1) & (overlay <= high + 1)).all()
    assert np.abs(overlay - image).mean() > 10
    assert (overlay != colors).any()


def test_images_may_keep_their_names(tmp_path):
    logdir = _run(tmp_path, _batches(), name_by_image=True)
    titles = ("image", "overlay", "panel", "prediction")
    expected = [f"{name}_{title}.png" for name in _SIZES for title in titles]
    assert tiny.files(logdir / visualizer.RESULTS) == expected


def test_resized_images_get_back_their_size(tmp_path):
    resize = {"min_resize_value": 25, "max_resize_value": 33}
    batches = _batches(3, **resize)
    (batch,) = batches
    logdir = _run(tmp_path, batches, _StandIn(**resize), also_save_raw_predictions=True)
    for index, (name, (height, width)) in enumerate(_SIZES.items()):
        rows, columns = batch["original_size"][index].numpy()
        small = batch["image"][index, :rows, :columns, 0].numpy().astype(int) % 4
        # The pixel nearest to each, corners aligned; a half is rounded up.
        row = np.floor(np.arange(height) * ((rows - 1) / (height - 1)) + 0.5).astype(int)
        column = np.floor(np.arange(width) * ((columns - 1) / (width - 1)) + 0.5).astype(int)
        raw = tiny.read_png(logdir / visualizer.RAW_RESULTS / f"{name}.png")
        assert raw.shape == (height, width)
        # On the way, float32 may round a half the other way.
        assert (raw == small[row[:, np.newaxis], column]).mean() > 0.97
        assert _results(logdir, "image", f"{index:06d}").shape == (height, width, 3)


@pytest.mark.parametrize("size", [(0, 0), (20, -1), (10**6, 10**6)])
def test_a_record_that_does_not_say_the_size_of_a_resized_image_is_named(tmp_path, size):
    resize = {"min_resize_value": 25, "max_resize_value": 33}
    (batch,) = _batches(names=("first",), **resize)
    batch = batch | {"height": tf.constant(size[:1]), "width": tf.constant(size[1:])}
    message = f"image first: its record says that it has {size[1]}x{size[0]} pixels .*image/width"
    with pytest.raises(ValueError, match=message):
        _run(tmp_path, [batch], _StandIn(**resize))


def test_a_named_color_map_counts(tmp_path):
    logdir = _run(tmp_path, _batches(), colormap="ade20k")
    expected = get_dataset_colormap.create_label_colormap("ade20k")[_expected("first")]
    np.testing.assert_array_equal(_results(logdir, "prediction"), expected)


def test_a_color_map_with_too_few_colors_is_an_error(tmp_path):
    many = descriptors.DatasetDescriptor(name="many", num_classes=200, ignore_label=255)
    with pytest.raises(ValueError, match="--colormap_type=ade20k has 151 colors for the 200"):
        visualizer.Visualizer(_StandIn(200), many, str(tmp_path), colormap="ade20k")


def test_a_label_without_a_color_is_an_error_that_names_the_image(tmp_path):
    batches = []
    for batch in _batches(names=("first", "second")):
        second = batch["image_name"][0] == b"second"
        batches.append({**batch, "label": batch["label"] + (100 if second else 0)})
    with pytest.raises(ValueError, match="image second: label value .* has no color"):
        _run(tmp_path, batches)


@pytest.mark.parametrize("devices", [1, 2])
def test_a_full_disk_is_one_error_and_what_is_written_is_whole(tmp_path, monkeypatch, devices):
    """Everything before the error is there; threads may be ahead of it."""
    write = save_annotation.write_pngs

    def write_until_the_disk_is_full(images):
        if any("000005_" in path for path in images):
            raise OSError("no space left for 000005")
        write(images)

    monkeypatch.setattr(save_annotation, "write_pngs", write_until_the_disk_is_full)
    batches = _numbered(_batches() * 4)
    with pytest.raises(OSError, match="no space left for 000005"):
        _run(tmp_path, batches, _StandIn(devices=devices))
    written = tiny.files(tmp_path / "vis" / visualizer.RESULTS)
    counts = collections.Counter(name.partition("_")[0] for name in written)
    assert set(counts.values()) == {4}
    assert set(counts) >= {f"{number:06d}" for number in range(5)}
    assert "000005" not in counts


def test_one_class_everywhere_is_told(tmp_path, caplog):
    class Background(_StandIn):
        def __call__(self, images, sizes):
            return 0 * super().__call__(images, sizes)

    _run(tmp_path, _batches(), Background())
    assert any("every pixel is predicted as class 0 (ground)" in m for m in caplog.messages)


@tiny.eager()
def test_a_trained_network_is_visualized(tmp_path):
    network = predictor.NetworkPredictor(tiny.OPTIONS, net=tiny.shared_network())
    logdir = _run(tmp_path, _batches(3), network)
    # Not as it is padded to the size of its neighbors.
    expected = network(tiny.picture(*_SIZES["second"])[np.newaxis])[0]
    assert len(np.unique(expected)) > 1
    found = _results(logdir, "prediction", "000001")
    np.testing.assert_array_equal(found, _COLORMAP[expected])
