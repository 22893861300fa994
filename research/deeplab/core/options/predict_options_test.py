"""Options of predictions, and of the server that makes them."""

import pytest

from deeplab.core.options import PredictOptions, ServerOptions, WindowOptions


@pytest.mark.parametrize(
    ("address", "is_rest"),
    [
        ("localhost:8500", False),
        ("10.0.0.1:80", False),
        ("[::1]:8500", False),
        ("http://localhost:8501", True),
        ("https://models.example.com/serving/", True),
        ("grpcs://models.example.com:443", False),
    ],
)
def test_an_address_tells_the_interface(address, is_rest):
    assert ServerOptions(server=address).is_rest == is_rest


@pytest.mark.parametrize(
    "address",
    [
        *(
            "localhost",
            "8500",
            "grpc://a:8500",
            "grpcs://a",
            "http://",
            "a b:1",
            "a:1/b",
            "http://a?b",
        ),
        *("a:0", "a:65536", "http://a:99999", "http://a:b", "http://:80", "http://[::1"),
        *(f"{'a' * 64}:80", f"http://{'a' * 64}"),
    ],
)
def test_other_addresses_are_refused(address):
    with pytest.raises(ValueError, match="is not an address: give HOST:PORT of the gRPC interface"):
        ServerOptions(server=address)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"export_path": "a", "server": "b:1"}, "--export_path=a and --server=b:1 both name a"),
        ({"export_path": "a", "server_timeout": 3}, "--server_timeout=3.0 has no effect without"),
        ({"export_path": "a", "outputs": ("video",)}, "list of some of labels, prediction"),
        ({"export_path": "a", "outputs": ()}, "list of some of labels, prediction"),
        ({"server": "b:1", "window": WindowOptions()}, "--window is for --export_path"),
        ({"server": "b:1", "num_clones": 2}, "--num_clones is for --export_path"),
        ({"server": "b:1", "clone_on_cpu": True}, "--clone_on_cpu is for --export_path"),
        ({"server": "b:1", "model_version": -1}, "--model_version is -1; it must be"),
        (
            {"server": "http://b", "server_ca_certificate": "c"},
            "--server_ca_certificate=c has no effect with --server=http://b, which is not encr",
        ),
    ],
)
def test_values_that_do_not_fit_name_the_flag(values, message):
    with pytest.raises(ValueError, match=message):
        PredictOptions(**values)


def test_the_default_outputs_are_pictures():
    options = PredictOptions(server="b:1", images="x", output_dir="y")
    assert options.outputs == ("labels", "prediction", "overlay", "panel")
    assert options.model_name == "deeplab"
