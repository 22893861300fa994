"""An export is loaded, or it is said why not."""

from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from deeplab import model
from deeplab.export import saved_model
from deeplab.testing import tiny


def write(path, **signatures):
    tf.saved_model.save(tf.Module(), str(path), signatures=signatures)
    return str(path)


@tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, "ImageTensor")])
def another(images):
    return {"labels": images[..., 0]}


class TestSavedModel:
    @tiny.unoptimized()
    def test_predicts_as_the_network(self, net, dataset, opened):
        assert isinstance(opened, saved_model.ExportedNetwork)
        assert opened.num_classes == 4
        assert opened.descriptor == dataset
        for size in ((33, 33), (40, 50)):
            image = tiny.picture(*size)
            labels, _ = model.predict_labels(net, image[np.newaxis])
            predicted = opened.predict(image)
            assert predicted.dtype == np.int32
            assert np.mean(predicted == labels[0]) >= 0.999
            assert len(np.unique(predicted)) > 1

    def test_there_is_none(self, tmp_path):
        with pytest.raises(
            FileNotFoundError, match=f"--export_path={tmp_path} is not a SavedModel"
        ):
            saved_model.ExportedNetwork(str(tmp_path))

    def test_an_operation_that_this_machine_lacks_names_the_flag(self, tmp_path):
        @tf.function(input_signature=another.input_signature)
        def found(images):
            images = tf.cast(images, tf.float32)
            labels = tf.cast(images[..., 0], tf.int32)
            return {"SemanticPredictions": labels, "SemanticProbabilities": images}

        network = saved_model.ExportedNetwork(write(tmp_path / "export", serving_default=found))
        network._signature = mock.Mock(
            side_effect=tf.errors.UnimplementedError(None, None, "no dilations")
        )
        with pytest.raises(
            ValueError, match=f"={tmp_path}/export does not run here: no dilations; .*--target="
        ):
            network.predict(tiny.picture(5, 6))

    @pytest.mark.parametrize("signatures", [{"other": another}, {"serving_default": another}])
    def test_one_of_others(self, tmp_path, signatures):
        path = write(tmp_path / "export", **signatures)
        with pytest.raises(ValueError, match="no SemanticPredictions.*export_model did not write"):
            saved_model.ExportedNetwork(path)
