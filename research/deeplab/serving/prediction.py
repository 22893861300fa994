"""The body of predict.py: predictions for images and videos."""

import collections
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from deeplab.cli import writable
from deeplab.core.options import PredictOptions
from deeplab.datasets import image_files
from deeplab.evaluation import report
from deeplab.export import runtimes
from deeplab.serving import beam_prediction, chosen_network, outputs, retrying, video
from deeplab.sharing import cluster as clusters
from deeplab.sharing import devices, parallel, teams
from deeplab.utils.progress import Progress


@dataclasses.dataclass(frozen=True)
class _Predicted:
    """An image or a video whose results are saved, or that could not be predicted.

    Args:
        number: Number of the image.
        facts: Facts about it as JSON values; see `outputs.Outputs.facts`.
        summary: The classes in its prediction, as text.
        failed: The message of its error; empty if there is none.
    """

    number: int
    facts: Mapping[str, Any]
    summary: str = ""
    failed: str = ""


def predict(options: PredictOptions) -> None:
    """Predict the classes of images and videos, and write the requested outputs.

    Args:
        options: The network, the images and the results.

    Raises:
        FileNotFoundError: There is no such image or network.
        ValueError: The number of classes differs between the dataset and the network; the network
            cannot be used with windows; a result would replace an image; another host has ended
            with an error; or some images could not be read or predicted, and the others are done.
        ConnectionError: The server or its model cannot be used.
        TimeoutError: Another host has given no sign of life.
    """
    if options.runner == "beam":
        beam_prediction.predict(options)
        return
    cluster = clusters.from_environment(evaluator=True)
    found = [] if options.server else devices.choose(options)
    paths = image_files.find(options.images, video.EXTENSIONS)
    names = image_files.result_names(paths)
    _check_results(options, paths, names)
    networks = [chosen_network.open_network(options, each) for each in found or [None]]
    descriptor = chosen_network.choose_descriptor(options, networks[0])
    writable.make_folder("output_dir", options.output_dir)
    work = _Work(
        options,
        networks,
        outputs.Outputs(options.output_dir, options.outputs, descriptor),
        dict(zip(paths, names, strict=True)),
    )
    failures = image_files.Failures()
    with teams.Team(cluster, os.path.join(options.output_dir, ".predict-hosts")) as team:
        seen = teams.fingerprint(names)
        for task in team.tasks([{"images": seen}]):
            # Now, and not after hours of work of which nobody has the whole.
            teams.check_same_images("images", {0: task["images"], team.share.index: seen})
            facts, failed = {}, {}
            for done in work.do(team.share.numbers(len(paths))):
                facts[done.number] = done.facts
                if done.failed:
                    failed[paths[done.number]] = done.failed
                else:
                    logging.info("%s: %s", paths[done.number], done.summary)
            parts = team.gather({"facts": list(facts.items()), "failed": failed})
            if not parts:
                continue
            everything = [each for part in parts for each in part["facts"]]
            in_order = [each for _, each in sorted(everything, key=lambda item: item[0])]
            _finish(options, work.outputs, in_order)
            failures = image_files.Failures.merge(paths, parts)
    failures.raise_any(len(paths), "predicted" if options.server else "read")


def _check_results(options: PredictOptions, paths: Sequence[str], names: Sequence[str]) -> None:
    """Reject results that would replace an image, and videos for which no output is requested."""
    named = list(zip(paths, names, strict=True))
    videos = [(path, name) for path, name in named if video.is_video(path)]
    if videos and not {"overlay", outputs.JSON} & set(options.outputs):
        raise ValueError(
            f"--outputs={','.join(options.outputs)} writes nothing for the video {videos[0][0]}:"
            " add overlay or json"
        )
    results = outputs.paths(
        options.output_dir,
        options.outputs,
        [name for path, name in named if not video.is_video(path)],
    )
    for _, name in videos:
        results += video.paths(os.path.join(options.output_dir, f"{name}_overlay"))
    image_files.refuse_overwriting("output_dir", paths, results)


def _finish(
    options: PredictOptions, written: outputs.Outputs, facts: Sequence[Mapping[str, Any]]
) -> None:
    """Write the results about all images together."""
    predicted = {each["label"] for image in facts for each in image.get("classes", ())}
    if remark := report.single_class_remark(predicted, written.descriptor.class_names):
        logging.warning(remark)
    if outputs.JSON in options.outputs:
        written.write_json(options.export_path or options.server, facts)
    logging.info("the results are in %s", options.output_dir)


class _Work:
    """Predicts images and videos.

    Args:
        options: The options of the prediction.
        networks: The network, once per device.
        written: Writes the results.
        names: Start of the results' names, by the paths of images and videos.

    Attributes:
        outputs: Writes the results.
    """

    def __init__(
        self,
        options: PredictOptions,
        networks: Sequence[runtimes.Network],
        written: outputs.Outputs,
        names: Mapping[str, str],
    ):
        self.outputs = written
        self._options = options
        self._networks = networks
        self._paths = list(names)
        self._names = names

    def do(self, numbers: Sequence[int]) -> Iterator[_Predicted]:
        """Yield the results of the images and videos with these numbers.

        Images go to the devices one by one; so do the frames of a video.
        """
        videos = [number for number in numbers if video.is_video(self._paths[number])]
        images = [number for number in numbers if not video.is_video(self._paths[number])]
        workers = [functools.partial(self._image, each) for each in self._networks]
        yield from parallel.map_in_order(workers, images)
        yield from map(self._video, videos)

    def _image(self, network: runtimes.Network, number: int) -> _Predicted:
        path, failures = self._paths[number], image_files.Failures()
        image = failures.try_to_read(path, self._options.exif_orientation)
        if image is not None:
            try:
                labels = network.predict(image)
            except retrying.Refused as error:
                failures.add(path, f"image {path}: {error}")
        if failures.messages:
            return self._failed(number, failures.messages[path])
        shares = outputs.class_shares(labels, self.outputs.descriptor.num_classes)
        self.outputs.save_pictures(image, labels, self._names[path])
        return self._done(number, labels.shape, shares)

    def _video(self, number: int) -> _Predicted:
        path, failures = self._paths[number], image_files.Failures()
        try:
            with video.reading(path) as (facts, frames):
                shares, size, count = self._frames(path, facts, frames)
        except retrying.Refused as error:
            failures.add(path, f"video {path}: {error}")
        except video.Unreadable as error:
            failures.add(path, str(error))
        if failures.messages:
            return self._failed(number, failures.messages[path])
        more = {"frames": count, "frames_per_second": facts.frames_per_second}
        return self._done(number, size, shares, **more)

    def _frames(
        self, path: str, facts: video.VideoFacts, frames: Iterator[np.ndarray]
    ) -> tuple[np.ndarray, tuple[int, int], int]:
        """Predict the frames of a video; return the shares of the classes, its size and length."""
        total = np.zeros(self.outputs.descriptor.num_classes)
        sizes: collections.Counter[tuple[int, int]] = collections.Counter()
        progress = Progress("predicted", facts.count, "frames")

        def predicted() -> Iterator[np.ndarray]:
            workers: list[Callable[[np.ndarray], Any]] = [
                functools.partial(self._frame, each) for each in self._networks
            ]
            for share, picture in parallel.map_in_order(workers, frames):
                total[:] += share
                sizes[picture.shape[:2]] += 1
                progress.advance()
                yield picture

        logging.info("video %s", path)
        if self.outputs.has_overlays:
            stem = os.path.join(self._options.output_dir, f"{self._names[path]}_overlay")
            video.write(stem, predicted(), facts.frames_per_second)
        else:
            collections.deque(predicted(), maxlen=0)
        count = sizes.total()
        if count != facts.count:
            progress.finish()
        if facts.count and count < facts.count:
            logging.warning("video %s: %d of %d frames could be read", path, count, facts.count)
        return total / count, next(iter(sizes)), count

    def _frame(self, network: runtimes.Network, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the shares of the classes in a frame, and the picture of it for the video."""
        labels = network.predict(frame)
        shares = outputs.class_shares(labels, self.outputs.descriptor.num_classes)
        return shares, self.outputs.overlay(frame, labels) if self.outputs.has_overlays else frame

    def _done(
        self, number: int, size: Sequence[int], shares: np.ndarray, **more: Any
    ) -> _Predicted:
        facts = self.outputs.facts(self._paths[number], size, shares, **more)
        return _Predicted(number, facts, outputs.summary(shares, self.outputs.descriptor))

    def _failed(self, number: int, message: str) -> _Predicted:
        facts = {"path": outputs.shown(self._paths[number]), "error": outputs.shown(message)}
        return _Predicted(number, facts, failed=message)
