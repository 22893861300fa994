"""The hosts that work together, as the environment variable TF_CONFIG lists them:

{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}
"""

import dataclasses
import os
import re

from deeplab.core import json_text
from deeplab.core.options import fields

VARIABLE = "TF_CONFIG"
_LARGEST_PORT = 65535


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The hosts that work together; the first one is the chief.

    Args:
        hosts: The address and port of each.
        index: The number of this host.
    """

    hosts: tuple[str, ...]
    index: int


def from_environment(*, evaluator: bool = False) -> Cluster | None:
    """Return the cluster of TF_CONFIG; None if it names no other host.

    Args:
        evaluator: Whether this process evaluates. A task of the type "evaluator" then works alone,
            beside the hosts that train.

    Raises:
        ValueError: TF_CONFIG cannot be parsed, or gives this host no place among the others.
    """
    text = os.environ.get(VARIABLE, "")
    if not text.strip():
        return None
    try:
        config = json_text.parse(text, "it")
        cluster, task = config.get("cluster", {}), config.get("task", {})
        chief, workers = tuple(cluster.get("chief", ())), tuple(cluster.get("worker", ()))
        kind, index = task.get("type", "worker"), int(task.get("index", 0))
    except (ValueError, AttributeError, TypeError, OverflowError) as error:
        shown = fields.quoted(text)
        raise ValueError(f"{VARIABLE} is {shown}, which cannot be parsed: {error}") from None
    hosts = chief + workers
    for host in hosts:
        address = isinstance(host, str) and re.fullmatch(r"\S+:(\d{1,5})", host)
        if not address or not 1 <= int(address[1]) <= _LARGEST_PORT:
            raise ValueError(
                f"{VARIABLE} lists {fields.quoted(host)}; it must be <address>:<port>, with a"
                f" port from 1 to {_LARGEST_PORT}"
            )
    if len(hosts) < 2 or (evaluator and kind == "evaluator"):
        return None
    if kind not in ("chief", "worker"):
        remedy = (
            "run deeplab-eval for it"
            if kind == "evaluator"
            else "use worker for all hosts; each keeps the variables"
        )
        raise ValueError(f"{VARIABLE} gives this task the type {kind!r}: {remedy}")
    number = len(chief) + index if kind == "worker" else index
    if not 0 <= index < len(chief if kind == "chief" else workers):
        raise ValueError(
            f"{VARIABLE} gives this {kind} the index {index}, but lists"
            f" {len(chief if kind == 'chief' else workers)} of them"
        )
    return Cluster(hosts, number)
