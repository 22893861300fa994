"""Pipelines of Apache Beam: their options, their run, and errors of one line."""

import contextlib
import io
import logging as standard_logging
import os
import pickle
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from deeplab.core import error_text
from deeplab.core.options import RunnerOptions
from deeplab.utils import file_systems, files, temporary_files

# Runners that work on this machine alone. They have no options besides those that Beam lists.
_ON_THIS_MACHINE = ("DirectRunner", "FnApiRunner", "BundleBasedDirectRunner", "PrismRunner")
# Name of the folder through which machines exchange files.
_STAGING = "beam-staging"
# What Beam adds to the error message of a step.
_STEP = re.compile(r" \[while running [^]]*\]")
_TRACEBACK = "Traceback (most recent call last)"
_LAST_LINE = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception)\w*: (.*)$", re.MULTILINE)


def check(options: RunnerOptions) -> None:
    """Reject options with which no pipeline can run, before anything is read or written.

    Raises:
        ValueError: Apache Beam is not installed, or refuses the options.
    """
    _options(options.beam_options or ())


def run(build: Callable[[Any], Any], options: RunnerOptions) -> None:
    """Build a pipeline, and wait until all of it is done.

    Its functions must be functions of modules, which workers import, and its elements must be
    values that can be pickled. An engine may call a function twice for an element, even at the same
    time.

    Args:
        build: Takes an `apache_beam.Pipeline`, and applies transforms to it.
        options: Options of the pipeline.

    Raises:
        ValueError: Apache Beam is not installed, or refuses the options.
        ChildProcessError: The pipeline failed; the message is that of the step that did.
    """
    beam_options = _options(options.beam_options or ())
    import apache_beam as beam

    result = None
    try:
        pipeline = beam.Pipeline(options=beam_options)
        build(pipeline)
        # On this machine this returns when everything is done, on other runners at once.
        result = pipeline.run()
        state = result.wait_until_finish() or result.state
    except Exception as error:
        raise ChildProcessError(f"the pipeline failed: {_reason(error)}") from error
    except BaseException:
        # The user has interrupted it, so nobody waits for its results.
        with contextlib.suppress(Exception):
            result.cancel()
        raise
    if state != beam.runners.runner.PipelineState.DONE:
        raise ChildProcessError(f"the pipeline ended in the state {state}: see the engine's log")


def for_each(function: Callable[[Any], None], items: Sequence[Any], options: RunnerOptions) -> None:
    """Call a function for each of a few items, each on any worker; see `run`.

    Args:
        function: A function of a module.
        items: Its arguments, one for each call.
        options: Options of the pipeline.
    """

    def build(pipeline: Any) -> None:
        import apache_beam as beam

        # Without the shuffle an engine may give all items to one worker.
        _ = pipeline | beam.Create(items) | beam.Reshuffle() | beam.Map(function)

    run(build, options)


@contextlib.contextmanager
def staging(output_dir: str) -> Iterator[str]:
    """Yield a folder through which this machine and the workers exchange files; remove it later.

    Args:
        output_dir: Parent of the folder, in a file system that all machines share.
    """
    temporary_files.remove_leftovers(output_dir, _STAGING)
    with temporary_files.temporary_name(os.path.join(output_dir, _STAGING)) as folder:
        gfile = file_systems.gfile()
        gfile.makedirs(folder)
        try:
            yield folder
        finally:
            with contextlib.suppress(Exception):
                gfile.rmtree(folder)


def store(path: str, value: Any) -> None:
    """Write a value in a staging folder; see `load`."""
    files.write_bytes(path, pickle.dumps(value))


def load(path: str) -> Any:
    """Return a value that this machine or another one has written to a staging folder.

    Raises:
        ValueError: It is not there.
    """
    if not file_systems.exists(path):
        raise ValueError(
            f"{path} is not there: --output_dir must be a folder that all workers and this machine"
            " share, such as gs://bucket/folder"
        )
    return pickle.loads(files.read_bytes(path))


def _options(texts: Sequence[str]) -> Any:
    """Return the options of a pipeline from the values of --beam_options."""
    try:
        from apache_beam import options as beam_options
    except ImportError as error:
        raise ValueError(
            f"--runner=beam: apache_beam cannot be imported ({error}): pip install 'deeplab[beam]'"
        ) from None
    try:
        words = [word for text in texts for word in shlex.split(text)]
    except ValueError as error:
        raise ValueError(f"--beam_options={' '.join(texts)} cannot be parsed: {error}") from None
    written = io.StringIO()
    try:
        with contextlib.redirect_stderr(written), _quiet():
            options = beam_options.pipeline_options.PipelineOptions(words)
            known = options.get_all_options()
            given = options.get_all_options(retain_unknown_options=True)
    except SystemExit:
        # The parser writes the usage and then the error to standard error.
        reason = error_text.one_line(written.getvalue().strip().rpartition("error: ")[2])
        raise ValueError(f"--beam_options={' '.join(words)}: {reason}") from None
    runner = known["runner"] or "DirectRunner"
    unknown = sorted(set(given) - set(known))
    # The service of another runner may know them.
    if unknown and runner in _ON_THIS_MACHINE:
        raise ValueError(f"--beam_options={' '.join(words)}: {runner} has no option --{unknown[0]}")
    if stray := [word for word in words[:1] if not word.startswith("-")]:
        raise ValueError(f"--beam_options has {stray[0]!r}, which is not --<option>=<value>")
    return options


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Beam from logging options that it passes on."""
    logger = standard_logging.getLogger("apache_beam.options.pipeline_options")
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled


def _reason(error: Exception) -> str:
    """Return the error message of a step, without the traceback that engines add."""
    text = _STEP.sub("", str(error))
    if _TRACEBACK in text:
        text = (_LAST_LINE.findall(text) or text.splitlines())[-1]
    return error_text.one_line(text)
