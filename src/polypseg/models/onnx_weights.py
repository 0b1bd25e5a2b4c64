"""The weights of an exported ONNX file, brought back into the Keras network that it was exported from.

    model = build_model(config.model, size=256)
    copy_onnx_weights(model, "polyp-lite.onnx")        # predicts as the file does, and can be trained

Decisions:
- An export folds each batch normalisation into the convolution before it. What was folded does not come apart again:
  the convolution takes the folded kernel, its normalisation the folded bias and no scale of its own. Before it is
  trained it has to be given statistics of images (`train.normalisation.settle_normalisation`).
- int8 and half precision come back as what they stand for, rounded as they are.
- Every convolution of the file must find its layer and every layer its convolution, by name and shape: else the file
  is of another network, and nothing is changed.
- Nor can a file of plain gates, which may be shut, give its weights to normalised ones; the other way round it is the
  same arithmetic.
"""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from polypseg.errors import ModelError
from polypseg.models.blocks import gates_of

Array = NDArray[np.float32]
CONVOLUTIONS = ("Conv", "ConvTranspose")
GATE_SIGMOID = re.compile(r"\bgate_\d+_sigmoid")


class Folded(NamedTuple):
    """A convolution as an ONNX file holds it, in ONNX's order of axes.

    Attributes:
        kernel: (out, in, height, width); of a depthwise one (channels, 1, height, width), of a transposed one
            (in, out, height, width).
        bias: (out,), or None.
    """

    kernel: Array
    bias: Array | None


def copy_onnx_weights(model: keras.Model, path: Path | str) -> None:
    """Gives a network the weights of the ONNX file that was exported from one like it, whatever their input sizes.

    Args:
        model: Convolutions, each with or without batch normalisation behind it; changed in place.
        path: What `polypseg export` wrote, or a packaged model's file, in any precision.

    Raises:
        ModelError: No ONNX file, or one of another network.
    """
    path = Path(path)
    graph = _graph(path)
    if gates_of(model) == "normalised" and not _has_normalised_gates(graph):
        raise ModelError(
            f"{path}: its gates are plain, those of the config's network normalised: set model.gates=plain"
        )
    if gates_of(model) == "plain" and _has_normalised_gates(graph):
        raise ModelError(
            f"{path}: its gates are normalised, those of the config's network plain: set model.gates=normalised"
        )
    found = _convolutions(graph, path)
    expected = {layer.name: layer for layer in model.layers if _is_convolution(layer)}
    rest = [layer.name for layer in model.layers if layer.weights and not _is_known(layer)]
    if rest:
        raise ModelError(
            f"{path}: an ONNX file cannot give its weights to {rest[0]}; expected a network of convolutions and batch "
            "normalisation alone (an encoder of its own or efficientnet-lite); start from a run or a .keras file"
        )
    matched = _match(found, set(expected), path)
    for name, layer in expected.items():
        kernel = _keras_kernel(layer, matched[name].kernel)
        if kernel.shape != tuple(layer.kernel.shape):
            raise ModelError(
                f"{path}: its {name} is {_sizes(kernel.shape)}; the config's network has {_sizes(layer.kernel.shape)}: "
                "name the preset, filters and encoder that it was trained with"
            )
        if matched[name].bias is not None and not layer.use_bias and _normalisation_behind(layer) is None:
            raise ModelError(f"{path}: another network than the one that the config names: its {name} has a bias")
    for name, layer in expected.items():
        _give(layer, matched[name])


def gates_of_file(path: Path) -> str:
    """Whether the gates of an exported file are `plain` or `normalised`; errors as `copy_onnx_weights`."""
    return "normalised" if _has_normalised_gates(_graph(path)) else "plain"


def _graph(path: Path) -> Any:
    import onnx

    try:
        return onnx.load(path).graph
    except FileNotFoundError:
        raise ModelError(f"{path}: no such model file; expected an .onnx file") from None
    except Exception as error:  # protobuf's own
        raise ModelError(f"{path}: not an ONNX file, or a damaged one") from error


def _has_normalised_gates(graph: Any) -> bool:
    """Whether the file comes from a network in which the sigmoid of a gate is a layer of its own."""
    return any(GATE_SIGMOID.search(name) for node in graph.node for name in (node.name, *node.output))


def _convolutions(graph: Any, path: Path) -> dict[str, Folded]:
    values, origins = _constants(graph)
    found = {}
    for node in graph.node:
        if node.op_type not in CONVOLUTIONS:
            continue
        kernel, *bias = node.input[1:]
        if kernel not in values or any(name and name not in values for name in bias):
            raise ModelError(f"{path}: the kernel of {node.name} is computed; expected a file of `polypseg export`")
        has_bias = bool(bias and bias[0])
        found[origins[kernel]] = Folded(_single(values[kernel]), _single(values[bias[0]]) if has_bias else None)
    return found


def _constants(graph: Any) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """What does not depend on the input: each value by its name, and the name of the stored array it comes from."""
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    values = {stored.name: numpy_helper.to_array(stored) for stored in graph.initializer}
    origins = {name: name for name in values}
    for node in graph.node:
        inputs = [name for name in node.input if name]
        if not inputs or any(name not in values for name in inputs):
            continue
        outputs = ReferenceEvaluator(node).run(None, {name: values[name] for name in inputs})
        for name, value in zip(node.output, outputs, strict=True):
            values[name], origins[name] = value, origins[inputs[0]]
    return values, origins


def _match(found: dict[str, Folded], names: set[str], path: Path) -> dict[str, Folded]:
    """The convolution of each layer: that whose name holds the layer's, as it is or numbered by the export."""
    matched: dict[str, list[Folded]] = defaultdict(list)
    strange = []
    for origin, folded in found.items():
        parts = set(origin.split("/"))
        here = [name for name in names if parts & {name, f"{name}_1"}]
        if len(here) == 1:
            matched[here[0]].append(folded)
        else:
            strange.append(origin)
    missing = sorted(name for name in names if len(matched[name]) != 1)
    if strange or missing:
        what = f"holds {strange[0]}, which the network does not" if strange else f"does not hold {missing[0]}"
        raise ModelError(
            f"{path}: another network than the one that the config names: it {what}; name the preset, filters and "
            "encoder that it was trained with"
        )
    return {name: matched[name][0] for name in names}


def _give(layer: Any, folded: Folded) -> None:
    """Kernel and bias to a layer; what it has no place for goes to the batch normalisation behind it."""
    layer.kernel.assign(_keras_kernel(layer, folded.kernel))
    channels = layer.kernel.shape[-2 if _is_turned(layer) else -1]
    bias = np.zeros(channels, np.float32) if folded.bias is None else folded.bias
    behind = _normalisation_behind(layer)
    if behind is not None:
        behind.gamma.assign(np.ones_like(bias))
        behind.moving_mean.assign(np.zeros_like(bias))
        behind.moving_variance.assign(np.full_like(bias, 1 - behind.epsilon))
        behind.beta.assign(bias)
        bias = np.zeros_like(bias)
    if layer.use_bias:
        layer.bias.assign(bias)


def _normalisation_behind(layer: Any) -> Any | None:
    following = (node.operation for node in layer._outbound_nodes)
    return next((other for other in following if isinstance(other, layers.BatchNormalization)), None)


def _keras_kernel(layer: Any, kernel: Array) -> Array:
    """(height, width, in, out) for a convolution, (height, width, channels, 1) or (height, width, out, in) for others.

    ONNX has the kernel of a transposed convolution as (in, out, …) and that of a depthwise one as (channels, 1, …).
    """
    return kernel.transpose((2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0))


def _is_turned(layer: Any) -> bool:
    """Whether the layer's kernel has its output channels last but one."""
    return isinstance(layer, layers.DepthwiseConv2D | layers.Conv2DTranspose)


def _is_convolution(layer: Any) -> bool:
    return isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D | layers.Conv2DTranspose)


def _is_known(layer: Any) -> bool:
    return _is_convolution(layer) or isinstance(layer, layers.BatchNormalization)


def _single(values: Any) -> Array:
    return np.asarray(values, np.float32)


def _sizes(shape: Any) -> str:
    return " x ".join(map(str, shape))
