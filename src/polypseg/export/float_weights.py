"""Convolutions of a quantised graph whose kernels stay in fp32."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polypseg.export.pair_sums import CONVOLUTIONS

Weights = dict[str, NDArray[np.float32]]
"""Kernels by the name of the convolution's node."""


def convolution_weights(graph: Any) -> Weights:
    """The kernels of a graph in fp32, by the name of the convolution's node."""
    from onnx import numpy_helper

    stored = {value.name: value for value in graph.graph.initializer}
    return {
        node.name: numpy_helper.to_array(stored[node.input[1]]).astype(np.float32)
        for node in graph.graph.node
        if node.op_type in CONVOLUTIONS and node.input[1] in stored
    }


def keep_in_float(graph: Any, weights: Mapping[str, NDArray[np.float32]]) -> Any:
    """A copy of a quantised graph in which the named convolutions have kernels in fp32; what goes in stays rounded."""
    from onnx import ModelProto, numpy_helper

    copy = ModelProto()
    copy.CopyFrom(graph)
    makers = {output: node for node in copy.graph.node for output in node.output}
    for node in copy.graph.node:
        if node.name not in weights:
            continue
        dequantising = makers[node.input[1]]
        name = f"{node.name}_in_float"
        copy.graph.initializer.append(numpy_helper.from_array(np.asarray(weights[node.name], np.float32), name))
        node.input[1] = name
        copy.graph.node.remove(dequantising)
        for stored in [value for value in copy.graph.initializer if value.name in dequantising.input]:
            if not any(stored.name in other.input for other in copy.graph.node):
                copy.graph.initializer.remove(stored)
    return copy
