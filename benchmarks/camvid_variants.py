r"""Trains variants of a recipe with several seeds, and writes a table of the mIoU and rare classes.

Every run is a process `python -m deeplab.train` that is evaluated at its end. A run that already
has a result is not repeated, so the script can be stopped and started again, with the same flags.

Example:
    PYTHONPATH=research python benchmarks/camvid_variants.py --output_dir=/tmp/variants \
        --groups=losses --seeds=0,1 -- \
        --flagfile=research/deeplab/recipes/camvid/train.txt --dataset_dir=camvid_tfrecord \
        --dataset=research/deeplab/recipes/camvid/camvid.json --eval_crop_size=361,481 \
        --tf_initial_checkpoint=mnv2_dm05/model.ckpt

The flags after `--` are flags of `train.py` for all runs. A variant changes only one or a few of
them, so that a row shows their effect.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import numpy as np

# Flags of each variant, by group and name. Every group has the unchanged recipe for comparison.
_NOT_CLIPPED = "--clip_gradient_norm=1e9"
VARIANTS = {
    "losses": {
        "cross_entropy": [],
        "focal": ["--loss=focal"],
        "dice": ["--loss=dice"],
        "cross_entropy_dice": ["--loss=cross_entropy_dice"],
        "tversky": ["--loss=tversky"],
        "lovasz": ["--loss=lovasz"],
    },
    "augmentation": {
        "none": [],
        "colors of SSD": [
            "--random_brightness=32",
            "--random_contrast=0.5",
            "--random_saturation=0.5",
            "--random_hue=36",
        ],
        "rotation by 10 degrees": ["--max_rotation=10"],
        "vertical flip": ["--random_vertical_flip"],
        "quarter turns": ["--random_quarter_turns"],
        "blur up to 1.5": ["--random_blur=1.5"],
        "class share 0.5": ["--max_class_share=0.5"],
        "class-balanced sampling": ["--class_balanced_sampling"],
    },
    "optimizers": {
        "adamw 0.0005, norm 1": [],
        "adamw 0.0005": [_NOT_CLIPPED],
        "adamw 0.00025": [_NOT_CLIPPED, "--base_learning_rate=0.00025"],
        "momentum 0.001": [_NOT_CLIPPED, "--optimizer=momentum", "--base_learning_rate=0.001"],
        "momentum 0.0005": [_NOT_CLIPPED, "--optimizer=momentum", "--base_learning_rate=0.0005"],
    },
}


def main() -> None:
    """Make the runs that are missing, and print the table of each group."""
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output_dir", required=True, type=pathlib.Path)
    parser.add_argument("--groups", default=",".join(VARIANTS), help="comma separated")
    parser.add_argument("--seeds", default="0,1", help="comma separated")
    parser.add_argument("--variants", help="names in the groups, comma separated; default: all")
    parser.add_argument("--steps", type=int, help="of each run; default: those of the flags")
    parser.add_argument(
        "--rare",
        default="column_pole,sign,fence,pedestrian,bicyclist",
        help="classes whose mean IoU has a separate column, comma separated",
    )
    options = parser.parse_args(sys.argv[1:split])
    seeds = [int(seed) for seed in options.seeds.split(",")]
    groups = options.groups.split(",")
    chosen = options.variants and set(options.variants.split(","))
    known = {name for group in groups for name in VARIANTS[group]}
    if unknown := (chosen or set()) - known:
        sys.exit(f"--variants: {sorted(unknown)} are not in --groups; there are {sorted(known)}")
    flags_of_all = sys.argv[split + 1 :]
    if options.steps:
        flags_of_all.append(f"--training_number_of_steps={options.steps}")
    for group in groups:
        rows = {}
        for name, changes in VARIANTS[group].items():
            if chosen and name not in chosen:
                continue
            # All groups share the runs of the recipe as it is.
            own = f"{group}/{name}".replace(" ", "_").replace(",", "") if changes else "recipe"
            folder = options.output_dir / own
            flags = [*flags_of_all, *changes]
            rows[name] = [_result(flags, seed, folder / f"seed{seed}") for seed in seeds]
        if rows:
            print(_table(rows, seeds, set(options.rare.split(","))), flush=True)


def _result(flags: list[str], seed: int, logdir: pathlib.Path) -> dict:
    """Return the evaluation of a run; make the run if it is missing."""
    result, begun_with = logdir / "eval/eval.json", logdir / "flags.json"
    if begun_with.exists() and json.loads(begun_with.read_text()) != flags:
        sys.exit(f"{logdir} was made with other flags: choose another --output_dir, or remove it")
    if not result.exists():
        logdir.mkdir(parents=True, exist_ok=True)
        begun_with.write_text(json.dumps(flags))
        command = [sys.executable, "-m", "deeplab.train", *flags]
        command += [f"--seed={seed}", f"--train_logdir={logdir}", "--eval_every=1000000"]
        with open(logdir / "log.txt", "a") as log:
            if subprocess.run(command, stdout=log, stderr=log).returncode != 0:
                sys.exit(f"training failed: see {logdir / 'log.txt'}")
    return json.loads(result.read_text())


def _table(rows: dict[str, list[dict]], seeds: list[int], rare: set[str]) -> str:
    """Return a Markdown table: for each variant, mIoU and IoU of rare classes of each seed."""
    known = {each["name"] for each in next(iter(rows.values()))[0]["classes"]}
    if unknown := rare - known:
        sys.exit(f"--rare: {sorted(unknown)} are no classes; there are {sorted(known)}")
    lines = [
        f"| | mIoU (seeds {', '.join(map(str, seeds))}) | mean | rare classes | mean |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, results in rows.items():
        columns = []
        for classes in (known, rare):
            each = [
                # A class that is neither in a label nor in a prediction has no IoU.
                100 * np.mean([own["iou"] for own in one["classes"] if _counts(own, classes)])
                for one in results
            ]
            columns += [", ".join(f"{value:.2f}" for value in each), f"{np.mean(each):.2f}"]
        lines.append(f"| {name} | {' | '.join(columns)} |")
    return "\n".join(lines)


def _counts(own: dict, classes: set[str]) -> bool:
    return own["name"] in classes and own["iou"] is not None


if __name__ == "__main__":
    main()
