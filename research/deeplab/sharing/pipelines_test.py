"""Options of pipelines are checked before anything runs, and a failed step is one line."""

import pytest

from deeplab.core.options import RunnerOptions
from deeplab.sharing import pipelines


def _fail(number):
    raise ValueError(f"shard {number} is bad:\n  its disk is full")


def _options(*texts):
    return RunnerOptions(runner="beam", beam_options=texts or None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--runner=DirectRunner --paralelism=8", "DirectRunner has no option --paralelism"),
        ("--runer=FlinkRunner", "DirectRunner has no option --runer"),
        ("--direct_num_workers=many", "argument --direct_num_workers: invalid int value: 'many'"),
        ("FlinkRunner", "--beam_options has 'FlinkRunner', which is not --<option>=<value>"),
        ("--runner='Flink", "cannot be parsed: No closing quotation"),
    ],
)
def test_a_wrong_option_is_named(text, message):
    pytest.importorskip("apache_beam", reason="needs the extra [beam]")
    with pytest.raises(ValueError, match=message):
        pipelines.check(_options(text))


def test_options_come_in_one_text_or_in_several():
    pytest.importorskip("apache_beam", reason="needs the extra [beam]")
    pipelines.check(_options("--runner=FlinkRunner --parallelism=8", "--region=a --label='a b'"))


def test_options_without_a_pipeline_are_refused():
    with pytest.raises(ValueError, match="--beam_options=.* belongs to --runner=beam, but"):
        RunnerOptions(beam_options=["--runner=FlinkRunner"])


@pytest.mark.slow
def test_a_failed_step_is_one_line():
    pytest.importorskip("apache_beam", reason="needs the extra [beam]")
    with pytest.raises(ChildProcessError, match="^the pipeline failed: .*shard 1 is bad") as caught:
        pipelines.for_each(_fail, [1], _options("--runner=FnApiRunner"))
    assert "\n" not in str(caught.value) and "running" not in str(caught.value)


def test_what_workers_do_not_share_is_told(tmp_path):
    with pytest.raises(ValueError, match="/task is not there: --output_dir must be a folder that"):
        pipelines.load(str(tmp_path / "task"))
