import threading
import time

import pytest

from deeplab.sharing import parallel


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_come_in_order_and_a_worker_does_one_item_at_a_time(count):
    busy, used = [threading.Lock() for _ in range(count)], set()

    def worker(number):
        def work(item):
            assert busy[number].acquire(blocking=False)
            used.add(number)
            # The first of each pair takes longer.
            time.sleep(0.02 if item % 2 == 0 else 0.001)
            busy[number].release()
            return item * item

        return work

    results = list(parallel.map_in_order([worker(i) for i in range(count)], range(12)))
    assert results == [item * item for item in range(12)]
    assert used == set(range(count))


@pytest.mark.parametrize("count", [1, 2])
def test_what_comes_before_an_error_is_done(count):
    def items():
        yield from range(5)
        raise ValueError("no more items")

    def fail_at_three(item):
        if item == 3:
            raise KeyError(item)
        return item

    for work, expected, error in (
        (lambda item: item, [0, 1, 2, 3, 4], ValueError),
        (fail_at_three, [0, 1, 2], KeyError),
    ):
        found = []
        with pytest.raises(error):
            found.extend(parallel.map_in_order([work] * count, items()))
        # `extend` keeps what came before the error.
        assert found == expected


def test_items_are_taken_only_a_few_ahead():
    taken = []

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    results = parallel.map_in_order([abs, abs], items())
    assert next(results) == 0
    assert len(taken) <= 4
    results.close()


def test_items_are_finished_in_order_while_the_next_are_made():
    made = threading.Event()

    def items():
        yield 0
        made.set()
        yield from range(1, 20)

    def finish(item):
        assert made.wait(10)
        return threading.current_thread(), item

    threads, found = zip(*parallel.finish_in_order(finish, items()), strict=True)
    assert found == tuple(range(20))
    assert threading.current_thread() not in threads


def test_an_item_is_read_ahead_and_an_error_comes_in_its_place():
    taken = []

    def items():
        for item in range(4):
            taken.append(item)
            yield item
        raise ValueError("no more items")

    found = []
    with pytest.raises(ValueError, match="no more items"):
        for item in parallel.read_ahead(items()):
            found.append(item)
            assert len(taken) <= item + 2
    assert found == taken == [0, 1, 2, 3]
    ahead = parallel.read_ahead(range(5))
    assert next(ahead) == 0
    ahead.close()
    assert list(parallel.read_ahead([])) == []
