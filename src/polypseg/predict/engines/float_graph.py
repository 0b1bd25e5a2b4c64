"""A graph without its integers: what an int8 or fp16 file computes, in fp32.

Decisions:
- A value that was rounded to 8 bits is clipped to the range that they reach, no more: the quantisers rely on it where
  they take a ReLU out.
- Weights and biases stay what their integers stand for. What their rounding lost is not found again.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Weights = dict[str, NDArray[np.float32]]


def in_float(graph: Any) -> Any:
    """A copy of an `onnx.ModelProto` in fp32, without QuantizeLinear, DequantizeLinear and stored half precision."""
    from onnx import ModelProto, helper, numpy_helper

    copy = ModelProto()
    copy.CopyFrom(graph)
    values = {stored.name: numpy_helper.to_array(stored) for stored in copy.graph.initializer}
    makers = {output: node for node in copy.graph.node for output in node.output}
    nodes, made = [], _Weights()
    for node in copy.graph.node:
        if node.op_type == "Cast" and node.input[0] in values:
            made[node.output[0]] = values[node.input[0]].astype(np.float32)
        elif node.op_type == "DequantizeLinear" and node.input[0] in values:
            made[node.output[0]] = dequantised(node, values)
        elif node.op_type == "DequantizeLinear":
            low, high = f"{node.name}_low", f"{node.name}_high"
            made[low], made[high] = _range(node, values)
            source = makers[node.input[0]].input[0]
            nodes.append(helper.make_node("Clip", [source, low, high], list(node.output), name=f"{node.name}_clip"))
        elif node.op_type != "QuantizeLinear":
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [stored for stored in copy.graph.initializer if stored.name in used and stored.name not in made]
    kept += [numpy_helper.from_array(value, name) for name, value in made.items() if name in used]
    nodes = [_copied(node) for node in nodes]
    del copy.graph.node[:], copy.graph.initializer[:], copy.graph.value_info[:]
    copy.graph.node.extend(nodes)
    copy.graph.initializer.extend(kept)
    return copy


def dequantised(node: Any, values: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """What a DequantizeLinear makes of stored integers."""
    from onnx import helper

    stored, steps = values[node.input[0]], values[node.input[1]].astype(np.float32)
    zero = values[node.input[2]] if len(node.input) > 2 else np.zeros_like(steps)
    axis = next((helper.get_attribute_value(a) for a in node.attribute if a.name == "axis"), 1)
    if steps.ndim:
        shape = [1] * stored.ndim
        shape[axis if stored.ndim > 1 else 0] = -1
        steps, zero = steps.reshape(shape), zero.reshape(shape)
    return np.asarray((stored.astype(np.float64) - zero) * steps, np.float32)


def _range(node: Any, values: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The lowest and the highest value that 8 bits reach."""
    step, zero = values[node.input[1]].astype(np.float64), values[node.input[2]]
    limits = np.iinfo(zero.dtype)
    low, high = ((limit - float(zero)) * float(step) for limit in (limits.min, limits.max))
    return np.asarray(low, np.float32), np.asarray(high, np.float32)


def _copied(node: Any) -> Any:
    from onnx import NodeProto

    copy = NodeProto()
    copy.CopyFrom(node)
    return copy
