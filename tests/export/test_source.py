import json
import shutil

import pytest

from export.models import SPLITS, red_data
from polypseg.errors import DataError, ModelError, SplitError, UsageError
from polypseg.export.source import open_source


@pytest.fixture
def moved_run(red_run, tmp_path):
    """A copy of the run whose data are where its record says, and may be changed."""
    data = shutil.copytree(red_run.folder.parents[1] / "data", tmp_path / "data")
    folder = shutil.copytree(red_run.folder, tmp_path / "run")
    record = json.loads((folder / "environment.json").read_text())
    (folder / "environment.json").write_text(json.dumps(record | {"data": str(data)}))
    return folder


def names(samples):
    return [sample.name for sample in samples]


def test_a_run_calibrates_on_training_and_proves_on_validation_and_never_on_test(red_run):
    source = open_source(red_run.folder)
    assert names(source.calibration) == [name for name, split in SPLITS.items() if split == "train"]
    assert names(source.validation) == [name for name, split in SPLITS.items() if split == "validation"]
    assert (source.run.folder, source.path, source.without) == (red_run.folder, red_run.best_path, "")


def test_a_missing_test_image_does_not_matter_and_a_missing_validation_image_does(moved_run):
    data = moved_run.parent / "data"
    (data / "images" / "s02.png").unlink()
    (data / "masks" / "s02.png").unlink()
    assert len(open_source(moved_run).validation) == 4
    (data / "images" / "s01.png").unlink()
    (data / "masks" / "s01.png").unlink()
    with pytest.raises(SplitError, match="1 of the 4 validation samples"):
        open_source(moved_run)


def test_changed_images_are_refused(moved_run):
    mask = moved_run.parent / "data" / "masks" / "s01.png"
    mask.write_bytes((mask.parent / "s00.png").read_bytes())
    with pytest.raises(SplitError, match="1 file is not what it was"):
        open_source(moved_run)


def test_data_that_are_gone_are_told_and_named_ones_are_taken(moved_run, tmp_path):
    (moved_run.parent / "data").rename(tmp_path / "elsewhere")
    source = open_source(moved_run)
    assert (source.calibration, source.validation) == ((), ())
    assert "are not at" in source.without
    assert len(open_source(moved_run, tmp_path / "elsewhere").validation) == 4
    with pytest.raises(DataError):
        open_source(moved_run, tmp_path / "nowhere")


def test_a_file_takes_every_second_image_for_each_purpose(red_run, tmp_path):
    source = open_source(red_run.best_path, red_data(tmp_path / "own"))
    assert names(source.calibration) == [f"s{n:02d}" for n in range(0, 12, 2)]
    assert names(source.validation) == [f"s{n:02d}" for n in range(1, 12, 2)]
    assert source.run is None
    assert open_source(red_run.best_path).without == "no folder of data was named"


def test_what_is_no_keras_model_is_refused(tmp_path):
    with pytest.raises(UsageError, match="exported already"):
        open_source(tmp_path / "model.onnx")
    with pytest.raises(ModelError, match="no such file"):
        open_source(tmp_path / "none.keras")
