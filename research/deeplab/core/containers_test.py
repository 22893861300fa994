"""Layers made of other layers are saved whole."""

import keras

from deeplab.core import containers, keras_internals


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


def test_layers_are_tracked_and_plain_values_are_set():
    layer = containers.Base(name="outer")
    layer.count, layer.first, layer.others = 3, None, [keras.layers.Dense(2, name="b")]
    layer.first = keras.layers.Dense(1, name="a")
    assert layer.count == 3
    assert [found.name for found in keras_internals.children(layer)] == ["b", "a"]
    # What is a property stays one.
    layer.trainable = False
    assert not layer.first.trainable
