"""Fields that state their range and meaning, and the check of their values."""

import dataclasses
from typing import Annotated, Literal

import numpy as np
import pytest

from deeplab.core import options as option_classes
from deeplab.core.options import fields
from deeplab.core.options.fields import (
    NonNegativeFloat,
    NotAllZero,
    PositiveFloat,
    PositiveInt,
    Range,
    Size,
    Texts,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Options:
    count: Annotated[PositiveInt, "A count."] = 1
    share: Annotated[float, Range(above=0, at_most=1), "A share."] = 0.5
    angle: Annotated[NonNegativeFloat, Range(below=180), "An angle."] = 0.0
    rates: Annotated[tuple[PositiveFloat, ...] | None, "Rates."] = None
    size: Annotated[Size, "A size."] = (3, 4)
    weights: Annotated[tuple[NonNegativeFloat, ...] | None, NotAllZero(), "Weights."] = None
    kind: Annotated[Literal["plain", "fancy"], "A kind."] = "plain"
    name: str | None = None
    names: Annotated[Texts | None, "Names."] = None
    flag: bool = False

    def __post_init__(self):
        fields.validate(self, "my_", {"size": "the size"})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"count": np.int64(3)}, 3),
        ({"count": 3.0}, 3),
        ({"share": 1}, 1.0),
        ({"share": np.float32(0.5)}, 0.5),
        ({"rates": "0.5,2"}, (0.5, 2.0)),
        ({"rates": ["1", 2]}, (1.0, 2.0)),
        ({"rates": np.array([1, 2])}, (1.0, 2.0)),
        ({"rates": []}, None),
        ({"size": ("5", "6")}, (5, 6)),
        ({"name": None}, None),
        ({"names": ["1", "b"]}, ("1", "b")),
    ],
)
def test_a_value_is_kept_as_its_type(value, expected):
    ((name, _),) = value.items()
    found = getattr(_Options(**value), name)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"count": 0}, "--my_count is 0; it must be a whole number, at least 1$"),
        ({"count": 10**13}, "it must be a whole number, at least 1 and at most 1000000000000$"),
        ({"rates": "1,1e13"}, "finite numbers, each above 0 and at most 1000000000000$"),
        (
            {"angle": 200},
            "--my_angle is 200; it must be a finite number, at least 0 and below 180$",
        ),
        ({"count": 1.5}, "--my_count is 1.5; it must be a whole number"),
        ({"count": True}, "--my_count is True; it must be a whole number"),
        ({"count": "1"}, "--my_count is '1'; it must be a whole number"),
        ({"count": None}, "--my_count is None; it must be a whole number"),
        ({"share": 0.0}, "--my_share is 0.0; it must be a finite number, above 0 and at most 1"),
        ({"share": float("nan")}, "--my_share is nan; it must be a finite number"),
        ({"rates": (1, float("inf"))}, "must be a list of finite numbers, each above 0"),
        ({"rates": 1.0}, "--my_rates is 1.0; it must be a list of finite numbers"),
        ({"rates": "1,x"}, "--my_rates is '1,x'; it must be a list"),
        ({"size": (1, 2, 3)}, "the size is .* height,width: two whole numbers, each at least 1"),
        ({"size": ()}, r"the size is \(\); it must be height,width"),
        ({"kind": "odd"}, "--my_kind is 'odd'; it must be one of plain, fancy"),
        ({"name": 3}, "--my_name is 3; it must be a string"),
        ({"flag": "yes"}, "--my_flag is 'yes'; it must be a truth value"),
        ({"rates": list(range(100))}, r"--my_rates is \[0, 1, .*\.\.\.; it"),
        ({"rates": np.zeros((9, 9))}, "--my_rates is array"),
        ({"share": 1e-60}, "--my_share is 1e-60; it must be a finite number, above 0"),
        ({"rates": (1e39,)}, "must be a list of finite numbers, each above 0"),
        ({"count": 10**400}, "--my_count is 1000.*; it must be a whole number"),
        ({"weights": (0, 0)}, r"--my_weights is \(0, 0\); .*, each at least 0.*, not all 0"),
    ],
)
def test_a_value_of_another_type_or_out_of_range_names_the_flag(value, message):
    with pytest.raises(ValueError, match=message) as error:
        _Options(**value)
    assert "\n" not in str(error.value)


def test_a_field_says_what_its_flag_needs():
    described = fields.describe(_Options)
    assert list(described) == [
        *("count", "share", "angle", "rates", "size", "weights", "kind", "name", "names", "flag")
    ]
    found = {
        name: dataclasses.astuple(dataclasses.replace(field, hint=None))
        for name, field in described.items()
    }
    assert found["count"] == (1, "A count.", int, False, False, None, None)
    assert found["rates"] == (None, "Rates.", float, True, False, None, None)
    assert found["size"] == ((3, 4), "A size.", int, True, True, None, None)
    assert found["kind"] == ("plain", "A kind.", str, False, False, ("plain", "fancy"), None)
    assert found["names"] == (None, "Names.", str, True, True, None, None)
    assert described["count"].is_number and not described["kind"].is_number
    assert fields.convert(described["count"].hint, 3.0) == 3


@pytest.mark.parametrize("name", option_classes.__all__)
def test_options_are_hashable_values_whose_fields_have_a_meaning(name):
    options_class = getattr(option_classes, name)
    assert options_class.__dataclass_params__.frozen
    if name == "EvaluationOptions":
        # No flag takes its help text from there: eval and vis have different ones.
        return
    assert isinstance(hash(options_class()), int)
    for field in fields.describe(options_class).values():
        assert field.help.endswith(".")
