"""Variables in memory that are read like a checkpoint."""

from collections.abc import Mapping

import numpy as np


class VariableValues:
    """Variables by official names, with the methods of what `tf.train.load_checkpoint` returns.

    A class that inherits from it sets or computes `_values`.
    """

    _values: Mapping[str, np.ndarray]

    def get_variable_to_shape_map(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the variables by name."""
        return {name: value.shape for name, value in self._values.items()}

    def has_tensor(self, name: str) -> bool:
        """Return whether there is a variable of that name."""
        return name in self._values

    def get_tensor(self, name: str) -> np.ndarray:
        """Return the value of a variable."""
        return self._values[name]
