"""Both forms of a dilated depthwise convolution agree, and the portable one is never left out."""

import os
import pathlib
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
import tensorflow as tf

from deeplab.core import depthwise

needs_native = pytest.mark.usefixtures("native")


@pytest.fixture
def native() -> None:
    """Skips the test where the native dilation does not work."""
    if not depthwise.native_dilation_works("float32"):
        pytest.skip("this build of TensorFlow has no native dilation on this machine")


def random(*shape: int, dtype: str = "float32") -> tf.Tensor:
    """Fixed random numbers."""
    generator = np.random.default_rng(len(shape) + sum(shape))
    return tf.constant(generator.normal(size=shape), dtype)


def convolve(x, kernel, rate, **kwargs):
    return depthwise.depthwise_conv2d(
        x, kernel, **{"stride": 1, "padding": "SAME", "rate": rate, **kwargs}
    )


def portable(x, kernel, rate):
    return tf.nn.depthwise_conv2d(x, kernel, (1, 1, 1, 1), "SAME", dilations=rate)


def with_gradients(function, x, kernel, rate, dy):
    """Output and first gradients."""
    with tf.GradientTape() as tape:
        tape.watch((x, kernel))
        y = function(x, kernel, rate)
    return y, *tape.gradient(y, (x, kernel), output_gradients=dy)


def dilations(graph: tf.Graph | tf.compat.v1.GraphDef) -> set[tuple[int, ...]]:
    """The native dilations in a graph and its functions."""
    graph_def = graph.as_graph_def() if isinstance(graph, tf.Graph) else graph
    nodes = [*graph_def.node, *(n for f in graph_def.library.function for n in f.node_def)]
    return {
        tuple(node.attr["dilations"].list.i)
        for node in nodes
        if node.op.startswith("DepthwiseConv2dNative")
    }


def traced_dilations(kernel_size=(3, 3), rate=(2, 2), channels=4, allow=True, **kwargs):
    """The native dilations that a convolution brings into a graph."""

    def function(x, kernel):
        if not allow:
            return convolve(x, kernel, rate, **kwargs)
        with depthwise.native_dilation():
            return convolve(x, kernel, rate, **kwargs)

    shapes = (None, None, None, channels), (*kernel_size, channels, 1)
    specs = [tf.TensorSpec(shape) for shape in shapes]
    return dilations(tf.function(function).get_concrete_function(*specs).graph)


@needs_native
@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize(
    ("shape", "kernel_size", "rate"),
    [
        ((2, 9, 11, 16), (3, 3), (2, 2)),
        ((1, 33, 20, 5), (3, 3), (4, 3)),
        ((1, 3, 2, 1), (3, 3), (2, 4)),
        ((2, 12, 12, 8), (5, 5), (2, 2)),
        ((1, 7, 8, 3), (1, 3), (2, 2)),
    ],
)
def test_native_form_equals_the_portable_one(shape, kernel_size, rate, traced):
    x, kernel, dy = random(*shape), random(*kernel_size, shape[-1], 1), random(*shape)
    expected = with_gradients(portable, x, kernel, rate, dy)

    def function(x, kernel, dy):
        with depthwise.native_dilation():
            return with_gradients(convolve, x, kernel, rate, dy)

    results = (tf.function(function) if traced else function)(x, kernel, dy)
    np.testing.assert_array_equal(results[0], expected[0])
    for ours, theirs in zip(results[1:], expected[1:], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6 * np.max(np.abs(theirs)))
    assert not traced or (1, *rate, 1) in traced_dilations(kernel_size, rate, shape[-1])


@needs_native
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_native_form_equals_the_portable_one_in_low_precision(dtype):
    if not depthwise.native_dilation_works(dtype):
        pytest.skip(f"no native dilation in {dtype} on this machine")
    x, kernel = random(2, 9, 11, 16, dtype=dtype), random(3, 3, 16, 1, dtype=dtype)
    expected = with_gradients(portable, x, kernel, (2, 2), x)
    results = with_gradients(convolve, x, kernel, (2, 2), x)
    for ours, theirs in zip(results, expected, strict=True):
        theirs = np.float32(theirs)
        error = np.max(np.abs(np.float32(ours) - theirs)) / np.max(np.abs(theirs))
        assert error < {"bfloat16": 1e-2, "float16": 1e-3}[dtype]


@needs_native
def test_native_form_has_its_second_derivative():
    x, kernel = random(1, 9, 9, 4), random(3, 3, 4, 1)

    def penalty(function):
        with tf.GradientTape() as outer:
            outer.watch((x, kernel))
            gradients = with_gradients(function, x, kernel, (2, 2), tf.ones_like(x))[1:]
            total = tf.add_n([tf.reduce_sum(tf.square(gradient)) for gradient in gradients])
        return outer.gradient(total, (x, kernel))

    for ours, theirs in zip(penalty(convolve), penalty(portable), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.max(np.abs(theirs)))


@needs_native
def test_every_run_gives_the_same_bits():
    x, kernel, dy = random(4, 33, 33, 64), random(3, 3, 64, 1), random(4, 33, 33, 64)
    first, *others = (
        [result.numpy().tobytes() for result in with_gradients(convolve, x, kernel, (2, 2), dy)]
        for _ in range(8)
    )
    assert all(other == first for other in others)


@needs_native
def test_bias_and_activation_may_be_fused_with_it():
    x, kernel, bias = random(2, 33, 33, 32), random(3, 3, 32, 1), random(32)

    @tf.function
    def fused(x):
        with depthwise.native_dilation():
            return tf.nn.relu6(tf.nn.bias_add(convolve(x, kernel, (2, 2)), bias))

    expected = tf.nn.relu6(tf.nn.bias_add(portable(x, kernel, (2, 2)), bias))
    np.testing.assert_allclose(fused(x), expected, atol=1e-5)


def test_graphs_are_portable_unless_they_are_allowed_not_to_be():
    assert traced_dilations(allow=False) == {(1, 1, 1, 1)}
    with depthwise.native_dilation():
        pass
    assert traced_dilations(allow=False) == {(1, 1, 1, 1)}


@needs_native
def test_permission_holds_for_one_thread_alone():
    found = []
    with depthwise.native_dilation():
        thread = threading.Thread(target=lambda: found.append(traced_dilations(allow=False)))
        thread.start()
        thread.join()
    assert found == [{(1, 1, 1, 1)}]
    assert traced_dilations() == {(1, 2, 2, 1)}


@pytest.mark.parametrize(
    ("kernel_size", "options"),
    [
        ((3, 3), {"rate": (1, 1)}),
        ((3, 3), {"rate": (1, 1), "stride": 2}),
        ((3, 3), {"padding": "VALID"}),
        ((2, 2), {}),
        ((3, 3), {"rate": (5, 2)}),
        ((5, 5), {"rate": (2, 4)}),
    ],
)
def test_what_the_native_form_cannot_do_or_does_slowly_is_left_to_the_portable_one(
    kernel_size, options
):
    assert traced_dilations(kernel_size, **options) == {(1, 1, 1, 1)}


def _fails(*_):
    raise tf.errors.UnimplementedError(None, None, "no dilation")


def _leaves_out_the_rate(x, kernel, _):
    return tf.nn.depthwise_conv2d(x, kernel, (1, 1, 1, 1), "SAME")


def _has_a_wrong_gradient(x, kernel, rate):
    @tf.custom_gradient
    def function(x, kernel):
        return portable(x, kernel, rate), lambda dy: (dy, tf.zeros_like(kernel))

    return function(x, kernel)


@pytest.mark.parametrize("broken", [_fails, _leaves_out_the_rate, _has_a_wrong_gradient])
def test_trial_finds_what_does_not_work(monkeypatch, broken):
    depthwise.native_dilation_works.cache_clear()
    monkeypatch.setattr(depthwise, "_native", broken)
    try:
        assert not depthwise.native_dilation_works("float32")
        x, kernel = random(1, 9, 9, 4), random(3, 3, 4, 1)
        np.testing.assert_array_equal(convolve(x, kernel, (2, 2)), portable(x, kernel, (2, 2)))
    finally:
        depthwise.native_dilation_works.cache_clear()


def test_trial_may_be_run_while_a_graph_is_traced_or_a_tape_records():
    expected = depthwise.native_dilation_works("float32")
    found = []

    @tf.function
    def traced(x):
        depthwise.native_dilation_works.cache_clear()
        found.append(depthwise.native_dilation_works("float32"))
        return x

    with tf.GradientTape():
        traced(1.0)
    assert found == [expected]


@pytest.mark.slow
def test_exports_run_without_the_library_that_dilates_natively(tmp_path: pathlib.Path):
    """An export made here, where the native form may have been used, runs without oneDNN."""
    x, kernel = random(1, 15, 17, 8), random(3, 3, 8, 1)
    expected = convolve(x, kernel, (2, 2))
    module = tf.Module()
    signature = [tf.TensorSpec((None, None, None, 8))]
    module.convolve = tf.function(lambda x: convolve(x, kernel, (2, 2)), signature)
    module.convolve(x)
    tf.saved_model.save(module, str(tmp_path / "export"))
    np.savez(tmp_path / "case.npz", x=x, kernel=kernel, expected=expected)
    script = """
        import sys
        import numpy as np, tensorflow as tf
        from deeplab.core import depthwise
        case = np.load(sys.argv[1] + "/case.npz")
        x, kernel = tf.constant(case["x"]), tf.constant(case["kernel"])
        exported = tf.saved_model.load(sys.argv[1] + "/export").convolve(x)
        assert not depthwise.native_dilation_works("float32")
        ours = depthwise.depthwise_conv2d(x, kernel, 1, "SAME", (2, 2))
        for result in (exported, ours):
            np.testing.assert_allclose(result, case["expected"], atol=1e-5)
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        check=True,
        env={
            **os.environ,
            "TF_ENABLE_ONEDNN_OPTS": "0",
            "CUDA_VISIBLE_DEVICES": "-1",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
    )
