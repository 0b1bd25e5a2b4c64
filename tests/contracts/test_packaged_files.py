"""What holds for the very files that the package ships."""

import onnx
import pytest

from polypseg.export.pair_sums import quantised_convolutions, unsafe_layers
from polypseg.predict.engines.opening import open_engine
from polypseg.predict.engines.packaged import packaged_models
from polypseg.predict.engines.restricted import RestrictedEngine
from polypseg.predict.engines.self_test import deviation, unpack
from polypseg.records.onnx_metadata import read_facts

MODELS = packaged_models()
LARGEST_CHANGE = 0.002


@pytest.fixture(params=MODELS, ids=lambda model: model.name)
def model(request):
    return request.param


def test_all_together_stay_under_20_mb():
    assert MODELS
    assert sum(model.path.stat().st_size for model in MODELS) < 20e6


def test_no_sum_can_saturate(model):
    graph = onnx.load(model.path)
    assert len(quantised_convolutions(graph)) > 20
    assert unsafe_layers(graph) == {}
    assert read_facts(model.path).saturating_sums == 0


def test_stated_dice_is_that_of_the_source_in_each_engine_and_on_avx2(model):
    figures = read_facts(model.path).dice_by_engine
    for name in ("validation", "validation, perturbed too"):
        engines = figures[name].engines
        assert {key.split()[0] for key in engines} == {"openvino", "onnxruntime"}
        assert "openvino on AVX2" in engines
        for found in engines.values():
            assert abs(found.dice - figures[name].source) <= LARGEST_CHANGE


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "openvino on AVX2"])
def test_self_test_holds_here(model, engine):
    if engine != "onnxruntime":
        pytest.importorskip("openvino")
    stored = unpack(read_facts(model.path).self_test)
    assert stored.means["openvino"].max() > 0.2  # something is found in them
    if engine == "openvino on AVX2":
        with RestrictedEngine(model.path) as opened:
            assert deviation(opened, stored) <= stored.tolerance
    else:
        assert deviation(open_engine(model.path, engine), stored) <= stored.tolerance
