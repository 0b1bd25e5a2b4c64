"""Attention maps: the coefficients of a model's gates, at the image's own size."""

from weakref import WeakKeyDictionary

import keras
import numpy as np

from polypseg.arrays import Image, check_image
from polypseg.errors import ModelError
from polypseg.predict.attention import AttentionMap
from polypseg.predict.engines.keras_engine import gate_levels
from polypseg.preprocess import FieldRule, field_of, normalise, put_back, resize_image

__all__ = ["AttentionMap", "attention_maps"]

_READERS: "WeakKeyDictionary[keras.Model, keras.Model]" = WeakKeyDictionary()
"""The model that gives the gates' outputs, for each model that was asked."""


def attention_maps(model: keras.Model, image: Image, field: FieldRule = "whole") -> list[AttentionMap]:
    """The gates' coefficients alpha for an image, the finest level first.

    Args:
        model: An `attention_unet`, as trained or loaded.
        image: Shape (H, W, 3), uint8, any size.
        field: `auto` where the model was trained on the lit field alone.

    Raises:
        ModelError: The model has no gates, or no fixed input size.
        DataError: Not an image.

    Reference:
        Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018, fig. 3.
    """
    gates = gate_levels(model)
    if not gates:
        raise ModelError(f"the model {model.name!r} has no attention gates; expected an attention_unet")
    size = model.input_shape[1:3]
    if None in size:
        raise ModelError(f"the model {model.name!r} has no fixed input size; build it with one")
    image = check_image(image)
    seen, _ = field_of(image, field)
    batch = normalise(resize_image(seen.crop(image), size))[None]
    if model not in _READERS:  # built once a model: each new one costs a compilation
        _READERS[model] = keras.Model(model.input, {str(level): gate.output for level, gate in gates.items()})
    alphas = _READERS[model].predict_on_batch(batch)
    return [
        AttentionMap(
            level, put_back(np.asarray(keras.ops.convert_to_numpy(alphas[str(level)]))[0, ..., 0], seen, image.shape)
        )
        for level in gates
    ]
