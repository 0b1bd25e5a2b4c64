"""The card of a packaged model: figures by size, source and centre, of everything that was scored."""

import argparse
import importlib.util
from pathlib import Path

import pytest

from polypseg.records.digests import file_digests
from polypseg.records.model_facts import ModelFacts
from polypseg.records.run import Run
from polypseg.records.summary import (
    MetricFigures,
    NegativeFigures,
    NegativeStratum,
    Provenance,
    StratumFigures,
    Summary,
)
from polypseg.records.threshold import Threshold, save_threshold

ROOT = Path(__file__).parents[2]
OLD_CARD = "# small 1.0\n\n| | |\n|---|---|\n| licence | x |\n\n## Figures\n\nold\n\n## How it was trained\n\nthus\n"


@pytest.fixture
def script():
    found = importlib.util.spec_from_file_location("package_model", ROOT / "scripts" / "package_model.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def spread(mean, low=None, high=None):
    return MetricFigures(mean=mean, low=low, high=high, num_images=3, num_missing=0, median=mean)


def stratum(number, dice):
    rest = {name: spread(0.25) for name in ("iou", "recall", "lesion_sensitivity")}
    return StratumFigures.model_construct(num_images=number, dice=spread(*dice), **rest)


def frames(number, large, any_):
    return {"num_images": number, "large_false_positive": spread(*large), "any_false_positive": spread(any_)}


SUMMARY = Summary.model_construct(
    num_polyp_images=3,
    metrics={name: spread(0.5, 0.25, 0.75) for name in ("dice", "iou", "recall", "precision")},
    strata={
        "polyp area": {"small (< 5 %)": stratum(2, (0.5, 0.4, 0.6)), "large (> 20 %)": stratum(1, (0.75,))},
        "source": {"kvasir-seg": stratum(3, (0.5, 0.4, 0.6))},
        "centre": {"c1": stratum(3, (0.625, 0.5, 0.75))},
        "group": {"patient 7": stratum(3, (0.5,))},
    },
    negatives=NegativeFigures.model_construct(
        **frames(4, (0.25, 0.0, 0.5), 0.75),
        strata={
            "source": {"cp-child": NegativeStratum.model_construct(**frames(4, (0.25,), 0.75))},
            "centre": {"unknown": NegativeStratum.model_construct(**frames(4, (0.25,), 0.75))},  # says nothing
        },
    ),
    provenance=Provenance(kind="model", engine="openvino", threshold=0.5),
)


def test_card_tells_figures_by_size_source_and_centre_with_intervals(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "FOLDER", tmp_path)
    (tmp_path / "small.md").write_text(OLD_CARD)
    facts = ModelFacts(size=256, precision="fp32", largest_difference=0.0, proved_on="nothing")
    lines = script._card(None, facts, {"held out": SUMMARY}, argparse.Namespace(name="small")).splitlines()
    rows = [line for line in lines if line.startswith("| held out |")]
    assert rows == [
        "| held out | 3 | 0.500 (0.250–0.750) | 0.500 (0.250–0.750) | 0.500 | 0.500 |",
        "| held out | polyp area | small (< 5 %) | 2 | 0.500 | 0.400–0.600 | 0.250 | 0.250 |",
        "| held out | polyp area | large (> 20 %) | 1 | 0.750 | – | 0.250 | 0.250 |",
        "| held out | source | kvasir-seg | 3 | 0.500 | 0.400–0.600 | 0.250 | 0.250 |",
        "| held out | centre | c1 | 3 | 0.625 | 0.500–0.750 | 0.250 | 0.250 |",
        "| held out |  | all | 4 | 25.0 % | 0.000–50.0 | 75.0 % |",
        "| held out | source | cp-child | 4 | 25.0 % | – | 75.0 % |",
    ]
    assert "old" not in lines
    assert "thus" in lines


def test_card_of_data_without_negatives_or_strata_has_no_empty_table(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "FOLDER", tmp_path)
    (tmp_path / "small.md").write_text(OLD_CARD)
    summary = SUMMARY.model_copy(update={"strata": {}, "negatives": None})
    facts = ModelFacts(size=256, precision="fp32", largest_difference=0.0, proved_on="nothing")
    card = script._card(None, facts, {"test": summary}, argparse.Namespace(name="small"))
    assert "By size" not in card
    assert "without a polyp:" not in card


@pytest.mark.parametrize(("stored", "is_made_again"), [((0.5, 0.9), False), ((0.4, 0.9), True), ((0.5, 0.8), True)])
def test_a_file_is_exported_again_where_its_run_has_other_thresholds_now(
    script, tmp_path, monkeypatch, stored, is_made_again
):
    run, work = Run(tmp_path / "run"), tmp_path / "work"
    run.best_path.parent.mkdir(parents=True)
    run.best_path.write_bytes(b"weights")
    work.mkdir()
    save_threshold(run.folder, Threshold(threshold=stored[0], peak_threshold=stored[1]))
    facts = ModelFacts(size=32, threshold=0.5, peak_threshold=0.9, version="2.0")
    facts = facts.model_copy(update={"source_digest": file_digests([run.best_path])[run.best_path]})
    (work / "small.onnx").write_bytes(b"made before")
    exported = []
    monkeypatch.setattr(script, "read_model_file", lambda path: (b"", facts))
    monkeypatch.setattr(script, "export_model", lambda *given: exported.append(given) or argparse.Namespace(notes=()))
    arguments = argparse.Namespace(
        name="small", source=run.folder, precision="fp32", version="2.0", method="onnxruntime", data=None
    )
    script._exported(arguments, run, work)
    assert bool(exported) == is_made_again
