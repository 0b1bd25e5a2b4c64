import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluate.conftest import RedEngine, rectangle, write_image, write_mask
from polypseg.errors import ScoreError
from polypseg.evaluate.measure import MeasuredImage
from polypseg.evaluate.plan import plan_predictions, plan_run
from polypseg.evaluate.score import ScoreOptions, _append, predict_cases, score
from polypseg.evaluate.selection import Selection
from polypseg.metrics.table import ScoreSettings
from polypseg.predict.predictor import Predictor
from polypseg.preprocess import read_image, restore
from polypseg.records.evaluation import Evaluation, open_evaluation


class Killed(BaseException):
    """What a kill looks like from inside."""


def kill_after(count):
    """A `track` that lets so many items through and then stops everything."""

    def track(items, description, total):
        for place, item in enumerate(items):
            if place == count:
                raise Killed
            yield item

    return track


@pytest.fixture
def plan(run):
    return plan_run(run.folder, selection=Selection(split="all"))


def test_scores_of_the_red_model_are_those_worked_out_by_hand(plan, tmp_path):
    # The model finds the left half of each polyp (conftest), and images are scored at their own sizes.
    evaluation, num_scored = score(plan, tmp_path / "out")
    scores = evaluation.scores()
    assert num_scored == 6
    assert scores.names == [f"s{number}" for number in range(6)]
    assert scores.values["height_px"].tolist() == [8, 16, 8, 16, 8, 16]
    # s0 is 8x8 and no pixel moves; larger images are squeezed to 8x8 and grown again, within 2x2 blocks
    assert scores.values["dice"][0] == 2 / 3
    assert scores.values["reference_px"].tolist() == [16, 64, 48, 32, 32, 96]
    assert np.all(scores.values["dice"] > 0.6)
    assert np.isfinite(scores.values["loss"]).all()


@pytest.mark.parametrize("count", range(6))
def test_killed_evaluation_goes_on_to_an_identical_file(plan, tmp_path, count):
    whole, _ = score(plan, tmp_path / "whole")
    with pytest.raises(Killed):
        score(plan, tmp_path / "killed", track=kill_after(count))
    assert not (tmp_path / "killed" / "scores.csv").exists()
    engine = RedEngine()
    resumed, num_scored = score(replace(plan, engine=engine), tmp_path / "killed")
    assert num_scored == 6 - count
    assert engine.num_images == 6 - count  # the model was not run again on what was done
    assert resumed.scores_path.read_bytes() == whole.scores_path.read_bytes()
    assert np.array_equal(resumed.histograms(), whole.histograms())
    assert sorted(p.name for p in resumed.masks_folder.iterdir()) == [f"s{n}.png" for n in range(6)]


@pytest.mark.slow
def test_process_killed_for_good_leaves_what_the_next_one_goes_on_with(tmp_path):
    for number in range(12):
        mask = rectangle(20, 24, (2, 3 + number), (4, 16))
        write_mask(tmp_path / "predicted" / f"p{number:02d}.png", np.roll(mask, 2, 1))
        write_mask(tmp_path / "reference" / f"p{number:02d}.png", mask)
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from polypseg.evaluate.plan import plan_predictions\n"
        "from polypseg.evaluate.score import score\n"
        "def track(items, description, total):\n"
        "    for place, item in enumerate(items):\n"
        "        if place == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        yield item\n"
        "folder = Path(sys.argv[1])\n"
        "score(plan_predictions(folder / 'predicted', folder / 'reference'), folder / 'killed', track=track)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    plan = plan_predictions(tmp_path / "predicted", tmp_path / "reference")
    whole, _ = score(plan, tmp_path / "whole")
    resumed, num_scored = score(plan, tmp_path / "killed")
    assert num_scored == 7
    assert resumed.scores_path.read_bytes() == whole.scores_path.read_bytes()
    assert np.array_equal(resumed.histograms(), whole.histograms())


@pytest.mark.parametrize("num_bytes", [1, 40, 300])
def test_broken_last_row_is_cut_off_and_scored_again(plan, tmp_path, num_bytes):
    whole, _ = score(plan, tmp_path / "whole")
    with pytest.raises(Killed):
        score(plan, tmp_path / "killed", track=kill_after(3))
    part = Evaluation(tmp_path / "killed").unfinished_path
    os.truncate(part, part.stat().st_size - num_bytes)
    resumed, _ = score(plan, tmp_path / "killed")
    assert resumed.scores_path.read_bytes() == whole.scores_path.read_bytes()


@pytest.mark.parametrize("num_bytes", [None, 0, 40, 300])
@pytest.mark.parametrize("is_finished", [True, False])
def test_lost_or_cut_histograms_are_told_and_scores_stay(plan, tmp_path, num_bytes, is_finished):
    evaluation = Evaluation(tmp_path / "out")
    if is_finished:
        score(plan, evaluation.folder)
    else:
        with pytest.raises(Killed):
            score(plan, evaluation.folder, track=kill_after(3))
    if num_bytes is None:
        evaluation.histograms_path.unlink()
    else:
        os.truncate(evaluation.histograms_path, num_bytes)
    with pytest.raises(ScoreError, match=r"though [36] images are scored already; score again with --overwrite"):
        score(plan, evaluation.folder)
    assert evaluation.scores_path.is_file() == is_finished
    score(plan, evaluation.folder, ScoreOptions(overwrite=True))
    assert (
        evaluation.histograms().sum()
        == evaluation.scores().values["height_px"] @ evaluation.scores().values["width_px"]
    )


@pytest.mark.parametrize("num_bytes", [0, 40])
def test_kill_before_the_file_of_histograms_was_whole_goes_on(plan, tmp_path, num_bytes):
    with pytest.raises(Killed):
        score(plan, tmp_path / "killed", track=kill_after(0))
    os.truncate(tmp_path / "killed" / "histograms.npy", num_bytes)
    assert score(plan, tmp_path / "killed")[1] == 6


def test_kill_before_the_header_was_whole_starts_anew(plan, tmp_path):
    with pytest.raises(Killed):
        score(plan, tmp_path / "killed", track=kill_after(0))
    os.truncate(Evaluation(tmp_path / "killed").unfinished_path, 10)
    resumed, num_scored = score(plan, tmp_path / "killed")
    assert num_scored == len(resumed.scores()) == 6


def test_stopped_evaluation_with_other_settings_is_refused_or_thrown_away(plan, tmp_path):
    with pytest.raises(Killed):
        score(plan, tmp_path / "out", track=kill_after(2))
    other = replace(plan, threshold=0.9)
    with pytest.raises(ScoreError, match=r"differs in threshold \(0.5 there, 0.9 now\); finish it .*--overwrite"):
        score(other, tmp_path / "out")
    with pytest.raises(ScoreError, match="differs in tolerance_px"):
        score(plan, tmp_path / "out", ScoreOptions(ScoreSettings(tolerance_px=3)))
    with pytest.raises(ScoreError, match="differs in model;"):
        score(replace(plan, source=plan.source.model_copy(update={"model_digest": "other"})), tmp_path / "out")
    with pytest.raises(ScoreError, match="differs in images"):
        score(replace(plan, cases=plan.cases[:3]), tmp_path / "out")
    evaluation, num_scored = score(other, tmp_path / "out", ScoreOptions(overwrite=True))
    assert num_scored == 6
    assert evaluation.scores().values["predicted_px"].sum() == 0  # 0.8 is below 0.9


def test_finished_evaluation_is_not_made_again_unless_something_changed(plan, tmp_path):
    first, _ = score(plan, tmp_path / "out")
    content = first.scores_path.read_bytes()
    engine = RedEngine()
    again, num_scored = score(replace(plan, engine=engine), tmp_path / "out")
    assert (num_scored, engine.num_images) == (0, 0)
    assert again.scores_path.read_bytes() == content
    _, num_scored = score(replace(plan, threshold=0.3), tmp_path / "out")
    assert num_scored == 6
    _, num_scored = score(replace(plan, threshold=0.3), tmp_path / "out", ScoreOptions(overwrite=True))
    assert num_scored == 6


def test_folder_with_other_files_is_not_written_into(plan, data, tmp_path):
    before = (data / "masks" / "s0.png").read_bytes()
    with pytest.raises(ScoreError, match=r"data: holds files, but no evaluation; expected a new or empty folder"):
        score(plan, data, ScoreOptions(overwrite=True))
    assert (data / "masks" / "s0.png").read_bytes() == before


def test_masks_of_an_earlier_evaluation_do_not_stay(plan, tmp_path):
    score(plan, tmp_path / "out")
    evaluation, _ = score(replace(plan, cases=plan.cases[:2]), tmp_path / "out")
    assert sorted(path.name for path in evaluation.masks_folder.iterdir()) == ["s0.png", "s1.png"]


def test_data_that_moved_go_on_where_they_were_stopped(plan, data, tmp_path, run):
    with pytest.raises(Killed):
        score(plan, tmp_path / "out", track=kill_after(2))
    data.rename(tmp_path / "moved")
    moved = plan_run(run.folder, tmp_path / "moved", Selection(split="all"))
    evaluation, num_scored = score(moved, tmp_path / "out")
    assert num_scored == 4
    assert str(tmp_path / "moved") in evaluation.record().samples[0].image.path


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_workers_and_batches_change_no_number(plan, tmp_path, workers, batch_size):
    one, _ = score(plan, tmp_path / "one")
    other, _ = score(plan, tmp_path / "other", ScoreOptions(workers=workers, batch_size=batch_size))
    assert one.scores_path.read_bytes() == other.scores_path.read_bytes()


@pytest.mark.slow
def test_processes_change_no_number(plan, tmp_path, monkeypatch):
    one, _ = score(plan, tmp_path / "one")
    monkeypatch.setattr("polypseg.evaluate.score._WORTH_PROCESSES", 1)
    other, _ = score(plan, tmp_path / "other", ScoreOptions(workers=2, processes=True))
    assert one.scores_path.read_bytes() == other.scores_path.read_bytes()


def test_predictions_equal_those_of_the_prediction_room(plan):
    from concurrent.futures import ThreadPoolExecutor

    images = [read_image(case.image_path) for case in plan.cases]
    expected = [found.probability for found in Predictor(RedEngine()).predict_many(images, batch_size=4)]
    with ThreadPoolExecutor(2) as pool:
        found = list(predict_cases(RedEngine(), plan.cases, 4, pool))
    for prediction, probability in zip(found, expected, strict=True):
        assert prediction.image_shape == probability.shape
        assert np.array_equal(restore(prediction.map, prediction.image_shape), probability)


def test_image_that_cannot_be_read_stops_with_its_name_or_is_left_out(plan, data, tmp_path):
    (data / "images" / "s2.png").write_bytes(b"")
    with pytest.raises(ScoreError, match=r"s2.png: the file is empty"):
        score(plan, tmp_path / "out")
    evaluation, _ = score(plan, tmp_path / "skipping", ScoreOptions(skip_bad=True))
    scores = evaluation.scores()
    assert scores.is_scored.tolist() == [True, True, False, True, True, True]
    assert "is empty" in scores.text.fault[2]
    whole, _ = score(replace(plan, cases=[*plan.cases[:2], *plan.cases[3:]]), tmp_path / "whole")
    assert np.array_equal(scores.select(scores.is_scored).values["dice"], whole.scores().values["dice"])


def test_maps_are_saved_where_they_are_asked_for(plan, tmp_path):
    evaluation, _ = score(plan, tmp_path / "out", ScoreOptions(save_maps=True))
    assert read_image(evaluation.map_path("s0"))[3, 2].tolist() == [204] * 3
    assert not score(plan, tmp_path / "without")[0].maps_folder.exists()


def test_record_holds_what_was_scored_and_how(plan, tmp_path):
    evaluation, _ = score(plan, tmp_path / "out")
    record = evaluation.record()
    assert record.settings.threshold == 0.5
    assert record.data_digest == plan.data_digest()
    assert record.samples[4].split == "test"
    assert record.samples[4].reference.sha256 == plan.cases[4].digests[1]


def test_open_evaluation_takes_a_folder_a_file_and_a_run(plan, run, tmp_path):
    with pytest.raises(ScoreError, match="was not scored yet; do it with: polypseg evaluate"):
        open_evaluation(run.folder)
    with pytest.raises(ScoreError, match="no evaluation here"):
        open_evaluation(tmp_path)
    with pytest.raises(Killed):
        score(plan, run.folder / "evaluation" / "test", track=kill_after(1))
    with pytest.raises(ScoreError, match="was stopped; run the same command again"):
        open_evaluation(run.folder)
    evaluation, _ = score(plan, run.folder / "evaluation" / "test")
    for path in (run.folder, evaluation.folder, evaluation.scores_path):
        assert open_evaluation(path).scores().names == evaluation.scores().names


@pytest.mark.slow
def test_memory_stays_flat_whatever_the_number_of_images(run, tmp_path):
    # 400 predictions of 256x256 in flight would be 100 MB; a few at a time are 5.
    import tracemalloc

    plan = plan_run(run.folder, selection=Selection(split="all"))
    write_image(tmp_path / "big.png", np.full((256, 256), 200))
    cases = [
        replace(plan.cases[0], name=f"c{n:03d}", image_path=tmp_path / "big.png", reference_path=None)
        for n in range(120)
    ]
    options = ScoreOptions(ScoreSettings(groups=("overlap",)), workers=2)

    def peak(count):
        tracemalloc.start()
        score(replace(plan, cases=cases[:count]), tmp_path / f"out{count}", options)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(5)
    assert peak(120) < 1.5 * peak(30) + 500_000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a file that is always full")
def test_full_disk_is_an_error_and_leaves_no_row_without_its_histogram(tmp_path):
    evaluation = Evaluation(tmp_path)
    evaluation.histograms_path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        _append(evaluation, [MeasuredImage({"name": "a"}, np.ones((2, 256), np.int64))], 1)
    assert evaluation.unfinished_path.read_text() == ""
