"""Layers made of other layers are saved whole."""

import keras

from deeplab.core import containers


class _Nested(containers.Container):
    def __init__(self):
        super().__init__()
        self.branches = [[keras.layers.Dense(1, name="a")], [keras.layers.Dense(2, name="b")]]
        self.last = keras.layers.Dense(3, name="c")


def test_keras_finds_layers_in_lists_of_lists_also_where_it_does_not_look_into_them():
    layer = _Nested()
    # Keras visits attributes that its own layers do not have.
    assert "_saved_layers" in set(dir(layer)) - set(dir(keras.layers.Layer()))
    assert [found.name for found in layer._saved_layers] == ["a", "b", "c"]
