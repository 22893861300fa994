"""Convert images and labels, or annotations of any tool, to TFRecords, and write a descriptor.

Labels are label files (--label_folder: the label of the image a/b.jpg is a/b.png or a/b.tif), or
what an annotation tool wrote (--annotations: COCO, labelme, CVAT, Label Studio, YOLO, Ultralytics
or CSV). Splits are given by lists (--list_folder: <split>.txt, an image name per line, without
extension), by patterns of image files (--split=train='train/*' --split=val='val/*'), or at random
(--split_fractions=train:0.8,val:0.2). The classes of label files are given by --class_names,
--num_classes or --colormap. Pass the descriptor to the other scripts with --dataset.

  python -m deeplab.datasets.build_custom_data --image_folder=images --label_folder=labels \\
      --list_folder=lists --class_names=background,roof,road --output_dir=tfrecord
  python -m deeplab.datasets.build_custom_data --image_folder=images --annotations=coco.json \\
      --split_fractions=train:0.8,val:0.2 --output_dir=tfrecord
  python -m deeplab.datasets.check_data --dataset=tfrecord/dataset.json --dataset_dir=tfrecord
"""

from collections.abc import Sequence

from absl import flags

from deeplab import common
from deeplab.cli import converter_flags, processes, script
from deeplab.datasets.custom_options import CustomOptions


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script."""
    define = common.definer("deeplab.datasets.build_custom_data", flag_values)
    common.define_options(define, CustomOptions, leave_out=("num_processes",))
    converter_flags.define_num_processes(flag_values)
    converter_flags.define_runner(flag_values)


def main(argv: Sequence[str]) -> None:
    """Convert the splits and write the descriptor."""
    del argv
    processes.start_early(flags.FLAGS.num_processes, ["deeplab.datasets.shared_reading"])
    # Imports TensorFlow, which takes seconds: not for --help.
    from deeplab.datasets import custom_data

    custom_data.convert(
        CustomOptions(**common.option_values(CustomOptions, flags.FLAGS)),
        converter_flags.runner_options(flags.FLAGS),
    )


def run() -> None:
    """Parse the flags and run `main`."""
    script.run(
        main,
        define_flags,
        required=("output_dir",),
        local=("annotations",),
        cpu_only=True,
    )


if __name__ == "__main__":
    run()
