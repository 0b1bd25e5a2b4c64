"""Outer and inner masks through a real server, of images and of a video."""

import numpy as np
import pytest
from pycocotools import mask as coco

from polypseg.predict.predictor import PredictOptions, load
from polypseg.records.calibration import save_calibration
from polypseg.records.digests import model_file_digest
from polypseg.records.stored import store_calibration
from polypseg.serve.schemas import Segmentation
from records.test_stored import a_calibration
from serve.films import finished, start
from serve.models import SIZE, write_red_model
from serve.running import png, serving

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools

PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that holds a calibration: its outer mask is what reaches 0.25."""
    path = write_red_model(tmp_path_factory.mktemp("model") / "red.onnx")
    store_calibration(path, a_calibration(model_file_digest(path)))
    return path


@pytest.fixture(scope="module")
def client(model):
    with serving(model) as running:
        yield running


def frame():
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[:, :4, 0], image[:, 4:8, 0] = 204, 77  # 0.8 and 0.302
    return image


def segment(client, **query):
    return client.post("/v1/segment", content=png(frame()), headers=PNG, params=query).json()


def test_the_stored_calibration_is_found(client):
    answer = segment(client)
    Segmentation.model_validate(answer)
    assert (answer["area_px"], answer["outer_area_px"]) == (4 * SIZE, 8 * SIZE)
    assert coco.decode(answer["outer"])[:, :8].all()
    assert "inner" not in answer  # it was not asked for
    assert answer["promise"].startswith("the outer mask misses at most 20 % of a polyp's pixels")
    # mark: none of the 128 pixels from 0.1 on reaches 0.9
    assert answer["mark_doubt"] == 1
    [served] = client.get("/v1/models").json()["models"]
    assert served["promise"] == answer["promise"]


@pytest.mark.parametrize("query", [{"threshold": 0.6}, {"tta": "flips"}, {"min_area": 3}])
def test_what_it_was_not_made_for_has_no_outer_mask(client, query):
    answer = segment(client, **query)
    assert not {"outer", "promise", "outer_area_px"} & set(answer)


def test_a_video_has_the_areas_and_the_promise(client):
    pytest.importorskip("av")
    result = finished(client, start(client))["result"]
    assert result["promise"].startswith("the outer mask misses")
    seen = result["frames"][4]
    assert seen["outer_area_px"] >= 1536  # 32x48 are red
    assert seen["inner_area_px"] is None
    smooth = finished(client, start(client, smoothing="window"))["result"]
    assert smooth["promise"] is None
    assert smooth["frames"][4]["outer_area_px"] is None


def test_it_can_be_turned_off_or_taken_from_a_file(model, tmp_path):
    with serving(model, calibration="none") as client:
        assert "outer" not in segment(client)
    digest = model_file_digest(model)
    save_calibration(tmp_path / "c.json", a_calibration(digest, level=0.3))
    with serving(model, calibration=str(tmp_path / "c.json")) as client:
        assert "30 %" in segment(client)["promise"]
    assert load(model, "onnxruntime", options=PredictOptions(stored=False)).options.calibration is None
