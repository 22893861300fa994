"""Dense CRF: predictions refined by where the image has its edges.

Every pixel is tied to every other one, by a Gaussian of their distance and by one of their distance
and colors; mean field finds the marginals.

Reference: Krähenbühl and Koltun, "Efficient inference in fully connected CRFs with Gaussian edge
potentials" (arXiv 1210.5644); DeepLab v1 (arXiv 1412.7062, section 3.2) and v2 (arXiv 1606.00915,
section 3.3).
"""

import functools
from collections.abc import Sequence

import tensorflow as tf

from deeplab.core import permutohedral
from deeplab.core.options import CrfOptions

# Least probability whose energy is finite.
_LEAST_PROBABILITY = 1e-12
# Added to the sums of a kernel, which are what is divided by.
_LEAST_SUM = 1e-20


def mean_field(
    images: tf.Tensor,
    unary: tf.Tensor,
    iterations: int = 10,
    pos_sxy: float = 3.0,
    pos_w: float = 3.0,
    bi_sxy: float = 67.0,
    bi_srgb: float = 3.0,
    bi_w: float = 4.0,
    normalization: str = "symmetric",
    compatibility: Sequence[Sequence[float]] | None = None,
) -> tf.Tensor:
    """Return the marginals of a dense CRF on each image, by mean field.

    Works eagerly, in a `tf.function` with unknown sizes and in an exported graph; the number of
    classes has to be known. The images of a batch have nothing to do with each other.

    Args:
        images: [B, H, W, 3], RGB 0..255, without padding, which would count as a part of the
            image; see `refine`.
        unary: Energies, [B, H, W, classes]: minus the logarithms of probabilities.
        iterations: Number of mean-field iterations; 0: the softmax of minus the energies.
        pos_sxy: Standard deviation of the spatial kernel in pixels.
        pos_w: Weight of the spatial kernel; 0 leaves it out.
        bi_sxy: Spatial standard deviation of the bilateral kernel in pixels.
        bi_srgb: Standard deviation of the bilateral kernel in color values, 0..255.
        bi_w: Weight of the bilateral kernel; 0 leaves it out.
        normalization: "symmetric" or "after"; see `CrfOptions`.
        compatibility: None: Potts; or a matrix [classes, classes] that takes the place of
            `-bi_w` times the identity for the bilateral kernel; `bi_w` then must not be 0.

    Returns:
        Probabilities, float32 [B, H, W, classes].

    Raises:
        ValueError: A parameter is out of range, or shapes do not match.
        InvalidArgumentError: When it runs: the sizes differ, or the standard deviations are too
            small for the image.
    """
    options = CrfOptions(
        iterations=iterations,
        pos_sxy=pos_sxy,
        pos_w=pos_w,
        bi_sxy=bi_sxy,
        bi_srgb=bi_srgb,
        bi_w=bi_w,
        normalization=normalization,
        compatibility=compatibility,
    )
    images, unary = _inputs("unary", images, unary)
    options.check_classes(unary.shape[-1])
    return tf.map_fn(
        lambda pair: _marginals(*pair, options),
        (images, unary),
        parallel_iterations=1,
        fn_output_signature=tf.TensorSpec(unary.shape[1:], tf.float32),
    )


def refine(
    images: tf.Tensor,
    probabilities: tf.Tensor,
    options: CrfOptions,
    sizes: tf.Tensor | None = None,
) -> tf.Tensor:
    """Return the marginals of a dense CRF whose unary terms are a network's probabilities.

    Args:
        images: [B, H, W, 3], RGB 0..255.
        probabilities: [B, H, W, classes].
        options: Options of the CRF.
        sizes: int [B, 2], heights and widths of the images; what is below and right of them is
            padding, which the CRF does not see. None: there is none.

    Returns:
        Probabilities, float32 [B, H, W, classes]; 0 in the padding.

    Raises:
        ValueError, InvalidArgumentError: As `mean_field`.
    """
    images, probabilities = _inputs("probabilities", images, probabilities)
    options.check_classes(probabilities.shape[-1])
    shape = tf.shape(images)
    if sizes is None:
        sizes = tf.tile(shape[tf.newaxis, 1:3], [shape[0], 1])

    def one(inputs: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        image, probability, size = inputs
        height, width = tf.unstack(size)
        energy = -tf.math.log(tf.maximum(probability[:height, :width], _LEAST_PROBABILITY))
        marginals = _marginals(image[:height, :width], energy, options)
        below, right = shape[1] - height, shape[2] - width
        return tf.pad(marginals, [[0, below], [0, right], [0, 0]])

    return tf.map_fn(
        one,
        (images, probabilities, tf.cast(sizes, tf.int32)),
        parallel_iterations=1,
        fn_output_signature=tf.TensorSpec(probabilities.shape[1:], tf.float32),
    )


def _inputs(name: str, images: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return images and values of their pixels as float32, and reject shapes that do not agree."""
    images = tf.cast(tf.convert_to_tensor(images), tf.float32)
    values = tf.cast(tf.convert_to_tensor(values), tf.float32)
    if images.shape.rank != 4 or images.shape[-1] != 3:
        raise ValueError(f"images are [batch, height, width, 3], not {images.shape}")
    if values.shape.rank != 4 or not values.shape[-1]:
        raise ValueError(f"{name} is [batch, height, width, classes], not {values.shape}")
    if not images.shape[:3].is_compatible_with(values.shape[:3]):
        raise ValueError(f"{name} is {values.shape} for images that are {images.shape}")
    return images, values


def _marginals(image: tf.Tensor, unary: tf.Tensor, options: CrfOptions) -> tf.Tensor:
    """Return the marginals of one image [H, W, 3]."""
    # Numbers are arguments of the graph, so that one graph serves all numbers.
    inputs = {
        "image": image,
        "unary": unary,
        "iterations": tf.constant(options.iterations, tf.int32),
    }
    if options.pos_w:
        names = ("pos_w", "pos_sxy")
        inputs["spatial"] = tf.constant([getattr(options, name) for name in names])
    if options.bi_w:
        names = ("bi_w", "bi_sxy", "bi_srgb")
        inputs["bilateral"] = tf.constant([getattr(options, name) for name in names])
        if options.compatibility is not None:
            inputs["compatibility"] = tf.constant(options.compatibility)
    signature = tuple(inputs), unary.shape[-1], options.normalization
    return _graph(*signature)(*inputs.values())


@functools.cache
def _graph(
    names: tuple[str, ...], classes: int, normalization: str
) -> tf.types.experimental.PolymorphicFunction:
    """Return a graph for images of all sizes, whose operations run in parallel in eager calls too.

    Args:
        names: Names of its inputs, in order; see `_marginals`.
        classes: Number of classes.
        normalization: As in `CrfOptions`.
    """
    specs = {
        "image": tf.TensorSpec([None, None, 3]),
        "unary": tf.TensorSpec([None, None, classes]),
        "iterations": tf.TensorSpec([], tf.int32),
        "spatial": tf.TensorSpec([2]),
        "bilateral": tf.TensorSpec([3]),
        "compatibility": tf.TensorSpec([classes, classes]),
    }

    @tf.function(input_signature=[specs[name] for name in names], autograph=False)
    def graph(*values: tf.Tensor) -> tf.Tensor:
        return _mean_field(dict(zip(names, values, strict=True)), normalization)

    return graph


def _mean_field(inputs: dict[str, tf.Tensor], normalization: str) -> tf.Tensor:
    unary = inputs["unary"]
    shape = tf.shape(unary)
    classes = unary.shape[-1]
    with tf.control_dependencies(
        [
            tf.debugging.assert_equal(
                tf.shape(inputs["image"])[:2], shape[:2], "images and energies differ in size"
            )
        ]
    ):
        negative = -tf.reshape(unary, [-1, classes])
    kernels, transforms = [], []
    position = _positions(shape)
    if "spatial" in inputs:
        weight, sxy = tf.unstack(inputs["spatial"])
        sxy = permutohedral.opaque(sxy)
        features = [axis / sxy for axis in position]
        kernels.append(_kernel(features, weight, normalization))
        transforms.append(None)
    if "bilateral" in inputs:
        weight, sxy, srgb = tf.unstack(inputs["bilateral"])
        sxy, srgb = permutohedral.opaque(sxy), permutohedral.opaque(srgb)
        colors = tf.unstack(tf.reshape(inputs["image"], [-1, 3]), axis=1)
        features = [axis / sxy for axis in position] + [color / srgb for color in colors]
        compatibility = inputs.get("compatibility")
        weight = weight if compatibility is None else -1.0
        kernels.append(_kernel(features, weight, normalization))
        transforms.append(compatibility)

    def step(iteration: tf.Tensor, marginals: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = [negative]
        for kernel, transform in zip(kernels, transforms, strict=True):
            message = kernel.filter(marginals)
            if transform is not None:
                message = tf.matmul(message, transform, transpose_b=True)
            logits.append(message)
        return iteration + 1, tf.nn.softmax(tf.add_n(logits))

    _, marginals = tf.while_loop(
        lambda iteration, _: iteration < inputs["iterations"],
        step,
        (0, tf.nn.softmax(negative)),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, classes])),
        parallel_iterations=1,
    )
    return tf.reshape(marginals, shape)


def _positions(shape: tf.Tensor) -> list[tf.Tensor]:
    """Return columns and rows of the pixels, float32 [H * W] each."""
    columns, rows = tf.meshgrid(
        tf.range(tf.cast(shape[1], tf.float32)), tf.range(tf.cast(shape[0], tf.float32))
    )
    return [tf.reshape(columns, [-1]), tf.reshape(rows, [-1])]


def _kernel(
    features: Sequence[tf.Tensor], weight: tf.Tensor | float, normalization: str
) -> permutohedral.Lattice:
    """Return the normalized filter of a kernel times its weight."""
    lattice = permutohedral.build(features)
    sums = lattice.filter(tf.ones_like(features[0])[:, tf.newaxis])[:, 0] + _LEAST_SUM
    if normalization == "after":
        return lattice.scaled(1.0, weight / sums)
    root = tf.math.rsqrt(sums)
    return lattice.scaled(root, weight * root)
