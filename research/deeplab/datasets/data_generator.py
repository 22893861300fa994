"""The input pipeline: batches for training and evaluation, from TFRecords.

For training it is a pure function of records, seed and step: see `Dataset.training`.
"""

import contextlib
from collections.abc import Iterator

import tensorflow as tf
from absl import logging

from deeplab import input_preprocess
from deeplab.core.options import RandomScale
from deeplab.datasets import examples, shards
from deeplab.datasets.descriptors import DatasetDescriptor
from deeplab.input_preprocess import Preprocessing

# Marks the padding of a batch before it gets its color; no image has such values.
_NO_PIXEL = -1.0


class Dataset:
    """A split of a dataset, in TFRecords with the official features.

    Every batch is a dict with the official keys:
        image: float32 [B, height, width, 3], 0..255.
        label: int32 [B, height, width, 1].
        image_name: string [B], the feature `image/filename`.
        height: int64 [B], the feature `image/height`: of the image before preprocessing.
        width: int64 [B], the feature `image/width`.

    Images are decoded by what they are, JPEG or PNG; the feature `image/format` is not read.

    Attributes:
        descriptor: what the dataset is.
        split_name: the split.
        files: the records of its files, to be read by number.
        paths: its files.

    Reference: official `data_generator.Dataset`.
    """

    def __init__(
        self,
        descriptor: DatasetDescriptor,
        split_name: str,
        dataset_dir: str,
        preprocessing: Preprocessing,
        *,
        scales: RandomScale | None = None,
        seed: int = 0,
        cache_bytes: int = 2**29,
    ):
        """Finds the records of the split.

        Args:
            descriptor: what the dataset is.
            split_name: the split, by any of its names; its files are those of `shards.find`.
            dataset_dir: the folder they are in, local or of any file system of `tf.io.gfile`.
            preprocessing: how images and labels are prepared. Its ignore label is replaced by that
                of the dataset.
            scales: the random scales in training. None: images are not scaled.
            seed: what order and augmentation in training depend on.
            cache_bytes: training keeps the encoded records in memory if they take at most this.

        Raises:
            FileNotFoundError: there are no files.
            ValueError: a file is truncated or corrupt, or there are no records in any.
        """
        self.descriptor = descriptor
        self.split_name = split_name
        self.files = shards.open_split(dataset_dir, descriptor.split_names(split_name))
        self.paths = self.files.paths
        expected = descriptor.split_size(split_name)
        if expected is not None and expected != len(self):
            logging.warning(
                "split %s in %s has %d images; that of %s has %d",
                *(split_name, dataset_dir, len(self), descriptor.name, expected),
            )
        self._seed = seed
        self._cache_bytes = cache_bytes
        self._preprocessing = preprocessing.replace(ignore_label=descriptor.ignore_label)
        self._scales = scales

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    def training(
        self,
        batch_size: int,
        *,
        start_step: int = 0,
        num_shards: int = 1,
        shard: int = 0,
        replicas_per_shard: int = 1,
    ) -> tf.data.Dataset:
        """Batches of random crops, without end.

        Step k trains on the samples number `k * batch_size` to `(k + 1) * batch_size - 1`. Sample n
        is one record with one augmentation, and both depend on the records, the seed and n alone:
        starting at a later step, or reading a step's samples in several shards, changes nothing.
        Every `len(self)` samples, from a multiple of it, show each record once, in a new order.

        Of a step's samples, each shard takes `batch_size / num_shards` neighboring ones, and hands
        them out in `replicas_per_shard` batches, so that the shards' batches of a step, one after
        the other, are those samples in order. For a `tf.distribute.InputContext`:
        `num_shards=context.num_input_pipelines`, `shard=context.input_pipeline_id`,
        `replicas_per_shard=context.num_replicas_in_sync // context.num_input_pipelines`.

        Args:
            batch_size: samples of a step, over all shards and replicas.
            start_step: the first step.
            num_shards: number of readers that share a step's samples.
            shard: which of them this is, from 0.
            replicas_per_shard: number of batches that a shard's part of a step is split into.

        Returns:
            Dicts as the class describes, images and labels of the crop size.

        Raises:
            ValueError: `batch_size` cannot be split, a number is out of range, or a record that
                is read into memory is corrupt.
        """
        parts = num_shards * replicas_per_shard
        if batch_size < 1 or batch_size % parts:
            raise ValueError(
                f"a batch size of {batch_size} cannot be split evenly over {parts} replicas"
            )
        if not 0 <= shard < num_shards:
            raise ValueError(f"shard is {shard}; it must be from 0 to {num_shards - 1}")
        if start_step < 0:
            raise ValueError(f"start_step is {start_step}; it must be at least 0")
        if self.files.total_bytes <= self._cache_bytes:
            self.files.load()

        samples = self._sample_numbers(start_step * batch_size)
        if num_shards > 1:
            samples = samples.filter(
                lambda sample, record: sample % batch_size * num_shards // batch_size == shard
            )
        samples = samples.map(
            self._training_sample, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        return _finish(samples.batch(batch_size // parts, drop_remainder=True))

    def evaluation(self, batch_size: int, *, labels_required: bool = True) -> tf.data.Dataset:
        """Batches of whole images, once, in the order of the records; the last may be smaller.

        An image is padded below and right to the crop size and to the largest of its batch.

        Args:
            batch_size: number of images.
            labels_required: whether a record without a label is an error; if not, its label is the
                ignore label everywhere.

        Returns:
            Dicts as the class describes, and with
                original_image: [B, h, w, 3], 0..255, the images before padding to the crop size;
                    float32 if they were resized, else uint8; padded with 0 to the batch's largest.
                original_size: int32 [B, 2], height and width of the original images.
        """
        samples = tf.data.Dataset.range(len(self)).map(
            lambda record: self._evaluation_sample(record, labels_required),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        padding: dict[str, float | int | None] = dict.fromkeys(samples.element_spec)
        padding["image"] = _NO_PIXEL
        padding["label"] = self.descriptor.ignore_label
        batches = samples.padded_batch(batch_size, padding_values=padding)

        def fill(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            image, mean_pixel = batch["image"], self._preprocessing.mean_pixel
            return {**batch, "image": tf.where(image == _NO_PIXEL, mean_pixel, image)}

        return _finish(batches.map(fill))

    @contextlib.contextmanager
    def named_errors(self, labels_required: bool = True) -> Iterator[None]:
        """Within it, an operation's error that is due to a bad record says which it is.

        Operations do not know the record that they fail on, so that all are checked then. Use it
        around what takes a batch: `with records.named_errors(): batch = next(batches)`.

        Args:
            labels_required: whether a record without a label is a bad one.

        Raises:
            ValueError: a record is bad; see `check`. Any error that is not due to a record passes.
        """
        try:
            yield
        except examples.RECORD_ERRORS:
            logging.info("an image cannot be read; looking for it among %d records", len(self))
            self.check(labels_required)
            raise

    def check(self, labels_required: bool = True) -> None:
        """Reads and decodes all records.

        Args:
            labels_required: whether a record without a label is a bad one.

        Raises:
            ValueError: some are bad; the message names the first, its file and its image, says
                what is wrong with it, and how many others there are.
        """

        def decoded(record: tf.Tensor) -> tf.Tensor:
            examples.decode(self.files.read(record), self._absent_label(labels_required))
            return record

        good = (
            tf.data.Dataset.range(len(self))
            .map(decoded, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
            .ignore_errors()
        )
        bad = sorted(set(range(len(self))) - {int(record) for record in good.as_numpy_iterator()})
        if bad:
            more = f" ({len(bad) - 1} other records are bad, too)" if len(bad) > 1 else ""
            example = self.files[bad[0]]  # Says itself that a record is corrupt.
            try:
                examples.check(example, labels_required)
            except ValueError as error:
                raise ValueError(f"{self.files.describe(bad[0])} {error}{more}") from None

    def _absent_label(self, labels_required: bool) -> int | None:
        return None if labels_required else self.descriptor.ignore_label

    def _sample_numbers(self, first: int) -> tf.data.Dataset:
        """Pairs of sample number, from `first` on, and record."""

        def epoch_order(epoch: tf.Tensor) -> tf.data.Dataset:
            # Seeds that are not those of samples, which are not negative.
            keys = tf.random.stateless_uniform(
                [len(self)], [self._seed, -1 - epoch], None, None, tf.int64, alg="philox"
            )
            return tf.data.Dataset.from_tensor_slices(tf.argsort(keys, stable=True))

        epoch, position = divmod(first, len(self))
        epochs = tf.data.Dataset.range(epoch, tf.int64.max)
        return tf.data.Dataset.zip(
            tf.data.Dataset.range(first, tf.int64.max),
            epochs.flat_map(epoch_order).skip(position),
        )

    def _training_sample(self, sample: tf.Tensor, record: tf.Tensor) -> dict[str, tf.Tensor]:
        features, image, label = examples.decode(self.files.read(record), absent_label=None)
        image, label = input_preprocess.preprocess_for_training(
            image, label, [self._seed, sample], self._preprocessing, self._scales
        )
        return {"image": image, "label": label, **_facts(features)}

    def _evaluation_sample(self, record: tf.Tensor, labels_required: bool) -> dict[str, tf.Tensor]:
        features, image, label = examples.decode(
            self.files.read(record), self._absent_label(labels_required)
        )
        original_image, image, label = input_preprocess.preprocess_for_evaluation(
            image, label, self._preprocessing
        )
        return {
            "image": image,
            "label": label,
            "original_image": original_image,
            "original_size": tf.shape(original_image)[:2],
            **_facts(features),
        }


def pairs(batches: tf.data.Dataset) -> tf.data.Dataset:
    """The images and labels of a `Dataset`'s batches, as `keras.Model.fit` takes them.

    Example:
        net.fit(pairs(records.training(8)), steps_per_epoch=100, epochs=3)

    Args:
        batches: of `Dataset.training` or `Dataset.evaluation`.

    Returns:
        Tuples of images, float32 [B, height, width, 3], and labels, int32 [B, height, width, 1].
    """
    return batches.map(lambda batch: (batch["image"], batch["label"]))


def _facts(features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {
        "image_name": features["image/filename"],
        "height": features["image/height"],
        "width": features["image/width"],
    }


def _finish(batches: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    # `training` shards by itself.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)
