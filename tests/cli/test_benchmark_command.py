"""polypseg benchmark, as it is typed."""

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from export.integer_graph import SIZE, integer_graph, weights_of
from polypseg.cli import app
from polypseg.cli.benchmark import int8_gain, int8_lines, lines_of, parse_size
from polypseg.errors import UsageError
from polypseg.predict.benchmark import BenchmarkOptions, EngineFigures, Report
from polypseg.predict.engines.model_file import write_model_file
from polypseg.predict.timing import STAGES, Timings
from polypseg.records.model_facts import DiceByEngine, EngineDice, ModelFacts
from predict.tiny_model import write_foreign_model, write_picture, write_tiny_model

module = import_module("polypseg.cli.benchmark")  # the package names the command so


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
    return EngineFigures(engine, device, facts, Timings(batch_size, seconds), 0.876, peak_mib)


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


@pytest.mark.slow
def test_a_model_is_measured_for_real(here):
    picture = write_picture(here / "frame.png", 200)
    words = ("tiny.onnx", "--image", picture, "--runs", 2, "--warm-up", 1, "--engine", "onnxruntime")
    output = typed(*words, "--json", "speed.json")
    assert "Images: 1 image of the user's, 20x30; batch 1" in output
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
    assert "the engine keras cannot run .onnx files; take onnxruntime or openvino" in typed(
        "tiny.onnx", "--engine", "keras", code=1
    )
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


def of_int8(instruction_set, saturating_sums, dices=None):
    entry = measured()
    engines = {key: EngineDice(dice=value) for key, value in (dices or {}).items()}
    figures = {"validation": DiceByEngine(source=0.9, engines=engines)}
    facts = entry.facts.model_copy(update={"saturating_sums": saturating_sums, "dice_by_engine": figures})
    return report(replace(entry, facts=facts, instruction_set=instruction_set))


def test_what_int8_gains_and_costs_is_of_this_engine_and_processor(monkeypatch):
    monkeypatch.setattr(module, "int8_gain", lambda *_: 1.714)
    dices = {"onnxruntime on AVX2": 0.8985, "openvino on AVX2": 0.5}
    lines = list(int8_lines(Path("a.onnx"), of_int8("AVX2", 0, dices)))
    assert lines[-1] == "int8 in onnxruntime on AVX2: 1.71 times as fast as fp32; Dice -0.0015 as proved"
    lines = list(int8_lines(Path("a.onnx"), of_int8("AMX", 0, dices)))
    assert lines[-1] == "int8 in onnxruntime on AMX: 1.71 times as fast as fp32; its Dice was not measured"


@pytest.mark.parametrize(
    ("instruction_set", "saturating_sums", "is_warned"),
    [("AVX2", None, True), ("AVX2", 7, True), ("AVX2", 0, False), ("AVX-512 VNNI", None, False)],
)
def test_a_file_that_may_saturate_is_told_where_it_does(monkeypatch, instruction_set, saturating_sums, is_warned):
    monkeypatch.setattr(module, "int8_gain", lambda *_: 1.5)
    lines = list(int8_lines(Path("a.onnx"), of_int8(instruction_set, saturating_sums)))
    assert any("adds two 8-bit products in 16 bits" in line for line in lines) == is_warned


def test_a_missing_openvino_is_told(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(module, "int8_gain", lambda *_: 1.5)
    lines = list(int8_lines(Path("a.onnx"), report(measured())))
    assert lines[1].startswith("OpenVINO is not installed; it runs most models faster: pip install")
    assert list(int8_lines(Path("run"), report(measured("keras")))) == []


def test_gain_of_int8_is_measured_in_turn(tmp_path):
    path = tmp_path / "integers.onnx"
    graph = integer_graph(*weights_of(60))
    write_model_file(path, graph.SerializeToString(), ModelFacts(size=SIZE, precision="int8"))
    assert int8_gain(path, "onnxruntime", 1, rounds=3) > 0


def test_instruction_set_is_named():
    entry = replace(measured(), instruction_set="AVX-512 VNNI")
    assert "tiny, int8, 256 px, in onnxruntime on the CPU with AVX-512 VNNI" in list(lines_of(report(entry)))
