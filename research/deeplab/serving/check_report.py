"""The report of a check of an export: as text and as JSON."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from deeplab.core.wording import counted
from deeplab.serving.findings import FAULT, WARNING, ExportFindings
from deeplab.serving.graph_facts import GraphFacts
from deeplab.serving.stored_versions import Stored
from deeplab.serving.trials import Trial
from deeplab.utils import reports


@dataclasses.dataclass
class Report:
    """The results of a check.

    Args:
        export_path: The path that was given.
        stored: The versions.
        sizes: Size in bytes of each file of the checked one.
        server_files: Configuration files that were checked.
        findings: The findings.
        graph: Facts about the graph; None if it cannot be read.
        is_own: Whether `deeplab-export-model` wrote it.
        load_seconds: Time to load it; None if it was not loaded.
        warm_up: The warm-up requests.
        image_size: Height and width of the image that was sent.
        trials: The requests with it.
    """

    export_path: str
    stored: Stored
    sizes: Mapping[str, int]
    server_files: list[str]
    findings: ExportFindings
    graph: GraphFacts | None = None
    is_own: bool = False
    load_seconds: float | None = None
    warm_up: list[Trial] = dataclasses.field(default_factory=list)
    image_size: tuple[int, int] | None = None
    trials: list[Trial] = dataclasses.field(default_factory=list)


def text(report: Report) -> str:
    """Return a report for the terminal."""
    return "\n\n".join("\n".join(lines) for lines in _parts(report) if lines)


def _parts(report: Report) -> Iterator[list[str]]:
    stored, graph = report.stored, report.graph
    total = sum(report.sizes.values())
    head = [f"{stored.checked}: {_size(total)} in {counted(len(report.sizes), 'file')}"]
    if graph:
        head[0] += f", written by TensorFlow {graph.tensorflow_version}"
        head.append(
            f"{graph.variables} variables ({_size(graph.variable_bytes)}),"
            f" {graph.operations} operations"
        )
    if stored.base:
        numbers = ", ".join(version.name for version in stored.versions)
        head.append(f"versions: {numbers}; a server takes {stored.served}")
    if report.server_files:
        head.append(f"server files: {', '.join(report.server_files)}")
    if report.load_seconds is not None:
        head.append(f"loaded in {report.load_seconds:.2f} s")
    yield head
    if graph:
        yield [_signature_table(graph)]
    if report.warm_up:
        yield ["warm-up requests:", _trial_table(report.warm_up, "record")]
    if report.trials:
        height, width = report.image_size
        yield [f"an image of {height}x{width} pixels:", _trial_table(report.trials, "images")]
    faults = sum(finding.level == FAULT for finding in report.findings)
    warnings = sum(finding.level == WARNING for finding in report.findings)
    yield [
        *map(str, report.findings),
        f"{counted(faults, 'fault')}, {counted(warnings, 'warning')}",
    ]


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def _signature_table(graph: GraphFacts) -> str:
    rows = []
    for name, signature in graph.signatures.items():
        for kind, specs in (("in", signature.inputs), ("out", signature.outputs)):
            rows += [(name, kind, each, *_typed(spec)) for each, spec in specs.items()]
    return reports.format_table(("signature", "", "tensor", "type", "shape"), rows, left=5)


def _typed(spec: tf.TensorSpec) -> tuple[str, str]:
    shape = _shape(spec)
    if shape is None:
        return spec.dtype.name, "any"
    return spec.dtype.name, f"[{', '.join('?' if side is None else str(side) for side in shape)}]"


def _shape(spec: tf.TensorSpec) -> list[int | None] | None:
    return None if spec.shape.rank is None else spec.shape.as_list()


def _trial_table(trials: Iterable[Trial], column: str) -> str:
    rows, results = [], []
    for trial in trials:
        times = [f"{1000 * each:.1f}" for each in trial.seconds] or ["-", "-"]
        number = trial.rows if trial.record is None else trial.record
        result = f"error: {trial.error}" if trial.error else trial.result
        rows.append((trial.signature, str(number), *times))
        results.append(f"  {result}".rstrip())
    header = ("signature", column, "first ms", "second ms")
    table = reports.format_table(header, rows).splitlines()
    width = max(map(len, table))
    # Numbers are aligned to the right, results to the left.
    return "\n".join(
        f"{line:{width}}{result}".rstrip()
        for line, result in zip(table, ["", "", *results], strict=True)
    )


def write_json(path: str, report: Report) -> None:
    """Write a report as JSON; g3doc/check_export.md describes the keys."""
    reports.write_json(path, facts(report))


def facts(report: Report) -> dict[str, Any]:
    """Return a report as plain values."""
    stored, graph = report.stored, report.graph
    found: dict[str, Any] = {
        "export_path": report.export_path,
        "checked": stored.checked,
        "served_version": stored.served,
        "versions": [
            {"number": each.number, "name": each.name, "bytes": each.bytes, "whole": each.is_whole}
            for each in stored.versions
        ],
        "strays": list(stored.strays),
        "server_files": list(report.server_files),
        "bytes": sum(report.sizes.values()),
        "files": [{"name": name, "bytes": size} for name, size in sorted(report.sizes.items())],
        "own": report.is_own,
        "tensorflow_version": graph and graph.tensorflow_version,
        "variables": graph and graph.variables,
        "variable_bytes": graph and graph.variable_bytes,
        "operations": graph and graph.operations,
        "unknown_operations": list(graph.unknown) if graph else [],
        "onednn_operations": list(graph.onednn) if graph else [],
        "xla_functions": list(graph.xla) if graph else [],
        "signatures": [
            {
                "name": name,
                "inputs": _tensor_facts(signature.inputs),
                "outputs": _tensor_facts(signature.outputs),
            }
            for name, signature in (graph.signatures.items() if graph else ())
        ],
        "load_seconds": report.load_seconds,
        "warm_up": [_trial_facts(trial) for trial in report.warm_up],
        "image_size": list(report.image_size) if report.image_size else None,
        "requests": [_trial_facts(trial) for trial in report.trials],
        "findings": [dataclasses.asdict(finding) for finding in report.findings],
    }
    return found


def _tensor_facts(specs: Mapping[str, tf.TensorSpec]) -> list[dict[str, Any]]:
    return [
        {"name": name, "type": spec.dtype.name, "shape": _shape(spec)}
        for name, spec in specs.items()
    ]


def _trial_facts(trial: Trial) -> dict[str, Any]:
    first, second = trial.seconds or (None, None)
    return {
        "signature": trial.signature,
        "record": trial.record,
        "rows": trial.rows,
        "first_seconds": first,
        "second_seconds": second,
        "error": trial.error or None,
        "result": trial.result or None,
    }
