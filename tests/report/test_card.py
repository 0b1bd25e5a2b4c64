"""The model card: what the record tells, what it does not, and what happens to a card that was edited."""

import re

import pytest

from polypseg.evaluate.evaluation import evaluate
from polypseg.evaluate.plan import plan_model
from polypseg.predict.engines.packaged import resolve
from polypseg.report.card import model_card
from polypseg.report.claim import claim_checklist
from polypseg.report.documents import escape_markdown, render_markdown, write_draft
from polypseg.report.html import render_page
from polypseg.report.report_input import read_report_input
from report.conftest import OPTIONS, score_maps, write_data


def tables(markdown):
    """The tables as lists of rows of cells; a cell ends at a bar without a backslash."""
    found, rows = [], []
    for line in [*markdown.splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif rows:
            found.append(rows)
            rows = []
    return found


def cells(markdown, label):
    return next(row for table in tables(markdown) for row in table if row[0] == label)


@pytest.mark.parametrize("record", ["run_record", "maps_record"])
def test_card_has_whole_tables(record, request):
    found = tables(model_card(request.getfixturevalue(record)))
    assert len(found) >= 4
    for rows in found:
        assert {len(row) for row in rows} == {len(rows[0])}
        assert set(rows[1]) == {"---"}


def test_card_of_a_run_tells_model_data_and_figures(run_record):
    card = model_card(run_record)
    assert card.startswith("# Model card, draft: kvasir\n")
    assert "**Not a medical device.**" in card
    assert cells(card, "what chose the checkpoint")[1] == "lowest val_loss on the validation split (epoch 2: 0.4000)"
    assert cells(card, "protocol")[1] == "own split: 1/1/4 (train/validation/test)"
    assert cells(card, "train") == ["train", "1", "1"]
    assert cells(card, "Dice")[1] == "0.556"  # (1 + 2/3 + 0) / 3
    assert cells(card, "Frames with any false-positive pixel")[1] == "100.0 %"
    assert "Times the test split was scored: 1." in card
    assert cells(card, "made by")[1] == "**unknown**"
    assert cells(card, "Hausdorff 95 %, % diagonal (lower is better)")


@pytest.mark.slow
def test_report_of_a_packaged_model_tells_what_its_file_says_and_no_absolute_path(tmp_path):
    write_data(tmp_path / "data")
    facts = resolve("polyp-lite")
    evaluation, _ = evaluate(plan_model(facts, tmp_path / "data"), tmp_path / "out", summary_options=OPTIONS)
    record = read_report_input(evaluation.folder)
    card, page = model_card(record), render_page(record, with_images=False)
    # What `polypseg models` prints of the packaged file: 4.34 M parameters, int8, four data sets.
    for text in (card, page):
        assert "polyp-lite 3.0 (polyp-lite.onnx)" in text
        assert "4,337,137" in text
        assert "Kvasir-SEG, PolypGen: 3491 train, 275 validation, 120 test" in text
        assert str(tmp_path) not in text
        assert str(facts.parent) not in text
    assert cells(card, "precision") == ["precision", "int8"]
    assert "Apache-2.0 for the file" in next(line for line in card.splitlines() if "licence of the weights" in line)
    claim = claim_checklist(record)
    assert "Kvasir-SEG, PolypGen: 3491 train" in claim
    # The card of the file: test Dice .889 over 120 images, CVC-ClinicDB .860 over 612, which is not among those it saw.
    assert "kvasir-seg: mean Dice 0.889 (0.861–0.913, 120 images)" in claim
    assert "kvasir-seg 800/80/120" in next(line for line in claim.splitlines() if line.startswith("| 19 |"))
    assert "by them 0 of the 4 scored images are the same files" in claim
    assert cells(card, "network") == ["network", "attention gates at 4 levels, 1.09 billion multiply-adds an image"]
    assert "/data (none of the data sets that polypseg knows) |" in card


def test_card_of_maps_marks_the_model_as_unknown(maps_record):
    card = model_card(maps_record)
    assert cells(card, "model that made them")[1] == "**unknown**"
    assert "## Training data\n\n**unknown**" in card
    assert "Times the test split was scored: **unknown**." in card
    assert "- It is not known on which images the checkpoint was chosen" in card


def test_card_of_polyp_images_alone_marks_false_alarms_as_unknown(tmp_path):
    score_maps(tmp_path, names=["exact", "missed"])
    card = model_card(read_report_input(tmp_path / "evaluation"))
    assert "how often the model raises a false alarm is **unknown**" in card


def test_markdown_values_stay_in_their_cell():
    assert escape_markdown("a|b\r\nc <script>") == r"a\|b c &lt;script&gt;"
    with pytest.raises(Exception, match="undefined"):
        render_markdown("model_card.md.j2")


def test_draft_is_written_again_until_it_is_edited(tmp_path):
    path = tmp_path / "new" / "card.md"
    assert write_draft(path, "# one\n")
    assert path.read_text().startswith("# one\n\n<!-- draft of polypseg ")
    assert write_draft(path, "# two\n")  # nobody has touched it
    path.write_text(path.read_text().replace("two", "mine"))
    assert not write_draft(path, "# three\n")
    assert "mine" in path.read_text()
    assert write_draft(path, "# three\n", overwrite=True)
    assert "three" in path.read_text()


@pytest.mark.parametrize("content", ["", "my own card", "# one\n\n<!-- draft of polypseg 1, sha256 0 -->\n"])
def test_draft_never_replaces_a_file_that_is_no_draft(tmp_path, content):
    path = tmp_path / "card.md"
    path.write_text(content)
    assert not write_draft(path, "# one\n")
    assert path.read_text() == content


def test_draft_with_words_below_its_mark_is_edited(tmp_path):
    path = tmp_path / "card.md"
    write_draft(path, "# one\n")
    path.write_text(path.read_text() + "my words\n")
    assert not write_draft(path, "# two\n")
