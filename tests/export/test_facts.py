import json
import shutil

import pytest

from polypseg.errors import ModelError
from polypseg.export.facts import LICENCE, facts_of
from polypseg.export.graph import OPSET
from polypseg.export.source import open_source
from polypseg.records.digests import file_digests
from polypseg.records.evaluation_record import SavedSettings
from polypseg.records.model_facts import Network, StatedScore
from polypseg.records.reading import as_json
from polypseg.records.summary import Intervals, MetricFigures, Provenance, Summary


@pytest.fixture
def run(red_run, tmp_path):
    """A copy of the run, to add to."""
    return shutil.copytree(red_run.folder, tmp_path / "mine")


def digest(run):
    path = run / "checkpoints" / "best.keras"
    return file_digests([path])[path]


def tune(run, model_digest, **more):
    record = {"threshold": 0.375, "chosen_on": "validation", "model_digest": model_digest, **more}
    (run / "threshold.json").write_text(json.dumps(record))


def evaluate(run, name, model_digest, threshold=0.5):
    """An evaluation as summary.json tells it, of a mean Dice of 0.91249941."""
    known = {"num_images": 3, "num_missing": 0}
    dice = MetricFigures(mean=0.91249941, low=0.9, high=0.92, median=0.95, **known)
    source = {"kind": "run", "model_digest": model_digest, "data": "/far/kvasir", "split": name}
    summary = Summary(
        num_images=4,
        num_polyp_images=3,
        num_polyp_free_images=1,
        metrics={"dice": dice, "iou": MetricFigures(mean=None, low=None, high=None, **known)},
        strata={},
        negatives=None,
        model_size=None,
        protocols={},
        average_precision=None,
        intervals=Intervals(confidence=0.95, num_resamples=100, seed=0),
        settings=SavedSettings(threshold=threshold),
        provenance=Provenance(**source, threshold=threshold),
    )
    folder = run / "evaluation" / name
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(as_json(summary))


def test_facts_of_a_run_are_those_of_its_record(run):
    source = open_source(run)
    facts = facts_of(source)
    assert (facts.name, facts.size, facts.opset) == ("mine", 32, OPSET)
    assert facts.training_data == "data: 4 train, 4 validation, 4 test; split: by hand"
    assert facts.split_digest == source.manifest.digest()
    assert facts.checkpoint_chosen_by == "lowest val_loss on the validation split"
    assert facts.source_digest == digest(run)
    # 3x3x3x4 + 4x4 of the normalisation + 4 + 1
    assert facts.num_parameters == 108 + 16 + 5
    assert (facts.threshold, facts.threshold_source, facts.licence) == (0.5, "default", LICENCE)
    assert "ask the owners" in facts.terms
    assert "keras" in facts.exported_by
    assert facts.network == Network(filters=16)  # of the run's config, which says nothing of its network
    assert facts.figures == {}


def test_what_the_caller_says_is_taken(run):
    facts = facts_of(open_source(run), "polyp-lite", "2", "CC BY 4.0")
    assert (facts.name, facts.version, facts.licence) == ("polyp-lite", "2", "CC BY 4.0")


def test_threshold_and_where_it_comes_from(run):
    tune(run, digest(run))
    facts = facts_of(open_source(run))
    assert (facts.threshold, facts.threshold_source) == (0.375, "chosen on the validation split")
    tune(run, digest(run), perturbations=["as it is", "blurred"])
    assert facts_of(open_source(run)).threshold_source == "chosen on the validation split, in perturbations too"


def test_a_threshold_of_an_earlier_checkpoint_is_refused(run):
    tune(run, "another")
    with pytest.raises(ModelError, match="chosen for an earlier checkpoint; choose it again"):
        facts_of(open_source(run))


def test_figures_are_those_of_this_checkpoint_at_this_threshold(run):
    evaluate(run, "validation", digest(run))
    evaluate(run, "test", "another")
    evaluate(run, "lower", digest(run), threshold=0.3)
    (run / "evaluation" / "damaged").mkdir()
    (run / "evaluation" / "damaged" / "summary.json").write_text("{")
    figures = facts_of(open_source(run)).figures
    assert list(figures) == ["validation"]
    found = figures["validation"]
    assert found.dice == StatedScore(mean=0.912499, low=0.9, high=0.92)
    assert (found.data, found.num_images, found.confidence) == ("kvasir", 4, 0.95)
    assert found.iou is None


def test_a_file_by_itself_has_no_history(red_run):
    facts = facts_of(open_source(red_run.best_path))
    assert (facts.name, facts.training_data, facts.checkpoint_chosen_by) == ("best", "unknown", "unknown")
    assert facts.network is None
