"""Many images to their results: order, faults, batches, a full disk, a kill at any moment, a call that goes on."""

import csv
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.errors import DataError, UsageError
from polypseg.predict.images import outputs, resume
from polypseg.predict.images.outputs import OutputFolder, OutputOptions
from polypseg.predict.images.resume import record_of
from polypseg.predict.images.sources import find_sources
from polypseg.predict.images.table import COLUMNS
from polypseg.predict.images.work import WorkOptions, predict_images
from polypseg.predict.lookahead import map_ahead
from polypseg.predict.predictor import PredictOptions, load
from predict.tiny_model import write_picture, write_tiny_model

TESTS = str(Path(__file__).parents[1])
MASKS_ALONE, AS_THE_MODEL = OutputOptions(), PredictOptions()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a model and six images of red 0, 40, … 200; the threshold of 0.5 is red 127.5."""
    monkeypatch.chdir(tmp_path)
    write_tiny_model(tmp_path / "tiny.onnx")
    for number in range(6):
        write_picture(tmp_path / "in" / f"{number}.png", 40 * number, 10 + number, 12)
    return tmp_path


def predicted(paths=("in",), written=MASKS_ALONE, options=AS_THE_MODEL, **call):
    predictor = load("tiny.onnx", "onnxruntime", options=options, streams=call.get("streams", 1))
    sources = find_sources(list(paths), Path("out"))
    output = OutputFolder(Path("out"), written, (1,))
    output.check(sources, may_replace=True)
    return predict_images(sources, output, predictor, record_of(Path("tiny.onnx"), predictor), WorkOptions(**call))


def rows():
    return list(csv.DictReader(Path("out/predictions.csv").read_text("utf-8").splitlines()))


def column(name):
    return [row[name] for row in rows()]


def mask(name):
    with PillowImage.open(f"out/masks/{name}.png") as opened:
        return np.asarray(opened)


@pytest.mark.parametrize(("batch_size", "streams"), [(1, 1), (2, 1), (4, 1), (50, 1), (1, 3), (2, 3)])
def test_results_are_in_order_and_right_in_any_batch(here, batch_size, streams):
    (here / "in" / "2a.png").write_bytes(b"text")
    summary = predicted(batch_size=batch_size, streams=streams)
    assert (summary.num_predicted, summary.num_done_before, summary.written) == (6, 0, [Path("out/predictions.csv")])
    assert column("name") == ["0", "1", "2", "2a", "3", "4", "5"]
    # Red 0, 40, 80 lie below the threshold, 160 and 200 above, and 120 / 255 = 0.47 does not.
    assert column("area_percent") == ["0", "0", "0", "nan", "0", "100", "100"]
    assert [float(p) for p in column("max_probability") if p != "nan"] == pytest.approx(
        [40 * n / 255 for n in range(6)], abs=1e-6
    )
    for number in range(6):
        assert mask(str(number)).shape == (10 + number, 12)
        assert set(np.unique(mask(str(number)))) == {255 if number > 3 else 0}


def test_a_bad_file_is_told_and_the_others_are_done(here):
    (here / "in" / "3.png").write_bytes((here / "in" / "3.png").read_bytes()[:40])
    summary = predicted()
    assert summary.num_predicted == 5
    assert len(summary.faults) == 1
    assert summary.faults[0].startswith("in/3.png: ")
    assert [row["fault"] != "" for row in rows()] == [False, False, False, True, False, False]
    assert not Path("out/masks/3.png").exists()


def test_only_bad_files(here):
    for path in (here / "in").iterdir():
        path.write_bytes(b"")
    summary = predicted(batch_size=4)
    assert (summary.num_predicted, len(summary.faults)) == (0, 6)
    assert all("the file is empty" in fault for fault in summary.faults)


def test_options_reach_the_masks(here):
    predicted(options=PredictOptions(threshold=0.3))
    assert column("area_percent") == ["0", "0", "100", "100", "100", "100"]
    assert column("threshold") == ["0.3"] * 6
    summary = predicted(max_pixels=130)  # 12 x 11 and larger are refused
    assert (summary.num_predicted, len(summary.faults)) == (1, 5)
    with pytest.raises(UsageError, match="batch_size 0: expected at least 1"):
        predicted(batch_size=0)


def test_smallest_component_is_left_out_of_mask_and_table(here):
    image = np.zeros((16, 16, 3), np.uint8)
    image[1:5, 1:5, 0] = image[10, 10:13, 0] = 255
    PillowImage.fromarray(image).save(here / "spots.png")
    predicted(["spots.png"], options=PredictOptions(min_area_px=4))
    assert (column("area_px"), column("num_components")) == (["16"], ["1"])
    predicted(["spots.png"], options=PredictOptions(min_area_px=3))
    assert (column("area_px"), column("num_components")) == (["19"], ["2"])


def test_pages_of_a_tiff(here):
    pages = [PillowImage.new("RGB", (5, 4), (red, 0, 0)) for red in (255, 0, 255)]
    pages[0].save(here / "s.tif", save_all=True, append_images=pages[1:])
    predicted(["s.tif", "in/5.png"])
    assert column("name") == ["s_page0001", "s_page0002", "s_page0003", "in/5"]
    assert column("page") == ["1", "2", "3", ""]
    assert column("area_px") == ["20", "0", "20", str(15 * 12)]


class TestResume:
    def test_what_is_done_is_left_out(self, here):
        predicted(["in/0.png", "in/1.png"])
        before = Path("out/masks/1.png").stat().st_mtime_ns
        summary = predicted(resume=True)
        assert (summary.num_predicted, summary.num_done_before) == (4, 2)
        assert column("name") == ["0", "1", "2", "3", "4", "5"]
        assert Path("out/masks/1.png").stat().st_mtime_ns == before
        assert predicted(resume=True).num_predicted == 0

    @pytest.mark.parametrize("lost", ["masks/1.png", "overlays/1.png", "probabilities/1.png"])
    def test_an_image_whose_file_is_gone_is_done_again(self, here, lost):
        written = OutputOptions("png16", overlays=True)
        predicted(written=written)
        Path("out", lost).unlink()
        assert predicted(written=written, resume=True).num_predicted == 1
        assert Path("out", lost).is_file()
        assert sorted(column("name")) == ["0", "1", "2", "3", "4", "5"]

    def test_an_image_that_changed_is_done_again(self, here):
        predicted()
        write_picture(here / "in" / "1.png", 255)
        later = time.time() + 10
        os.utime(here / "in" / "1.png", (later, later))
        assert predicted(resume=True).num_predicted == 1
        assert column("area_percent")[-1] == "100"

    def test_a_fault_is_tried_again(self, here):
        good = (here / "in" / "1.png").read_bytes()
        (here / "in" / "1.png").write_bytes(b"")
        assert len(predicted().faults) == 1
        (here / "in" / "1.png").write_bytes(good)
        summary = predicted(resume=True)
        assert (summary.num_predicted, summary.faults) == (1, [])
        assert column("fault") == [""] * 6

    def test_rows_of_images_that_are_not_named_stay(self, here):
        predicted()
        predicted(["in/0.png"], resume=True)
        assert column("name") == ["0", "1", "2", "3", "4", "5"]

    def test_more_kinds_of_output_are_added(self, here):
        predicted()
        assert predicted(written=OutputOptions(contours=True), resume=True).num_predicted == 6
        assert Path("out/contours/0.png").is_file()
        assert len(rows()) == 6

    @pytest.mark.parametrize(
        "options", [PredictOptions(threshold=0.4), PredictOptions(tta="flips"), PredictOptions(min_area_px=9)]
    )
    def test_other_settings_are_not_mixed(self, here, options):
        predicted()
        with pytest.raises(DataError, match=r"out holds results that follow from other settings: .* \(now "):
            predicted(options=options, resume=True)

    def test_another_model_is_not_mixed(self, here):
        predicted()
        write_tiny_model(here / "tiny.onnx", created="later")
        with pytest.raises(DataError, match="other settings: model_sha256"):
            predicted(resume=True)

    def test_lost_or_damaged_settings_are_told(self, here):
        predicted()
        for content in ("", "{"):
            Path("out/settings.json").write_text(content)
            with pytest.raises(
                DataError, match=r"settings\.json: not a record of what the results follow from, .*--overwrite"
            ):
                predicted(resume=True)

    def test_in_a_new_folder_it_begins(self, here):
        assert predicted(resume=True).num_predicted == 6

    def test_a_new_start_forgets_the_old_rows_first(self, here, monkeypatch):
        """A kill between the settings and the table of a new start must not leave old rows under new settings."""
        predicted()

        def killed(path, text):
            raise KeyboardInterrupt

        monkeypatch.setattr(resume, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            predicted(options=PredictOptions(threshold=0.1))
        assert not Path("out/predictions.csv").exists()


def fail_from_the(number, monkeypatch, error):
    """Writing masks fails from the given one on, as on a disk that is full."""
    real, lock, written = outputs.write_bytes_within, threading.Lock(), []

    def write(folder, path, content):
        with lock:
            written.append(path)
            if len(written) >= number:
                raise error
        real(folder, path, content)

    monkeypatch.setattr(outputs, "write_bytes_within", write)


def test_full_disk_ends_in_one_line_and_resume_goes_on(here, monkeypatch):
    with monkeypatch.context() as patch:
        fail_from_the(4, patch, OSError(errno.ENOSPC, "No space left on device", "out/masks/3.png"))
        with pytest.raises(
            DataError, match=r"^out/masks/3\.png: cannot write: No space left on device; [0-3] of 6 images .*--resume$"
        ):
            predicted()
    before = rows()
    assert all(Path(f"out/masks/{row['name']}.png").is_file() and not row["fault"] for row in before)
    assert predicted(resume=True).num_predicted == 6 - len(before)
    assert column("name") == ["0", "1", "2", "3", "4", "5"]


FULL = """
import resource, signal, sys
sys.path.insert(0, {tests!r})
from predict.test_images import predicted
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))  # a longer file cannot be written, whoever runs this
from polypseg.errors import DataError
try:
    predicted()
except DataError as error:
    print(error)
"""


def test_a_file_that_the_system_cuts_off_leaves_no_half(here):
    noise = np.random.default_rng(0).integers(0, 2, (300, 300), np.uint8) * 255
    PillowImage.merge("RGB", [PillowImage.fromarray(noise)] * 3).save(here / "in" / "3.png")
    assert (here / "tiny.onnx").stat().st_size < 4000
    done = subprocess.run([sys.executable, "-c", FULL.format(tests=TESTS)], capture_output=True, text=True, check=True)
    files = {path.name for path in Path("out/masks").iterdir()}
    if "cannot write: File too large" in done.stdout:
        assert "3.png" not in files
        assert [row["name"] for row in rows()] == ["0", "1", "2"]
    else:
        pytest.fail(done.stdout + done.stderr)
    for row in rows():
        mask(row["name"])


SLOW = """
import sys, time
sys.path.insert(0, {tests!r})
from polypseg.predict.images import outputs
from predict.test_images import predicted
real = outputs.OutputFolder.write
def write(self, prediction, name):
    time.sleep(0.03)
    real(self, prediction, name)
outputs.OutputFolder.write = write
predicted(written=outputs.OutputOptions(coco=True), resume=True)
"""


@pytest.mark.slow
def test_kill_at_any_moment_then_resume_ends_as_one_call_does(here):
    for number in range(60):
        write_picture(here / "in" / f"x{number:02d}.png", 60 + 3 * number, 40, 50, (5, 5, 30, 40))
    code, kills = SLOW.format(tests=TESTS), 0
    for pause in (0, 0.03, 0.06, 0.1, 0.15):
        process = subprocess.Popen([sys.executable, "-c", code])
        began = time.monotonic()
        table = Path("out/predictions.csv")
        while not Path("out/settings.json").exists() and time.monotonic() - began < 60:
            time.sleep(0.005)
        seen = table.stat().st_size if table.exists() else 0
        while process.poll() is None and time.monotonic() - began < 60:
            if table.exists() and table.stat().st_size > seen:
                break
            time.sleep(0.002)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        for row in rows():  # readable as it lies, and what it lists is there
            assert mask(row["name"]).size
        with table.open(newline="") as opened:
            assert all(len(cells) == len(COLUMNS) for cells in csv.reader(opened))
    assert kills >= 3
    assert 0 < len(rows()) < 66
    predicted(written=OutputOptions(coco=True), resume=True)
    resumed = {row["name"]: {**row, "seconds": ""} for row in rows()}
    coco = Path("out/coco.json").read_text()
    predicted(written=OutputOptions(coco=True))
    assert resumed == {row["name"]: {**row, "seconds": ""} for row in rows()}
    assert len(resumed) == 66
    assert sorted(coco.count(key) for key in ('"file_name"', '"bbox"')) == sorted(
        Path("out/coco.json").read_text().count(key) for key in ('"file_name"', '"bbox"')
    )


def test_map_ahead_is_bounded_and_in_order():
    begun, taken = [], 0

    def slow_first(number):
        begun.append(number)
        time.sleep(0.05 if number == 0 else 0)
        return number

    with ThreadPoolExecutor(3) as pool:
        for number in map_ahead(pool, slow_first, range(20), ahead=3):
            assert number == taken
            taken += 1
            assert len(begun) <= taken + 3
    assert taken == 20


def test_map_ahead_tells_an_error_where_it_falls():
    with ThreadPoolExecutor(1) as pool:
        results = map_ahead(pool, lambda number: 1 / number, [1, 0, 1], ahead=1)
        assert next(results) == 1
        with pytest.raises(ZeroDivisionError):
            next(results)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(here):
    """Peak memory of 40 and of 400 images of 600 x 530 (2.2 MB each with its map), in processes of their own."""
    write_picture(here / "large" / "0.png", 200, 530, 600, (50, 50, 300, 400))
    for number in range(1, 400):
        os.link(here / "large" / "0.png", here / "large" / f"{number}.png")
    code = (
        f"import resource, sys; sys.path.insert(0, {TESTS!r}); from predict.test_images import predicted\n"
        "from pathlib import Path\n"
        "predicted([f'large/{n}.png' for n in range(int(sys.argv[1]))])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = [
        int(subprocess.run([sys.executable, "-c", code, count], capture_output=True, text=True, check=True).stdout)
        for count in ("40", "400")
    ]
    assert peaks[1] < peaks[0] + 30_000  # kilobytes; 360 images kept would be 800 MB
