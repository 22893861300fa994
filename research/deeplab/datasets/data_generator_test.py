"""The input pipeline: official samples, and a stream that is a function of seed and step."""

import dataclasses

import cv2
import numpy as np
import pytest
import tensorflow as tf

from deeplab.core.options import AugmentationOptions, RandomScale
from deeplab.datasets import data_generator, split_statistics
from deeplab.datasets.descriptors import DatasetDescriptor
from deeplab.input_preprocess import Preprocessing
from deeplab.testing import golden

MEAN_PIXEL = (123.15, 115.9, 103.06)
SIZES = ((20, 30), (40, 25), (33, 33), (50, 60), (21, 21), (37, 44), (64, 40))
DESCRIPTOR = DatasetDescriptor(name="tiny", num_classes=200, ignore_label=255)


def _encode(pixels, extension):
    return cv2.imencode(extension, pixels[..., ::-1] if pixels.ndim == 3 else pixels)[1].tobytes()


def _picture(size, seed=0):
    random = np.random.default_rng([seed, *size])
    image = cv2.resize(random.integers(0, 256, (5, 6, 3)).astype(np.uint8), size[::-1])
    return image, random.integers(0, 200, size).astype(np.uint8)


def _example(image=b"", label=b"", name="", height=0, width=0, **more):
    def feature(value):
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    values = {
        "image/encoded": image,
        "image/segmentation/class/encoded": label,
        "image/filename": name.encode(),
        "image/height": height,
        "image/width": width,
        **more,
    }
    values = {key: feature(value) for key, value in values.items() if value not in (b"", 0)}
    return tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString()


def _official(size, name, seed=0):
    image, label = _picture(size, seed)
    return _example(
        _encode(image, ".jpg"),
        _encode(label, ".png"),
        name,
        *size,
        **{
            "image/channels": 3,
            "image/format": b"png",  # As the official ADE20K converter says of its JPEG files.
            "image/segmentation/class/format": b"png",
        },
    )


def _write(folder, examples, split="train", shards=2):
    folder.mkdir(exist_ok=True)
    for shard in range(shards):
        path = folder / f"{split}-{shard:05}-of-{shards:05}.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for example in examples[shard::shards]:
                writer.write(example)
    return folder


def _dataset(folder, **options):
    prepared = {"crop_size": (33, 33), "mean_pixel": MEAN_PIXEL}
    for field in dataclasses.fields(Preprocessing):
        if field.name in options:
            prepared[field.name] = options.pop(field.name)
    split = options.pop("split_name", "train")
    descriptor = options.pop("descriptor", DESCRIPTOR)
    return data_generator.Dataset(descriptor, split, folder, Preprocessing(**prepared), **options)


SCALES = {
    "scales": RandomScale(min_scale_factor=0.5, max_scale_factor=2.0, scale_factor_step_size=0.25)
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    examples = [_official(size, f"image_{i}") for i, size in enumerate(SIZES)]
    return _write(tmp_path_factory.mktemp("records"), examples)


@pytest.fixture(scope="module")
def stream(folder):
    """The first samples of training. Tests compare others with them: a pipeline takes a second."""
    (batch,) = _take(_dataset(folder, **SCALES).training(42), 1)
    return batch


def _samples(stream, first, last):
    """The batch of the samples `first` to `last - 1`."""
    return {key: value[first:last] for key, value in stream.items()}


def _take(batches, number):
    return [{k: v.numpy() for k, v in batch.items()} for batch in batches.take(number)]


def _assert_same(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key], err_msg=key)


def _join(batches):
    return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}


# Evaluation.


@pytest.mark.parametrize("name", list(golden.misc("data_generator_eval")[0]))
def test_evaluation_samples_are_like_the_official_ones(name, tmp_path):
    """Keys, types, sizes and padding, for images of the official test's sizes."""
    facts, arrays = golden.misc("data_generator_eval")
    facts = facts[name]
    names = [sample["image_name"][2][0] for sample in facts]
    sizes = [(int(sample["height"][2]), int(sample["width"][2])) for sample in facts]
    examples = [_official(size, name) for size, name in zip(sizes, names, strict=True)]
    crop = facts[0]["image"][0][1]
    mean_pixel = MEAN_PIXEL if name.startswith("resnet") else (127.5, 127.5, 127.5)
    resizing = {"min_resize_value": crop, "max_resize_value": crop, "resize_factor": 16}
    dataset = _dataset(
        _write(tmp_path, examples, "val", shards=1),
        split_name="val",
        crop_size=(crop, crop),
        mean_pixel=mean_pixel,
        **(resizing if crop == 257 else {}),
    )
    batches = list(dataset.evaluation(1))
    assert len(batches) == len(facts)
    for number, (batch, expected) in enumerate(zip(batches, facts, strict=True)):
        assert batch.keys() == {*expected, "original_size", "number"}
        for key, (shape, dtype, values) in expected.items():
            assert list(batch[key].shape) == shape
            assert batch[key].dtype == ("string" if dtype == "object" else dtype)
            if key in ("height", "width"):
                assert batch[key].numpy()[0] == values
        assert batch["image_name"].numpy()[0].decode() == names[number]
        # Padding is where it is in the official sample.
        theirs = arrays[f"{name}_{number}_image"]
        ours = batch["image"].numpy()[:, ::24, ::24]
        height, width = expected["original_image"][0][1:3]
        padding = np.ones(theirs.shape[:3], bool)
        padding[:, : -(-height // 24), : -(-width // 24)] = False
        np.testing.assert_allclose(ours[padding], theirs[padding], rtol=1e-6)
        their_label = arrays[f"{name}_{number}_label"]
        our_label = batch["label"].numpy()[:, ::16, ::16]
        padding = np.ones(their_label.shape, bool)
        padding[:, : -(-height // 16), : -(-width // 16)] = False
        np.testing.assert_array_equal(our_label[padding], their_label[padding])


def test_evaluation_is_in_the_order_of_the_records(folder):
    dataset = _dataset(folder)
    assert len(dataset) == 7
    names = [batch["image_name"].numpy()[0].decode() for batch in dataset.evaluation(1)]
    assert names == [f"image_{i}" for i in (0, 2, 4, 6, 1, 3, 5)]


def test_evaluation_batches_hold_every_image_whole(folder):
    dataset = _dataset(folder)
    alone = list(dataset.evaluation(1))
    position = 0
    sizes = []
    for batch in dataset.evaluation(3):
        image, label, original = (batch[k].numpy() for k in ("image", "label", "original_image"))
        sizes.append(image.shape)
        for i in range(len(image)):
            one = {key: value.numpy()[0] for key, value in alone[position].items()}
            position += 1
            height, width = one["image"].shape[:2]
            np.testing.assert_array_equal(image[i, :height, :width], one["image"])
            np.testing.assert_array_equal(label[i, :height, :width], one["label"])
            for rest in (np.s_[height:], np.s_[:, width:]):
                assert (image[i][rest] == np.float32(MEAN_PIXEL)).all()
                assert (label[i][rest] == 255).all()
            height, width = one["original_size"]
            assert (height, width) == one["original_image"].shape[:2] == SIZES[_number(one)]
            np.testing.assert_array_equal(original[i, :height, :width], one["original_image"])
            assert (original[i, height:] == 0).all()
            assert (original[i, :, width:] == 0).all()
    assert sizes == [(3, 33, 33, 3), (3, 64, 60, 3), (1, 37, 44, 3)]


def _number(sample):
    return int(sample["image_name"].decode().removeprefix("image_"))


def test_evaluation_twice_is_the_same(folder):
    batches = _dataset(folder).evaluation(2)
    _assert_same(_take(batches, -1), _take(batches, -1))


def test_records_of_the_official_converter():
    folder = golden.DATA / "misc/tfrecords_voc"
    options = {"split_name": "val", "crop_size": (33, 33)}
    (first, *_) = _dataset(folder / "tfrecord", **options).evaluation(1)
    name = first["image_name"].numpy()[0].decode()
    label = cv2.imread(str(folder / f"SegmentationClassRaw/{name}.png"), cv2.IMREAD_UNCHANGED)
    height, width = label.shape
    assert (first["height"].numpy()[0], first["width"].numpy()[0]) == label.shape
    np.testing.assert_array_equal(first["label"].numpy()[0, :height, :width, 0], label)


# What is decoded.


def test_jpegs_are_decoded_as_by_the_official_operation(folder, tmp_path):
    size = (47, 61)
    image, label = _picture(size)
    encoded = _encode(image, ".jpg")
    _write(tmp_path, [_example(encoded, _encode(label, ".png"))])
    (batch,) = _dataset(tmp_path, crop_size=(5, 5)).evaluation(1)
    np.testing.assert_array_equal(batch["original_image"][0], tf.io.decode_jpeg(encoded, 3))
    np.testing.assert_array_equal(batch["label"][0, ..., 0], label)


@pytest.mark.parametrize("kind", ["rgb", "gray", "rgba", "16 bit"])
def test_pngs_are_decoded_as_by_the_official_operation(kind, tmp_path):
    image, label = _picture((17, 19))
    pixels = {
        "rgb": image,
        "gray": image[..., 0],
        "rgba": np.concatenate([image, label[..., None]], -1),
        "16 bit": image.astype(np.uint16) * 257,
    }[kind]
    encoded = cv2.imencode(".png", pixels)[1].tobytes()
    _write(tmp_path, [_example(encoded, _encode(label, ".png"))])
    (batch,) = _dataset(tmp_path, crop_size=(5, 5)).evaluation(1)
    expected = tf.io.decode_png(encoded, 3)
    np.testing.assert_array_equal(batch["original_image"][0], expected)


@pytest.mark.slow
def test_records_with_nothing_but_the_images(tmp_path):
    image, label = _picture((20, 30))
    _write(tmp_path, [_example(_encode(image, ".png"), _encode(label, ".png"))])
    for batches in (_dataset(tmp_path).evaluation(1), _dataset(tmp_path).training(1)):
        (batch,) = batches.take(1)
        assert batch["image_name"].numpy() == [b""]
        assert batch["height"].numpy() == batch["width"].numpy() == [0]


# Training: the stream.


def test_training_batches(folder):
    batches = _dataset(folder, **SCALES).training(4)
    (batch,) = batches.take(1)
    spec = {key: (value.shape.as_list(), value.dtype.name) for key, value in batch.items()}
    assert spec == {
        "image": ([4, 33, 33, 3], "float32"),
        "label": ([4, 33, 33, 1], "int32"),
        "image_name": ([4], "string"),
        "height": ([4], "int64"),
        "width": ([4], "int64"),
    }
    assert batches.element_spec["image"].shape == (4, 33, 33, 3)
    for i, name in enumerate(batch["image_name"].numpy()):
        number = int(name.decode().removeprefix("image_"))
        assert (batch["height"][i], batch["width"][i]) == SIZES[number]


@pytest.mark.slow
def test_pairs_are_the_images_and_labels_of_the_batches(folder):
    dataset = _dataset(folder)
    for batches in (dataset.training(2).take(2), dataset.evaluation(2)):
        pairs = list(data_generator.pairs(batches))
        for (image, label), batch in zip(pairs, batches, strict=True):
            np.testing.assert_array_equal(image, batch["image"])
            np.testing.assert_array_equal(label, batch["label"])


def test_training_labels_belong_to_their_images(folder):
    """Without scaling and padding, a crop is a window of the image it is named after."""
    for batch in _take(_dataset(folder, crop_size=(20, 20)).training(7), 3):
        for i, name in enumerate(batch["image_name"]):
            number = int(name.decode().removeprefix("image_"))
            image, label = _picture(SIZES[number])
            image = tf.io.decode_jpeg(_encode(image, ".jpg")).numpy()
            crop, crop_label = batch["image"][i], batch["label"][i, ..., 0]
            views = [(image, label), (image[:, ::-1], label[:, ::-1])]
            assert any(
                np.abs(view[y : y + 20, x : x + 20] - crop).max() < 1e-3
                and (label_view[y : y + 20, x : x + 20] == crop_label).all()
                for view, label_view in views
                for y in range(label.shape[0] - 19)
                for x in range(label.shape[1] - 19)
            )


def test_every_epoch_is_a_permutation_of_all_records(folder):
    (batch,) = _take(_dataset(folder).training(7 * 30), 1)
    names = list(batch["image_name"])
    epochs = [tuple(names[i : i + 7]) for i in range(0, len(names), 7)]
    assert {frozenset(epoch) for epoch in epochs} == {frozenset(names)}
    assert len(set(epochs)) > 25


def test_every_place_in_an_epoch_shows_every_record_as_often(folder):
    epochs = 2000
    numbers = _dataset(folder)._sample_numbers(0).take(7 * epochs).batch(7 * epochs)
    _, order = numbers.get_single_element()
    order = order.numpy().reshape(epochs, 7)
    counts = np.array([np.bincount(place, minlength=7) for place in order.T])
    expected = epochs / 7
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 36 + 4 * np.sqrt(2 * 36)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cache_bytes", "start_steps"),
    [
        pytest.param(0, (7,), id="files"),
        # Within the first epoch, at its last sample, and in later epochs.
        pytest.param(2**30, (1, 2, 7, 11), id="memory"),
    ],
)
def test_starting_later_gives_the_same_batches(folder, stream, cache_bytes, start_steps):
    dataset = _dataset(folder, cache_bytes=cache_bytes, **SCALES)
    for start_step in start_steps:
        batches = _take(dataset.training(3, start_step=start_step), 12 - start_step)
        _assert_same([_join(batches)], [_samples(stream, 3 * start_step, 36)])


def test_where_the_records_are_kept_changes_nothing(folder, stream):
    read = _dataset(folder, cache_bytes=0, **SCALES)
    _assert_same(_take(read.training(20), 1), [_samples(stream, 0, 20)])


@pytest.mark.slow
def test_starting_far_in_the_future_takes_no_time(folder):
    step = 10**12
    dataset = _dataset(folder, **SCALES)
    (batch,) = _take(dataset.training(4, start_step=step), 1)
    halves = _take(dataset.training(2, start_step=2 * step), 2)
    _assert_same([batch], [_join(halves)])


def test_the_batch_size_does_not_change_the_samples(folder, stream):
    by_three = _take(_dataset(folder, **SCALES).training(3), 8)
    _assert_same([_join(by_three)], [_samples(stream, 0, 24)])


@pytest.mark.slow
def test_another_seed_gives_another_stream(folder, stream):
    streams = [stream["image"][:14].tobytes()]
    for seed in (1, -5, 2**40):
        (batch,) = _take(_dataset(folder, seed=seed, **SCALES).training(14), 1)
        streams.append(batch["image"].tobytes())
    assert len(set(streams)) == 4


@pytest.mark.parametrize(
    ("shards", "replicas"),
    [
        pytest.param(3, 1, marks=pytest.mark.slow),
        (1, 3),
        pytest.param(2, 3, marks=pytest.mark.slow),
    ],
)
def test_shards_together_give_the_whole_stream(folder, stream, shards, replicas):
    steps = 4
    dataset = _dataset(folder, **SCALES)
    whole = [_samples(stream, 12 + 6 * step, 18 + 6 * step) for step in range(steps)]
    parts = []
    for shard in range(shards):
        batches = dataset.training(
            6, start_step=2, num_shards=shards, shard=shard, replicas_per_shard=replicas
        )
        part = _take(batches, steps * replicas)
        assert all(len(batch["image"]) == 6 // (shards * replicas) for batch in part)
        parts.append(part)
    together = [
        _join([batch for part in parts for batch in part[step * replicas : (step + 1) * replicas]])
        for step in range(steps)
    ]
    _assert_same(together, whole)


@pytest.mark.slow
def test_distributed_datasets_give_the_whole_stream(folder, stream):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    dataset = _dataset(folder, **SCALES)

    def batches(context):
        return dataset.training(
            context.get_per_replica_batch_size(4) * context.num_replicas_in_sync,
            num_shards=context.num_input_pipelines,
            shard=context.input_pipeline_id,
            replicas_per_shard=context.num_replicas_in_sync // context.num_input_pipelines,
        )

    distributed = iter(strategy.distribute_datasets_from_function(batches))
    ours = [{k: v.numpy() for k, v in next(distributed).items()} for _ in range(3)]
    _assert_same([_join(ours)], [_samples(stream, 0, 12)])
    # A distributed dataset is not sharded again.
    distributed = iter(strategy.experimental_distribute_dataset(dataset.training(4)))
    ours = [{k: v.numpy() for k, v in next(distributed).items()} for _ in range(3)]
    _assert_same([_join(ours)], [_samples(stream, 0, 12)])


# Every kind of augmentation that the official code does not have.
AUGMENTED = {
    "augmentation": AugmentationOptions(
        class_balanced_sampling=True,
        max_class_share=0.5,
        random_vertical_flip=True,
        random_quarter_turns=True,
        max_rotation=20,
        random_brightness=32,
        random_contrast=0.5,
        random_saturation=0.5,
        random_hue=36,
        random_blur=1,
    )
}


@pytest.mark.slow
def test_augmented_samples_are_functions_of_seed_and_number(folder):
    """Wherever a run is resumed, and however many hosts read its samples."""
    whole = _take(_dataset(folder, **SCALES, **AUGMENTED).training(6), 4)
    resumed = _dataset(folder, cache_bytes=0, **SCALES, **AUGMENTED)
    parts = _take(resumed.training(6, start_step=2, num_shards=2, shard=1), 2)
    _assert_same(parts, [{key: value[3:] for key, value in batch.items()} for batch in whole[2:]])


def test_images_with_rare_classes_come_more_often(tmp_path):
    """The third class is in one of nine images: it asks for three times."""
    examples = []
    for number in range(9):
        image, _ = _picture((20, 30), number)
        label = np.zeros((20, 30), np.uint8)
        label[:5] = 2 if number == 4 else 255
        label[5:9] = 1
        examples.append(_example(_encode(image, ".jpg"), _encode(label, ".png"), str(number)))
    descriptor = DatasetDescriptor(name="tiny", num_classes=3, ignore_label=255)
    balanced = AugmentationOptions(class_balanced_sampling=True)
    dataset = _dataset(_write(tmp_path, examples), descriptor=descriptor, augmentation=balanced)
    (batch,) = _take(dataset.training(11 * 6), 1)
    for epoch in batch["image_name"].reshape(6, 11):
        counts = np.bincount(epoch.astype(int), minlength=9)
        np.testing.assert_array_equal(counts, [1, 1, 1, 1, 3, 1, 1, 1, 1])


def test_balancing_classes_names_a_record_without_a_label(tmp_path):
    image, _ = _picture((20, 30))
    folder = _write(tmp_path, [_good(), _example(_encode(image, ".jpg"), name="bare")], shards=1)
    balanced = AugmentationOptions(class_balanced_sampling=True)
    dataset = _dataset(folder, augmentation=balanced)
    message = r"record 1 of .* \(bare\) has no label"
    with pytest.raises(ValueError, match=message), dataset.named_errors():
        dataset.training(1)


@pytest.mark.slow
def test_resizing_comes_before_the_augmentation(folder, stream):
    options = {"min_resize_value": 40, "max_resize_value": 49, "resize_factor": 8}
    (batch,) = _take(_dataset(folder, **options, **SCALES).training(7), 1)
    plain = _samples(stream, 0, 7)
    np.testing.assert_array_equal(batch["image_name"], plain["image_name"])
    assert np.abs(batch["image"] - plain["image"]).max() > 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "a batch size of 0 cannot be split"),
        ({"batch_size": 4, "num_shards": 3}, "of 4 cannot be split evenly over 3 replicas"),
        ({"batch_size": 4, "num_shards": 2, "shard": 2}, "shard is 2; it must be from 0 to 1"),
        ({"batch_size": 4, "start_step": -1}, "start_step is -1"),
    ],
)
def test_wrong_arguments(folder, options, message):
    with pytest.raises(ValueError, match=message):
        _dataset(folder).training(**options)


# Bad records.


def _good(name="good"):
    return _official((20, 30), name)


def _bad_examples():
    image, label = _picture((20, 30))
    jpeg, png = _encode(image, ".jpg"), _encode(label, ".png")
    small = _encode(label[:10], ".png")
    return {
        "no label": (
            _example(jpeg, b"", "a/b.jpg"),
            r"has no label \(feature image/segmentation/class/encoded\)",
        ),
        "no image": (_example(b"", png, "a/b.jpg"), r"has no image \(feature image/encoded\)"),
        "cut jpeg": (
            _example(jpeg[: len(jpeg) // 2], png, "a/b.jpg"),
            rf"has an image that is a broken JPEG file.*\({len(jpeg) // 2} bytes\) \(feature",
        ),
        "cut png": (
            _example(jpeg, png[:100], "a/b.jpg"),
            r"has a label that is a broken PNG file.*\(100 bytes\) \(feature image/segm",
        ),
        "text": (
            _example(b"GIF or so", png, "a/b.jpg"),
            "has an image that is neither JPEG nor PNG",
        ),
        "size": (
            _example(jpeg, small, "a/b.jpg"),
            r"has a label that is 30x10 pixels \(width x height\); the image is 30x20",
        ),
    }


@pytest.mark.parametrize(
    "kind",
    [
        kind if kind in ("no label", "cut jpeg") else pytest.param(kind, marks=pytest.mark.slow)
        for kind in _bad_examples()
    ],
)
def test_bad_records_are_named(kind, tmp_path):
    example, message = _bad_examples()[kind]
    # The bad one is the second of the second file.
    _write(tmp_path, [_good(), _good(), _good(), example], shards=2)
    dataset = _dataset(tmp_path)
    path = dataset.paths[1]
    message = rf"^record 1 of {path} \(at byte \d+\) \(a/b.jpg\) {message}"
    for batches in (dataset.training(2), dataset.evaluation(1)):
        with pytest.raises(ValueError, match=message), dataset.named_errors():
            _take(batches, 4)
    with pytest.raises(ValueError, match=message):
        dataset.check()


def test_all_bad_records_are_counted(tmp_path):
    example, _ = _bad_examples()["no label"]
    _write(tmp_path, [_good(), example, _good(), example, example], shards=1)
    with pytest.raises(ValueError, match=r"^record 1 of .*\(2 other records are bad, too\)$"):
        _dataset(tmp_path).check()


def test_good_records_pass_the_check(folder):
    _dataset(folder).check()


def test_errors_that_no_record_causes_pass(folder):
    dataset = _dataset(folder)
    with pytest.raises(tf.errors.InvalidArgumentError, match="another"), dataset.named_errors():
        raise tf.errors.InvalidArgumentError(None, None, "another")
    with pytest.raises(tf.errors.OutOfRangeError), dataset.named_errors():
        raise tf.errors.OutOfRangeError(None, None, "")


def test_corrupt_and_foreign_records_are_named(tmp_path):
    _write(tmp_path, [_good(), b"\xff\xff no example"], shards=1)
    dataset = _dataset(tmp_path, cache_bytes=0)
    with (
        pytest.raises(
            ValueError, match=f"record 1 of {dataset.paths[0]} .* is not a tf.train.Example"
        ),
        dataset.named_errors(),
    ):
        _take(dataset.evaluation(1), 2)
    path = tmp_path / "train-00000-of-00001.tfrecord"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    dataset = _dataset(tmp_path, cache_bytes=0)
    with (
        pytest.raises(ValueError, match=f"record 0 of {path} .* is corrupt"),
        dataset.named_errors(),
    ):
        _take(dataset.training(1), 2)
    with pytest.raises(ValueError, match=f"record 0 of {path} .* is corrupt"):
        _dataset(tmp_path).training(1)


def test_images_without_label_can_be_looked_at(tmp_path):
    image, _ = _picture((20, 30))
    _write(tmp_path, [_good(), _example(_encode(image, ".jpg"), b"", "unlabeled")], shards=1)
    dataset = _dataset(tmp_path)
    labeled, unlabeled = _take(dataset.evaluation(1, labels_required=False), 2)
    assert (labeled["label"][:, :20, :30] != 255).any()
    assert unlabeled["label"].shape == (1, 33, 33, 1)
    assert unlabeled["label"].dtype == np.int32
    assert (unlabeled["label"] == 255).all()
    dataset.check(labels_required=False)


def test_a_bad_label_is_an_error_even_if_none_is_required(tmp_path):
    example, message = _bad_examples()["size"]
    _write(tmp_path, [example], shards=1)
    dataset = _dataset(tmp_path)
    with (
        pytest.raises(ValueError, match=message),
        dataset.named_errors(labels_required=False),
    ):
        _take(dataset.evaluation(1, labels_required=False), 1)


# Splits.


def test_a_split_without_files(folder):
    with pytest.raises(FileNotFoundError, match=f"no file matches {folder}/val-[*]; .* train-0"):
        _dataset(folder, split_name="val")


def test_every_name_of_a_split_finds_its_files(folder):
    """As Cityscapes: the files are called train-*, the split train_fine."""
    descriptor = DatasetDescriptor(
        name="cities", num_classes=200, ignore_label=255, splits_to_sizes={"train_fine": 7}
    )
    assert len(_dataset(folder, descriptor=descriptor, split_name="train_fine")) == 7


def test_a_split_of_another_size_is_mentioned(folder, caplog):
    descriptor = DatasetDescriptor(
        name="tiny", num_classes=200, ignore_label=255, splits_to_sizes={"train": 7}
    )
    _dataset(folder, descriptor=descriptor)
    assert not caplog.records
    descriptor = DatasetDescriptor(
        name="tiny", num_classes=200, ignore_label=255, splits_to_sizes={"train": 8}
    )
    _dataset(folder, descriptor=descriptor)
    assert "has 7 images; that of tiny has 8" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), "1 of the 2 shards .* is missing"),
        (lambda path: path.write_bytes(b""), "is empty, but .* holds records"),
    ],
)
def test_training_evaluation_and_check_have_the_same_error_about_shards(tmp_path, change, message):
    folder = _write(tmp_path, [_official((20, 30), str(index)) for index in range(2)])
    change(tmp_path / "train-00000-of-00002.tfrecord")
    errors = []
    for read in (
        lambda: _dataset(folder),
        lambda: split_statistics.check("train", folder, DESCRIPTOR),
    ):
        with pytest.raises(ValueError, match=message) as error:
            read()
        errors.append(str(error.value))
    assert errors[0] == errors[1]
