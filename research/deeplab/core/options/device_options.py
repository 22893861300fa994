"""The devices of a host that do the work."""

import dataclasses
from typing import Annotated

from deeplab.core.options.fields import Range, validate

# A number of devices or hosts.
Count = Annotated[int, Range(at_least=1, at_most=65536)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """The devices of this host that a network runs on, a copy of it on each.

    Raises:
        ValueError: A value is out of range; the message names the flag.
    """

    num_clones: Annotated[Count, "Number of GPUs of this host to use."] = 1
    clone_on_cpu: Annotated[bool, "Use the CPU, split into --num_clones devices."] = False

    def __post_init__(self):
        validate(self)
