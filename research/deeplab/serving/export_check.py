"""The body of check_export.py: checks an export before a roll-out."""

import contextlib
import os
import time

import numpy as np

from deeplab.core import error_text
from deeplab.datasets import image_files
from deeplab.export import decoding, inference_graph, loaded_model, photographs, saved_model
from deeplab.serving import graph_facts, server_settings, stored_versions, trials
from deeplab.serving.check_report import Report
from deeplab.serving.findings import ExportFindings
from deeplab.utils import checkpoint, file_systems, files

# Size of the drawn image for a network without a crop size.
_SIZE = (257, 257)


def check(
    export_path: str, image: str | None = None, server_config_dir: str | None = None
) -> Report:
    """Check an export.

    Args:
        export_path: Folder of a SavedModel, or of its versions.
        image: Image to send to every signature. None: a drawn one.
        server_config_dir: Folder of the server's configuration files. None: check those beside the
            export, if there are any.

    Raises:
        FileNotFoundError: A path does not exist.
        ValueError: There is no SavedModel at the path, or the image cannot be read or is larger
            than the export allows.
    """
    stored = stored_versions.find(export_path)
    findings = ExportFindings()
    stored_versions.judge(stored, findings)
    server_paths = server_settings.judge(stored, server_config_dir, findings)
    report = Report(
        export_path=export_path,
        stored=stored,
        sizes=stored_versions.sizes(stored.checked),
        server_files=server_paths,
        findings=findings,
    )
    graph = graph_facts.read(stored.checked, findings)
    if graph is None:
        return report
    report.graph = graph
    report.is_own = _is_own(graph)
    if not report.is_own:
        findings.note(
            "foreign", "deeplab-export-model did not write this SavedModel: less can be checked"
        )
    picture = _picture(stored.checked, image)
    if graph.signatures and not graph.unknown:
        _run(report, picture)
    return report


def _is_own(graph: graph_facts.GraphFacts) -> bool:
    return any(inference_graph.PREDICTIONS in each.outputs for each in graph.signatures.values())


def _run(report: Report, picture: np.ndarray) -> None:
    """Load the export, and send it requests."""
    path, findings = report.stored.checked, report.findings
    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        try:
            loaded = stack.enter_context(loaded_model.opened(path))
        except Exception as error:  # TensorFlow raises almost everything for damaged files.
            findings.fault("unreadable", f"{path} cannot be loaded: {error_text.one_line(error)}")
            return
        report.load_seconds = time.perf_counter() - start
        report.warm_up = trials.replay(path, loaded, findings)
        report.image_size = picture.shape[:2]
        report.trials = trials.with_image(loaded, picture, report.is_own, findings)


def _picture(path: str, image: str | None) -> np.ndarray:
    """Return the given image, or a drawn photograph of a size that the export takes."""
    most = _max_pixels(os.path.join(path, saved_model.OPTIONS_FILE))
    if image:
        picture = image_files.read(image)
        height, width = picture.shape[:2]
        if most and height * width > most:
            raise ValueError(
                f"--image={image} has {height}x{width} pixels, but {path} was exported with"
                f" --max_pixels={most}: give a smaller image"
            )
        return picture
    options = checkpoint.load_options(path)
    size = (options.crop_size if options else None) or _SIZE
    return photographs.drawn(decoding.limited(size, most))[0].image


def _max_pixels(file: str) -> int | None:
    """Return the largest number of pixels that an export accepts; None if it is not known."""
    described = files.read_json(file) if file_systems.exists(file) else None
    export = described.get("export") if isinstance(described, dict) else None
    most = export.get("max_pixels") if isinstance(export, dict) else None
    return most if isinstance(most, int) and most > 0 else None
