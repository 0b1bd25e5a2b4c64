"""Files that hold several pictures, as a phone's photos do: the first one is read, and whoever reads it says so."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.data.catalogue import find_samples
from polypseg.data.checks import inspect
from polypseg.data.in_memory import load_polyp_dataset
from polypseg.data.samples import FurtherPicturesWarning, check_samples
from polypseg.errors import PolypsegWarning
from polypseg.evaluate.evaluation import evaluate
from polypseg.evaluate.plan import plan_predictions
from polypseg.evaluate.procedures.references import References, open_references
from polypseg.preprocess import header_note, read_mask

HEIGHT, WIDTH = 48, 64


def _square(left: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[16:32, left : left + 16] = 255
    return mask


def _save(path: Path, pixels: np.ndarray, further: np.ndarray | None = None) -> Path:
    """A JPEG, with a second picture where one is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first, buffer = PillowImage.fromarray(pixels), io.BytesIO()
    if further is None:
        first.save(buffer, "JPEG", quality=95)
    else:
        rest = [PillowImage.fromarray(further)]
        first.save(buffer, "MPO", save_all=True, append_images=rest, quality=95)
    path.write_bytes(buffer.getvalue())
    return path


def _data(folder: Path, further: bool = True) -> Path:
    """Three pairs; the mask of `1` has a second picture, in which the polyp lies elsewhere."""
    for number in range(3):
        image = np.random.default_rng(number).integers(40, 200, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        _save(folder / f"images/{number}.jpg", image)
        second = _square(40) if further and number == 1 else None
        _save(folder / f"masks/{number}.jpg", _square(8), second)
    return folder


def test_the_first_picture_of_a_mask_is_read_and_noted(tmp_path: Path) -> None:
    path = _save(tmp_path / "m.jpg", _square(8), _square(40))
    mask = read_mask(path)
    assert mask[20, 12]
    assert not mask[20, 44]
    assert header_note(path) == f"{path}: holds 2 pictures; the first one was read"
    assert header_note(_save(tmp_path / "n.jpg", _square(8))) == ""
    (tmp_path / "damaged.jpg").write_bytes(path.read_bytes()[:40])
    assert header_note(tmp_path / "damaged.jpg") == header_note(tmp_path / "none.jpg") == header_note(tmp_path) == ""


def test_data_check_notes_images_and_masks(tmp_path: Path) -> None:
    data = _data(tmp_path)
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    image[::2] = 140
    _save(data / "images/2.jpg", image, image[:20])
    told = " holds 2 pictures; the first one was read"
    assert inspect([data], bits=-1).notes == (f"{data}/masks/1.jpg:{told}", f"{data}/images/2.jpg:{told}")


def test_a_training_and_a_data_set_in_memory_warn(tmp_path: Path) -> None:
    data = _data(tmp_path)
    samples, _ = find_samples(data)
    told = r"^1 file holds further pictures; of each the first one is read:\n  .*masks/1\.jpg$"
    with pytest.warns(FurtherPicturesWarning, match=told):
        usable, faults, _ = check_samples(samples)
    assert (len(usable), faults) == (3, [])
    with pytest.warns(FurtherPicturesWarning, match=told):
        load_polyp_dataset(data / "images", data / "masks", size=32)


def test_plain_files_warn_of_nothing(tmp_path: Path) -> None:
    samples, _ = find_samples(_data(tmp_path, further=False))
    with warnings.catch_warnings():
        warnings.simplefilter("error", PolypsegWarning)
        check_samples(samples)


def test_an_evaluation_notes_references_and_predictions(tmp_path: Path) -> None:
    data = _data(tmp_path)
    for number in range(3):
        _save(tmp_path / f"maps/{number}.jpg", _square(8), _square(40) if number == 2 else None)
    plan = plan_predictions(tmp_path / "maps", data / "masks")
    _, summary = evaluate(plan, tmp_path / "out")
    assert "2 files hold further pictures; of each the first one was read: 1.jpg, 2.jpg" in summary.provenance.notes


def test_masks_of_procedures_warn(tmp_path: Path) -> None:
    _save(tmp_path / "p1/0.jpg", _square(8), _square(40))
    with pytest.warns(FurtherPicturesWarning, match=r"p1/0\.jpg"):
        assert isinstance(open_references(tmp_path), References)
