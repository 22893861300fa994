"""Tests of the recipes: every flag file parses and describes one network, which builds."""

import functools
import pathlib
import re

import numpy as np
import pytest

from deeplab import common, export_model, model, train, vis
from deeplab import eval as eval_script
from deeplab.datasets import descriptors
from deeplab.testing import tiny
from deeplab.utils import checkpoint
from deeplab.zoo import flag_files, published_checkpoints

# The networks before v3+ (g3doc/family.md); the model zoo has no checkpoints of them.
FAMILY = (
    "deeplab_v1_largefov",
    "deeplab_v1_msc_largefov",
    "deeplab_v2_resnet101",
    "deeplab_v2_vgg16_aspp_l",
    "deeplab_v3_resnet101",
    "deeplab_v3_resnet101_cascade",
)
_ZOO = {each.recipe for each in published_checkpoints.CHECKPOINTS}
_FOLDERS = sorted(flag_files.RECIPES / name for name in {*_ZOO, *FAMILY})
_FILES = [file for folder in _FOLDERS for file in sorted(folder.iterdir())]
# Recipes whose networks are built in seconds.
_QUICK = ("mobilenetv2_dm05_coco_voc_trainaug", "mobilenetv3_small_cityscapes_trainfine")


def _script_and_crop(file: pathlib.Path):
    """Return the script that a flag file is for, and the name of its crop size flag."""
    if file.stem == "train":
        return train, "train_crop_size"
    if file.stem in ("vis", "vis_crf"):
        return vis, "vis_crop_size"
    if file.stem == "export":
        return export_model, "crop_size"
    assert file.stem in ("eval", "eval_crf") or file.stem.startswith("eval_os")
    return eval_script, "eval_crop_size"


@functools.cache
def _options(file: pathlib.Path) -> common.ModelOptions:
    module, crop_size = _script_and_crop(file)
    values = tiny.parse(module, [f"--flagfile={file}"])
    return common.ModelOptions.from_flags(
        values,
        num_classes=descriptors.load(values.dataset).num_classes,
        crop_size=values[crop_size].value,
    )


def _ids(path: pathlib.Path) -> str:
    return str(path.relative_to(flag_files.RECIPES))


@pytest.mark.parametrize("folder", _FOLDERS, ids=_ids)
def test_a_recipe_trains_evaluates_and_exports(folder):
    names = {file.name for file in folder.iterdir()}
    assert {"train.txt", "eval.txt", "vis.txt", "export.txt"} <= names


def test_every_folder_is_of_the_zoo_or_of_the_family_but_those_measured_here():
    folders = {path for path in flag_files.RECIPES.iterdir() if path.is_dir()}
    assert {path.name for path in folders - set(_FOLDERS)} == {"camvid", "sample"}


@pytest.mark.parametrize("file", ["train.txt", "eval.txt", "vis.txt", "export.txt"])
@pytest.mark.parametrize("folder", ["sample", "camvid"])
def test_the_flag_files_of_recipes_measured_here_parse(folder, file):
    path = flag_files.RECIPES / folder / file
    module, _ = _script_and_crop(path)
    assert tiny.parse(module, [f"--flagfile={path}"]).find_module_defining_flag("model_variant")


@pytest.mark.parametrize("file", _FILES, ids=_ids)
def test_a_flag_file_gives_a_network_to_its_script(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module, crop_size = _script_and_crop(file)
    values = tiny.parse(module, [f"--flagfile={file}"])
    options = _options(file)
    descriptor = descriptors.load(values.dataset)
    # A multiple of the output stride plus one.
    for side in options.crop_size:
        assert (side - 1) % options.output_stride == 0
    if options.atrous_rates and options.aspp_with_batch_norm:
        rates = [rate * 16 // options.output_stride for rate in (6, 12, 18)]
        assert list(options.atrous_rates) == rates
    if options.min_resize_value:
        assert options.min_resize_value == options.max_resize_value == options.crop_size[0]
        assert options.resize_factor == options.output_stride
    if module is train:
        assert descriptor.split_size(values.train_split)
    if module is eval_script:
        assert descriptor.split_size(values.eval_split)
    if module is vis:
        assert values.vis_split.startswith("test") or descriptor.split_size(values.vis_split)
    if module is export_model:
        assert values.num_classes == descriptor.num_classes
    # Recipes contain no paths.
    assert not [flag for flag in flag_files.read(file) if "dir=" in flag or "_path=" in flag]


@pytest.mark.parametrize("file", _FILES, ids=_ids)
def test_a_flag_file_tells_where_its_numbers_come_from(file):
    text = file.read_text(encoding="utf-8")
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert len(comments) >= 2
    assert all(len(line) <= 100 for line in text.splitlines())
    if file.stem.partition("_")[0] in ("train", "eval"):
        assert "Published: " in text or "No result is published." in text


@pytest.mark.parametrize("folder", FAMILY)
def test_the_pages_have_the_numbers_of_the_familys_recipes(folder):
    recipes = flag_files.RECIPES
    for page in (recipes / "README.md", recipes.parent / "g3doc" / "family.md"):
        # The row with the link to the folder.
        rows = re.findall(rf"^\|.*[(/]{folder}\).*$", page.read_text(), re.MULTILINE)
        assert len(rows) == 1
        for file in (recipes / folder).glob("*.txt"):
            # Only the page of the family has results with a CRF.
            if file.stem == "eval_crf" and page.name != "family.md":
                continue
            for number in re.findall(r"Published: ([0-9.]+)%", file.read_text()):
                assert number in rows[0], f"{page.name}: {file.name}"


@tiny.narrow()
def test_the_multi_scale_recipe_starts_from_a_trained_largefov(tmp_path):
    """Check that all variables but those of the classifier are loaded."""
    before, after = (
        flag_files.RECIPES / folder / "train.txt"
        for folder in ("deeplab_v1_largefov", "deeplab_v1_msc_largefov")
    )
    trained, net = (
        model.DeepLab(_options(file).replace(vgg_fc6_filters=4)) for file in (before, after)
    )
    path = tiny.save(trained, tmp_path, 1)
    values = tiny.parse(train, [f"--flagfile={after}"])
    assert not values.initialize_last_layer
    excluded = model.last_layer_scopes(values.last_layers_contain_logits_only)
    checkpoint.initialize(net, path, excluded)
    variables = checkpoint.official_variables(net)
    for name, variable in checkpoint.official_variables(trained).items():
        if not name.startswith("logits/"):
            np.testing.assert_array_equal(variables[name], variable)


@pytest.mark.parametrize("file", _FILES, ids=_ids)
def test_a_flag_is_given_once_unless_it_is_a_list(file):
    values = tiny.parse(_script_and_crop(file)[0])
    names = [flag.lstrip("-").partition("=")[0] for flag in flag_files.read(file)]
    for name in set(names):
        flag = values[name if name in values else name.removeprefix("no")]
        assert names.count(name) == 1 or flag.flag_type().startswith("multi")


@pytest.mark.parametrize("folder", _FOLDERS, ids=_ids)
def test_a_recipe_is_about_one_network(folder):
    trained = _options(folder / "train.txt")
    for file in folder.iterdir():
        module, _ = _script_and_crop(file)
        values = tiny.parse(module, [f"--flagfile={file}"])
        options = _options(file)
        # Raises an error if a flag contradicts the trained options.
        again = common.ModelOptions.from_flags(
            values, stored=trained, num_classes=options.num_classes, crop_size=options.crop_size
        )
        assert again == options
        assert descriptors.load(values.dataset).num_classes == trained.num_classes


def _structure(options: common.ModelOptions) -> common.ModelOptions:
    """Return what is equal for networks that are built alike, of the same layers."""
    sizes = ("crop_size", "min_resize_value", "max_resize_value", "resize_factor")
    alike = dict.fromkeys(sizes)
    variant = options.model_variant
    alike["model_variant"] = tiny.SAME_IF_SHALLOW.get(variant, variant)
    if not options.decoder_output_is_logits:
        alike["num_classes"] = 2
    return options.replace(**alike)


def _networks() -> list:
    """Return the different networks of all flag files."""
    networks = {}
    for file in _FILES:
        options = _options(file)
        marks = () if file.parent.name in _QUICK and file.stem == "eval" else pytest.mark.slow
        networks.setdefault(_structure(options), pytest.param(options, id=_ids(file), marks=marks))
    return list(networks.values())


# Shallow ones.
_BACKBONES = tiny.SharedBackbones(count=9)


@pytest.mark.parametrize("options", _networks())
def test_a_recipes_network_builds(options, tmp_path, monkeypatch):
    # The published cell is found from any working directory.
    monkeypatch.chdir(tmp_path)
    with tiny.shallow(), _BACKBONES.used():
        net = model.DeepLab(options, random_weights=False)
    names = set(checkpoint.official_variables(net))
    assert ("logits/semantic/weights" in names) != options.decoder_output_is_logits
    assert ("meta_architecture/concat_projection/weights" in names) == bool(
        options.dense_prediction_cell_json
    )
    assert ("aspp1_depthwise/depthwise_weights" in names) == bool(
        options.aspp_with_batch_norm and options.atrous_rates and options.aspp_with_separable_conv
    )


@pytest.mark.slow
def test_xception_65_segments_an_image_of_513_pixels():
    options = _options(flag_files.RECIPES / "xception65_coco_voc_trainaug" / "eval.txt")
    with tiny.shallow(), tiny.narrow():
        net = model.DeepLab(options)
    image = tiny.picture(*options.crop_size)[np.newaxis]
    labels, probabilities = model.predict_labels(net, image)
    assert labels.shape == (1, 513, 513)
    assert probabilities.shape == (1, 513, 513, 21)
    np.testing.assert_allclose(np.sum(probabilities, axis=-1), 1.0, atol=1e-5)
