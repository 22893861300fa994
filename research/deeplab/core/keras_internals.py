"""Everything that touches private parts of Keras or TensorFlow, and why each is needed.

A new release may move any of these. Nothing else in the package reaches below the public surface.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from google.protobuf import message
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import convert_to_constants, op_def_registry


def sublayers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Return the layer and every layer inside it.

    Keras lists the layers of a model in public (`Model.layers`), but not those inside a layer. The
    order is fixed by the order in which layers are assigned to attributes; dropout's random numbers
    and the sum of the weight decay depend on it.
    """
    return layer._flatten_layers()


def children(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Return the layers that a layer holds directly, in the order of assignment.

    There is no public list of them; `sublayers` does not tell which layer holds which.
    """
    return list(layer._layers)


def loss_tracker(net: keras.Model) -> keras.metrics.Metric:
    """Return the metric in which a compiled model's `fit` shows the loss.

    A `train_step` that computes the loss itself has to update it. Keras does so in `compute_loss`
    only, which would compute another loss.
    """
    return net._loss_tracker


def frozen(function: Any) -> tf.Graph:
    """Return a concrete function's graph with its variables as constants.

    Official exports are frozen graphs. TensorFlow 2 has no public function that makes one.
    """
    return convert_to_constants.convert_variables_to_constants_v2(function).graph


def saved_graphs(data: bytes) -> list[tf.compat.v1.MetaGraphDef]:
    """Return the graphs of a SavedModel, unchecked.

    The public loaders end at the first operation that they do not know.

    Args:
        data: The content of `saved_model.pb`.

    Raises:
        ValueError: It is damaged.
    """
    try:
        return list(saved_model_pb2.SavedModel.FromString(data).meta_graphs)
    except message.DecodeError as error:
        raise ValueError(str(error)) from None


def is_known_operation(kind: str) -> bool:
    """Return whether this TensorFlow has an operation, such as "Conv2D".

    `tf.raw_ops` has no operations whose names begin with an underscore.
    """
    return op_def_registry.get(kind) is not None


class Optimizer(keras.optimizers.Optimizer):
    """A Keras optimizer whose state can be named and whose updates can be followed."""

    def index(self, variable: keras.Variable | tf.Variable) -> int | None:
        """Return a variable's position among those that the optimizer was built for.

        The slots are lists in that order; their owner is not public. Return None for a variable
        that has no slots.
        """
        return self._trainable_variables_indices.get(self._var_key(variable))

    @property
    def averages(self) -> Sequence[keras.Variable]:
        """The moving averages of `use_ema`; in public Keras only copies them over the weights."""
        return self._model_variables_moving_average

    def update_averages(self, variables: Sequence[keras.Variable]) -> None:
        """Move the averages of `use_ema` without an update, which Keras does only within one."""
        self._update_model_variables_moving_average(variables)

    def finish_update(self) -> None:
        """Hook: called once after each update of all variables.

        With gradient accumulation that is not once a call of `apply`, and no public method is
        called at that moment.
        """

    def _clip_gradients(self, grads: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
        # Keras clips the gradients of each replica; the norm of the whole batch's needs their sum.
        return grads if self.global_clipnorm else super()._clip_gradients(grads)

    def _all_reduce_sum_gradients(
        self, grads_and_vars: Sequence[tuple[tf.Tensor, Any]]
    ) -> list[tuple[tf.Tensor, Any]]:
        pairs = super()._all_reduce_sum_gradients(grads_and_vars)
        if not self.global_clipnorm:
            return pairs
        norm = tf.linalg.global_norm([gradient for gradient, _ in pairs])
        # Exactly 1 up to the limit, so that smaller gradients keep their bits.
        factor = self.global_clipnorm / tf.maximum(norm, self.global_clipnorm)
        return [(gradient * factor, variable) for gradient, variable in pairs]

    def _backend_update_step(
        self, grads: Sequence[tf.Tensor], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        super()._backend_update_step(grads, trainable_variables, learning_rate)
        self.finish_update()


def lite_schema() -> Any:
    """Return the module that reads the files of TensorFlow Lite models.

    The public interpreter runs models, but neither tells their operations nor changes their
    weights.
    """
    from tensorflow.lite.python import schema_py_generated

    return schema_py_generated


def lite_objects(model: bytes) -> Any:
    """Return a TensorFlow Lite model as objects of `lite_schema`, which can be changed."""
    from tensorflow.lite.tools import flatbuffer_utils

    return flatbuffer_utils.convert_bytearray_to_object(bytearray(model))


def lite_bytes(objects: Any) -> bytes:
    """Return the file of a TensorFlow Lite model from its objects."""
    from tensorflow.lite.tools import flatbuffer_utils

    return flatbuffer_utils.convert_object_to_bytearray(objects)
