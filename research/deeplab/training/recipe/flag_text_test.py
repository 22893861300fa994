import dataclasses

import pytest

from deeplab import eval as eval_script
from deeplab import export_model, train, vis
from deeplab.core.options import ModelOptions, RecipeOptions
from deeplab.testing import tiny
from deeplab.training.recipe import flag_text, planning
from deeplab.training.recipe.planning_test import CAMVID

_OPTIONS = RecipeOptions(
    dataset="roofs.json",
    dataset_dir="my records",
    tf_initial_checkpoint="pascal/model.ckpt",
    output_dir="recipe",
)
_SCRIPTS = {
    "train.txt": train,
    "eval.txt": eval_script,
    "vis.txt": vis,
    "export.txt": export_model,
}
_NETWORKS = {
    "decoder": ModelOptions(
        depth_multiplier=0.5,
        num_classes=11,
        decoder_output_stride=(8, 4),
        decoder_use_sum_merge=True,
        decoder_output_is_logits=True,
        decoder_filters=11,
    ),
    "logits": ModelOptions(
        model_variant="xception_65",
        num_classes=11,
        output_stride=8,
        atrous_rates=(12, 24, 36),
        decoder_output_stride=(4,),
        image_pooling_crop_size=(65, 129),
    ),
    "head": ModelOptions(model_variant="resnet_v1_50", num_classes=11, multi_grid=(1, 2, 4)),
    "none": ModelOptions(num_classes=11, add_image_level_feature=False),
}


def _texts(new_layers, **changes):
    facts = dataclasses.replace(
        CAMVID, new_layers=new_layers, network=_NETWORKS[new_layers], **changes
    )
    plan = planning.plan(facts)
    return flag_text.texts(_OPTIONS, facts, plan), facts, plan


def _parse(texts, name, tmp_path):
    path = tmp_path / name
    path.write_text(texts[name])
    return tiny.parse(_SCRIPTS[name], [f"--flagfile={path}"])


@pytest.mark.parametrize("new_layers", list(_NETWORKS))
def test_the_flags_say_what_the_plan_says(new_layers, tmp_path):
    texts, facts, plan = _texts(new_layers)
    assert list(texts) == list(_SCRIPTS)
    values = _parse(texts, "train.txt", tmp_path)
    from deeplab.cli import train_flags
    from deeplab.common import ModelOptions as Options

    network = Options.from_flags(values, num_classes=11, crop_size=None)
    assert network == facts.network
    found = train_flags.training_run(values)
    run, options = found.files, found.training
    assert (run.dataset, run.dataset_dir) == ("roofs.json", "my records")
    assert run.train_crop_size == (plan.crop_size, plan.crop_size)
    assert run.initialize_last_layer == plan.initialize_last_layer
    assert options.train_batch_size == plan.batch_size
    assert options.training_number_of_steps == plan.steps
    assert options.fine_tune_batch_norm == plan.fine_tune_batch_norm
    assert options.optimizer == plan.optimizer
    assert options.clip_gradient_norm == plan.clip_gradient_norm
    assert options.base_learning_rate == pytest.approx(plan.learning_rate)
    assert options.slow_start_step == plan.slow_start_steps
    if plan.slow_start_steps:
        assert options.slow_start_learning_rate == pytest.approx(plan.slow_start_learning_rate)
    assert options.last_layer_gradient_multiplier == plan.multiplier
    assert options.last_layers_contain_logits_only == plan.last_layers_are_logits
    assert options.label_weights == plan.label_weights
    assert found.scales == plan.scales


def test_evaluation_pictures_and_export_agree(tmp_path):
    texts, _, plan = _texts("decoder")
    size = [str(side) for side in plan.eval_crop_size]
    values = _parse(texts, "eval.txt", tmp_path)
    assert (values.eval_split, values.eval_crop_size) == ("val", size)
    assert values.max_number_of_evaluations == 1
    values = _parse(texts, "vis.txt", tmp_path)
    assert (values.vis_split, values.vis_crop_size) == ("val", size)
    values = _parse(texts, "export.txt", tmp_path)
    assert values.crop_size == list(plan.eval_crop_size)
    assert (values.num_classes, values.dataset) == (11, "roofs.json")


@pytest.mark.parametrize("new_layers", list(_NETWORKS))
@pytest.mark.parametrize("minutes", [1, 10000])
def test_every_line_has_a_reason_before_it(new_layers, minutes):
    texts, _, _ = _texts(new_layers, minutes=minutes)
    for text in texts.values():
        lines = text.splitlines()
        assert all(len(line) <= 100 for line in lines)
        # A comment begins the file and every group of flags that belong together.
        assert lines[0].startswith("# For deeplab-")
        groups = [
            line
            for before, line in zip(lines, lines[1:], strict=False)
            if line.startswith("--") and before.startswith("#")
        ]
        flags = [line for line in lines if line.startswith("--")]
        assert len(groups) >= len(flags) // 2
        assert lines[1].startswith("#")


def test_reasons_have_the_measured_numbers():
    texts, facts, plan = _texts("decoder")
    assert f"a step of {plan.batch_size} images takes 0.43 s" in texts["train.txt"]
    assert "480x360 pixels" in texts["train.txt"]
    assert f"{facts.num_images} images" in texts["train.txt"]


def test_the_reason_of_the_steps_is_the_limit_that_holds():
    by_time, facts, _ = _texts("decoder", minutes=20)
    assert f"20 minutes less {facts.start_seconds:.0f} s for the start" in by_time["train.txt"]
    by_epochs, _, plan = _texts("decoder", minutes=10**6)
    assert "More would gain little, although 1e+06 minutes" in by_epochs["train.txt"]
    assert round(plan.epochs) == 500
    assert "see each image 500 times" in " ".join(by_epochs["train.txt"].replace("#", "").split())


def test_evaluation_of_the_training_images_is_told():
    facts = dataclasses.replace(CAMVID, network=_NETWORKS["none"], new_layers="none")
    options = dataclasses.replace(_OPTIONS, eval_split="train")
    text = flag_text.texts(options, facts, planning.plan(facts))["eval.txt"]
    assert "# The images of the training, so results will be too good\n--eval_split=tr" in text
