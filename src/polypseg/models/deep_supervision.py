"""Deep supervision: in training every level of the decoder answers for itself; a finished model gives one probability.

The network that is trained gives a map more for each coarser level, as channels beside the probability, so that one
reference judges all of them (`train.losses.DeepSupervision`). What is saved as the best model has none of it.

Reference:
    Lee et al., "Deeply-Supervised Nets", AISTATS 2015.
"""

import keras
from keras import layers

from polypseg.errors import ModelError
from polypseg.models.attention_unet import prior_bias

SUPERVISED = "supervision_probabilities"
"""The layer that puts the maps side by side."""


def with_supervised_levels(model: keras.Model) -> keras.Model:
    """The model with a map more for each decoder level below the finest: (N, H, W, 3) to (N, H, W, levels).

    Args:
        model: An `attention_unet` or a `unet` of a fixed size.

    Returns:
        A model of the same layers and weights, whose first channel is the probability, the next that of level 2, at
        the image's size, and so on.

    Raises:
        ModelError: Its size is open, or its decoder has one level only.
    """
    side = model.output.shape[1]
    names = {layer.name for layer in model.layers}
    levels = [level for level in range(2, 9) if f"decoder_{level}_2_relu" in names]
    if side is None or not levels:
        raise ModelError(
            f"deep supervision needs a fixed size and a decoder of at least two levels; {model.name} has the size "
            f"{side} and {len(levels) + 1} level(s)"
        )
    maps = [model.output]
    for level in levels:
        features = model.get_layer(f"decoder_{level}_2_relu").output
        name = f"supervision_{level}"
        logits = layers.Conv2D(1, 1, bias_initializer=prior_bias(), dtype="float32", name=f"{name}_logits")(features)
        factor = side // features.shape[1]
        logits = layers.UpSampling2D(factor, interpolation="bilinear", dtype="float32", name=f"{name}_upsample")(logits)
        maps.append(layers.Activation("sigmoid", dtype="float32", name=f"{name}_probability")(logits))
    return keras.Model(model.input, layers.Concatenate(dtype="float32", name=SUPERVISED)(maps), name=model.name)


def without_supervised_levels(model: keras.Model) -> keras.Model:
    """The model that gives the probability alone, of the same layers; a model without other maps comes back itself."""
    if not any(layer.name == SUPERVISED for layer in model.layers):
        return model
    return keras.Model(model.input, model.get_layer("head_probability").output, name=model.name)
