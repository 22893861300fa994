"""Fixtures for the tests of exports. An export takes seconds, so they all use the same one."""

import dataclasses
import pathlib

import pytest

from deeplab import model
from deeplab.core.options import ExportOptions
from deeplab.datasets.descriptors import DatasetDescriptor
from deeplab.export import exporter, runtimes
from deeplab.export.export_details import ExportDetails
from deeplab.testing import tiny


@pytest.fixture(scope="session")
def dataset() -> DatasetDescriptor:
    """The dataset of the export."""
    colors = ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255))
    return dataclasses.replace(tiny.DATASET, ignore_label=99, colormap=colors)


@pytest.fixture(scope="session")
def net() -> model.DeepLab:
    """A network with few layers. Tests leave it as it is."""
    return tiny.shared_network()


@pytest.fixture(scope="session")
def export(
    net: model.DeepLab, dataset: DatasetDescriptor, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """An export of the network with all options that are off by default."""
    base = tmp_path_factory.mktemp("exports") / "new" / "deeplab"
    options = ExportOptions(
        max_pixels=3000, add_logits=True, max_batch_size=4, exif_orientation=True
    )
    return pathlib.Path(
        exporter.export_saved_model(
            net,
            str(base),
            options=options,
            details=ExportDetails(descriptor=dataset),
            next_version=True,
        )
    )


@pytest.fixture(scope="session")
def opened(export: pathlib.Path) -> runtimes.Network:
    """The export, opened by the folder of its versions."""
    with tiny.unoptimized():
        return runtimes.open_network(str(export.parent))
