"""The optimizers of the official trainer, AdamW, and the official gradient multipliers.

The optimizers make the updates of TensorFlow 1 with the same kernels, and name their state as its
checkpoints do.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from deeplab.core import keras_internals
from deeplab.core.options import TrainOptions
from deeplab.training import learning_rate
from deeplab.utils import checkpoint


class OfficialOptimizer(keras_internals.Optimizer):
    """Base class of optimizers whose slots have official names.

    Inside `strategy.run`, `apply` sums the gradients over the replicas, as every Keras optimizer
    does: divide the loss by their number for a mean. In a cross-replica context, it applies the
    gradients as they are. Unlike in Keras, `global_clipnorm` limits the norm of this sum.
    """

    _SLOTS: tuple[str, ...]

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Create the slots, all zero. The first `apply` does it; restoring needs it earlier."""
        if self.built:
            return
        super().build(variables)
        # The oldest supported Keras has no function that makes the slots of all variables.
        created = [
            [self.add_variable_from_reference(variable, name=slot) for slot in self._SLOTS]
            for variable in variables
        ]
        self._slots = [list(slots) for slots in zip(*created, strict=True)]

    def _slot_values(self, variable: tf.Variable) -> list[tf.Variable]:
        index = self.index(variable)
        return [slots[index].value for slots in self._slots]

    def official_variables(
        self, variables: Mapping[str, keras.Variable]
    ) -> dict[str, keras.Variable]:
        """Return the optimizer's state under the names of the official checkpoints.

        Args:
            variables: Official names to model variables. Variables without slots, such as moving
                averages, are skipped.

        Returns:
            `<name>/<slot>` to slot variable, and the scalars that belong to no variable. The
            number of updates, `iterations`, is not included: it is `global_step`.

        Raises:
            ValueError: The optimizer is not built.
        """
        if not self.built:
            raise ValueError(f"{self.name} has no slots yet: call build(trainable_variables)")
        kinds = dict(zip(self._SLOTS, self._slots, strict=True))
        return self._named(variables, kinds)

    def official_averages(
        self, variables: Mapping[str, keras.Variable]
    ) -> dict[str, keras.Variable]:
        """Return the moving averages of the variables; empty without `use_ema`.

        Args:
            variables: Official names to model variables; see `official_variables`.

        Returns:
            `<name>/ExponentialMovingAverage` to the average.
        """
        if not self.use_ema:
            return {}
        return self._named(variables, {checkpoint.AVERAGE: self.averages})

    def take_factors(
        self, variables: Sequence[keras.Variable], factors: Sequence[float]
    ) -> Sequence[float]:
        """Return the factors that the variables' gradients are to be multiplied by.

        Args:
            variables: The variables that the optimizer was built for.
            factors: Factor on the learning rate of each.
        """
        del variables
        return factors

    def skip(self, variables: Sequence[keras.Variable]) -> None:
        """Count a step without an update of the variables; moving averages of them still move.

        Args:
            variables: The variables that `apply` would update.
        """
        self.update_averages(variables)
        self.iterations.assign_add(1)

    def _named(
        self,
        variables: Mapping[str, keras.Variable],
        kinds: Mapping[str, Sequence[keras.Variable]],
    ) -> dict[str, keras.Variable]:
        indices = {name: self.index(variable) for name, variable in variables.items()}
        return {
            f"{name}/{kind}": slots[index]
            for name, index in indices.items()
            if index is not None
            for kind, slots in kinds.items()
        }


@keras.saving.register_keras_serializable(package="deeplab")
class Momentum(OfficialOptimizer):
    """TensorFlow 1's `MomentumOptimizer`: `m = momentum m + g`, then `w -= rate m`.

    Keras' SGD multiplies by the rate inside the sum. It differs once the rate changes.

    Args:
        learning_rate: A float or a schedule.
        momentum: Share of the sum that is kept at each step.
        name: Name of the optimizer.
        **kwargs: Arguments of every Keras optimizer, such as `use_ema` and `clipnorm`.
    """

    _SLOTS = ("Momentum",)

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        momentum: float = 0.9,
        name: str = "momentum",
        **kwargs: Any,
    ):
        super().__init__(learning_rate, name=name, **kwargs)
        self.momentum = momentum

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Update one variable."""
        (momentum,) = self._slot_values(variable)
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=momentum.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=tf.cast(gradient, variable.dtype),
            momentum=tf.cast(self.momentum, variable.dtype),
        )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return super().get_config() | {"momentum": self.momentum}


@keras.saving.register_keras_serializable(package="deeplab")
class Adam(OfficialOptimizer):
    """TensorFlow 1's `AdamOptimizer`, which adds epsilon to the root of the uncorrected variance.

    `w -= rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)` ("epsilon hat" in
    Kingma and Ba, arXiv:1412.6980, section 2). The powers of the betas are variables, as in the
    official checkpoints.

    Args:
        learning_rate: A float or a schedule.
        beta_1: Decay of the mean of the gradients.
        beta_2: Decay of the mean of their squares.
        epsilon: Keeps the quotient finite.
        name: Name of the optimizer.
        **kwargs: Arguments of every Keras optimizer, such as `use_ema` and `clipnorm`.
    """

    _SLOTS = ("Adam", "Adam_1")

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        name: str = "adam",
        **kwargs: Any,
    ):
        super().__init__(learning_rate, name=name, **kwargs)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Create the slots and the powers of the betas."""
        if self.built:
            return
        super().build(variables)
        self._powers = {
            f"beta{i}_power": self.add_variable(
                (),
                initializer=keras.initializers.Constant(beta),
                dtype="float32",
                aggregation="only_first_replica",
                name=f"beta{i}_power",
            )
            for i, beta in ((1, self.beta_1), (2, self.beta_2))
        }

    def official_variables(
        self, variables: Mapping[str, keras.Variable]
    ) -> dict[str, keras.Variable]:
        """Return the slots, `beta1_power` and `beta2_power`; see the base class."""
        return super().official_variables(variables) | self._powers

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Update one variable."""
        mean, square = self._slot_values(variable)
        powers = [tf.convert_to_tensor(power) for power in self._powers.values()]
        scalars = (*powers, learning_rate, self.beta_1, self.beta_2, self.epsilon)
        names = ("beta1_power", "beta2_power", "lr", "beta1", "beta2", "epsilon")
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=mean.handle,
            v=square.handle,
            grad=tf.cast(gradient, variable.dtype),
            **{
                name: tf.cast(scalar, variable.dtype)
                for name, scalar in zip(names, scalars, strict=True)
            },
        )

    def finish_update(self) -> None:
        """Change the powers of the betas, once per update."""
        for power, beta in zip(self._powers.values(), (self.beta_1, self.beta_2), strict=True):
            power.assign(power * beta)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        config = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
        return super().get_config() | config


@keras.saving.register_keras_serializable(package="deeplab")
class AdamW(Adam):
    """Adam with decoupled weight decay: `w -= rate (decay w + m' / (sqrt(v') + epsilon))`.

    The corrected averages m' and v' are those of `Adam`, and so is epsilon. Variables that learn
    faster than others do so by their rate, because the size of a gradient makes no difference to
    Adam; their decay is that of the others.

    The slots have the names that TensorFlow 1's `AdamWOptimizer` gives them. Exclude variables from
    the decay with `exclude_from_weight_decay`, before `build`.

    Args:
        learning_rate: A float or a schedule.
        weight_decay: Factor on the weights that are subtracted, times the rate, at each step.
        name: Name of the optimizer.
        **kwargs: Arguments of `Adam` and of every Keras optimizer.

    Reference: Loshchilov and Hutter, arXiv:1711.05101, algorithm 2.
    """

    _SLOTS = ("AdamW", "AdamW_1")

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.001,
        weight_decay: float = 0.01,
        name: str = "adamw",
        **kwargs: Any,
    ):
        super().__init__(learning_rate, weight_decay=weight_decay, name=name, **kwargs)
        self._factors: Mapping[int, float] = {}

    def take_factors(
        self, variables: Sequence[keras.Variable], factors: Sequence[float]
    ) -> Sequence[float]:
        """Multiply the rates of the variables by the factors; return ones for the gradients."""
        indices = map(self.index, variables)
        self._factors = dict(zip(indices, factors, strict=True))
        return [1.0] * len(self._factors)

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Update one variable."""
        factor = self._factors.get(self.index(variable), 1.0)
        super().update_step(gradient, variable, learning_rate * factor)


def from_options(options: TrainOptions) -> OfficialOptimizer:
    """Return the optimizer, with its learning rate, that the options name."""
    more: dict[str, Any] = {"global_clipnorm": options.clip_gradient_norm}
    if options.ema_decay is not None:
        more |= {"use_ema": True, "ema_momentum": options.ema_decay}
    if options.optimizer == "adam":
        return Adam(options.adam_learning_rate, epsilon=options.adam_epsilon, **more)
    schedule = learning_rate.learning_rate_schedule(options)
    if options.optimizer == "adamw":
        return AdamW(schedule, options.adamw_weight_decay, epsilon=options.adam_epsilon, **more)
    return Momentum(schedule, options.momentum, **more)


def gradient_multipliers(
    variable_names: Iterable[str], last_layers: Iterable[str], multiplier: float
) -> dict[str, float]:
    """Return the factors that gradients are multiplied by, those of the weight decay included.

    Biases learn twice as fast as weights, and the last layers `multiplier` times as fast as the
    others. Follows the official `get_model_gradient_multipliers`.

    Args:
        variable_names: Official names.
        last_layers: Scopes of the last layers. A variable belongs to a scope if its name contains
            the scope's name.
        multiplier: Factor for the last layers (`last_layer_gradient_multiplier`).

    Returns:
        Names to factors, for biases and for variables of the last layers. Others have factor 1.
    """
    last_layers = tuple(last_layers)
    factors = {}
    for name in variable_names:
        is_bias = "biases" in name
        is_last = any(scope in name for scope in last_layers)
        if is_bias or is_last:
            factors[name] = (2.0 if is_bias else 1.0) * (multiplier if is_last else 1.0)
    return factors
