"""The samples from which the records of a split are made, and findings about them."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, Self

from absl import logging

from deeplab.core.wording import agree, counted
from deeplab.datasets import build_data, label_files, shared_reading
from deeplab.datasets.build_data import Sample
from deeplab.datasets.label_files import LabelReader
from deeplab.datasets.source_files import Source
from deeplab.utils import file_systems, files

# How many bad files are logged before the conversion stops.
_MAX_ERRORS = 20
# How many remarks about images are logged for a split.
_MAX_REMARKS = 20


class Samples(Protocol):
    """The content of the records of a split. It can be pickled.

    Attributes:
        labels: Reads and checks the labels.
    """

    labels: LabelReader

    def __len__(self) -> int: ...

    def part(self, start: int, stop: int) -> Self:
        """Return those with the numbers from `start` on, before `stop`."""

    def read(
        self, may_lack_labels: bool, num_processes: int | None
    ) -> Iterator[Sample | Exception]:
        """Yield the samples in order; in place of a bad one, its error.

        Args:
            may_lack_labels: Whether a file of a label may be missing.
            num_processes: Number of processes that read. None: as suits their number.
        """


@dataclasses.dataclass(frozen=True)
class FileSamples:
    """Samples that are image and label files.

    Args:
        sources: The files.
        labels: Reads and checks the labels.
    """

    sources: Sequence[Source]
    labels: LabelReader

    def __len__(self) -> int:
        return len(self.sources)

    def part(self, start: int, stop: int) -> Self:
        """Return those with the numbers from `start` on, before `stop`."""
        return dataclasses.replace(self, sources=self.sources[start:stop])

    def read(
        self, may_lack_labels: bool, num_processes: int | None
    ) -> Iterator[Sample | Exception]:
        """Yield the samples in order; see `Samples`."""
        sources = self.sources
        if may_lack_labels:
            sources = [_without_missing_label(source) for source in sources]
        return shared_reading.read_all(sources, self.labels, num_processes)


def _without_missing_label(source: Source) -> Source:
    missing = isinstance(source.label, str) and not file_systems.exists(source.label)
    return dataclasses.replace(source, label=None) if missing else source


@dataclasses.dataclass
class Findings:
    """Errors and remarks about the samples of a split, or of a part of it.

    Args:
        errors: The errors of bad samples, the first ones.
        remarks: The first remarks about suspicious images.
        num_remarks: The number of all remarks.
        only_alpha: Names of the images whose labels are `label_files.only_alpha`.
    """

    errors: list[Exception] = dataclasses.field(default_factory=list)
    remarks: list[str] = dataclasses.field(default_factory=list)
    num_remarks: int = 0
    only_alpha: list[str] = dataclasses.field(default_factory=list)

    def add(self, sample: Sample) -> list[str]:
        """Note the remarks about a sample; return those that are among the first ones."""
        listed = list(sample.remarks[: _MAX_REMARKS - len(self.remarks)])
        self.remarks += listed
        self.num_remarks += len(sample.remarks)
        if sample.label is not None and sample.label.only_alpha:
            self.only_alpha.append(sample.name)
        return listed

    @classmethod
    def merge(cls, parts: Iterable[Self]) -> Self:
        """Return the findings of a split, given those of its parts in order."""
        merged = cls()
        for part in parts:
            merged.errors += part.errors[: _MAX_ERRORS - len(merged.errors)]
            merged.remarks += part.remarks[: _MAX_REMARKS - len(merged.remarks)]
            merged.num_remarks += part.num_remarks
            merged.only_alpha += part.only_alpha
        return merged

    @property
    def is_full(self) -> bool:
        """Whether there are enough errors to stop."""
        return len(self.errors) == _MAX_ERRORS

    def raise_errors(self, split: str, size: int) -> None:
        """Raise the error of a split that has bad samples; log each if there are several.

        Args:
            split: The split.
            size: Its number of samples.
        """
        if len(self.errors) == 1:
            raise self.errors[0]
        if not self.errors:
            return
        for error in self.errors:
            logging.error("%s", error)
        count = f"{len(self.errors)}{' or more' if self.is_full else ''}"
        raise ValueError(
            f"split {split}: {count} of {counted(size, 'image')}"
            f" {agree(len(self.errors), 'is', 'are')} bad (see above), the first:"
            f" {self.errors[0]}"
        )

    def log_rest(self, split: str) -> None:
        """Log how many remarks about a split were not logged, and the remark about all labels."""
        if self.num_remarks > _MAX_REMARKS:
            logging.warning("%s: %d more such remarks", split, self.num_remarks - _MAX_REMARKS)
        if self.only_alpha:
            remark = label_files.only_alpha_remark(self.only_alpha)
            logging.warning("%s: %s", split, remark)


def write_records(
    split: str,
    samples: Samples,
    write: Callable[[bytes], None],
    *,
    label_images: str | None = None,
    num_processes: int | None = None,
    log: Callable[[str], None] = lambda remark: None,
    advance: Callable[[], None] = lambda: None,
) -> Findings:
    """Write the records of samples, up to a bad one, and look for more bad ones.

    Args:
        split: Name of the split. Labels of a test split (`test` or `test_...`) may be missing.
        samples: The samples, of the whole split or of a part of it.
        write: Writes a record.
        label_images: Folder in which the labels are written, too; None for none.
        num_processes: Number of processes that read; see `Samples.read`.
        log: Called with each remark that is among the first ones.
        advance: Called after each sample.
    """
    findings = Findings()
    palette = samples.labels.descriptor.palette() if label_images else None
    for result in samples.read(split.lower().partition("_")[0] == "test", num_processes):
        if isinstance(result, Exception):
            findings.errors.append(result)
            if findings.is_full:
                break
        elif not findings.errors:
            for remark in findings.add(result):
                log(remark)
            seg_data = result.label.data if result.label else None
            example = build_data.image_seg_to_tfexample(
                result.image, result.name, result.height, result.width, seg_data
            )
            write(example.SerializeToString(deterministic=True))
            if label_images and seg_data is not None:
                picture = label_files.with_palette(seg_data, palette)
                files.write_bytes(label_image(label_images, result.name), picture)
        advance()
    return findings


def label_image(folder: str, name: str) -> str:
    """Return where `write_records` writes the label of an image, too."""
    return os.path.join(folder, f"{name}.png")
