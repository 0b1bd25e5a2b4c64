import numpy as np
import pytest

from polypseg.errors import ModelError
from polypseg.models.attention_unet import attention_unet, unet


def test_number_of_parameters_by_hand():
    # filters 2, depth 1, 3 channels in. A convolution has 9 * in * out weights, a normalisation 4 * out.
    encoder = 9 * 3 * 2 + 9 * 2 * 2 + 2 * 4 * 2  # 54 + 36 + 16 = 106
    bottleneck = 9 * 2 * 4 + 9 * 4 * 4 + 2 * 4 * 4  # 72 + 144 + 32 = 248
    gate = (4 * 2 * 2) + (4 * 2 + 2) + (2 + 1)  # theta 2x2, phi with bias, psi with bias: 16 + 10 + 3 = 29
    normalised = 4 * 2 * 2 + 4 * 2 + 2 + (2 + 2 + 1) * 4  # without biases; four weights a channel: 26 + 20 = 46
    upsample = 4 * 4 * 2 + 2  # 2x2 transposed, 4 to 2, with bias: 34
    decoder = 9 * 4 * 2 + 9 * 2 * 2 + 2 * 4 * 2  # 72 + 36 + 16 = 124
    head = 2 + 1
    rest = encoder + bottleneck + upsample + decoder + head
    assert unet((8, 8, 3), filters=2, depth=1).count_params() == rest == 515
    plain = attention_unet((8, 8, 3), filters=2, depth=1, gates="plain")
    assert plain.count_params() == rest + gate == 544
    assert attention_unet((8, 8, 3), filters=2, depth=1).count_params() == rest + normalised == 561


def test_gate_scales_the_skip_by_its_coefficient():
    import keras

    model = attention_unet((8, 8, 3), filters=2, depth=1)
    gate, skip, gated = (
        model.get_layer(name).output for name in ("gate_1_attention", "encoder_1_2_relu", "gate_1_gated")
    )
    images = np.random.default_rng(0).random((1, 8, 8, 3), np.float32)
    alpha, x, y = keras.Model(model.input, [gate, skip, gated]).predict_on_batch(images)
    assert alpha.shape == (1, 8, 8, 1)
    assert 0 < alpha.min() <= alpha.max() < 1
    np.testing.assert_allclose(y, alpha * x, atol=1e-6)


@pytest.mark.parametrize("arguments", [{"filters": 0}, {"depth": 0}, {"dropout": 1.0}])
def test_numbers_out_of_range_are_refused(arguments):
    with pytest.raises(ModelError, match="expected filters >= 1, depth >= 1 and 0 <= dropout < 1"):
        attention_unet(**arguments)


def test_shape_without_channels_is_refused():
    with pytest.raises(ModelError, match="expected \\(height, width, channels\\)"):
        attention_unet((8, 8))
