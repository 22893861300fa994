import dataclasses

import pytest

from deeplab.annotations import class_table

_RULES = class_table.ClassRules(None, {}, True, 255)
_FOUND = ("car", "van", "road")


def _make(found=_FOUND, listed=True, *, add_background=True, **rules):
    changed = dataclasses.replace(_RULES, **rules)
    return class_table.make(found, listed, changed, add_background=add_background)


def test_the_background_comes_first_and_the_names_follow():
    table = _make()
    assert table.names == ("background", "car", "van", "road")
    assert [table.label(name) for name in (*_FOUND, "background", "ignore")] == [1, 2, 3, 0, 255]
    assert table.fill == 0


def test_a_background_among_the_names_is_the_background():
    table = _make(("car", "Background", "road"))
    assert table.names == ("Background", "car", "road")
    assert [table.label(name) for name in ("Background", "_background_", "road")] == [0, 0, 2]


def test_without_background_its_pixels_are_ignored():
    table = _make(("background", "car"), background=False)
    assert (table.names, table.fill) == (("car",), 255)
    assert (table.label("background"), table.label("car")) == (255, 0)


def test_the_order_of_class_names_wins():
    assert _make(class_names=("road", "car", "van")).names == ("background", "road", "car", "van")
    names = ("road", "background", "car", "van")
    table = _make(class_names=names)
    assert (table.names, table.fill) == (names, 1)


@pytest.mark.parametrize(
    ("names", "listed", "message"),
    [
        (("car", "road"), True, "--class_names does not have 'van' of the annotations; they have"),
        (("car", "road"), False, "--class_names does not have 'van'"),
        ((*_FOUND, "bus"), True, "--class_names has 'bus', which the annotations do not have"),
    ],
)
def test_class_names_must_be_those_of_the_annotations(names, listed, message):
    with pytest.raises(ValueError, match=message):
        _make(listed=listed, class_names=names)


def test_class_names_may_have_more_than_occur():
    assert _make(listed=False, class_names=(*_FOUND, "bus")).names[-1] == "bus"


def test_names_are_merged_ignored_and_left_out():
    class_map = class_table.parse_class_map(["van:car", "road:ignore", "a:b:", "hill:background"])
    table = _make((*_FOUND, "a:b", "hill"), class_map=class_map)
    assert table.names == ("background", "car")
    labels = [table.label(name) for name in (*_FOUND, "a:b", "hill")]
    assert labels == [1, 1, 255, None, 0]


@pytest.mark.parametrize("names", [("road", "vehicle"), ("road", "car", "van")])
def test_a_new_name_takes_the_place_of_the_first_it_replaces(names):
    class_map = {"car": "vehicle", "van": "vehicle"}
    assert _make(class_map=class_map).names == ("background", "vehicle", "road")
    # The names in --class_names may be those before or after.
    table = _make(class_map=class_map, class_names=names)
    assert table.names == ("background", "road", "vehicle")
    assert table.label("van") == 2


def test_label_files_keep_their_order():
    names = ("car", "background", "road")
    assert _make(names, add_background=False).names == names
    table = _make(names, add_background=False, class_map={"background": "ignore"})
    assert table.names == ("car", "road")
    assert table.label("background") == 255


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["van"], "--class_map has 'van'; it takes <name>:<name>"),
        ([":car"], "--class_map has ':car'"),
        (["van:car", "van:bus"], "--class_map has two replacements of 'van'"),
        (["van:car", "car:bus"], "replaces 'van' by 'car', and that by 'bus'"),
    ],
)
def test_a_malformed_class_map_is_named(entries, message):
    with pytest.raises(ValueError, match=message):
        class_table.parse_class_map(entries)


def test_a_class_map_must_name_what_is_there():
    with pytest.raises(ValueError, match="--class_map names 'bus', which the data does not have"):
        _make(class_map={"bus": "car"})
    with pytest.raises(ValueError, match="--background=false leaves it out"):
        _make(class_map={"background": "ignore"})
