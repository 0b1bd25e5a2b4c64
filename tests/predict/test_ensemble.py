"""An ensemble is one engine: the mean of its members."""

import json

import numpy as np
import pytest

from polypseg.errors import ModelError
from polypseg.predict.engines.engine import Outputs
from polypseg.predict.engines.ensemble import EnsembleEngine
from polypseg.records.model_facts import ModelFacts


class Constant:
    """An engine that says one number everywhere; its gate says one tenth of it."""

    name = "constant"

    def __init__(self, value, size=8, levels=(1,)):
        self.value, self.size, self.threshold = np.float32(value), size, 0.5
        self.facts = ModelFacts(size=size, name="constant", attention_levels=levels, num_parameters=3)

    def run(self, batch):
        return np.full((*batch.shape[:3], 1), self.value, np.float32)

    def run_with_attention(self, batch):
        return Outputs(self.run(batch), {1: np.full((len(batch), 2, 2), self.value / 10, np.float32)})


BATCH = np.zeros((3, 8, 8, 3), np.float32)


def test_probability_and_attention_are_means():
    engine = EnsembleEngine([Constant(0.2), Constant(0.5), Constant(0.8)], 0.4, 0.9)
    assert engine.run(BATCH).dtype == np.float32
    np.testing.assert_allclose(engine.run(BATCH), np.full((3, 8, 8, 1), 0.5), atol=1e-6)
    outputs = engine.run_with_attention(BATCH)
    np.testing.assert_allclose(outputs.probabilities, 0.5, atol=1e-6)
    np.testing.assert_allclose(outputs.attention[1], 0.05, atol=1e-6)


def test_facts_are_of_all_members():
    engine = EnsembleEngine([Constant(0.2), Constant(0.5)], 0.4, 0.9)
    assert (engine.size, engine.threshold, engine.facts.threshold, engine.facts.peak_threshold) == (8, 0.4, 0.4, 0.9)
    assert engine.facts.num_parameters == 6
    assert engine.facts.name == "ensemble of 2 constant"


def test_members_that_do_not_fit_are_refused():
    with pytest.raises(ModelError, match=r"must see one size; found 2 members of sizes \[8, 16\]"):
        EnsembleEngine([Constant(0.2), Constant(0.2, size=16)], 0.5)
    with pytest.raises(ModelError, match="found 0 members"):
        EnsembleEngine([], 0.5)


def test_attention_of_unlike_gates_is_refused():
    with pytest.raises(ModelError, match="no attention gates in common"):
        EnsembleEngine([Constant(0.2), Constant(0.2, levels=())], 0.5).run_with_attention(BATCH)


@pytest.mark.slow
def test_folder_of_a_group_opens_as_its_ensemble(tmp_path):
    import keras

    from polypseg.models.attention_unet import attention_unet
    from polypseg.models.checkpoint import save_model
    from polypseg.predict.engines.opening import open_engine

    (tmp_path / "members.json").write_text(json.dumps({"kind": "folds", "members": ["fold-1", "fold-2"]}))
    (tmp_path / "threshold.json").write_text(json.dumps({"threshold": 0.3, "seed_threshold": 0.7}))
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        (tmp_path / f"fold-{seed}" / "checkpoints").mkdir(parents=True)
        save_model(attention_unet((8, 8, 3), 2, 1), tmp_path / f"fold-{seed}" / "checkpoints" / "best.keras")
    engine = open_engine(tmp_path)
    assert (engine.threshold, engine.facts.peak_threshold) == (0.3, 0.7)
    batch = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    members = [open_engine(tmp_path / name).run(batch) for name in ("fold-1", "fold-2")]
    assert not np.array_equal(*members)
    np.testing.assert_allclose(engine.run(batch), sum(members) / 2, atol=1e-6)
    (tmp_path / "fold-2" / "checkpoints" / "best.keras").unlink()
    with pytest.raises(ModelError, match=r"fold-2: holds no checkpoints/best\.keras"):
        open_engine(tmp_path)
