from collections import Counter

import keras
import numpy as np
import onnxruntime
import pytest

from export.models import SIDE, red_model, small_attention_unet
from polypseg.errors import ModelError
from polypseg.export.graph import convert, free_size, largest_stride, multiply_adds
from polypseg.predict.engines.keras_engine import gate_levels


@pytest.fixture(scope="module")
def model():
    return small_attention_unet()


@pytest.fixture(scope="module")
def graph(model):
    return convert(model)


def answers(graph, image, names=None):
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(names, {"image": image})


def noise(*shape):
    return np.random.default_rng(1).random(shape, np.float32)


def test_inputs_and_outputs_have_their_names_and_a_free_batch(graph):
    def described(values):
        return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}

    assert described(graph.graph.input) == {"image": ["batch", SIDE, SIDE, 3]}
    half = ["batch", SIDE // 2, SIDE // 2, 1]
    whole = ["batch", SIDE, SIDE, 1]
    assert described(graph.graph.output) == {"probability": whole, "attention_1": whole, "attention_2": half}
    assert [output.name for output in graph.graph.output] == ["probability", "attention_1", "attention_2"]


def test_normalisation_is_folded_and_layout_changes_are_few(graph):
    kinds = Counter(node.op_type for node in graph.graph.node)
    assert not set(kinds) & {"BatchNormalization", "Identity", "Pad", "Squeeze", "Unsqueeze", "Cast"}
    # 5 double convolutions, 2 gates of 3, the head
    assert kinds["Conv"] == 10 + 6 + 1
    assert kinds["ConvTranspose"] == 2
    # The image; probability and both attentions move an axis of length one
    assert kinds["Transpose"] + kinds["Reshape"] == 4


def test_without_attention_there_is_one_output(model):
    assert [output.name for output in convert(model, attention=False).graph.output] == ["probability"]


def test_winograd_is_exported_as_the_plain_convolution():
    model = red_model(16)
    graph = convert(model)
    assert Counter(node.op_type for node in graph.graph.node)["Conv"] == 2
    image = noise(2, 16, 16, 3)
    np.testing.assert_allclose(answers(graph, image)[0], model.predict_on_batch(image), atol=1e-6)


def test_multiply_adds_by_hand():
    # 16x16 places: 3x3 kernel from 3 to 4 channels, then 1x1 from 4 to 1
    assert multiply_adds(convert(red_model(16))) == 256 * (9 * 3 * 4) + 256 * 4


def test_multiply_adds_of_a_transposed_convolution_by_hand():
    image = keras.Input((4, 4, 3), name="image")
    model = keras.Model(image, keras.layers.Conv2DTranspose(5, 2, strides=2)(image), name="up")
    # Each of 16 places of the input gives 2x2 places of 5 channels, from 3
    assert multiply_adds(convert(model)) == 16 * 3 * (2 * 2 * 5)


def test_any_size_gives_what_keras_gives_there(model, graph):
    free = free_size(graph)
    assert [d.dim_param for d in free.graph.input[0].type.tensor_type.shape.dim[:3]] == ["batch", "height", "width"]
    twin = keras.models.clone_model(model, input_tensors=keras.Input((20, 44, 3), name="image"))
    twin.set_weights(model.get_weights())
    image = noise(1, 20, 44, 3)
    probability, finest, coarsest = answers(free, image)
    np.testing.assert_allclose(probability, twin.predict_on_batch(image), atol=1e-5)
    assert finest.shape == (1, 20, 44, 1)
    assert coarsest.shape == (1, 10, 22, 1)


def test_a_model_with_a_fixed_shape_cannot_take_any_size():
    image = keras.Input((8, 8, 3), name="image")
    rows = keras.layers.Reshape((4, 16, 3))(image)
    model = keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid")(rows), name="fixed")
    with pytest.raises(ModelError, match="cannot take other sizes than its own"):
        free_size(convert(model))


def test_stride_is_that_of_the_coarsest_features(graph):
    assert largest_stride(graph, SIDE) == 4


def test_gates_are_found_by_level(model):
    assert {level: layer.name for level, layer in gate_levels(model).items()} == {
        1: "gate_1_attention",
        2: "gate_2_attention",
    }
    assert gate_levels(red_model(16)) == {}
