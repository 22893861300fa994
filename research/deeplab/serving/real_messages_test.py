"""The client gets the labels of an export from a server with the messages of TensorFlow Serving."""

import numpy as np
import pytest

from deeplab.core.options import ServerOptions
from deeplab.export import runtimes
from deeplab.serving import retrying
from deeplab.serving.served_network import ServedNetwork
from deeplab.testing import tiny

pytest.importorskip("tensorflow_serving", reason="tensorflow-serving-api is not installed")
from deeplab.testing import tf_serving  # noqa: E402


@pytest.mark.slow
@tiny.unoptimized()
def test_both_interfaces_give_the_labels_of_the_export(served):
    network = runtimes.open_network(str(served))
    images = [tiny.picture(*size) for size in ((33, 33), (20, 41), (1, 1))]
    expected = [network.predict(image) for image in images]
    assert len(np.unique(expected[1])) > 1
    with tf_serving.serving({"deeplab": str(served)}) as server:
        for address in (server.grpc_address, server.rest_address):
            client = ServedNetwork(ServerOptions(server=address, model_version=1))
            assert client.num_classes == 4
            for image, labels in zip(images, expected, strict=True):
                np.testing.assert_array_equal(client.predict(image), labels)
            with pytest.raises(retrying.ServerError, match="has no model 'deeplab' of version 2"):
                ServedNetwork(ServerOptions(server=address, model_version=2))
        # The last client is that of files, which the export limits.
        with pytest.raises(retrying.Refused, match=r"--max_pixels \(Status 4\)"):
            client.predict(tiny.picture(101, 101))
