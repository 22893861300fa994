"""Measures passes through a whole network, in several precisions, on this machine."""

import contextlib
from collections.abc import Callable, Sequence

import tensorflow as tf

from deeplab import model
from deeplab.core import depthwise
from deeplab.training import timing

# The first pass of a form is not timed. Rounds of timed passes, and the seconds after which there
# are no more of them once there have been the fewest.
_ROUNDS, _FEWEST_ROUNDS, _SECONDS = 8, 3, 5.0


def measure(
    net: model.DeepLab,
    forms: Sequence[Callable[[model.DeepLab], None]],
    images: int,
    crop_size: tuple[int, int],
    *,
    jit_compile: bool = False,
) -> list[float]:
    """Measure forward and backward passes of copies of a network.

    Args:
        net: The network, of the policy `mixed_bfloat16`. It does not change.
        forms: Each sets the precision of the layers of a copy.
        images: Number of images that a device processes at a time.
        crop_size: (height, width) of the images.
        jit_compile: Whether the step is compiled with XLA.

    Returns:
        The shortest time of a pass of each form, in seconds.
    """
    x = tf.zeros((images, *crop_size, 3))
    passes = [_pass(net, form, x, jit_compile) for form in forms]
    return timing.shortest(passes, rounds=_ROUNDS, fewest=_FEWEST_ROUNDS, seconds=_SECONDS)


def _pass(
    net: model.DeepLab, form: Callable[[model.DeepLab], None], x: tf.Tensor, jit_compile: bool
) -> Callable[[], None]:
    """Return a function that computes the gradients of a copy of a network once."""
    copy = model.DeepLab(net.options, random_weights=False, dtype="mixed_bfloat16")
    copy.set_fine_tune_batch_norm(net.fine_tune_batch_norm)
    form(copy)
    weights = [variable.value for variable in copy.trainable_weights]

    @tf.function(autograph=False, jit_compile=jit_compile)
    def gradients(x: tf.Tensor) -> list[tf.Tensor]:
        dilation = contextlib.nullcontext() if jit_compile else depthwise.native_dilation()
        with dilation, tf.GradientTape() as tape:
            logits = copy(x, training=True)
        return tape.gradient(logits, weights, unconnected_gradients="zero")

    def run() -> None:
        gradients(x)[0].numpy()

    run()
    return run
