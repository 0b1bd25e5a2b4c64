"""Weights that come back from an exported file: the same predictions, or a refusal that changes nothing."""

import keras
import numpy as np
import onnx
import pytest

from export.models import SIDE, small_attention_unet, small_polyp_lite
from polypseg.errors import ModelError
from polypseg.export.float16_weights import store_as_float16
from polypseg.export.graph import convert
from polypseg.export.quantize import quantise
from polypseg.models.attention_unet import attention_unet
from polypseg.models.onnx_weights import copy_onnx_weights
from polypseg.models.registry import build_model, preset
from polypseg.predict.engines.packaged import resolve


@pytest.fixture(scope="module")
def unet_graph():
    return convert(small_attention_unet())


def saved(graph, path):
    onnx.save(graph, path)
    return path


def fresh_unet(filters=4, size=SIDE):
    """A network like the exported one, with other weights."""
    keras.utils.set_random_seed(7)
    return attention_unet((size, size, 3), filters=filters, depth=2)


def answer(model, seed=3):
    size = model.input_shape[1]
    image = np.random.default_rng(seed).random((2, size, size, 3), np.float32)
    return np.asarray(model(image, training=False))


def test_network_predicts_as_the_one_that_was_exported(unet_graph, tmp_path):
    model = fresh_unet()
    assert np.abs(answer(model) - answer(small_attention_unet())).max() > 0.1
    copy_onnx_weights(model, saved(unet_graph, tmp_path / "model.onnx"))
    np.testing.assert_allclose(answer(model), answer(small_attention_unet()), atol=1e-5)


def test_pretrained_encoders_depthwise_convolutions_come_back_too(tmp_path):
    keras.utils.set_random_seed(7)
    model = attention_unet((64, 64, 3), filters=4, encoder="efficientnet-lite0")
    copy_onnx_weights(model, saved(convert(small_polyp_lite()), tmp_path / "model.onnx"))
    np.testing.assert_allclose(answer(model), answer(small_polyp_lite()), atol=1e-4)


def test_input_size_and_names_numbered_by_an_export_do_not_matter(unet_graph, tmp_path):
    large = fresh_unet(size=2 * SIDE)
    copy_onnx_weights(large, saved(unet_graph, tmp_path / "model.onnx"))
    twin = fresh_unet()
    twin.set_weights(large.get_weights())
    np.testing.assert_allclose(answer(twin), answer(small_attention_unet()), atol=1e-5)


def test_half_precision_comes_back_rounded(unet_graph, tmp_path):
    model = fresh_unet()
    copy_onnx_weights(model, saved(store_as_float16(unet_graph), tmp_path / "half.onnx"))
    difference = np.abs(answer(model) - answer(small_attention_unet())).max()
    assert 0 < difference < 0.01
    kernel = model.get_layer("bottleneck_1_convolution").kernel
    np.testing.assert_array_equal(kernel, np.asarray(kernel, np.float16).astype(np.float32))


@pytest.mark.parametrize("method", ["onnxruntime", pytest.param("nncf", marks=pytest.mark.slow)])
def test_int8_comes_back_as_what_it_stands_for(method, unet_graph, tmp_path):
    if method == "nncf":
        pytest.importorskip("nncf")
    squares = list(np.random.default_rng(0).integers(0, 256, (8, SIDE, SIDE, 3)).astype(np.uint8))
    path = saved(quantise(unet_graph, squares, method, []), tmp_path / "eight.onnx")
    model = fresh_unet()
    copy_onnx_weights(model, path)
    assert np.abs(answer(model) - answer(small_attention_unet())).mean() < 0.03
    # At most 255 levels a channel, evenly spaced from zero on.
    kernel = np.asarray(model.get_layer("bottleneck_1_convolution").kernel)
    for channel in range(kernel.shape[-1]):
        levels = np.unique(np.abs(kernel[..., channel]))
        step = np.diff(np.unique(np.r_[0, levels])).min()
        np.testing.assert_allclose(levels / step, np.rint(levels / step), atol=0.01)


def test_dequantised_kernel_by_hand(tmp_path):
    # Levels 3 and -2 with zero point 1 at scale 0.5: (3 - 1) 0.5 = 1 and (-2 - 1) 0.5 = -1.5; the bias 6 at 0.25: 1.5.
    nodes = [
        onnx.helper.make_node("DequantizeLinear", ["a/head/k_q", "k_s", "k_z"], ["k"]),
        onnx.helper.make_node("DequantizeLinear", ["b_q", "b_s"], ["b"]),
        onnx.helper.make_node("Conv", ["image", "k", "b"], ["y"]),
    ]
    stored = {
        "a/head/k_q": np.array([[[[3]], [[-2]]]], np.int8), "k_s": np.float32(0.5), "k_z": np.int8(1),
        "b_q": np.array([6], np.int32), "b_s": np.float32(0.25),
    }  # fmt: skip
    graph = onnx.helper.make_graph(
        nodes,
        "by hand",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 2, 4, 4])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 1, 4, 4])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    saved(model, tmp_path / "hand.onnx")
    image = keras.Input((4, 4, 2))
    network = keras.Model(image, keras.layers.Conv2D(1, 1, name="head")(image))
    copy_onnx_weights(network, tmp_path / "hand.onnx")
    assert float(network(np.full((1, 4, 4, 2), 2.0))[0, 0, 0, 0]) == pytest.approx(2 * 1.0 - 2 * 1.5 + 1.5)

    plain = keras.Model(image, keras.layers.Conv2D(1, 1, use_bias=False, name="head")(image))
    with pytest.raises(ModelError, match=r"another network .*: its head has a bias"):  # it has no place for the 1.5
        copy_onnx_weights(plain, tmp_path / "hand.onnx")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: fresh_unet(filters=8), r"its \w+ is [\dx ]+; the config's network has [\dx ]+: name the preset"),
        (lambda: attention_unet((SIDE, SIDE, 3), filters=4, depth=3), r"another network .*: it does not hold \w+"),
        (lambda: attention_unet((SIDE, SIDE, 3), filters=4, depth=1), r"it holds .*, which the network does not"),
        (
            lambda: attention_unet((64, 64, 3), filters=4, encoder="mobilenetv3-small"),
            r"cannot give its weights to .*; expected a network of convolutions",
        ),
    ],
)
def test_file_of_another_network_is_refused_and_nothing_changes(network, message, unet_graph, tmp_path):
    model = network()
    before = model.get_weights()
    with pytest.raises(ModelError, match=message):
        copy_onnx_weights(model, saved(unet_graph, tmp_path / "model.onnx"))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_what_is_no_onnx_file_is_told_in_a_line(tmp_path):
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(ModelError, match=r"text\.onnx: not an ONNX file, or a damaged one$"):
        copy_onnx_weights(fresh_unet(), tmp_path / "text.onnx")
    with pytest.raises(ModelError, match=r"none\.onnx: no such model file; expected an \.onnx file$"):
        copy_onnx_weights(fresh_unet(), tmp_path / "none.onnx")


@pytest.mark.parametrize("store", [lambda graph: graph, store_as_float16])
def test_gates_are_for_gates_of_their_kind(store, unet_graph, tmp_path):
    keras.utils.set_random_seed(1)
    plain = attention_unet((SIDE, SIDE, 3), filters=4, depth=2, gates="plain")
    path = saved(store(convert(plain)), tmp_path / "plain.onnx")
    normalised = fresh_unet()
    before = normalised.get_weights()
    with pytest.raises(ModelError, match=r"plain\.onnx: its gates are plain, .* normalised: set model\.gates=plain$"):
        copy_onnx_weights(normalised, path)
    for old, new in zip(before, normalised.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    again = keras.models.clone_model(plain)
    copy_onnx_weights(again, path)
    np.testing.assert_allclose(answer(again), answer(plain), atol=0.01)
    normalised_path = saved(store(unet_graph), tmp_path / "normalised.onnx")
    with pytest.raises(ModelError, match=r"its gates are normalised, .* plain: set model\.gates=normalised$"):
        copy_onnx_weights(again, normalised_path)
    copy_onnx_weights(normalised, normalised_path)
    np.testing.assert_allclose(answer(normalised), answer(small_attention_unet()), atol=0.01)


def test_packaged_model_of_normalised_gates_says_what_to_set():
    plain = preset("attention-unet-16").model_copy(update={"gates": "plain"})
    with pytest.raises(ModelError, match=r"set model\.gates=normalised$"):
        copy_onnx_weights(build_model(plain, 64), resolve("attention-unet-16"))
