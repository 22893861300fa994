"""The network of a running server, by both interfaces."""

import base64
import json
import socket
import subprocess
import threading

import grpc
import numpy as np
import pytest

from deeplab.core.options import ServerOptions
from deeplab.serving import conftest, rest_client, retrying
from deeplab.serving.served_network import ServedNetwork
from deeplab.testing import tiny

_UNAVAILABLE = {False: grpc.StatusCode.UNAVAILABLE, True: 503}


def _open(server: conftest.Server, **more) -> ServedNetwork:
    return ServedNetwork(ServerOptions(server=server.address, **more))


def test_labels_of_an_image_come_back(server):
    network = _open(server)
    assert network.num_classes == 4
    assert network.descriptor is None
    for size in ((9, 7), (1, 1)):
        image = tiny.picture(*size)
        labels = network.predict(image)
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels, image[..., 0] % 4)


def test_labels_come_back_over_an_encrypted_connection(encrypted_server, certificate):
    network = _open(encrypted_server, server_ca_certificate=str(certificate.path))
    image = tiny.picture(9, 7)
    np.testing.assert_array_equal(network.predict(image), image[..., 0] % 4)


def test_authorities_of_the_system_are_trusted(
    encrypted_server, certificate, monkeypatch, tmp_path
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
    assert _open(encrypted_server).num_classes == 4
    # In a folder, names begin with a hash.
    name = subprocess.run(
        ["openssl", "x509", "-noout", "-subject_hash", "-in", certificate.path],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    (tmp_path / f"{name}.0").symlink_to(certificate.path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert _open(encrypted_server).num_classes == 4


def test_a_server_that_is_not_trusted_is_named(encrypted_server, certificate, caplog):
    message = f"--server={encrypted_server.address}: .*--server_ca_certificate"
    with pytest.raises(retrying.ServerError, match=message):
        _open(encrypted_server)
    encrypted_server.address = encrypted_server.address.replace("localhost", "127.0.0.1")
    message = f"--server={encrypted_server.address}: .*--server_ca_certificate"
    with pytest.raises(retrying.ServerError, match=message):
        _open(encrypted_server, server_ca_certificate=str(certificate.path))
    assert not encrypted_server.requests
    assert "trying again" not in caplog.text


def test_a_server_without_encryption_is_named(server, certificate):
    scheme = "https" if server.address.startswith("http://") else "grpcs"
    server.address = f"{scheme}://{server.address.removeprefix('http://')}"
    with pytest.raises(retrying.ServerError, match=f"--server={server.address}: there is no enc"):
        _open(server, server_ca_certificate=str(certificate.path))


def test_a_file_that_is_no_certificate_is_named(encrypted_server, certificate, tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    for path in (tmp_path / "ca.pem", certificate.key):
        with pytest.raises(ValueError, match=f"--server_ca_certificate={path} is no file of cert"):
            _open(encrypted_server, server_ca_certificate=str(path))
    with pytest.raises(FileNotFoundError, match=r"none\.pem"):
        _open(encrypted_server, server_ca_certificate=str(tmp_path / "none.pem"))


def test_messages_of_more_than_4_megabytes_pass(server):
    image = np.tile(tiny.picture(1, 7), (2000, 350, 1))
    np.testing.assert_array_equal(_open(server).predict(image), image[..., 0] % 4)


def test_a_server_that_is_not_ready_is_asked_again(server, caplog):
    error = _UNAVAILABLE[server.address.startswith("http")]
    server.errors += [error, error]
    network = _open(server)
    assert caplog.text.count("is not available") == 2
    assert "trying again in 0 s" in caplog.text
    server.errors.append(error)
    assert network.predict(tiny.picture(3, 4)).shape == (3, 4)
    server.errors += [error] * 3
    with pytest.raises(retrying.Unavailable, match=rf"--server={server.address} is not available"):
        network.predict(tiny.picture(3, 4))


def test_a_server_that_is_not_there_is_named():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    for address, flag in (("", "--port"), ("http://", "--rest_api_port")):
        options = ServerOptions(server=f"{address}localhost:{port}", server_timeout=5)
        message = f"--server={options.server} is not available.*{flag}"
        with pytest.raises(retrying.Unavailable, match=message):
            ServedNetwork(options)


def test_another_model_is_named(server):
    with pytest.raises(retrying.ServerError, match=r"has no model 'other' \(--model_name\)"):
        _open(server, model_name="other")
    message = r"has no model 'other' of version 3 \(--model_name, --model_version\)"
    with pytest.raises(retrying.ServerError, match=message):
        _open(server, model_name="other", model_version=3)


def test_the_version_is_sent(rest_server, grpc_server):
    _open(rest_server, model_version=7).predict(tiny.picture(3, 4))
    assert rest_server.requests == [
        "/v1/models/deeplab/versions/7/metadata",
        "/v1/models/deeplab/versions/7:predict",
    ]
    _open(grpc_server, model_version=7).predict(tiny.picture(3, 4))
    # Field 2 of the specification, a wrapped number.
    assert all(b"\x12\x02\x08\x07" in request for request in grpc_server.requests)


def test_a_signature_that_is_missing_is_named(server):
    server.signatures = {"serving_bytes": server.signatures["serving_png"]}
    server.signatures["serving_bytes"] = ({"image_bytes": (-1,)}, {"Status": (-1,)})
    with pytest.raises(retrying.ServerError, match="has no signature serving_.*, only serving_byt"):
        _open(server)


def test_an_image_that_is_refused_is_no_error_of_the_server(server):
    server.largest = 20
    network = _open(server)
    with pytest.raises(retrying.Refused, match="too large|more pixels than the export's --max_pix"):
        network.predict(tiny.picture(9, 9))
    assert network.predict(tiny.picture(3, 4)).shape == (3, 4)


def test_the_number_of_classes_may_be_unknown(server):
    server.signatures = {
        name: (inputs, {key: each for key, each in outputs.items() if "Prob" not in key})
        for name, (inputs, outputs) in server.signatures.items()
    }
    assert _open(server).num_classes is None


def test_an_answer_that_takes_too_long_names_the_flag():
    with socket.socket() as silent:
        silent.bind(("localhost", 0))
        silent.listen()
        port = silent.getsockname()[1]
        options = ServerOptions(server=f"http://localhost:{port}", server_timeout=0.1)
        with pytest.raises(retrying.Refused, match=r"within 0.1 seconds \(--server_timeout\)"):
            ServedNetwork(options)


def test_grpc_answers_that_take_too_long_name_the_flag(grpc_server):
    grpc_server.errors.append(grpc.StatusCode.DEADLINE_EXCEEDED)
    with pytest.raises(retrying.Refused, match=r"within 60 seconds \(--server_timeout\)"):
        _open(grpc_server)


_HEADER = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"", "is not available by HTTP"),
        (_HEADER + b'{"metadata"', "is not available by HTTP"),
        (b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n", "429 Too Many Requests"),
        (b"nonsense\r\n\r\n", "does not answer as the REST interface"),
    ],
    ids=["nothing", "a part", "too many", "nonsense"],
)
def test_a_server_that_ends_while_it_answers_is_named(sent, message):
    def answer():
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.recv(1 << 16)
                connection.sendall(sent)

    with socket.create_server(("localhost", 0)) as listening:
        thread = threading.Thread(target=answer)
        thread.start()
        address = f"http://localhost:{listening.getsockname()[1]}"
        options = ServerOptions(server=address, server_timeout=5)
        with pytest.raises(retrying.ServerError, match=f"--server={address} .*{message}"):
            ServedNetwork(options)
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)
    assert not thread.is_alive()


def test_an_answer_that_stops_in_the_middle_names_the_flag():
    with socket.create_server(("localhost", 0)) as listening:

        def answer():
            connection, _ = listening.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(_HEADER)
                done.wait(10)

        done = threading.Event()
        thread = threading.Thread(target=answer)
        thread.start()
        address = f"http://localhost:{listening.getsockname()[1]}"
        options = ServerOptions(server=address, server_timeout=0.1)
        with pytest.raises(retrying.Refused, match=r"within 0.1 seconds \(--server_timeout\)"):
            ServedNetwork(options)
        done.set()
        thread.join()


def test_the_port_of_the_other_interface_is_no_answer(grpc_server, rest_server):
    rest = ServerOptions(server=f"http://{grpc_server.address}", server_timeout=5)
    with pytest.raises(retrying.ServerError, match=f"--server={rest.server}"):
        ServedNetwork(rest)
    by_grpc = ServerOptions(server=rest_server.address.removeprefix("http://"), server_timeout=5)
    with pytest.raises(retrying.ServerError, match=f"--server={by_grpc.server} is not available"):
        ServedNetwork(by_grpc)


@pytest.mark.parametrize(
    "body",
    [
        *(b"<html>", b"[]", b'{"metadata": 3}', b'{"predictions": []}', b"[" * 100_000),
        b'{"metadata": {"signature_def": {"signature_def": {"a": {"inputs": {"b":'
        b' {"tensor_shape": {"dim": [{"size": Infinity}]}}}}}}}}',
    ],
)
def test_answers_of_other_servers_are_named(rest_server, monkeypatch, body):
    monkeypatch.setattr(rest_client.RestClient, "_send", lambda *arguments: body)
    with pytest.raises(retrying.ServerError, match="does not answer as the REST interface"):
        _open(rest_server)


_PNG = tiny.png(np.ones((3, 4), np.uint8))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "returned 0 results of one image"),
        ([{"Status": 0, "label_png_bytes": _PNG}] * 2, "returned 2 results of one image"),
        ([{"Status": 0, "label_png_bytes": b""}], "has not returned a gray PNG file"),
        ([{"Status": 0, "label_png_bytes": _PNG[:40]}], "has not returned a gray PNG file"),
        ([{"Status": 0, "label_png_bytes": 7}], "has not returned a gray PNG file"),
        # 60000 x 60000 pixels, as its header says.
        (
            [{"Status": 0, "label_png_bytes": _PNG[:16] + b"\0\0\xea\x60" * 2 + _PNG[24:]}],
            "has not returned a gray PNG file",
        ),
    ],
)
def test_results_that_are_no_labels_are_named(rest_server, monkeypatch, rows, message):
    network = _open(rest_server)
    rows = [
        {
            name: {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
            for name, value in row.items()
        }
        for row in rows
    ]
    answer = json.dumps({"predictions": rows}).encode()
    monkeypatch.setattr(rest_client.RestClient, "_send", lambda *arguments: answer)
    with pytest.raises(retrying.ServerError, match=f"--server={rest_server.address} {message}"):
        network.predict(tiny.picture(3, 4))


def test_labels_that_are_fractions_are_named(grpc_server, monkeypatch):
    network = _open(grpc_server)
    labels = {"SemanticPredictions": np.zeros((1, 3, 4), np.float32)}
    monkeypatch.setattr(network._client, "call", lambda *arguments: labels)
    with pytest.raises(retrying.ServerError, match="returned labels of the type float32"):
        network.predict(tiny.picture(3, 4))


def test_earlier_exports_return_the_file_alone(rest_server, monkeypatch):
    rest_server.signatures["serving_png"] = ({"image_bytes": (-1,)}, {"label_png_bytes": (-1,)})
    network = _open(rest_server)
    file = {"b64": base64.b64encode(tiny.png(np.ones((3, 4), np.uint8))).decode()}
    answer = json.dumps({"predictions": [file]}).encode()
    monkeypatch.setattr(rest_client.RestClient, "_send", lambda *arguments: answer)
    np.testing.assert_array_equal(network.predict(tiny.picture(3, 4)), np.ones((3, 4)))
