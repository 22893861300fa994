"""The flags that every script shares, and the options that are made of them."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from absl import flags, logging

from deeplab.core.options import ModelOptions, TrainOptions, fields

# The name of the file that holds a network's options, beside its checkpoints and in its exports.
OPTIONS_FILE = "model_options.json"

# Official flags that the official code never read, with what does their work.
UNUSED_FLAGS = {
    "batch_norm_decay": "each part of the network has its own decay, as in the official code",
    "keep_aspect_ratio": "resizing always keeps the aspect ratio, as in the official code",
}


def log_unused_flags(flag_values: flags.FlagValues, unused: dict[str, str]) -> None:
    """Log one line for each flag that was given and has no effect: what does its work."""
    for name, reason in unused.items():
        if flag_values[name].present:
            logging.info("--%s has no effect: %s", name, reason)


def definer(module_name: str, flag_values: flags.FlagValues) -> Callable[..., None]:
    """Return a function that defines a module's flags: of a kind, name, default and help text.

    A number, or a list of them, also has a range, `within`: a type of `core.options.fields`; see
    `check_ranges`.

    Args:
        module_name: The module under which --help lists the flags.
        flag_values: Where the flags are defined.
    """

    def define(
        kind: str, name: str, default: Any, help_text: str, within: Any = None, **kwargs: Any
    ) -> None:
        getattr(flags, f"DEFINE_{kind}")(
            name=name,
            default=default,
            help=help_text,
            flag_values=flag_values,
            module_name=module_name,
            **kwargs,
        )
        if kind.endswith(("integer", "float")) and within is None:
            raise TypeError(f"the number --{name} has no range: give `within`")
        if within is not None:
            flag_values[name].within = within

    return define


def check_ranges(flag_values: flags.FlagValues, names: Iterable[str] | None = None) -> None:
    """Reject a number that is out of range, whether it is used in this run or not.

    Args:
        flag_values: Parsed flags.
        names: Names of the flags to check. Default: all.

    Raises:
        ValueError: A value is out of range; the message names the flag and the value.
    """
    for name in flag_values if names is None else names:
        value, within = flag_values[name].value, getattr(flag_values[name], "within", None)
        if within is None or value is None:
            continue
        try:
            fields.convert(within, value)
        except ValueError as error:
            texts = isinstance(value, list) and all(isinstance(each, str) for each in value)
            shown = ",".join(value)[:100] or "empty" if texts else fields.quoted(value)
            raise ValueError(f"--{name} is {shown}; {error}") from None


# Kinds of flags for the types of fields.
_KINDS = {bool: "bool", int: "integer", float: "float", str: "string"}
# Fields whose flags each script defines, because the meaning differs, or which have none.
_OWN_OF_SCRIPTS = frozenset(
    {"output_stride", "atrous_rates", "num_classes", "crop_size", "quantize"}
)
# A network simulates 8-bit inference where this flag is not below 0.
_QUANTIZE_FLAG = "quantize_delay_step"


def define_option(
    define: Callable[..., None],
    options_class: type,
    name: str,
    *,
    prefix: str = "",
    flag: str | None = None,
    **changes: Any,
) -> None:
    """Define the flag of a field, with the field's type, range, default and help text.

    Args:
        define: Defines a flag; made by `definer`.
        options_class: A dataclass of `core.options`.
        name: The field.
        prefix: Prefix of the flag's name before the field's name.
        flag: Name of the flag. Default: `prefix` and the field's.
        **changes: A `kind`, `default` or `help_text` that differs from the field's.
    """
    field = fields.describe(options_class)[name]
    kind, default, more = _KINDS.get(field.type), field.default, {}
    if field.in_one_flag:
        kind, default = "list", default and [str(value) for value in default]
    elif field.choices:
        kind, more = "enum", {"enum_values": list(field.choices)}
    elif field.is_sequence:
        kind, default = f"multi_{kind}", default and list(default)
    if field.is_number:
        more["within"] = field.hint
    found = {"kind": kind, "default": default, "help_text": field.help, **more, **changes}
    define(name=flag or prefix + name, **found)


def define_options(
    define: Callable[..., None],
    options_class: type,
    *,
    prefix: str = "",
    leave_out: Iterable[str] = (),
) -> None:
    """Define the flags of all fields of a dataclass; see `define_option`."""
    for name in fields.describe(options_class):
        if name not in leave_out:
            define_option(define, options_class, name, prefix=prefix)


def option_values(
    options_class: type, flag_values: flags.FlagValues, *, prefix: str = ""
) -> dict[str, Any]:
    """Return the values of the flags that belong to the fields of a dataclass, by field."""
    return {name: flag_values[prefix + name].value for name in fields.describe(options_class)}


def flag_words(options_class: type, name: str, value: Any) -> list[str]:
    """Return the words of a command line that give a field a value, such as "--momentum=0.9".

    Args:
        options_class: A dataclass of `core.options`.
        name: A field with a flag of its name.
        value: Not None.
    """
    field = fields.describe(options_class)[name]
    if field.is_sequence:
        if field.in_one_flag:
            return [f"--{name}={','.join(map(_written, value))}"]
        return [f"--{name}={_written(each)}" for each in value]
    return [f"--{name}={_written(value)}"]


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags that train, eval, vis and export share (official `common.py`)."""
    define = definer("deeplab.common", flag_values)
    define_options(define, ModelOptions, leave_out=_OWN_OF_SCRIPTS)
    define_option(define, TrainOptions, "label_weights")
    define("bool", "keep_aspect_ratio", True, "No effect: resizing always keeps the aspect ratio.")
    define(
        "float",
        "batch_norm_decay",
        0.9997,
        "No effect: each part has its official decay.",
        within=fields.Share,
    )


def _from_flags(
    cls: type[ModelOptions],
    flag_values: flags.FlagValues,
    stored: ModelOptions | None = None,
    **fixed: Any,
) -> ModelOptions:
    """Return the options that a script's flags ask for.

    Args:
        flag_values: Parsed flags.
        stored: Options that the weights were trained with. A flag that was not given takes their
            value.
        **fixed: Fields that no flag of that name holds (`num_classes`, `crop_size`, ...).

    Raises:
        ValueError: No network can have a value, or a flag contradicts `stored`.
    """
    values = dataclasses.asdict(stored) if stored else {}
    for name in fields.describe(cls):
        flag_name = _QUANTIZE_FLAG if name == "quantize" else name
        if flag_name not in flag_values or name in fixed:
            continue
        flag = flag_values[flag_name]
        if stored is None or flag.present:
            values[name] = flag.value >= 0 if name == "quantize" else flag.value
    options = cls(**{**values, **fixed})
    if stored:
        options.check_trained(stored)
        _check_cell(options, stored)
        _warn_of_fields_of_view(options, stored)
    return options


# It belongs to the public surface of ModelOptions, but `core` knows no flags.
ModelOptions.from_flags = classmethod(_from_flags)


def _check_cell(options: ModelOptions, stored: ModelOptions) -> None:
    """Reject a file of a dense prediction cell that differs from the one trained with."""
    asked, trained = options.dense_prediction_cell_json, stored.dense_prediction_cell_json
    if asked == trained:
        return
    # It imports TensorFlow, which --help must not wait for.
    from deeplab.core import dense_prediction_cell

    if dense_prediction_cell.read(asked) != dense_prediction_cell.read(trained):
        raise ValueError(
            f"--dense_prediction_cell_json is {asked!r}, but the checkpoint was trained with"
            f" another cell, that of {trained!r}; leave the flag out to take the trained one"
        )


def _warn_of_fields_of_view(options: ModelOptions, stored: ModelOptions) -> None:
    """Log which atrous rates keep the fields of view where the output stride alone is changed."""
    if options.output_stride == stored.output_stride or not options.atrous_rates:
        return
    if options.atrous_rates == stored.atrous_rates:
        scale = stored.output_stride / options.output_stride
        logging.warning(
            "trained at output stride %d with atrous rates %s; at output stride %d the same fields"
            " of view need --atrous_rates=%s",
            stored.output_stride,
            list(stored.atrous_rates),
            options.output_stride,
            " --atrous_rates=".join(f"{rate * scale:g}" for rate in stored.atrous_rates),
        )
