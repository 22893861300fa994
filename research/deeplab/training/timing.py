"""Times functions in turns."""

import time
from collections.abc import Callable, Sequence


def shortest(
    functions: Sequence[Callable[[], object]], *, rounds: int, fewest: int, seconds: float
) -> list[float]:
    """Return the shortest time of a call of each function, in seconds.

    They take turns, so that other work on the machine slows all of them. It slows the shortest call
    least.

    Args:
        functions: The functions, each called before for the first time.
        rounds: How often each is called.
        fewest: How often each is called, however long that takes.
        seconds: After this time, there is no further round.
    """
    best = [float("inf")] * len(functions)
    begin = time.perf_counter()
    for number in range(rounds):
        if number >= fewest and time.perf_counter() - begin > seconds:
            break
        for index, function in enumerate(functions):
            start = time.perf_counter()
            function()
            best[index] = min(best[index], time.perf_counter() - start)
    return best
