import keras
import numpy as np
import pytest

from polypseg.errors import ModelError
from polypseg.models.attention_unet import attention_unet
from polypseg.models.deep_supervision import with_supervised_levels, without_supervised_levels
from polypseg.train.coefficients import DiceCoefficient
from polypseg.train.losses import BinaryCrossentropyDice, DeepSupervision


def noise(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def paper_model():
    keras.utils.set_random_seed(0)
    return attention_unet((16, 16, 3), filters=2, depth=3)


def over_encoder():
    keras.utils.set_random_seed(0)
    return attention_unet((64, 64, 3), filters=2, encoder="efficientnet-lite0")


@pytest.mark.parametrize(("build", "num_levels"), [(paper_model, 3), (over_encoder, 4)])
def test_maps_more_and_the_probability_untouched(build, num_levels):
    model = build()
    images = noise(2, *model.input_shape[1:])
    trained = with_supervised_levels(model)
    maps = trained.predict_on_batch(images)
    assert maps.shape == (*images.shape[:3], num_levels)
    assert 0 <= maps.min() < maps.max() <= 1
    np.testing.assert_array_equal(maps[..., :1], model.predict_on_batch(images))
    plain = without_supervised_levels(trained)
    np.testing.assert_array_equal(plain.predict_on_batch(images), maps[..., :1])
    assert plain.name == model.name
    assert plain.count_params() == model.count_params() < trained.count_params()
    assert without_supervised_levels(model) is model


def test_every_level_learns():
    model = with_supervised_levels(paper_model())
    loss, metrics = DeepSupervision(BinaryCrossentropyDice()), [DiceCoefficient()]
    model.compile(keras.optimizers.Adam(1e-2), loss, metrics=metrics, run_eagerly=True)  # no graph for two steps
    before = [w.numpy().copy() for w in model.trainable_weights]
    model.fit(noise(4, 16, 16, 3), (noise(4, 16, 16, 1) > 0.7).astype("float32"), epochs=2, verbose=0)
    still = [w.path for w, b in zip(model.trainable_weights, before, strict=True) if np.array_equal(w.numpy(), b)]
    assert still == []


def test_loss_by_hand():
    # Cross-entropy alone of p = 1/2 is ln 2 = 0.6931, of p = 0.8 where the truth is 1, -ln 0.8 = 0.2231.
    # Two levels weigh 1 and 1/2: (0.6931 + 0.5 * 0.2231) / 1.5.
    loss = DeepSupervision(BinaryCrossentropyDice(dice_weight=0))
    truth, maps = np.ones((1, 2, 2, 1), np.float32), np.full((1, 2, 2, 2), (0.5, 0.8), np.float32)
    assert float(loss(truth, maps)) == pytest.approx((np.log(2) - 0.5 * np.log(0.8)) / 1.5, abs=1e-6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert float(again(truth, maps)) == float(loss(truth, maps))
    one = BinaryCrossentropyDice()
    assert float(DeepSupervision(one)(truth, maps[..., :1])) == float(one(truth, maps[..., :1]))


def test_coefficient_judges_the_first_map():
    truth, maps = np.ones((1, 2, 2, 1), np.float32), np.zeros((1, 2, 2, 2), np.float32)
    metric = DiceCoefficient()
    metric.update_state(truth, maps)
    assert float(metric.result()) == 0
    maps[..., 0] = 1
    metric.reset_state()
    metric.update_state(truth, maps)
    assert float(metric.result()) == 1


@pytest.mark.parametrize("arguments", [{"input_shape": (16, 16, 3), "depth": 1}, {"input_shape": (None, None, 3)}])
def test_one_level_or_an_open_size_is_refused(arguments):
    with pytest.raises(ModelError, match="needs a fixed size and a decoder of at least two levels"):
        with_supervised_levels(attention_unet(filters=2, **arguments))
