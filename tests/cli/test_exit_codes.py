"""Exit codes of every command: 0 done, 1 files, data or results, 2 the call, 130 Ctrl-C (docs/reference)."""

import csv
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from polypseg.cli import app, data_app
from polypseg.cli.archive import app as archive_app
from polypseg.cli.hub import app as hub_app
from predict.tiny_model import write_tiny_model

GROUPS = {"data": data_app, "archive": archive_app, "hub": hub_app}
DATA = [
    ("predict nofile.png -o out", "nofile.png: no such file or folder"),
    ("predict nofilm.mp4 -o out", "nofilm.mp4: no such file or folder"),
    ("predict nofilm.mp4 -o out.mp4", "nofilm.mp4: no such file or folder"),
    ("evaluate runs/none", "runs/none: no such run folder"),
    ("evaluate polyp-lite --data none", "none: no such folder"),
    ("compare one two", "one: no evaluation here"),
    ("report none", "none: no evaluation here"),
    ("show none", "none: no such run folder"),
    ("summary none", "unknown model preset 'none'"),
    ("export none -o model.onnx", "unknown model 'none'"),
    ("calibrate polyp-lite --data none -o c.json", "none: no such folder"),
    ("explain polyp-lite --data none -o out", "none: no such folder"),
    ("robustness polyp-lite --data none", "none: no such folder"),
    ("benchmark none", "unknown model 'none'"),
    ("models none", "unknown packaged model 'none'"),
    ("serve none.onnx", "none.onnx: no such file or folder"),
    ("train --data none", "none: no such folder"),
    ("train --resume --name none", "runs/none: no such run folder"),
    ("data check none", "none: no such folder"),
    ("data synth file/folder", "file"),
    ("data download kvasir-seg --to file --accept-terms", "file"),
    ("data convert none out --to coco", "none: no such folder"),
    ("data anonymise none out", "none: no such file or folder"),
    ("data dicom-frames none out", "none: not a DICOM file"),
    ("data dicom-seg none masks out", "masks: cannot read the table of DICOM frames"),
    ("archive plan none -o a", "none: cannot read the list of videos"),
    ("archive run none", "none/archive.json: cannot read the record of an archive"),
    ("archive status none", "none/archive.json: cannot read the record of an archive"),
    ("archive verify none", "none/archive.json: cannot read the record of an archive"),
    ("archive summary none", "none: holds no run yet"),
    ("archive forget none abc", "none/archive.json: cannot read the record of an archive"),
    ("annotate none", "none: no such folder"),
    ("recalibrate polyp-lite --data none -o r.onnx", "none: no such folder"),
    ("hub push none hf://a/b", "unknown model 'none'"),
    ("hub pull hf://a/b -o out", "cannot be reached"),
]
USAGE = [
    ("predict nofile.png", "missing -o"),
    ("predict nofilm.mp4", "missing -o"),
    ("predict file --resume --overwrite -o out", "--resume and --overwrite exclude each other"),
    ("evaluate", "name one of: a run, a model file, or --predictions FOLDER"),
    ("evaluate polyp-lite --tta turns --data .", "unknown test-time augmentation 'turns'"),
    ("compare", "Missing argument"),
    ("report . --cases -1", "cases"),
    ("show --samples none", "samples"),
    ("summary --size 0", "size"),
    ("export runs/none --precision fp8 -o model.onnx", "unknown precision 'fp8'"),
    ("benchmark polyp-lite --runs 0", "runs"),
    ("models --export", "export"),
    ("serve --port 99999999", "port"),
    ("train --set model.filters", "expected table.key=value"),
    ("train --resume --folds 3", "--resume uses the settings of the run"),
    ("data check --bits 99 .", "--bits"),
    ("data synth out --num-images 0", "num-images"),
    ("data download none", "unknown data set 'none'"),
    ("data convert . out --to none", "unknown format 'none'"),
    ("data anonymise .", "OUT"),
    ("data dicom-frames", "Missing argument"),
    ("data dicom-seg", "Missing argument"),
    ("calibrate polyp-lite --data . --level 2 -o c.json", "level 2: expected a share between 0 and 1"),
    ("explain polyp-lite", "Missing option"),
    ("robustness polyp-lite", "name --data"),
    ("archive plan", "Missing argument"),
    ("archive run a --part 9/2", "part '9/2': expected I/N"),
    ("archive status", "Missing argument"),
    ("archive verify", "Missing argument"),
    ("archive summary", "Missing argument"),
    ("archive forget", "Missing argument"),
    ("annotate", "Missing argument"),
    ("recalibrate polyp-lite --data . --method none -o r.onnx", "unknown method 'none'"),
    ("hub push", "Missing argument"),
    ("hub pull", "Missing argument"),
]
INTERRUPTED = [
    ("predict file -o out", "predict.images.sources", "find_sources"),
    ("evaluate runs/none", "evaluate.plan", "plan_run"),
    ("compare one two", "records.evaluation", "open_evaluation"),
    ("report none", "report.report_input", "read_report_input"),
    ("show none", "records.run", "open_run"),
    ("summary polyp-lite", "models.registry", "preset"),
    ("export file -o model.onnx", "export.onnx", "export_model"),
    ("calibrate polyp-lite --data . -o c.json", "data.catalogue", "find_samples"),
    ("explain polyp-lite --data . -o out", "data.catalogue", "find_samples"),
    ("robustness polyp-lite --data .", "data.catalogue", "find_samples"),
    ("benchmark polyp-lite", "predict.benchmark", "benchmark"),
    ("models", "predict.engines.packaged", "packaged_models"),
    ("serve", "serve.api", "create_app"),
    ("train --data .", "data.sources", "with_folders"),
    ("data check .", "data.checks", "inspect"),
    ("data synth out", "data.synthetic", "make_synthetic"),
    ("data download kvasir-seg --accept-terms", "data.download", "download"),
    ("data convert . out --to coco", "data.conversion", "convert"),
    ("data anonymise . out", "annotate.anonymise", "anonymise"),
    ("data dicom-frames . out", "annotate.dicom_study", "extract_frames"),
    ("data dicom-seg . file out", "annotate.dicom_segmentation", "write_segmentations"),
    ("archive plan . -o a", "archive.plan", "plan_archive"),
    ("archive run a", "archive.manifest", "read_facts"),
    ("archive status a", "archive.status", "archive_status"),
    ("archive verify a", "archive.verify", "verify_archive"),
    ("archive summary a", "archive.store", "the_run"),
    ("archive forget a b", "archive.forget", "forget_video"),
    ("annotate .", "annotate.beginning", "project_for"),
    ("recalibrate polyp-lite --data . -o r.onnx", "explain.recalibrating", "check_method"),
    ("hub push polyp-lite hf://a/b", "predict.engines.packaged", "resolve"),
    ("hub pull hf://a/b -o out", "predict.engines.hub", "pull"),
]
TRAIN = "train --data frames --name tiny --epochs 1 --no-evaluate --set data.size=32 --set data.batch_size=4"
DONE = [
    "data synth frames --num-images 24 --smallest 32 --largest 48",
    "data check frames --bits -1",
    "data convert frames coco --to coco",
    "data anonymise frames/images shared",
    "models polyp-lite",
    f"{TRAIN} --set model.filters=2 --set model.depth=1 --set train.tensorboard=false",
    "summary runs/tiny/checkpoints/best.keras -o graph",
    "show runs/tiny --samples 1",
    "evaluate runs/tiny",
    "evaluate runs/tiny -o again",
    "compare runs/tiny again --resamples 100",
    "report runs/tiny",
    "export runs/tiny -o tiny.onnx",
    "predict tiny.onnx frames/images -o out",
    "benchmark tiny.onnx --runs 1 --warm-up 0",
    "calibrate polyp-lite --data frames --level 0.2 -o calibration.json",
    "recalibrate made.onnx --data frames -o recalibrated.onnx",
    "explain made.onnx --data frames -o attention --limit 1",
    "robustness tiny.onnx --data frames --limit 1 -o robustness",
    "data synth procedures --procedure --num-procedures 1 --seconds 1 --side 64",
    "archive plan procedures/videos -o archive --images",
    "archive run archive --model tiny.onnx --workers 1",
    "archive status archive",
    "archive verify archive",
    "archive summary archive",
    "archive forget archive VIDEO",
    "serve tiny.onnx --port 0",
    "annotate frames/images --model tiny.onnx --port 0",
]
"""In this order: each line takes what the lines before it wrote."""

DONE_ELSEWHERE = {
    "data download": ("cli/test_data.py", '_run("download", "kvasir-seg", "--accept-terms")'),
    "data dicom-frames": ("annotate/test_dicom.py", '["data", "dicom-frames", '),
    "data dicom-seg": ("annotate/test_dicom.py", '["data", "dicom-seg", '),
    "hub push": ("cli/test_hub.py", 'said("hub", "push", "tiny.onnx", ADDRESS)'),
    "hub pull": ("cli/test_hub.py", 'said("hub", "pull"'),
}
"""What needs a network or a DICOM study: the test that holds its code 0, and what stands in it."""


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    (tmp_path / "file").write_text("a file where a folder should be")


def ended(line):
    result = CliRunner().invoke(app, line.split())
    assert not isinstance(result.exception, Exception), result.exception
    return result


@pytest.mark.parametrize(("line", "message"), DATA)
def test_files_and_data_are_1(line, message):
    result = ended(line)
    assert (result.exit_code, message in result.stderr) == (1, True), result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("line", "message"), USAGE)
def test_the_call_itself_is_2(line, message):
    result = ended(line)
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize(("line", "module", "name"), INTERRUPTED)
def test_ctrl_c_is_130(line, module, name, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(import_module(f"polypseg.{module}"), name, interrupt)
    assert ended(line).exit_code == 130


@pytest.mark.slow
@pytest.mark.keras
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("default")  # of trainings on a dozen frames: what they say is no matter here
def test_done_is_0(monkeypatch):
    from train.eager import eagerly  # imports Keras

    class Ended:
        async def serve(self, sockets):
            """A server that got its Ctrl-C at once."""

    monkeypatch.setattr(import_module("polypseg.serve.server"), "make_server", lambda *_, **__: Ended())
    write_tiny_model(Path("made.onnx"))  # has seen none of the frames, and marks something
    other = {}
    with eagerly():
        for line in DONE:
            if "VIDEO" in line:
                with Path("archive/manifest.csv").open(newline="") as opened:
                    line = line.replace("VIDEO", next(csv.DictReader(opened))["video"])
            result = ended(line)
            if result.exit_code != 0:
                other[line] = result.output
    assert not other


def commands(typer_app):
    return {command.name or command.callback.__name__ for command in typer_app.registered_commands}


@pytest.mark.parametrize("table", [DATA, USAGE, INTERRUPTED])
def test_every_command_is_in_each_table(table):
    assert_complete([row[0].split() for row in table])


def test_every_command_is_seen_to_be_done():
    assert_complete([*(line.split() for line in DONE), *(name.split() for name in DONE_ELSEWHERE)])
    for file, words in DONE_ELSEWHERE.values():
        assert words in (Path(__file__).parents[1] / file).read_text(encoding="utf-8"), file


def assert_complete(words):
    assert {first for first, *_ in words} == commands(app) | set(GROUPS)
    for group, its_app in GROUPS.items():
        assert {each[1] for each in words if each[0] == group} == commands(its_app)
