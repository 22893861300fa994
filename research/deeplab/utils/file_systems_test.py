import os
import threading

from deeplab.utils import file_systems


def test_paths():
    assert file_systems.is_remote("gs://bucket/folder")
    assert not file_systems.is_remote("/folder/a:b//c")
    assert not file_systems.is_remote("folder")


def test_wildcards():
    assert all(file_systems.has_wildcards(f"a/{mark}b") for mark in "*?[]\\")
    assert not file_systems.has_wildcards("a b/{c}/(d)/größe,~!$")


def test_a_name_that_is_not_utf_8_hides_no_other(tmp_path):
    names = [b"a", b"b\xff", b"c"]
    for name in names:
        open(os.path.join(os.fsencode(tmp_path), name), "w").close()
    assert [os.fsencode(name) for name in file_systems.names_in(tmp_path)] == names
    assert (
        file_systems.names_in(tmp_path / "nowhere") == file_systems.names_in(tmp_path / "a") == []
    )


def test_many_questions_to_a_server_wait_together(tmp_path):
    together = threading.Barrier(8)

    def is_odd(path):
        together.wait(timeout=10)
        return int(path[-1]) % 2 == 1

    paths = [f"gs://bucket/{number}" for number in range(8)]
    assert file_systems.ask(is_odd, paths) == [False, True] * 4
    local = [str(tmp_path), str(tmp_path / "a")]
    assert file_systems.ask(file_systems.exists, local) == [True, False]


def test_a_path_with_wildcards_is_read_through_a_link(tmp_path):
    path = tmp_path / "a[b]*"
    path.mkdir()
    (path / "file").write_text("content")
    with file_systems.without_wildcards(str(path)) as plain:
        assert not file_systems.has_wildcards(plain)
        with open(f"{plain}/file") as file:
            assert file.read() == "content"
    with file_systems.without_wildcards(str(tmp_path)) as plain:
        assert plain == str(tmp_path)
