"""Official checkpoints: TensorFlow's name-based V2 files with the official variable names.

A checkpoint holds the network's variables under their official names, optimizer slots as
`<name>/<slot>`, and the step as `global_step` (int64). The file of the network's options beside it
is that of `stored_options`.
"""

import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from deeplab import common
from deeplab.core import error_text, feature_extractor, scopes
from deeplab.core.wording import counted
from deeplab.utils import checkpoint_files, file_systems, files, stored_options
from deeplab.weights import foreign_files, initial_values, keras_weights, saved_networks

GLOBAL_STEP = "global_step"
# Last part of the name of a weight's moving average, as in TensorFlow 1.
AVERAGE = "ExponentialMovingAverage"
_PREFIX = "model.ckpt"
# How many variables an error message lists.
_LISTED = 3

# What `tf.train.load_checkpoint` returns; its class has no public name.
Reader = Any


def official_variables(net: keras.Model) -> dict[str, keras.Variable]:
    """Return the network's variables by their official names.

    The official name is the variable's path; see `core.scopes`.
    """
    variables = {}
    for variable in net.weights:
        name = scopes.official_name(variable.path, net.name)
        if name in variables:
            raise ValueError(f"two variables have the official name {name}")
        variables[name] = variable
    return variables


def read(path: str, options: common.ModelOptions | None = None) -> Reader:
    """Open a checkpoint, or a network that Keras saved.

    Args:
        path: Prefix such as `model.ckpt-30000`; or a folder, whose newest checkpoint is opened; or
            a `.keras` or `.weights.h5` file with a DeepLab.
        options: Options of the network in a `.weights.h5` file without `model_options.json`.

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: The checkpoint cannot be read, or the file is something else.
    """
    prefix = checkpoint_files.latest(path)
    if prefix and checkpoint_files.is_keras_file(prefix):
        return saved_networks.SavedNetwork(prefix, stored_options.read(prefix) or options)
    if prefix is None:
        foreign_files.refuse(path)
        folder = path if tf.io.gfile.isdir(path) else os.path.dirname(path) or "."
        found = ", ".join(checkpoint_files.names(folder)) or "none"
        raise FileNotFoundError(
            f"no checkpoint at {path}: {folder} holds {found}"
            " (give the name without .index or .data-*)"
        )
    try:
        if file_systems.has_wildcards(prefix):
            return _LiteralReader(prefix)
        return tf.compat.v1.train.NewCheckpointReader(prefix)
    except (RuntimeError, tf.errors.OpError) as error:
        raise ValueError(f"{prefix} cannot be read: {error_text.one_line(error)}") from None


class _LiteralReader:
    """Reads a checkpoint whose path has wildcards, which TensorFlow takes for a pattern.

    Reads it in a temporary folder, whose path has none: through links, or copies of remote files.
    """

    def __init__(self, prefix: str):
        self._folder = tempfile.TemporaryDirectory()
        plain = os.path.join(self._folder.name, "checkpoint")
        for file in checkpoint_files.files_of(prefix):
            target = plain + file.removeprefix(prefix)
            if file_systems.is_remote(file):
                tf.io.gfile.copy(file, target)
            else:
                os.symlink(os.path.abspath(file), target)
        self._reader = tf.compat.v1.train.NewCheckpointReader(plain)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


def restore(net: keras.Model, path: str, *, averages: bool = False) -> int:
    """Load the values of a checkpoint into a network.

    Warns if the checkpoint holds model variables that the network does not have.

    Args:
        net: The network.
        path: Prefix of the checkpoint, or a folder, whose newest checkpoint is loaded; or a file
            of Keras with such a network.
        averages: Load the moving averages of the weights (`<name>/ExponentialMovingAverage`);
            variables without an average are loaded as they are.

    Returns:
        The step of the checkpoint; 0 if it holds none.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: Variables are missing or have other shapes, which the message lists; or there
            are no moving averages.

    Example:
        net = model.DeepLab(options)
        step = checkpoint.restore(net, "train_log/model.ckpt-30000")
    """
    variables, reader = official_variables(net), read(path, net.options)
    assign(variables, reader, path)
    if averages:
        named = {f"{name}/{AVERAGE}": each for name, each in variables.items()}
        held = {name: each for name, each in named.items() if reader.has_tensor(name)}
        if not held:
            raise ValueError(
                f"{path} holds no moving averages because it was trained without --ema_decay: leave"
                " --use_ema out"
            )
        assign(held, reader, path)
    if left := _left_out(reader.get_variable_to_shape_map(), variables):
        logging.warning(
            "%s holds %s that the network does not have, such as %s: results are wrong if"
            " a flag such as --decoder_output_stride or --quantize_delay_step is missing",
            *(path, counted(len(left), "variable"), left[0]),
        )
    step = global_step(reader, path)
    logging.info("restored %s (step %d)", path, step)
    return step


def _left_out(stored: Iterable[str], used: Iterable[str]) -> list[str]:
    """Return the model variables of a checkpoint that a network does not use.

    These are not model variables: optimizer slots and moving averages, which lie below the variable
    they belong to; variables at the top level (`global_step`, `beta1_power`); and the training
    state of quantizers.
    """
    stored, used = set(stored), set(used)
    left = {name for name in stored - used if name.rpartition("/")[0] not in stored | {""}}
    if any(map(_is_of_quantizer, used)):
        left = {name for name in left if not _is_of_quantizer(name)}
    return sorted(left)


def _is_of_quantizer(name: str) -> bool:
    """Return whether an official name is that of a quantizer's variable."""
    return re.search(r"_quant(_\d+)?/", name) is not None


def assign(variables: Mapping[str, keras.Variable], reader: Reader, path: str) -> None:
    """Assign every variable its value in a checkpoint.

    Args:
        variables: Variables by their names in the checkpoint.
        reader: The open checkpoint.
        path: Path of the checkpoint, for messages.

    Raises:
        ValueError: Variables are missing or have other shapes, and nothing was assigned; or the
            data of the checkpoint are damaged.
    """
    shapes = reader.get_variable_to_shape_map()
    if missing := [name for name in variables if name not in shapes]:
        if all(map(_is_of_quantizer, missing)):
            raise ValueError(
                f"{path} is not a checkpoint of a quantized network: it lacks {_some(missing)};"
                " leave --quantize_delay_step out"
            )
        raise ValueError(
            f"{path} lacks {len(missing)} of {len(variables)} variables: {_some(missing)};"
            " it is a checkpoint of another network (check --model_variant, --atrous_rates,"
            " --decoder_output_stride)"
        )
    if wrong := _mismatches(variables, shapes):
        raise ValueError(
            f"{path} holds other shapes than the network: {_some(wrong)}"
            " (check --depth_multiplier and the dataset's number of classes)"
        )
    for name, variable in variables.items():
        variable.assign(_value(reader, name, path))


def _value(reader: Reader, name: str, path: str) -> np.ndarray:
    """Return the value of a variable in a checkpoint.

    Args:
        reader: The open checkpoint.
        name: Name of the variable.
        path: Path of the checkpoint, for messages.

    Raises:
        ValueError: The data of the checkpoint are damaged.
    """
    try:
        return reader.get_tensor(name)
    except (LookupError, RuntimeError, MemoryError, tf.errors.OpError) as error:
        raise ValueError(f"{path} is damaged: {error_text.one_line(error)}") from None


def initialize(net: keras.Model, path: str, excluded_scopes: Sequence[str] = ()) -> None:
    """Initialize a network from the checkpoint of another run (official `get_model_init_fn`).

    Variables that the checkpoint lacks keep their initial values, unless `initial_values` can
    make them from others. Logs which variables were initialized and which were not.

    Args:
        net: The network.
        path: Prefix of the checkpoint; or a folder, whose newest checkpoint is used; or a file of
            Keras with a DeepLab, or with the counterpart of the backbone, if there is one.
        excluded_scopes: Variables whose official names start with one of these are left out.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: Variables have other shapes in the checkpoint, or it has none of them.
    """
    sources = feature_extractor.get_backbone(net.options.model_variant).weight_sources
    if path.endswith(checkpoint_files.KERAS) and not saved_networks.is_deeplab(path):
        stored = keras_weights.open_file(path, sources)
    else:
        stored = read(path, net.options)
    variables = official_variables(net)
    reader = initial_values.InitialValues(stored, variables, sources)
    shapes = reader.get_variable_to_shape_map()
    restored, skipped, missing = {}, [], []
    for name, variable in variables.items():
        label = f"{name} {tuple(variable.shape)}"
        if name.startswith(tuple(excluded_scopes)):
            skipped.append(label)
        elif name not in shapes:
            missing.append(label)
        else:
            restored[name] = variable
    if wrong := _mismatches(restored, shapes):
        remedy = (
            "--initialize_last_layer=false leaves the last layers out (only the logits with"
            " --last_layers_contain_logits_only=true)"
        )
        if any(name.startswith(f"{net.backbone.name}/") for name in wrong):
            remedy = "check --model_variant and --depth_multiplier"
        raise ValueError(
            f"--tf_initial_checkpoint={path} holds other shapes than the network: {_some(wrong)};"
            f" {remedy}"
        )
    if not restored:
        raise ValueError(
            f"--tf_initial_checkpoint={path} has none of the network's variables; its first ones"
            f" are {_some(sorted(shapes))}: check --model_variant"
        )
    assign(restored, reader, path)
    taken = [
        f"{name} {tuple(variable.shape)}{reader.origin(name)}"
        for name, variable in restored.items()
    ]
    for title, labels in (
        (f"initialized from {path}", taken),
        ("left out because of --initialize_last_layer=false", skipped),
        ("not in the checkpoint, so new", missing),
    ):
        if labels:
            count = counted(len(labels), "variable")
            logging.info("%s %s:\n  %s", count, title, "\n  ".join(labels))


def _mismatches(variables: Mapping[str, keras.Variable], shapes: Mapping) -> list[str]:
    return [
        f"{name} {tuple(shapes[name])} there, {tuple(variable.shape)} here"
        for name, variable in variables.items()
        if tuple(shapes[name]) != tuple(variable.shape)
    ]


def _some(names: Sequence[str]) -> str:
    rest = f", ... ({len(names) - _LISTED} more)" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + rest


def save(
    logdir: str,
    step: int,
    variables: Mapping[str, keras.Variable],
    max_to_keep: int = 5,
) -> str:
    """Write the checkpoint `model.ckpt-<step>` and make it the newest of its folder.

    The files are written under temporary names and renamed, then the `checkpoint` state file is
    replaced, then old checkpoints are removed. So a kill at any moment leaves an intact checkpoint
    in place. After an error, such as a full disk, everything is as it was before.

    Args:
        logdir: Folder of the checkpoints.
        step: Global step, stored as `global_step`.
        variables: The other variables by name.
        max_to_keep: Number of checkpoints that the folder keeps.

    Returns:
        The prefix of the new checkpoint.

    Raises:
        OSError: The checkpoint cannot be written.
    """
    name = f"{_PREFIX}-{step}"
    prefix = os.path.join(logdir, name)
    tensors = {name: tf.convert_to_tensor(variable) for name, variable in variables.items()}
    tensors[GLOBAL_STEP] = tf.constant(step, tf.int64)
    try:
        tf.io.gfile.makedirs(logdir)
        others = checkpoint_files.plainly_named(logdir)
        is_new = not tf.io.gfile.exists(f"{prefix}.index")
        every = [other for other in others if other != name] + [name]
        obsolete, kept = every[:-max_to_keep], every[-max_to_keep:]
        with files.replacing_prefix(prefix, last=".index") as temporary:
            tf.raw_ops.SaveV2(
                prefix=temporary,
                tensor_names=list(tensors),
                shape_and_slices=[""] * len(tensors),
                tensors=list(tensors.values()),
            )
        try:
            checkpoint_files.write_state(logdir, kept)
        except Exception:
            if is_new:
                checkpoint_files.remove(prefix)
            raise
        for other in obsolete:
            checkpoint_files.remove(os.path.join(logdir, other))
    except (OSError, tf.errors.OpError) as error:
        # The name of a temporary file, or of the state file, comes before the reason.
        reason = getattr(error, "strerror", None) or error_text.one_line(error)
        reason = reason.split("; ")[-1].rpartition("cannot be written: ")[2]
        raise OSError(f"{prefix} cannot be written: {reason}") from None
    return prefix


def global_step(reader: Reader, path: str = "the checkpoint") -> int:
    """Return the step of a checkpoint; 0 if it holds none.

    Args:
        reader: The open checkpoint.
        path: Path of the checkpoint, for messages.

    Raises:
        ValueError: The data of the checkpoint are damaged.
    """
    if not reader.has_tensor(GLOBAL_STEP):
        return 0
    step = np.asarray(_value(reader, GLOBAL_STEP, path))
    if step.size != 1 or not np.issubdtype(step.dtype, np.integer):
        raise ValueError(f"{path} is damaged: its {GLOBAL_STEP} is not a whole number")
    return int(step.item())


def load_options(path: str) -> common.ModelOptions | None:
    """Return the options stored beside a checkpoint; None if there are none.

    Official checkpoints have none. What is not stored and only the shapes of the checkpoint tell is
    added, see `complete`.

    Args:
        path: As for `stored_options.read`.

    Raises:
        ValueError: `stored_options.save` did not write the file.
    """
    options = stored_options.read(path)
    return complete(options, path) if options else None


def complete(options: common.ModelOptions, path: str | None) -> common.ModelOptions:
    """Return options with the numbers of channels that they leave to a checkpoint.

    Args:
        options: The options.
        path: Prefix of the checkpoint, or a folder. Where there is none, or a damaged one, the
            options stay as they are.
    """
    widths = feature_extractor.get_backbone(options.model_variant).widths
    missing = {name: source for name, source in widths.items() if getattr(options, name) is None}
    prefix = checkpoint_files.latest(path) if missing and path else None
    if prefix is None or checkpoint_files.is_keras_file(prefix):
        return options
    try:
        shapes = read(prefix).get_variable_to_shape_map()
    except (ValueError, OSError):
        return options
    found = {name: shapes[source][-1] for name, source in missing.items() if shapes.get(source)}
    return options.replace(**found)
