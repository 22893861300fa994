"""Hosts that share work through the files of a folder that all of them reach.

The first host is the chief. It gives the others one task after another, and gets the result of each
host. Every host has a file that it alone writes, `host-<index>.json`. It changes the file every few
seconds, so the others see by their own clocks that it is alive. Each process has a unique name. The
chief names the others in its file, and they name the chief in theirs. So nobody mistakes the files
of an earlier run for those of this one, and a host may be started again.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import secrets
import threading
import time
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from absl import logging

from deeplab.core import error_text
from deeplab.core.wording import counted
from deeplab.sharing.cluster import VARIABLE, Cluster
from deeplab.utils import file_systems, files

_BEAT_SECS = 10.0
_LOOK_SECS = 1.0
_REMIND_SECS = 60.0
# Shared disks may show a change only minutes later.
_LOST_SECS = 600.0
_FAREWELL_SECS = 60.0


@dataclasses.dataclass(frozen=True)
class Share:
    """The part of some images that one host processes: every `count`th batch.

    The batches are those of a single host, so that their results are the same, too.

    Args:
        index: Number of the host.
        count: Number of hosts.
    """

    index: int = 0
    count: int = 1

    def numbers(self, total: int, batch_size: int = 1) -> list[int]:
        """Return the numbers of the images, in order.

        Args:
            total: Number of all images.
            batch_size: Images of a batch.
        """
        starts = range(self.index * batch_size, total, self.count * batch_size)
        return [
            number for start in starts for number in range(start, min(start + batch_size, total))
        ]


def fingerprint(names: Sequence[str]) -> str:
    """Return a short text that differs where a host sees other images.

    Args:
        names: The names of the images.
    """
    digest = hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()
    return f"{counted(len(names), 'image')} (checksum of their names {digest[:8]})"


def check_same_images(flag: str, fingerprints: Mapping[int, str]) -> None:
    """Reject hosts that see different images, of which some would be left out.

    Args:
        flag: The flag that names the images.
        fingerprints: Of some hosts, by their numbers.

    Raises:
        ValueError: They differ.
    """
    if len(set(fingerprints.values())) > 1:
        found = ", ".join(f"{each} on host {host}" for host, each in fingerprints.items())
        raise ValueError(f"--{flag} must name the same files on all hosts, but it names {found}")


class Team:
    """The hosts that share the work, from the point of view of this one.

    Args:
        cluster: The hosts. None: this one works alone, and no file is written.
        folder: Folder of their files while they work.

    Attributes:
        share: The part of the work that this host does.
        is_chief: Whether this host is the chief.

    Example:
        with Team(cluster, "eval_log/.hosts") as team:
            for task in team.tasks([{"checkpoint": "model.ckpt-7"}]):
                results = team.gather(work(task, team.share))
                if team.is_chief:
                    report(results)
    """

    def __init__(self, cluster: Cluster | None, folder: str):
        self._hosts = cluster.hosts if cluster else ("",)
        self._folder = folder
        self.share = Share(cluster.index if cluster else 0, len(self._hosts))
        self.is_chief = self.share.index == 0
        # Content of the file of this host: its name. The chief adds its task and the names of the
        # hosts that it is for; another host adds the name of its chief and the names of the tasks
        # that it has taken and finished.
        self._state: dict[str, Any] = {"name": secrets.token_hex(8), "beat": 0}
        self._members: dict[int, str] = {}
        self._results: dict[int, Any] = {}
        self._tasks = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._watches = {
            host: _Watch(self._path("host", host))
            for host in (range(1, self.share.count) if self.is_chief else [0])
        }
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Team":
        """Show the others that this host is there."""
        if self.share.count > 1:
            logging.info(
                "host %d of %d (%s): the hosts of %s share the work, by files in %s",
                *(self.share.index, self.share.count, self._hosts[self.share.index]),
                *(VARIABLE, self._folder),
            )
            self._write()
            self._heart.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        """Tell the others that the work is done, or which error has ended it."""
        if self.share.count == 1:
            return
        self._ended.set()
        self._heart.join()
        stopped = error is not None and not isinstance(error, Exception)
        # A host that was stopped may come back, for example on another machine.
        if error is not None and (self.is_chief or not stopped):
            text = "it was stopped" if stopped else error_text.one_line(error)
            with contextlib.suppress(Exception):
                self._look()
                self._write(error=text, members=self._members)
            return
        if self.is_chief:
            self._dismiss()
        self._remove(self._path("part", self.share.index))
        self._remove(self._path("host", self.share.index))
        if self.is_chief:
            with contextlib.suppress(OSError):
                os.rmdir(self._folder)

    def tasks(self, tasks: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """Yield the tasks of the chief; `gather` must be called after each.

        Args:
            tasks: The tasks as JSON values. Only those of the chief count.

        Raises:
            ValueError: Another host has ended with an error.
            TimeoutError: Another host has given no sign of life for ten minutes.
        """
        if self.share.count == 1:
            yield from tasks
        elif self.is_chief:
            for task in tasks:
                self._announce(task)
                yield task
        else:
            while (task := self._next_task()) is not None:
                yield task

    def gather(self, result: Any) -> list[Any]:
        """Hand over the result of this host.

        Args:
            result: The result; if there are other hosts, a JSON value.

        Returns:
            On the chief, the results of all hosts in the order of the hosts, once all are there. On
            other hosts, an empty list.

        Raises:
            ValueError: Another host has ended with an error.
            TimeoutError: Another host has given no sign of life for ten minutes.
        """
        if self.share.count == 1:
            return [result]
        if not self.is_chief:
            task = self._state["taken"]
            part = json.dumps({"task": task, "result": result})
            files.write_text(self._path("part", self.share.index), part)
            self._write(finished=task)
            return []
        self._results = {self.share.index: result}
        self._wait_for(self._watches, "to finish their parts", self._has_finished)
        return [self._results[host] for host in range(self.share.count)]

    def _announce(self, task: Mapping[str, Any]) -> None:
        self._wait_for(self._watches, "to start", self._has_joined)
        self._tasks += 1
        name = f"{self._state['name']}-{self._tasks}"
        self._write(task={"name": name, **task}, members=self._members)

    def _has_joined(self, host: int, state: Mapping[str, Any]) -> bool:
        if state.get("chief") != self._state["name"]:
            return False
        if self._members.get(host) != state["name"]:
            self._members[host] = state["name"]
            if "task" in self._state:
                logging.warning("%s was started again", self._called(host))
                self._write(members=self._members)
        return True

    def _has_finished(self, host: int, state: Mapping[str, Any]) -> bool:
        task = self._state["task"]["name"]
        if not self._has_joined(host, state) or state.get("finished") != task:
            return False
        # The disk may still show an earlier one.
        with contextlib.suppress(OSError):
            part = files.read_json(self._path("part", host))
            if part["task"] == task:
                self._results[host] = part["result"]
                return True
        return False

    def _next_task(self) -> Mapping[str, Any] | None:
        """Wait for the next task; None: there is none any more."""
        found: dict[str, Any] = {}

        def is_there(host: int, state: Mapping[str, Any]) -> bool:
            del host
            if state["name"] != self._state.get("chief"):
                self._write(chief=state["name"])
            if not self._is_member(state) or "error" in state:
                return False
            found.update(state)
            return "dismissed" in state or state["task"]["name"] != self._state.get("taken")

        self._wait_for([0], "to give the next task", is_there)
        if "dismissed" in found:
            return None
        self._write(taken=found["task"]["name"])
        return found["task"]

    def _is_member(self, state: Mapping[str, Any]) -> bool:
        """Return whether the chief with this state knows this process."""
        return state.get("members", {}).get(str(self.share.index)) == self._state["name"]

    def _look(self) -> list[int]:
        """Return the hosts that are there; on the chief, also admit those that join."""
        states = {host: watch.look() for host, watch in self._watches.items()}
        there = {host: state for host, state in states.items() if state and "error" not in state}
        if self.is_chief:
            for host, state in there.items():
                self._has_joined(host, state)
        return list(there)

    def _dismiss(self) -> None:
        """Tell the others that the work is done, and wait until they have seen it."""
        until = time.monotonic() + _FAREWELL_SECS
        self._write(dismissed=True)
        while self._look() and time.monotonic() < until:
            time.sleep(_LOOK_SECS)

    def _wait_for(
        self, hosts: Iterable[int], what: str, is_done: Callable[[int, Mapping[str, Any]], bool]
    ) -> None:
        """Wait until something is true of the files of all these hosts."""
        missing = list(hosts)
        reminder = time.monotonic() + _LOOK_SECS
        while True:
            for host in list(missing):
                state = self._watches[host].look()
                if state is not None and is_done(host, state):
                    missing.remove(host)
                else:
                    self._check(host, state or {})
            if not missing:
                return
            if time.monotonic() >= reminder:
                reminder = time.monotonic() + _REMIND_SECS
                logging.info("waiting for %s %s", ", ".join(map(self._called, missing)), what)
            time.sleep(_LOOK_SECS)

    def _check(self, host: int, state: Mapping[str, Any]) -> None:
        """Reject a host that has ended with an error or shows no sign of life."""
        error = state.get("error")
        is_ours = state.get("chief") == self._state["name"] or self._is_member(state)
        if error and is_ours:
            raise ValueError(f"{self._called(host)} has ended with an error: {error}")
        silent = self._watches[host].silent_secs()
        if silent > _LOST_SECS:
            last = f"; its last error was: {error}" if error else ""
            raise TimeoutError(
                f"{self._called(host)} has given no sign of life in {self._folder} for"
                f" {silent / 60:.0f} minutes{last}; start the script on all hosts of {VARIABLE},"
                " with a folder that they share, or unset it to work on one host"
            )

    def _called(self, host: int) -> str:
        return f"host {host} ({self._hosts[host]})"

    def _path(self, kind: str, host: int) -> str:
        return os.path.join(self._folder, f"{kind}-{host}.json")

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT_SECS):
            try:
                self._write()
            except Exception as error:  # It may be temporary.
                logging.warning("no sign of life could be given: %s", error_text.one_line(error))

    def _write(self, **changes: Any) -> None:
        with self._lock:
            self._state.update(changes, beat=self._state["beat"] + 1)
            path = self._path("host", self.share.index)
            files.write_text(path, json.dumps(self._state))

    def _remove(self, path: str) -> None:
        with contextlib.suppress(Exception):
            if file_systems.is_remote(path):
                file_systems.gfile().remove(path)
            else:
                os.remove(path)


class _Watch:
    """Looks at the file of another host."""

    def __init__(self, path: str):
        self._path = path
        self._data: bytes | None = None
        self._changed = time.monotonic()

    def look(self) -> Mapping[str, Any] | None:
        """Return what the file holds now; None if it is not there."""
        data = None
        with contextlib.suppress(OSError):
            data = files.read_bytes(self._path)
        if data != self._data:
            self._data, self._changed = data, time.monotonic()
        return None if data is None else json.loads(data)

    def silent_secs(self) -> float:
        """Return how long ago the file was seen to change."""
        return time.monotonic() - self._changed
