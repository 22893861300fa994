"""Reads the golden numbers, which the official code computed for fixed weights and inputs.

A small part of them is in `testing/data`, so that the tests are useful on any machine. The whole
set is read from `shared/golden` beside the checkout if that folder exists.
"""

import dataclasses
import functools
import gzip
import json
import os
import pathlib
import re
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

DATA = pathlib.Path(__file__).resolve().parent / "data"
_CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
SHARED = pathlib.Path(os.environ.get("DEEPLAB_SHARED", _CHECKOUT.parent / "shared"))

# Factors that keep the activations of a randomly filled network in range; the first match counts.
_GAINS = tuple(
    (re.compile(pattern), gain)
    for pattern, gain in (
        (r"^resnet_v1_\d+/conv1/weights$", 1.0 / 64),
        (r"/separable_conv\d_pointwise/weights$", 0.7),
        (r"^Mobilenet(V2|EdgeTPU)/.*/expand/weights$", 0.7),
        (r"^[ph]nasnet/.*/pointwise_weights$", 0.7),
        (r"/(bottleneck_v1/conv3|lite_bottleneck_v1/conv2)/BatchNorm/gamma$", 0.25),
        (r"/middle_flow/.*/separable_conv3_pointwise/BatchNorm/gamma$", 0.3),
        (r"^MobilenetEdgeTPU/.*/project/BatchNorm/gamma$", 0.85),
        (r"^MobilenetV3/.*/project/BatchNorm/gamma$", 1.1),
        (r"^pnasnet/cell_\d+/comb_iter_\d+/(left|right)/bn_.*gamma$", 0.7),
        (r"^hnasnet/cell_\d+/comb_iter_\d+/(left|right)/bn_.*gamma$", 0.9),
    )
)


# Enough for the variables of any network; the values of a large one take seconds.
@functools.lru_cache(maxsize=2500)
def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the golden value of a variable, which depends on its official name and shape alone.

    Args:
        name: Official variable name, e.g. `MobilenetV2/Conv/weights`.
        shape: Its shape.

    Returns:
        A float32 array of that shape, the same on every machine; read-only.

    Raises:
        ValueError: The last part of the name is unknown.
    """
    random = np.random.RandomState(zlib.crc32(name.encode()))  # noqa: NPY002 (the rule's own)
    gain = next((gain for pattern, gain in _GAINS if pattern.search(name)), 1.0)
    match name.rsplit("/", 1)[-1]:
        case "weights" | "pointwise_weights":
            value = _normal(random, shape, np.sqrt(2.0 / np.prod(shape[:3])), gain)
        case "depthwise_weights":
            value = _normal(random, shape, np.sqrt(2.0 / np.prod(shape[:2])), gain)
        case "biases" | "beta" | "moving_mean":
            value = random.standard_normal(shape) * 0.1
        case "gamma":
            value = random.uniform(0.5, 1.5, shape) * gain
        case "moving_variance":
            value = random.uniform(0.6, 1.8, shape)
        case "min" | "max" as end:
            # An end of a quantizer's range: no two are the same, and most cut values off.
            value = random.uniform(0.25, 0.75, shape) * (-1.0 if end == "min" else 1.0)
        case leaf:
            raise ValueError(f"no rule fills {leaf!r} ({name}, shape {shape})")
    value = np.asarray(value, np.float32)
    value.setflags(write=False)
    return value


def _normal(random: Any, shape: tuple[int, ...], *factors: float) -> np.ndarray:
    """Return normal numbers times factors, one after the other and without copies of millions."""
    value = random.standard_normal(shape)
    for factor in factors:
        if factor != 1.0:
            value *= factor
    return value


def assign(variables: Mapping[str, Any]) -> None:
    """Assign its golden value to every variable of `{official name: variable}`."""
    for name, variable in variables.items():
        variable.assign(fill(name, tuple(variable.shape)))


@functools.cache
def misc(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the golden facts and arrays called `name`, e.g. `losses`; either may be empty."""
    folder = DATA / "misc"
    facts: dict[str, Any] = {}
    if (path := folder / f"{name}.json").exists():
        facts = json.loads(path.read_text())
    elif (path := folder / f"{name}.json.gz").exists():
        facts = json.loads(gzip.decompress(path.read_bytes()))
    path = folder / f"{name}.npz"
    return facts, dict(np.load(path)) if path.exists() else {}


def shared(path: str) -> pathlib.Path:
    """Return a file or folder of the shared data; skip the test if it does not exist."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"needs {path} in {SHARED} (set DEEPLAB_SHARED to the folder that holds it)")
    return found


@dataclasses.dataclass(frozen=True)
class Configuration:
    """A model configuration that the official code was run with.

    Attributes:
        name: Name of the configuration.
        manifest: `model_flags`, `num_classes`, `output_stride`, `atrous_rates`, `crop_size`,
            `image_pyramid`, `eval_scales`, `add_flipped_images` and what was measured.
        variables: Official name to shape, of every model variable.
        arrays: The input `image` and the outputs; see `outputs`.
    """

    name: str
    manifest: dict[str, Any]
    variables: dict[str, tuple[int, ...]]
    arrays: dict[str, np.ndarray]

    def subsample(self, key: str, array: np.ndarray) -> np.ndarray:
        """Return an array at the pixels that were stored of the official one."""
        stride = self.manifest["stored_spatial_stride"].get(key, 1)
        return array[:, ::stride, ::stride]


def dense_prediction_cell(name: str) -> pathlib.Path:
    """Return the JSON file of a configuration's dense prediction cell."""
    published = DATA.parents[1] / "recipes" / name
    return published if published.exists() else DATA / "dense_prediction_cells" / name


def in_repository() -> list[str]:
    """Return the names of the configurations that the repository holds."""
    return sorted(path.parent.name for path in (DATA / "logits").glob("*/manifest.json"))


def configurations(prefix: str = "") -> list[str]:
    """Return the names of all configurations, shared or in the repository."""
    names = set(in_repository())
    names |= {path.parent.name for path in SHARED.glob("golden/*/manifest.json")}
    return sorted(name for name in names if name.startswith(prefix))


def configuration(name: str) -> Configuration:
    """Read a configuration.

    Raises:
        FileNotFoundError: It does not exist.
    """
    for root in (DATA / "logits", SHARED / "golden"):
        folder = root / name
        if (folder / "manifest.json").exists():
            manifest = json.loads((folder / "manifest.json").read_text())
            variables = json.loads((root / manifest["variables_file"]).read_text())
            return Configuration(
                name=name,
                manifest=manifest,
                variables={key: tuple(shape) for key, shape in variables},
                arrays=dict(np.load(folder / "io.npz")),
            )
    raise FileNotFoundError(f"no golden configuration {name!r}; there are {configurations()}")


def quantized(name: str) -> tuple[dict[str, dict[str, tuple]], dict[str, np.ndarray]]:
    """Return the official quantized network called `name`; skip the test if it does not exist.

    Returns:
        The shapes of the variables that quantizers add, by official name, in `eval` and in
        `train`; and `image`, `pred` and `prob` at every fourth pixel, or `features`. Those in
        `golden` are of weights quantized from -1 to 1 and of every other range as it is before
        training; the ResNet and the cells have 16 bits and the ranges of `fill`.
    """
    file = DATA / "quantized" / f"{name}.json.gz"
    if file.exists():
        facts = json.loads(gzip.decompress(file.read_bytes()))
    else:
        file = shared(f"golden/_quant/{name}.json")
        facts = json.loads(file.read_text())
    variables = {
        mode: {key: tuple(shape) for key, shape in facts[mode]["new_variables"]}
        for mode in ("eval", "train")
    }
    return variables, dict(np.load(file.with_name(f"{name}_eval.npz")))
