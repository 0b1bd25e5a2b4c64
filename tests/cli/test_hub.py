"""`polypseg hub` and `hf://` against a hub on this machine (export/hub_server.py)."""

import json
import sys
from pathlib import Path

import cv2
import pytest
import yaml
from typer.testing import CliRunner

import polypseg
from export.hub_server import TOKEN, serving
from polypseg.cli import app
from polypseg.errors import DownloadError, MissingExtraError, ModelError, UsageError
from polypseg.export.hub import hub_card
from polypseg.predict.engines.hub import fetch
from polypseg.records.digests import model_file_digest
from polypseg.records.model_facts import ModelFacts
from predict.tiny_model import write_foreign_model, write_picture, write_tiny_model

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own upload
constants = pytest.importorskip("huggingface_hub.constants")

FIGURES = {
    "test": {"data": "kvasir-seg", "split": "test", "num_images": 120, "dice": {"mean": 0.87, "low": 0.8, "high": 0.9}},
    "cvc-clinicdb": {"data": "cvc-clinicdb", "split": "external", "dice": {"mean": 0.85}, "iou": {"mean": 0.75}},
}
ADDRESS = "hf://lab/tiny"
run = CliRunner()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub, and a folder with a model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # large files go by Git LFS, as to a mirror
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    write_tiny_model(tmp_path / "tiny.onnx", figures=FIGURES, licence="MIT", version="1.2")
    with serving() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        yield served


def said(*words, code=0):
    done = run.invoke(app, list(words))
    assert done.exit_code == code, done.output
    return done.output


def pushed():
    """The address of the model on the hub, with its commit."""
    return said("hub", "push", "tiny.onnx", ADDRESS).split()[1]


def test_what_was_pushed_is_pulled_and_predicts_the_same(hub):
    write_picture(Path("frame.png"), 200)
    address = pushed()
    commit = hub.newest["lab/tiny"]["main"]
    assert address == f"{ADDRESS}@{commit}"
    told = said("hub", "pull", ADDRESS, "-o", "models")
    assert address in told
    assert Path("models/tiny.onnx").read_bytes() == Path("tiny.onnx").read_bytes()
    digest = model_file_digest(Path("tiny.onnx"))
    origin = {"repository": "lab/tiny", "commit": commit, "sha256": digest}
    assert json.loads(Path("models/tiny.json").read_text()) == origin
    assert "not a medical device" in Path("models/tiny.md").read_text().lower()
    assert "there already" in said("hub", "pull", ADDRESS, "-o", "models", code=1)
    for model, mask in (("tiny.onnx", "a.png"), (ADDRESS, "b.png"), (address, "c.png")):
        said("predict", "--model", model, "frame.png", "-o", mask)
    assert cv2.imread("a.png").max() == 255
    assert (cv2.imread("a.png") == cv2.imread("b.png")).all()
    assert Path("b.png").read_bytes() == Path("c.png").read_bytes()
    said("predict", ADDRESS, "frame.png", "-o", "d.png")  # the model may be the first word
    assert polypseg.load(ADDRESS).engine.facts.name == "tiny"


def test_the_card_has_the_metadata_of_the_hub(hub):
    pushed()
    files = hub.files["lab/tiny"][hub.newest["lab/tiny"]["main"]]
    assert sorted(files) == ["README.md", "model.onnx", "polypseg.json"]
    _, front, text = files["README.md"].decode().split("---\n", 2)
    data = yaml.safe_load(front)
    assert (data["library_name"], data["license"]) == ("polypseg", "mit")
    assert data["pipeline_tag"] == "image-segmentation"
    assert {"polypseg", "onnx"} <= set(data["tags"])
    [model] = data["model-index"]
    assert model["name"] == "tiny"
    found = {
        (result["dataset"]["name"], metric["type"], metric["value"])
        for result in model["results"]
        for metric in result["metrics"]
    }
    # every mean of FIGURES, once
    expected = {("kvasir-seg", "dice", 0.87), ("cvc-clinicdb (external)", "dice", 0.85)}
    assert found == expected | {("cvc-clinicdb (external)", "iou", 0.75)}
    assert 'polypseg.load("hf://lab/tiny")' in text


def test_terms_beyond_a_name_make_another_licence():
    facts = ModelFacts(size=64, licence="Apache-2.0 for the file; the terms of the training data bind its use")
    data = yaml.safe_load(hub_card(facts, "lab/x", "# A card\n").split("---\n")[1])
    assert (data["license"], data["license_name"]) == ("other", "weights-and-training-data")
    assert data["license_link"].endswith("lab/x/blob/main/README.md")
    assert "model-index" not in data


def test_an_included_model_and_a_card_of_ones_own(hub, tmp_path):
    Path("card.md").write_text("# My card\n\nWritten by hand.\n")
    said("hub", "push", "tiny.onnx", ADDRESS, "--card", "card.md", "--private")
    assert hub.private == {"lab/tiny"}
    assert b"Written by hand." in hub.files["lab/tiny"][hub.newest["lab/tiny"]["main"]]["README.md"]
    assert "cannot read the card" in said("hub", "push", "tiny.onnx", ADDRESS, "--card", "no.md", code=1)
    Path("run").mkdir()
    assert "export it first: polypseg export run" in said("hub", "push", "run", ADDRESS, code=1)


def test_a_revision_is_pinned(hub, monkeypatch):
    first = pushed()
    write_tiny_model(Path("tiny.onnx"), version="2.0")
    pushed()
    assert fetch(ADDRESS).address != first
    assert fetch(first).address == first
    assert polypseg.load(first).engine.facts.version == "1.2"
    assert polypseg.load(ADDRESS).engine.facts.version == "2.0"
    num_calls = len(hub.calls)
    fetch(first)  # a commit never changes: nothing is asked again
    assert len(hub.calls) == num_calls


def test_without_a_network_what_is_here_is_taken(hub, monkeypatch):
    address = pushed()
    polypseg.load(ADDRESS)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert fetch(ADDRESS).address == address
    assert fetch(address).address == address
    for unknown in ("hf://lab/other", "hf://lab/other@" + "0" * 40):
        with pytest.raises(DownloadError, match=r"http://127.0.0.1:9 cannot be reached .* check the network"):
            fetch(unknown)
    assert "cannot be reached" in said("hub", "push", "tiny.onnx", ADDRESS, code=1)


def test_other_bytes_than_were_pushed_are_refused(hub):
    pushed()
    hub.commit("lab/tiny", {"model.onnx": write_tiny_model(Path("other.onnx"), version="9").read_bytes()})
    with pytest.raises(ModelError, match=r"its file has the SHA-256 .* nothing was loaded"):
        polypseg.load(ADDRESS)


@pytest.mark.parametrize("names", [[], ["pytorch_model.bin"], ["polypseg.json"]])
def test_a_repository_without_our_files_is_no_model_of_ours(hub, names):
    hub.create("lab/bert")
    hub.commit("lab/bert", dict.fromkeys(["README.md", *names], b"{}"))
    with pytest.raises(ModelError, match=r"lab/bert holds no polypseg.json and model.onnx, so it is no model of"):
        polypseg.load("hf://lab/bert")
    assert not any("pytorch_model.bin" in call for call in hub.calls)  # a pickle is not even fetched


def test_a_foreign_model_is_refused_in_a_line(hub):
    foreign = write_foreign_model(Path("foreign.onnx"))
    assert "not a model that polypseg exported" in said("hub", "push", "foreign.onnx", ADDRESS, code=1)
    pushed()
    record = {"name": "x", "sha256": model_file_digest(foreign), "num_bytes": 1, "polypseg": "9"}
    hub.commit("lab/tiny", {"model.onnx": foreign.read_bytes(), "polypseg.json": json.dumps(record).encode()})
    with pytest.raises(ModelError, match="not a model that polypseg exported"):
        polypseg.load(ADDRESS)
    hub.commit("lab/tiny", {"polypseg.json": json.dumps({**record, "format": 2}).encode()})
    with pytest.raises(ModelError, match="pushed by polypseg 9, which is newer"):
        polypseg.load(ADDRESS)
    hub.commit("lab/tiny", {"polypseg.json": b"{"})
    with pytest.raises(ModelError, match="not a record of a model on a hub, or a damaged one"):
        polypseg.load(ADDRESS)


def test_names_that_are_wrong_are_told_in_a_line(hub, monkeypatch):
    pushed()
    with pytest.raises(DownloadError, match="hf://lab/gone: no such repository, or a private one"):
        polypseg.load("hf://lab/gone")
    with pytest.raises(DownloadError, match=r"hf://lab/tiny@v9: no such revision"):
        polypseg.load(f"{ADDRESS}@v9")
    for wrong in ("hf://tiny", "hf://a/b/c", "hf://lab/tiny@", "hf://lab/ti ny"):
        with pytest.raises(UsageError, match="expected hf://OWNER/NAME"):
            polypseg.load(wrong)
    with pytest.raises(DownloadError, match="no name that a repository can have"):
        polypseg.load("hf://lab/-tiny-")

    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "hf auth login" in said("hub", "push", "tiny.onnx", "hf://lab/new", code=1)


def test_without_the_extra_a_line_says_what_to_install(hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r'huggingface_hub is not installed.*pip install "polypseg\[hub\]"'):
        polypseg.load(ADDRESS)


def test_an_archive_pins_the_commit_for_its_workers(hub):
    from polypseg.archive.manifest import ArchiveFacts
    from polypseg.archive.options import ArchiveOptions
    from polypseg.cli.archive_run import _job

    address = pushed()
    Path("archive").mkdir()
    Path("archive/archive.json").write_text(ArchiveFacts().model_dump_json())
    job = _job(Path("archive"), ADDRESS, "onnxruntime", 1, ArchiveOptions())
    assert job.model == address
    assert job.load()[1]["model_sha256"] == model_file_digest(Path("tiny.onnx"))
