"""The flag files of a recipe: settings, each with its reason as a comment."""

import dataclasses
import textwrap
from collections.abc import Iterable, Sequence

from deeplab import common
from deeplab.core.options import (
    ModelOptions,
    RandomScale,
    RecipeOptions,
    RunOptions,
    TrainOptions,
    fields,
)
from deeplab.core.options.recipe_options import GIVEN_BY_DATA
from deeplab.core.wording import counted
from deeplab.training.recipe.facts import Facts
from deeplab.training.recipe.planning import LARGEST_CROP, Plan
from deeplab.utils import progress

_COLUMNS = 100


@dataclasses.dataclass(frozen=True)
class Setting:
    """Flags, and the reason why they have their values."""

    reason: str
    words: tuple[str, ...]


def texts(options: RecipeOptions, facts: Facts, plan: Plan) -> dict[str, str]:
    """Return the content of each flag file, by the file's name."""
    evaluated = _data(options, "the data", with_folder=True)
    size = f"{plan.eval_crop_size[0]},{plan.eval_crop_size[1]}"
    holds = (
        f"Holds every image: the largest sides are {facts.largest_size[1]}x"
        f"{facts.largest_size[0]} pixels (width x height)"
    )
    unseen = "Images not used in training"
    if options.eval_split == options.train_split:
        unseen = "The images of the training, so results will be too good"
    once = "Once, with the newest checkpoint"
    return {
        "train.txt": _text("deeplab-train", "train_logdir", train_settings(options, facts, plan)),
        "eval.txt": _text(
            "deeplab-eval",
            "checkpoint_dir and --eval_logdir",
            [
                evaluated,
                Setting(unseen, (f"--eval_split={options.eval_split}",)),
                Setting(holds, (f"--eval_crop_size={size}",)),
                Setting(once, ("--max_number_of_evaluations=1",)),
            ],
        ),
        "vis.txt": _text(
            "deeplab-vis",
            "checkpoint_dir and --vis_logdir",
            [
                evaluated,
                Setting(unseen, (f"--vis_split={options.eval_split}",)),
                Setting(holds, (f"--vis_crop_size={size}",)),
                Setting(once, ("--max_number_of_iterations=1",)),
            ],
        ),
        "export.txt": _text(
            "deeplab-export-model",
            "checkpoint_path and --export_path",
            [
                _data(options, "the classes, whose names and colors the export has"),
                Setting(
                    "Number of classes of the data", (f"--num_classes={facts.network.num_classes}",)
                ),
                Setting(holds, tuple(f"--crop_size={side}" for side in plan.eval_crop_size)),
            ],
        ),
    }


def train_settings(options: RecipeOptions, facts: Facts, plan: Plan) -> list[Setting]:
    """Return the settings of the training."""
    side, batch = plan.crop_size, plan.batch_size
    network = facts.network
    memory = facts.peak_bytes(side, batch)
    settings = [
        _data(options, "the data", with_folder=True),
        Setting(
            counted(facts.num_images, "image"),
            _of(RunOptions, train_split=options.train_split),
        ),
        Setting(
            "Trained layers learn new classes from fewer images, in less time",
            _of(RunOptions, tf_initial_checkpoint=options.tf_initial_checkpoint),
        ),
        *_last_layers(facts, plan),
        *_network(facts),
        Setting(
            f"Largest multiple of the output stride {network.output_stride} plus 1 that fits into"
            f" the median image ({facts.median_size[1]}x{facts.median_size[0]} pixels), at most"
            f" {LARGEST_CROP}; smaller if there would be too few steps or too little memory",
            _of(RunOptions, train_crop_size=(side, side)),
        ),
        Setting(
            f"Measured: a step of {batch} images takes {facts.seconds(side, batch):.3g} s, and"
            f" {memory / 1e9:.2f} of the {facts.memory_bytes / 1e9:.2f} GB that may be used",
            _of(TrainOptions, train_batch_size=batch),
        ),
        Setting(
            _reason_of_steps(facts, plan),
            _of(TrainOptions, training_number_of_steps=plan.steps),
        ),
        Setting(
            "Enough images per step, and enough steps, to train batch norm"
            if plan.fine_tune_batch_norm
            else "Batch norm keeps the statistics of the checkpoint: training it takes at least 12"
            " images per step, and 10,000 steps or more",
            _of(TrainOptions, fine_tune_batch_norm=plan.fine_tune_batch_norm),
        ),
        *_rates(facts, plan),
        Setting(
            _reason_of_scales(plan.scales),
            _of(RandomScale, **dataclasses.asdict(plan.scales)),
        ),
    ]
    return settings + _weights(facts, plan)


def _last_layers(facts: Facts, plan: Plan) -> list[Setting]:
    there, here = facts.checkpoint_classes, facts.network.num_classes
    reasons = {
        "none": f"The checkpoint has {there} classes like the data, so its classifier is kept"
        " (set it to false if they are other classes)",
        "logits": f"The classifier of the checkpoint has {there} classes, the data {here},"
        " so it is trained anew; everything else is kept",
        "decoder": "The classifier of the checkpoint is not used: the decoder makes the logits;"
        " everything else is kept",
        "head": "Only the backbone is kept; the checkpoint has nothing after it that fits",
    }
    words = _of(RunOptions, initialize_last_layer=plan.initialize_last_layer)
    if plan.last_layers_are_logits:
        words += _of(TrainOptions, last_layers_contain_logits_only=True)
    return [Setting(reasons[facts.new_layers], words)]


def _network(facts: Facts) -> list[Setting]:
    """Return the flags of the network that do not have their defaults, and the main ones."""
    network, defaults = facts.network, ModelOptions()
    main, decoder = ["model_variant", "output_stride"], []
    for name in fields.describe(ModelOptions):
        if name in GIVEN_BY_DATA or name in main:
            continue
        if getattr(network, name) == getattr(defaults, name):
            continue
        (decoder if name.startswith("decoder_") else main).append(name)
    settings = [Setting(f"The network {facts.origin}", _fields(network, main))]
    if decoder:
        reason = "The decoder of the checkpoint"
        if facts.new_layers == "decoder":
            reason = (
                "A decoder that adds to the logits at finer strides, for small objects, at almost"
                " no cost (on CamVid, it and class weights raise the mIoU from 45 to 61 %)"
            )
        settings.append(Setting(reason, _fields(network, decoder)))
    return settings


def _rates(facts: Facts, plan: Plan) -> list[Setting]:
    if plan.fine_tune_batch_norm:
        reason = "The official rate for 16 images per step"
    else:
        reason = "With batch norm frozen, AdamW at 0.0005 for 8 images per step"
        if plan.batch_size != 8:
            reason += f", in proportion for {plan.batch_size}"
    if facts.new_layers == "none":
        reason += "; a tenth of it, because no layer is new"
    last = "No layer is new"
    if facts.new_layers != "none":
        last = (
            "New layers learn ten times faster than those of the checkpoint; one rate for all would"
            " damage the old ones or be too low for the new ones"
        )
    rate = _of(TrainOptions, optimizer=plan.optimizer, base_learning_rate=plan.learning_rate)
    settings = [Setting(reason, rate)]
    if plan.clip_gradient_norm:
        clip = _of(TrainOptions, clip_gradient_norm=plan.clip_gradient_norm)
        settings.append(
            Setting("Longer gradients are shortened, so that no step goes too far", clip)
        )
    if plan.slow_start_steps:
        slow = _of(
            TrainOptions,
            slow_start_step=plan.slow_start_steps,
            slow_start_learning_rate=plan.slow_start_learning_rate,
        )
        reason = "A slow start, until the random new layers no longer damage the others"
        settings.append(Setting(reason, slow))
    last_words = _of(TrainOptions, last_layer_gradient_multiplier=plan.multiplier)
    return [*settings, Setting(last, last_words)]


def _reason_of_steps(facts: Facts, plan: Plan) -> str:
    limit = f"{facts.minutes:g} minutes less {facts.start_seconds:.0f} s for the start"
    if plan.most_steps:
        limit = f"More would gain little, although {facts.minutes:g} minutes allow it"
    times = f"{plan.epochs:.0f}" if plan.epochs >= 100 else f"{plan.epochs:.3g}"
    seconds = progress.clock_text(plan.seconds)
    return f"{limit}; the steps take {seconds} and see each image {times} times"


def _reason_of_scales(scales: RandomScale) -> str:
    if scales.max_scale_factor == RandomScale().max_scale_factor:
        return "The official range, because each image is used often"
    if scales.min_scale_factor == RandomScale().min_scale_factor:
        return "Mostly smaller: the images are much larger than the crops"
    return "Narrower than the official range 0.5 to 2, because each image is used only a few times"


def _weights(facts: Facts, plan: Plan) -> list[Setting]:
    if plan.label_weights is None:
        return []
    settings = [
        Setting(
            "Rare classes count more: the square root of median frequency balancing (check_data"
            " prints it), at most 5",
            (),
        )
    ]
    for name, weight in zip(facts.class_names, plan.label_weights, strict=True):
        settings.append(Setting(name, _of(TrainOptions, label_weights=(weight,))))
    return settings


def _data(options: RecipeOptions, what: str, *, with_folder: bool = False) -> Setting:
    words = [f"--dataset={options.dataset}"]
    if with_folder:
        words.append(f"--dataset_dir={options.dataset_dir}")
    return Setting(what[0].upper() + what[1:], tuple(words))


def _of(options_class: type, **values) -> tuple[str, ...]:
    return tuple(
        word
        for name, value in values.items()
        for word in common.flag_words(options_class, name, value)
    )


def _fields(network: ModelOptions, names: Iterable[str]) -> tuple[str, ...]:
    return _of(ModelOptions, **{name: getattr(network, name) for name in names})


def _text(command: str, missing: str, settings: Sequence[Setting]) -> str:
    lines = [f"# For {command}, with --{missing}. Made by deeplab-make-recipe."]
    for setting in settings:
        reason = " ".join(setting.reason.split())
        lines += textwrap.wrap(
            reason, _COLUMNS, initial_indent="# ", subsequent_indent="#   ", break_long_words=False
        )
        lines += setting.words
    return "\n".join(lines) + "\n"
