"""From a Keras model to an ONNX graph that is quick to run.

Decisions:
- tf2onnx converts: it folds batch normalisation into convolutions and keeps one layout throughout. What is left of
  layout changes moves an axis of length one.
- Input `image` (N, size, size, 3), output `probability` (N, size, size, 1), and for each gate `attention_1` (the
  finest) … (N, h, w, 1). The coefficients are values of the graph anyway; as outputs they cost a copy, where asked for.
- `free_size` makes height and width free too. The graph is that of the fixed size; only the reshapes, which know
  their size, become transposes.
- Opset 18: the highest that tf2onnx writes; every ONNX Runtime and OpenVINO that polypseg supports reads it.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from polypseg import __version__
from polypseg.errors import ModelError, UsageError
from polypseg.export.folding import fold_normalisations
from polypseg.predict.engines.checking import ATTENTION, IMAGE, PROBABILITY
from polypseg.predict.engines.keras_engine import gate_levels

OPSET = 18
_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def convert(model: Any, attention: bool = True) -> Any:
    """The ONNX graph of a Keras model, an `onnx.ModelProto` without metadata.

    Args:
        model: Takes (N, size, size, 3) float32 in [0, 1], gives (N, size, size, 1).
        attention: Whether the gates' coefficients are outputs; a model without gates has none.

    Raises:
        UsageError: Keras runs on another backend than TensorFlow.
        ModelError: The model cannot be converted.
    """
    import keras

    outputs = {PROBABILITY: model.output}
    if attention:
        outputs |= {f"{ATTENTION}{level}": layer.output for level, layer in gate_levels(model).items()}
    graph = _converted(keras.Model(model.input, outputs), tuple(model.input_shape[1:]))
    stamp(graph)
    _order_outputs(graph, list(outputs))
    _drop_idle_reshapes(graph)
    fold_normalisations(graph)
    _drop_unused_weights(graph)
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    return graph


def stamp(graph: Any) -> None:
    """Make a graph polypseg's: its name, no metadata yet, and only the operator sets that it uses."""
    graph.producer_name, graph.producer_version = "polypseg", __version__
    used = {node.domain for node in graph.graph.node}
    for entry in [entry for entry in graph.opset_import if entry.domain not in used]:
        graph.opset_import.remove(entry)
    del graph.metadata_props[:]


def free_size(graph: Any) -> Any:
    """A copy of a graph that takes every height and width that fit its stride.

    Reshapes of a fixed size become the transposes that they stand for.

    Raises:
        ModelError: A reshape stands for something else.
    """
    import onnx

    free = onnx.ModelProto()
    free.CopyFrom(graph)
    sizes = _sizes(graph)
    for node in free.graph.node:
        if node.op_type == "Reshape":
            source, target = sizes[node.input[0]], sizes[node.output[0]]
            permutation = next(
                (p for p in (_TO_CHANNELS_LAST, _TO_CHANNELS_FIRST) if _is_move(source, target, p)), None
            )
            if permutation is None:
                raise ModelError(
                    f"the model cannot take other sizes than its own: its {node.name} has a fixed shape; export it "
                    "without --any-size"
                )
            node.CopyFrom(onnx.helper.make_node("Transpose", node.input[:1], node.output, node.name, perm=permutation))
    for value in (*free.graph.input, *free.graph.output):
        prefix = "" if value.name in (IMAGE, PROBABILITY) else f"{value.name}_"
        dimensions = value.type.tensor_type.shape.dim
        dimensions[1].dim_param, dimensions[2].dim_param = f"{prefix}height", f"{prefix}width"
    del free.graph.value_info[:]
    _drop_unused_weights(free)
    return free


def _is_move(source: list[int], target: list[int], permutation: list[int]) -> bool:
    """Whether a reshape is a transpose that moves an axis of length one."""
    if len(source) != 4 or len(target) != 4 or source[permutation[3 if permutation[3] == 1 else 1]] != 1:
        return False
    return [source[axis] for axis in permutation] == target


def multiply_adds(graph: Any) -> int:
    """Multiply-adds of one image in the convolutions and matrix products of a graph.

    Each output value of a convolution takes kernel height x kernel width x input channels of its group; each input
    value of a transposed one goes into kernel height x kernel width x output channels.
    """
    import onnx

    sizes = _sizes(graph)
    kernels = {weight.name: list(weight.dims) for weight in graph.graph.initializer}
    total = 0
    for node in graph.graph.node:
        kernel = kernels.get(node.input[1]) if len(node.input) > 1 else None
        if node.op_type not in ("Conv", "ConvTranspose", "MatMul", "Gemm") or kernel is None:
            continue
        place = sizes[node.input[0] if node.op_type == "ConvTranspose" else node.output[0]]
        if node.op_type in ("Conv", "ConvTranspose"):
            total += _product(place[1:]) * _product(kernel[1:])
        else:
            rows = kernel[0] if node.op_type == "MatMul" or not _is_transposed(node, onnx) else kernel[1]
            total += _product(place[1:]) * rows
    return total


def largest_stride(graph: Any, size: int) -> int:
    """By how much the coarsest features of a graph are smaller than the image."""
    sides = [shape[-1] for shape in _sizes(graph).values() if len(shape) == 4 and shape[-1] == shape[-2]]
    return size // min(side for side in sides if side > 1 or size == 1)


def _converted(model: Any, shape: tuple[int, int, int]) -> Any:
    import keras

    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            f"export goes through TensorFlow, and Keras runs on {keras.backend.backend()}; set KERAS_BACKEND=tensorflow"
        )
    import tensorflow as tf
    import tf2onnx

    signature = [tf.TensorSpec((None, *shape), tf.float32, name=IMAGE)]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
    def inference(image: Any) -> Any:
        return model(image, training=False)

    try:
        with _quiet("tf2onnx"):
            return tf2onnx.convert.from_function(inference, signature, opset=OPSET)[0]
    except Exception as error:  # tf2onnx raises whatever comes
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"the model {model.name!r} cannot be converted to ONNX: {reason}") from error


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """A logger that tells errors only."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _order_outputs(graph: Any, names: list[str]) -> None:
    by_name = {output.name: output for output in graph.graph.output}
    ordered = [by_name[name] for name in names]
    del graph.graph.output[:]
    graph.graph.output.extend(ordered)


def _drop_idle_reshapes(graph: Any) -> None:
    """Take out the reshapes that tf2onnx leaves where two changes of layout cancel each other."""
    sizes, outputs = _sizes(graph), {output.name for output in graph.graph.output}
    idle = {
        node.output[0]: node.input[0]
        for node in graph.graph.node
        if node.op_type == "Reshape" and node.output[0] not in outputs and sizes[node.input[0]] == sizes[node.output[0]]
    }
    kept = [node for node in graph.graph.node if node.output[0] not in idle]
    for node in kept:
        for place, name in enumerate(node.input):
            while name in idle:
                name = idle[name]
            node.input[place] = name
    del graph.graph.node[:]
    graph.graph.node.extend(kept)
    _drop_unused_weights(graph)


def _drop_unused_weights(graph: Any) -> None:
    used = {name for node in graph.graph.node for name in node.input}
    for weight in [weight for weight in graph.graph.initializer if weight.name not in used]:
        graph.graph.initializer.remove(weight)


def _sizes(graph: Any) -> dict[str, list[int]]:
    """The shape of every value, the batch being 0."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(graph, data_prop=True).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    return {value.name: [int(d.dim_value) for d in value.type.tensor_type.shape.dim] for value in values}


def _product(numbers: list[int]) -> int:
    product = 1
    for number in numbers:
        product *= number
    return product


def _is_transposed(node: Any, onnx: Any) -> bool:
    return any(a.name == "transB" and onnx.helper.get_attribute_value(a) for a in node.attribute)
