"""The body of eval.py: evaluates the checkpoints of a training, or searches a CRF for them."""

from collections.abc import Mapping, Sequence

from deeplab.core.options import EvaluationOptions
from deeplab.datasets import data_generator, descriptors, shards
from deeplab.evaluation import checkpoints, image_table
from deeplab.evaluation.crf_search import CrfSearch
from deeplab.evaluation.evaluator import Evaluator
from deeplab.utils import files


def evaluate(
    options: EvaluationOptions,
    asked: checkpoints.AskedOptions,
    crf_grid: Mapping[str, Sequence[float]] | None = None,
    crf_images: int = 0,
) -> None:
    """Evaluate each checkpoint, and print and write the results.

    Args:
        options: which checkpoints, on which images.
        asked: gives the network's options.
        crf_grid: parameters of the CRF to try in place of evaluating; see `CrfSearch`.
        crf_images: number of images to try them on.

    Raises:
        FileNotFoundError: There are no records, or no such checkpoint.
        ValueError: A flag contradicts what the network was trained with, or a file is damaged.
    """
    descriptor = descriptors.load(options.dataset)
    # An error now is better than one after a long wait for a checkpoint.
    shards.find(options.dataset_dir, descriptor.split_names(options.split))
    predictor = checkpoints.wait_for_network(options, descriptor, asked)
    records = data_generator.Dataset(
        descriptor, options.split, options.dataset_dir, predictor.net.preprocessing()
    )
    if crf_grid:
        search = CrfSearch(predictor, records, crf_grid, crf_images)
    evaluator = Evaluator(predictor, records, options.batch_size)
    files.make_folder("eval_logdir", options.logdir)
    for path, step in checkpoints.restore_each(predictor, options):
        if crf_grid:
            search.report(search.run(), path, step, options.logdir)
        else:
            table = image_table.path(options.logdir, step)
            with image_table.writing(table, descriptor.labels()) as add_row:
                result = evaluator.evaluate(observers=[add_row])
            evaluator.report(result, path, step, options.logdir)
