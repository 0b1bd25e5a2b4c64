"""The page on a real project: what is drawn lies in the project's folder, and training would read it."""

import numpy as np
import pytest

from browser.conftest import shown, until, until_true
from browser.editing import Place, near_line, stroke, tool
from polypseg.annotate import training
from polypseg.annotate.beginning import begin_project
from polypseg.annotate.project import opened_project
from polypseg.annotate.training import Training
from polypseg.data.catalogue import find_samples
from polypseg.preprocess import read_mask
from polypseg.serve import retraining
from serve.running import png, serving

HEIGHT, WIDTH = 60, 80
SHAPE = HEIGHT, WIDTH


@pytest.fixture
def folder(tmp_path):
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for number, red in enumerate((250, 140, 30)):
        image = np.full((*SHAPE, 3), 60, np.uint8)
        image[..., 0] = np.where(np.hypot(rows - 30, columns - 40) < 14, red, 20)
        (tmp_path / f"f{number}.png").write_bytes(png(image))
    begin_project(tmp_path, tmp_path / "project", "three")
    return tmp_path / "project"


def saved(page):
    until(page, "document.querySelector('#editor-state').textContent.startsWith('Saved')")


def test_a_stroke_lies_in_the_projects_folder(open_page, red_model, folder):
    with serving(red_model, project=folder) as running:
        page = open_page(running.base_url)
        shown(page, "#project")
        page.locator("#frames-order").select_option("name")
        page.locator("#labeller").fill("Ada")
        page.locator("#frames button").first.click()
        shown(page, "#editor")
        tool(page, "brush", 5)
        stroke(page, Place(page, WIDTH, HEIGHT), (10, 10), (30, 14))
        saved(page)
        page.keyboard.press("PageDown")
        page.locator("#editor-title", has_text="f1").wait_for()
        page.keyboard.press("n")
        page.locator("#editor-title", has_text="f2").wait_for()
        page.keyboard.press("x")
        saved(page)
        page.locator("#editor-leave").click()
        page.locator("#project-progress", has_text="3 of 3").wait_for()
        page.context.close()
    masks = {sample.name: read_mask(sample.mask_path) for sample in find_samples(folder)[0]}
    assert sorted(masks) == ["f0", "f1"]
    assert (masks["f0"] >= near_line(SHAPE, (10, 10), (30, 14), 2.5)).all()
    assert masks["f0"][30, 40]
    assert not masks["f0"][55:].any()
    assert not masks["f1"].any()


class LongTraining(Training):
    """Its child is a command that takes minutes."""

    out = None

    def _child(self, arguments):
        place = self.out / str(len(list(self.out.iterdir())))  # another one each time: a full folder is refused
        super()._child(["data", "synth", str(place), "--num-images", "4000"])


def test_a_training_is_cancelled(open_page, red_model, folder, tmp_path, monkeypatch):
    LongTraining.out = tmp_path / "drawn"
    LongTraining.out.mkdir()
    monkeypatch.setattr(retraining, "Training", LongTraining)
    monkeypatch.setattr(training, "FEWEST_TRAINING", 1)
    with opened_project(folder) as project:
        for frame in project.frames.values():  # one of the first two, in the order of their names, is held out
            project.save(frame, "no-polyp", np.zeros(SHAPE, bool), "Ada", 0, "")
    before = (folder / "trail.jsonl").read_bytes()
    with serving(red_model, project=folder) as running:
        page = open_page(running.base_url)
        page.locator("#retrain-start").wait_for()
        assert page.locator("#retrain-cancel").is_hidden()
        page.locator("#retrain-start").click()
        page.locator("#retrain-cancel").wait_for()
        assert page.locator("#retrain-start").is_disabled()
        until_true(page, (LongTraining.out / "0").is_dir, "drawn")  # a running process is ended
        page.locator("#retrain-cancel").click()
        page.locator("#retrain-words", has_text="The training was cancelled; the old model stays in use.").wait_for()
        until(page, "document.activeElement.id === 'retrain-start'")
        assert page.locator("#retrain-cancel").is_hidden()
        assert page.locator("#retrain-start").is_enabled()
        assert running.get("/project").json()["model"] == "red 1.0"
        page.locator("#retrain-start").click()  # and another one begins
        page.locator("#retrain-cancel").wait_for()
        page.context.close()
    assert list((folder / "models").glob("*")) == []
    assert (folder / "trail.jsonl").read_bytes() == before


def test_a_save_whose_answer_is_lost_is_no_one_elses(open_page, red_model, folder):
    """The server has it, the page does not know: it sends it again, then what was drawn since."""
    lost = []

    def lose(route):
        if lost:
            route.continue_()
        else:
            lost.append(route.fetch().status)
            route.abort()

    with serving(red_model, project=folder) as running:
        page = open_page(running.base_url)
        shown(page, "#project")
        page.locator("#labeller").fill("Ada")
        page.locator("#frames-order").select_option("name")
        page.route("**/mask?*", lose)
        page.locator("#frames button", has_text="f2").click()
        shown(page, "#editor")
        tool(page, "brush", 5)
        place = Place(page, WIDTH, HEIGHT)
        stroke(page, place, (10, 10), (30, 14))
        until_true(page, lambda: lost, "saved, with no answer")
        stroke(page, place, (10, 50), (30, 46))
        saved(page)
        assert page.locator("#editor-conflict").is_hidden()
        page.context.close()
    assert lost == [200]
    drawn = near_line(SHAPE, (10, 10), (30, 14), 2.5) | near_line(SHAPE, (10, 50), (30, 46), 2.5)
    np.testing.assert_array_equal(read_mask(folder / "masks" / "f2.png"), drawn)
    assert len((folder / "trail.jsonl").read_text(encoding="utf-8").splitlines()) == 2
