"""Lists the official published checkpoints, or downloads one and prints its commands.

Examples:
    python -m deeplab.model_zoo --list
    python -m deeplab.model_zoo --download=mobilenetv2_coco_voc_trainaug --output_dir=checkpoints

A downloaded archive is verified and unpacked to <output_dir>/<name>. If this folder exists, nothing
is downloaded. The printed commands have the settings of the published evaluation, as in
recipes/<name>/, and write to <output_dir>/<name>_results.
"""

import os
import pathlib
from collections.abc import Sequence

from absl import flags

from deeplab import common
from deeplab.cli import script
from deeplab.utils import reports
from deeplab.zoo import download, flag_files, published_checkpoints
from deeplab.zoo.published_checkpoints import PublishedCheckpoint, PublishedResult

_DATASET_DIR = "${DATASET_DIR}"


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script."""
    define = common.definer("deeplab.model_zoo", flag_values)
    define("bool", "list", False, "Print all published checkpoints.")
    define(
        "string",
        "download",
        None,
        "Name of the checkpoint to download, verify and unpack. Its commands are printed.",
    )
    define("string", "output_dir", ".", "Folder in which a folder of that name is created.")


def main(argv: Sequence[str]) -> None:
    """List the published checkpoints, or download one."""
    del argv
    values = flags.FLAGS
    if values.list == bool(values.download):
        raise ValueError("give either --list or --download=NAME")
    if values.list:
        print(table())
        return
    checkpoint = published_checkpoints.get(values.download)
    folder = os.path.abspath(os.path.join(values.output_dir, checkpoint.name))
    if os.path.isdir(folder):
        print(f"{checkpoint.name} is already in {folder}, so it is not downloaded again")
    else:
        download.install(checkpoint.url, folder, checkpoint.size_limits, checkpoint.digest)
        print(f"{checkpoint.name} is in {folder}")
    prefixes = find_checkpoints(folder)
    if not prefixes:
        raise ValueError(
            f"{folder} contains no checkpoint (*.index): move it away and run this again to"
            " download it"
        )
    print(f"checkpoint: {', '.join(prefixes)}\n")
    print("\n\n".join(commands(checkpoint, f"{folder}_results", prefixes[0])))


def table() -> str:
    """Return a table with one line for each published evaluation of each checkpoint."""
    header = ("name", "backbone", "trained on", "evaluation", "mIoU", "MAdds", "size", "URL")
    rows = []
    for checkpoint in published_checkpoints.CHECKPOINTS:
        for result in checkpoint.results or (None,):
            rows.append(
                (
                    checkpoint.name,
                    checkpoint.backbone,
                    " + ".join(checkpoint.data),
                    evaluation_text(result) if result else "-",
                    miou_text(result) if result else "-",
                    f"{result.madds}B" if result and result.madds else "-",
                    checkpoint.size or "-",
                    checkpoint.url,
                )
            )
    return reports.format_table(header, rows, left=len(header))


def evaluation_text(result: PublishedResult) -> str:
    """Return the settings of an evaluation, such as "OS8, scales 0.5:0.25:1.75, flipped"."""
    scales = result.eval_scales
    text = f"OS{result.output_stride}"
    if len(scales) > 1:
        text += f", scales {scales[0]:g}:{scales[1] - scales[0]:g}:{scales[-1]:g}"
    return text + (", flipped" if result.flipped else "")


def miou_text(result: PublishedResult) -> str:
    """Return a result, such as "75.32 val"."""
    return f"{result.miou} {'test' if result.on_test else 'val'}"


def find_checkpoints(folder: str) -> list[str]:
    """Return the prefixes of the checkpoints in a folder and its subfolders."""
    return sorted(
        str(path.with_suffix(""))
        for path in pathlib.Path(folder).rglob("*.index")
        # Some archivers add a file `._<name>` for each file.
        if not path.name.startswith(".")
    )


def commands(checkpoint: PublishedCheckpoint, results: str, prefix: str) -> list[str]:
    """Return the shell commands of a checkpoint, each after a comment.

    Args:
        checkpoint: The published checkpoint.
        results: Folder for the output of the commands.
        prefix: Prefix of the checkpoint.

    Returns:
        Commands for the published evaluations, for pictures and for an export. For a backbone to
        start from, a command for training. The folder of the TFRecords is `${DATASET_DIR}`.
    """
    recipe = flag_files.RECIPES / checkpoint.recipe

    def command(module: str, file: str, **paths: str) -> str:
        return flag_files.command(module, flag_files.read(recipe / file), paths)

    def inside(*names: str) -> str:
        return os.path.join(results, *names)

    remarks = [f"# The TFRecords of {flag_files.value(recipe / 'train.txt', 'dataset')}:"]
    texts = ["DATASET_DIR=tfrecord"]
    for result in checkpoint.results:
        remarks.append(_evaluation_remark(result))
        texts.append(
            command(
                "deeplab.eval",
                result.flag_file,
                dataset_dir=_DATASET_DIR,
                checkpoint_dir=prefix,
                eval_logdir=inside(pathlib.Path(result.flag_file).stem),
            )
        )
    if checkpoint.results:
        remarks.append("# Pictures of the predictions.")
        texts.append(
            command(
                "deeplab.vis",
                "vis.txt",
                dataset_dir=_DATASET_DIR,
                checkpoint_dir=prefix,
                vis_logdir=inside("vis"),
            )
        )
        remarks.append(
            "# Export as a frozen graph (as a SavedModel if the path does not end in .pb)."
        )
        texts.append(
            command(
                "deeplab.export_model",
                "export.txt",
                checkpoint_path=prefix,
                export_path=inside("export", "frozen_inference_graph.pb"),
            )
        )
    else:
        remarks.append("# Train from this checkpoint.")
        texts.append(
            command(
                "deeplab.train",
                "train.txt",
                dataset_dir=_DATASET_DIR,
                tf_initial_checkpoint=prefix,
                train_logdir=inside("train"),
            )
        )
    return [f"{remark}\n{text}" for remark, text in zip(remarks, texts, strict=True)]


def _evaluation_remark(result: PublishedResult) -> str:
    remark = f"# Evaluate. Published: {miou_text(result)}, {evaluation_text(result)}."
    if not result.on_test:
        return remark
    return (
        f"{remark}\n# The labels of test are available only on the benchmark's server. This"
        " evaluates on val, which the network was trained on."
    )


def run() -> None:
    """Parse the flags and run `main`."""
    script.run(main, define_flags, local=("output_dir",))


if __name__ == "__main__":
    run()
