"""Data sets as their archives unpack: `data check` recognises each, `data convert` gives back its masks.

The layouts are those of the archives: folders, names and kinds of files; the pixels are made here.
"""

import json

import numpy as np
import pytest
from PIL import Image as PillowImage
from typer.testing import CliRunner

from polypseg.cli import app
from polypseg.data.conversion import convert
from polypseg.formats.writing import FORMATS

SIZE = (48, 64)
RED, GREEN = (255, 0, 0), (0, 255, 0)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYPSEG_CACHE", str(tmp_path / "cache"))


def polyp(number):
    """A polyp of 10 x 12 pixels, and in every second frame another of 8 x 8 beside it."""
    mask = np.zeros(SIZE, bool)
    mask[8:18, 4 + number : 16 + number] = True
    if number % 2:
        mask[28:36, 40:48] = True
    return mask


def save(path, pixels, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(pixels).save(path, **more)


def image(number):
    small = np.random.default_rng(number).integers(60, 200, (6, 8, 3), np.uint8)
    return np.asarray(PillowImage.fromarray(small).resize(SIZE[::-1], PillowImage.Resampling.BICUBIC))


def frames(folder, images, masks, names, kinds=("png", "png")):
    """Images and masks of the names, whose masks are black and white."""
    for number, (name, mask) in enumerate(names):
        save(folder / images / f"{name}.{kinds[0]}", image(number))
        save(folder / masks / f"{mask}.{kinds[1]}", np.where(polyp(number), 255, 0).astype(np.uint8))


def numbers(mask="{}"):
    return [(str(number), mask.format(number)) for number in range(1, 5)]


def etis(folder):
    frames(folder, "ETIS-LaribPolypDB", "Ground Truth", numbers("p{}"), ("tif", "tif"))


def cvc_300(folder):
    frames(folder, "bbdd", "gtpolyp", numbers(), ("bmp", "bmp"))
    for other in ("gtlumen", "gtspecular", "gtvoid"):
        save(folder / other / "1.bmp", np.zeros(SIZE, np.uint8))


def cvc_612(folder):
    frames(folder, "bbdd", "gtpolyp", numbers(), ("bmp", "tif"))


def colon_db(folder):
    frames(folder / "CVC-ColonDB", "images", "masks", numbers())


def hyper_kvasir(folder):
    names = [(f"cju{number}", f"cju{number}") for number in range(4)]
    frames(folder / "segmented-images", "images", "masks", names, ("jpg", "jpg"))
    box = {"label": "polyp", "xmin": 4, "ymin": 8, "xmax": 16, "ymax": 18}
    boxes = {name: {"height": 48, "width": 64, "bbox": [box]} for name, _ in names}
    (folder / "segmented-images" / "bounding-boxes.json").write_text(json.dumps(boxes))


def sun_seg(folder):
    for number in range(4):
        clip = f"case{number // 2 + 1}_1"
        name = f"case_M_20181001100941_0U62363100354631_1_001_002-1_a13_ayy_image{number:04d}"
        save(folder / "Frame" / clip / f"{name}.jpg", image(number))
        save(folder / "GT" / clip / f"{name}.png", np.where(polyp(number), 255, 0).astype(np.uint8))


def bkai(folder):
    """Red is neoplastic, green is not; in JPEG, whose colours are not exact."""
    for number in range(4):
        mask = np.zeros((*SIZE, 3), np.uint8)
        found = polyp(number)
        mask[found] = RED
        mask[28:36, 40:48][found[28:36, 40:48]] = GREEN
        save(folder / "images" / f"{number:04d}.jpeg", image(number))
        save(folder / "masks" / f"{number:04d}.jpeg", mask, quality=95, subsampling=0)


def bkai_as_distributed(folder):
    """Names of 32 hexadecimal digits in train/train/ and train_gt/train_gt/, frames without masks beside them."""
    bkai(folder)
    for name, old in (("train", "images"), ("train_gt", "masks")):
        (folder / name).mkdir()
        (folder / old).rename(folder / name / name)
        for path in (folder / name / name).iterdir():
            path.rename(path.with_name(f"{28 * '0'}{path.name}"))
    save(folder / "test" / "test" / "a.jpeg", image(9))
    (folder / "sample_submission.csv").write_text("Id,Expected\n")


def by_value(folder):
    """1 is a polyp, 2 an instrument."""
    for number in range(4):
        mask = polyp(number).astype(np.uint8)
        mask[44:] = 2
        save(folder / "images" / f"{number}.png", image(number))
        save(folder / "masks" / f"{number}.png", mask)


def via(folder):
    entries = {}
    for number in range(4):
        save(folder / f"{number}.png", image(number))
        boxes = [(8, 4 + number, 18, 16 + number), *([(28, 40, 36, 48)] if number % 2 else [])]
        regions = [
            {"shape_attributes": {"name": "polygon", "all_points_x": [x, right, right, x],
                                  "all_points_y": [y, y, bottom, bottom]}, "region_attributes": {}}
            for y, x, bottom, right in boxes
        ]  # fmt: skip
        entries[f"{number}.png-1"] = {
            "filename": f"{number}.png",
            "size": -1,
            "regions": regions,
            "file_attributes": {},
        }
    (folder / "via.json").write_text(json.dumps(entries))


ARCHIVES = {
    "ETIS-Larib": (etis, [], 0),
    "CVC-300": (cvc_300, [], 0),
    "CVC-612": (cvc_612, [], 0),
    "CVC-ColonDB": (colon_db, [], 0),
    "HyperKvasir": (hyper_kvasir, [], 8),
    "SUN-SEG": (sun_seg, [], 0),
    "BKAI": (bkai, ["--polyp-colours", "#ff0000,#00ff00"], 8),
    "BKAI, as distributed": (bkai_as_distributed, [], 8),
    "labels": (by_value, ["--polyp-values", "1"], 0),
    "VIA": (via, ["--polyp-labels", "*"], 0),
}
"""How each is made, the options that say what is polyp, and how many pixels a lossy mask may differ by."""


def typed(*words):
    result = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def masks_of(folder):
    return [np.asarray(PillowImage.open(path)) > 0 for path in sorted((folder / "masks").iterdir())]


@pytest.mark.parametrize("name", ARCHIVES)
def test_archive_is_recognised_and_converted(tmp_path, name):
    make, options, tolerance = ARCHIVES[name]
    folder = tmp_path / name
    folder.mkdir()
    make(folder)
    assert "4 samples" in typed("data", "check", folder, "--bits", "-1", *options)
    output = typed("data", "convert", folder, tmp_path / "masks", "--to", "masks", *options)
    assert "wrote 4 frames with 6 polyps" in output  # one polyp in two frames, two in the others
    for number, found in enumerate(masks_of(tmp_path / "masks")):
        assert np.count_nonzero(found != polyp(number)) <= tolerance


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_what_is_converted_is_checked(tmp_path, name):
    colon_db(tmp_path)
    convert(tmp_path, tmp_path / "there", name)
    assert "4 samples" in typed("data", "check", tmp_path / "there", "--bits", "-1")
