"""The attention gates of a run, and frames without a polyp by source, in the model card and in the page."""

import json

import pytest

from polypseg.errors import ScoreError
from polypseg.records.digests import file_digests
from polypseg.records.gates import GateFigures, GatesRecord, save_gates
from polypseg.records.reading import FileKind, parse_json
from polypseg.records.run import Run, write_members
from polypseg.records.summary import Summary
from polypseg.report.card import model_card
from polypseg.report.html import render_page
from polypseg.report.report_input import read_report_input
from polypseg.report.tables import negative_rows, negative_stratum_rows
from report.test_card import cells


@pytest.fixture(autouse=True)
def no_charts(monkeypatch):
    """The page without its charts, which take most of the time."""
    for name in ("_distribution_charts", "_curve_charts", "_alarm_charts", "_training_charts"):
        monkeypatch.setattr(f"polypseg.report.html.{name}", lambda record: iter(()))


def save(run, digest=None):
    """Gate 1 works, gate 2 is open everywhere."""
    gates = (
        GateFigures(level=1, mean=0.31, spread=0.1234, dice_lost=0.0567),
        GateFigures(level=2, mean=0.999, spread=0.001, dice_lost=0.0),
    )
    digest = digest or file_digests([run.best_path])[run.best_path]
    record = GatesRecord(
        gates=gates,
        num_frames=80,
        num_polyp_frames=80,
        dice=0.8,
        threshold=0.5,
        measured_on="validation",
        model_digest=digest,
    )
    save_gates(run.folder, record)


def test_card_and_page_show_each_gate_and_warn_of_the_dead(own_run):
    save(Run(own_run))
    record = read_report_input(own_run)
    card, page = model_card(record), render_page(record, with_images=False)
    assert cells(card, "gate 1") == ["gate 1", "0.310", "0.123", "0.0567"]
    assert "Over 80 validation frames, mean Dice 0.800 over the 80 with a polyp." in card
    warning = "Gate 2 does not work: the mean of its coefficients is 0.999, expected 0.05 to 0.95."
    assert f"- {warning}" in card
    assert f"<li>{warning}</li>" in page
    assert '<th scope="row">gate 1</th><td class="number">0.310</td><td class="number">0.123</td>' in page
    assert "gate 1 does not work" not in card.lower()


def test_frames_without_a_polyp_are_shown_by_source_and_centre(own_run):
    path = own_run / "evaluation" / "test" / "summary.json"
    summary = json.loads(path.read_text())
    some = {"mean": 0.25, "low": 0.125, "high": 0.5, "num_images": 40, "num_missing": 0}
    none = {"mean": 0.0, "low": None, "high": None, "num_images": 1, "num_missing": 0}
    figures = ("large_false_positive", "any_false_positive", "alarm", "false_positive_percent")
    north = {"num_images": 40, **dict.fromkeys(figures, some), "any_false_positive": {**some, "mean": 0.3}}
    south = {"num_images": 1, **dict.fromkeys(figures, none)}
    summary["negatives"]["strata"] = {
        "source": {"north": north, "south": south},
        "centre": {str(c): south for c in range(13)},
    }
    path.write_text(json.dumps(summary))
    record = read_report_input(own_run)
    card, page = model_card(record), render_page(record, with_images=False)
    assert cells(card, "north") == ["north", "40", "25.0 %", "12.5–50.0", "30.0 %"]
    assert cells(card, "south") == ["south", "1", "0.000 %", "–", "0.000 %"]
    assert "by centre" not in card  # too many rows for a card
    assert "Without a polyp, by source" in page
    assert "<summary>By centre: 13 parts</summary>" in page


def test_summary_of_before_has_no_strata_without_a_polyp(run_record):
    saved = run_record.summary.model_dump(mode="json", by_alias=True, exclude_unset=True)
    del saved["negatives"]["strata"], saved["negatives"]["large_false_positive"]
    before = parse_json(json.dumps(saved), Summary, "summary.json", FileKind("summary", ScoreError, "score again"))
    assert before.negatives.num_images == 1
    assert negative_stratum_rows(before) == {}
    assert [row[0] for row in negative_rows(before) if "any" in row[0] or "0.1" in row[0]] == [
        "Frames with any false-positive pixel"
    ]
    assert negative_stratum_rows(before.model_copy(update={"negatives": None})) == {}


def test_gates_of_another_checkpoint_are_not_shown(own_run):
    save(Run(own_run), digest="0" * 64)
    record = read_report_input(own_run)
    assert record.run.gates == {}
    assert "Attention gates" not in model_card(record) + render_page(record, with_images=False)


def test_each_member_of_a_group_has_its_own(own_run):
    run = Run(own_run)
    for name in ("seed-0", "seed-1"):
        member = Run(own_run / name)
        member.best_path.parent.mkdir(parents=True)
        member.best_path.write_bytes(name.encode())
    save(Run(own_run / "seed-1"))
    write_members(run, "seeds", ["seed-0", "seed-1"])
    record = read_report_input(own_run)
    assert list(record.run.gates) == ["seed-1"]
    card = model_card(record)
    assert "### Attention gates of seed-1" in card
    assert "- Seed-1: gate 2 does not work: " in card


def test_damaged_record_of_gates_is_named_and_stops_nothing(own_run):
    (own_run / "gates.json").write_text("{")
    record = read_report_input(own_run)
    assert any("gates.json: not a record of gates" in text for text in record.unreadable)
    assert "gates.json: not a record of gates" in model_card(record)
