"""One prediction at a time in a folder; inputs told apart by their bytes; folders that vanish; what a kill leaves."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from polypseg.errors import BusyError, DataError
from polypseg.predict.images import inputs, outputs
from polypseg.predict.images.sources import find_sources
from polypseg.records.lock import LOCK_NAME, alone_at, alone_in
from predict.test_images import column, here, mask, predicted  # noqa: F401  (a fixture)
from predict.tiny_model import write_picture
from predict.video_making import moving_scene, red_predictor, write_video

pytestmark = pytest.mark.usefixtures("here")
TESTS = str(Path(__file__).parents[1])


class TestInputs:
    def test_other_bytes_of_the_same_size_and_time_are_done_again(self):
        predicted()
        path = Path("in/1.png")
        before = path.stat()
        changed = write_picture(Path("other.png"), 200, 11, 12).read_bytes()
        path.write_bytes(changed[: before.st_size].ljust(before.st_size, b"\0"))  # a PNG may be followed by anything
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        summary = predicted(resume=True)
        assert summary.num_predicted + len(summary.faults) == 1

    def test_an_older_file_in_its_place_is_done_again(self):
        predicted()
        write_picture(Path("in/1.png"), 255)
        os.utime("in/1.png", (1, 1))
        assert predicted(resume=True).num_predicted == 1
        assert column("area_percent")[-1] == "100"

    def test_the_same_bytes_elsewhere_or_later_are_done(self):
        predicted()
        shutil.copytree("in", "moved")
        shutil.rmtree("in")
        Path("moved").rename("in")
        later = time.time() + 100
        os.utime("in/2.png", (later, later))
        assert predicted(resume=True).num_predicted == 0

    def test_lost_or_damaged_stamps_are_made_again(self):
        predicted()
        Path("out", inputs.INPUTS_NAME).unlink()
        assert predicted(resume=True).num_predicted == 6
        Path("out", inputs.INPUTS_NAME).write_bytes(
            b'{"name": "0"}\n[1]\n\xff\n{"name": "1", "place": ["x"], "sha256": ""}\n'
        )
        assert predicted(resume=True).num_predicted == 6
        assert predicted(resume=True).num_predicted == 0

    def test_pages_share_the_digest_of_their_file(self):
        from PIL import Image as PillowImage

        pages = [PillowImage.fromarray(np.full((9, 9, 3), level, np.uint8)) for level in (90, 200)]
        pages[0].save("two.tif", save_all=True, append_images=pages[1:])
        stamps = [inputs.stamp_of(source, ()) for source in find_sources(["two.tif"])]
        assert len(stamps) == 2
        assert stamps[0] == stamps[1] != inputs.stamp_of(find_sources(["in/0.png"])[0], ())

    def test_another_engine_is_not_mixed(self):
        predicted()
        settings = Path("out/settings.json")
        settings.write_text(settings.read_text().replace('"onnxruntime"', '"openvino"'))
        with pytest.raises(DataError, match=r"other settings: engine openvino \(now onnxruntime\)"):
            predicted(resume=True)


class TestPlaces:
    def test_a_second_prediction_is_refused(self):
        Path("out").mkdir()
        with alone_in(Path("out")), pytest.raises(BusyError, match=r"^out: process \d+ .* is at work here"):
            predicted()
        assert list(Path("out").iterdir()) == []
        assert predicted().num_predicted == 6
        assert not Path("out", LOCK_NAME).exists()

    def test_a_second_video_is_refused(self):
        pytest.importorskip("av", reason='pip install "polypseg[video]"')
        from polypseg.predict.video.work import predict_video

        path = write_video(Path("film.mp4"), moving_scene(3))
        with alone_at(Path("o.mp4")), pytest.raises(BusyError, match=r"^o\.mp4: process \d+"):
            predict_video(path, Path("o.mp4"), red_predictor())
        predict_video(path, Path("o.mp4"), red_predictor())
        assert not list(Path().glob(".*.lock"))

    def test_results_that_came_meanwhile_are_not_replaced(self):
        predicted()
        path = Path("out/predictions.csv")
        before = path.read_bytes()
        path.rename("kept.csv")
        real = outputs.OutputFolder.check

        def check(output, sources, may_replace):
            real(output, sources, False)
            Path("kept.csv").rename(path)  # the other call ends between the check and the work

        shutil.rmtree("out/masks")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(outputs.OutputFolder, "check", check)
            with pytest.raises(DataError, match="out holds results already"):
                predicted()
        assert path.read_bytes() == before

    @pytest.mark.parametrize("how", ["removed", "moved"])
    def test_a_folder_that_vanishes_is_an_error(self, monkeypatch, how):
        real, written = outputs.write_bytes_within, []

        def write(folder, path, content):
            written.append(path)
            if len(written) == 3:
                Path(folder).rename("elsewhere")
                if how == "removed":
                    shutil.rmtree("elsewhere", ignore_errors=True)  # others may still write into it
            real(folder, path, content)

        monkeypatch.setattr(outputs, "write_bytes_within", write)
        with pytest.raises(DataError, match=r"^out.*: cannot write: "):
            predicted()
        assert not Path("out").exists()

    def test_half_written_files_of_a_killed_call_are_swept(self):
        predicted()
        for name in ("masks/.7.part.png", ".predictions.part.csv", "masks/deep/.x.part.png"):
            Path("out", name).parent.mkdir(parents=True, exist_ok=True)
            Path("out", name).write_bytes(b"half")
        Path("out/masks/mine.part.png").write_bytes(b"not hidden: not ours")
        predicted(resume=True)
        assert [path.name for path in Path("out").rglob("*.part*")] == ["mine.part.png"]

    def test_an_encoder_that_fails_is_told(self, monkeypatch):
        monkeypatch.setattr(outputs.cv2, "imencode", lambda ending, picture: (False, np.zeros(0, np.uint8)))
        with pytest.raises(DataError, match="cannot be encoded as PNG"):
            predicted()
        assert not list(Path("out").rglob("*.png"))


BUSY = """
import sys, time
sys.path.insert(0, {tests!r})
from polypseg.errors import PolypsegError
from polypseg.predict.images import outputs
from predict.test_images import predicted
real = outputs.write_bytes_within
def slow(*arguments):
    time.sleep(0.15)
    real(*arguments)
outputs.write_bytes_within = slow
try:
    predicted()
except PolypsegError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.slow
def test_two_processes_one_works_and_one_says_why_not_and_a_killed_one_is_followed():
    code = BUSY.format(tests=TESTS)
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    ends = sorted(zip((process.returncode for process in both), said, strict=True))
    if ends[1][0]:  # else one was done before the other began
        assert [code for code, _ in ends] == [0, 1]
        assert f"out: process {both[[p.returncode for p in both].index(0)].pid} " in ends[1][1]
    assert column("fault") == [""] * 6
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        while not Path("out", LOCK_NAME).exists():
            time.sleep(0.01)
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
    assert predicted(resume=True).num_predicted + predicted(resume=True).num_done_before >= 6
    assert not Path("out", LOCK_NAME).exists()
    assert mask("5").size
