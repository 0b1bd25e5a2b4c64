"""A model as a function of batches, traced once for batches of any number of images.

Decisions:
- Keras makes a TensorFlow function for each model and traces it for the first sizes of batches that come. TensorFlow
  counts the tracings of all models together, because all share the code of Keras, and warns of "retracing" at the third
  model that a process opens (an ensemble, a comparison, several folds). One function of a free number of images,
  traced when it is made, is never counted, and does not trace again.
- The other backends keep Keras' own way.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

BatchFunction = Callable[[NDArray[np.float32]], Any]


def batch_function(model: keras.Model) -> BatchFunction:
    """What the model gives for a batch (N, H, W, 3) float32: arrays, in the structure of the model's outputs.

    Weights that change later count: the function reads them when it is called.

    Args:
        model: With one input.
    """
    if keras.backend.backend() != "tensorflow":
        return lambda batch: keras.tree.map_structure(keras.ops.convert_to_numpy, model.predict_on_batch(batch))
    import tensorflow as tf

    images = tf.TensorSpec((None, *model.inputs[0].shape[1:]), model.inputs[0].dtype)
    traced = tf.function(lambda batch: model(batch, training=False), autograph=False).get_concrete_function(images)
    return lambda batch: keras.tree.map_structure(lambda given: given.numpy(), traced(tf.constant(batch)))
