"""Several batches at once: how many, and that they truly run side by side."""

import threading
from pathlib import Path

import pytest

from polypseg.predict.images.outputs import OutputFolder, OutputOptions
from polypseg.predict.images.resume import record_of
from polypseg.predict.images.sources import find_sources
from polypseg.predict.images.work import WorkOptions, predict_images, streams_for
from polypseg.predict.predictor import Predictor, load
from predict.tiny_model import write_picture, write_tiny_model


@pytest.mark.parametrize("streams", [1, 2])
def test_as_many_images_run_at_once_as_the_engine_has_streams(tmp_path, monkeypatch, streams):
    model = tmp_path / "tiny.onnx"
    write_tiny_model(model)
    for number in range(6):
        write_picture(tmp_path / "in" / f"{number}.png", 40 * number, 10, 12)
    together = threading.Barrier(streams, timeout=20)
    real = Predictor.run

    def run(self, prepared):
        together.wait()  # breaks unless so many wait at once
        return real(self, prepared)

    monkeypatch.setattr(Predictor, "run", run)
    predictor = load(model, "onnxruntime", streams=streams)
    output = OutputFolder(tmp_path / "out", OutputOptions())
    sources = find_sources([str(tmp_path / "in")], Path("out"))
    summary = predict_images(sources, output, predictor, record_of(model, predictor), WorkOptions(streams=streams))
    assert summary.num_predicted == 6


def test_streams_are_one_a_core_where_there_are_images_enough(monkeypatch):
    monkeypatch.setattr("polypseg.predict.images.work.usable_cores", lambda: 4)
    assert [streams_for(number) for number in (1, 7, 8, 1000)] == [1, 1, 4, 4]
    assert streams_for(1000, threads=2) == 2
    monkeypatch.setattr("polypseg.predict.images.work.usable_cores", lambda: 64)
    assert streams_for(1000) == 8  # each holds the features of a batch
