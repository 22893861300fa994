"""The body of eval.py: evaluates the checkpoints of a training, or searches a CRF for them."""

import os
from collections.abc import Mapping, Sequence

from absl import logging

from deeplab.cli import writable
from deeplab.core.options import EvaluationOptions, ReportOptions
from deeplab.datasets import data_generator, descriptors, shards
from deeplab.evaluation import checkpoints, image_table, parts, report_page
from deeplab.evaluation.chosen_images import ChosenImages
from deeplab.evaluation.crf_search import CrfSearch
from deeplab.evaluation.earlier_evaluation import EarlierEvaluation
from deeplab.evaluation.evaluator import Evaluator
from deeplab.evaluation.worst_images import WorstImages
from deeplab.sharing import cluster as clusters
from deeplab.sharing.cluster import Cluster
from deeplab.sharing.teams import Team


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
        options: The checkpoints and the images.
        asked: Returns the network's options.
        crf_grid: Parameters of the CRF to try instead of evaluating; see `CrfSearch`.
        crf_images: Number of images to try them on.
        page: Images to show of the evaluation, on a page and in TensorBoard. None: only numbers.
        arguments: Flags that repeat the evaluation, without the checkpoint; the page shows them.

    Raises:
        FileNotFoundError: There are no records, no such checkpoint, or nothing to compare with.
        ValueError: A flag contradicts what the network was trained with, a file is damaged, or
            another host has ended with an error.
        TimeoutError: Another host has given no sign of life.
    """
    page = page or ReportOptions()
    cluster = clusters.from_environment(evaluator=True)
    descriptor = descriptors.load(options.dataset)
    # An error now is better than one after a long wait for a checkpoint.
    if crf_grid:
        _check_search(options, page, cluster)
    _comparison(page, descriptor)
    writable.check_folder("eval_logdir", options.logdir)
    if page.report_dir:
        writable.check_folder("report_dir", page.report_dir)
    shards.find(options.dataset_dir, descriptor.split_names(options.split))
    predictor = checkpoints.wait_for_network(options, descriptor, asked)
    records = data_generator.Dataset(
        descriptor, options.split, options.dataset_dir, predictor.net.preprocessing()
    )
    if crf_grid:
        search = CrfSearch(predictor, records, crf_grid, crf_images)
        writable.make_folder("eval_logdir", options.logdir)
        for path, step in checkpoints.restore_each(predictor, options):
            search.report(search.run(), path, step, options.logdir)
        return
    evaluator = Evaluator(predictor, records, options.batch_size)
    writable.make_folder("eval_logdir", options.logdir)
    if page.report_dir:
        writable.make_folder("report_dir", page.report_dir)
    with Team(cluster, os.path.join(options.logdir, ".eval-hosts")) as team:
        numbers = team.share.numbers(len(records), options.batch_size)
        for path, step in checkpoints.restore_each(predictor, options, team):
            # Read before this evaluation is written, which may replace the other one.
            comparison = _comparison(page, descriptor)
            rows: list[list[str]] = []
            observers = [lambda image, rows=rows: rows.append(image_table.row(image))]
            chosen = worst = None
            if page.summary_images:
                worst = WorstImages(descriptor, page.summary_images, numbers)
                observers.append(worst.add)
            if page.report_dir:
                chosen = ChosenImages(descriptor, page.report_images, len(records), numbers)
                observers.append(chosen.add)
            result = evaluator.evaluate(
                observers=observers, confidence=bool(page.report_dir), share=team.share
            )
            gathered = team.gather(parts.describe(len(records), result, rows, chosen, worst))
            if not team.is_chief:
                continue
            result, rows = parts.merge(gathered, options.batch_size, chosen, worst)
            image_table.write(image_table.path(options.logdir, step), descriptor.labels(), rows)
            pictures = worst.pictures() if worst else ()
            evaluator.report(result, path, step, options.logdir, pictures)
            if chosen:
                for row in rows if comparison else ():
                    comparison.add(image_table.parse(row))
                content = report_page.PageContent(
                    facts=evaluator.facts(result, path, step),
                    result=result,
                    descriptor=descriptor,
                    chosen=chosen,
                    comparison=comparison,
                    arguments=arguments,
                )
                written = report_page.write(page.report_dir, content)
                logging.info("wrote %s", written)


def _check_search(options: EvaluationOptions, page: ReportOptions, cluster: Cluster | None) -> None:
    """Reject what has no effect on the search for a CRF."""
    if page.report_dir:
        raise ValueError(f"--report_dir={page.report_dir} has no effect with --crf_search")
    if page.summary_images:
        raise ValueError(f"--summary_images={page.summary_images} has no effect with --crf_search")
    if options.num_clones > 1:
        raise ValueError(
            f"--num_clones is {options.num_clones}, but --crf_search uses one device; use"
            " --num_clones=1"
        )
    if cluster:
        raise ValueError(
            f"{clusters.VARIABLE} lists {len(cluster.hosts)} hosts, but --crf_search uses one: run"
            f" it on one host without {clusters.VARIABLE}"
        )


def _comparison(
    page: ReportOptions, descriptor: descriptors.DatasetDescriptor
) -> EarlierEvaluation | None:
    if not page.compare_with:
        return None
    return EarlierEvaluation(page.compare_with, descriptor.labels())
