"""The graph of an export, from images to the official outputs with their official names."""

import itertools
from collections.abc import Iterator

import tensorflow as tf

from deeplab import input_preprocess, model
from deeplab.core import dense_crf, keras_internals, upsampled_labels, utils
from deeplab.core.options import InferenceOptions
from deeplab.export import traced_network, windowed

INPUT = "ImageTensor"
PREDICTIONS = "SemanticPredictions"
PROBABILITIES = "SemanticProbabilities"
# The labels and probabilities before they are cropped and resized to the image.
RAW_PREDICTIONS = "RawSemanticPredictions"
RAW_PROBABILITIES = "RawSemanticProbabilities"
# The logits on their own grid.
LOGITS = "SemanticLogits"
OUTPUTS = (PREDICTIONS, PROBABILITIES, RAW_PREDICTIONS, RAW_PROBABILITIES)

# The labels on the grid of the logits; the output of TFLite models.
_ARG_MAX = "ArgMax"

# The names of oneDNN's own operations begin with these.
_ONEDNN = ("_Mkl", "_OneDnn")

_DEFAULT = InferenceOptions()

Network = model.DeepLab | traced_network.TracedNetwork


def predict_outputs(
    net: Network,
    images: tf.Tensor,
    inference: InferenceOptions = _DEFAULT,
    *,
    by_cells: bool = False,
) -> dict[str, tf.Tensor]:
    """Return labels and probabilities of images of any size.

    The images are resized if the network's options ask for it, and padded below and right to the
    crop size with the mean pixel; larger ones keep their size. The results are cropped and resized
    back.

    Args:
        net: The network.
        images: uint8 [B, H, W, 3], RGB.
        inference: How the network is applied.
        by_cells: Find the labels with `upsampled_labels` where possible: the same labels in less
            time, but without a node `ArgMax`. Also returns the logits. Has no effect with windows.

    Returns:
        SemanticPredictions: labels, int32 [B, H, W].
        SemanticProbabilities: float32 [B, H, W, num_classes].
        RawSemanticPredictions: labels of the resized and padded images, before the CRF, float32.
        RawSemanticProbabilities: their probabilities, before the CRF.
        SemanticLogits: if `by_cells` has an effect; see `logits_on_their_grid`.

    Reference: official `export_model.py`. Probabilities of several scales sum to one here.
    """
    options = net.options
    more = {}
    size = tf.shape(images)[1:3]
    resized, padded, _ = input_preprocess.preprocess_for_evaluation(
        images, None, net.preprocessing()
    )
    resized_size = tf.shape(resized)[1:3]
    if inference.window:
        labels, probabilities = windowed.predict(
            net, padded, resized_size, inference, lambda *both: both
        )
    elif by_cells and _upsamples_logits(net, inference):
        logits, padded_size = net(padded, training=False), tf.shape(padded)[1:3]
        more[LOGITS] = logits
        labels = _arg_max(net, logits, padded_size)
        probabilities = tf.nn.softmax(utils.resize_bilinear(logits, padded_size))
    else:
        labels, probabilities = model.predict_labels(
            net, padded, inference.eval_scales, inference.add_flipped_images
        )
    raw_labels = tf.identity(tf.cast(labels, tf.float32), RAW_PREDICTIONS)
    raw_probabilities = tf.identity(probabilities, RAW_PROBABILITIES)
    labels = labels[:, : resized_size[0], : resized_size[1]]
    probabilities = probabilities[:, : resized_size[0], : resized_size[1]]
    if inference.crf:
        probabilities = dense_crf.refine(resized, probabilities, inference.crf)
        labels = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
    if options.min_resize_value:
        labels = utils.resize_nearest(labels[..., tf.newaxis], size)[..., 0]
        probabilities = utils.resize_bilinear(probabilities, size)
    return {
        PREDICTIONS: tf.identity(labels, PREDICTIONS),
        PROBABILITIES: tf.identity(probabilities, PROBABILITIES),
        RAW_PREDICTIONS: raw_labels,
        RAW_PROBABILITIES: raw_probabilities,
        **more,
    }


def labels_in_windows(net: Network, images: tf.Tensor, inference: InferenceOptions) -> tf.Tensor:
    """Return the labels of `predict_outputs`, without keeping probabilities in memory.

    Args:
        net: The network.
        images: uint8 [B, H, W, 3], RGB.
        inference: How the network is applied: with a window, and without a CRF.

    Returns:
        int32 [B, H, W].
    """
    resized, padded, _ = input_preprocess.preprocess_for_evaluation(
        images, None, net.preprocessing()
    )
    size = tf.shape(resized)[1:3]
    (labels,) = windowed.predict(net, padded, size, inference, lambda labels, _: (labels,))
    labels = labels[:, : size[0], : size[1]]
    if net.options.min_resize_value:
        labels = utils.resize_nearest(labels[..., tf.newaxis], tf.shape(images)[1:3])[..., 0]
    return labels


def logits_on_their_grid(net: Network, images: tf.Tensor) -> tf.Tensor:
    """Return the logits of the resized and padded images, float32 [B, h, w, num_classes]."""
    _, padded, _ = input_preprocess.preprocess_for_evaluation(images, None, net.preprocessing())
    return net(padded, training=False)


def _upsamples_logits(net: Network, inference: InferenceOptions) -> bool:
    """Return whether labels are the arg-max of one pass's upsampled logits."""
    one_pass = tuple(inference.eval_scales) == (1.0,) and not inference.add_flipped_images
    return one_pass and net.options.prediction_with_upsampled_logits


def _arg_max(net: Network, logits: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Return the labels of logits at the size of the padded images."""
    stride = net.logits_stride / max(1.0, *(net.options.image_pyramid or (1.0,)))
    return upsampled_labels.arg_max(logits, size, stride)


def frozen(
    net: model.DeepLab, inference: InferenceOptions = _DEFAULT
) -> tuple[tf.compat.v1.GraphDef, tf.compat.v1.GraphDef]:
    """Return the official frozen graph.

    Its tensors are `ImageTensor:0`, uint8 [1, H, W, 3]; the outputs of `predict_outputs`, by their
    names; `ArgMax:0`, the labels on the grid of the logits, int64; and the preprocessed image
    `<scope>/<scope>/input:0`, such as `MobilenetV2/MobilenetV2/input:0`.

    Args:
        net: The network.
        inference: How the network is applied; without windows.

    Returns:
        The graph with the weights as constants, and the graph without them.
    """

    spec = tf.TensorSpec((1, None, None, 3), tf.uint8, INPUT)

    @tf.function(input_signature=[spec], autograph=False)
    def function(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return predict_outputs(net, images, inference)

    concrete = function.get_concrete_function()
    check_portable(concrete)
    graphs = keras_internals.frozen(concrete), concrete.graph
    with_weights, without = (_official(graph.as_graph_def(add_shapes=True)) for graph in graphs)
    return with_weights, without


def check_portable(function: tf.types.experimental.ConcreteFunction) -> None:
    """Reject a graph that does not run on every machine.

    Not every CPU kernel of depthwise convolution supports atrous rates (oneDNN's does).
    `tf.nn.depthwise_conv2d` rearranges pixels for a plain convolution, which runs everywhere.

    Args:
        function: The function; those that it calls are checked as well.

    Raises:
        ValueError: An operation does not run everywhere.
    """
    for name in needing_onednn(function.graph.as_graph_def()):
        raise ValueError(f"the operation {name} does not run on every machine")


def needing_onednn(graph_def: tf.compat.v1.GraphDef) -> Iterator[str]:
    """Yield the operations of a graph and its functions that run with oneDNN only."""
    nodes = [graph_def.node, *(each.node_def for each in graph_def.library.function)]
    for node in itertools.chain.from_iterable(nodes):
        dilations = node.attr["dilations"].list.i
        is_dilated = node.op == "DepthwiseConv2dNative" and any(rate != 1 for rate in dilations)
        if is_dilated or node.op.startswith(_ONEDNN):
            yield node.name


def _official(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """Keep only what the official outputs need; give the arg-max its official type, int64."""
    nodes = {node.name: node for node in graph_def.node}
    needed, open_names = set(), list(OUTPUTS)
    while open_names:
        if (name := open_names.pop()) not in needed:
            needed.add(name)
            open_names += [edge.removeprefix("^").split(":")[0] for edge in nodes[name].input]
    for node in nodes.values():
        if node.name not in needed:
            graph_def.node.remove(node)
    narrow = f"{_ARG_MAX}/int32"
    for node in graph_def.node:
        node.input[:] = [narrow if edge == _ARG_MAX else edge for edge in node.input]
    nodes[_ARG_MAX].attr["output_type"].type = tf.int64.as_datatype_enum
    cast = graph_def.node.add(op="Cast", name=narrow, input=[_ARG_MAX])
    cast.attr["SrcT"].type = tf.int64.as_datatype_enum
    cast.attr["DstT"].type = tf.int32.as_datatype_enum
    return graph_def
