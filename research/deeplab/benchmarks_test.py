"""The parts of benchmarks that collect results: what fails or is late costs no other result."""

import importlib.util
import pathlib
import sys
import time

import pytest
from absl import flags

_FOLDER = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"


def _load(name: str, monkeypatch):
    """Return a benchmark as a module."""
    # Where Python finds the modules beside a script.
    monkeypatch.syspath_prepend(str(_FOLDER))
    spec = importlib.util.spec_from_file_location(name, _FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", sorted(path.stem for path in _FOLDER.glob("*.py")))
def test_it_defines_its_flags(monkeypatch, capsys, name):
    module = _load(name, monkeypatch)
    if hasattr(module, "define_flags"):
        values = flags.FlagValues()
        module.define_flags(values)
        assert values.flag_values_dict()
    elif hasattr(module, "main"):
        monkeypatch.setattr(sys, "argv", [name, "--help"])
        with pytest.raises(SystemExit, match="^0$"):
            module.main()
        assert "usage:" in capsys.readouterr().out
    else:
        assert name == "turns"  # A module of others.


@pytest.mark.parametrize(
    ("end", "last"),
    [
        ("", []),
        ("raise SystemExit(3)", ["failed: exit code 3"]),
        ("import time; time.sleep(60)", ["stopped: the time was up"]),
    ],
    ids=["complete", "failed", "late"],
)
def test_results_before_a_failure_or_the_end_of_the_time_are_kept(monkeypatch, end, last):
    module = _load("on_a_gpu", monkeypatch)
    row = '{"section": "training", "result": "8 crops"}'
    code = f"print('log'); print('ROW ' + '{row}', flush=True); {end}"
    start = time.monotonic()
    rows = list(module.rows_of([sys.executable, "-c", code], "part", seconds=2))
    assert rows[0] == {"section": "training", "result": "8 crops"}
    assert [each["result"] for each in rows[1:]] == last
    assert time.monotonic() - start < 30


def test_each_section_is_a_table_with_the_columns_of_its_rows(monkeypatch):
    module = _load("on_a_gpu", monkeypatch)
    text = module.markdown(
        [
            {"section": "machine", "device": "CPU", "result": "no GPU"},
            {"section": "training", "network": "A", "result": "failed: a | b"},
            {"section": "training", "network": "B", "images_per_second": 2.5, "result": "8 crops"},
        ]
    )
    assert "## Training\n\n| network | images per second | result |\n| --- | --- | --- |" in text
    assert "| A |  | failed: a \\| b |\n| B | 2.5 | 8 crops |\n" in text


def test_the_table_of_peers_says_who_is_not_there(monkeypatch):
    turns = _load("turns", monkeypatch)
    peers = _load("peers", monkeypatch)
    ours, other = turns.Measured([1.0, 2.0, 3.0], 0), turns.Measured([2.0, 3.0, 6.0], 0)
    results = {
        f"{task}, {precision}, this package": ours
        for task in ("training", "inference")
        for precision in ("float32", "bfloat16")
    }
    results["training, float32, keras-hub"] = other
    lines = peers.table(results, batch_size=4).splitlines()
    assert lines[2] == "| training, float32 | 2.00 | not measured | 1.33 (ours 2.00 times) |"
    assert lines[5] == "| inference, bfloat16 | 2.00 | not measured | not measured |"
