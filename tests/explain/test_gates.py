"""What a gate is worth: measured on networks whose gates are set by hand."""

import keras
import numpy as np
import pytest

from polypseg.errors import DataError, ModelError
from polypseg.explain.gates import measure_gates
from polypseg.models.attention_unet import attention_unet, unet
from polypseg.records.gates import GateFigures, GatesRecord

LOGIT_4 = 1.3862944  # log(0.8 / 0.2): a sigmoid of 0.8


def frame(size=16, polyp=True):
    """An image that is white in its left half, which is the polyp."""
    image = np.zeros((size, size, 3), np.uint8)
    image[:, : size // 2] = 255
    return image, (image[..., 0] > 0) & polyp


def gated_model(size=16):
    """A network of one gate, whose alpha is 0.8 on white and 0.2 on black; polyp is where alpha is greater than 0.4.

    Its skip is a channel of ones, so the head, sigmoid(10 alpha - 4), sees alpha itself.
    """
    image = keras.Input((size, size, 3), name="image")
    red = keras.layers.Conv2D(1, 1, use_bias=False, name="red")(image)
    alpha = keras.layers.Conv2D(1, 1, activation="sigmoid", name="psi")(red)
    alpha = keras.layers.Activation("linear", name="gate_1_attention")(alpha)
    ones = keras.layers.Conv2D(1, 1, kernel_initializer="zeros", bias_initializer="ones", name="ones")(image)
    gated = keras.layers.Multiply(name="gate_1_gated")([ones, alpha])
    logits = keras.layers.Conv2D(1, 1, activation="sigmoid", name="head")(gated)
    model = keras.Model(image, logits, name="attention_unet")
    model.get_layer("red").set_weights([np.array([1.0, 0.0, 0.0]).reshape(1, 1, 3, 1)])
    model.get_layer("psi").set_weights([np.full((1, 1, 1, 1), 2 * LOGIT_4), np.array([-LOGIT_4])])
    model.get_layer("head").set_weights([np.full((1, 1, 1, 1), 10.0), np.array([-4.0])])
    return model


def test_figures_of_a_gate_that_finds_the_polyp():
    # Half of the pixels have alpha 0.8, half 0.2: mean 0.5, standard deviation 0.3. The mask is the polyp: Dice 1. Held
    # at 0.5, which is more than 0.4, everything is polyp: Dice 2 * 0.5 / (0.5 + 1) = 2/3, so 1/3 is lost.
    found = measure_gates(gated_model(), [frame()] * 3)
    (gate,) = found.gates
    assert (gate.level, found.num_frames, found.num_polyp_frames) == (1, 3, 3)
    assert gate.mean == pytest.approx(0.5, abs=1e-5)
    assert gate.spread == pytest.approx(0.3, abs=1e-5)
    assert found.dice == pytest.approx(1.0)
    assert gate.dice_lost == pytest.approx(1 / 3, abs=1e-6)
    assert found.warnings() == []


def test_frames_without_a_polyp_count_for_the_coefficients_alone():
    # Black: alpha 0.2 everywhere, no spread. Over one frame of each kind the mean is (0.5 + 0.2) / 2 = 0.35 and the
    # spread (0.3 + 0) / 2 = 0.15. Held at 0.35, less than 0.4, nothing is polyp: all of the Dice is lost.
    black = np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), bool)
    found = measure_gates(gated_model(), [frame(), black])
    assert found.gates[0].mean == pytest.approx(0.35, abs=1e-5)
    assert found.gates[0].spread == pytest.approx(0.15, abs=1e-5)
    assert (found.num_frames, found.num_polyp_frames, found.dice) == (2, 1, pytest.approx(1.0))
    assert found.gates[0].dice_lost == pytest.approx(1.0)


def test_without_a_polyp_no_dice_is_lost_or_kept():
    found = measure_gates(gated_model(), [frame(polyp=False)])
    assert (found.dice, found.gates[0].dice_lost) == (None, None)


def test_masks_are_cut_at_the_thresholds_that_are_given():
    # The head says 1 / (1 + e^-4) = 0.982 on the polyp: a threshold of 0.99 leaves nothing, a seed threshold neither.
    for cuts in ({"threshold": 0.99}, {"peak_threshold": 0.99}):
        assert measure_gates(gated_model(), [frame()], **cuts).dice == 0.0


def test_frames_of_any_size_and_number_are_judged_at_their_own_size():
    # 11 frames: a whole batch of 8, and one that is filled up; what it is filled with counts nowhere.
    frames = [frame(32)] * 10 + [(np.zeros((24, 40, 3), np.uint8), np.zeros((24, 40), bool))]
    found = measure_gates(gated_model(), frames)
    assert (found.num_frames, found.num_polyp_frames) == (11, 10)
    assert found.gates[0].mean == pytest.approx((10 * 0.5 + 0.2) / 11, abs=1e-5)


def test_field_is_what_the_model_sees():
    # The white half and the black half, with a black surround as thick as they are wide: seen whole, less is white.
    image, reference = (np.pad(array, [(16, 16), (16, 16), (0, 0)][: array.ndim]) for array in frame(64))
    image[16:80, 48:80] = 90  # dark, but no surround
    auto, whole = (
        measure_gates(gated_model(64), [(image, reference)], field=field).gates[0].mean for field in ("auto", "whole")
    )
    assert auto > whole + 0.1


@pytest.mark.parametrize("kind", ["plain", "normalised"])
def test_a_held_gate_of_the_attention_unet_is_one_number(kind):
    # The same as to run the network with coefficients handed in: Keras cuts the graph at the gate and takes an array.
    keras.utils.set_random_seed(0)
    model = attention_unet((16, 16, 3), filters=2, depth=2, gates=kind)
    rng = np.random.default_rng(0)
    frames = [(rng.integers(0, 256, (16, 16, 3), np.uint8), rng.random((16, 16)) < 0.5) for _ in range(2)]
    batch = np.stack([image for image, _ in frames]).astype(np.float32) / 255
    alphas = {level: model.get_layer(f"gate_{level}_attention").output for level in (1, 2)}
    values = keras.Model(model.input, alphas).predict_on_batch(batch)
    before = model.predict_on_batch(batch)
    cut = float(np.median(before))
    found = measure_gates(model, frames, threshold=cut)
    for gate in found.gates:
        own = np.asarray(values[gate.level], np.float64)
        assert gate.mean == pytest.approx(own.mean(), abs=1e-6)
        assert gate.spread == pytest.approx(np.mean([own[0].std(), own[1].std()]), abs=1e-6)
        cut_model = keras.Model([model.input, alphas[gate.level]], model.output)
        constant = np.full(own.shape, gate.mean, np.float32)
        held = np.asarray(cut_model.predict_on_batch([batch, constant]))[..., 0] >= np.float32(cut)
        scores = [
            2 * (mask & reference).sum() / (mask.sum() + reference.sum())
            for mask, (_, reference) in zip(held, frames, strict=True)
        ]
        assert found.dice - gate.dice_lost == pytest.approx(np.mean(scores), abs=1e-6)
    np.testing.assert_array_equal(model.predict_on_batch(batch), before)  # the model itself is what it was


def test_dead_gates_are_told():
    # psi without weights: alpha is sigmoid(5) = 0.993 everywhere.
    model = attention_unet((16, 16, 3), filters=2, depth=1, gates="plain")
    psi = model.get_layer("gate_1_psi")
    psi.set_weights([np.zeros_like(psi.get_weights()[0]), np.full(1, 5.0)])
    found = measure_gates(model, [frame()])
    assert found.warnings() == ["gate 1 does not work: the mean of its coefficients is 0.993, expected 0.05 to 0.95"]


@pytest.mark.parametrize(
    ("mean", "spread", "is_alive"),
    [
        (0.05, 0.05, True),
        (0.95, 0.05, True),
        (0.0499, 0.2, False),
        (0.9501, 0.2, False),
        (0.5, 0.0499, False),
        (0.009, 0.0, False),
    ],
)
def test_limits_of_a_gate_that_works(mean, spread, is_alive):
    gate = GateFigures(level=2, mean=mean, spread=spread)
    assert (gate.fault == "") is is_alive
    warnings = GatesRecord(gates=(gate,), num_frames=1, num_polyp_frames=0, threshold=0.5).warnings()
    assert [text.startswith("gate 2 does not work: ") for text in warnings] == ([] if is_alive else [True])


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ModelError, match="has no attention gates"):
        measure_gates(unet((16, 16, 3), filters=2, depth=1), [frame()])
    with pytest.raises(ModelError, match="has no fixed input size"):
        measure_gates(attention_unet((None, None, 3), filters=2, depth=1), [frame()])
    with pytest.raises(DataError, match="gone through twice"):
        measure_gates(gated_model(), iter([frame()]))
    with pytest.raises(DataError, match="no frame was given"):
        measure_gates(gated_model(), [])
