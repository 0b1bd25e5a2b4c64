import keras
import numpy as np
import pytest

from polypseg.errors import DataError, ModelError
from polypseg.explain.attention import attention_maps
from polypseg.models.attention_unet import attention_unet, unet


def test_maps_of_every_level_at_the_images_own_size():
    keras.utils.set_random_seed(0)
    model = attention_unet((16, 16, 3), filters=2, depth=3)
    image = np.random.default_rng(0).integers(0, 256, (21, 40, 3), np.uint8)
    maps = attention_maps(model, image)
    assert [attention.level for attention in maps] == [1, 2, 3]
    for attention in maps:
        assert attention.map.shape == (21, 40)
        assert attention.map.dtype == np.float32
        assert 0 < attention.map.min() < attention.map.max() < 1


def test_map_is_the_coefficient_that_scales_the_skip():
    keras.utils.set_random_seed(0)
    model = attention_unet((8, 8, 3), filters=2, depth=1)
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    skip, gated = (model.get_layer(name).output for name in ("encoder_1_2_relu", "gate_1_gated"))
    x, y = keras.Model(model.input, [skip, gated]).predict_on_batch(image[None].astype("float32") / 255)
    alpha = attention_maps(model, image)[0].map
    np.testing.assert_allclose(y[0], alpha[..., None] * x[0], atol=1e-6)


def test_constant_gate_gives_its_sigmoid():
    # psi with zero weights and bias 1: every coefficient is sigmoid(1) = 0.731059.
    model = attention_unet((8, 8, 3), filters=2, depth=1, gates="plain")
    psi = model.get_layer("gate_1_psi")
    psi.set_weights([np.zeros_like(psi.get_weights()[0]), np.ones(1)])
    alpha = attention_maps(model, np.zeros((5, 9, 3), np.uint8))[0].map
    np.testing.assert_allclose(alpha, 0.731059, atol=1e-5)


def test_models_without_gates_or_size_and_no_images_are_refused():
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ModelError, match="has no attention gates"):
        attention_maps(unet((8, 8, 3), filters=2, depth=1), image)
    with pytest.raises(ModelError, match="has no fixed input size"):
        attention_maps(attention_unet((None, None, 3), filters=2, depth=1), image)
    with pytest.raises(DataError, match="expected"):
        attention_maps(attention_unet((8, 8, 3), filters=2, depth=1), image[..., 0])
