"""Stated figures, measured again: on a model whose probability is an image's red."""

import numpy as np
import pytest

from evaluate.conftest import rectangle, write_image, write_mask
from polypseg.data.catalogue import find_samples
from polypseg.errors import DataError, ModelError
from polypseg.evaluate.reproduce import check, dices_by_engine, figure_of
from polypseg.predict.engines.opening import open_engine
from polypseg.records.model_facts import EngineDice
from predict.tiny_model import SIZE, write_tiny_model


@pytest.fixture
def data(tmp_path):
    """Two squares of 4x4: one found whole, one by its left half; and a frame without a polyp."""
    for name, found, shown in (("whole", (2, 6), (2, 6)), ("half", (2, 4), (2, 6)), ("none", (0, 0), (0, 0))):
        write_image(
            tmp_path / "data" / "images" / f"{name}.png", np.where(rectangle(SIZE, SIZE, (2, 6), found), 200, 0)
        )
        write_mask(tmp_path / "data" / "masks" / f"{name}.png", rectangle(SIZE, SIZE, (2, 6), shown))
    return tmp_path / "data"


def model(tmp_path, **facts):
    return open_engine(write_tiny_model(tmp_path / "tiny.onnx", **facts), "onnxruntime")


def test_dice_of_each_image_with_a_polyp_by_hand(data, tmp_path):
    samples, _ = find_samples(data)
    found = dices_by_engine({"a": model(tmp_path)}, samples)
    assert sorted(found["a"]) == pytest.approx([2 * 8 / (8 + 16), 1])


def stated(data, value):
    samples, _ = find_samples(data)
    figure = figure_of({"onnxruntime on AVX2": [value, value]}, samples)
    assert (figure.images, figure.engines) == (2, {"onnxruntime on AVX2": EngineDice(dice=round(value, 6))})
    return {"test": figure}


@pytest.mark.parametrize(("value", "is_reproduced"), [(5 / 6, True), (0.8320, True), (0.8310, False), (0.9, False)])
def test_a_figure_is_reproduced_to_two_thousandths(data, tmp_path, value, is_reproduced):
    (checked,) = check(model(tmp_path, dice_by_engine=stated(data, value)), data)
    assert (checked.name, checked.num_images, checked.is_reproduced) == ("test", 2, is_reproduced)
    assert checked.found == pytest.approx(5 / 6)
    assert checked.change == pytest.approx(5 / 6 - value, abs=1e-6)


def test_other_images_in_the_folder_are_passed_over(data, tmp_path):
    figures = stated(data, 5 / 6)
    write_image(data / "images" / "other.png", np.zeros((SIZE, SIZE)))
    write_mask(data / "masks" / "other.png", rectangle(SIZE, SIZE, (0, 9), (0, 9)))
    (checked,) = check(model(tmp_path, dice_by_engine=figures), data)
    assert checked.is_reproduced


def test_a_folder_without_the_images_is_told(data, tmp_path):
    figures = stated(data, 0.8)
    (data / "images" / "half.png").write_bytes((data / "images" / "none.png").read_bytes())
    with pytest.raises(DataError, match=r"lacks images of each figure that the file states \(test: 2 images"):
        check(model(tmp_path, dice_by_engine=figures), data)


def test_a_file_without_figures_is_told(data, tmp_path):
    with pytest.raises(ModelError, match="tiny: its file states no Dice of images that it names"):
        check(model(tmp_path), data)
    perturbed = {"validation, perturbed too": {"images": 4, "engines": {"a": {"dice": 1.0}}}}
    with pytest.raises(ModelError, match="states no Dice"):
        check(model(tmp_path, dice_by_engine=perturbed), data)
