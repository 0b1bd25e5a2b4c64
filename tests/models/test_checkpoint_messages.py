"""What load_model says of a file that it cannot load."""

import keras
import pytest
from keras.src.saving import object_registration

from polypseg.errors import ModelError
from polypseg.models.checkpoint import load_model


def test_unknown_class_is_named_in_one_line(tmp_path):
    @keras.saving.register_keras_serializable("elsewhere")
    class Strange(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    inputs = keras.Input((4,))
    keras.Model(inputs, Strange()(inputs)).save(tmp_path / "strange.keras")
    object_registration.GLOBAL_CUSTOM_OBJECTS.pop("elsewhere>Strange")
    object_registration.GLOBAL_CUSTOM_NAMES.pop(Strange)

    with pytest.raises(ModelError, match=r"the class 'Strange'.*import the module that registers it") as caught:
        load_model(tmp_path / "strange.keras")
    assert "\n" not in str(caught.value)
    assert "could not be deserialized" not in str(caught.value)
