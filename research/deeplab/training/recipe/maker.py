"""The body of make_recipe.py: look at the data, measure steps, plan, write flag files."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging

from deeplab.cli import writable
from deeplab.core.options import RecipeOptions
from deeplab.core.wording import agree, counted
from deeplab.datasets import descriptors, shards, split_statistics
from deeplab.datasets.split_statistics import SplitStatistics
from deeplab.training.recipe import flag_text, measuring, planning, starting_network
from deeplab.training.recipe.facts import Facts
from deeplab.utils import files, progress, reports

FACTS_FILE = "facts.json"
# This many images of a split suffice to estimate sizes and shares of classes.
_MOST_IMAGES = 2000


def make(options: RecipeOptions, given: Mapping[str, Any]) -> None:
    """Write a recipe: `train.txt`, `eval.txt`, `vis.txt`, `export.txt` and `facts.json`.

    Args:
        options: The data, the checkpoint and the limits.
        given: Fields of `ModelOptions` that flags give.

    Raises:
        ValueError: A record is bad, the checkpoint does not fit, or the memory is too small.
        OSError: A file cannot be found or written.
    """
    writable.check_folder("output_dir", options.output_dir)
    facts = _with_measurements(options, _facts(options, given))
    plan = planning.plan(facts)
    if plan.steps < planning.FEW_STEPS:
        logging.warning(
            "%g minutes are enough for %d steps; new classes take %d or more: give more --minutes,"
            " or a checkpoint of a smaller network",
            *(facts.minutes, plan.steps, planning.FEW_STEPS),
        )
    # Only now, after all checks.
    writable.make_folder("output_dir", options.output_dir)
    for name, text in flag_text.texts(options, facts, plan).items():
        files.write_text(os.path.join(options.output_dir, name), text)
    reports.write_json(
        os.path.join(options.output_dir, FACTS_FILE),
        {"facts": dataclasses.asdict(facts), "plan": dataclasses.asdict(plan)},
    )
    print(
        f"wrote {options.output_dir}/train.txt, eval.txt, vis.txt and export.txt:"
        f" {plan.steps} steps of {plan.batch_size} crops of {plan.crop_size}x{plan.crop_size}"
        f" pixels, about {progress.clock_text(plan.seconds)}; next:\n"
        f"  deeplab-train --flagfile={options.output_dir}/train.txt --train_logdir=train_log"
    )


def _facts(options: RecipeOptions, given: Mapping[str, Any]) -> Facts:
    """Return the facts about data and network."""
    descriptor = descriptors.load(options.dataset)
    start = starting_network.find(options.tf_initial_checkpoint, given, descriptor.num_classes)
    logging.info("the network %s: %s", start.origin, start.options.model_variant)
    # The records of the second split are opened before those of the first are read.
    shards.open_split(options.dataset_dir, descriptor.split_names(options.eval_split))
    checked, evaluated = (
        split_statistics.check(split, options.dataset_dir, descriptor, _MOST_IMAGES)
        for split in (options.train_split, options.eval_split)
    )
    train = checked.statistics
    if missing := train.num_images - train.num_labels:
        raise ValueError(
            f"{missing} of {counted(train.num_images, 'image')} of"
            f" --train_split={options.train_split} {agree(missing, 'has', 'have')} no label"
        )
    weights = split_statistics.class_weights(train, descriptor)
    sizes = [*train.sizes, *evaluated.statistics.sizes]
    return Facts(
        network=start.options,
        origin=start.origin,
        new_layers=start.new_layers,
        checkpoint_classes=start.num_classes,
        class_names=tuple(
            split_statistics.class_name(descriptor, label)
            for label in range(descriptor.num_classes)
        ),
        num_images=len(checked.records),
        median_size=median_size(train),
        largest_size=(max(size[0] for size in sizes), max(size[1] for size in sizes)),
        balance=None if weights is None else tuple(map(float, weights)),
        minutes=options.minutes,
        memory_bytes=int((options.memory_gb or 0) * 1e9),
    )


def median_size(statistics: SplitStatistics) -> tuple[int, int]:
    """Return height and width of the median image, ordered by pixels."""
    ordered = sorted(statistics.sizes.items(), key=lambda item: (item[0][0] * item[0][1], item[0]))
    counts = np.cumsum([count for _, count in ordered])
    return ordered[int(np.searchsorted(counts, (counts[-1] + 1) // 2))][0]


def _with_measurements(options: RecipeOptions, facts: Facts) -> Facts:
    """Add measured steps, of the largest crops that fit into the memory."""
    sizes = planning.crop_sizes(facts.median_size, facts.network.output_stride)
    for crop_size in dict.fromkeys((sizes[0], sizes[-1])):
        measured = measuring.measure(
            measuring.StepRequest(
                network=facts.network,
                dataset=options.dataset,
                dataset_dir=options.dataset_dir,
                split=options.train_split,
                crop_size=crop_size,
                memory_bytes=facts.memory_bytes or None,
            )
        )
        if measured.measurements:
            return dataclasses.replace(
                facts,
                memory_bytes=measured.memory_bytes,
                idle_bytes=measured.idle_bytes,
                start_seconds=measured.start_seconds,
                measurements=tuple(measured.measurements),
            )
    raise ValueError(
        f"a training step with one crop of {sizes[-1]}x{sizes[-1]} pixels does not fit into the"
        " memory: use a machine with more, or a checkpoint of a smaller network"
    )
