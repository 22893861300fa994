"""The input pipeline: batches for training and evaluation, from TFRecords.

For training it is a pure function of records, seed and step: see `Dataset.training`.
"""

import contextlib
import functools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from absl import logging

from deeplab import input_preprocess
from deeplab.core.options import AugmentationOptions, RandomScale
from deeplab.core.wording import agree, counted
from deeplab.datasets import balanced_sampling, examples, shards
from deeplab.datasets.descriptors import DatasetDescriptor
from deeplab.input_preprocess import Preprocessing
from deeplab.sharing.teams import Share
from deeplab.utils.progress import Progress

# Marks the padding of a batch until it gets its color; images have no such value.
_NO_PIXEL = -1.0

# No graph of samples has a Python `if` or loop over tensors. The search for them takes seconds.
_as_written = tf.autograph.experimental.do_not_convert


class Dataset:
    """A split of a dataset, in TFRecords with the official features.

    Every batch is a dict with the official keys:
        image: float32 [B, height, width, 3], 0..255.
        label: int32 [B, height, width, 1].
        image_name: string [B], the feature `image/filename`.
        height: int64 [B], the feature `image/height`: of the image before preprocessing.
        width: int64 [B], the feature `image/width`.

    Images are decoded by their content, JPEG or PNG; the feature `image/format` is not used.

    Args:
        descriptor: The dataset.
        split_name: The split, by any of its names; its files are those of `shards.find`.
        dataset_dir: Folder of the files, local or of any file system of `tf.io.gfile`.
        preprocessing: Preparation of images and labels. The ignore label is that of the data
            set.
        scales: The random scales in training. None: images are not scaled.
        augmentation: Other changes of images in training. None: nothing.
        seed: Seed of order and augmentation in training.
        cache_bytes: Training keeps the encoded records in memory if they take at most this.

    Attributes:
        descriptor: The dataset.
        split_name: The split.
        files: The records of the files, to be read by number.
        paths: The files.

    Raises:
        FileNotFoundError: There are no files.
        ValueError: A shard is missing or empty; a file is truncated or corrupt; or there are no
            records at all.

    Example:
        records = Dataset(descriptor, "train", "tfrecord", Preprocessing(crop_size=(513, 513)))
        for batch in records.training(8): ...

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
        augmentation: AugmentationOptions | None = None,
        seed: int = 0,
        cache_bytes: int = 2**29,
    ):
        self.descriptor = descriptor
        self.split_name = split_name
        self.files = shards.open_split(dataset_dir, descriptor.split_names(split_name))
        self.paths = self.files.paths
        expected = descriptor.split_size(split_name)
        if expected is not None and expected != len(self):
            logging.warning(
                "split %s in %s has %s; that of %s has %d",
                *(split_name, dataset_dir, counted(len(self), "image"), descriptor.name, expected),
            )
        self._seed = seed
        self._cache_bytes = cache_bytes
        self._preprocessing = preprocessing.replace(ignore_label=descriptor.ignore_label)
        self._scales = scales
        self._augmentation = augmentation or AugmentationOptions()

    def __len__(self) -> int:
        """Return the number of images."""
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
        """Return endless batches of random crops.

        Step k trains on the samples number `k * batch_size` to `(k + 1) * batch_size - 1`. Sample n
        is one record with one augmentation. Both depend only on the records, the seed and n: it
        makes no difference to start at a later step, or to read a step's samples in several shards.
        Each epoch of `len(self)` samples contains each record once, in a new order. With
        `class_balanced_sampling` an epoch is longer: it contains each record at least once, those
        with rare classes several times. To know them, all labels are read first.

        Each shard takes `batch_size / num_shards` neighboring samples of a step and returns them in
        `replicas_per_shard` batches. The batches of all shards, one after the other, are the
        samples of the step in order. For a `tf.distribute.InputContext`:
        `num_shards=context.num_input_pipelines`, `shard=context.input_pipeline_id`,
        `replicas_per_shard=context.num_replicas_in_sync // context.num_input_pipelines`.

        Args:
            batch_size: Number of samples of a step, over all shards and replicas.
            start_step: The first step.
            num_shards: Number of readers that share the samples of a step.
            shard: Number of this reader, from 0.
            replicas_per_shard: Number of batches into which a shard's part of a step is split.

        Returns:
            Dicts as the class describes. Images and labels have the crop size.

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

            @_as_written
            def is_own(sample: tf.Tensor, record: tf.Tensor) -> tf.Tensor:
                del record
                return sample % batch_size * num_shards // batch_size == shard

            samples = samples.filter(is_own)
        samples = samples.map(
            self._training_sample, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        return _finish(samples.batch(batch_size // parts, drop_remainder=True))

    def evaluation(
        self, batch_size: int, *, labels_required: bool = True, share: Share | None = None
    ) -> tf.data.Dataset:
        """Return batches of whole images, once, in order; the last may be smaller.

        An image is padded below and right to the crop size and to the largest of its batch.

        Args:
            batch_size: Number of images.
            labels_required: Whether a record without a label is an error. If not, all pixels of its
                label are the ignore label.
            share: The batches to return. None: all.

        Returns:
            Dicts as the class describes, with these keys in addition:
                original_image: [B, h, w, 3], 0..255, the images before padding to the crop size:
                    float32 if they were resized, else uint8; padded with 0 to the batch's largest.
                original_size: int32 [B, 2], height and width of the original images.
                number: int64 [B], the places of the images among all records.
        """
        numbers = (share or Share()).numbers(len(self), batch_size)
        samples = tf.data.Dataset.from_tensor_slices(np.array(numbers, np.int64)).map(
            functools.partial(self._evaluation_sample, labels_required=labels_required),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        padding: dict[str, float | int | None] = dict.fromkeys(samples.element_spec)
        padding["image"] = _NO_PIXEL
        padding["label"] = self.descriptor.ignore_label
        batches = samples.padded_batch(batch_size, padding_values=padding)

        @_as_written
        def fill(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            image, mean_pixel = batch["image"], self._preprocessing.mean_pixel
            return {**batch, "image": tf.where(image == _NO_PIXEL, mean_pixel, image)}

        return _finish(batches.map(fill))

    @contextlib.contextmanager
    def named_errors(self, labels_required: bool = True) -> Iterator[None]:
        """Replace errors of operations on bad records, within a block, by errors that name them.

        Operations do not know the record that they fail on, so all records are checked then.

        Args:
            labels_required: Whether a record without a label is bad.

        Raises:
            ValueError: A record is bad; see `check`. Errors with another cause pass.

        Example:
            with records.named_errors():
                batch = next(batches)
        """
        try:
            yield
        except examples.RECORD_ERRORS:
            logging.info("an image cannot be read; looking for it among %d records", len(self))
            self.check(labels_required)
            raise

    def check(self, labels_required: bool = True) -> None:
        """Read and decode all records.

        Args:
            labels_required: Whether a record without a label is bad.

        Raises:
            ValueError: A record is bad. The message names the first one, its file and its image,
                says what is wrong, and how many others are bad.
        """

        @_as_written
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
            rest = len(bad) - 1
            others = counted(rest, "other record")
            more = f" ({others} {agree(rest, 'is', 'are')} bad, too)" if rest else ""
            example = self.files[bad[0]]  # Raises an error if it is corrupt.
            try:
                examples.check(example, labels_required)
            except ValueError as error:
                raise ValueError(f"{self.files.describe(bad[0])} {error}{more}") from None

    def _absent_label(self, labels_required: bool) -> int | None:
        return None if labels_required else self.descriptor.ignore_label

    def _sample_numbers(self, first: int) -> tf.data.Dataset:
        """Return pairs of the number of a sample, from `first` on, and its record."""

        balanced = self._augmentation.class_balanced_sampling
        epochs = self._balanced_epochs() if balanced else None
        length = len(self) if epochs is None else len(epochs)

        @_as_written
        def epoch_order(epoch: tf.Tensor) -> tf.data.Dataset:
            # Seeds of samples are not negative.
            seed = [self._seed, -1 - epoch]
            if epochs is not None:
                order = epochs.order(tf.convert_to_tensor(seed))
                return tf.data.Dataset.from_tensor_slices(order)
            keys = tf.random.stateless_uniform(
                [len(self)], seed, None, None, tf.int64, alg="philox"
            )
            return tf.data.Dataset.from_tensor_slices(tf.argsort(keys, stable=True))

        epoch, position = divmod(first, length)
        epochs_from = tf.data.Dataset.range(epoch, tf.int64.max)
        return tf.data.Dataset.zip(
            tf.data.Dataset.range(first, tf.int64.max),
            epochs_from.flat_map(epoch_order).skip(position),
        )

    def _balanced_epochs(self) -> balanced_sampling.Epochs:
        """Read all labels; return epochs in which rare classes come more often."""

        @_as_written
        def classes(record: tf.Tensor) -> tf.Tensor:
            label = tf.cast(examples.decode_label(self.files.read(record)), tf.int32)
            return tf.math.bincount(label, minlength=256, maxlength=256) > 0

        records = tf.data.Dataset.range(len(self))
        found = records.map(classes, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        progress, rows = Progress("read", len(self), "labels"), []
        for row in found.as_numpy_iterator():
            rows.append(row)
            progress.advance()
        has_class = np.stack(rows)
        has_class[:, self.descriptor.ignore_label : self.descriptor.ignore_label + 1] = False
        has_class = has_class[:, : self.descriptor.num_classes]
        repetitions = balanced_sampling.repetitions(has_class)
        epochs = balanced_sampling.Epochs(repetitions)
        logging.info(
            "class-balanced sampling: an epoch has %d samples of %d images, of one up to %.1f",
            *(len(epochs), len(self), repetitions.max()),
        )
        return epochs

    @_as_written
    def _training_sample(self, sample: tf.Tensor, record: tf.Tensor) -> dict[str, tf.Tensor]:
        features, image, label = examples.decode(self.files.read(record), absent_label=None)
        image, label = input_preprocess.preprocess_for_training(
            image,
            label,
            [self._seed, sample],
            self._preprocessing,
            self._scales,
            self._augmentation,
        )
        return {"image": image, "label": label, **_facts(features)}

    @_as_written
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
            "number": record,
            **_facts(features),
        }


def pairs(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Return the images and labels of batches, as `keras.Model.fit` takes them.

    Args:
        batches: The result of `Dataset.training` or `Dataset.evaluation`.

    Returns:
        Tuples of images, float32 [B, height, width, 3], and labels, int32 [B, height, width, 1].

    Example:
        net.fit(pairs(records.training(8)), steps_per_epoch=100, epochs=3)
    """

    @_as_written
    def pair(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return batch["image"], batch["label"]

    return batches.map(pair)


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
