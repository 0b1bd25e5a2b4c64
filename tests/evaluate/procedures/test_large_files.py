"""Memory of a report over its number of frames, and the script that lays sequences out as clips."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from evaluate.procedures import toy
from evaluate.procedures.conftest import save
from polypseg.data.synthetic import make_synthetic
from polypseg.errors import DataError
from polypseg.evaluate.procedures.films import find_films
from polypseg.evaluate.procedures.references import open_references

ROOT = Path(__file__).parents[3]


# In a process of its own: threads that other tests left behind would be counted too.
PEAK_BYTES = """
import sys
import tracemalloc
from pathlib import Path

from polypseg.evaluate.procedures.deployment import DeploymentOptions, report_deployment
from polypseg.evaluate.procedures.facts import facts_of_predictions
from polypseg.evaluate.procedures.references import open_references
from polypseg.evaluate.procedures.true_colon import evaluate_files


def report(truth, found):
    facts = facts_of_predictions(found, open_references(truth, 25.0))
    report_deployment("x", facts, DeploymentOptions(0.5), folder / "out")


def peak_bytes(name, work):
    tracemalloc.start()
    work(folder / f"truth-{name}.json", folder / f"found-{name}.json")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


folder = Path(sys.argv[1])
for work in (report, evaluate_files):
    peak_bytes("200", work)  # what is imported, once
    print(peak_bytes("6000", work) - peak_bytes("1000", work))
"""


@pytest.mark.slow
def test_a_frame_costs_few_bytes(tmp_path):
    for num_frames in (200, 1000, 6000):
        truth, results = toy.drawn(0, num_frames // 2)
        save(tmp_path / f"found-{num_frames}.json", results)
        save(tmp_path / f"truth-{num_frames}.json", truth)
    command = [sys.executable, "-c", PEAK_BYTES, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    report, true_colon = map(int, done.stdout.split())
    # A frame of a COCO file is a dictionary of about 600 bytes, its finding another: whole files cost twice the limit.
    assert report / 5000 < 900
    assert true_colon / 5000 < 900


@pytest.fixture
def script():
    found = importlib.util.spec_from_file_location("make_clips", ROOT / "scripts" / "make_clips.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_clips_of_sequences_and_of_frames_without_a_polyp(script, tmp_path):
    make_synthetic(tmp_path / "data", num_images=8, seed=1, side_range=(32, 32))
    make_synthetic(tmp_path / "other", num_images=4, seed=2, side_range=(32, 32))
    (tmp_path / "other" / "images").rename(tmp_path / "none")
    names = script.make_clips(tmp_path / "data", tmp_path / "clips", tmp_path / "none")
    films = {film.name: film for film in find_films(tmp_path / "clips" / "videos")}
    assert set(films) == set(names)
    assert sorted(len(film.files) for film in films.values()) == [1, 1, 1, 1, 4, 4]
    references = open_references(tmp_path / "clips" / "masks", 25.0)
    sights = references.sights_in(references.frames)
    assert len(sights.lesions) == 2  # one a sequence; none in the others
    assert np.all(sights.percent > 0)
    with pytest.raises(DataError, match="exists; remove it or name another folder"):
        script.make_clips(tmp_path / "data", tmp_path / "clips")


def test_clips_of_data_without_sequences_are_refused(script, tmp_path):
    make_synthetic(tmp_path / "data", num_images=4, seed=1, side_range=(32, 32))
    (tmp_path / "data" / "sequences.csv").unlink()
    with pytest.raises(DataError, match="4 images have no group"):
        script.make_clips(tmp_path / "data", tmp_path / "clips")
