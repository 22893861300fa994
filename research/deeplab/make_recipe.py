r"""Makes a recipe for a dataset: flag files for training, evaluation, pictures and export.

The network is that of the checkpoint; the other settings follow from the images, from their labels,
and from the speed and memory of training steps that are measured on this machine. Each flag has its
reason as a comment.

Example:
    python -m deeplab.make_recipe \
        --dataset=tfrecord/dataset.json --dataset_dir=tfrecord \
        --tf_initial_checkpoint=pascal/model.ckpt --minutes=10 --output_dir=recipe
"""

from collections.abc import Sequence

from absl import flags

from deeplab import common
from deeplab.cli import script
from deeplab.core.options import ModelOptions, RecipeOptions, fields
from deeplab.core.options.recipe_options import GIVEN_BY_DATA

_UNUSED_FLAGS = {
    **common.UNUSED_FLAGS,
    "label_weights": "the recipe has weights that follow from the data",
}


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script and the shared ones."""
    common.define_flags(flag_values)
    define = common.definer("deeplab.make_recipe", flag_values)
    common.define_options(define, RecipeOptions)
    common.define_option(define, ModelOptions, "atrous_rates")
    common.define_option(define, ModelOptions, "output_stride")


def main(argv: Sequence[str]) -> None:
    """Measure, plan, and write the flag files of a recipe."""
    del argv
    values = flags.FLAGS
    common.log_unused_flags(values, _UNUSED_FLAGS)
    options = RecipeOptions(**common.option_values(RecipeOptions, values))
    given = {
        name: values[name].value
        for name in fields.describe(ModelOptions)
        if name not in GIVEN_BY_DATA and values[name].present
    }

    from deeplab.training.recipe import maker

    maker.make(options, given)


def run() -> None:
    """Parse the flags and run `main`."""
    required = ("dataset", "dataset_dir", "tf_initial_checkpoint", "output_dir")
    script.run(main, define_flags, required=required, cpu_only=True)


if __name__ == "__main__":
    run()
