"""Times several forms of a computation in turns, each in a separate process.

So each form has its own peak memory. The forms take turns, in a different order each round, so that
other work on the machine slows all of them alike.
"""

import dataclasses
import multiprocessing
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection

# Prepares a form in its process, and returns the function that is timed.
Form = Callable[[], Callable[[], object]]


@dataclasses.dataclass(frozen=True)
class Measured:
    """The measurements of a form.

    Attributes:
        seconds: Time of one call, the mean of each round.
        peak_bytes: On a GPU the largest amount that was held there, otherwise the largest growth of
            the process from the first call on.
    """

    seconds: list[float]
    peak_bytes: int

    @property
    def median(self) -> float:
        """The median over the rounds, in seconds."""
        return statistics.median(self.seconds)

    def times_as_fast(self, other: "Measured") -> float:
        """Return how many times as fast as another form this is: the median over the rounds."""
        pairs = zip(self.seconds, other.seconds, strict=True)
        return statistics.median(theirs / ours for ours, theirs in pairs)


def measure(forms: Mapping[str, Form], rounds: int, calls: int) -> dict[str, Measured]:
    """Time each form; leave out those that fail, with a message.

    Args:
        forms: Functions that prepare each form, by name. They must be importable.
        rounds: Number of rounds.
        calls: Number of calls that are timed together.
    """
    context = multiprocessing.get_context("spawn")
    connections: dict[str, Connection] = {}
    processes = []
    try:
        for name, form in forms.items():
            connection, end = context.Pipe()
            processes.append(context.Process(target=_serve, args=(end, form), daemon=True))
            processes[-1].start()
            end.close()
            if missing := connection.recv():
                print(f"{name}: left out, {missing}", flush=True)
            else:
                print(f"{name}: ready", flush=True)
                connections[name] = connection
        seconds: dict[str, list[float]] = {name: [] for name in connections}
        order = list(connections)
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", flush=True)
            random.Random(number).shuffle(order)
            for name in order:
                connections[name].send(calls)
                seconds[name].append(connections[name].recv())
        results = {}
        for name, connection in connections.items():
            connection.send(0)
            results[name] = Measured(seconds[name], connection.recv())
        return results
    finally:
        for process in processes:
            process.terminate()


def _serve(connection: Connection, form: Form) -> None:
    """Run a form in its process; send the seconds of a call on request, the memory at the end."""
    try:
        call = form()
        before = _reset_held_bytes()
        call()
    except Exception as error:  # The other forms are still measured.
        connection.send(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
        return
    connection.send(None)
    while calls := connection.recv():
        call()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        connection.send((time.perf_counter() - start) / calls)
    connection.send(held_bytes() - before)


def _reset_held_bytes() -> int:
    """Forget what was held and given back before; return the number of bytes that are held now."""
    if (tf := sys.modules.get("tensorflow")) and tf.config.list_physical_devices("GPU"):
        tf.config.experimental.reset_memory_stats("GPU:0")
    elif (torch := sys.modules.get("torch")) and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    return held_bytes()


def held_bytes() -> int:
    """Return the largest number of bytes that were held so far, on the GPU if there is one."""
    if (tf := sys.modules.get("tensorflow")) and tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    if (torch := sys.modules.get("torch")) and torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    # The peak of this process: `ru_maxrss` includes that of the process that started it.
    with open("/proc/self/status") as file:
        return 1024 * next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))
