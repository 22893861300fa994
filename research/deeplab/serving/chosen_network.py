"""The network that options name, and the names of its classes."""

from deeplab.core.options import PredictOptions
from deeplab.datasets import descriptors
from deeplab.export import runtimes
from deeplab.serving import served_network


def open_network(options: PredictOptions, device: str | None = None) -> runtimes.Network:
    """Open the network that the options name: a checkpoint, any export, or a model on a server.

    Args:
        options: The network.
        device: Name of the device that it runs on. None: TensorFlow chooses it.

    Raises:
        FileNotFoundError, ValueError, ConnectionError: It cannot be used.
    """
    if options.server:
        return served_network.ServedNetwork(options)
    return runtimes.open_network(options.export_path, device, options.window)


def choose_descriptor(
    options: PredictOptions, network: runtimes.Network
) -> descriptors.DatasetDescriptor:
    """Return names and colors of the classes, from the dataset or the network, or generic ones.

    Raises:
        ValueError: There is no such dataset, it has a different number of classes, or the server
            does not state their number.
    """
    descriptor = descriptors.load(options.dataset) if options.dataset else None
    source = options.export_path or options.server
    count = network.num_classes
    if descriptor:
        if count not in (None, descriptor.num_classes):
            raise ValueError(
                f"--dataset={options.dataset} has {descriptor.num_classes} classes, the network in"
                f" {source} {count}"
            )
        return descriptor
    if network.descriptor:
        return network.descriptor
    if count is None:
        raise ValueError(
            f"the server {source} does not say how many classes its model has: give --dataset"
        )
    return descriptors.DatasetDescriptor("unknown", count, ignore_label=255)
