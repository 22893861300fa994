"""Converts datasets of the library tensorflow_datasets; the body of build_tfds_data."""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
from absl import logging

from deeplab.annotations import lists
from deeplab.core import error_text
from deeplab.core.options import RunnerOptions
from deeplab.datasets import build_data, conversion, images, label_files
from deeplab.datasets.build_data import Sample
from deeplab.datasets.descriptors import DatasetDescriptor
from deeplab.datasets.image_formats import image_format
from deeplab.datasets.label_files import LabelReader
from deeplab.datasets.tfds_options import TfdsOptions

# Features in which datasets keep the name of an image's file.
_NAMES = ("file_name", "filename", "image/filename")


def convert(options: TfdsOptions, runner: RunnerOptions | None = None) -> None:
    """Write the records of all splits, and the descriptor.

    Args:
        options: Options of the conversion.
        runner: This machine or a pipeline. None: this machine.

    Raises:
        ValueError: The library is not installed; there is no such dataset, split or feature; the
            classes are unknown; or an example is bad.
    """
    splits = _splits(options)
    builder = _builder(options)
    features = builder.info.features
    for flag in ("image_feature", "label_feature"):
        name = getattr(options, flag)
        if name not in features:
            raise ValueError(
                f"{options.name} has no feature {name!r} (--{flag}); it has {sorted(features)}"
            )
    sizes = {}
    for name, split in splits.items():
        try:
            sizes[name] = builder.info.splits[split].num_examples
        except (KeyError, ValueError, AssertionError) as error:
            raise ValueError(
                f"{options.name} has no split {split!r} (--split); it has"
                f" {sorted(builder.info.splits)} ({error_text.one_line(error)})"
            ) from None
    descriptor = _descriptor(options, builder, sizes)
    labels = LabelReader(
        descriptor,
        options.replacements,
        remedy="change --num_classes, --class_names, --ignore_label or --label_map",
    )
    conversion.convert(
        {
            name: TfdsSamples(options, labels, name, split, 0, sizes[name])
            for name, split in splits.items()
        },
        options.output_dir,
        options.num_shards,
        runner=runner,
    )
    path = os.path.join(options.output_dir, "dataset.json")
    descriptor.save(path)
    logging.info(
        "wrote %s; use it with --dataset=%s --dataset_dir=%s", path, path, options.output_dir
    )


def _splits(options: TfdsOptions) -> dict[str, str]:
    """Return the library's split for each name of a split."""
    splits: dict[str, str] = {}
    for entry in options.split:
        name, equals, split = entry.partition("=")
        if not name or (equals and not split):
            raise ValueError(f"--split is {entry!r}; it takes <split> or <name>=<split>")
        if fault := lists.split_name_fault(name):
            raise ValueError(f"--split={entry}: the split's name {fault}")
        if name in splits:
            raise ValueError(f"--split={entry}: there is another split {name}")
        splits[name] = split or name
    return splits


def _builder(options: TfdsOptions) -> Any:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ValueError(
            f"tensorflow_datasets cannot be imported ({error}): pip install 'deeplab[tfds]'"
        ) from None
    try:
        builder = tfds.builder(options.name, data_dir=options.data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(
            f"tensorflow_datasets has no dataset {options.name!r} (--name):"
            f" {error_text.one_line(error)}"
        ) from None
    except (AssertionError, ValueError) as error:  # Of versions and configurations.
        raise ValueError(f"--name={options.name}: {error_text.one_line(error)}") from None
    builder.download_and_prepare()
    return builder


def _descriptor(options: TfdsOptions, builder: Any, sizes: Mapping[str, int]) -> DatasetDescriptor:
    feature = builder.info.features[options.label_feature]
    own, own_number = getattr(feature, "names", None), getattr(feature, "num_classes", None)
    # Names stay those of their labels if other values are replaced, or labels are ignored.
    if any(
        value < (own_number or 0) and label != options.ignore_label
        for value, label in options.replacements.items()
    ):
        own = own_number = None
    names = options.names or (tuple(own) if own else None)
    number = options.num_classes or (len(names) if names else own_number)
    if number is None:
        raise ValueError(
            f"{options.name} does not name the classes of {options.label_feature}, or --label_map"
            " changes them: set --class_names or --num_classes"
        )
    if names and len(names) != number:
        raise ValueError(f"--num_classes is {number}; there are {len(names)} names of classes")
    return DatasetDescriptor(
        name=builder.name,
        num_classes=number,
        ignore_label=options.ignore_label,
        splits_to_sizes=dict(sizes),
        class_names=tuple(name.strip() for name in names) if names else None,
    )


@dataclasses.dataclass(frozen=True)
class TfdsSamples:
    """Samples that are examples of the library.

    Args:
        options: The dataset.
        labels: Reads and checks the labels.
        name: Name of the split here.
        split: Split of the library, or a part of one.
        start: Number of the first one.
        stop: Number after the last one.
    """

    options: TfdsOptions
    labels: LabelReader
    name: str
    split: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def part(self, start: int, stop: int) -> Self:
        """Return those with the numbers from `start` on, before `stop`."""
        first, end = (min(self.start + number, self.stop) for number in (start, stop))
        return dataclasses.replace(self, start=first, stop=end)

    def read(
        self, may_lack_labels: bool, num_processes: int | None
    ) -> Iterator[Sample | ValueError]:
        """Yield the samples in order; see `samples.Samples`."""
        del may_lack_labels, num_processes  # All have labels; the library has threads of its own.
        import tensorflow_datasets as tfds

        builder = _builder(self.options)
        # What is stored is stored again, bit for bit, if it is JPEG or PNG.
        skipped = {
            feature: tfds.decode.SkipDecoding()
            for feature in (self.options.image_feature, self.options.label_feature)
            if isinstance(builder.info.features[feature], tfds.features.Image)
        }
        if not len(self):
            return
        examples = builder.as_dataset(
            split=_slice(builder, self.split, self.start, self.stop),
            shuffle_files=False,
            decoders=skipped,
            # One file after the other, so that a part of the split has the same order as the whole.
            read_config=tfds.ReadConfig(interleave_cycle_length=1),
        )
        for index, example in enumerate(examples.as_numpy_iterator(), self.start):
            name = _name(example, f"{self.name}_{index:06}")
            try:
                yield _sample(self.options, self.labels, example, name)
            except ValueError as error:
                yield ValueError(
                    f"{self.options.name}, split {self.split}, example {index} ({name}): {error}"
                )


def _slice(builder: Any, split: str, start: int, stop: int) -> str:
    """Return the split, as the library writes it, that has some examples of a split."""
    import tensorflow_datasets as tfds

    parts = []
    for part in tfds.core.ReadInstruction.from_spec(split).to_absolute(builder.info.splits):
        whole = builder.info.splits[part.splitname].num_examples
        offset, after = part.from_ or 0, whole if part.to is None else part.to
        size = after - offset
        first, end = max(start, 0), min(stop, size)
        if first < end:
            parts.append(f"{part.splitname}[{offset + first}:{offset + end}]")
        start, stop = start - size, stop - size
    return "+".join(parts)


def _name(example: Mapping[str, Any], default: str) -> str:
    for feature in _NAMES:
        if isinstance(example.get(feature), bytes):
            return os.path.splitext(example[feature].decode(errors="replace"))[0]
    return default


def _sample(
    options: TfdsOptions, labels: LabelReader, example: Mapping[str, Any], name: str
) -> Sample:
    """Return the sample of an example; the message of an error is about it."""
    data = example[options.image_feature]
    if not isinstance(data, bytes) or image_format(data) is None:
        data = build_data.encode_image(_pixels(data), None)
    pixels = _pixels(data)
    try:
        label = labels.parse(_label_file(example[options.label_feature]))
    except ValueError as error:
        raise ValueError(f"the label {error}") from None
    if (label.height, label.width) != pixels.shape[:2]:
        raise ValueError(
            f"the image has {pixels.shape[1]}x{pixels.shape[0]} pixels (width x height), but its"
            f" label has {label.width}x{label.height}"
        )
    return Sample(name, data, *pixels.shape[:2], label)


def _pixels(value: bytes | np.ndarray) -> np.ndarray:
    """Return the pixels of an image, uint8 [height, width, 3]."""
    if isinstance(value, bytes):
        try:
            return images.decode(value).pixels
        except ValueError as error:
            raise ValueError(f"the image {error}") from None
    if not isinstance(value, np.ndarray):
        raise ValueError(f"the image is {_described(value)}")
    if value.dtype != np.uint8 or value.ndim != 3 or value.shape[2] not in (1, 3, 4):
        raise ValueError(f"the image is {value.dtype} of the shape {value.shape}")
    return np.repeat(value, 3, axis=2) if value.shape[2] == 1 else value[..., :3]


def _described(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a group of features, {sorted(value)}; it must be an image"
    return f"of the type {type(value).__name__}; it must be an image"


def _label_file(value: bytes | np.ndarray) -> bytes:
    """Return the content of a label file."""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, np.ndarray):
        raise ValueError(f"is {_described(value)}")
    if value.ndim == 3 and value.shape[2] == 1:
        value = value[..., 0]
    if value.ndim != 2 or value.dtype.kind not in "uib":
        raise ValueError(f"is {value.dtype} of the shape {value.shape}")
    if value.size and not 0 <= value.min() <= value.max() <= np.iinfo(np.uint16).max:
        raise ValueError(f"has values from {value.min()} to {value.max()}")
    return label_files.encode(value.astype(np.uint16 if value.max(initial=0) > 255 else np.uint8))
