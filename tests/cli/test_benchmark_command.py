"""polypseg benchmark, as it is typed."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from polypseg.cli import app
from polypseg.cli.benchmark import lines_of, parse_size
from polypseg.errors import UsageError
from polypseg.predict.benchmark import BenchmarkOptions, Measured, Report
from polypseg.predict.timing import STAGES, Timings
from polypseg.records.model_facts import ModelFacts
from predict.tiny_model import write_foreign_model, write_picture, write_tiny_model


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    write_tiny_model(tmp_path / "tiny.onnx")
    return tmp_path


def typed(*words, code=0):
    result = CliRunner().invoke(app, ["benchmark", *map(str, words)])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def measured(engine="onnxruntime", milliseconds=10.0, device="CPU", batch_size=1, peak_mib=151.6):
    """Two runs; of their time 4 % are each of read, resize and threshold, 10 % decode and resize back, 68 % infer."""
    parts = dict(zip(STAGES, (0.04, 0.1, 0.04, 0.68, 0.1, 0.04), strict=True))
    seconds = {stage: [part * milliseconds / 1000] * 2 for stage, part in parts.items()}
    facts = ModelFacts(size=256, name="tiny", precision="int8")
    return Measured(engine, device, facts, Timings(batch_size, seconds), 0.876, peak_mib)


def report(*entries, **options):
    return Report("tiny.onnx", "some images", "a machine", "versions", BenchmarkOptions(**options), list(entries))


def test_lines_of_one_engine():
    # 10 ms a run, of which 6.8 ms are inference; around it 10 + 4 + 10 = 24 %
    assert list(lines_of(report(measured()))) == [
        "Machine: a machine",
        "Versions: versions",
        "Images: some images; batch 1, its own number of threads",
        "100 runs after 10 of warm-up, which are not counted",
        "",
        "tiny, int8, 256 px, in onnxruntime on the CPU",
        "",
        "| stage | p50 ms | p95 ms | p99 ms | share |",
        "|---|---|---|---|---|",
        "| read | 0.40 | 0.40 | 0.40 | 4.0 % |",
        "| decode | 1.00 | 1.00 | 1.00 | 10.0 % |",
        "| resize | 0.40 | 0.40 | 0.40 | 4.0 % |",
        "| infer | 6.80 | 6.80 | 6.80 | 68.0 % |",
        "| resize back | 1.00 | 1.00 | 1.00 | 10.0 % |",
        "| threshold | 0.40 | 0.40 | 0.40 | 4.0 % |",
        "| end to end | 10.00 | 10.00 | 10.00 | 100 % |",
        "",
        "images a second: 100.0",
        "decode, resize and resize back: 24.0 % of the time",
        "peak memory of polypseg predict: 152 MiB",
        "cold start (polypseg predict, one image, a fresh process): 0.88 s",
        "25 frames a second (40 ms): reached (p50 10.0 ms, p95 10.0 ms)",
        "a delay of 120 ms (120 ms): reached (p50 10.0 ms, p95 10.0 ms)",
    ]


def test_lines_of_a_batch_on_a_gpu():
    text = "\n".join(lines_of(report(measured("keras", 50, "GPU", 4, None), threads=2, batch_size=4)))
    assert "in keras on the GPU, waited for at each run" in text
    assert "batch 4, 2 threads" in text
    assert "images a second: 80.0" in text  # 4 in 50 ms
    assert "peak memory of polypseg predict: not told by this system" in text
    assert "(40 ms): missed (p50 50.0 ms, p95 50.0 ms of a batch of 4)" in text


def test_engines_are_compared_with_the_fastest():
    lines = list(lines_of(report(measured("openvino", 10), measured("onnxruntime", 25))))
    assert lines[-1] == "openvino gives 2.50 times the images a second of onnxruntime"
    assert not any("gives" in line for line in lines[:-1])


def test_a_model_is_measured_for_real(here):
    picture = write_picture(here / "frame.png", 200)
    words = ("tiny.onnx", "--image", picture, "--runs", 2, "--warm-up", 1, "--engine", "onnxruntime")
    output = typed(*words, "--json", "speed.json")
    assert "Images: 1 images of the user's, 20x30; batch 1" in output
    assert "tiny, fp32, 16 px, in onnxruntime on the CPU" in output
    assert "wrote speed.json" in output
    record = json.loads(Path("speed.json").read_text(encoding="utf-8"))
    assert record["options"]["runs"] == 2
    assert record["engines"][0]["cold_start_seconds"] > 0
    assert sorted(path.name for path in here.iterdir()) == ["frame.png", "speed.json", "tiny.onnx"]


def test_wrong_calls(here):
    assert "unknown engine 'tensorrt'" in typed("tiny.onnx", "--engine", "tensorrt", code=2)
    assert "size '530': expected HEIGHTxWIDTH" in typed("tiny.onnx", "--size", "530", code=2)
    assert "none.png: cannot read the file" in typed("tiny.onnx", "--image", "none.png", code=1)
    assert "Keras cannot run an ONNX file" in typed("tiny.onnx", "--engine", "keras", code=1)
    assert "unknown model 'none'" in typed("none", code=1)
    write_foreign_model(here / "other.onnx")
    assert "its metadata lack polypseg.size" in typed("other.onnx", "--engine", "onnxruntime", code=1)


@pytest.mark.parametrize("text", ["", "x", "530x", "x600", "530x600x3", "-5x600", "1x1", "530.5x600"])
def test_sizes_that_are_none(text):
    with pytest.raises(UsageError, match="expected HEIGHTxWIDTH of at least"):
        parse_size(text)


def test_size():
    assert parse_size("530x600") == (530, 600)
    assert parse_size("288X384") == (288, 384)
