"""The engine that does the work of a script."""

import dataclasses
from typing import Annotated, Literal

from deeplab.core.options import fields


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunnerOptions:
    """The choice between this machine and a pipeline of Apache Beam.

    Raises:
        ValueError: A value is not allowed; the message names the flag.

    Example:
        RunnerOptions(runner="beam", beam_options=("--runner=FlinkRunner --parallelism=8",))
    """

    runner: Annotated[
        Literal["local", "beam"],
        "Where to do the work: on this machine, or in a pipeline of Apache Beam (pip install"
        " 'deeplab[beam]').",
    ] = "local"
    beam_options: Annotated[
        tuple[str, ...] | None,
        "Options of the pipeline, as Apache Beam takes them, such as '--runner=FlinkRunner"
        " --parallelism=8'; may be repeated. Default: Beam's DirectRunner, on this machine.",
    ] = None

    def __post_init__(self):
        fields.validate(self)
        fields.check_belongs(
            self, "beam_options", "runner", ["beam"], remedy="set --runner=beam as well"
        )
