"""From a Keras functional model to the list of its calls, each in words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["input", "convolution", "resample", "merge", "attached", "other"]


@dataclass(frozen=True)
class Step:
    """One call of a layer (or of an operation).

    Attributes:
        name: The layer's name; with #2, #3 … from its second call on.
        kind: What it does to a picture; `attached` joins the layer before it.
        words: The same, to be read: the operation, and its own activation.
        filters: Of a convolution; None where it has none of its own.
        shape: What it returns, without the batch.
        parents: Places in the list of steps, all before this one's.
        returned: The model returns it.
    """

    name: str
    kind: Kind
    words: tuple[str, ...]
    filters: int | None
    shape: tuple[int | None, ...]
    parents: tuple[int, ...]
    returned: bool


def trace(model: Any) -> list[Step]:
    """The calls that lead to the model's outputs, each after those that it depends on."""
    calls: dict[int, tuple[Any, Any]] = {}  # id of a node: its operation and the node itself, in order
    returned = {id(_node(tensor)[1]) for tensor in model.outputs}
    stack = [(_node(tensor), False) for tensor in reversed(model.outputs)]
    while stack:
        (operation, node), ready = stack.pop()
        if id(node) in calls:
            continue
        if ready:
            calls[id(node)] = operation, node
            continue
        stack.append(((operation, node), True))
        stack += [(_node(tensor), False) for tensor in reversed(node.input_tensors)]
    places = {key: place for place, key in enumerate(calls)}
    steps, seen = [], dict[str, int]()
    for key, (operation, node) in calls.items():
        seen[operation.name] = seen.get(operation.name, 0) + 1
        name = operation.name + (f"#{seen[operation.name]}" if seen[operation.name] > 1 else "")
        kind, words, filters = describe(operation)
        shape = tuple(node.output_tensors[0].shape[1:])
        parents = tuple(places[id(_node(tensor)[1])] for tensor in node.input_tensors)
        steps.append(Step(name, kind, words, filters, shape, parents, key in returned))
    return steps


def describe(operation: Any) -> tuple[Kind, tuple[str, ...], int | None]:
    """What a layer or operation does to a picture, in words, and its number of filters.

    >>> from keras import layers
    >>> describe(layers.Conv2D(16, 3, strides=2, activation="relu"))
    ('convolution', ('3×3 conv /2', 'ReLU'), 16)
    >>> describe(layers.BatchNormalization())
    ('attached', ('BN',), None)
    """
    known = next((each.__name__ for each in type(operation).__mro__ if each.__name__ in _WORDS), None)
    if known is None:
        return "other", (type(operation).__name__,), None
    kind, text = _WORDS[known]
    words = (text(operation) if callable(text) else text,)
    if kind != "convolution":
        return kind, words, None
    activation = _activation_name(operation.activation)
    return kind, words if activation == "linear" else (*words, activation), getattr(operation, "filters", None)


def _node(tensor: Any) -> tuple[Any, Any]:
    """The operation that made a tensor, and the call of it."""
    operation, call, _ = tensor._keras_history
    return operation, operation._inbound_nodes[call]


def _times(values: Sequence[int]) -> str:
    return "×".join(map(str, values))


def _convolution(word: str) -> Callable[[Any], str]:
    def words(layer: Any) -> str:
        stride = max(layer.strides)
        rate = max(layer.dilation_rate)
        text = f"{_times(layer.kernel_size)} {word}"
        text += f" /{stride}" if stride > 1 and word != "up-conv" else ""
        return text + (f" rate {rate}" if rate > 1 else "")

    return words


def _pool(word: str) -> Callable[[Any], str]:
    return lambda layer: f"{_times(layer.pool_size)} {word}"


def _upsample(layer: Any) -> str:
    size = layer.size if isinstance(layer.size, Sequence) else (layer.size,)
    return f"{_times(size)} up, {getattr(layer, 'interpolation', 'nearest')}"


_ACTIVATIONS = {
    "relu": "ReLU",
    "leaky_relu": "leaky ReLU",
    "relu6": "ReLU6",
    "elu": "ELU",
    "gelu": "GELU",
    "sigmoid": "σ",
}

_WORDS: dict[str, tuple[Kind, str | Callable[[Any], str]]] = {
    "InputLayer": ("input", lambda layer: layer.name.replace("_", " ")),
    **{f"Conv{n}DTranspose": ("convolution", _convolution("up-conv")) for n in (1, 2, 3)},
    **{f"DepthwiseConv{n}D": ("convolution", _convolution("depthwise conv")) for n in (1, 2)},
    **{f"SeparableConv{n}D": ("convolution", _convolution("separable conv")) for n in (1, 2)},
    **{f"Conv{n}D": ("convolution", _convolution("conv")) for n in (1, 2, 3)},
    "Dense": ("convolution", lambda layer: f"dense, {layer.units} units"),
    **{f"MaxPooling{n}D": ("resample", _pool("max pool")) for n in (1, 2, 3)},
    **{f"AveragePooling{n}D": ("resample", _pool("mean pool")) for n in (1, 2, 3)},
    **{f"GlobalAveragePooling{n}D": ("resample", "global mean") for n in (1, 2, 3)},
    **{f"GlobalMaxPooling{n}D": ("resample", "global max") for n in (1, 2, 3)},
    **{f"UpSampling{n}D": ("resample", _upsample) for n in (1, 2, 3)},
    "Resizing": ("resample", lambda layer: f"resize, {layer.interpolation}"),
    "Resize": ("resample", lambda operation: f"resize, {operation.interpolation}"),
    "Add": ("merge", "+"),
    "Subtract": ("merge", "−"),
    "Multiply": ("merge", "×"),
    "Concatenate": ("merge", "concat"),
    "Average": ("merge", "mean"),
    "Maximum": ("merge", "max"),
    "Minimum": ("merge", "min"),
    "BatchNormalization": ("attached", "BN"),
    "LayerNormalization": ("attached", "LN"),
    "GroupNormalization": ("attached", "GN"),
    "UnitNormalization": ("attached", "unit norm"),
    "Dropout": ("attached", lambda layer: f"dropout {layer.rate:g}"),
    "SpatialDropout2D": ("attached", lambda layer: f"dropout {layer.rate:g}"),
    "Activation": ("attached", lambda layer: _activation_name(layer.activation)),
    "ReLU": ("attached", "ReLU"),
    "Relu": ("attached", "ReLU"),
    "LeakyReLU": ("attached", "leaky ReLU"),
    "PReLU": ("attached", "PReLU"),
    "ELU": ("attached", "ELU"),
    "Sigmoid": ("attached", "σ"),
    "Softmax": ("attached", "softmax"),
    "Functional": ("other", lambda model: model.name.replace("_", " ")),
    "Sequential": ("other", lambda model: model.name.replace("_", " ")),
}
"""By the name of a class or of one of its ancestors: kind, and words or what makes them of the layer."""


def _activation_name(activation: Any) -> str:
    name = getattr(activation, "__name__", type(activation).__name__)
    return _ACTIVATIONS.get(name, name.replace("_", " "))
