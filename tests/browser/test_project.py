"""A project on the page: frames listed, corrected, saved as they are drawn, whatever the server answers."""

import numpy as np
import pytest

from browser.conftest import shown, until, until_true
from browser.editing import Place, click, near_line, stroke, tool
from browser.fake_project import FakeProject
from browser.test_editor import FAULTS
from serve.running import serving

HEIGHT, WIDTH = 60, 80
SHAPE = HEIGHT, WIDTH


def blob(row, column, radius=14):
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    image = np.zeros((*SHAPE, 3), np.uint8)
    image[..., 0] = np.clip(360 - 16 * 14 / radius * np.hypot(rows - row, columns - column), 0, 255)
    image[..., 1] = 60
    return image


@pytest.fixture
def project():
    return FakeProject([blob(30, 40), blob(20, 25), blob(40, 60)], doubts=[0.2, 0.9, 0.5])


@pytest.fixture
def page(open_page, red_model, project):
    with serving(red_model, extend=project.extend) as running:
        page = open_page(running.base_url)
        shown(page, "#project")
        page.locator("#frames button").nth(2).wait_for()
        yield page
        page.context.close()


def begin(page, name="Ada"):
    page.locator("#labeller").fill(name)
    page.locator("#project-start").click()
    shown(page, "#editor")
    page.locator("#editor-state", has_text="Proposed").wait_for()
    tool(page, "brush", 5)
    return Place(page, WIDTH, HEIGHT)


def saved(page, words="Saved"):
    """Waits until the page says so of the frame that is open, and of no other that it is not saved."""
    state = "document.querySelector('#editor-state').textContent"
    until(page, f"{state}.startsWith('{words}') && !{state}.includes('more not saved')")


def stop_clock(page):
    """Lets no timer of the page run out by itself, such as the one that saves again; `run` lets time go on."""
    page.clock.pause_at(page.evaluate("Date.now()") + 1000)


def run(page, milliseconds):
    page.clock.run_for(milliseconds)


def names(page):
    return page.locator(".frame-name").all_inner_texts()


def test_frames_are_listed_the_most_useful_first(page, project):
    until_true(page, lambda: names(page) == ["frame-1.png", "frame-2.png", "frame-0.png"], "the frames")
    assert page.locator("#project-progress").inner_text() == "0 of 3 frames reviewed"
    assert "doubt 0.90" in page.locator("#frames button").first.inner_text()
    page.locator("#frames-order").select_option("name")
    until(page, "document.querySelector('.frame-name').textContent === 'frame-0.png'")
    page.locator("#frames-order").select_option("random")
    until_true(page, lambda: project.asked[-1]["order"] == "random", "asked for in random order")
    assert project.asked[-1]["seed"].isdigit()
    page.locator("#frames-state").select_option("accepted")
    page.locator("#frames-none").wait_for()
    assert page.locator("#project-start").is_disabled()


def test_who_corrects_is_asked_once_and_kept(page):
    page.locator("#project-start").click()
    assert "Enter your name" in page.locator("#project-fault").inner_text()
    assert page.evaluate("document.activeElement.id") == "labeller"
    page.locator("#labeller").fill("Grace")
    page.reload()
    shown(page, "#project")
    assert page.locator("#labeller").input_value() == "Grace"


def test_each_stroke_is_saved_pixel_for_pixel(page, project):
    place = begin(page)
    stroke(page, place, (50, 10), (70, 16))
    saved(page)
    expected = project.proposal("frame-1") | near_line(SHAPE, (50, 10), (70, 16), 2.5)
    np.testing.assert_array_equal(project.masks["frame-1"], expected)
    tool(page, "eraser")
    stroke(page, place, (50, 10), (60, 13))
    until_true(page, lambda: len(project.saves) == 2, "saved twice")
    saved(page)
    expected &= ~near_line(SHAPE, (50, 10), (60, 13), 2.5)
    np.testing.assert_array_equal(project.masks["frame-1"], expected)
    assert project.saves == [("frame-1", "corrected", "Ada", True)] * 2
    assert page.locator("#editor-state").inner_text() == "Saved, corrected"


def test_a_stroke_is_sent_at_once(page):
    """Without a pause in which a kill would lose it."""
    place = begin(page)
    stroke(page, place, (50, 10), (70, 16))
    page.evaluate("new Promise((take) => setTimeout(take))")  # timers without a delay run in the order of their making
    assert page.locator("#editor-state").inner_text() != "Not saved yet"


def test_the_list_follows_the_masks_that_are_proposed(page, project):
    for record in project.records.values():
        record.update(state="new", doubt=None)
    page.locator("#frames-again").click()
    page.locator("#project-counts", has_text="3 new; masks are being proposed").wait_for()
    for name, doubt in (("frame-0", 0.3), ("frame-1", 0.1), ("frame-2", 0.8)):
        project.records[name].update(state="proposed", doubt=doubt)
    page.locator("#project-counts", has_text="3 proposed").wait_for()
    until_true(page, lambda: names(page) == ["frame-2.png", "frame-0.png", "frame-1.png"], "the frames")
    assert page.locator("#project-counts").inner_text() == "3 proposed"


def test_frames_are_accepted_emptied_and_rejected_one_after_another(page, project):
    begin(page)
    for state, name in (("accepted", "frame-2.png"), ("no-polyp", "frame-0.png")):
        page.locator(f"[data-decide='{state}']").click()
        page.locator("#editor-title", has_text=name).wait_for()
    assert page.locator("#editor-place").inner_text() == "3 of 3"
    page.locator("[data-decide='rejected']").click()
    page.locator("#editor-words", has_text="last frame").wait_for()
    saved(page)
    assert sorted(project.saves) == [  # the requests of different frames may overtake each other
        ("frame-0", "rejected", "Ada", False),
        ("frame-1", "accepted", "Ada", False),
        ("frame-2", "no-polyp", "Ada", False),
    ]
    np.testing.assert_array_equal(project.masks["frame-1"], project.proposal("frame-1"))
    assert not project.masks["frame-2"].any()
    page.locator("#editor-leave").click()
    page.locator("#project-progress", has_text="3 of 3 frames reviewed").wait_for()
    assert page.locator("#project-counts").inner_text() == "1 accepted, 1 no polyp, 1 rejected"
    shown_states = page.locator(".frame-state")  # an empty text until the list is drawn
    until_true(page, lambda: shown_states.all_inner_texts() == ["accepted", "no polyp", "rejected"], "the states")


def test_a_corrected_mask_stays_corrected_when_it_is_accepted(page, project):
    place = begin(page)
    click(page, place, (70, 50))
    page.keyboard.press("a")
    page.locator("#editor-title", has_text="frame-2.png").wait_for()
    page.keyboard.press("PageUp")
    page.locator("#editor-title", has_text="frame-1.png").wait_for()
    saved(page)
    assert {state for _, state, _, _ in project.saves} == {"corrected"}
    expected = project.proposal("frame-1") | near_line(SHAPE, (70, 50), (70, 50), 2.5)
    np.testing.assert_array_equal(project.masks["frame-1"], expected)
    page.keyboard.press("Control+z")  # what was drawn before one went on can still be undone
    page.locator("#editor-words", has_text="Undone: brush").wait_for()
    page.keyboard.press("Control+s")
    saved(page)
    np.testing.assert_array_equal(project.masks["frame-1"], project.proposal("frame-1"))


def test_what_cannot_be_saved_is_kept_and_tried_again(page, project):
    page.clock.install()
    place = begin(page)
    stop_clock(page)
    project.fail = 1
    click(page, place, (70, 50))
    run(page, 1)
    saved(page, "Not saved: The disk is full")
    assert project.saves == []
    page.locator("#editor-retry").click()
    saved(page)
    project.fail = 1
    click(page, place, (5, 5))
    page.keyboard.press("PageDown")  # one goes on; the frame before is saved by itself
    page.locator("#editor-title", has_text="frame-2.png").wait_for()
    page.locator("#editor-state", has_text="1 more not saved").wait_for()
    until_true(page, lambda: project.fail == 0, "refused")
    run(page, 2000)
    until(page, "!document.querySelector('#editor-state').textContent.includes('more not saved')")
    assert project.masks["frame-1"][5, 5]
    assert project.masks["frame-1"][50, 70]


@pytest.mark.parametrize("keeps", [True, False])
def test_a_frame_that_somebody_else_saved_is_shown_with_a_choice(page, project, keeps):
    place = begin(page)
    project.others.add("frame-1")
    click(page, place, (70, 50))
    shown(page, "#editor-conflict")
    page.locator("#conflict-detail", has_text="Bert saved it as corrected").wait_for()
    assert project.saves == []
    page.locator("#conflict-mine" if keeps else "#conflict-theirs").click()
    mine = project.proposal("frame-1") | near_line(SHAPE, (70, 50), (70, 50), 2.5)
    page.locator("#editor-area", has_text=f"{(mine.sum() if keeps else 4800):,}").wait_for()
    saved(page)
    np.testing.assert_array_equal(project.masks["frame-1"], mine if keeps else np.ones(SHAPE, bool))
    assert len(project.saves) == keeps
    assert page.locator("#editor-area").inner_text().replace("\u00a0", " ") == f"{(mine.sum() if keeps else 4800):,} px"


def test_a_refusal_that_is_no_others_save_is_told_as_it_is(page, project):
    page.clock.install()
    place = begin(page)
    stop_clock(page)
    project.refusal = "f1.png: the mask is not of the size of its image"
    click(page, place, (70, 50))
    run(page, 1)
    saved(page, "Not saved: The project does not allow it")
    assert page.locator("#editor-conflict").is_hidden()
    project.refusal = ""
    page.locator("#editor-retry").click()
    saved(page)
    assert project.masks["frame-1"][50, 70]


def test_two_clicks_use_the_projects_probability(page, project):
    project.images["frame-1"][35:55, 50:70, 0] = 100  # missed
    begin(page)
    tool(page, "propose")
    click(page, Place(page, WIDTH, HEIGHT), (50, 45), (70, 45))
    saved(page)
    added = project.masks["frame-1"] & ~project.proposal("frame-1")
    assert added[45, 52:68].all()
    assert 150 < added.sum() < 450


def test_training_is_watched_and_the_model_chosen(page, project):
    page.locator("#retrain-start").click()
    page.locator("#retrain-progress", has_text="epoch 1 of 4, 3 s").wait_for()
    assert page.locator("#retrain-start").is_disabled()
    figures = {"old": 0.812, "new": 0.801, "difference": -0.011, "low": -0.04, "high": 0.02, "frames": 12}
    project.training |= {"status": "waiting", "comparison": {"project": figures, "reference": None}}
    page.locator("#retrain-new").wait_for()
    assert page.locator("#retrain-table tbody").inner_text().split() == [
        "This",
        "project",
        "12",
        "frames",
        "0.812",
        "0.801",
        "−0.011",
        "−0.040",
        "to",
        "+0.020",
    ]
    assert page.locator("#retrain-words").inner_text().startswith("The new model is not better")
    assert page.locator("#retrain-new").inner_text() == "Use it anyway"
    page.locator("#retrain-new").click()
    page.locator("#retrain-words", has_text="The new model is in use.").wait_for()
    page.locator("#retrain-back").click()
    page.locator("#retrain-words", has_text="The previous model is in use again.").wait_for()
    assert project.models == ["new", "previous"]
    project.training["better"] = True
    page.reload()  # the page is opened again: what is in use is told, and the new model is offered
    page.locator("#retrain-words", has_text="The old model is in use; the new one is kept.").wait_for()
    assert page.locator("#retrain-new").inner_text() == "Use the new model"
    assert page.locator("#retrain-back").is_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault_in_a_project(open_page, red_model, project, axe, scheme):
    figures = {"old": 0.812, "new": 0.801, "difference": -0.011, "low": -0.04, "high": 0.02, "frames": 12}
    project.training |= {"status": "waiting", "comparison": {"project": figures, "reference": figures}}
    project.save("frame-0", "corrected", "Bert", project.proposal("frame-0"))
    with serving(red_model, extend=project.extend) as running:
        page = open_page(running.base_url, color_scheme=scheme, reduced_motion="reduce")
        page.locator("#retrain-table").wait_for()
        page.evaluate(axe)
        assert page.evaluate(FAULTS) == []
        place = begin(page)
        project.others.add("frame-1")
        click(page, place, (70, 50))
        page.locator("#conflict-detail", has_text="Bert").wait_for()
        assert page.evaluate(FAULTS) == []
        page.context.close()


@pytest.mark.parametrize("width", [320, 390])
def test_a_project_fits_a_phone(open_page, red_model, project, width):
    with serving(red_model, extend=project.extend) as running:
        page = open_page(running.base_url, viewport={"width": width, "height": 740}, is_mobile=True, has_touch=True)
        page.locator("#frames button").nth(2).wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator(".frame-name").first.evaluate("name => name.scrollWidth <= name.clientWidth")
        begin(page)
        page.keyboard.press("n")
        page.locator("#editor-title", has_text="frame-2.png").wait_for()
        page.keyboard.press("PageUp")
        page.locator("#editor-title", has_text="frame-1.png").wait_for()
        saved(page, "Saved, no polyp")
        for part in ("#editor-title", "#editor-place", "#editor-state"):
            assert page.locator(part).evaluate("part => part.scrollWidth <= part.clientWidth"), part
        page.context.close()
