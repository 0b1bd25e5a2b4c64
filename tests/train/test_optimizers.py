"""Optimizers and schedules as a config names them; the numbers of small steps, worked out by hand."""

import keras
import numpy as np
import pytest

from polypseg.config import TrainConfig
from polypseg.models.attention_unet import attention_unet
from polypseg.train.optimizers import AdamW, build_optimizer, learning_rate


def variables(**values):
    """A Keras variable of one number for each name; a path is `layer__name`."""
    found = []
    for name, value in values.items():
        layer, _, leaf = name.rpartition("__")
        with keras.name_scope(layer):
            found.append(keras.Variable([float(value)], name=leaf))
    return found


def values(variables):
    return [float(keras.ops.convert_to_numpy(variable)[0]) for variable in variables]


def step(optimizer, variables, *gradients):
    optimizer.apply([keras.ops.convert_to_tensor([float(g)]) for g in gradients], variables)


def rates(config, num_steps, steps):
    schedule = learning_rate(config, num_steps)
    return [float(schedule(step)) for step in steps]


def test_plateau_has_one_rate():
    assert learning_rate(TrainConfig(learning_rate=0.01), 100) == 0.01


def test_cosine_by_hand():
    # (1 + cos(pi * t)) / 2: 1 at 0, one half at the middle, 0 at the end and after it; 0.75 where cos = 0.5, a third.
    found = rates(TrainConfig(learning_rate=0.2, schedule="cosine"), 300, [0, 100, 150, 300, 400])
    assert found == pytest.approx([0.2, 0.15, 0.1, 0, 0], abs=1e-7)


def test_one_cycle_by_hand():
    # Ten of a hundred steps rise from 1/25 = 0.04 linearly to 1: half way (0.04 + 1) / 2 = 0.52. The other ninety fall
    # by a cosine: one half at 10 + 45 = 55, nothing at 100.
    found = rates(TrainConfig(learning_rate=1.0, schedule="one_cycle"), 100, [0, 5, 10, 55, 100])
    assert found == pytest.approx([0.04, 0.52, 1.0, 0.5, 0.0], abs=1e-6)


def test_warmup_moves_the_summit():
    config = TrainConfig(learning_rate=1.0, schedule="one_cycle", warmup=0.5)
    assert rates(config, 100, [25, 50, 75]) == pytest.approx([0.52, 1.0, 0.5], abs=1e-6)


@pytest.mark.parametrize("num_steps", [1, 2])
def test_one_cycle_of_a_step_or_two_is_finite(num_steps):
    found = rates(TrainConfig(learning_rate=1.0, schedule="one_cycle"), num_steps, range(num_steps + 1))
    assert np.isfinite(found).all()
    assert max(found) == 1.0  # the summit is reached however few steps there are


def test_adam_is_keras_own_unless_adamw_is_named():
    assert type(build_optimizer(TrainConfig(), 10)) is keras.optimizers.Adam
    assert type(build_optimizer(TrainConfig(optimizer="adamw"), 10)) is AdamW


def test_decay_is_of_kernels_alone():
    weights = variables(decoder__kernel=1, decoder__bias=1, decoder__gamma=1, decoder__beta=1)
    optimizer = build_optimizer(TrainConfig(optimizer="adamw", learning_rate=0.1, weight_decay=0.5), 10)
    step(optimizer, weights, 0, 0, 0, 0)
    # Without a gradient Adam stands still; the kernel loses rate * decay = 0.05 of itself.
    assert values(weights) == pytest.approx([0.95, 1, 1, 1], abs=1e-7)


def test_encoder_has_its_share_of_rate_and_decay():
    weights = variables(encoder_stem__kernel=1, decoder_1__kernel=1)
    config = TrainConfig(optimizer="adamw", learning_rate=0.1, encoder_rate=0.25)
    step(build_optimizer(config, 10), weights, 3, 3)
    # The first step of Adam is the rate, whatever the gradient: m / sqrt(v) = 3 / 3. A quarter of it for the encoder.
    assert values(weights) == pytest.approx([1 - 0.025, 1 - 0.1], abs=1e-6)
    weights = variables(encoder_stem__kernel=1, decoder_1__kernel=1)
    step(build_optimizer(config.model_copy(update={"weight_decay": 0.5}), 10), weights, 0, 0)
    assert values(weights) == pytest.approx([1 - 0.25 * 0.05, 1 - 0.05], abs=1e-7)


def test_encoder_rate_of_nothing_leaves_the_encoder_as_it_is():
    weights = variables(encoder_stem__kernel=1, decoder_1__kernel=1)
    config = TrainConfig(optimizer="adamw", learning_rate=0.1, encoder_rate=0, weight_decay=0.5)
    step(build_optimizer(config, 10), weights, 3, 3)
    assert values(weights) == pytest.approx([1, 0.95 - 0.1], abs=1e-6)


@pytest.mark.parametrize("name", ["efficientnet-lite0", "mobilenetv3-small"])
def test_encoder_of_a_model_is_known_in_nested_models_too_and_after_loading(name, tmp_path):
    model = attention_unet((64, 64, 3), filters=2, encoder=name)
    config = TrainConfig(optimizer="adamw", encoder_rate=0.0, learning_rate=0.1)
    model.compile(build_optimizer(config, 10, model), "mse")
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    for trained in (model, keras.saving.load_model(tmp_path / "model.keras")):
        before = [weight.numpy().copy() for weight in trained.trainable_variables]
        trained.optimizer.apply([keras.ops.ones_like(weight) for weight in trained.trainable_variables])
        of_encoder = [
            id(weight) for layer in trained.layers if layer.name.startswith("encoder") for weight in layer.weights
        ]
        for weight, old in zip(trained.trainable_variables, before, strict=True):
            assert np.array_equal(weight.numpy(), old) == (id(weight) in of_encoder), weight.path


def test_clip_is_of_all_gradients_together():
    # The gradients (3, 4) have the norm 5; clipped to 1 they are (0.6, 0.8). Adam's first moment keeps a tenth of them.
    weights = variables(a__kernel=1, b__kernel=1)
    optimizer = build_optimizer(TrainConfig(clip_norm=1.0), 10)
    step(optimizer, weights, 3, 4)
    moments = [float(m.numpy()[0]) for m in optimizer.variables if "momentum" in m.path]
    assert moments == pytest.approx([0.06, 0.08], abs=1e-6)
    assert build_optimizer(TrainConfig(), 10).global_clipnorm is None


def test_average_by_hand():
    weights = variables(a__kernel=4)
    optimizer = build_optimizer(TrainConfig(ema_momentum=0.75, learning_rate=1.0), 10)
    seen = []
    for _ in range(3):
        step(optimizer, weights, 2)
        seen += values(weights)
    # Equal gradients move Adam by its rate each step: 3, 2, 1. The average begins at the first weights:
    # 3; 0.75 * 3 + 0.25 * 2 = 2.75; 0.75 * 2.75 + 0.25 * 1 = 2.3125.
    assert seen == pytest.approx([3, 2, 1], abs=1e-4)
    assert values(optimizer._model_variables_moving_average) == pytest.approx([2.3125], abs=1e-4)
    assert not build_optimizer(TrainConfig(), 10).use_ema


def tiny_model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(build_optimizer(TrainConfig(optimizer="adamw", ema_momentum=0.9, learning_rate=0.1), 10), "mse")
    model.fit(np.ones((4, 3), np.float32), np.zeros((4, 2), np.float32), epochs=3, verbose=0)
    return model


def test_optimizer_survives_saving(tmp_path):
    model = tiny_model()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras").optimizer
    assert isinstance(again, AdamW)
    assert again.encoder_rate == model.optimizer.encoder_rate
    for ours, theirs in zip(again.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    weights = variables(d__kernel=1, d__bias=1)
    rebuilt = AdamW.from_config({**again.get_config(), "weight_decay": 0.5, "use_ema": False})
    step(rebuilt, weights, 0, 0)
    assert values(weights) == pytest.approx([0.95, 1], abs=1e-7)  # what is not decayed follows from the class
