import numpy as np
import onnx
import pytest

from export.models import SIDE, small_attention_unet
from export.test_graph import answers, noise
from polypseg.errors import ModelError
from polypseg.export.float16_weights import SMALLEST, store_as_float16
from polypseg.export.graph import convert


@pytest.fixture(scope="module")
def graph():
    return convert(small_attention_unet())


def test_kernels_are_stored_in_half_and_small_arrays_are_not(graph):
    kinds = {w.name: (w.data_type, int(np.prod(w.dims))) for w in store_as_float16(graph).graph.initializer}
    assert any(kind == onnx.TensorProto.FLOAT16 for kind, _ in kinds.values())
    for kind, count in kinds.values():
        assert (kind == onnx.TensorProto.FLOAT16) <= (count >= SMALLEST)
    assert not any(kind == onnx.TensorProto.FLOAT and count >= SMALLEST for kind, count in kinds.values())


def test_the_file_shrinks_and_the_source_is_left_alone(graph):
    before = graph.SerializeToString()
    assert len(store_as_float16(graph).SerializeToString()) < 0.8 * len(before)
    assert graph.SerializeToString() == before


def test_answers_are_nearly_the_same_but_not_equal(graph):
    image = noise(2, SIDE, SIDE, 3)
    whole, half = answers(graph, image)[0], answers(store_as_float16(graph), image)[0]
    assert 0 < np.abs(whole - half).max() < 5e-3


def test_a_weight_beyond_half_precision_is_refused(graph):
    large = onnx.ModelProto()
    large.CopyFrom(graph)
    weight = next(w for w in large.graph.initializer if np.prod(w.dims) >= SMALLEST)
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[0] = 70000
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    with pytest.raises(ModelError, match="above 65504; fp16 cannot"):
        store_as_float16(large)
