"""The visualization script: from flags to pictures."""

import subprocess
import sys

import numpy as np
import pytest

from deeplab import vis
from deeplab.datasets.conftest import with_orientation
from deeplab.evaluation import visualize
from deeplab.testing import golden, tiny

_SIZES = {"first": (20, 30), "second": (33, 33), "third": (50, 41)}


@pytest.fixture(scope="module", autouse=True)
def _eager():
    """Trace no network: the images are few."""
    with tiny.eager():
        yield


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    samples = {name: (tiny.picture(*size), None) for name, size in _SIZES.items()}
    return tiny.write_records(tmp_path_factory.mktemp("records"), samples)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for name, size in _SIZES.items():
        (folder / f"{name}.png").write_bytes(tiny.png(tiny.picture(*size)))
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset") / "tiny.json"
    tiny.DATASET.save(path)
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return tiny.save(tiny.shared_network(), tmp_path_factory.mktemp("train"), 7)


@pytest.fixture
def checkpoint(saved):
    """A checkpoint, whose network has few blocks."""
    with tiny.shallow():
        yield saved


def _flags(dataset, checkpoint, logdir, *more):
    return (
        f"--dataset={dataset}",
        f"--checkpoint_dir={checkpoint}",
        f"--vis_logdir={logdir}",
        "--vis_crop_size=33,33",
        "--also_save_raw_predictions",
        *more,
    )


@pytest.mark.slow
def test_images_and_records_give_the_same_pictures(records, images, dataset, checkpoint, tmp_path):
    plain, recorded = tmp_path / "plain", tmp_path / "recorded"
    tiny.run(vis, *_flags(dataset, checkpoint, plain, f"--images={images}"))
    tiny.run(vis, *_flags(dataset, checkpoint, recorded, f"--dataset_dir={records}"))
    for number, name in enumerate(_SIZES):
        raw = f"raw_segmentation_results/{name}.png"
        assert (plain / raw).read_bytes() == (recorded / raw).read_bytes()
        assert tiny.read_png(plain / raw).shape == _SIZES[name]
        for title in ("image", "prediction", "overlay", "panel"):
            ours = plain / f"segmentation_results/{name}_{title}.png"
            theirs = recorded / f"segmentation_results/{number:06d}_{title}.png"
            assert ours.read_bytes() == theirs.read_bytes(), (name, title)


def test_a_broken_image_is_named_and_the_others_are_done(images, dataset, checkpoint, tmp_path):
    folder = tmp_path / "images"
    for parent, orientation in (("x", 1), ("y", 6)):
        (folder / parent).mkdir(parents=True)
        data = with_orientation((images / "first.png").read_bytes(), ".png", orientation)
        (folder / parent / "a.png").write_bytes(data)
    (folder / "x" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    flags = _flags(dataset, checkpoint, tmp_path / "vis", f"--images={folder}/*/*.png")
    message = r"1 of 3 images could not be read \(the others are done\): image .*x/b.png"
    with pytest.raises(ValueError, match=message):
        tiny.run(vis, *flags, "--max_number_of_iterations=1")
    for parent in ("x", "y"):
        assert len(tiny.files(tmp_path / "vis" / "segmentation_results" / parent)) == 4
        assert tiny.files(tmp_path / "vis" / "raw_segmentation_results" / parent) == ["a.png"]
    # Photographs are shown upright.
    shown = [tiny.read_png(tmp_path / f"vis/segmentation_results/{p}/a_image.png") for p in "xy"]
    np.testing.assert_array_equal(shown[1], np.rot90(shown[0], -1))


def test_pixels_may_be_shown_as_they_are_stored(dataset, checkpoint, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(visualize, "visualize", lambda *arguments: asked.append(arguments[-1]))
    for flag in ("--exif_orientation", "--noexif_orientation"):
        tiny.run(vis, *_flags(dataset, checkpoint, tmp_path, "--images=x", flag))
    assert [pictures.exif_orientation for pictures in asked] == [True, False]


def test_images_are_never_replaced(images, dataset, checkpoint, tmp_path):
    folder = tmp_path / "segmentation_results"
    folder.mkdir()
    for name in ("a.png", "a_image.png"):
        (folder / name).write_bytes((images / "first.png").read_bytes())
    message = "--vis_logdir: .*a_image.png would replace the image .*a_image.png"
    with pytest.raises(ValueError, match=message):
        tiny.run(vis, *_flags(dataset, checkpoint, tmp_path, f"--images={folder}"))
    assert tiny.files(folder) == ["a.png", "a_image.png"]


@pytest.mark.slow
def test_several_images_at_a_time(images, dataset, checkpoint, tmp_path):
    pattern = f"--images={images}/*.png"
    flags = _flags(dataset, checkpoint, tmp_path, pattern, "--vis_batch_size=2")
    tiny.run(vis, *flags, "--colormap_type=pascal")
    for name, size in _SIZES.items():
        raw = tiny.read_png(tmp_path / f"raw_segmentation_results/{name}.png")
        assert raw.shape == size
        colors = tiny.read_png(tmp_path / f"segmentation_results/{name}_prediction.png")
        pascal = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]])
        np.testing.assert_array_equal(colors, pascal[raw])


@pytest.mark.slow
def test_a_crf_refines_what_is_shown(images, dataset, checkpoint, tmp_path):
    """The panel is one picture wider: the overlay before it."""
    plain, refined = tmp_path / "plain", tmp_path / "refined"
    flags = (f"--images={images}", "--vis_batch_size=2")
    tiny.run(vis, *_flags(dataset, checkpoint, plain, *flags))
    more = ("--crf", "--crf_iterations=2")
    tiny.run(vis, *_flags(dataset, checkpoint, refined, *flags, *more))
    for name, size in _SIZES.items():
        raw = f"raw_segmentation_results/{name}.png"
        before, after = tiny.read_png(plain / raw), tiny.read_png(refined / raw)
        assert after.shape == size
        assert 0 < np.mean(before != after) < 0.9
        panel = f"segmentation_results/{name}_panel.png"
        wider = tiny.read_png(refined / panel).shape[1] - tiny.read_png(plain / panel).shape[1]
        assert wider > 0


@pytest.mark.slow
def test_large_images_are_seen_in_windows(images, dataset, checkpoint, tmp_path):
    """One that the window covers looks as it does without."""
    plain, windows = tmp_path / "plain", tmp_path / "windows"
    flags = (f"--images={images}", "--vis_batch_size=3")
    tiny.run(vis, *_flags(dataset, checkpoint, plain, *flags))
    more = ("--window=33,35", "--window_overlap=0.4")
    tiny.run(vis, *_flags(dataset, checkpoint, windows, *flags, *more))
    for name, size in _SIZES.items():
        raw = f"raw_segmentation_results/{name}.png"
        whole, parts = tiny.read_png(plain / raw), tiny.read_png(windows / raw)
        assert parts.shape == size
        assert (whole != parts).any() == (name == "third")


def test_a_contact_sheet_shows_images_and_their_predictions(images, dataset, checkpoint, tmp_path):
    sheet = tmp_path / "new/sheet.png"
    flags = _flags(dataset, checkpoint, tmp_path, f"--images={images}", "--vis_batch_size=2")
    tiny.run(vis, *flags, f"--contact_sheet={sheet}")
    assert tiny.files(sheet.parent) == ["sheet.png"]
    drawn = tiny.read_png(sheet)
    colors = tiny.DATASET.label_colors()
    for name in _SIZES:
        raw = tiny.read_png(tmp_path / f"raw_segmentation_results/{name}.png")
        for value in np.unique(raw):
            assert (drawn == colors[value]).all(axis=-1).any()


@pytest.mark.slow
def test_augmented_shows_the_samples_of_training(dataset, tmp_path, caplog):
    caplog.set_level("INFO", logger="absl")
    label = np.tile(np.repeat(np.arange(4, dtype=np.uint8), 10), (30, 1))
    samples = {f"image_{n}": (tiny.picture(30, 40, n), label) for n in range(3)}
    folder = tiny.write_records(tmp_path / "records", samples, split="train")
    flags = (
        f"--dataset={dataset}",
        f"--dataset_dir={folder}",
        "--vis_split=train",
        "--augmented",
        "--train_crop_size=33,33",
        "--model_variant=resnet_v1_50",
        "--max_rotation=30",
        "--random_hue=180",
    )
    sheets = []
    for seed in (0, 1, 0):
        tiny.run(vis, *flags, f"--vis_logdir={tmp_path}/{len(sheets)}", f"--seed={seed}")
        assert tiny.files(tmp_path / str(len(sheets))) == ["augmented.png"]
        sheets.append(tiny.read_png(tmp_path / str(len(sheets)) / "augmented.png"))
    assert "the first 24 samples of training are in" in caplog.text
    np.testing.assert_array_equal(sheets[0], sheets[2])
    assert sheets[0].shape == sheets[1].shape
    assert np.mean(sheets[0] != sheets[1]) > 0.1


@pytest.mark.parametrize(
    "change, message",
    [
        (["--augmented"], "--augmented shows TFRecords: give --dataset_dir"),
        (["--images={}", "--max_rotation=9"], "--max_rotation has no effect without --augmented"),
        (["--images={}", "--checkpoint_dir="], "--checkpoint_dir must be given, or --augmented"),
        (["--augmented", "--dataset_dir=x", "--contact_sheet=s.png"], "contact_sheet=s.png has no"),
        (["--images={}", "--contact_sheet={}"], "--contact_sheet=.* cannot be written"),
        # Before it waits for a checkpoint.
        (
            ["--images={}", "--vis_logdir=/proc/vis", "--checkpoint_dir=/nowhere/model.ckpt-1"],
            "--vis_logdir=/proc/vis cannot be written: /proc: ",
        ),
        (["--images={}", "--contact_sheet=s.jpg"], "--contact_sheet is s.jpg; .* end in .png"),
        (["--images={}", "--contact_sheet={}/first.png"], "first.png would replace the image"),
        ([], "give either --dataset_dir .* or --images "),
        (["--images=x", "--dataset_dir=y"], "give either --dataset_dir .* or --images "),
        (["--images=/nowhere/*.jpg"], r"--images: there is no file /nowhere/\*.jpg"),
        (["--dataset_dir=/nowhere"], "no file matches /nowhere/val-"),
        (["--images={}", "--vis_batch_size=0"], "--vis_batch_size is 0"),
        (["--images={}", "--dataset=cityscapes"], "4 classes, but --dataset=cityscapes has 19"),
    ],
)
def test_what_cannot_be_is_one_error(images, dataset, checkpoint, tmp_path, change, message):
    change = [argument.format(images) for argument in change]
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        tiny.run(vis, *_flags(dataset, checkpoint, tmp_path / "vis", *change))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "vis").exists()


def test_a_bad_record_is_an_error_that_names_it(dataset, checkpoint, tmp_path):
    other_size = np.zeros((9, 9), np.uint8)
    bad = {"good": (tiny.picture(20, 20), None), "bad": (tiny.picture(20, 20), other_size)}
    folder = tiny.write_records(tmp_path / "records", bad)
    message = r"record 1 of .* \(bad\) has a label that is 9x9 .* the image is 20x20"
    with pytest.raises(ValueError, match=message):
        tiny.run(vis, *_flags(dataset, checkpoint, tmp_path / "vis", f"--dataset_dir={folder}"))


@pytest.mark.slow
def test_a_real_network_finds_what_is_in_the_photographs(tmp_path):
    """The published objects, with the weights and photographs where they are at hand."""
    path = golden.shared("data/checkpoints/deeplabv3_mnv2_dm05_pascal") / "model.ckpt"
    photographs = golden.shared("data/voc_mini/VOCdevkit/VOC2012/JPEGImages")
    tiny.run(
        vis,
        f"--checkpoint_dir={path}",
        f"--images={photographs}",
        f"--vis_logdir={tmp_path}",
        "--vis_crop_size=257,257",
        "--min_resize_value=257",
        "--max_resize_value=257",
        "--depth_multiplier=0.5",
        "--output_stride=8",
        "--also_save_raw_predictions",
    )
    found = {}
    for name in ("2011_000003", "2011_000006", "2011_000025"):
        labels = tiny.read_png(tmp_path / f"raw_segmentation_results/{name}.png")
        share = np.bincount(labels.ravel(), minlength=21) / labels.size
        found[name] = set(np.flatnonzero(share[1:] > 0.005) + 1)
    bus, car, chair, person = 6, 7, 9, 15
    expected = {
        "2011_000003": {person},
        "2011_000006": {chair, person},
        "2011_000025": {bus, car},
    }
    assert found == expected


@pytest.mark.slow
def test_it_runs_as_a_script(images, dataset, tmp_path):
    # Another process builds it with all its blocks, which are few.
    net = tiny.network(tiny.OPTIONS.replace(model_variant="resnet_v1_18"))
    trained = tiny.save(net, tmp_path / "train", 7)
    flags = _flags(dataset, trained, tmp_path / "vis", f"--images={images}")
    done = subprocess.run(
        [sys.executable, "-m", "deeplab.vis", *flags],
        capture_output=True,
        text=True,
        check=True,
        cwd=str(golden.DATA.parents[2]),
    )
    assert "the pictures are in" in done.stderr
    assert len(tiny.files(tmp_path / "vis")) == 15
