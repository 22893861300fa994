"""The body of eval.py: evaluates the checkpoints of a training, or searches a CRF for them."""

from collections.abc import Mapping, Sequence

from absl import logging

from deeplab.core.options import EvaluationOptions, ReportOptions
from deeplab.datasets import data_generator, descriptors, shards
from deeplab.evaluation import checkpoints, image_table, report_page
from deeplab.evaluation.comparison import Comparison
from deeplab.evaluation.crf_search import CrfSearch
from deeplab.evaluation.evaluator import Evaluator
from deeplab.evaluation.examples import Examples
from deeplab.utils import files


def evaluate(
    options: EvaluationOptions,
    asked: checkpoints.AskedOptions,
    crf_grid: Mapping[str, Sequence[float]] | None = None,
    crf_images: int = 0,
    page: ReportOptions | None = None,
    arguments: Sequence[str] = (),
) -> None:
    """Evaluate each checkpoint, and print and write the results.

    Args:
        options: which checkpoints, on which images.
        asked: gives the network's options.
        crf_grid: parameters of the CRF to try in place of evaluating; see `CrfSearch`.
        crf_images: number of images to try them on.
        page: what to show of the evaluation on a page. None: there is none.
        arguments: flags that repeat the evaluation, without the checkpoint; the page shows them.

    Raises:
        FileNotFoundError: There are no records, no such checkpoint, or nothing to compare with.
        ValueError: A flag contradicts what the network was trained with, or a file is damaged.
    """
    page = page or ReportOptions()
    descriptor = descriptors.load(options.dataset)
    # An error now is better than one after a long wait for a checkpoint.
    if crf_grid and page.report_dir:
        raise ValueError(f"--report_dir={page.report_dir} has no effect with --crf_search")
    _comparison(page, descriptor)
    shards.find(options.dataset_dir, descriptor.split_names(options.split))
    predictor = checkpoints.wait_for_network(options, descriptor, asked)
    records = data_generator.Dataset(
        descriptor, options.split, options.dataset_dir, predictor.net.preprocessing()
    )
    if crf_grid:
        search = CrfSearch(predictor, records, crf_grid, crf_images)
    evaluator = Evaluator(predictor, records, options.batch_size)
    files.make_folder("eval_logdir", options.logdir)
    if page.report_dir:
        files.make_folder("report_dir", page.report_dir)
    for path, step in checkpoints.restore_each(predictor, options):
        if crf_grid:
            search.report(search.run(), path, step, options.logdir)
            continue
        comparison = _comparison(page, descriptor)
        observers = [comparison.add] if comparison else []
        if page.report_dir:
            chosen = Examples(descriptor, page.report_images, len(records))
            observers.append(chosen.add)
        table = image_table.path(options.logdir, step)
        with image_table.writing(table, descriptor.labels()) as add_row:
            result = evaluator.evaluate(
                observers=[add_row, *observers], confidence=bool(page.report_dir)
            )
        evaluator.report(result, path, step, options.logdir)
        if page.report_dir:
            facts = evaluator.facts(result, path, step)
            written = report_page.write(
                page.report_dir, facts, result, descriptor, chosen, comparison, arguments
            )
            logging.info("wrote %s", written)


def _comparison(
    page: ReportOptions, descriptor: descriptors.DatasetDescriptor
) -> Comparison | None:
    if not page.compare_with:
        return None
    return Comparison(page.compare_with, descriptor.labels())
