"""Hosts that share work: threads stand for them, and a temporary folder for the shared disk."""

import json
import threading
import time

import pytest

from deeplab.sharing import teams
from deeplab.sharing.cluster import Cluster

_HOSTS = ("a:1", "b:1", "c:1")


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    monkeypatch.setattr(teams, "_LOOK_SECS", 0.01)
    monkeypatch.setattr(teams, "_BEAT_SECS", 0.02)
    monkeypatch.setattr(teams, "_LOST_SECS", 20.0)
    monkeypatch.setattr(teams, "_FAREWELL_SECS", 0.2)


class _Host(threading.Thread):
    """Squares its share of the numbers below each task's number."""

    def __init__(self, folder, index, tasks=(), *, fails=False, delay=0.0):
        super().__init__(daemon=True)
        self.team = teams.Team(Cluster(_HOSTS, index), str(folder))
        self.gathered, self.done, self.error = [], [], None
        self._tasks, self._fails, self._delay = tasks, fails, delay
        self.start()

    def run(self):
        try:
            time.sleep(self._delay)
            with self.team as team:
                for task in team.tasks({"total": total} for total in self._tasks):
                    if self._fails:
                        raise ValueError("a record is bad")
                    numbers = team.share.numbers(task["total"], 2)
                    self.done.append(task["total"])
                    self.gathered.append(team.gather([number**2 for number in numbers]))
        except Exception as error:
            self.error = error


def _wait(*hosts):
    for host in hosts:
        host.join(30)
        assert not host.is_alive()


@pytest.mark.parametrize(("total", "batch_size", "count"), [(11, 2, 3), (1, 4, 2), (6, 3, 1)])
def test_the_shares_are_the_batches_of_one_host(total, batch_size, count):
    shares = [teams.Share(index, count).numbers(total, batch_size) for index in range(count)]
    assert sorted(sum(shares, [])) == list(range(total))
    for share in shares:
        for start in range(0, len(share), batch_size):
            batch = share[start : start + batch_size]
            assert batch[0] % batch_size == 0
            assert batch == list(range(batch[0], batch[0] + len(batch)))


def test_a_host_alone_writes_nothing(tmp_path):
    with teams.Team(None, str(tmp_path / "hosts")) as team:
        assert team.is_chief
        for task in team.tasks([{"total": 3}]):
            assert task == {"total": 3}
            assert team.gather("anything") == ["anything"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("delays", [(0, 0, 0), (0.3, 0, 0.1), (0, 0.3, 0)])
def test_the_chief_gets_all_results_of_each_task_in_order(tmp_path, delays):
    hosts = [
        _Host(tmp_path / "hosts", index, (11, 2, 7), delay=delay)
        for index, delay in enumerate(delays)
    ]
    _wait(*hosts)
    assert [host.error for host in hosts] == [None] * 3
    for host in hosts:
        assert host.done == [11, 2, 7]
    for total, results in zip((11, 2, 7), hosts[0].gathered, strict=True):
        expected = [teams.Share(index, 3).numbers(total, 2) for index in range(3)]
        assert results == [[number**2 for number in numbers] for numbers in expected]
    assert not (tmp_path / "hosts").exists()


def test_what_an_earlier_run_left_is_nobodys(tmp_path):
    folder = tmp_path / "hosts"
    folder.mkdir()
    for index in range(3):
        left = {"name": "old", "beat": 3, "finished": "old-1", "chief": "old", "error": "killed"}
        left |= {"task": {"name": "old-1", "total": 99}, "dismissed": True}
        left["members"] = dict.fromkeys("012", "old")
        (folder / f"host-{index}.json").write_text(json.dumps(left))
        (folder / f"part-{index}.json").write_text('{"task": "old-1", "result": [99]}')
    hosts = [_Host(folder, index, (11,), delay=0.1 * (3 - index)) for index in range(3)]
    _wait(*hosts)
    assert [host.error for host in hosts] == [None] * 3
    assert [host.done for host in hosts] == [[11]] * 3
    assert not folder.exists()


def test_an_error_of_a_host_ends_all(tmp_path):
    hosts = [_Host(tmp_path, index, (11,), fails=index == 1) for index in range(3)]
    _wait(*hosts)
    assert str(hosts[1].error) == "a record is bad"
    assert str(hosts[0].error) == "host 1 (b:1) has ended with an error: a record is bad"
    assert "host 0 (a:1) has ended with an error: host 1 (b:1)" in str(hosts[2].error)


def test_an_error_of_the_chief_ends_all(tmp_path):
    hosts = [_Host(tmp_path, index, (11,), fails=index == 0) for index in range(3)]
    _wait(*hosts)
    for host in hosts[1:]:
        assert str(host.error) == "host 0 (a:1) has ended with an error: a record is bad"


def test_a_host_that_is_not_there_is_told_and_then_an_error(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(teams, "_LOST_SECS", 2.0)
    hosts = [_Host(tmp_path, index, (11,)) for index in (0, 2)]
    _wait(*hosts)
    message = str(hosts[0].error)
    assert message.startswith("host 1 (b:1) has given no sign of life in ")
    assert "start the script on all hosts of TF_CONFIG" in message
    # Where the third host is slow, it is awaited, too.
    waiting = [text for text in caplog.messages if text.startswith("waiting for host 1 (b:1)")]
    assert waiting
    assert waiting[0].endswith(" to start")
    assert "host 0 (a:1) has ended with an error: host 1" in str(hosts[1].error)


@pytest.mark.parametrize("is_killed", [True, False])
def test_a_host_that_is_lost_may_be_started_again(tmp_path, caplog, is_killed):
    """In the middle of a task; the chief has taken its first name already."""
    chief, other = (_Host(tmp_path / "hosts", index, (11,)) for index in (0, 2))
    lost = teams.Team(Cluster(_HOSTS, 1), str(tmp_path / "hosts"))
    lost.__enter__()
    next(lost.tasks(()))
    if is_killed:
        lost._ended.set()
        lost._heart.join()
    else:
        lost.__exit__(SystemExit, SystemExit(143), None)
    again = _Host(tmp_path / "hosts", 1)
    _wait(chief, other, again)
    assert [host.error for host in (chief, other, again)] == [None] * 3
    assert again.done == [11]
    assert len(sum(chief.gathered[0], [])) == 11
    assert any("host 1 (b:1) was started again" in text for text in caplog.messages)


def test_hosts_that_see_other_images_are_an_error():
    three, other = teams.fingerprint("abc"), teams.fingerprint("abd")
    teams.check_same_images("images", {0: three, 1: teams.fingerprint(["a", "b", "c"])})
    assert teams.fingerprint(["\udcff"]) != other
    with pytest.raises(ValueError, match="--images must .* 3 images .* on host 0, 3 images .*1$"):
        teams.check_same_images("images", {0: three, 1: other})
