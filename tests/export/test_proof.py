from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest

from evaluate.conftest import rectangle, write_image, write_mask
from polypseg.data.perturbations import UNPERTURBED, Perturbation
from polypseg.data.samples import Sample
from polypseg.errors import ModelError
from polypseg.export.proof import (
    Difference,
    Prover,
    check_difference,
    differences,
    evenly,
    image_dices,
    sample_squares,
    synthetic_squares,
)
from polypseg.export.source import ExportSource
from polypseg.predict.engines.engine import Outputs
from polypseg.records.model_facts import ModelFacts

SIZE = 8


class Red:
    """Probability: red plus `shift`, within [0, 1]; the one gate's coefficients: green plus `attention_shift`."""

    name, size, threshold = "red", SIZE, 0.5
    facts = ModelFacts(size=SIZE)

    def __init__(self, shift=0.0, attention_shift=0.0):
        self.shift, self.attention_shift = np.float32(shift), np.float32(attention_shift)

    def run(self, batch):
        return np.clip(batch[..., :1] + self.shift, 0, 1)

    def run_with_attention(self, batch):
        return Outputs(self.run(batch), {1: batch[:, ::2, ::2, 1] + self.attention_shift})


def mean_dices(*arguments, **options):
    return {name: fmean(dices) for name, dices in image_dices(*arguments, **options).items()}


@pytest.fixture
def samples(tmp_path):
    """Two squares of 8x8 px: one found whole, one of which the left half is found."""
    found = []
    for name, red in (("whole", (2, 6)), ("half", (2, 4))):
        image = np.where(rectangle(SIZE, SIZE, (2, 6), red), 200, 0)
        write_image(tmp_path / f"{name}.png", image)
        write_mask(tmp_path / f"{name}-mask.png", rectangle(SIZE, SIZE, (2, 6), (2, 6)))
        found.append(Sample(name, tmp_path / f"{name}.png", tmp_path / f"{name}-mask.png"))
    return found


def squares(count):
    return list(np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8))


def test_differences_are_the_largest_over_all_batches():
    engines = {"near": Red(0.25), "far": Red(-0.5, 0.125)}
    found = differences(Red(), engines, squares(9), with_attention=True)
    assert {name: d.num_images for name, d in found.items()} == {"near": 9, "far": 9}
    assert found["near"].probability == pytest.approx(0.25, abs=1e-6)
    assert found["near"].attention == 0
    assert (found["far"].probability, found["far"].attention) == pytest.approx((0.5, 0.125), abs=1e-6)


def test_attention_is_compared_only_where_asked():
    found = differences(Red(), {"far": Red(0, 0.5)}, squares(2), with_attention=False)
    assert found["far"] == Difference(0, 0, 2)


def test_not_a_number_is_no_agreement():
    found = differences(Red(), {"broken": Red(np.nan)}, squares(5), with_attention=False)
    assert found["broken"].probability == np.inf
    with pytest.raises(ModelError, match=r"in broken the largest difference in probability from it is inf"):
        check_difference(found, 1e9, "fp32")


def test_the_limit_holds_for_attention_too():
    found = {"a": Difference(1e-5, 0, 3), "b": Difference(2e-5, 0, 3)}
    assert check_difference(found, 1e-4, "fp32") == 2e-5
    found["b"] = Difference(2e-5, 3e-4, 3)
    with pytest.raises(ModelError, match=r"in b the largest difference in attention .* 0\.0003 over 3 images"):
        check_difference(found, 1e-4, "fp32")


def test_another_shape_is_told():
    class Small(Red):
        def run(self, batch):
            return batch[:, ::2, ::2, :1]

    with pytest.raises(ModelError, match="gives the shape"):
        differences(Red(), {"small": Small()}, squares(1), with_attention=False)


def test_mean_dice_by_hand(samples):
    # The whole square: 1; the half, 8 of 16 pixels: 2*8 / (8+16) = 2/3; mean 5/6. Nothing reaches 0.9: Dice 0
    assert mean_dices({"red": Red()}, samples, Red.facts)["red"] == pytest.approx(5 / 6)
    assert mean_dices({"red": Red()}, samples, ModelFacts(size=SIZE, threshold=0.9))["red"] == 0


def test_images_without_a_polyp_do_not_count_in_the_mean(samples, tmp_path):
    write_image(tmp_path / "none.png", np.zeros((SIZE, SIZE)))
    write_mask(tmp_path / "none-mask.png", np.zeros((SIZE, SIZE), bool))
    empty = Sample("none", tmp_path / "none.png", tmp_path / "none-mask.png")
    assert mean_dices({"red": Red()}, [*samples, empty], Red.facts)["red"] == pytest.approx(5 / 6)
    assert mean_dices({"red": Red()}, [empty], Red.facts) == {}
    with pytest.raises(ModelError, match="none of the validation images shows a polyp"):
        prover([empty]).prove({"red": Red()}, "int8")


def test_peak_threshold_makes_the_masks_too(samples):
    # 200/255 = 0.78 reaches no seed of 0.8: every component is left out
    assert mean_dices({"red": Red()}, samples, ModelFacts(size=SIZE, peak_threshold=0.8))["red"] == 0


def prover(samples):
    return Prover(ExportSource(Red(), path=None, validation=samples), attention=False)


def test_int8_is_proved_by_its_dice(samples):
    proof = prover(samples).prove({"red": Red(0.001)}, "int8")
    assert proof.dice_change == 0
    assert proof.largest_difference == pytest.approx(0.001, abs=1e-6)
    assert proof.proved_on == "8 synthetic and 2 named images, Dice on 2 in 8 perturbations, in red"


def test_a_changed_dice_fails(samples):
    # Lowered by 0.3 nothing is found: from 0.8333 to 0
    with pytest.raises(ModelError, match=r"from 0\.8333 to 0\.0000 in low; at most 0\.002"):
        prover(samples).prove({"red": Red(), "low": Red(-0.3)}, "int8")
    with pytest.raises(ModelError, match="the fp16 export changes the mean Dice"):
        prover(samples).prove({"low": Red(-0.3)}, "fp16")


@pytest.fixture
def two_kinds(monkeypatch):
    """The frames as they are, and at 0.6 of their brightness: 120 of 200, below one half."""
    dark = Perturbation(lambda image: image // 5 * 3)
    monkeypatch.setattr("polypseg.export.proof.PERTURBATIONS", {**UNPERTURBED, "dark": dark})


def test_what_shows_on_perturbed_images_alone_fails(samples, two_kinds):
    # As they are nothing changes. In the dark fp32 finds nothing (120/255 = .47), the export all that it finds by
    # light: the mean over both kinds goes from (5/6 + 0) / 2 to 5/6.
    with pytest.raises(
        ModelError, match=r"\(2 in 2 perturbations\) from 0\.4167 to 0\.8333 in bright; at most 0\.002 either"
    ):
        prover(samples).prove({"bright": Red(0.05)}, "int8")


def test_masks_are_perturbed_with_their_images(samples, tmp_path):
    # What is found on the left, columns 2 and 3, is found on the right in the mirror: all of it, if its mask is there.
    mirror = Perturbation(lambda image: image[:, ::-1], lambda mask: mask[:, ::-1])
    write_mask(tmp_path / "left.png", rectangle(SIZE, SIZE, (2, 6), (2, 4)))
    one_sided = [replace(samples[1], mask_path=tmp_path / "left.png")]
    assert mean_dices({"red": Red()}, one_sided, Red.facts, perturbation=mirror) == {"red": 1.0}


def test_a_perturbation_that_leaves_no_polyp_is_left_out(samples, monkeypatch):
    gone = Perturbation(lambda image: image, np.zeros_like)
    monkeypatch.setattr("polypseg.export.proof.PERTURBATIONS", {**UNPERTURBED, "gone": gone})
    assert prover(samples).prove({"red": Red()}, "int8").proved_on.endswith("Dice on 2 in 1 perturbations, in red")


def test_so_many_images_are_perturbed_at_most(samples, two_kinds, monkeypatch):
    monkeypatch.setattr("polypseg.export.proof.MOST_COMPARED", 1)
    proof = prover(samples).prove({"red": Red()}, "int8")
    assert proof.proved_on == "8 synthetic and 1 named images, Dice on 2, 1 of them in 2 perturbations, in red"


def test_a_rise_is_refused_as_a_fall_is(samples):
    # Lowered by 0.3 nothing is found; at 0.6 more than it is all is polyp: 2 * 16 / (64 + 16) = 0.4 in both images.
    low = Prover(ExportSource(Red(-0.3), path=None, validation=samples), attention=False)
    with pytest.raises(ModelError, match=r"over 2 validation images from 0\.0000 to 0\.4000 in high; at most 0\.002"):
        low.prove({"high": Red(0.6)}, "int8")


def test_fp32_is_proved_by_its_probabilities(samples):
    with pytest.raises(ModelError, match="at most 1e-04 is allowed"):
        prover(samples).prove({"red": Red(0.001)}, "fp32")
    assert prover(samples).prove({"red": Red(5e-5)}, "fp32").dice_change is None


def test_fp16_without_images_is_proved_by_its_probabilities():
    assert prover([]).prove({"red": Red(0.001)}, "fp16").dice_change is None
    with pytest.raises(ModelError, match="the fp16 export is not its source"):
        prover([]).prove({"red": Red(0.02)}, "fp16")


def test_squares_have_the_model_size_and_the_order_of_the_samples(samples):
    assert [s.shape for s in synthetic_squares(24, 3)] == [(24, 24, 3)] * 3
    reds = [int((view.square[..., 0] > 100).sum()) for view in sample_squares(samples * 9, Red.facts)]
    assert reds == [16, 8] * 9


def test_samples_are_taken_evenly():
    taken = evenly(list(range(250)), 100)  # every 2.5th
    assert (taken[:4], taken[-2:], len(taken)) == ([0, 2, 5, 7], [245, 247], 100)
    assert evenly([], 100) == []
    assert evenly([1, 2], 100) == [1, 2]
