"""Fixtures that tests of several folders share."""

import fcntl
import pathlib

import pytest


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of a model with the version 1, a tiny export. Tests leave it as it is.

    It takes seconds, so that the processes of a run share it.
    """
    base = tmp_path_factory.getbasetemp()
    # Each process of pytest-xdist has a folder in that of the run.
    base = base.parent if base.name.startswith("popen-") else base
    model = base / "served" / "deeplab"
    with open(base / "served.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (model / "1").exists():
            _export(model)
    return model


def _export(model: pathlib.Path) -> None:
    # Imported late: many tests do without a network.
    from deeplab.core.options import ExportOptions
    from deeplab.export import exporter, signatures
    from deeplab.export.export_details import ExportDetails
    from deeplab.testing import tiny

    with tiny.few_signatures(signatures.BYTES, signatures.PNG):
        exporter.export_saved_model(
            tiny.shared_network(),
            str(model),
            options=ExportOptions(max_pixels=10_000, max_batch_size=4),
            details=ExportDetails(descriptor=tiny.DATASET),
            next_version=True,
        )
