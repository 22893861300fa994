"""The dense prediction cell (arXiv 1809.04184): a head whose branches a JSON file describes.

The file holds a list of branches, in the official format:

    [{"op": "conv", "kernel": 3, "rate": [1, 6], "input": -1},
     {"op": "conv", "kernel": 1, "input": 0},
     {"op": "pyramid_pooling", "grid_size": [2, 2], "input": -1}]

`input` is -1 for the backbone's features, or the number of an earlier branch, from 0. A 1x1
convolution is a plain one and needs no rate; any other is depthwise separable. The rates are those
at output stride 16 and are scaled to finer ones.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from deeplab.core import aspp, containers, json_text, layers, regular_files, utils

SCOPE = "meta_architecture"
_FILTERS = 256
_KEEP_PROBABILITY = 0.9
# Larger ones than any features need. Features are padded by the rate, times four at stride 4.
_LARGEST_KERNEL = 127
_LARGEST_GRID = 4096
_LARGEST_RATE = 128
# The output stride that the rates of a file are meant for.
_DESIGNED_STRIDE = 16
# Where the cells that come with the package lie.
_SHIPPED = pathlib.Path(__file__).resolve().parents[1] / "recipes"


@dataclasses.dataclass(frozen=True)
class ConvolutionBranch:
    """A branch that convolves.

    Attributes:
        input: Number of the branch that it takes; None: the backbone's features.
        kernel: (height, width) of the kernel; (1, 1) is a plain convolution, others separable.
        rate: Atrous rates (height, width) at output stride 16.
    """

    input: int | None
    kernel: tuple[int, int]
    rate: tuple[int, int] = (1, 1)


@dataclasses.dataclass(frozen=True)
class PoolingBranch:
    """A branch that pools over windows.

    Attributes:
        input: Number of the branch that it takes; None: the backbone's features.
        grid_size: Numbers of (rows, columns) of windows that cover the image side by side.
    """

    input: int | None
    grid_size: tuple[int, int]


Branch = ConvolutionBranch | PoolingBranch


def find(path: str) -> str:
    """Return the file of a cell: `path`, or else the cell of that file name in the package.

    Official flag files name a path in the official repository, and so work unchanged.

    Raises:
        FileNotFoundError: There is neither.
    """
    if tf.io.gfile.exists(path) and not tf.io.gfile.isdir(path):
        return path
    shipped = _SHIPPED / os.path.basename(path)
    if shipped.suffix == ".json" and shipped.exists():
        return str(shipped)
    known = ", ".join(sorted(file.name for file in _SHIPPED.glob("dense_prediction_cell*.json")))
    raise FileNotFoundError(
        f"--dense_prediction_cell_json={path} is not a file; the package comes with {known}"
    )


def read(path: str) -> tuple[Branch, ...]:
    """Read a cell from a JSON file in the official format.

    Args:
        path: Path of the file; see `find`.

    Raises:
        FileNotFoundError: The file is not there.
        ValueError: It does not describe a cell; the message names the branch and the field.
    """
    path = find(path)
    regular_files.require(path)
    with tf.io.gfile.GFile(path, "rb") as stream:
        branches = json_text.parse(stream.read(), path)
    if not isinstance(branches, list) or not branches:
        raise ValueError(f"{path} holds {_quote(branches)}; a cell is a list of branches")
    return tuple(_Fields(path, index, fields).branch() for index, fields in enumerate(branches))


def _quote(value: Any) -> str:
    try:
        text = json.dumps(value)
    except RecursionError:
        return "nested too deeply"
    return text if len(text) <= 60 else f"{text[:57]}..."


class _Fields:
    """The fields of one branch in a file."""

    def __init__(self, path: str, index: int, fields: Any):
        self.path = path
        self.index = index
        self.fields = fields
        if not isinstance(fields, dict):
            raise ValueError(f"{path}: branch {index} is {_quote(fields)}, not an object")

    def branch(self) -> Branch:
        """Return the branch that they describe."""
        op = self.fields.get("op")
        source = self.fields.get("input")
        if not (_is_integer(source) and source < self.index):
            earlier = f" or an earlier branch, up to {self.index - 1}" if self.index else ""
            raise self._error("input", f"-1 (the features){earlier}")
        source = None if source < 0 else source
        if op == "pyramid_pooling":
            return PoolingBranch(source, self._pair("grid_size", _LARGEST_GRID))
        if op != "conv":
            raise self._error("op", '"conv" or "pyramid_pooling"')
        kernel = self.fields.get("kernel")
        if _is_integer(kernel) and 0 < kernel <= _LARGEST_KERNEL:
            kernel = (kernel, kernel)
        else:
            kernel = self._pair("kernel", _LARGEST_KERNEL, "a positive integer or two of them")
        if kernel == (1, 1):
            return ConvolutionBranch(source, kernel)
        return ConvolutionBranch(source, kernel, self._pair("rate", _LARGEST_RATE))

    def _pair(
        self, field: str, largest: int, wanted: str = "two positive integers"
    ) -> tuple[int, int]:
        pair = self.fields.get(field)
        if (
            isinstance(pair, list)
            and len(pair) == 2
            and all(_is_integer(value) and 0 < value <= largest for value in pair)
        ):
            return tuple(pair)
        raise self._error(field, f"{wanted}, at most {largest}")

    def _error(self, field: str, wanted: str) -> ValueError:
        found = f"is {_quote(self.fields[field])}" if field in self.fields else "is missing"
        return ValueError(
            f'{self.path}: branch {self.index}: "{field}" {found}; it must be {wanted}'
        )


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class PyramidPooling(aspp.WindowPooling):
    """Means over windows of the features and a 1x1 convolution, resized to the features' size.

    Args:
        filters: Channels of the output.
        grid_size: (rows, columns) of windows that would cover the image side by side.
        output_stride: Ratio of image size to feature size.
        crop_size: (height, width) in image pixels of the area under the grid; None: the image.
        **kwargs: Arguments of `layers.Conv2D`.
    """

    def __init__(
        self,
        filters: int,
        grid_size: tuple[int, int],
        output_stride: int,
        crop_size: tuple[int, int] | None,
        **kwargs: Any,
    ):
        super().__init__(filters, **kwargs)
        self.grid_size = grid_size
        self.output_stride = output_stride
        self.crop_size = crop_size

    def pool(self, features: tf.Tensor, scale: float) -> tf.Tensor:
        """Return the means of the windows [B, rows, columns, C]."""
        size = utils.size(features)
        if self.crop_size is None:
            window = [
                utils.scale_dimension(side, 1.0 / count)
                for side, count in zip(size, self.grid_size, strict=True)
            ]
        else:
            factors = [1.0 / (self.output_stride * count) for count in self.grid_size]
            window = aspp.window_size(self.crop_size, size, scale, factors)
            # Where the size is not known yet either, a larger window is the image.
            window = [
                tf.minimum(side, known) if tf.is_tensor(known) else side
                for side, known in zip(window, size, strict=True)
            ]
        return _window_means(features, window)


def _window_means(x: tf.Tensor, window: Sequence[int | tf.Tensor]) -> tf.Tensor:
    """Return means over every window [height, width] that lies inside `x` [B, H, W, C].

    `tf.nn.avg_pool2d` cannot: it takes windows of fixed size only.
    """

    def means(side: int | tf.Tensor, length: int | tf.Tensor) -> tf.Tensor:
        ones = tf.linalg.band_part(tf.ones((side - length + 1, side)), 0, length - 1)
        return ones / tf.cast(length, tf.float32)

    height, width = utils.size(x)
    return tf.cast(
        tf.einsum(
            "ih,jw,bhwc->bijc",
            means(height, window[0]),
            means(width, window[1]),
            tf.cast(x, tf.float32),
        ),
        x.dtype,
    )


class DensePredictionCell(containers.Container):
    """The head that a list of branches describes: all their outputs, concatenated and projected.

    Official `core/dense_prediction_cell.py`; scopes `branch<i>` (`branch<i>_depthwise` and
    `branch<i>_pointwise` where separable) and `concat_projection`.

    Args:
        branches: Branches of the cell; see `read`.
        output_stride: Ratio of image size to feature size, at most 16.
        image_pooling_crop_size: (height, width) in image pixels of what pooling branches
            divide by their grids; None: the image.
        name: The official scope.

    Raises:
        ValueError: The output stride is above 16.
    """

    def __init__(
        self,
        branches: Sequence[Branch],
        output_stride: int,
        image_pooling_crop_size: tuple[int, int] | None = None,
        name: str = SCOPE,
    ):
        super().__init__(name=name)
        multiplier = _DESIGNED_STRIDE // output_stride
        if multiplier < 1:
            raise ValueError(
                f"--output_stride is {output_stride}; with --dense_prediction_cell_json it is at"
                f" most {_DESIGNED_STRIDE}, which the cell's atrous rates are made for"
            )
        self.branches = tuple(branches)
        common = {"batch_norm": aspp.HEAD_BATCH_NORM, "activation": tf.nn.relu}
        self.parts = []
        for index, branch in enumerate(self.branches):
            name = f"branch{index}"
            match branch:
                case PoolingBranch(grid_size=grid_size):
                    parts = [
                        PyramidPooling(
                            _FILTERS,
                            grid_size,
                            output_stride,
                            image_pooling_crop_size,
                            name=name,
                            **common,
                        )
                    ]
                case ConvolutionBranch(kernel=(1, 1)):
                    parts = [layers.Conv2D(_FILTERS, 1, name=name, **common)]
                case ConvolutionBranch(kernel=kernel, rate=rate):
                    parts = layers.split_separable_conv2d(
                        _FILTERS,
                        kernel_size=kernel,
                        rate=[each * multiplier for each in rate],
                        name=name,
                        **common,
                    )
            self.parts.append(parts)
        self.dropout = keras.layers.Dropout(1.0 - _KEEP_PROBABILITY)
        self.concat_projection = layers.Conv2D(_FILTERS, 1, name="concat_projection", **common)

    def call(self, features: tf.Tensor, training: bool = False, scale: float = 1.0) -> tf.Tensor:
        """Features [B, h, w, C] -> [B, h, w, 256].

        Args:
            features: The backbone's output.
            training: Whether batch statistics and dropout are used.
            scale: Scale of the image in a pyramid, 1 for the image itself.
        """
        outputs = []
        for branch, parts in zip(self.branches, self.parts, strict=True):
            x = features if branch.input is None else outputs[branch.input]
            if isinstance(branch, PoolingBranch):
                x = parts[0](x, training=training, scale=scale)
            else:
                x = containers.apply(parts, x, training)
            outputs.append(x)
        x = self.dropout(tf.concat(outputs, axis=-1), training=training)
        return self.concat_projection(x, training=training)
