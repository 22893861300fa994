r"""Exports a trained DeepLab network as a SavedModel, the official frozen graph or an ONNX model.

If --export_path ends in .pb, a frozen graph is written; if it ends in .onnx, an ONNX model;
otherwise, the folder of a SavedModel. All take images of any size, and
need nothing of this project to run.

Example:
    python deeplab/export_model.py \
        --checkpoint_path=train_log/model.ckpt-30000 --export_path=export/1

The options of the network are read from model_options.json beside the checkpoint. Official
checkpoints have no such file; give the flags of the network for them.
"""

import functools
import sys
from collections.abc import Sequence

from absl import flags

from deeplab import common
from deeplab.cli import crf_flags, network_flags, script
from deeplab.core.options import ExportFiles, ExportOptions, InferenceOptions, ModelOptions


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script (official `export_model.py`) and the shared ones."""
    common.define_flags(flag_values)
    crf_flags.define_flags(flag_values)
    define = common.definer("deeplab.export_model", flag_values)
    network_flags.define_network_flags(define, output_stride=8)
    common.define_options(define, ExportFiles)
    common.define_options(define, ExportOptions)
    common.define_option(
        define,
        ModelOptions,
        "num_classes",
        help_text="Number of classes. Default: that of training, where it is known.",
    )
    common.define_option(
        define,
        ModelOptions,
        "crop_size",
        default=[513, 513],
        help_text="Pad smaller images to this: give the flag twice, height then width. Default:"
        " that of training, where it is known.",
    )
    common.define_option(define, InferenceOptions, "eval_scales", flag="inference_scales")


def main(argv: Sequence[str]) -> None:
    """Export a checkpoint according to the flags."""
    del argv
    values = flags.FLAGS
    common.log_unused_flags(values, network_flags.UNUSED_FLAGS)
    inference = network_flags.inference_options(values, "inference_scales")
    asked = functools.partial(common.ModelOptions.from_flags, values)

    from deeplab.export import exporter

    exporter.export_checkpoint(
        ExportFiles(**common.option_values(ExportFiles, values)),
        asked,
        inference,
        ExportOptions(**common.option_values(ExportOptions, values)),
        use_ema=values.use_ema,
        command=sys.argv,
    )


def run() -> None:
    """Parse the flags and run `main`."""
    script.run(main, define_flags, required=("checkpoint_path", "export_path"))


if __name__ == "__main__":
    run()
