"""How much arithmetic a network is: the multiply-adds of its convolutions and matrix products."""

import math

import keras


def multiply_adds(model: keras.Model) -> int:
    """Multiply-adds of one image, summed over the layers, those of nested models too.

    A convolution takes one for each weight of its kernel at each place of its output; a transposed one at each place of
    its input, a dense layer at each row. Normalisation, activation, attention's products and resizing are left out: in
    these networks they are a few per cent.

    Args:
        model: With fixed sizes of its input, such as (None, 256, 256, 3).

    Raises:
        ValueError: A size is not fixed.

    >>> convolution = keras.layers.Conv2D(8, 3, padding="same")
    >>> multiply_adds(keras.Sequential([keras.Input((4, 4, 2)), convolution]))  # 16 places x 3 x 3 x 2 x 8
    2304
    """
    total = 0
    for layer in model._flatten_layers():  # Keras names no public way into nested models
        kernel = getattr(layer, "kernel", None)
        if kernel is None:
            continue
        is_transposed = isinstance(layer, keras.layers.Conv2DTranspose)
        places = (layer.input if is_transposed else layer.output).shape[1:-1]
        if None in places:
            raise ValueError(f"{layer.name}: {places} places; expected a model of a fixed input size")
        total += math.prod(places) * math.prod(kernel.shape)
    return total
