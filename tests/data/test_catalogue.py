"""Folders of the known data sets, rebuilt in miniature with their own names."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.data.catalogue import PUBLIC_DATA_SETS, find_samples, public_data_set
from polypseg.data.layouts import CLINICDB_LAST_FRAMES, recognise
from polypseg.data.samples import Sample
from polypseg.errors import DataError, PairingError, UsageError


def _write(*paths: Path) -> None:
    """An 8x8 image at each path; what it shows does not matter here."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        PillowImage.fromarray(np.zeros((8, 8), np.uint8)).save(path)


def _names(samples: list[Sample]) -> list[str]:
    return [sample.name for sample in samples]


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images", "masks"),
        ("image", "mask"),  # PraNet's TrainDataset
        ("imgs", "labels"),
        ("Images", "Masks"),
        ("Original", "Ground Truth"),  # CVC-ClinicDB's archive
        ("original", "GroundTruth"),
        ("images", "annotations"),
    ],
)
def test_find_samples_names_of_folders_in_use(tmp_path: Path, images: str, masks: str) -> None:
    _write(*(tmp_path / folder / f"{stem}.png" for folder in (images, masks) for stem in ("b", "a")))
    samples, faults = find_samples(tmp_path)
    assert faults == []
    assert samples == [
        Sample(stem, tmp_path / images / f"{stem}.png", tmp_path / masks / f"{stem}.png") for stem in ("a", "b")
    ]
    assert recognise(tmp_path).name == "pairs"


def test_find_samples_unpaired_files_are_faults(tmp_path: Path) -> None:
    _write(tmp_path / "images/a.png", tmp_path / "masks/a.png", tmp_path / "images/b.png", tmp_path / "masks/c.png")
    samples, faults = find_samples(tmp_path)
    assert _names(samples) == ["a"]
    assert [Path(fault.name).name for fault in faults] == ["b.png", "c.png"]


def test_recognise_clinicdb_by_its_612_frames_with_the_sequences_of_its_read_me(tmp_path: Path) -> None:
    for folder in ("Original", "Ground Truth"):
        (tmp_path / folder).mkdir()
        for number in range(1, 613):
            (tmp_path / folder / f"{number}.tif").touch()
    assert recognise(tmp_path).name == "cvc-clinicdb"
    groups = {sample.name: sample.group for sample in find_samples(tmp_path)[0]}
    assert len(set(groups.values())) == 29
    # From the table: frames 1 to 25 are sequence 1, 26 to 50 are 2, 200 to 205 are 10, 592 to 612 are 29.
    assert [groups[frame] for frame in ("1", "25", "26", "50", "51", "200", "205", "206", "591", "592", "612")] == [
        "1", "1", "2", "2", "3", "10", "10", "11", "28", "29", "29",
    ]  # fmt: skip


@pytest.mark.data
def test_clinicdb_sequences_are_those_of_the_csv(real_data: Path) -> None:
    with (real_data / "cvc-clinicdb" / "sequences.csv").open(newline="") as opened:
        expected = dict(csv.reader(opened))
    samples, _ = find_samples(real_data / "cvc-clinicdb")
    assert {sample.name: sample.group for sample in samples} == expected
    last_frames = [max(int(f) for f, s in expected.items() if s == str(number)) for number in range(1, 30)]
    assert tuple(last_frames) == CLINICDB_LAST_FRAMES


@pytest.mark.data
def test_recognise_real_folders(real_data: Path) -> None:
    assert recognise(real_data / "kvasir-seg").title == "Kvasir-SEG"
    assert recognise(real_data / "cvc-clinicdb").title == "CVC-ClinicDB"
    assert len(find_samples(real_data / "kvasir-seg")[0]) == 1000
    negatives, _ = find_samples(real_data / "polypgen-negatives", empty_masks=True)
    assert len(negatives) == 42
    assert all(sample.mask_path is None for sample in negatives)


def _polypgen(root: Path) -> Path:
    for centre in ("C1", "C6"):
        _write(root / f"data_{centre}/images_{centre}/100H.jpg", root / f"data_{centre}/masks_{centre}/100H_mask.jpg")
        _write(root / f"data_{centre}/bbox_image_{centre}/100H_mask_bbox.jpg")
    _write(
        root / "data_C3/images_C3/C3_EndoCV2021_00489_.jpg",  # the published file, underscore and all
        root / "data_C3/masks_C3/C3_EndoCV2021_00489_mask.jpg",
        root / "data_C3/images_C3/C3_x.jpg",
        root / "data_C3/masks_C3/C3_x_mask.jpg",
    )
    for sequence in ("seq1", "seq2"):
        base = root / "sequenceData/positive" / sequence
        _write(base / f"images_{sequence}/f.jpg", base / f"masks_{sequence}/f_mask.jpg")
    _write(root / "sequenceData/negativeOnly/seq1_neg/f.jpg", root / "imagesAll_positive/100H.jpg")
    return root


def test_find_samples_polypgen_centres_sequences_and_negatives(tmp_path: Path) -> None:
    root = _polypgen(tmp_path / "PolypGen2021_MultiCenterData_v3")
    samples, faults = find_samples(root)
    assert faults == []
    assert [(s.name, s.centre, s.group, s.mask_path is None) for s in samples] == [
        ("C1_100H", "C1", None, False),
        ("C3_C3_EndoCV2021_00489_", "C3", None, False),
        ("C3_C3_x", "C3", None, False),
        ("C6_100H", "C6", None, False),
        ("seq1_f", None, "seq1", False),
        ("seq1_neg_f", None, "seq1_neg", True),  # without empty_masks: the data set itself says so
        ("seq2_f", None, "seq2", False),
    ]
    assert recognise(root).name == "polypgen"


def test_find_samples_one_polypgen_centre_alone(tmp_path: Path) -> None:
    samples, _ = find_samples(_polypgen(tmp_path) / "data_C1")
    assert _names(samples) == ["100H"]


def test_find_samples_pranet_test_dataset_names_begin_with_the_subset(tmp_path: Path) -> None:
    for subset in ("CVC-300", "Kvasir"):
        for folder in ("images", "masks"):
            _write(tmp_path / "TestDataset" / subset / folder / "1.png")
    samples, _ = find_samples(tmp_path / "TestDataset")
    assert _names(samples) == ["CVC-300_1", "Kvasir_1"]
    assert recognise(tmp_path / "TestDataset").title == "2 sub-sets: CVC-300, Kvasir"


def test_recognise_pranet_parent_asks_for_one_of_its_two_sets(tmp_path: Path) -> None:
    _write(tmp_path / "TrainDataset/image/1.png", tmp_path / "TrainDataset/mask/1.png")
    _write(tmp_path / "TestDataset/Kvasir/images/1.png", tmp_path / "TestDataset/Kvasir/masks/1.png")
    with pytest.raises(PairingError, match="holds both TrainDataset and TestDataset; name one of them"):
        recognise(tmp_path)
    assert _names(find_samples(tmp_path / "TrainDataset")[0]) == ["1"]


def test_find_samples_looks_into_an_only_folder(tmp_path: Path) -> None:
    _write(tmp_path / "outer/Kvasir-SEG/images/a.jpg", tmp_path / "outer/Kvasir-SEG/masks/a.jpg")
    assert find_samples(tmp_path / "outer")[0][0].name == "a"
    assert find_samples(tmp_path)[0][0].name == "a"


def test_find_samples_does_not_look_deeper_than_two_folders(tmp_path: Path) -> None:
    _write(*(tmp_path / "1/2/3/4" / kind / "a.png" for kind in ("images", "masks")))
    assert len(find_samples(tmp_path / "1")[0]) == 1
    with pytest.raises(PairingError, match="not recognised"):
        find_samples(tmp_path)


@pytest.mark.parametrize("folder", [".", "images"])
def test_find_samples_images_alone_need_a_word(tmp_path: Path, folder: str) -> None:
    _write(tmp_path / "images/a.png", tmp_path / "images/b.png")
    with pytest.raises(PairingError, match=r"no folder of masks beside them.*data check --empty-masks"):
        find_samples(tmp_path / folder)
    samples, _ = find_samples(tmp_path / folder, empty_masks=True)
    assert [(s.name, s.mask_path) for s in samples] == [("a", None), ("b", None)]


def test_find_samples_images_alone_among_subsets_need_a_word_too(tmp_path: Path) -> None:
    _write(tmp_path / "one/images/a.png", tmp_path / "one/masks/a.png", tmp_path / "two/images/a.png")
    with pytest.raises(PairingError, match=r"two.images: images, but no folder of masks"):
        find_samples(tmp_path)
    assert _names(find_samples(tmp_path, empty_masks=True)[0]) == ["one_a", "two_a"]


def test_find_samples_masks_among_images_are_not_taken_for_negatives(tmp_path: Path) -> None:
    _write(tmp_path / "a.png", tmp_path / "a_mask.png")
    with pytest.raises(PairingError, match=r"masks lie among the images \(a_mask.png\).*move them to masks/"):
        find_samples(tmp_path, empty_masks=True)


def test_recognise_wrong_folder_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(PairingError) as caught:
        recognise(tmp_path)
    message = str(caught.value)
    assert "looked for images/ + masks/" in message
    assert message.endswith("found code/, notes.txt")
    assert "\n" not in message


def test_recognise_empty_and_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(PairingError, match="found nothing"):
        recognise(tmp_path)
    with pytest.raises(PairingError, match="no such folder; expected a data set"):
        recognise(tmp_path / "absent")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("sequences.csv", "a,1\nb,1\nc,2\n"),  # without a header, as the ClinicDB copies have it
        ("sequences.csv", "frame,sequence\na.png,1\nb.png,1\nc.png,2\n"),
        ("groups.csv", "Patient,notes,Image\n1,x,a\n1,,b\n2,,c\n"),
        ("groups.csv", "\ufeffname,group\na,1\nb,1\n\nc,2\n"),
    ],
)
def test_find_samples_groups_from_a_file(tmp_path: Path, file: str, text: str) -> None:
    _write(*(tmp_path / folder / f"{stem}.png" for folder in ("images", "masks") for stem in "abc"))
    (tmp_path / file).write_text(text, encoding="utf-8")
    assert [sample.group for sample in find_samples(tmp_path)[0]] == ["1", "1", "2"]


def test_find_samples_groups_of_names_with_dots(tmp_path: Path) -> None:
    _write(*(tmp_path / folder / f"frame.{number}.png" for folder in ("images", "masks") for number in "12"))
    (tmp_path / "groups.csv").write_text("name,group\nframe.1,x\nframe.2.png,y\n")
    assert [(s.name, s.group) for s in find_samples(tmp_path)[0]] == [("frame.1", "x"), ("frame.2", "y")]


def test_find_samples_groups_of_a_subset_carry_its_name(tmp_path: Path) -> None:
    for subset in ("x", "y"):
        _write(tmp_path / subset / "images/a.png", tmp_path / subset / "masks/a.png")
        (tmp_path / subset / "groups.csv").write_text("name,group\na,1\n")
    assert [sample.group for sample in find_samples(tmp_path)[0]] == ["x_1", "y_1"]


def test_find_samples_groups_that_do_not_know_an_image_are_refused(tmp_path: Path) -> None:
    _write(*(tmp_path / folder / f"{stem}.png" for folder in ("images", "masks") for stem in "ab"))
    (tmp_path / "groups.csv").write_text("name,group\na,1\n")
    with pytest.raises(DataError, match=r"does not tell the group of 1 of 2 images(.|\n)*b\.png"):
        find_samples(tmp_path)


@pytest.mark.parametrize("text", ["", "name,colour\na,red\n", "name,group\na\n"])
def test_find_samples_damaged_groups_are_refused(tmp_path: Path, text: str) -> None:
    _write(tmp_path / "images/a.png", tmp_path / "masks/a.png")
    (tmp_path / "groups.csv").write_text(text)
    with pytest.raises(DataError, match="expected two columns, names"):
        find_samples(tmp_path)


def test_entries_have_all_that_is_shown_before_a_download() -> None:
    assert [known.name for known in PUBLIC_DATA_SETS] == ["kvasir-seg", "cvc-clinicdb", "polypgen", "bkai", "cp-child"]
    for known in PUBLIC_DATA_SETS:
        assert all((known.title, known.content, known.home, known.terms_of_use, known.citation))
        assert known.url is None or known.url.startswith("https://")
    assert public_data_set("kvasir-seg").url == "https://datasets.simula.no/downloads/kvasir-seg.zip"


def test_entry_unknown_name_lists_the_choices() -> None:
    with pytest.raises(UsageError, match=r"unknown data set 'kvasir'; did you mean 'kvasir-seg'\?"):
        public_data_set("kvasir")


def test_sun_segs_clips_of_one_case_are_one_group(tmp_path):
    for clip in ("case1_1", "case1_3", "case20"):
        for kind, ending in (("Frame", "jpg"), ("GT", "png"), ("Edge", "png")):
            (tmp_path / kind / clip).mkdir(parents=True)
            PillowImage.new("RGB" if ending == "jpg" else "L", (8, 8)).save(
                tmp_path / kind / clip / f"a_image1.{ending}"
            )
    samples, faults = find_samples(tmp_path)
    assert faults == []
    assert [(sample.name, sample.group) for sample in samples] == [
        ("case1_1_a_image1", "case1"), ("case1_3_a_image1", "case1"), ("case20_a_image1", "case20"),
    ]  # fmt: skip
    assert {sample.mask_path.parent.parent.name for sample in samples} == {"GT"}
