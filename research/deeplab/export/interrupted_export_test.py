"""Exports that break off between their steps leave what was there, and the next one cleans up."""

import contextlib
import os
import subprocess
import sys
import textwrap
import types

import pytest
import tensorflow as tf

from deeplab.export import comparison, exporter, inference_graph, network_facts, saved_model_writer
from deeplab.export.export_details import ExportDetails
from deeplab.testing import tiny

_NET = types.SimpleNamespace(options=tiny.OPTIONS)
_WHOLE = ["1/MODEL_CARD.md", "1/saved_model.pb"]

# Ends itself at a step of an export whose files are made up. Each one is a fork of the process that
# has imported the exporter, which takes the time.
_INTERRUPTED = """
    import os, signal, sys
    from deeplab.export import interrupted_export_test as fakes
    from deeplab.utils import files

    base, *cases = sys.argv[1:]

    def end():
        os.kill(os.getpid(), signal.SIGKILL)

    for case in cases:
        child = os.fork()
        if child:
            _, status = os.waitpid(child, 0)
            assert os.WIFSIGNALED(status), case
            continue
        kind, step = case.split(".")
        exchange, rename = files._exchange_at_once, os.rename
        if step == "renamed":
            files._exchange_at_once = lambda *_: False
            os.rename = lambda *paths: (rename(*paths), end())
        if step == "exchanged":
            files._exchange_at_once = lambda *paths: (exchange(*paths), end())
        fakes.fake_network(setattr, on_write=end if step == "written" else None)
        card = (lambda *_, **__: end()) if step == "checked" else (lambda *_, **__: "unfinished")
        fakes.export(os.path.join(base, case), kind, card)
        os._exit(1)
"""


def fake_network(replace, on_write=None) -> None:
    """Replace all that needs a network."""

    def write(net, folder, *_) -> None:
        with open(os.path.join(folder, "saved_model.pb"), "w") as file:
            file.write("graph")
        if on_write:
            on_write()

    graph = tf.compat.v1.GraphDef()
    replace(saved_model_writer, "write", write)
    replace(comparison, "test_images", lambda *_: None)
    replace(comparison, "expected", lambda *_: {})
    replace(comparison, "check_saved_model", lambda *_: None)
    replace(comparison, "compare", lambda *_: None)
    replace(
        comparison, "open_frozen_graph", lambda _: contextlib.nullcontext(lambda images: images)
    )
    replace(inference_graph, "frozen", lambda *_: (graph, graph))
    replace(network_facts, "of_network", lambda *_: network_facts.NetworkFacts(num_classes=4))


def export(base: str, kind: str, card) -> None:
    """Export to `base`, as `export_checkpoint` does it."""
    details = ExportDetails(card=card)
    if kind == "frozen":
        path = f"{base}/graph.pb"
        exporter.export_frozen_graph(_NET, path, details=details, graph_text=True)
    elif kind == "version":
        exporter.export_saved_model(_NET, base, details=details, next_version=True)
    else:
        exporter.export_saved_model(_NET, f"{base}/1", details=details)


@pytest.fixture
def fake(monkeypatch):
    fake_network(monkeypatch.setattr)


def _fail(*_, **__):
    raise OSError("no card")


@pytest.mark.parametrize("kind", ["folder", "version", "frozen"])
def test_an_export_is_not_seen_without_its_card(fake, tmp_path, kind):
    base = str(tmp_path)
    with pytest.raises(OSError, match="no card"):
        export(base, kind, _fail)
    assert os.listdir(tmp_path) == []

    def card(path, name=None):
        # Only temporary files are there.
        assert all(entry.startswith(".") for entry in os.listdir(tmp_path))
        return f"card of {name or sorted(os.listdir(path))}"

    export(base, kind, card)
    if kind == "frozen":
        assert tiny.files(tmp_path) == ["graph.MODEL_CARD.md", "graph.pb", "inference_graph.pbtxt"]
        assert (tmp_path / "graph.MODEL_CARD.md").read_text() == "card of graph.pb"
        before = {path: path.stat().st_ino for path in tmp_path.iterdir()}
        with pytest.raises(OSError, match="no card"):
            export(base, kind, _fail)
        assert {path: path.stat().st_ino for path in tmp_path.iterdir()} == before
    else:
        assert tiny.files(tmp_path) == _WHOLE
        assert (tmp_path / "1" / "MODEL_CARD.md").read_text() == "card of ['saved_model.pb']"


@pytest.mark.parametrize("kind", ["folder", "version"])
def test_a_remote_export_has_its_card_before_it_is_whole(fake, kind):
    base = f"ram://interrupted_export_test/{kind}"
    with pytest.raises(OSError, match="no card"):
        export(base, kind, _fail)
    assert not tf.io.gfile.exists(f"{base}/1")
    export(base, kind, lambda *_, **__: "card")
    assert sorted(tf.io.gfile.listdir(f"{base}/1")) == ["MODEL_CARD.md", "saved_model.pb"]


@pytest.mark.slow
def test_the_next_export_cleans_up_after_one_that_was_killed(fake, tmp_path):
    steps = {
        "folder": ("written", "checked", "exchanged", "renamed"),
        "version": ("written", "checked", "renamed"),
        "frozen": ("checked",),
    }
    cases = [f"{kind}.{step}" for kind in steps for step in steps[kind]]
    for case in cases:
        export(f"{tmp_path}/{case}", case.split(".")[0], lambda *_, **__: "earlier")
    before = {case: tiny.files(tmp_path / case) for case in cases}
    command = [sys.executable, "-c", textwrap.dedent(_INTERRUPTED), tmp_path, *cases]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(command, check=True, env=environment)
    for case in cases:
        kind, step = case.split(".")
        assert set(os.listdir(tmp_path / case)) != {path.split("/")[0] for path in before[case]}
        if step != "renamed":
            # What was there is still whole.
            assert set(before[case]) <= set(tiny.files(tmp_path / case))
        export(f"{tmp_path}/{case}", kind, lambda *_, **__: "new")
        left = tiny.files(tmp_path / case)
        if kind == "version":
            number = 3 if step == "renamed" else 2
            assert f"{number}/saved_model.pb" in left
            assert sorted(os.listdir(tmp_path / case)) == [str(n) for n in range(1, number + 1)]
        else:
            assert left == before[case]
            (card,) = (path for path in left if path.endswith("MODEL_CARD.md"))
            assert (tmp_path / case / card).read_text() == "new"
