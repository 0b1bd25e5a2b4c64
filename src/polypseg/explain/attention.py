"""Attention maps: the coefficients of a model's gates, at the image's own size."""

from functools import lru_cache
from typing import TYPE_CHECKING

from polypseg.arrays import Image
from polypseg.errors import ModelError
from polypseg.predict.attention import AttentionMap
from polypseg.predict.engines.keras_engine import KerasEngine
from polypseg.predict.predictor import PredictOptions, Predictor
from polypseg.preprocess import FieldRule

if TYPE_CHECKING:
    import keras

__all__ = ["AttentionMap", "attention_maps"]


def attention_maps(model: "keras.Model", image: Image, field: FieldRule = "whole") -> list[AttentionMap]:
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
    if None in model.input_shape[1:3]:
        raise ModelError(f"the model {model.name!r} has no fixed input size; build it with one")
    return Predictor(_engine_of(model), PredictOptions(attention=True, field=field)).predict(image).attention()


@lru_cache(maxsize=1)
def _engine_of(model: "keras.Model") -> KerasEngine:
    """The engine of a model; that of the last model is kept, for a new one costs a compilation."""
    return KerasEngine(model)
