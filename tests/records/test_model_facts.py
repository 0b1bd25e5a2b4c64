import json

import pytest

from polypseg.errors import ModelError
from polypseg.records.model_facts import REQUIRED, ModelFacts, StatedScore, from_metadata, to_metadata

FULL = ModelFacts(
    size=256,
    threshold=0.375,
    peak_threshold=0.6,
    name="007",
    version="1.0",
    precision="int8",
    quantised_by="onnxruntime, 100 images",
    stride=32,
    attention_levels=(1, 2),
    num_parameters=4_418_309,
    opset=18,
    training_data='800 "train", 80 validation',
    figures={"test": {"dice": {"mean": 0.9, "low": None}}},
    split_digest="123456",
    largest_difference=2.5e-6,
    dice_change=-0.001,
    proved_on="8 synthetic images, in onnxruntime",
)


def test_there_and_back():
    assert from_metadata(to_metadata(FULL), "x") == FULL
    assert from_metadata(to_metadata(ModelFacts(size=64)), "x") == ModelFacts(size=64)


def test_a_text_that_looks_like_a_number_stays_a_text():
    back = from_metadata(to_metadata(FULL), "x")
    assert (back.name, back.version, back.split_digest) == ("007", "1.0", "123456")


def test_figures_of_other_names_stay_in_a_file_that_is_written_again():
    metadata = to_metadata(ModelFacts(size=64)) | {"polypseg.figures": '{"a": {"dice": 0.9, "speed": 3}, "b": "fast"}'}
    facts = from_metadata(metadata, "x")
    assert facts.figures["a"].dice == StatedScore(mean=0.9)
    assert json.loads(to_metadata(facts)["polypseg.figures"]) == {"a": {"dice": {"mean": 0.9}, "speed": 3}}


def test_keys_of_others_are_passed_over():
    metadata = {**to_metadata(FULL), "author": "someone", "polypseg.added_later": "1"}
    assert from_metadata(metadata, "x") == FULL


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_required_one_is_named(key):
    metadata = to_metadata(FULL)
    del metadata[f"polypseg.{key}"]
    with pytest.raises(ModelError, match=rf"model\.onnx: not a model .* lack polypseg\.{key}; export one"):
        from_metadata(metadata, "model.onnx")


@pytest.mark.parametrize(
    ("key", "value"),
    [("size", "4"), ("size", "large"), ("threshold", "1.5"), ("normalisation", "bgr"), ("precision", "int4")],
)
def test_a_value_that_does_not_fit_is_named(key, value):
    with pytest.raises(ModelError, match=rf"the metadata polypseg\.{key} hold .*; export the model again"):
        from_metadata({**to_metadata(FULL), f"polypseg.{key}": value}, "model.onnx")
