"""The signatures of a SavedModel: pixels or files in; labels, probabilities or files out."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from deeplab.core.options import ExportOptions, InferenceOptions
from deeplab.export import decoding, inference_graph

DEFAULT = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
# The signature of pixels, if it is not the default one.
PIXELS = "serving_pixels"
LABELS = "serving_labels"
BYTES = "serving_bytes"
PNG = "serving_png"
COLOR_PNG = "serving_color_png"
# Inputs and outputs of the signatures that take files. The REST interface of TensorFlow Serving
# expects base64 for a tensor whose name ends in _bytes.
IMAGE_BYTES = "image_bytes"
IMAGE_SIZE = "ImageSize"
STATUS = "Status"
LABEL_PNG = "label_png_bytes"
COLOR_LABEL_PNG = "color_png_bytes"

_Outputs = dict[str, tf.Tensor]
_Function = Callable[..., Any]


def label_type(num_classes: int) -> tf.DType:
    """Return the smallest type that holds the labels of this many classes."""
    return tf.uint8 if num_classes <= 256 else tf.uint16


def signatures(
    net: inference_graph.Network,
    inference: InferenceOptions,
    options: ExportOptions,
    colors: np.ndarray,
    ignore_label: int = 255,
) -> dict[str, _Function]:
    """Return the signatures of a SavedModel.

    The network processes files one by one, so that the result of an image does not depend on the
    others. A file that cannot be read has a `Status` other than 0 (`decoding.decode`), the size
    0x0, and an empty string in place of a PNG file.

    Args:
        net: The network.
        inference: How it is applied.
        options: Options of the SavedModel.
        colors: Colors of the classes, uint8 [at least num_classes, 3], RGB.
        ignore_label: Label of the padding between images of different sizes.

    Returns:
        Functions of one tensor that return a dict of tensors:
        serving_default: The one that the options choose. By default `ImageTensor`, uint8
            [B, H, W, 3] -> the outputs of `predict_outputs`.
        serving_labels: `ImageTensor` -> `SemanticPredictions`, of the smallest type.
        serving_bytes: `image_bytes`, string [B], the contents of image files of any sizes ->
            `Status`, int32 [B]; `ImageSize`, int32 [B, 2], their heights and widths; and
            `SemanticPredictions` and `SemanticProbabilities` with the largest height and width.
            Outside of an image labels are the ignore label and probabilities 0.
        serving_png: `image_bytes` -> `Status` and `label_png_bytes`, string [B], the labels of each
            image as a gray PNG file of its size.
        serving_color_png: `image_bytes` -> `Status` and `color_png_bytes`, in the classes' colors.
    """
    small = label_type(net.options.num_classes)
    images_spec = tf.TensorSpec((None, None, None, 3), tf.uint8, inference_graph.INPUT)

    @_signature(images_spec)
    def pixels(images: tf.Tensor) -> _Outputs:
        images, count = _rgb(images)
        outputs = inference_graph.predict_outputs(net, images, inference, by_cells=True)
        logits = outputs.pop(inference_graph.LOGITS, None)
        if not options.add_probabilities:
            outputs = {
                name: outputs[name]
                for name in (inference_graph.PREDICTIONS, inference_graph.RAW_PREDICTIONS)
            }
        if options.add_logits:
            if logits is None:
                logits = inference_graph.logits_on_their_grid(net, images)
            outputs[inference_graph.LOGITS] = logits
        return {name: value[:count] for name, value in outputs.items()}

    def find_labels(images: tf.Tensor) -> tf.Tensor:
        """Return labels, int32 [B, H, W]."""
        if inference.window and not inference.crf:
            images, count = _rgb(images)
            return inference_graph.labels_in_windows(net, images, inference)[:count]
        # TensorFlow does not compute the outputs that are not used.
        return pixels(images)[inference_graph.PREDICTIONS]

    @_signature(images_spec)
    def labels(images: tf.Tensor) -> _Outputs:
        return {inference_graph.PREDICTIONS: tf.cast(find_labels(images), small)}

    # A function, so that it is traced once for all signatures.
    @_signature(tf.TensorSpec((), tf.string))
    def decode(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return decoding.decode(data, options.max_pixels, options.exif_orientation)

    def predict(image: tf.Tensor) -> _Outputs:
        """Return labels, int32 [H, W], and requested probabilities of a decoded image."""
        outputs = pixels(image[tf.newaxis])
        names = [inference_graph.PREDICTIONS]
        if options.add_probabilities:
            names.append(inference_graph.PROBABILITIES)
        return {name: outputs[name][0] for name in names}

    def nothing() -> _Outputs:
        outputs = {inference_graph.PREDICTIONS: tf.zeros([0, 0], tf.int32)}
        if options.add_probabilities:
            outputs[inference_graph.PROBABILITIES] = tf.zeros([0, 0, net.options.num_classes])
        return outputs

    @_signature(tf.TensorSpec((None,), tf.string, IMAGE_BYTES))
    def files(image_bytes: tf.Tensor) -> _Outputs:
        # An empty batch gets an empty file, because results of no files could not be stacked.
        count = tf.size(image_bytes)
        missing = tf.cast(tf.equal(count, 0), tf.int32)
        status, sizes, images = _decode_all(
            tf.concat([image_bytes, tf.fill([missing], b"")], axis=0), decode
        )
        largest = tf.reduce_max(sizes, axis=0)

        def one(index: tf.Tensor) -> _Outputs:
            is_fine = tf.equal(status[index], decoding.FINE)
            outputs = tf.cond(is_fine, lambda: predict(images.read(index)), nothing)
            below, right = tf.unstack(largest - sizes[index])
            return {
                name: tf.pad(
                    value,
                    [[0, below], [0, right], [0, 0]][: len(value.shape)],
                    constant_values=ignore_label if value.dtype == tf.int32 else 0,
                )
                for name, value in outputs.items()
            }

        outputs = tf.map_fn(
            one,
            tf.range(count + missing),
            fn_output_signature=tf.nest.map_structure(
                lambda value: tf.TensorSpec((None, None, *value.shape[2:]), value.dtype),
                nothing(),
            ),
            parallel_iterations=1,
        )
        outputs = {**outputs, IMAGE_SIZE: sizes, STATUS: status}
        return {name: value[:count] for name, value in outputs.items()}

    @functools.cache
    def drawing(pixel_type: tf.DType) -> _Function:
        """Return a function that draws PNG files of image files with a table, [labels, C]."""

        @_signature(tf.TensorSpec((None,), tf.string), tf.TensorSpec((None, None), pixel_type))
        def draw(image_bytes: tf.Tensor, table: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            def one(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                status, image = decode(data)

                def png() -> tf.Tensor:
                    found = find_labels(image[tf.newaxis])[0]
                    return tf.io.encode_png(tf.gather(table, found))

                is_fine = tf.equal(status, decoding.FINE)
                return status, tf.cond(is_fine, png, lambda: tf.constant(b""))

            specs = (tf.TensorSpec((), tf.int32), tf.TensorSpec((), tf.string))
            return tf.map_fn(one, image_bytes, fn_output_signature=specs, parallel_iterations=1)

        return draw

    def png_files(name: str, table: np.ndarray) -> _Function:
        """Return a signature that draws labels as the pixels of a PNG file."""

        @_signature(tf.TensorSpec((None,), tf.string, IMAGE_BYTES))
        def function(image_bytes: tf.Tensor) -> _Outputs:
            status, drawn = drawing(tf.as_dtype(table.dtype))(image_bytes, tf.constant(table))
            return {STATUS: status, name: drawn}

        return function

    grays = np.arange(net.options.num_classes, dtype=small.as_numpy_dtype)[:, np.newaxis]
    pngs = png_files(LABEL_PNG, grays)
    color_pngs = png_files(COLOR_LABEL_PNG, colors.astype(np.uint8))
    kinds = {"pixels": pixels, "labels": labels, "bytes": files, "png": pngs}
    named = {LABELS: labels, BYTES: files, PNG: pngs, COLOR_PNG: color_pngs}
    if options.default_signature != "pixels":
        named[PIXELS] = pixels
    return {DEFAULT: kinds[options.default_signature], **named}


def _signature(*specs: tf.TensorSpec) -> Callable[[_Function], _Function]:
    return tf.function(input_signature=specs, autograph=False)


def _rgb(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return images for the network, and the number of results to keep.

    Images without three channels are an error. A server does not check this, and a single channel
    would be broadcast. An empty batch gets an image, because oneDNN's convolutions fail without.
    """
    name = f"{inference_graph.INPUT}_must_have_3_channels"
    images = tf.ensure_shape(images, (None, None, None, 3), name=name)
    count = tf.shape(images)[0]
    missing = tf.cast(tf.equal(count, 0), tf.int32)
    return tf.pad(images, [[0, missing], [0, 0], [0, 0], [0, 0]]), count


def _decode_all(
    image_bytes: tf.Tensor, decode: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
    """Return status, int32 [B], and size, int32 [B, 2], of each file, and the images."""
    count = tf.size(image_bytes)
    shapes = {"status": (), "sizes": (2,), "images": (None, None, 3)}
    types = {"status": tf.int32, "sizes": tf.int32, "images": tf.uint8}
    arrays = tuple(
        tf.TensorArray(types[name], count, element_shape=shape, infer_shape=False)
        for name, shape in shapes.items()
    )

    def add(index: tf.Tensor, *arrays: tf.TensorArray) -> tuple:
        status, image = decode(image_bytes[index])
        values = status, tf.shape(image)[:2], image
        return (
            index + 1,
            *(array.write(index, value) for array, value in zip(arrays, values, strict=True)),
        )

    _, status, sizes, images = tf.while_loop(
        lambda index, *_: index < count, add, (0, *arrays), parallel_iterations=1
    )
    return status.stack(), tf.ensure_shape(sizes.stack(), (None, 2)), images
