"""Pairing, loading and refusing: every kind of input that a folder of polyps may hold."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.data.in_memory import load_polyp_dataset
from polypseg.data.samples import (
    Fault,
    Sample,
    SkippedSamplesWarning,
    check_samples,
    find_images,
    load_sample,
    pair_samples,
    refuse,
)
from polypseg.errors import DataError, ImageError, PairingError, SplitError, UsageError

ROWS, COLUMNS = 24, 32


def _mask() -> np.ndarray:
    """A polyp in the upper left, nowhere symmetric: rows 2 to 9, columns 3 to 14, of 24 x 32."""
    mask = np.zeros((ROWS, COLUMNS), bool)
    mask[2:10, 3:15] = True
    return mask


def _image() -> np.ndarray:
    """Red and bright where the polyp is."""
    image = np.full((ROWS, COLUMNS, 3), (120, 60, 50), np.uint8)
    image[_mask()] = (220, 110, 100)
    return image


def _save(path: Path, values: np.ndarray | PillowImage.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (PillowImage.fromarray(values) if isinstance(values, np.ndarray) else values).save(path, **options)
    return path


def _grey() -> np.ndarray:
    return _mask().astype(np.uint8) * 255


def _pair(folder: Path, stem: str, image: str = ".png", mask: str = ".png") -> None:
    """A usable image and its mask in folder/images and folder/masks; `image` and `mask` end the stem."""
    _save(folder / "images" / f"{stem}{image}", _image())
    _save(folder / "masks" / f"{stem}{mask}", _grey())


def _folders(folder: Path) -> tuple[Path, Path]:
    return folder / "images", folder / "masks"


# --- pairing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        (".jpg", ".jpg"),
        (".JPG", ".png"),
        (".tif", ".bmp"),
        (".jpeg", "_mask.jpg"),
        (".jpg", "_segmentation.png"),
        (".jpg", "_Mask.PNG"),
        (".jpg", "_GT.tiff"),
        ("_x.jpg", "_x_mask.png"),
        ("_seg.png", "_seg.png"),  # the image itself is called so
        ("_EndoCV2021_.jpg", "_EndoCV2021_mask.jpg"),  # PolypGen's third centre
        ("_.jpg", "_.png"),
    ],
)
def test_pair_samples_endings_and_suffixes(tmp_path: Path, image: str, mask: str) -> None:
    for folder, ending in (("images", image), ("masks", mask)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"a{ending}").touch()
    samples, faults = pair_samples(*_folders(tmp_path))
    assert faults == []
    assert [(sample.image_path.name, sample.mask_path and sample.mask_path.name) for sample in samples] == [
        (f"a{image}", f"a{mask}")
    ]
    assert samples[0].name == Path(f"a{image}").stem


def test_pair_samples_by_name_and_never_by_position(tmp_path: Path) -> None:
    for stem in ("a", "c", "d"):
        _save(tmp_path / "images" / f"{stem}.png", _image())
    for stem in ("b", "c", "d"):
        _save(tmp_path / "masks" / f"{stem}.png", _grey())
    samples, faults = pair_samples(*_folders(tmp_path))
    assert [(sample.name, sample.mask_path and sample.mask_path.stem) for sample in samples] == [("c", "c"), ("d", "d")]
    assert [Path(fault.name).name for fault in faults] == ["a.png", "b.png"]
    assert "no mask of that name" in faults[0].reason
    assert "a_mask.png" in faults[0].reason
    assert "no image of that name" in faults[1].reason


def test_pair_samples_two_files_of_one_stem_are_a_fault(tmp_path: Path) -> None:
    _pair(tmp_path, "a")
    _save(tmp_path / "images" / "a.jpg", _image())
    samples, faults = pair_samples(*_folders(tmp_path))
    assert len(samples) == 1
    assert "has the same name as a.jpg; expected one file per name" in faults[0].reason


def test_pair_samples_plain_mask_goes_before_one_with_a_suffix(tmp_path: Path) -> None:
    # Images a and a_mask: the mask of the second is a_mask, not that of the first.
    _pair(tmp_path, "a")
    _pair(tmp_path, "a_mask")
    samples, faults = pair_samples(*_folders(tmp_path))
    assert faults == []
    assert [(s.name, s.mask_path and s.mask_path.stem) for s in samples] == [("a", "a"), ("a_mask", "a_mask")]


def test_pair_samples_other_files_do_not_count(tmp_path: Path) -> None:
    _pair(tmp_path, "a")
    for name in ("Thumbs.db", "boxes.json", "notes.txt", ".hidden.png", "._a.png"):
        (tmp_path / "images" / name).touch()
    samples, faults = pair_samples(*_folders(tmp_path))
    assert ([sample.name for sample in samples], faults) == (["a"], [])


def test_find_images_missing_and_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(PairingError, match="absent: no such folder; expected a folder of images"):
        find_images(tmp_path / "absent")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(PairingError, match=r"no image in this folder; expected files ending in \.jpg"):
        find_images(tmp_path)
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(PairingError, match=r"no image in this folder \(it holds \.mp4 1, which cannot be read\)"):
        find_images(tmp_path)


# --- one sample ------------------------------------------------------------------------------------------------------


def test_load_sample_own_size_and_squeezed(tmp_path: Path) -> None:
    _pair(tmp_path, "a")
    sample = pair_samples(*_folders(tmp_path))[0][0]
    image, mask = load_sample(sample)
    np.testing.assert_array_equal(image, _image())
    np.testing.assert_array_equal(mask, _mask())
    image, mask = load_sample(sample, size=16)
    assert image.shape == (16, 16, 3)
    assert mask.shape == (16, 16)
    # 8 of 24 rows and 12 of 32 columns: an eighth of the area, give or take the pixels at the edge.
    assert abs(mask.mean() - 8 * 12 / (24 * 32)) < 0.03


def test_load_sample_without_a_mask_file_has_an_empty_mask(tmp_path: Path) -> None:
    image, mask = load_sample(Sample("a", _save(tmp_path / "a.png", _image()), None))
    assert mask.shape == image.shape[:2]
    assert not mask.any()


def test_load_sample_unlike_sizes_name_both_files(tmp_path: Path) -> None:
    sample = Sample("a", _save(tmp_path / "a.png", _image()), _save(tmp_path / "m.png", _grey()[:, :30]))
    with pytest.raises(
        ImageError, match=r"a\.png is 24x32 \(height x width\), its mask .*m\.png is 24x30; expected one"
    ):
        load_sample(sample)


def test_load_sample_turned_mask_gets_a_hint(tmp_path: Path) -> None:
    sample = Sample("a", _save(tmp_path / "a.png", _image()), _save(tmp_path / "m.png", _grey().T.copy()))
    with pytest.raises(ImageError, match="look at their EXIF orientation"):
        load_sample(sample)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_load_sample_exif_orientation_moves_image_and_mask_alike(tmp_path: Path, orientation: int) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    sample = Sample(
        "a",
        _save(tmp_path / "a.jpg", _image(), quality=100, subsampling=0, exif=exif),
        _save(tmp_path / "m.png", _grey(), exif=exif),
    )
    image, mask = load_sample(sample)
    assert mask.shape == ((ROWS, COLUMNS) if orientation < 5 else (COLUMNS, ROWS))
    np.testing.assert_array_equal(image[..., 0] > 170, mask)  # bright exactly where the polyp is
    assert check_samples([sample])[:2] == ([sample], [])


# --- a folder of everything ------------------------------------------------------------------------------------------


def _good_pairs(folder: Path) -> list[str]:
    """One pair of each kind of file, all of the same image and mask; the names."""
    image, grey = PillowImage.fromarray(_image()), PillowImage.fromarray(_grey())
    deep = PillowImage.fromarray(_grey().astype(np.uint16) * 257)
    quality = {"quality": 100, "subsampling": 0}
    palette = image.convert("P", palette=PillowImage.Palette.ADAPTIVE)
    kinds: dict[str, tuple[str, PillowImage.Image, dict, str, PillowImage.Image]] = {
        "bmp": (".bmp", image, {}, ".bmp", grey),
        "cmyk": (".jpg", image.convert("CMYK"), quality, ".png", grey),
        "grey_image": (".png", image.convert("L"), {}, ".png", grey),
        "jpeg": (".jpg", image, quality, ".jpg", grey.convert("RGB")),
        "mask_of_one_bit": (".png", image, {}, ".png", grey.convert("1")),
        "mask_of_sixteen_bit": (".png", image, {}, ".png", deep),
        "palette": (".png", palette, {}, ".png", grey.convert("P")),
        "png": (".png", image, {}, "_mask.png", grey),
        "rgba": (".png", image.convert("RGBA"), {}, ".png", grey.convert("RGBA")),
        "sixteen_bit": (
            ".tif",
            PillowImage.fromarray(np.asarray(image.convert("L"), np.uint16) * 257),
            {},
            ".tif",
            grey,
        ),
        "tiff": (".tiff", image, {"compression": "tiff_lzw"}, "_segmentation.tif", grey),
    }
    for name, (image_ending, stored, options, mask_ending, mask) in kinds.items():
        _save(folder / "images" / f"{name}{image_ending}", stored, **options)
        _save(folder / "masks" / f"{name}{mask_ending}", mask)
    return sorted(kinds)


def _bad_pairs(folder: Path) -> dict[str, str]:
    """One pair of each kind that cannot be used; name to a part of what is said of it."""
    images, masks = _folders(folder)
    noise = np.random.default_rng(0).integers(0, 256, (ROWS, COLUMNS, 3), np.uint8)
    bad = {
        "cut_short": "cut short",
        "floats": "floating-point values",
        "frames": "holds 2 frames",
        "grey_levels": "grey levels",
        "label_map": "holds 3 values, 0 (75.0 %), 1 (12.5 %), 2 (12.5 %)",
        "no_image": "not an image that can be read",
        "turned": "look at their EXIF orientation",
        "unlike": "24x31",
        "zero_bytes": "the file is empty (0 bytes)",
    }
    for name in bad:
        _save(images / f"{name}.png", noise)
        _save(masks / f"{name}.png", _grey())
    (images / "cut_short.png").unlink()
    whole = _save(images / "cut_short.jpg", noise).read_bytes()
    (images / "cut_short.jpg").write_bytes(whole[:-100])
    (masks / "floats.png").unlink()
    _save(masks / "floats.tif", _mask().astype(np.float32))
    (images / "frames.png").unlink()
    frame = PillowImage.fromarray(noise)
    _save(images / "frames.tif", frame, save_all=True, append_images=[frame])
    _save(masks / "grey_levels.png", np.tile(np.arange(COLUMNS, dtype=np.uint8) * 8, (ROWS, 1)))
    _save(masks / "label_map.png", _mask().astype(np.uint8) + np.roll(_mask(), 12, 0) * np.uint8(2))
    (images / "no_image.png").write_text("not found")
    _save(masks / "turned.png", _grey().T.copy())
    _save(masks / "unlike.png", _grey()[:, :31])
    (images / "zero_bytes.png").write_bytes(b"")
    return bad


def test_load_polyp_dataset_every_kind_of_file_gives_the_same_pair(tmp_path: Path) -> None:
    names = _good_pairs(tmp_path)
    data = load_polyp_dataset(*_folders(tmp_path), size=32)
    assert data.names == names
    assert data.images.shape == (len(names), 32, 32, 3)
    assert data.masks.shape == (len(names), 32, 32, 1)
    assert data.images.dtype == data.masks.dtype == np.float32
    assert 0 <= data.images.min() <= data.images.max() <= 1
    assert set(np.unique(data.masks)) == {0.0, 1.0}
    for name, image, mask in zip(data.names, data.images, data.masks, strict=True):
        np.testing.assert_array_equal(mask, data.masks[0], err_msg=name)
        colours = image.mean(-1) if name in ("grey_image", "sixteen_bit") else image
        expected = data.images[0].mean(-1) if colours.ndim == 2 else data.images[0]
        # Grey is weighted (0.299, 0.587, 0.114), not averaged: (120, 60, 50) becomes 77, its mean is 76.7.
        np.testing.assert_allclose(colours, expected, atol=0.03, err_msg=name)


def test_load_polyp_dataset_masks_are_cut_before_they_are_resized(tmp_path: Path) -> None:
    # Grey of 100 over a part below the cut: blurred first, it would count towards the polyp beside it.
    grey = np.zeros((32, 32), np.uint8)
    grey[:, :16] = 255
    grey[0, 16:24] = 100  # 8 of 1024 pixels, under the allowed 1 %
    _save(tmp_path / "images" / "a.png", np.tile(np.arange(32, dtype=np.uint8)[:, None, None] * 8, (1, 32, 3)))
    _save(tmp_path / "masks" / "a.png", grey)
    masks = load_polyp_dataset(*_folders(tmp_path), size=8).masks
    assert masks[0, :, :4].all()
    assert not masks[0, :, 4:].any()


def test_load_polyp_dataset_names_every_faulty_file(tmp_path: Path) -> None:
    _good_pairs(tmp_path)
    bad = _bad_pairs(tmp_path)
    with pytest.raises(DataError, match=rf"^{len(bad)} of the files cannot be used.*--skip-bad") as caught:
        load_polyp_dataset(*_folders(tmp_path), size=32)
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == len(bad)
    for name, part in bad.items():
        assert any(name in line and part in line for line in lines), name


def test_load_polyp_dataset_skip_bad_leaves_out_and_lists(tmp_path: Path) -> None:
    names = _good_pairs(tmp_path)
    bad = _bad_pairs(tmp_path)
    with pytest.warns(SkippedSamplesWarning) as caught:
        data = load_polyp_dataset(*_folders(tmp_path), size=32, skip_bad=True)
    assert data.names == names
    assert len(data.images) == len(data.masks) == len(names)
    assert data.images.max(axis=(1, 2, 3)).min() > 0  # no empty place is left of those left out
    message = str(caught[0].message)
    assert message.startswith(f"left out {len(bad)} files:")
    assert all(name in message and part in message for name, part in bad.items())


def test_load_polyp_dataset_unpaired_files_stop_it_or_are_left_out(tmp_path: Path) -> None:
    _pair(tmp_path, "a")
    _save(tmp_path / "images" / "b.png", _image())
    with pytest.raises(PairingError, match=r"1 of the files cannot be used(.|\n)*b\.png: no mask of that name"):
        load_polyp_dataset(*_folders(tmp_path), size=8)
    with pytest.warns(SkippedSamplesWarning, match=r"b\.png"):
        assert load_polyp_dataset(*_folders(tmp_path), size=8, skip_bad=True).names == ["a"]


def test_load_polyp_dataset_clean_folder_warns_of_nothing(tmp_path: Path) -> None:
    _pair(tmp_path, "a")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_polyp_dataset(str(tmp_path / "images"), str(tmp_path / "masks"), size=8).names == ["a"]


def test_load_polyp_dataset_nothing_left(tmp_path: Path) -> None:
    _save(tmp_path / "images" / "a.png", _image())
    _save(tmp_path / "masks" / "a.png", np.full((ROWS, COLUMNS), 7, np.uint8))
    with (
        pytest.warns(SkippedSamplesWarning),
        pytest.raises(DataError, match="images: no usable sample is left"),
    ):
        load_polyp_dataset(*_folders(tmp_path), size=8, skip_bad=True)


def test_load_polyp_dataset_empty_folder(tmp_path: Path) -> None:
    for folder in _folders(tmp_path):
        folder.mkdir()
    with pytest.raises(PairingError, match="no image in this folder"):
        load_polyp_dataset(*_folders(tmp_path))


def test_load_polyp_dataset_one_pixel_grows(tmp_path: Path) -> None:
    _save(tmp_path / "images" / "a.png", np.array([[[255, 0, 51]]], np.uint8))
    _save(tmp_path / "masks" / "a.png", np.array([[255]], np.uint8))
    data = load_polyp_dataset(*_folders(tmp_path), size=8)
    np.testing.assert_allclose(data.images, np.broadcast_to([1.0, 0.0, 0.2], (1, 8, 8, 3)), atol=1e-6)
    assert (data.masks == 1).all()


@pytest.mark.parametrize("size", [0, -8])
def test_load_polyp_dataset_impossible_size(tmp_path: Path, size: int) -> None:
    _pair(tmp_path, "a")
    with pytest.raises(UsageError, match=f"size {size}: expected at least 1"):
        load_polyp_dataset(*_folders(tmp_path), size=size)


def test_load_polyp_dataset_default_size_is_256(tmp_path: Path) -> None:
    _pair(tmp_path, "a")
    assert load_polyp_dataset(*_folders(tmp_path)).images.shape == (1, 256, 256, 3)


# --- checking --------------------------------------------------------------------------------------------------------


def test_check_samples_parts_the_usable_from_the_faulty(tmp_path: Path) -> None:
    names = _good_pairs(tmp_path)
    bad = _bad_pairs(tmp_path)
    told = []

    def track(items, description, total):
        told.append((description, total))
        yield from items

    usable, faults, facts = check_samples(pair_samples(*_folders(tmp_path))[0], track)
    assert [fact.name for fact in facts] == names
    assert [sample.name for sample in usable] == names
    assert {fault.name for fault in faults} == set(bad)
    for fault in faults:
        assert bad[fault.name] in fault.reason
    assert told == [("checking images", len(names) + len(bad))]


@pytest.mark.parametrize("workers", [1, 3])
def test_check_samples_order_does_not_depend_on_the_workers(tmp_path: Path, workers: int) -> None:
    for stem in "dbca":
        _pair(tmp_path, stem)
    samples = pair_samples(*_folders(tmp_path))[0]
    assert check_samples(samples, workers=workers)[:2] == (samples, [])


def test_refuse_nothing_is_nothing() -> None:
    refuse([], skip_bad=False)
    refuse([], skip_bad=True)


def test_refuse_lists_ten_and_counts_the_rest() -> None:
    faults = [Fault(f"f{number:02d}", "is broken") for number in range(13)]
    with pytest.raises(SplitError, match="13 of the files") as caught:
        refuse(faults, skip_bad=False, error=SplitError)
    lines = str(caught.value).splitlines()
    assert lines[1] == "  f00: is broken"
    assert len(lines) == 12
    assert lines[-1] == "  … and 3 more"


def test_refuse_does_not_say_a_name_twice() -> None:
    with pytest.raises(DataError, match=r"\n  /a/b\.png: is broken$"):
        refuse([Fault("b", "/a/b.png: is broken")], skip_bad=False)
