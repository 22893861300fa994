"""The body of model_info.py: the size of a network, compared with published numbers."""

from collections.abc import Callable, Sequence

from deeplab import common, model
from deeplab.utils import checkpoint
from deeplab.weights import foreign_files
from deeplab.zoo import model_statistics, published_multiply_adds


def options(
    asked: Callable[..., common.ModelOptions],
    checkpoint_dir: str | None,
    crop_size: Sequence[int | str],
) -> common.ModelOptions:
    """Return the options of the network to report on.

    Args:
        asked: Returns the network's options, given those of its training (`stored`).
        checkpoint_dir: A folder of checkpoints, or the prefix of one. None: there is none.
        crop_size: (height, width) of the image where the options know none.

    Raises:
        ValueError: Flags contradict the checkpoint, or no options are stored beside it.
    """
    stored = None
    if checkpoint_dir:
        stored = checkpoint.load_options(checkpoint_dir)
        if stored is None:
            foreign_files.refuse(checkpoint_dir)
            raise ValueError(
                f"--checkpoint_dir={checkpoint_dir} contains no {common.OPTIONS_FILE} (official"
                " checkpoints have none): give the flags of its training instead"
            )
    found = asked(stored=stored)
    return found.replace(crop_size=crop_size) if found.crop_size is None else found


def print_report(options: common.ModelOptions, *, by_layer: bool = False) -> None:
    """Print parameters, multiply-adds and output shapes of a network's parts.

    Args:
        options: Options of the network, with a crop size.
        by_layer: Also print every layer.

    Raises:
        ValueError: There is no such network.
    """
    net = model.DeepLab(options, random_weights=False)
    statistics = model_statistics.measure(net, options.crop_size)
    height, width = options.crop_size
    print(
        f"{options.model_variant}, image {height}x{width}, output stride {options.output_stride},"
        f" {options.num_classes} classes\n"
    )
    print(model_statistics.format_statistics(statistics, by_layer=by_layer))
    total = statistics.total
    print(f"\nA checkpoint also holds {total.moving_averages:,} moving averages of batch norms.")
    published = published_multiply_adds.find(options)
    if published is None:
        return
    line = f"Published: {published.multiply_adds} B multiply-adds ({published.source})"
    if published.counts_operations:
        print(f"{line}. This number counts every operation; see g3doc/model_info.md.")
        return
    ours, padded = (
        f"{count / 1e9:.2f} B ({count / 1e9 / float(published.multiply_adds) - 1:+.1%})"
        for count in (total.multiply_adds, total.padded_multiply_adds)
    )
    print(f"{line}. Here: {ours}; with the padding that the published number includes: {padded}.")
