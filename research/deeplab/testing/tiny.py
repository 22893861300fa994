"""A tiny dataset, a tiny network and its checkpoints, for tests."""

import contextlib
import dataclasses
import functools
import os
import pathlib
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import cv2
import keras
import numpy as np
import tensorflow as tf
from absl import flags

from deeplab import common, model
from deeplab.core import (
    feature_extractor,
    mobilenet_edgetpu,
    mobilenet_v2,
    mobilenet_v3,
    nas_genotypes,
    nas_network,
    resnet_v1_beta,
    training_hooks,
    vgg,
    xception,
)
from deeplab.datasets.descriptors import DatasetDescriptor
from deeplab.export import signatures
from deeplab.testing import golden
from deeplab.utils import checkpoint, stored_options

DATASET = DatasetDescriptor(
    name="tiny", num_classes=4, ignore_label=255, class_names=("ground", "disc", "square", "star")
)
# Without the image-level feature, so that predictions differ from place to place.
OPTIONS = common.ModelOptions(
    depth_multiplier=0.1,
    add_image_level_feature=False,
    aspp_convs_filters=8,
    num_classes=4,
    output_stride=8,
    crop_size=(33, 33),
)
# The blocks of the whole network.
_MOBILENET_V2 = mobilenet_v2.BLOCKS
# Flags for the same network, if no options are beside the checkpoint.
NETWORK_FLAGS = (
    "--depth_multiplier=0.1",
    "--noadd_image_level_feature",
    "--aspp_convs_filters=8",
    "--output_stride=8",
)


# Variants that are the same network in `shallow` as another one.
SAME_IF_SHALLOW = {
    "resnet_v1_101": "resnet_v1_50",
    "resnet_v1_101_beta": "resnet_v1_50_beta",
    "xception_41": "xception_65",
}
# What is left of tables of blocks and pairs. Made once, so that contexts may be within themselves.
_SIMPLE_PNASNET = (nas_genotypes.PNASNET[0], nas_genotypes.PNASNET[4])
_SIMPLE_HNASNET = nas_genotypes.HNASNET[:2]
_SHALLOW = [
    (module, name, tuple(getattr(module, name)[index] for index in indices))
    for module, name, indices in (
        (mobilenet_v2, "BLOCKS", (0, 1, 2, 3, 6, 10, 13, 16)),
        (mobilenet_v3, "LARGE", (0, 1, 2, 3, 4, 6, 7, 10, 12, 13)),
        (mobilenet_v3, "SMALL", (0, 1, 2, 3, 4, 6, 8, 9)),
        (mobilenet_edgetpu, "BLOCKS", (0, 1, 2, 5, 6, 9, 10, 13, 14, 17, 18, 21)),
    )
]


@contextlib.contextmanager
def shallow() -> Iterator[None]:
    """Build networks with fewer repeated blocks in this context, for tests of large graphs.

    MobileNetV2 has 8 of its 17 blocks: the first of each width, with all strides, and one with a
    residual. Its relatives have 8 to 12 of their 11 to 22, chosen likewise. ResNet-50 and -101 have
    9 of their 16 and 33 units, the middle flow of Xception has 2 of its 8 or 16, a cell of the NAS
    networks 2 of its 5 pairs of operations, with all kinds.
    """
    resnets = resnet_v1_beta.ARCHITECTURES
    shallow_resnets = {
        50: dataclasses.replace(resnets[50], units=(2, 2, 2, 3)),
        101: dataclasses.replace(resnets[101], units=(2, 2, 2, 3)),
    }
    xceptions = {
        name: dataclasses.replace(depth, middle_units=2) for name, depth in xception.DEPTHS.items()
    }
    with (
        contextlib.ExitStack() as stack,
        simple_cells(),
        mock.patch.dict(resnets, shallow_resnets),
        mock.patch.dict(xception.DEPTHS, xceptions),
    ):
        for module, name, chosen in _SHALLOW:
            stack.enter_context(mock.patch.object(module, name, chosen))
        yield


@contextlib.contextmanager
def minimal() -> Iterator[None]:
    """Build MobileNetV2 with 5 of its 17 blocks in this context, for tests of other things.

    They have the strides up to 16, one residual, and blocks with and without expansion. The
    features of a decoder at stride 4 have their official name.
    """
    chosen = [_MOBILENET_V2[index] for index in (0, 1, 2, 3, 6)]
    chosen[3:] = [dataclasses.replace(block, expansion=1) for block in chosen[3:]]
    with mock.patch.object(mobilenet_v2, "BLOCKS", tuple(chosen)):
        yield


@contextlib.contextmanager
def simple_cells() -> Iterator[None]:
    """Inside, build NAS cells of 2 of their 5 pairs of operations, with all kinds."""
    with (
        mock.patch.object(nas_genotypes, "PNASNET", _SIMPLE_PNASNET),
        mock.patch.object(nas_genotypes, "HNASNET", _SIMPLE_HNASNET),
    ):
        yield


@contextlib.contextmanager
def few_cells() -> Iterator[None]:
    """Inside, build NAS networks of at most seven cells: each kind of step between levels is there.

    Their decoders lack the end points of coarse levels, whose names count the cells.
    """
    pnasnet = {8: (1,) * 5, 16: (1,) * 4 + (2,) * 2, 32: (1,) * 4 + (2,) + (3,) * 2}
    with (
        mock.patch.object(nas_network, "_PNASNET_LEVELS", pnasnet),
        mock.patch.object(nas_network, "_HNASNET_LEVELS", (0, 1, 2, 3, 3, 2, 1)),
    ):
        yield


class SharedBackbones:
    """Builds networks around backbones that it keeps, for tests that change none of them.

    Most of the time that a network takes to build goes into its backbone. Networks whose backbones
    have the same options share one, with its variables. Use one where other blocks are built, as in
    `shallow`.

    Args:
        count: The number of backbones that are kept.

    Example:
        backbones = SharedBackbones()
        with backbones.used():
            net = model.DeepLab(options)
    """

    # Beginnings of the names of options that mean something to backbones.
    _OPTIONS = (
        *("model_variant", "depth_", "divisible_", "multi_grid", "cascaded_", "vgg_", "edgetpu_"),
        *("use_bounded_", "nas_", "output_stride"),
    )

    def __init__(self, count: int = 3):
        # The keys: the function that builds the variant, and the options of a backbone.
        self._shared = functools.lru_cache(count)(lambda build, options: build(options))

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Inside, build networks around the backbones."""
        backbones = {
            name: dataclasses.replace(spec, build=functools.partial(self._build, spec))
            for name, spec in feature_extractor.BACKBONES.items()
        }
        with mock.patch.object(feature_extractor, "BACKBONES", backbones):
            yield

    def _build(
        self, spec: feature_extractor.Backbone, options: common.ModelOptions
    ) -> keras.layers.Layer:
        if options.quantize:
            # Quantizers would be attached to it.
            return spec.build(options)
        # The rates of branches are those of the head otherwise.
        own = self._OPTIONS + ("atrous_rates", "aspp_with_batch_norm") * spec.has_branches
        names = [each.name for each in dataclasses.fields(options) if each.name.startswith(own)]
        values = {name: getattr(options, name) for name in names}
        return self._shared(spec.build, common.ModelOptions(**values))


@contextlib.contextmanager
def few_signatures(*more: str) -> Iterator[None]:
    """Inside, export SavedModels without the signatures of files, for tests that look at others.

    Most of the time of a small export goes into those.

    Args:
        *more: Names of signatures that are needed, too.
    """
    make = signatures.signatures
    names = {signatures.DEFAULT, signatures.LABELS, *more}

    def few(*arguments: Any) -> dict[str, Any]:
        return {name: each for name, each in make(*arguments).items() if name in names}

    with mock.patch.object(signatures, "signatures", few):
        yield


@contextlib.contextmanager
def narrow() -> Iterator[None]:
    """Build ResNets, VGG and Xceptions with an eighth of their filters in this context.

    They have no flag for it. Their tens of millions of weights take seconds to draw and to save.
    """
    filters = tuple(count // 8 for count in resnet_v1_beta.FILTERS)
    blocks = tuple((convolutions, count // 8) for convolutions, count in vgg.BLOCKS)
    xceptions = {
        name: dataclasses.replace(
            depth, entry_flow=tuple((count // 8, stride) for count, stride in depth.entry_flow)
        )
        for name, depth in xception.DEPTHS.items()
    }
    exit_flow = tuple(tuple(count // 8 for count in counts) for counts in xception.EXIT_FLOW)
    with (
        mock.patch.object(resnet_v1_beta, "FILTERS", filters),
        mock.patch.object(vgg, "BLOCKS", blocks),
        mock.patch.dict(xception.DEPTHS, xceptions),
        mock.patch.object(xception, "MIDDLE_FILTERS", xception.MIDDLE_FILTERS // 8),
        mock.patch.object(xception, "EXIT_FLOW", exit_flow),
    ):
        yield


@contextlib.contextmanager
def eager() -> Iterator[None]:
    """Inside, run functions without tracing, which takes longer than a step of a tiny network."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


@contextlib.contextmanager
def unoptimized() -> Iterator[None]:
    """Inside, run graphs as they are written: tiny ones take longer to optimize than to run.

    Sessions have to be made inside; functions that other functions call, to be traced inside.
    """
    before = tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False)
    make = tf.compat.v1.Session

    def session(
        target: str = "",
        graph: tf.Graph | None = None,
        config: tf.compat.v1.ConfigProto | None = None,
    ) -> tf.compat.v1.Session:
        config = config or tf.compat.v1.ConfigProto()
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        return make(target, graph, config)

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        with mock.patch.object(tf.compat.v1, "Session", session):
            yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": before})


def network(options: common.ModelOptions = OPTIONS) -> model.DeepLab:
    """Return a network with golden weights that predicts all classes."""
    net = model.DeepLab(options, random_weights=False)
    variables = checkpoint.official_variables(net)
    golden.assign(variables)
    logits = net(np.stack([picture(33, 33, seed) for seed in range(8)]))
    variables["logits/semantic/biases"].assign_sub(tf.reduce_mean(logits, axis=(0, 1, 2)))
    return net


@functools.cache
def shared_network() -> model.DeepLab:
    """Return the shallow network of `OPTIONS`, one for all tests of a process: they leave it so."""
    with shallow():
        return network()


def quantized_network(options: common.ModelOptions = OPTIONS) -> model.DeepLab:
    """Return the same network quantized, with ranges that fit pictures."""
    net = model.DeepLab(options.replace(quantize=True), random_weights=False)
    variables = checkpoint.official_variables(net)
    for name, variable in checkpoint.official_variables(network(options)).items():
        variables[name].assign(variable)
    net.set_fine_tune_batch_norm(False)
    training_hooks.begin_training(net)
    for seed in range(4):
        net(picture(33, 33, seed)[np.newaxis], training=True)
    return net


def save(
    net: model.DeepLab, folder: str | os.PathLike[str], step: int, *, with_options: bool = True
) -> str:
    """Write a checkpoint of the network, as the trainer does, and return its prefix."""
    folder = os.fspath(folder)
    tf.io.gfile.makedirs(folder)
    if with_options:
        stored_options.save(folder, net.options)
    return checkpoint.save(folder, step, checkpoint.official_variables(net))


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return smooth noise, uint8 [height, width, 3], RGB."""
    noise = np.random.default_rng([seed, height, width]).integers(0, 256, (5, 6, 3), np.uint8)
    return cv2.resize(noise, (width, height))


def png(pixels: np.ndarray) -> bytes:
    """Encode gray or RGB pixels as a PNG file."""
    pixels = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    return cv2.imencode(".png", pixels)[1].tobytes()


def write_records(
    folder: str | os.PathLike[str],
    samples: Mapping[str, tuple[np.ndarray, np.ndarray | None]],
    split: str = "val",
) -> str:
    """Write a split of one shard with the official features.

    Args:
        folder: Folder of the records; made if it does not exist.
        samples: Name to image, uint8 [height, width, 3], and label, uint8 [height, width], or
            None for an image without a label.
        split: Name of the split.

    Returns:
        The folder.
    """
    folder = os.fspath(folder)
    os.makedirs(folder, exist_ok=True)
    with tf.io.TFRecordWriter(os.path.join(folder, f"{split}-00000-of-00001.tfrecord")) as writer:
        for name, (image, label) in samples.items():
            features = {
                "image/encoded": _bytes(png(image)),
                "image/filename": _bytes(name.encode()),
                "image/height": _integer(image.shape[0]),
                "image/width": _integer(image.shape[1]),
            }
            if label is not None:
                features["image/segmentation/class/encoded"] = _bytes(png(label))
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    return folder


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _integer(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def parse(module: types.ModuleType, arguments: Sequence[str] = ()) -> flags.FlagValues:
    """Parse the flags of a script, separately from the global ones."""
    values = flags.FlagValues()
    module.define_flags(values)
    values(["script", *arguments])
    return values


def run(module: types.ModuleType, *arguments: Any) -> None:
    """Run the `main` of a script in this process."""
    values = parse(module, [str(argument) for argument in arguments])
    with mock.patch.object(flags, "FLAGS", values):
        module.main(["script"])


def read_png(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a PNG file as it is stored: gray [height, width], or RGB [height, width, 3]."""
    pixels = cv2.imread(os.fspath(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None, f"{path} cannot be read"
    return pixels[..., ::-1] if pixels.ndim == 3 else pixels


def files(folder: str | os.PathLike[str]) -> list[str]:
    """Return the paths of the files in a folder, relative to it and sorted."""
    root = pathlib.Path(folder)
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
