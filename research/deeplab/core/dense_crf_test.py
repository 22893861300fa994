"""Dense CRF: the numbers of the authors' code, and mean field as the papers define it."""

import contextlib
import functools
import itertools
import json
import operator

import cv2
import numpy as np
import pytest
import tensorflow as tf

from deeplab.core import dense_crf, utils
from deeplab.core.options import CrfOptions
from deeplab.testing import golden, tiny

# Every case of golden/crf: its parameters, iterations and kind.
_CASES = [
    *("v1_i10", "v2_vgg_i10", "narrow_i10", "gaussian_only_i10", "bilateral_only_i10"),
    *("v2_vgg_i1", "v2_vgg_i5", "v1_i10_matrix", "v2_vgg_i10_after"),
]
_PHOTOGRAPHS = ("2011_000003", "2011_000006", "2011_000025")
_SIZE = (11, 13)
# Narrow enough for the kernels to matter on a small image.
_SMALL = {"pos_sxy": 2.0, "bi_sxy": 8.0, "bi_srgb": 20.0, "iterations": 2}


def _drawn(classes=3, seed=0, size=_SIZE):
    """An image [H, W, 3] uint8 and energies [H, W, classes] that have little to do with it."""
    random = np.random.default_rng(seed)
    logits = cv2.resize(random.normal(size=(4, 5, classes)).astype(np.float32) * 3, size[::-1])
    probabilities = tf.nn.softmax(logits.reshape(*size, classes)).numpy()
    return tiny.picture(*size, seed), -np.log(probabilities)


def _softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


# --- The authors' numbers ---


@functools.cache
def _photograph(name):
    folder = golden.shared("data/voc_mini/VOCdevkit/VOC2012/JPEGImages")
    image = cv2.imread(str(folder / f"{name}.jpg"))[..., ::-1]
    logits = np.load(golden.shared(f"golden/crf/{name}_logits.npz"))["logits"]
    logits = utils.resize_bilinear(tf.constant(logits[np.newaxis]), image.shape[:2])
    return image[np.newaxis], -tf.math.log(tf.maximum(tf.nn.softmax(logits), 1e-12))


@pytest.mark.slow
@pytest.mark.parametrize("case", _CASES)
@pytest.mark.parametrize("name", _PHOTOGRAPHS)
def test_photographs_come_out_as_the_authors_code_has_them(name, case):
    parameters = json.loads(golden.shared("golden/crf/manifest.json").read_text())["parameters"]
    kind, _, rest = case.rpartition("_i")
    iterations, _, variant = rest.partition("_")
    options = {"pos_w": 0.0, "bi_w": 0.0, **parameters[kind], "iterations": int(iterations)}
    if variant == "after":
        options["normalization"] = "after"
    if variant == "matrix":
        options["compatibility"] = np.load(golden.shared("golden/crf/compatibility.npy"))
    expected = np.load(golden.shared(f"golden/crf/{name}.npz"))
    marginals = dense_crf.mean_field(*_photograph(name), **options)[0].numpy()
    # On the machine of the tests all labels agree, and marginals to 1e-6. A last digit in the
    # features is enough for 3e-5, and 1e-2 in single pixels.
    assert np.mean(marginals.argmax(axis=-1) == expected[f"{case}_labels"]) >= 0.9999
    np.testing.assert_allclose(marginals[::16, ::16], expected[f"{case}_marginals"], atol=1e-5)


# --- Without the shared numbers: the same algorithm, vertex by vertex ---


def _simplices(features):
    """The vertices around each feature, with the feature's weight of each: features [N, d]."""
    d = features.shape[1]
    scale = [np.sqrt(2 / 3) * (d + 1) / np.sqrt((i + 1) * (i + 2)) for i in range(d)]
    simplices = []
    for feature in features.astype(np.float32):
        scaled = (feature * np.float32(scale)).astype(np.float32)
        elevated = [scaled[j:].sum() - (j * scaled[j - 1] if j else 0) for j in range(d + 1)]
        corner = [round(x / (d + 1)) * (d + 1) for x in elevated]
        away = [x - y for x, y in zip(elevated, corner, strict=True)]
        rank = [
            sum(bool(a < b or (a == b and i > j)) for j, b in enumerate(away))
            for i, a in enumerate(away)
        ]
        excess = sum(corner) // (d + 1)
        for i in range(d + 1):
            rank[i] += excess
            move = int(rank[i] < 0) - int(rank[i] > d)
            rank[i] += move * (d + 1)
            corner[i] += move * (d + 1)
        along = np.sort([(x - y) / (d + 1) for x, y in zip(elevated, corner, strict=True)])
        weights = [1 + along[0] - along[-1], *np.diff(along)]
        simplex = []
        for remainder, weight in enumerate(weights):
            key = tuple(
                corner[i] + remainder - (d + 1) * (rank[i] > d - remainder) for i in range(d + 1)
            )
            simplex.append((key, weight))
        simplices.append(simplex)
    return simplices


def _lattice_filter(features):
    """The filter of Adams et al. with a dictionary of vertices: [N, C] -> [N, C]."""
    return functools.partial(_filter, _simplices(features), features.shape[1])


def _filter(simplices, d, values):
    vertices = {}
    for simplex, value in zip(simplices, values, strict=True):
        for key, weight in simplex:
            vertices[key] = vertices.get(key, 0) + weight * value
    for axis in range(d + 1):
        steps = [-d if each == axis else 1 for each in range(d + 1)]
        vertices = {
            key: value
            + 0.5 * vertices.get(tuple(map(operator.add, key, steps)), 0)
            + 0.5 * vertices.get(tuple(map(operator.sub, key, steps)), 0)
            for key, value in vertices.items()
        }
    gain = 1 / (1 + 2.0**-d)
    return np.array(
        [gain * sum(weight * vertices[key] for key, weight in simplex) for simplex in simplices]
    )


def _features(image, sxy, srgb=None):
    rows, columns = np.indices(image.shape[:2])
    position = np.stack([columns, rows], axis=-1).reshape(-1, 2) / sxy
    colors = [] if srgb is None else [image.reshape(-1, 3) / srgb]
    return np.concatenate([position, *colors], axis=1)


def _reference(image, unary, kernels, iterations, normalization="symmetric"):
    """Mean field with kernels `(filter, matrix)`: filter [N, C] -> [N, C], matrix [C, C]."""
    energies = unary.reshape(-1, unary.shape[-1]).astype(np.float64)
    marginals = _softmax(-energies)
    kernels = [(kernel, matrix, kernel(np.ones((len(energies), 1)))) for kernel, matrix in kernels]
    for _ in range(iterations):
        logits = -energies
        for kernel, matrix, sums in kernels:
            if normalization == "symmetric":
                message = kernel(marginals / np.sqrt(sums)) / np.sqrt(sums)
            else:
                message = kernel(marginals) / sums
            logits = logits - message @ np.transpose(matrix)
        marginals = _softmax(logits)
    return marginals.reshape(unary.shape)


def _kernels(image, options, matrix=None, classes=3):
    spatial, bilateral = (
        _features(image, options.pos_sxy),
        _features(image, options.bi_sxy, options.bi_srgb),
    )
    kernels = []
    if options.pos_w:
        kernels.append((_lattice_filter(spatial), -options.pos_w * np.eye(classes)))
    if options.bi_w:
        matrix = -options.bi_w * np.eye(classes) if matrix is None else matrix
        kernels.append((_lattice_filter(bilateral), matrix))
    return kernels


_MATRIX = np.array([[-4.0, 1.0, 0.5], [-0.5, -3.0, 0.0], [2.0, 0.2, -5.0]])


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"compatibility": _MATRIX},
        {"iterations": 0},
        {"normalization": "after"},
        {"pos_w": 0.0},
        {"bi_w": 0.0},
    ],
    ids=lambda change: next(iter(change), "defaults"),
)
def test_it_is_mean_field_with_filters_on_the_lattice(change):
    image, unary = _drawn()
    options = CrfOptions(**(_SMALL | {**change, "compatibility": None}))
    matrix = change.get("compatibility")
    expected = _reference(
        image,
        unary,
        _kernels(image, options, matrix),
        options.iterations,
        options.normalization,
    )
    # Once in a graph, as users run it; otherwise step by step.
    with contextlib.nullcontext() if not change else tiny.eager():
        found = dense_crf.mean_field(image[np.newaxis], unary[np.newaxis], **(_SMALL | change))
    np.testing.assert_allclose(found[0], expected, atol=2e-4)
    own = _softmax(-unary)
    if options.iterations:
        assert np.abs(found[0] - own).max() > 0.1


@tiny.eager()
def test_nearly_flat_kernels_give_what_exact_ones_give():
    """With standard deviations far above the image the Gaussian is 1 everywhere."""
    image, unary = _drawn()
    flat = {"pos_sxy": 1e4, "bi_sxy": 1e4, "bi_srgb": 1e5, "iterations": 2}
    ones = lambda x: np.broadcast_to(x.sum(axis=0), x.shape)  # noqa: E731
    for normalization in ("symmetric", "after"):
        expected = _reference(image, unary, [(ones, -7.0 * np.eye(3))], 2, normalization)
        found = dense_crf.mean_field(
            image[np.newaxis], unary[np.newaxis], **flat, normalization=normalization
        )
        np.testing.assert_allclose(found[0], expected, atol=1e-2)


# --- Properties ---


@tiny.eager()
def test_edges_of_the_prediction_move_to_those_of_the_image():
    """A square whose prediction is shifted and blurred is found again."""
    label = np.zeros((40, 40), int)
    label[10:30, 10:30] = 1
    image = np.where(label[..., np.newaxis], (200, 120, 60), (60, 120, 200)).astype(np.uint8)
    shifted = cv2.GaussianBlur(np.roll(label, (3, -2), (0, 1)).astype(np.float32), (9, 9), 0)
    probabilities = np.stack([1 - shifted, shifted], axis=-1) * 0.8 + 0.1
    before = np.mean(probabilities.argmax(axis=-1) == label)
    refined = dense_crf.refine(image[np.newaxis], probabilities[np.newaxis], CrfOptions())
    after = np.mean(refined[0].numpy().argmax(axis=-1) == label)
    assert before < 0.95
    assert after > 0.99


@tiny.eager()
@pytest.mark.parametrize("classes", [1, 2, 40])
def test_any_number_of_classes(classes):
    image, unary = _drawn(classes)
    found = dense_crf.mean_field(image[np.newaxis], unary[np.newaxis], **_SMALL).numpy()[0]
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-5)
    # Classes are alike: in another order the marginals are the same.
    order = np.random.default_rng(0).permutation(classes)
    other = dense_crf.mean_field(image[np.newaxis], unary[np.newaxis][..., order], **_SMALL)
    np.testing.assert_allclose(other[0], found[..., order], atol=1e-5)


def test_a_whole_number_of_iterations_may_be_a_float():
    image, unary = (each[np.newaxis] for each in _drawn())
    expected = dense_crf.mean_field(image, unary, **_SMALL)
    found = dense_crf.mean_field(image, unary, **{**_SMALL, "iterations": 2.0})
    np.testing.assert_array_equal(found, expected)


def test_a_batch_is_its_images_one_by_one():
    drawn = [_drawn(seed=seed) for seed in range(3)]
    images, unaries = (np.stack(each) for each in zip(*drawn, strict=True))
    together = dense_crf.mean_field(images, unaries, **_SMALL)
    for index, pair in enumerate(zip(images, unaries, strict=True)):
        alone = dense_crf.mean_field(*(each[np.newaxis] for each in pair), **_SMALL)
        np.testing.assert_array_equal(together[index], alone[0])


def test_a_graph_for_any_size_gives_what_eager_calls_give():
    graph = tf.function(
        lambda images, unary: dense_crf.mean_field(images, unary, **_SMALL),
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.uint8),
            tf.TensorSpec([None, None, None, 3]),
        ],
    )
    for size in ((11, 13), (9, 31)):
        image, unary = (each[np.newaxis] for each in _drawn(size=size))
        eager = dense_crf.mean_field(image, unary, **_SMALL)
        np.testing.assert_allclose(graph(image, unary), eager, atol=1e-6)
    assert graph.experimental_get_tracing_count() == 1


def test_parameters_need_no_further_graph():
    image, unary = (each[np.newaxis] for each in _drawn())
    dense_crf.mean_field(image, unary, **_SMALL)
    graphs = dense_crf._graph.cache_info().currsize
    for sxy, srgb, iterations in itertools.product((4.0, 5.0), (9.0, 10.0), (1, 2)):
        dense_crf.mean_field(image, unary, iterations, bi_sxy=sxy, bi_srgb=srgb)
    assert dense_crf._graph.cache_info().currsize == graphs


@pytest.mark.slow
def test_a_saved_model_gives_what_eager_calls_give(tmp_path):
    module = tf.Module()
    module.refine = tf.function(
        lambda images, probabilities: dense_crf.refine(images, probabilities, CrfOptions(**_SMALL)),
        input_signature=[tf.TensorSpec([None, None, None, n]) for n in (3, 3)],
    )
    tf.saved_model.save(module, str(tmp_path))
    image, unary = (each[np.newaxis].astype(np.float32) for each in _drawn())
    expected = dense_crf.mean_field(image, unary, **_SMALL)
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(loaded.refine(image, np.exp(-unary)), expected, atol=1e-5)


def test_padding_is_not_seen():
    """An image that is padded to a batch's size gives what it gives alone."""
    sizes = [(8, 13), (11, 9), (11, 13)]
    images = np.full((3, 11, 13, 3), 127.5, np.float32)
    probabilities = np.full((3, 11, 13, 3), 1 / 3, np.float32)
    alone = []
    for index, (height, width) in enumerate(sizes):
        image, unary = _drawn(seed=index, size=(height, width))
        images[index, :height, :width] = image
        probabilities[index, :height, :width] = np.exp(-unary)
        alone.append(dense_crf.mean_field(image[np.newaxis], unary[np.newaxis], **_SMALL)[0])
    options = CrfOptions(**_SMALL)
    found = dense_crf.refine(images, probabilities, options, np.array(sizes)).numpy()
    for marginals, expected, (height, width) in zip(found, alone, sizes, strict=True):
        np.testing.assert_allclose(marginals[:height, :width], expected, atol=1e-5)
        assert not marginals[height:].any()
        assert not marginals[:, width:].any()


# --- What cannot be ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iterations": -1}, "--crf_iterations is -1; it must be a whole number, at least 0"),
        ({"iterations": 1.5}, "--crf_iterations is 1.5; it must be a whole number"),
        ({"iterations": float("nan")}, "--crf_iterations is nan; it must be a whole number"),
        ({"pos_sxy": 0}, "--crf_pos_sxy is 0; it must be a finite number, above 0"),
        ({"bi_srgb": -3.0}, "--crf_bi_srgb is -3.0; it must be a finite number, above 0"),
        ({"bi_sxy": float("nan")}, "--crf_bi_sxy is nan; it must be a finite number, above 0"),
        ({"bi_w": -1.0}, "--crf_bi_w is -1.0; it must be a finite number, at least 0"),
        ({"pos_w": float("inf")}, "--crf_pos_w is inf; it must be a finite number, at least 0"),
        ({"normalization": "before"}, "--crf_normalization is 'before'; it must be one of"),
        ({"compatibility": np.eye(4)}, "--crf_compatibility is a 4x4 matrix, but there are 3"),
        ({"compatibility": np.eye(3), "bi_w": 0.0}, "bi_w is 0.* --crf_compatibility is for"),
        ({"compatibility": np.ones((3, 2))}, "rows of .2. numbers for 3 classes"),
        ({"compatibility": [[1, 2, 3], [4, 5], [6]]}, "rows of .1, 2, 3. numbers for 3 classes"),
        ({"compatibility": [1, 2, 3]}, "compatibility is not a matrix of numbers"),
        ({"compatibility": np.full((3, 3), np.nan)}, "values that are infinite or not a number"),
        ({"images": np.zeros((11, 13, 3))}, r"images are \[batch, height, width, 3\]"),
        ({"images": np.zeros((1, 11, 13, 4))}, r"images are \[batch, height, width, 3\]"),
        ({"unary": np.zeros((11, 13, 3))}, r"unary is \[batch, height, width, classes\]"),
        ({"unary": np.zeros((1, 11, 12, 3))}, r"unary is \(1, 11, 12, 3\) for images that are"),
    ],
)
def test_what_cannot_be_is_one_line(change, message):
    image, unary = _drawn()
    values = {"images": image[np.newaxis], "unary": unary[np.newaxis], **change}
    with pytest.raises(ValueError, match=message) as error:
        dense_crf.mean_field(**values)
    assert "\n" not in str(error.value)


def test_a_lattice_that_cannot_be_numbered_is_an_error():
    image, unary = _drawn()
    with pytest.raises(tf.errors.InvalidArgumentError, match="are too small for images"):
        dense_crf.mean_field(image[np.newaxis], unary[np.newaxis], bi_srgb=1e-4, bi_sxy=1e-3)
