"""Keras' own VGG16 files: every form gives the network that Keras has."""

import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, model
from deeplab.core import vgg
from deeplab.testing import tiny
from deeplab.utils import checkpoint
from deeplab.weights import keras_weights

_OPTIONS = common.ModelOptions(
    model_variant="vgg_16",
    output_stride=8,
    aspp_with_batch_norm=False,
    vgg_fc6_filters=4,
    num_classes=3,
)
_FILTERS = 8


@pytest.fixture(scope="module")
def net() -> model.DeepLab:
    return model.DeepLab(_OPTIONS, random_weights=False)


@pytest.fixture(scope="module")
def theirs() -> keras.Model:
    """Keras' network with random weights, up to its last pooling."""
    return keras.applications.VGG16(weights=None, include_top=False, input_shape=(33, 33, 3))


def _write_as_published(theirs: keras.Model, path: str, suffix: str = "_1:0") -> dict:
    """The layout of `vgg16_weights_tf_dim_ordering_tf_kernels.h5`, with a narrow fc1 and fc2."""
    random = np.random.default_rng(0)
    tops = {
        "fc1": (random.normal(size=(7 * 7 * 512, _FILTERS)), random.normal(size=_FILTERS)),
        "fc2": (random.normal(size=(_FILTERS, _FILTERS)), random.normal(size=_FILTERS)),
        "predictions": (random.normal(size=(_FILTERS, 1000)), random.normal(size=1000)),
    }
    with h5py.File(path, "w") as file:
        for layer in theirs.layers:
            group = file.create_group(layer.name)
            if weights := layer.get_weights():
                group[f"{layer.name}_W{suffix}"], group[f"{layer.name}_b{suffix}"] = weights
        for name, (kernel, bias) in tops.items():
            group = file.create_group(name)
            group[f"{name}_W{suffix}"], group[f"{name}_b{suffix}"] = kernel, bias
    return tops


def _conv1(net: model.DeepLab, theirs: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """The second convolution's output, ours and Keras', for one image."""
    image = np.random.default_rng(1).uniform(0, 255, (1, 33, 33, 3)).astype(np.float32)
    ours = net.single_scale(image)["conv1/conv1_2"]
    layer = keras.Model(theirs.input, theirs.get_layer("block1_conv2").output)
    return ours, layer(keras.applications.vgg16.preprocess_input(image.copy()))


@pytest.mark.parametrize("name", ["vgg16.h5", "vgg16.weights.h5", "vgg16.keras", "published.h5"])
def test_the_convolutions_compute_what_keras_computes(net, theirs, tmp_path, name):
    """So do the order of the channels and the mean pixel."""
    path = str(tmp_path / name)
    if name == "published.h5":
        _write_as_published(theirs, path)
    elif name.endswith(".weights.h5"):
        theirs.save_weights(path)
    else:
        theirs.save(path)
    checkpoint.initialize(net, path)
    ours, expected = _conv1(net, theirs)
    np.testing.assert_allclose(ours, expected, atol=1e-3 * np.max(expected))
    last = theirs.get_layer("block5_conv3").get_weights()
    variables = checkpoint.official_variables(net)
    for leaf, value in zip(("weights", "biases"), last, strict=True):
        np.testing.assert_array_equal(variables[f"vgg_16/conv5/conv5_3/{leaf}"], value)


def test_fully_connected_layers_become_convolutions(theirs, tmp_path):
    path = str(tmp_path / "vgg16.h5")
    tops = _write_as_published(theirs, path)
    reader = keras_weights.KerasFile(path, vgg.WEIGHT_SOURCES.keras_weights)
    shapes = reader.get_variable_to_shape_map()
    assert len(shapes) == 2 * (13 + 2)
    assert shapes["vgg_16/fc6/weights"] == (7, 7, 512, _FILTERS)
    features = np.random.default_rng(2).normal(size=(7, 7, 512))
    np.testing.assert_allclose(
        np.tensordot(features, reader.get_tensor("vgg_16/fc6/weights"), 3),
        features.ravel() @ tops["fc1"][0],
        rtol=1e-3,
        atol=1e-2,
    )
    kernel = reader.get_tensor("vgg_16/fc7/weights")
    np.testing.assert_allclose(kernel[0, 0], tops["fc2"][0], rtol=1e-6)


@pytest.mark.parametrize("name", ["vgg16.h5", "vgg16.keras"])
def test_a_file_of_a_remote_folder(theirs, tmp_path, name):
    local, remote = str(tmp_path / name), f"ram://keras_weights_test/{name}"
    if name.endswith(".keras"):
        theirs.save(local)
    else:
        _write_as_published(theirs, local)
    tf.io.gfile.makedirs("ram://keras_weights_test")
    tf.io.gfile.copy(local, remote)
    expected, reader = (
        keras_weights.open_file(path, vgg.WEIGHT_SOURCES) for path in (local, remote)
    )
    name = "vgg_16/conv1/conv1_1/weights"
    np.testing.assert_array_equal(reader.get_tensor(name), expected.get_tensor(name))
    shapes = reader.get_variable_to_shape_map()
    assert shapes == expected.get_variable_to_shape_map()


def test_fc6_and_fc7_are_subsampled(net, theirs, tmp_path):
    path = str(tmp_path / "vgg16.h5")
    _write_as_published(theirs, path)
    checkpoint.initialize(net, path)
    whole = keras_weights.KerasFile(path, vgg.WEIGHT_SOURCES.keras_weights).get_tensor(
        "vgg_16/fc6/weights"
    )
    ours = checkpoint.official_variables(net)["vgg_16/fc6/weights"]
    np.testing.assert_array_equal(ours, whole[::3, ::3, :, ::2])


def test_without_a_top_fc6_and_fc7_are_new(net, theirs, tmp_path, caplog):
    path = str(tmp_path / "notop.weights.h5")
    theirs.save_weights(path)
    with caplog.at_level("INFO", logger="absl"):
        checkpoint.initialize(net, path)
    assert f"26 variables initialized from {path}" in caplog.text
    assert "6 variables not in the checkpoint, so new:\n  vgg_16/fc6/weights" in caplog.text


def test_what_is_no_vgg16_is_one_line(net, tmp_path):
    path = tmp_path / "weights.h5"
    with pytest.raises(FileNotFoundError, match=f"^no file at {path}$"):
        checkpoint.initialize(net, str(path))
    path.write_bytes(b"not a file of Keras")
    with pytest.raises(ValueError, match=f"^{path} is not a weights file of Keras: .*$"):
        checkpoint.initialize(net, str(path))
    path = tmp_path / "other.keras"
    path.write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=f"^{path} is not a weights file of Keras: File is not"):
        checkpoint.initialize(net, str(path))
    path = tmp_path / "dense.weights.h5"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(path)
    with pytest.raises(ValueError, match=f"^{path} holds no VGG16 of Keras: it has no layer"):
        checkpoint.initialize(net, str(path))


def test_another_network_is_refused(theirs, tmp_path):
    path = str(tmp_path / "vgg16.weights.h5")
    theirs.save_weights(path)
    with tiny.shallow():
        other = model.DeepLab(
            common.ModelOptions(depth_multiplier=0.1, aspp_convs_filters=8), random_weights=False
        )
    with pytest.raises(ValueError, match="has none of the network's variables.*--model_variant"):
        checkpoint.initialize(other, path)


def test_damaged_and_foreign_files_are_one_line(tmp_path):
    foreign = tmp_path / "foreign.h5"
    with h5py.File(foreign, "w") as file:
        file.create_group("conv2d")["kernel"] = ["text", "more text"]
    archive = tmp_path / "damaged.keras"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("model.weights.h5", foreign.read_bytes())
    data = bytearray(archive.read_bytes())
    data[60:90] = bytes(30)
    archive.write_bytes(data)
    other = tmp_path / "other.keras"
    with zipfile.ZipFile(other, "w") as file:
        file.writestr("data.pkl", b"a state dict of another library")
    whole = tmp_path / "whole.h5"
    with h5py.File(whole, "w") as file:
        file.create_group("conv2d")["kernel"] = np.zeros((3, 3, 3, 64), np.float32)
    truncated = tmp_path / "truncated.h5"
    truncated.write_bytes(whole.read_bytes()[:-1000])
    for path in (foreign, archive, other, truncated):
        with pytest.raises(
            ValueError, match=f"^{path} (is not a weights file|holds no VGG16) of Ker"
        ):
            keras_weights.KerasFile(str(path), vgg.WEIGHT_SOURCES.keras_weights)
