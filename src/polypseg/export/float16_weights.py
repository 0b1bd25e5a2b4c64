"""Weights in half precision: a file of half the size that every runtime computes in single precision.

The kernels are stored as float16, each followed by a cast to float32, which runtimes carry out once, when they load
the model. Half-precision arithmetic itself is no use on most processors, and not in ONNX Runtime's on any.
"""

from typing import Any

import numpy as np

from polypseg.errors import ModelError

SMALLEST = 256
"""Arrays of fewer values (biases, scales) stay as they are: they would save nothing."""


def store_as_float16(graph: Any) -> Any:
    """A copy of an `onnx.ModelProto` with its kernels in half precision.

    Raises:
        ModelError: A weight is too large for half precision.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    casts = []
    for weight in copy.graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or int(np.prod(weight.dims)) < SMALLEST:
            continue
        values = onnx.numpy_helper.to_array(weight)
        if np.abs(values).max() > np.finfo(np.float16).max:
            raise ModelError(f"the weight {weight.name} holds values above 65504; fp16 cannot: export it as fp32")
        name = weight.name
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(onnx.helper.make_node("Cast", [weight.name], [name], f"{name}_cast", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *copy.graph.node]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy
