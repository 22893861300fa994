"""Compares networks with the outputs of the official code for the same weights and images."""

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import tensorflow as tf

from deeplab import common, model
from deeplab.core import feature_extractor, networks
from deeplab.testing import golden, tiny
from deeplab.utils import checkpoint

# Those of whole networks with the golden weights.
backbones = tiny.SharedBackbones()

# Largest error of any output so far, as a share of the output's range, by backbone.
worst: dict[str, float] = collections.defaultdict(float)


def tolerance(model_variant: str) -> float:
    """Return the largest |a - b| / max|b| that passes.

    Two builds of the official code differ by 2e-5, or by 2e-4 for the large MobileNetV3.
    """
    return 1e-3 if model_variant == "mobilenet_v3_large_seg" else 1e-4


def options(configuration: golden.Configuration) -> common.ModelOptions:
    """Return the options of a configuration."""
    known = {field.name for field in dataclasses.fields(common.ModelOptions)}
    manifest = configuration.manifest
    values = {key: value for key, value in manifest["model_flags"].items() if key in known}
    for key in ("num_classes", "output_stride", "atrous_rates", "crop_size", "image_pyramid"):
        values[key] = manifest[key]
    if cell := values["dense_prediction_cell_json"]:
        values["dense_prediction_cell_json"] = str(golden.dense_prediction_cell(cell))
    return common.ModelOptions(**values)


def network(configuration: golden.Configuration) -> model.DeepLab:
    """Return the network of a configuration, with the golden weights; do not change it.

    Raises:
        AssertionError: Names or shapes of variables are not the official ones.
    """
    with backbones.used():
        net = model.DeepLab(options(configuration), random_weights=False)
    ours = checkpoint.official_variables(net)
    assert {name: tuple(value.shape) for name, value in ours.items()} == configuration.variables
    golden.assign(ours)
    return net


@contextlib.contextmanager
def returned(method: str) -> Iterator[list[Any]]:
    """Yield a list that gets what each call of a method of a network returns."""
    original, returned = getattr(model.DeepLab, method), []

    @functools.wraps(original)
    def observed(*args, **kwargs):
        returned.append(original(*args, **kwargs))
        return returned[-1]

    with mock.patch.object(model.DeepLab, method, observed):
        yield returned


def outputs(net: model.DeepLab, configuration: golden.Configuration) -> dict[str, Any]:
    """Compute everything of which the configuration stores an official value."""
    manifest = configuration.manifest
    images = tf.constant(configuration.arrays["image"], tf.float32)
    eval_scales = manifest["eval_scales"]
    # What a prediction computes on its way: large networks take a second for each pass.
    with returned("multi_scale") as merged, returned("single_scale") as passes:
        labels, probabilities = model.predict_labels(
            net, images, eval_scales or (1.0,), manifest["add_flipped_images"]
        )
    # The official multi-scale probabilities went through the softmax once more.
    result = {
        "pred": labels,
        "prob": tf.nn.softmax(probabilities) if eval_scales else probabilities,
    }
    # One of each scale, which the flipped image follows if there is one.
    assert len(merged) == len(eval_scales or (1.0,)) * (1 + manifest["add_flipped_images"])
    result |= {f"merged_logits_{number}": logits for number, (logits, _) in enumerate(merged)}
    if eval_scales:
        return result
    _, scales = merged[0]
    for scale, logits in scales.items():
        result[f"logits_{scale:.2f}_0"] = logits
    if len(scales) == 1:
        parts = passes[0] if 1.0 in scales else net.single_scale(images)
        result |= {"raw_logits_0": parts["logits"], "features": parts["features"]}
        result["head"] = parts["head"]
        spec = feature_extractor.get_backbone(net.options.model_variant)
        for stride, name in spec.decoder_end_points.items():
            result[f"lowlevel_os{stride}"] = parts[name]
    return result


def check(configuration: golden.Configuration) -> dict[str, float]:
    """Compare every stored output with that of the network.

    Returns:
        The error of each, |a - b| / max|b|, and the share of pixels whose prediction differs.

    Raises:
        AssertionError: An error is above the tolerance.
    """
    net = network(configuration)
    variant = net.options.model_variant
    errors = {}
    for key, ours in outputs(net, configuration).items():
        if key not in configuration.arrays:
            continue
        theirs = configuration.arrays[key]
        ours = configuration.subsample(key, np.asarray(ours))[..., : theirs.shape[-1]]
        assert ours.shape == theirs.shape, f"{configuration.name}: {key} has another shape"
        if key == "pred":
            errors[key] = float(np.mean(ours != theirs))
            limit = 1e-3
        else:
            errors[key] = float(np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs)))
            limit = tolerance(variant)
            worst[variant] = max(worst[variant], errors[key])
        assert errors[key] <= limit, f"{configuration.name}: {key} is {errors[key]:.1e} off"
    assert len(errors) >= 2, f"{configuration.name} stores nothing to compare"
    return errors


def check_initial_values(net: model.DeepLab, name: str) -> None:
    """Compare the initial values of a network's variables with the official ones.

    Args:
        net: A new network.
        name: Name of the official network in the golden `initializers`.

    Raises:
        AssertionError: Shapes differ, or the mean or deviation of a variable by more than chance.
    """
    variables = checkpoint.official_variables(net)
    for variable, (shape, mean, std, largest) in golden.misc("initializers")[0][name].items():
        values = np.asarray(variables[variable])
        assert list(values.shape) == shape, variable
        # Six standard deviations for this number of draws; none for constants.
        allowed = 6 * std / np.sqrt(values.size)
        assert abs(np.mean(values) - mean) <= 1.5 * allowed, variable
        assert abs(np.std(values) - std) <= allowed, variable
        if values.size > 2000:
            assert abs(np.max(np.abs(values)) - largest) <= 0.03 * largest, variable
    kernels = [value for value in net.trainable_weights if value.name.endswith("weights")]
    starts = {tuple(np.ravel(kernel)[:8]) for kernel in kernels}
    assert len(starts) == len(kernels), "two convolutions start alike"


def check_weight_decay(net: model.DeepLab, name: str) -> None:
    """Compare the variables that have weight decay with the official ones.

    Args:
        net: A network.
        name: Name of the official network in the golden
            `gradient_multipliers_and_weight_decay`.

    Raises:
        AssertionError: They differ.
    """
    facts, _ = golden.misc("gradient_multipliers_and_weight_decay")
    names = {id(variable): key for key, variable in checkpoint.official_variables(net).items()}
    ours = {names[id(variable)] for variable in networks.regularized_variables(net)}
    assert ours == set(facts[name]["regularized"])
