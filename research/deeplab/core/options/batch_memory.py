"""Rejects batches that do not fit into the memory of any machine like this one."""

import os
from collections.abc import Sequence

# Bytes of a pixel of a prepared batch: three float32 values of the image, an int32 label. The
# input pipeline holds batches in the memory of the machine, on whatever device the network runs. It
# holds several, and features may need a hundred times as much: a batch that passes here may still
# be too large, but one that does not pass cannot be made.
_BYTES_PER_PIXEL = 3 * 4 + 4


def check(
    prefix: str,
    batch_size: int,
    crop_size: Sequence[int],
    hosts: int = 1,
    size_flag: str | None = None,
) -> None:
    """Reject a batch that alone needs more than the memory of this machine.

    Args:
        prefix: Prefix of the flags `..._batch_size` and `..._crop_size`, such as "train".
        batch_size: Images of the batch, over all hosts.
        crop_size: Height and width of its images.
        hosts: Number of hosts that share a batch.
        size_flag: Name of the flag with height and width, if it is another one.

    Raises:
        ValueError: The batch needs more; the message names the flags.
    """
    height, width = crop_size
    needed = -(-batch_size // hosts) * height * width * _BYTES_PER_PIXEL
    memory = _physical_bytes()
    if memory is not None and needed > memory:
        size_flag = size_flag or f"{prefix}_crop_size"
        raise ValueError(
            f"--{prefix}_batch_size={batch_size} with --{size_flag}={height},{width} needs"
            f" {needed / 1e9:.0f} GB for the images and labels alone, but this machine has"
            f" {memory / 1e9:.0f} GB of memory: lower one of them"
        )


def _physical_bytes() -> int | None:
    """Return the memory of this machine; None if the system does not tell."""
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    return pages * size if pages > 0 and size > 0 else None
