"""Options beside checkpoints: they come back, and their folder may be moved."""

import pathlib

import pytest
from absl import flags

from deeplab import common
from deeplab.core import dense_prediction_cell
from deeplab.testing import golden
from deeplab.utils import checkpoint, stored_options

CELL = golden.dense_prediction_cell("dpc_with_pooling.json")


class TestOptions:
    def test_round_trip(self, tmp_path):
        options = common.ModelOptions(model_variant="xception_65", decoder_output_stride=(4,))
        stored_options.save(str(tmp_path), options)
        assert checkpoint.load_options(str(tmp_path)) == options
        assert checkpoint.load_options(str(tmp_path / "model.ckpt-7")) == options

    def test_official_checkpoints_have_none(self, tmp_path):
        assert checkpoint.load_options(str(tmp_path)) is None

    def test_a_damaged_file_is_named(self, tmp_path):
        (tmp_path / common.OPTIONS_FILE).write_text('{"model_varian": "xception_65"}')
        with pytest.raises(ValueError, match=f"^{tmp_path}.*unknown model options .'model_varian'"):
            checkpoint.load_options(str(tmp_path))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('{"aspp_with_batch_norm": "no"}', "--aspp_with_batch_norm is 'no'; .* a truth value"),
            ('{"add_image_level_feature": 1}', "--add_image_level_feature is 1; .* a truth value"),
            (
                '{"crop_size": [1e999, 33]}',
                r"the crop size .* is \[inf, 33\]; .* two whole numbers",
            ),
            ('{"depth_multiplier": NaN}', "--depth_multiplier is nan; it must be a finite number"),
            ('{"atrous_rates": {"a": 1}}', "--atrous_rates is .*; it must be a list of whole"),
            ('{"model_variant": null}', "--model_variant is None; it must be a string"),
            ('{"num_classes": 1e30}', "--num_classes is 1e.30; it must be a whole number"),
            ("[1]", "model options are a JSON object, not list"),
            pytest.param("[" * 5000, "nested too deeply", id="nested"),
            ('{"model_variant": "\\ud800"}', "half a character"),
        ],
    )
    def test_a_value_of_another_type_names_file_and_field(self, tmp_path, text, message):
        (tmp_path / common.OPTIONS_FILE).write_text(text)
        with pytest.raises(ValueError, match=f"^{tmp_path}/model_options.json: .*{message}") as e:
            checkpoint.load_options(str(tmp_path))
        assert "\n" not in str(e.value)

    def test_a_dense_prediction_cell_moves_with_them(self, tmp_path):
        source = tmp_path / "elsewhere" / "cell.json"
        source.parent.mkdir()
        source.write_bytes(CELL.read_bytes())
        options = common.ModelOptions(dense_prediction_cell_json=str(source))
        stored_options.save(str(tmp_path / "logs"), options)
        source.unlink()
        moved = (tmp_path / "logs").rename(tmp_path / "moved")
        loaded = checkpoint.load_options(str(moved / "model.ckpt-7"))
        path = loaded.dense_prediction_cell_json
        assert pathlib.Path(path).parent == moved
        assert dense_prediction_cell.read(path) == dense_prediction_cell.read(str(CELL))
        assert loaded.replace(dense_prediction_cell_json=str(source)) == options

    def test_loaded_options_can_be_saved_where_they_are(self, tmp_path):
        options = common.ModelOptions(dense_prediction_cell_json=str(CELL))
        stored_options.save(str(tmp_path), options)
        loaded = checkpoint.load_options(str(tmp_path))
        stored_options.save(str(tmp_path), loaded)
        assert checkpoint.load_options(str(tmp_path)) == loaded
        assert pathlib.Path(loaded.dense_prediction_cell_json).read_text() == CELL.read_text()

    def test_a_flag_that_names_the_same_cell_is_no_contradiction(self, tmp_path):
        flag_values = flags.FlagValues()
        common.define_flags(flag_values)
        flag_values(["train", f"--dense_prediction_cell_json={CELL}"])
        asked = common.ModelOptions.from_flags(flag_values)
        stored_options.save(str(tmp_path), asked)
        stored = checkpoint.load_options(str(tmp_path))
        assert common.ModelOptions.from_flags(flag_values, stored=stored) == asked
        (tmp_path / "dense_prediction_cell.json").write_text(
            '[{"op": "conv", "kernel": 1, "input": -1}]'
        )
        with pytest.raises(ValueError, match="--dense_prediction_cell_json is .*cell.json"):
            common.ModelOptions.from_flags(flag_values, stored=stored)

    def test_a_missing_cell_leaves_the_folder_as_it_was(self, tmp_path):
        options = common.ModelOptions(dense_prediction_cell_json=str(tmp_path / "cell.json"))
        with pytest.raises(FileNotFoundError, match="cell.json is not a file"):
            stored_options.save(str(tmp_path / "logs"), options)
        assert not (tmp_path / "logs").exists()
