"""The files of a server: what is in them, and that those of the operator are kept."""

import os

import pytest
from google.protobuf import text_format

from deeplab.export import server_files


@pytest.mark.parametrize(
    ("path", "next_version", "versions", "name"),
    [
        ("models/pascal", True, "pascal", "pascal"),
        ("models/pascal/3/", False, "pascal", "pascal"),
        ("models/pascal", False, "pascal", "pascal"),
        ("gs://bucket/models/city scapes/12", False, "city scapes", "city_scapes"),
        ("models/2024", True, "2024", "2024"),
        ("/", True, "", "deeplab"),
    ],
)
def test_a_model_is_called_as_the_folder_of_its_versions(path, next_version, versions, name):
    assert server_files.folder_of_versions(path, next_version) == versions
    assert server_files.model_name(versions) == name


def test_both_files_are_written(tmp_path):
    folder = str(tmp_path / "server")
    server_files.write(folder, "pascal")
    assert sorted(os.listdir(folder)) == ["models.config", "monitoring.config"]
    models = (tmp_path / "server" / "models.config").read_text()
    assert 'name: "pascal"' in models
    assert 'base_path: "/models/pascal"' in models
    assert models.count("{") == models.count("}") == 2


@pytest.mark.parametrize("folder", ["city scapes", 'a"b\\c', "straße"])
def test_the_path_is_that_of_the_folder_whatever_it_is_called(tmp_path, folder):
    """As the server's own reader has it: the name is for URLs, the path is not."""
    server_files.write(str(tmp_path), folder)
    text = (tmp_path / "models.config").read_text(encoding="utf-8")
    config_pb2 = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    (config,) = text_format.Parse(text, config_pb2.ModelServerConfig()).model_config_list.config
    assert config.base_path == f"/models/{folder}"
    assert config.name == server_files.model_name(folder)
    assert config.model_platform == "tensorflow"


def test_what_the_operator_wrote_is_kept(tmp_path):
    text = "model_config_list { config { name: 'a' } config { name:'pascal' } }"
    (tmp_path / "models.config").write_text(text)
    server_files.write(str(tmp_path), "pascal")
    assert (tmp_path / "models.config").read_text() == text


def test_a_list_without_the_model_is_an_error_with_the_entry(tmp_path):
    text = 'model_config_list { config { name: "a" }\n  # config { name: "b" }\n}'
    (tmp_path / "models.config").write_text(text)
    with pytest.raises(
        ValueError, match='models.config lists other models: add config { name: "b"'
    ):
        server_files.check(str(tmp_path), "b")


@pytest.mark.parametrize("path", ["file", "file/folder", "/proc/folder"])
def test_a_folder_that_cannot_be_written_is_found_by_the_check(tmp_path, path):
    (tmp_path / "file").touch()
    folder = tmp_path / path
    with pytest.raises(ValueError, match=f"^--server_config_dir={folder} cannot be written: "):
        server_files.check(str(folder), "pascal")
    server_files.check(str(tmp_path / "new"), "pascal")
    assert os.listdir(tmp_path) == ["file"]


def test_batching_has_the_asked_size(tmp_path):
    server_files.write_batching(str(tmp_path), 8)
    text = (tmp_path / "batching_params.pbtxt").read_text()
    assert "max_batch_size { value: 8 }" in text
