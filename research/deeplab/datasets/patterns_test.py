import os

import pytest

from deeplab.datasets import patterns


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for path in (
        "a/1.jpg",
        "a/2.jpg",
        "[a]/3.jpg",
        "b*/4.jpg",
        "b/5.jpg",
        "c/d/e?.jpg",
        "c/d/ef.jpg",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "a" / "._1.jpg").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a/1.jpg", ["a/1.jpg"]),
        ("a", ["a/1.jpg", "a/2.jpg"]),
        ("a/", ["a/1.jpg", "a/2.jpg"]),
        ("a/*", ["a/1.jpg", "a/2.jpg"]),
        ("[a]", ["[a]/3.jpg"]),
        ("[a]/*", ["[a]/3.jpg"]),
        ("[ab]/*", ["a/1.jpg", "a/2.jpg", "b/5.jpg"]),
        ("b*", ["b*/4.jpg"]),
        ("b*/*.jpg", ["b*/4.jpg"]),
        ("c/d/e?.jpg", ["c/d/e?.jpg"]),
        ("c/*/e?.jpg", ["c/d/e?.jpg", "c/d/ef.jpg"]),
        ("**/e*", ["c/d/e?.jpg", "c/d/ef.jpg"]),
        ("c", []),
        ("nowhere/*", []),
        ("a/1.jpg/*", []),
        ("", []),
    ],
)
def test_what_exists_is_literal(folder, pattern, expected):
    assert patterns.expand(pattern) == expected
    if pattern:
        absolute = os.path.join(folder, pattern)
        assert patterns.expand(absolute) == [os.path.join(folder, path) for path in expected]


def test_a_pattern_of_another_file_system_names_files():
    tf = pytest.importorskip("tensorflow")
    for path in ("x/b.jpg", "x/a.jpg", "x/.c.jpg", "x/d.jpg/e"):
        tf.io.gfile.makedirs(os.path.dirname(f"ram://patterns_test/{path}"))
        with tf.io.gfile.GFile(f"ram://patterns_test/{path}", "w") as file:
            file.write("")
    found = patterns.expand("ram://patterns_test/x/*.jpg")
    assert found == ["ram://patterns_test/x/a.jpg", "ram://patterns_test/x/b.jpg"]
