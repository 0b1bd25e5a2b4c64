import numpy as np
import pytest

from polypseg.predict.engines.engine import Outputs
from polypseg.predict.mirroring import run_augmented
from polypseg.predict.predictor import PredictOptions, Predictor
from polypseg.records.model_facts import ModelFacts

SIZE = 8


class OneSided:
    """An engine whose probability is the red channel; in the left half of what it sees, half of it."""

    name = "one-sided"

    def __init__(self):
        self.size, self.threshold = SIZE, 0.4
        self.facts = ModelFacts(size=SIZE, threshold=0.4, peak_threshold=0.9, attention_levels=(1,))
        self.num_images = 0

    def run(self, batch):
        self.num_images += len(batch)
        share = np.where(np.arange(SIZE) < SIZE // 2, 0.5, 1.0).astype(np.float32)
        return batch[..., :1] * share[:, None]

    def run_with_attention(self, batch):
        return Outputs(self.run(batch), {1: batch[..., 1]})


def frame(*pixels):
    """A frame (SIZE, SIZE, 3), black but for red pixels (row, column, value)."""
    made = np.zeros((SIZE, SIZE, 3), np.float32)
    for row, column, value in pixels:
        made[row, column, 0] = value
    return made


IN_DOUBT = frame((1, 6, 0.96), (2, 6, 0.6), (3, 6, 0.3))
"""Its highest probability is .96 as it is and upside down, and .48 in the other two images, in which it is left."""


def probabilities(*frames, engine=None, tta="doubt"):
    return run_augmented(engine or OneSided(), np.stack(frames), tta).probabilities[..., 0]


def test_no_pixel_of_a_frame_in_doubt_keeps_more_than_the_mean_of_the_four_highest():
    # (.96 + .48 + .96 + .48) / 4 = .72: the pixel of .96 keeps that, those of .6 and .3 keep what they have.
    found = probabilities(IN_DOUBT)[0]
    assert found[[1, 2, 3], 6] == pytest.approx([0.72, 0.6, 0.3])
    assert np.count_nonzero(found) == 3


def test_a_mark_that_every_image_confirms_stays_as_it_is():
    both_sides = frame((1, 6, 0.96), (1, 1, 0.96))  # one of the two is always on the right
    assert np.array_equal(probabilities(both_sides), probabilities(both_sides, tta="none"))


@pytest.mark.parametrize(("highest", "num_runs"), [(0.999, 1), (0.998, 1), (0.9979, 4), (0.4, 4), (0.39, 1)])
def test_only_a_frame_with_a_mark_that_is_not_sure_is_run_again(highest, num_runs):
    engine = OneSided()
    probabilities(frame((1, 6, highest)), engine=engine)
    assert engine.num_images == num_runs


def test_a_limit_is_never_above_what_the_frame_itself_has():
    # As it is .48; the mean of .48, .96, .48 and .96 is .72.
    assert probabilities(frame((1, 1, 0.96)))[0, 1, 1] == pytest.approx(0.48)


def test_frames_of_a_batch_do_not_change_one_another():
    frames = [frame((1, 6, 0.999)), IN_DOUBT, frame((1, 6, 0.2)), frame((4, 7, 0.8))]
    together = probabilities(*frames)
    alone = [probabilities(each)[0] for each in frames]
    assert np.array_equal(together, alone)


@pytest.mark.parametrize(("tta", "expected", "num_runs"), [("none", 0.96, 1), ("flips", 0.72, 4)])
def test_the_other_ways_run_a_frame_in_doubt_as_any_other(tta, expected, num_runs):
    # Averaged, the pixel of .96 is (.96 + .48 + .96 + .48) / 4.
    engine = OneSided()
    assert probabilities(IN_DOUBT, engine=engine, tta=tta)[0, 1, 6] == pytest.approx(expected)
    assert engine.num_images == num_runs


def test_attention_is_that_of_the_frame_as_it_is():
    shown = IN_DOUBT.copy()
    shown[0, 0, 1] = 0.7
    outputs = run_augmented(OneSided(), shown[None], "doubt", attention=True)
    assert outputs.attention[1][0, 0, 0] == pytest.approx(0.7)
    assert outputs.probabilities[0, 1, 6, 0] == pytest.approx(0.72)


@pytest.mark.parametrize(("tta", "is_marked"), [("none", True), ("doubt", False)])
def test_a_mark_that_is_not_confirmed_leaves_the_mask(tta, is_marked):
    predictor = Predictor(OneSided(), PredictOptions(field="whole", tta=tta))
    assert bool(predictor.predict(np.uint8(255 * IN_DOUBT)).mask.any()) == is_marked
