"""The page: what stands in it, that it stands alone, and what it says where something is missing."""

import json
import re
import shutil
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from polypseg.errors import ScoreError
from polypseg.records.evaluations import CountedEvaluation, add_evaluation
from polypseg.records.run import Run, write_history, write_members
from polypseg.report.cases import choose_cases, data_uri
from polypseg.report.facts import epoch_words
from polypseg.report.html import render_page
from polypseg.report.report_input import read_report_input
from report.conftest import HALF, score_maps

VOID = {"meta", "br", "img", "hr", "input", "link"}


class Page(HTMLParser):
    """Reads a page and notes its elements, its text, and what is not closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.words, self.faults = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data):
        if not {"style", "svg"} & set(self.open):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def no_charts(monkeypatch):
    """Charts take most of the time of a page; a test of its words does without."""
    monkeypatch.setattr("polypseg.report.html.inline_svg", lambda *_: "<svg></svg>")


@pytest.fixture(scope="module")
def run_page(run_record):
    return render_page(run_record)


@pytest.fixture(scope="module")
def maps_page(maps_record):
    return render_page(maps_record)


def row_of(text, label):
    """The cells of the table row that begins with the label."""
    rows = [
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", text, re.S)
    ]
    plain = [[re.sub("<[^>]*>", "", cell).replace("↓", "").strip() for cell in row] for row in rows]
    return next(row for row in plain if row[0] == label)


@pytest.mark.parametrize("name", ["run_page", "maps_page"])
def test_page_is_whole_and_stands_alone(name, request):
    text = request.getfixturevalue(name)
    page = Page(text)
    assert not page.faults
    assert not page.open
    assert not page.of("script")
    assert not page.of("link")
    assert not re.findall(r"(?:https?:)?//[^\s\"')]+", re.sub(r'data:image[^"]*', "", text)), "nothing is loaded"
    images = page.of("img")
    assert images
    assert all(image["src"].startswith("data:image/jpeg;base64,") and image["alt"] for image in images)
    charts = page.of("svg")
    assert len(charts) >= 5
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)


@pytest.mark.parametrize("name", ["run_page", "maps_page"])
def test_page_ids_are_unique_and_every_reference_is_met(name, request):
    page = Page(request.getfixturevalue(name))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    values = [str(value) for _, attributes in page.elements for value in attributes.values()]
    wanted = {
        match for value in values for match in re.findall(r"^#(.+)|url\(#([^)]+)\)", value) for match in match if match
    }
    assert {"scores", "cases", "origin"} < wanted
    assert wanted <= set(ids)


def test_every_section_is_linked_at_the_head_of_the_page():
    """Of the template, as no page holds every section; what a reader must know stands first, and needs no link."""
    template = files("polypseg.report").joinpath("templates", "page.html.j2").read_text(encoding="utf-8")
    sections = re.findall(r'<h2 id="(\w+)"', template)
    assert {"promise", "maps"} < set(sections)
    assert ["warnings", *re.findall(r'<li><a href="#(\w+)"', template)] == sections


def test_page_made_twice_is_the_same(run_record, run_page):
    assert render_page(run_record) == run_page


def test_page_begins_with_what_it_is_not(run_page):
    assert Page(run_page.partition("<body>")[2]).text.startswith("Not a medical device.")


def test_page_shows_the_figures_of_four_images(maps_page):
    # mean Dice (1 + 2/3 + 0) / 3, median 2/3; pooled 2 * 150 / (150 + 300) = 2/3; IoU (1 + 1/2 + 0) / 3, pooled 150/300
    dice, iou = row_of(maps_page, "Dice"), row_of(maps_page, "IoU")
    assert (dice[1], dice[3], dice[4]) == ("0.556", "0.667", "0.667")
    assert (iou[1], iou[3], iou[4]) == ("0.500", "0.500", "0.500")
    # distances of `missed` do not exist
    assert row_of(maps_page, "Hausdorff 95 %, px")[-1] == "1"
    assert row_of(maps_page, "large (&gt; 20 %)")[1:3] == ["3", "0.556"]
    # DUCK-Net's figures: pooled Dice 2/3
    assert ">0.667<" in maps_page.partition("DUCK-Net")[2][:400]


def test_page_reports_images_without_a_polyp_apart(maps_page):
    # 40 of 400 pixels, in one finding: under the 100 px of an alarm
    assert row_of(maps_page, "Frames with any false-positive pixel")[1] == "100.0 %"
    assert row_of(maps_page, "Frames with a false finding of 100 px or more")[1] == "0.000 %"
    assert row_of(maps_page, "False-positive area, mean")[1] == "10.0 % of the image"
    assert "Sensitivity and false alarms" in maps_page


def test_page_names_are_escaped(maps_page):
    assert "half &lt;b&gt;&amp;" in maps_page
    assert "half <b>" not in maps_page


def test_page_tells_where_everything_comes_from(run_page, run_record):
    text = Page(run_page).text
    for words in (
        "kvasir on",
        "lowest val_loss on the validation split (epoch 2: 0.4000)",
        "attention_unet: filters 24",
        "1,234,567",
        "3 of at most 7, 0:03:00",
        "polypseg evaluate runs/kvasir",
        "ratio: made by hand, seed 3",
        "backend jax",
        run_record.source.data_digest,
        run_record.source.model_digest,
        run_record.run.split.digest(),
    ):
        assert words in text
    assert row_of(run_page.partition("The run&#39;s split")[2], "test")[1:] == [
        "4",
        "66.7 %",
        "1",
    ]  # 4 of 6 images, one group
    assert "No group (sequence or patient) is in two splits." in text


def test_page_counts_how_often_the_test_split_was_scored(own_run, run_page, no_charts):
    assert ">1 ×<" in run_page
    assert "become a validation split" not in run_page
    add_evaluation(
        Run(own_run),
        CountedEvaluation(splits=("test",), split="test", num_images=4, threshold=0.5, model_digest="ff"),
    )
    text = render_page(read_report_input(own_run), with_images=False)
    assert ">2 ×<" in text
    assert "The test split of this run was scored 2 times" in text


def test_page_shows_leaks_and_the_figure_without_them(run_page):
    assert row_of(run_page, "exact") == ["exact", "twin", "train", "identical"]
    # without exact: (2/3 + 0) / 2
    assert "over 2 images with a polyp: mean Dice 0.333" in Page(run_page).text
    assert "not checked : near-duplicates were not looked for (--no-leaks)" in Page(run_page).text


def test_cases_are_the_worst_median_and_best(maps_record):
    groups = choose_cases(maps_record, 1)
    assert {label: [case.name for case in cases] for label, cases in groups.items()} == {
        "worst": ["missed"],
        "median": [HALF],
        "best": ["exact"],
        "largest false alarms": ["clean"],
    }
    half, clean = groups["median"][0], groups["largest false alarms"][0]
    assert half.facts == "Dice 0.667, IoU 0.500, polyp 25.0 % of the image"
    assert half.pictures[1][0] == f"{HALF}: 50 % of the polyp's pixels found, 0.0 % of the image falsely marked"
    assert clean.pictures[1][0] == "clean: no polyp, 10.0 % of the image falsely marked"
    assert choose_cases(maps_record, 0) == {}


def test_cases_are_shown_small():
    import base64
    import io

    import numpy as np
    from PIL import Image

    uri = data_uri(np.full((500, 1000, 3), (200, 40, 40), np.uint8))
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as opened:
        assert opened.size == (420, 210)
        assert np.abs(np.asarray(opened)[100, 100].astype(int) - (200, 40, 40)).max() < 8  # red stays red


def test_page_without_images_holds_none_and_names_them(maps_record, no_charts):
    text = render_page(maps_record, with_images=False)
    assert "data:image" not in text
    assert "<code>missed</code>: Dice 0.000" in text
    assert "made from the data's images" not in text


def test_page_of_images_carries_their_terms(run_page, own_run, no_charts):
    assert "Terms of the data: unknown to polypseg; ask the owners" in run_page
    summary = own_run / "evaluation" / "test" / "summary.json"
    record = json.loads(summary.read_text())
    record["provenance"]["data"] = "/gone/Kvasir-SEG"
    summary.write_text(json.dumps(record))
    text = Page(render_page(read_report_input(own_run))).text
    assert "Terms of Kvasir-SEG: For research and education only; any commercial use needs" in text
    assert "MultiMedia Modeling" in text


def test_page_says_which_image_is_gone_or_changed(tmp_path, no_charts):
    score_maps(tmp_path)
    (tmp_path / "images" / "missed.png").unlink()
    shutil.copy(tmp_path / "images" / "clean.png", tmp_path / "images" / "exact.png")
    (tmp_path / "evaluation" / "masks" / "clean.png").unlink()
    text = Page(render_page(read_report_input(tmp_path / "evaluation"))).text
    assert "missed.png is not there any more. missed" in text
    assert "exact.png was changed after it was scored. exact" in text
    assert "Some pictures are missing" in text
    assert re.search(r"No picture: \S*clean.png", text)


def test_page_of_black_and_white_maps_draws_no_curves(tmp_path):
    score_maps(tmp_path, grey=False)
    text = render_page(read_report_input(tmp_path / "evaluation"))
    assert "hold no probabilities" in text
    assert "Reliability" not in text
    assert "Dice against polyp size" in text


@pytest.mark.filterwarnings("error")
def test_page_of_polyp_free_images_alone(tmp_path, no_charts):
    score_maps(tmp_path, names=["clean"])
    text = Page(render_page(read_report_input(tmp_path / "evaluation"))).text
    assert "No image with a polyp was scored, so there is no Dice" in text
    assert "Over 1 image without a polyp" in text
    assert "Largest false alarms" in text


@pytest.mark.filterwarnings("error")
def test_page_without_polyp_free_images_says_what_is_unknown(tmp_path, no_charts):
    score_maps(tmp_path, names=["exact"])
    text = Page(render_page(read_report_input(tmp_path / "evaluation"))).text
    assert "how often the model sees a polyp where there is none is unknown" in text
    assert "no interval can be told" in text
    assert "mean Dice 1.000 1 image mean IoU" in text


def test_page_tells_what_of_the_run_cannot_be_read(own_run, no_charts):
    run = Run(own_run)
    run.environment_path.write_text("{")
    run.history_path.unlink()
    run.best_path.write_bytes(b"trained on")
    text = Page(render_page(read_report_input(own_run), with_images=False)).text
    assert "environment.json: not a run's record, or a damaged one" in text
    assert "history.csv: no epoch of this run is finished yet" in text
    assert "The run's checkpoint has changed since this evaluation" in text
    assert "(epoch 2" not in text


def test_page_of_a_copied_evaluation_finds_its_run_or_says_that_it_is_gone(saved_run, tmp_path, no_charts):
    copied = shutil.copytree(saved_run / "evaluation" / "test", tmp_path / "copied")
    assert read_report_input(copied).run.folder == saved_run  # where the evaluation recorded it
    summary = json.loads((copied / "summary.json").read_text())
    summary["provenance"]["run"] = "/gone/kvasir"
    (copied / "summary.json").write_text(json.dumps(summary))
    record = read_report_input(copied)
    assert record.run is None
    assert "The run folder /gone/kvasir is not there any more" in Page(render_page(record)).text


def test_page_shows_a_group_that_is_in_two_splits(own_run, no_charts):
    run = Run(own_run)
    split = run.split()
    entries = {
        name: entry.__class__(entry.split, entry.image_digest, entry.mask_digest, "B")
        for name, entry in split.entries.items()
    }
    split.__class__(split.source, split.seed, entries).save(run.splits_path)
    text = Page(render_page(read_report_input(own_run), with_images=False)).text
    assert "1 group (sequences or patients) are in more than one split" in text
    assert "In more than one split: B" in text


def test_record_refuses_what_is_no_evaluation(tmp_path, own_run):
    with pytest.raises(ScoreError, match="no evaluation here"):
        read_report_input(tmp_path)
    (own_run / "evaluation" / "test" / "summary.json").unlink()
    with pytest.raises(ScoreError, match=r"summary.json: cannot read the file of an evaluation.*polypseg evaluate"):
        read_report_input(own_run)


def test_group_tells_the_epochs_of_its_members(own_run):
    # Members of 3 and 2 epochs of a minute each: five minutes in all.
    group = Run(own_run)
    rows = group.history()
    write_members(group, "folds", ["fold-1", "fold-2"])
    group.history_path.unlink()
    for name, history in (("fold-1", rows), ("fold-2", rows[:2])):
        (own_run / name).mkdir()
        write_history(Run(own_run / name), history)
    record = read_report_input(own_run)
    assert epoch_words(record.run) == "fold-1 3, fold-2 2 of at most 7, 0:05:00 (h:mm:ss)"
    text = Page(render_page(record, with_images=False)).text
    assert "fold-1: 3 epochs; lowest validation loss 0.4000 in epoch 2." in text
    assert "fold-2: 2 epochs; lowest validation loss 0.4000 in epoch 2." in text
    assert "no epoch of this run is finished" not in text
