import numpy as np
import pytest
from typer.testing import CliRunner

from evaluate.conftest import rectangle, write_image, write_mask
from polypseg.cli import app
from polypseg.data.catalogue import find_samples
from polypseg.data.corruptions import CORRUPTIONS
from polypseg.errors import ScoreError
from polypseg.evaluate.robustness import by_maps, measure_robustness, relative_to, sets
from polypseg.records.robustness import Robustness, read_robustness


@pytest.fixture
def data(tmp_path):
    """Three images of 24 x 32: two with a polyp of 8 x 8, one without."""
    for number in range(3):
        mask = rectangle(24, 32, (4, 12), (4, 12)) & (number < 2)
        write_image(tmp_path / "data" / "images" / f"i{number}.png", np.where(mask, 230, 40))
        write_mask(tmp_path / "data" / "masks" / f"i{number}.png", mask)
    return tmp_path / "data"


def halves(which, name, image):
    """Finds the whole polyp as it is, its upper half in smoke, nothing in everything else."""
    rows = {"clean": (4, 12), "smoke": (4, 8)}.get(which.rpartition("-")[0] or which, (0, 0))
    return rectangle(24, 32, rows, (4, 12))


def test_by_hand(data):
    record = measure_robustness("halves", find_samples(data)[0], halves)
    assert record.num_images == 2  # the one without a polyp has no Dice
    assert record.clean == 1.0
    # Half of the polyp and nothing else: 2·32 / (32 + 64).
    assert record.dice["smoke"] == (pytest.approx(2 / 3),) * 5
    assert record.dice["bubbles"] == (0.0,) * 5
    assert record.mean_dice == pytest.approx(2 / 3 / 15)


def test_error_relative_to_a_baseline(data):
    base = measure_robustness(
        "base", find_samples(data)[0], lambda which, name, image: rectangle(24, 32, (4, 8), (4, 12))
    )
    record = measure_robustness("halves", find_samples(data)[0], halves, baseline=base)
    # The baseline errs by 1/3 everywhere. In smoke the model does too: 1; elsewhere by 1: 3. (1 + 14·3) / 15.
    assert record.corruption_error["smoke"] == pytest.approx(1)
    assert record.corruption_error["noise"] == pytest.approx(3)
    assert record.mean_corruption_error == pytest.approx(43 / 15)
    assert relative_to(base, base).mean_corruption_error == 1


def test_the_model_sees_the_corrupted_image(data):
    seen = {}

    def look(which, name, image):
        seen[which, name] = image
        return rectangle(24, 32, (4, 12), (4, 12))

    measure_robustness("look", find_samples(data)[0], look)
    assert len(seen) == 2 * 76
    assert (
        len({image.tobytes() for (_, name), image in seen.items() if name == "i0"}) > 60
    )  # of 76; in 24 rows some strengths are equal


def test_baselines_that_do_not_fit(data):
    record = measure_robustness("halves", find_samples(data)[0], halves)
    perfect = record.model_copy(update={"dice": dict.fromkeys(CORRUPTIONS, (1.0,) * 5)})
    with pytest.raises(ScoreError, match="makes no error at motion-blur"):
        relative_to(record, perfect)
    with pytest.raises(ScoreError, match="other images or with version 0"):
        relative_to(record, record.model_copy(update={"version": 0}))
    with pytest.raises(ScoreError, match="no image shows a polyp"):
        measure_robustness("none", find_samples(data)[0][2:], halves)


def test_maps_of_another_program(data, tmp_path):
    with pytest.raises(ScoreError, match=r"clean.i0\.png: missing"):
        measure_robustness("maps", find_samples(data)[0], by_maps(tmp_path / "maps"))
    for which in sets():
        for number in range(2):
            write_mask(tmp_path / "maps" / which / f"i{number}.png", halves(which, "", None))
    maps = measure_robustness("halves", find_samples(data)[0], by_maps(tmp_path / "maps"))
    assert maps == measure_robustness("halves", find_samples(data)[0], halves)


def test_command(data, tmp_path):
    def typed(*words, code=0):
        result = CliRunner().invoke(app, ["robustness", *map(str, words)])
        assert result.exit_code == code, result.output
        return " ".join(result.output.split())

    typed("--data", data, "--write", tmp_path / "sets")
    assert sorted(path.name for path in (tmp_path / "sets").iterdir()) == sorted(sets())
    # The images themselves, bright where the polyp is, serve as maps.
    told = typed("--data", data, "--predictions", tmp_path / "sets", "-o", tmp_path / "own", code=0)
    assert "mean Dice of 2 images" in told
    record = read_robustness(tmp_path / "own")
    assert isinstance(record, Robustness)
    told = typed("--data", data, "--predictions", tmp_path / "sets", "--baseline", tmp_path / "own", "-o", tmp_path)
    assert "mean corruption error 1.0000, relative to sets" in told
    assert "name one of" in typed("--data", data, code=2)
    (tmp_path / "names.txt").write_text("i1\n")
    words = ("--data", data, "--predictions", tmp_path / "sets", "-o", tmp_path / "one")
    assert "mean Dice of 1 image" in typed(*words, "--names", tmp_path / "names.txt")
    told = typed(*words, "--names", tmp_path / "names.txt", "--baseline", tmp_path / "own", code=1)
    assert "was measured on other images" in told
    (tmp_path / "names.txt").write_text("i1\nghost\n")
    assert "names 1 image that is not there" in typed(*words, "--names", tmp_path / "names.txt", code=1)
    told = typed("--data", data, "--write", tmp_path / "more", "--threshold", "0.4", code=2)
    assert "--write only writes images; leave out --baseline, --threshold and --out" in told
