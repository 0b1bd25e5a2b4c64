"""The benchmark of a model: what is run, what is reported, what is refused. No figure is compared with a time."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.errors import ImageError, ModelError, UsageError
from polypseg.predict import benchmark as module
from polypseg.predict.benchmark import BenchmarkOptions, benchmark, draw_jpegs, engines_for
from polypseg.predict.child_process import ProcessCost
from polypseg.predict.timing import STAGES
from polypseg.records.reading import as_json
from predict.tiny_model import write_picture, write_tiny_model

FEW = {"engine": "onnxruntime", "runs": 3, "warm_up": 1}


@pytest.fixture
def model(tmp_path):
    return write_tiny_model(tmp_path / "tiny.onnx", precision="int8")


@pytest.fixture
def commands(monkeypatch):
    """The fresh processes that were asked for; they take 1, 9, 2, … seconds and 100, 101, … MiB."""
    asked = []
    seconds = iter([1.0, 9.0, 2.0, 7.0] * 4)

    def fresh(command):
        asked.append(command)
        return ProcessCost(next(seconds), 99.0 + len(asked))

    monkeypatch.setattr(module, "run_in_child_process", fresh)
    return asked


def test_report_of_synthetic_images(model, commands):
    said = []
    report = benchmark(model, BenchmarkOptions(**FEW), size=(48, 64), say=said.append)
    assert report.images == "8 synthetic JPEGs, 48x64"
    (measured,) = report.measured
    assert (measured.engine, measured.device, measured.facts.name) == ("onnxruntime", "CPU", "tiny")
    assert {stage: len(seconds) for stage, seconds in measured.timings.seconds.items()} == dict.fromkeys(STAGES, 3)
    assert all(second > 0 for seconds in measured.timings.seconds.values() for second in seconds)
    assert measured.cold_start_seconds == 2.0  # the median of 1, 9 and 2
    assert measured.peak_mib == 103.0  # of the fourth process
    assert said == ["onnxruntime: 1 runs of warm-up, 3 measured", "onnxruntime: 4 fresh processes"]


def test_share_of_close_calls_is_told(tmp_path, commands):
    # At a threshold of one half, a picture of 0.51 all over is a close call, one of 0.98 is none
    paths = [write_picture(tmp_path / f"{red}.png", red) for red in (130, 250)]
    options = BenchmarkOptions(engine="onnxruntime", runs=4, warm_up=2)
    for second_look, expected in ((True, 0.5), (False, None)):
        model = write_tiny_model(tmp_path / f"{second_look}.onnx", precision="int8", second_look=second_look)
        report = benchmark(model, options, paths)
        assert [measured.share_again for measured in report.measured] == [expected]
        assert report.record().engines[0].share_again == expected


def test_fresh_processes_predict_one_image_then_all_in_batches(model, commands, tmp_path):
    paths = [write_picture(tmp_path / name, 200) for name in ("a.png", "b.png", "c.png")]
    benchmark(model, BenchmarkOptions(**FEW, threads=1, batch_size=2), paths)
    assert len(commands) == 4
    for command in commands:
        assert command[:4] == [sys.executable, "-m", "polypseg", "predict"]
        assert command[command.index("--model") + 1] == str(model)
        assert command[command.index("--engine") + 1] == "onnxruntime"
        assert command[command.index("--threads") + 1] == "1"
    images = [[Path(word).name for word in command if word.endswith(".png")] for command in commands]
    assert images == [["0.png"]] * 3 + [["0.png", "1.png", "2.png"]]
    assert commands[3][commands[3].index("--batch-size") + 1] == "2"


@pytest.mark.slow
def test_images_of_one_name_are_both_predicted(model, tmp_path):
    paths = [write_picture(tmp_path / "frame.png", 200), write_picture(tmp_path / "frame.bmp", 200)]
    report = benchmark(model, BenchmarkOptions(**FEW, cold_starts=1), paths)  # in real processes
    assert report.images == "2 images of the user's, 20x30"
    assert report.measured[0].cold_start_seconds > 0
    assert report.measured[0].peak_mib is None or report.measured[0].peak_mib > 10
    assert not (tmp_path / "masks").exists()


def test_record_is_json_with_every_figure(model, commands):
    record = json.loads(as_json(benchmark(model, BenchmarkOptions(**FEW), size=(48, 64)).record()))
    assert record["options"] == {**FEW, "threads": None, "batch_size": 1, "cold_starts": 3}
    (engine,) = record["engines"]
    assert list(engine["stages_ms"]) == list(STAGES)
    assert sum(stage["share"] for stage in engine["stages_ms"].values()) == pytest.approx(1)
    assert set(engine["end_to_end_ms"]) == {"p50", "p95", "p99"}
    assert [verdict["limit_ms"] for verdict in engine["verdicts"]] == [40, 120]
    assert (engine["precision"], engine["cold_start_seconds"], engine["peak_mib"]) == ("int8", 2.0, 103.0)


def test_all_engines_are_those_that_fit(model, commands, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert engines_for(model) == ["onnxruntime"]
    monkeypatch.setattr(module, "find_spec", lambda name: name == "openvino")
    assert engines_for(model) == ["openvino", "onnxruntime"]
    assert engines_for(tmp_path) == engines_for(tmp_path / "best.keras") == ["keras"]
    monkeypatch.setattr(module, "engines_for", lambda path: ["onnxruntime", "onnxruntime"])
    report = benchmark(model, BenchmarkOptions(**{**FEW, "engine": "all"}), size=(48, 64))
    assert [measured.engine for measured in report.measured] == ["onnxruntime"] * 2
    assert [measured.peak_mib for measured in report.measured] == [103.0, 107.0]


def test_synthetic_images_are_gone_afterwards(model, commands, monkeypatch):
    seen = {}
    measure = module._measure

    def spy(model, name, paths, *rest):
        for path in paths:
            with PillowImage.open(path) as opened:
                seen[path] = opened.format
        return measure(model, name, paths, *rest)

    monkeypatch.setattr(module, "_measure", spy)
    benchmark(model, BenchmarkOptions(**FEW), size=(48, 64))
    assert set(seen.values()) == {"JPEG"}
    assert not any(path.exists() for path in seen)


def test_bad_images_and_models_stop_before_anything_runs(model, commands, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    with pytest.raises(ImageError, match=r"broken\.png: the file is empty"):
        benchmark(model, BenchmarkOptions(**FEW), [broken])
    with pytest.raises(ImageError, match=r"none\.png: (no such file|cannot read)"):
        benchmark(model, BenchmarkOptions(**FEW), [tmp_path / "none.png"])
    with pytest.raises(ModelError, match="no such file or folder"):
        benchmark(tmp_path / "none.onnx", BenchmarkOptions(**FEW), size=(48, 64))
    assert commands == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "tensorrt"}, "unknown engine 'tensorrt'.*all, auto, keras"),
        ({"runs": 0}, "runs 0: expected at least 1"),
        ({"batch_size": 0}, "batch_size 0: expected at least 1"),
        ({"warm_up": -1}, "warm_up -1: expected at least 0"),
        ({"cold_starts": 0}, "cold_starts 0: expected at least 1"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(UsageError, match=message):
        BenchmarkOptions(**options)


def test_synthetic_jpegs_have_the_bytes_of_real_ones(tmp_path):
    sizes = [path.stat().st_size for path in draw_jpegs(tmp_path)]
    assert len(sizes) == 8
    assert 30_000 < np.mean(sizes) < 40_000  # Kvasir-SEG's 128 images of about that size: a median of 35,400 bytes
