"""The exported graph: official names, types and numbers; and what is ours alone."""

import functools
from collections.abc import Mapping

import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, model
from deeplab.core import layers
from deeplab.core.options import InferenceOptions
from deeplab.export import inference_graph
from deeplab.testing import golden, tiny
from deeplab.utils import checkpoint

# What the official exports of the golden data were made with.
OPTIONS = common.ModelOptions(depth_multiplier=0.35, output_stride=16, crop_size=(65, 65))
EXPORTS = {
    "plain": {},
    "resize": {"min_resize_value": 65, "max_resize_value": 65, "resize_factor": 16},
    "crop_65x97": {"crop_size": (65, 97)},
    "multiscale_flip": {},
}
SEEING = {"multiscale_flip": {"eval_scales": (0.5, 1.0, 1.5), "add_flipped_images": True}}
FACTS, ARRAYS = golden.misc("export")
RUNS = [(export, size) for export in EXPORTS for size in FACTS[export]["runs"]]
OFFICIAL_RUNS = [run for run in RUNS if "error" not in FACTS[run[0]]["runs"][run[1]]]
OFFICIAL_ERRORS = [
    pytest.param(*run, marks=pytest.mark.slow) if run[0] in SEEING else run
    for run in RUNS
    if run not in OFFICIAL_RUNS
]


@functools.cache
def network(**changes) -> model.DeepLab:
    net = model.DeepLab(OPTIONS.replace(**changes))
    golden.assign(checkpoint.official_variables(net))
    return net


@functools.cache
def frozen(export: str) -> tuple[tf.compat.v1.GraphDef, tf.compat.v1.GraphDef]:
    net = network(**EXPORTS[export])
    return inference_graph.frozen(net, InferenceOptions(**SEEING.get(export, {})))


@functools.cache
def session(export: str) -> tf.compat.v1.Session:
    graph_def, _ = frozen(export)
    with tf.Graph().as_default() as graph:
        tf.compat.v1.import_graph_def(graph_def, name="")
    with tiny.unoptimized():
        return tf.compat.v1.Session(graph=graph)


def run(export: str, image: np.ndarray) -> Mapping[str, np.ndarray]:
    fetches = {name: f"{name}:0" for name in inference_graph.OUTPUTS}
    return session(export).run(fetches, {"ImageTensor:0": image})


class TestOfficialGraph:
    @pytest.mark.slow
    @pytest.mark.parametrize("export", EXPORTS)
    def test_has_the_official_tensors(self, export):
        graph = session(export).graph
        operations = {operation.name: operation for operation in graph.get_operations()}
        assert [name for name in FACTS[export]["has"] if name not in operations] == []
        (placeholder,) = (op for op in operations.values() if op.type == "Placeholder")
        assert placeholder.outputs[0].shape.as_list() == [1, None, None, 3]
        assert placeholder.outputs[0].dtype == tf.uint8
        assert graph.get_tensor_by_name("ArgMax:0").dtype == tf.int64

    @pytest.mark.parametrize(
        ("export", "size"),
        [
            run if run[0] == "plain" else pytest.param(*run, marks=pytest.mark.slow)
            for run in OFFICIAL_RUNS
        ],
    )
    def test_computes_the_official_numbers(self, export, size):
        facts = FACTS[export]["runs"][size]
        outputs = run(export, ARRAYS[f"image/{size}"])
        labels, probabilities = outputs["SemanticPredictions"], outputs["SemanticProbabilities"]
        raw = outputs["RawSemanticPredictions"]
        for key, output in (("semantic", labels), ("prob", probabilities), ("raw", raw)):
            assert [list(output.shape), output.dtype.name] == facts[key]
        assert outputs["RawSemanticProbabilities"].shape == (*raw.shape, 21)
        np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-5)
        if export in SEEING:
            # The official code takes the softmax of the mean softmax.
            probabilities = tf.nn.softmax(probabilities).numpy()
        official = ARRAYS[f"{export}/{size}/prob_sub4"]
        np.testing.assert_allclose(probabilities[:, ::4, ::4], official, rtol=0, atol=1e-4)
        assert np.mean(labels == ARRAYS[f"{export}/{size}/semantic"]) >= 0.999
        assert np.mean(raw == ARRAYS[f"{export}/{size}/raw"]) >= 0.999

    @pytest.mark.slow
    @pytest.mark.parametrize(("export", "size"), OFFICIAL_ERRORS)
    def test_takes_images_larger_than_the_crop(self, export, size):
        image = ARRAYS[f"image/{size}"]
        height, width = image.shape[1:3]
        outputs = run(export, image)
        net = network(**EXPORTS[export])
        size = np.maximum(net.options.crop_size, (height, width))
        padded = np.full((1, *size, 3), 127.5, np.float32)
        padded[:, :height, :width] = image
        labels, probabilities = model.predict_labels(net, padded, **SEEING.get(export, {}))
        assert np.mean(outputs["RawSemanticPredictions"] == labels) >= 0.999
        assert np.mean(outputs["SemanticPredictions"] == labels[:, :height, :width]) >= 0.999
        np.testing.assert_allclose(
            outputs["SemanticProbabilities"], probabilities[:, :height, :width], atol=1e-5
        )

    def test_has_the_graph_without_weights(self):
        whole, without = frozen("plain")
        names = {node.name for node in without.node}
        assert names >= {"ImageTensor", "ArgMax", *inference_graph.OUTPUTS}
        assert without.ByteSize() < whole.ByteSize() / 2
        assert "ReadVariableOp" in {node.op for node in without.node}

    @pytest.mark.slow
    def test_arg_max_is_where_the_labels_are_found(self):
        with tiny.shallow():
            net = tiny.network(OPTIONS.replace(prediction_with_upsampled_logits=False))
        graph_def, _ = inference_graph.frozen(net)
        with tiny.unoptimized(), tf.Graph().as_default(), tf.compat.v1.Session() as coarse:
            tf.compat.v1.import_graph_def(graph_def, name="")
            for run_session, shape in ((coarse, (1, 5, 5)), (session("plain"), (1, 65, 65))):
                raw, found = run_session.run(
                    ["RawSemanticPredictions:0", "ArgMax:0"],
                    {"ImageTensor:0": ARRAYS["image/65x65"]},
                )
                assert raw.shape == (1, 65, 65)
                assert found.shape == shape
                assert set(np.unique(found)) == set(np.unique(raw))

    def test_refuses_operations_that_do_not_run_everywhere(self, monkeypatch):
        def convolve(self, x, kernel, padding):
            strides = (1, self.stride, self.stride, 1)
            return tf.raw_ops.DepthwiseConv2dNative(
                input=x,
                filter=kernel,
                strides=strides,
                padding=padding,
                dilations=(1, *self.rate, 1),
            )

        monkeypatch.setattr(layers.DepthwiseConv2D, "convolve", convolve)
        with pytest.raises(ValueError, match="expanded_conv_.*does not run on every machine"):
            inference_graph.frozen(tiny.shared_network())


class TestPredict:
    def test_batches_are_images_on_their_own(self):
        images = np.concatenate([ARRAYS["image/100x80"], ARRAYS["image/100x80"][:, ::-1]])
        outputs = inference_graph.predict_outputs(network(), tf.constant(images))
        for index in range(2):
            alone = inference_graph.predict_outputs(
                network(), tf.constant(images[index : index + 1])
            )
            for name, values in alone.items():
                np.testing.assert_allclose(outputs[name][index], values[0], atol=1e-5)

    def test_flips_are_seen_at_a_single_scale_too(self):
        image = ARRAYS["image/65x65"]
        inference = InferenceOptions(add_flipped_images=True)
        seen, mirrored = (
            inference_graph.predict_outputs(network(), tf.constant(pixels), inference)
            for pixels in (image, np.ascontiguousarray(image[:, :, ::-1]))
        )
        for name in inference_graph.OUTPUTS:
            np.testing.assert_allclose(seen[name], mirrored[name][:, :, ::-1], atol=1e-5)

    def test_leaves_the_network_as_it_was(self):
        net = network()
        preprocess = net.preprocess
        inference_graph.predict_outputs(net, tf.constant(ARRAYS["image/65x65"]))
        assert net.preprocess is preprocess
