"""The script that prints the size of a network, the page about it, and the published counts."""

import functools
import pathlib

import pytest

from deeplab import common, model, model_info
from deeplab.core import dense_prediction_cell, feature_extractor
from deeplab.testing import tiny
from deeplab.zoo import (
    model_report,
    model_statistics,
    published_checkpoints,
    published_multiply_adds,
)

_PAGE = pathlib.Path(__file__).parent / "g3doc" / "model_info.md"


def _tables():
    """The page's tables, each a list of rows {title: cell}."""
    tables, rows = [], None
    for line in _PAGE.read_text().splitlines():
        if not line.startswith("|"):
            rows = None
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if rows is None:
            titles, rows = cells, []
            tables.append(rows)
        elif not set(line) <= set("|-: "):
            rows.append(dict(zip(titles, cells, strict=True)))
    return tables


_SETTINGS, _NETWORKS, _COMPARED = _tables()
_FLAGS = {row["settings"]: row["flags"].strip("`").split() for row in _SETTINGS}


def _flags(row):
    """The flags of a row of the page."""
    settings = [flag for name in row["settings"].split() for flag in _FLAGS[name]]
    return [f"--model_variant={row['network']}", *settings]


def _asked(flags):
    values = tiny.parse(model_info, flags)
    asked = model_info.asked_options(values)
    return model_report.options(asked, values.checkpoint_dir, values.crop_size)


def _options(row):
    return _asked(_flags(row))


_BACKBONES = tiny.SharedBackbones(count=4)


@functools.cache
def _statistics(options):
    with _BACKBONES.used():
        net = model.DeepLab(options, random_weights=False)
    return model_statistics.measure(net, options.crop_size)


def _cases(rows):
    return [
        pytest.param(
            row,
            marks=()
            if row["network"] == "mobilenet_v2" and not row["settings"]
            else pytest.mark.slow,
            id="-".join([row["network"], *row["settings"].split()]),
        )
        for row in rows
    ]


def _billions(count):
    return f"{count / 1e9:.2f}"


def test_the_page_has_every_network():
    assert {row["network"] for row in _NETWORKS} == set(feature_extractor.BACKBONES)


@pytest.mark.parametrize("row", _cases(_NETWORKS))
def test_the_page_says_what_the_command_says(row):
    total = _statistics(_options(row)).total
    assert row["parameters"] == f"{total.parameters:,}"
    assert row["multiply-adds (B)"] == _billions(total.multiply_adds)
    assert row["output"] == "x".join(map(str, total.output_shapes[0][1:]))


def test_the_page_has_every_published_count():
    found = [published_multiply_adds.find(_options(row)) for row in _COMPARED]
    assert set(map(id, found)) == set(map(id, published_multiply_adds.PUBLISHED))
    for row, published in zip(_COMPARED, found, strict=True):
        assert row["published (B)"] == published.multiply_adds


@pytest.mark.parametrize("row", _cases(_COMPARED))
def test_agrees_with_the_published_counts(row):
    options = _options(row)
    total = _statistics(options).total
    assert row["here (B)"] == _billions(total.multiply_adds)
    assert row["with padding (B)"] == _billions(total.padded_multiply_adds)
    published = published_multiply_adds.find(options)
    stated = float(published.multiply_adds)
    if published.counts_operations:
        # What is left over is not of the convolutions: see the page.
        assert 0 < stated - 2 * total.multiply_adds / 1e9 < 0.8
        return
    # Only full dilated convolutions have a padding to speak of.
    full = options.aspp_with_separable_conv is False
    ours = (total.padded_multiply_adds if full else total.multiply_adds) / 1e9
    rounding = 0.5 * 10.0 ** -len(published.multiply_adds.partition(".")[2])
    assert abs(ours - stated) <= 0.02 * stated + rounding


def _run(capsys, *arguments):
    tiny.run(model_info, *arguments)
    return capsys.readouterr().out


def test_prints_the_parts_and_the_published_count(capsys):
    output = _run(capsys, "--model_variant=mobilenet_v2", "--crop_size=513,513")
    lines = output.splitlines()
    assert lines[0] == "mobilenet_v2, image 513x513, output stride 16, 21 classes"
    assert [line.split()[0] for line in lines[4:8]] == ["backbone", "head", "logits", "total"]
    assert lines[7].split() == ["total", "2,113,557", "2.7407", "33x33x21"]
    assert "33,088 moving averages" in output
    assert "Published: 2.75 B" in output
    assert "Here: 2.74 B (-0.3%)" in output


@tiny.shallow()
def test_prints_every_layer(capsys):
    output = _run(
        capsys, "--depth_multiplier=0.1", "--crop_size=65,33", "--by_layer", "--output_stride=8"
    )
    assert "\nMobilenetV2/Conv/weights " in output
    assert "\nlogits/semantic/weights " in output
    assert "9x5x21" in output
    assert "Published" not in output


@pytest.fixture(scope="module")
def small():
    """A network of the options of `tiny`."""
    with tiny.shallow():
        return model.DeepLab(tiny.OPTIONS, random_weights=False)


@pytest.mark.slow
@tiny.shallow()
def test_takes_the_options_of_a_checkpoint(capsys, small, tmp_path):
    path = tiny.save(small, tmp_path, 3)
    expected = _statistics(tiny.OPTIONS).total
    for checkpoint_dir in (tmp_path, path):
        output = _run(capsys, f"--checkpoint_dir={checkpoint_dir}")
        assert output.startswith("mobilenet_v2, image 33x33, output stride 8, 4 classes\n")
        assert f"{expected.parameters:,} " in output
    output = _run(capsys, f"--checkpoint_dir={tmp_path}", "--crop_size=65,65")
    assert output.startswith("mobilenet_v2, image 65x65, output stride 8, 4 classes\n")


def test_a_dataset_says_the_number_of_classes():
    options = _asked(["--dataset=ade20k"])
    assert options.num_classes == 151


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset=cityscapes", "--num_classes=21"], "--num_classes is 21, .* has 19 classes"),
        (["--crop_size=0,513"], "must be height,width: two whole numbers, each at least 1"),
        (["--crop_size=513"], "must be height,width: two whole numbers, each at least 1"),
        (["--model_variant=vgg"], "--model_variant is 'vgg'; known are mobilenet_edgetpu, "),
    ],
)
def test_wrong_flags_are_one_line(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny.run(model_info, *arguments)


def test_a_checkpoint_that_does_not_say_what_it_holds(small, tmp_path):
    tiny.save(small, tmp_path, 3, with_options=False)
    with pytest.raises(ValueError, match=f"--checkpoint_dir={tmp_path} contains no model_options"):
        tiny.run(model_info, f"--checkpoint_dir={tmp_path}")
    tiny.save(small, tmp_path / "other", 3)
    with pytest.raises(ValueError, match="21 classes are asked for .* trained with 4"):
        tiny.run(model_info, f"--checkpoint_dir={tmp_path / 'other'}", "--num_classes=21")


class TestPublished:
    def test_options_that_change_no_size_may_differ(self):
        options = common.ModelOptions(crop_size=(513, 513))
        published = published_multiply_adds.find(options)
        assert published.multiply_adds == "2.75"
        same = options.replace(
            image_pyramid=(1.0,), merge_method="avg", use_bounded_activation=True
        )
        assert published_multiply_adds.find(same) is published

    @pytest.mark.parametrize(
        "change",
        [{"crop_size": (513, 769)}, {"num_classes": 19}, {"image_pyramid": (0.5, 1.0)}],
    )
    def test_others_are_not_published(self, change):
        options = common.ModelOptions(crop_size=(513, 513)).replace(**change)
        assert published_multiply_adds.find(options) is None

    def test_a_copy_of_the_cell_is_the_cell(self, tmp_path):
        (options,) = (
            each.options
            for each in published_multiply_adds.PUBLISHED
            if each.options.dense_prediction_cell_json
        )
        path = tmp_path / "dense_prediction_cell.json"
        original = dense_prediction_cell.find(options.dense_prediction_cell_json)
        path.write_text(pathlib.Path(original).read_text())
        copied = options.replace(dense_prediction_cell_json=str(path))
        assert published_multiply_adds.find(copied).multiply_adds == "502.07"

    def test_agrees_with_the_model_zoo(self):
        """Every count of one scale that the list of checkpoints has."""
        zoo = {
            (
                checkpoint.model_variant,
                checkpoint.depth_multiplier,
                result.output_stride,
                result.madds,
            )
            for checkpoint in published_checkpoints.CHECKPOINTS
            for result in checkpoint.results
            if result.madds and result.eval_scales == (1.0,)
        }
        ours = {
            (
                each.options.model_variant,
                each.options.depth_multiplier,
                each.options.output_stride,
                each.multiply_adds,
            )
            for each in published_multiply_adds.PUBLISHED
            if "model zoo" in each.source
        }
        assert ours == zoo
