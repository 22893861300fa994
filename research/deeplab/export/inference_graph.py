"""The graph of an export: from images as they are to the official outputs, under official names."""

import tensorflow as tf

from deeplab import input_preprocess, model
from deeplab.core import dense_crf, keras_internals, utils
from deeplab.core.options import InferenceOptions

INPUT = "ImageTensor"
PREDICTIONS = "SemanticPredictions"
PROBABILITIES = "SemanticProbabilities"
# The same before they are cropped and resized to the image.
RAW_PREDICTIONS = "RawSemanticPredictions"
RAW_PROBABILITIES = "RawSemanticProbabilities"
OUTPUTS = (PREDICTIONS, PROBABILITIES, RAW_PREDICTIONS, RAW_PROBABILITIES)
# Signatures of a SavedModel: from images, from files, and from files to files.
SERVING_IMAGES = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
SERVING_BYTES = "serving_bytes"
SERVING_PNG = "serving_png"
# Inputs and outputs of the last two. The REST interface of TensorFlow Serving expects base64 for a
# tensor whose name ends in _bytes.
IMAGE_BYTES = "image_bytes"
IMAGE_SIZE = "ImageSize"
LABEL_PNG = "label_png_bytes"

# The labels on the grid of the logits; the output of TFLite models.
_ARG_MAX = "ArgMax"


_DEFAULT = InferenceOptions()

_Function = tf.types.experimental.PolymorphicFunction


def predict_outputs(
    net: model.DeepLab,
    images: tf.Tensor,
    inference: InferenceOptions = _DEFAULT,
) -> dict[str, tf.Tensor]:
    """Return labels and probabilities of images of any size.

    The images are resized if the network's options ask for it, and padded below and right to the
    crop size with the mean pixel; larger ones keep their size. The results are cropped and resized
    back.

    Args:
        net: the network.
        images: uint8 [B, H, W, 3], RGB.
        inference: how the network is applied.

    Returns:
        SemanticPredictions: labels, int32 [B, H, W].
        SemanticProbabilities: float32 [B, H, W, num_classes].
        RawSemanticPredictions: labels of the resized and padded images, before the CRF, float32.
        RawSemanticProbabilities: their probabilities, before the CRF.

    Reference: official `export_model.py`. Probabilities of several scales sum to one here.
    """
    options = net.options
    size = tf.shape(images)[1:3]
    resized, padded, _ = input_preprocess.preprocess_for_evaluation(
        images, None, net.preprocessing()
    )
    resized_size = tf.shape(resized)[1:3]
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
    }


def signatures(net: model.DeepLab, inference: InferenceOptions = _DEFAULT) -> dict[str, _Function]:
    """Return the signatures of a SavedModel.

    Args:
        net: the network.
        inference: how the network is applied.

    Returns:
        Functions of one tensor that return a dict of tensors:
        serving_default: `ImageTensor`, uint8 [B, H, W, 3] -> the outputs of `predict`.
        serving_bytes: `image_bytes`, string [B], the bytes of JPEG or PNG files of any sizes ->
            `ImageSize`, int32 [B, 2], their heights and widths, and `SemanticPredictions` and
            `SemanticProbabilities` with the largest height and width of the batch. Outside of an
            image labels are -1 and probabilities 0.
        serving_png: `image_bytes` -> `label_png_bytes`, string [B], the labels of each image as
            the bytes of a gray PNG file of its size.
    """

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, INPUT)])
    def serving_default(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return predict_outputs(net, images, inference)

    # Each image goes through the network alone, so its results do not depend on the others.
    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, IMAGE_BYTES)])
    def serving_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        sizes = tf.map_fn(
            lambda data: tf.shape(_decode(data))[:2],
            image_bytes,
            fn_output_signature=tf.TensorSpec((2,), tf.int32),
        )
        largest = tf.reduce_max(sizes, axis=0)

        def one(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # Decoded again: this costs little beside the network, and keeps only one image.
            image = _decode(data)
            outputs = serving_default(image[tf.newaxis])
            below, right = tf.unstack(largest - tf.shape(image)[:2])
            paddings = [[0, below], [0, right]]
            return (
                tf.pad(outputs[PREDICTIONS][0], paddings, constant_values=-1),
                tf.pad(outputs[PROBABILITIES][0], [*paddings, [0, 0]]),
            )

        labels, probabilities = tf.map_fn(
            one,
            image_bytes,
            fn_output_signature=(
                tf.TensorSpec((None, None), tf.int32),
                tf.TensorSpec((None, None, net.options.num_classes), tf.float32),
            ),
            parallel_iterations=1,
        )
        return {PREDICTIONS: labels, PROBABILITIES: probabilities, IMAGE_SIZE: sizes}

    label_type = tf.uint8 if net.options.num_classes <= 256 else tf.uint16

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, IMAGE_BYTES)])
    def serving_png(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        def one(data: tf.Tensor) -> tf.Tensor:
            outputs = serving_default(_decode(data)[tf.newaxis])
            labels = tf.cast(outputs[PREDICTIONS][0], label_type)
            return tf.io.encode_png(labels[..., tf.newaxis])

        signature = tf.TensorSpec((), tf.string)
        pngs = tf.map_fn(one, image_bytes, fn_output_signature=signature, parallel_iterations=1)
        return {LABEL_PNG: pngs}

    return {
        SERVING_IMAGES: _portable(serving_default),
        SERVING_BYTES: serving_bytes,
        SERVING_PNG: serving_png,
    }


def frozen(
    net: model.DeepLab, inference: InferenceOptions = _DEFAULT
) -> tuple[tf.compat.v1.GraphDef, tf.compat.v1.GraphDef]:
    """Return the official frozen graph.

    Its tensors are `ImageTensor:0`, uint8 [1, H, W, 3]; the outputs of `predict_outputs`, by their
    names; `ArgMax:0`, the labels on the grid of the logits, int64; and the preprocessed image
    `<scope>/<scope>/input:0`, such as `MobilenetV2/MobilenetV2/input:0`.

    Args:
        net: the network.
        inference: how the network is applied.

    Returns:
        The graph with the weights as constants, and the graph without them.
    """

    @tf.function(input_signature=[tf.TensorSpec((1, None, None, 3), tf.uint8, INPUT)])
    def function(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return predict_outputs(net, images, inference)

    concrete = _portable(function).get_concrete_function()
    graphs = keras_internals.frozen(concrete), concrete.graph
    with_weights, without = (_official(graph.as_graph_def(add_shapes=True)) for graph in graphs)
    return with_weights, without


def _portable(function: _Function) -> _Function:
    """Return the function; reject a graph that does not run on every machine.

    Not every CPU kernel of depthwise convolution supports atrous rates (oneDNN's does).
    `tf.nn.depthwise_conv2d` moves pixels apart for a plain convolution, which runs everywhere.
    """
    for node in function.get_concrete_function().graph.as_graph_def().node:
        dilations = node.attr["dilations"].list.i
        if node.op == "DepthwiseConv2dNative" and any(rate != 1 for rate in dilations):
            raise ValueError(f"the operation {node.name} does not run on every machine")
    return function


def _official(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """Keep what the official outputs need; give the arg-max its official type, int64."""
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


def _decode(data: tf.Tensor) -> tf.Tensor:
    """Return the image in the bytes of a JPEG or PNG file, uint8 [height, width, 3], RGB."""
    image = tf.io.decode_image(data, channels=3, expand_animations=False)
    return tf.ensure_shape(image, (None, None, 3))
