"""The devices of this host that TensorFlow uses."""

import tensorflow as tf

from deeplab.core.options import DeviceOptions
from deeplab.core.wording import counted


def choose(options: DeviceOptions) -> list[str]:
    """Return the names of the devices to use, and hide other GPUs from TensorFlow.

    Call it before any other function of TensorFlow.

    Args:
        options: Number and kind of the devices.

    Returns:
        The names of several devices; an empty list for one, which TensorFlow chooses itself.

    Raises:
        ValueError: There are fewer GPUs than clones.
    """
    gpus = tf.config.list_physical_devices("GPU")
    count = options.num_clones
    if options.clone_on_cpu:
        if gpus:
            tf.config.set_visible_devices([], "GPU")
        if count > 1:
            (cpu,) = tf.config.list_physical_devices("CPU")
            parts = [tf.config.LogicalDeviceConfiguration()] * count
            tf.config.set_logical_device_configuration(cpu, parts)
    elif count > max(len(gpus), 1):
        raise ValueError(
            f"--num_clones is {count}, but TensorFlow can use"
            f" {counted(len(gpus), 'GPU')} of this host"
            " (to try several clones without GPUs, use --clone_on_cpu)"
        )
    elif len(gpus) > count:
        tf.config.set_visible_devices(gpus[:count], "GPU")
    kind = "CPU" if options.clone_on_cpu else "GPU"
    return [f"{kind}:{index}" for index in range(count)] if count > 1 else []
