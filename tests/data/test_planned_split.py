"""The sizes of the splits by source, told before a training: those that the training then has."""

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image as PillowImage

from polypseg.config import Config
from polypseg.data.checks import inspect
from polypseg.data.sources import find_source_samples, with_folders
from polypseg.data.splits import make_split
from polypseg.data.synthetic import make_synthetic
from polypseg.errors import PairingError, UsageError
from polypseg.records.data_check import PlannedSplitRecord
from polypseg.train.samples import source_counts


def folder_of(path: Path, count: int, seed: int, masks: bool = True) -> Path:
    make_synthetic(path, count, seed=seed, side_range=(40, 48))
    if not masks:
        for mask in (path / "masks").iterdir():
            mask.unlink()
        (path / "masks").rmdir()
    return path


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("sources")
    return [
        folder_of(base / "north", 24, 1),
        folder_of(base / "south", 16, 2),
        folder_of(base / "empty", 12, 3, masks=False),
    ]


@pytest.fixture
def split(folders):
    """The split that a training makes."""
    sources = with_folders(Config(), folders[:2], folders[2:]).sources
    samples, _ = find_source_samples(sources)
    return make_split(samples, Config().split, sources=sources)


def without_left_out(planned):
    return {
        name: {side: n for side, n in sides.items() if side != "left out"} for name, sides in planned.counts.items()
    }


def test_planned_sizes_are_those_of_the_training(folders, split):
    findings = inspect(folders[:2], negatives=folders[2:])
    assert findings.planned.refusal == ""
    assert without_left_out(findings.planned) == source_counts(split)
    assert list(findings.planned.counts) == ["north", "south", "empty"]
    assert sum(sum(sides.values()) for sides in findings.planned.counts.values()) == 52
    assert findings.record().planned_split.images["north"]["test"] == source_counts(split)["north"]["test"]
    assert findings.planned.made_by == split.source


def test_near_duplicates_in_two_sources_stay_together_in_the_plan_as_in_the_training(folders, tmp_path):
    # Three frames of the north, compressed again, are also in another folder, under other names.
    more = folder_of(tmp_path / "more", 8, 9)
    (more / "sequences.csv").unlink()
    for image in sorted((folders[0] / "images").iterdir())[:3]:
        PillowImage.open(image).save(more / "images" / f"copy_{image.stem}.jpg", quality=70)
        mask = next((folders[0] / "masks").glob(f"{image.stem}.*"))
        PillowImage.open(mask).save(more / "masks" / f"copy_{image.stem}.png")
    both = [folders[0], more]
    sources = with_folders(Config(), both).sources
    samples, _ = find_source_samples(sources)
    findings = inspect(both)
    assert any(leak.where == "across data sets" for leak in findings.leaks)
    assert without_left_out(findings.planned) == source_counts(make_split(samples, Config().split, sources=sources))


def test_manifest_of_several_sources_labels_each_folder(folders, split, tmp_path):
    findings = inspect(folders[:2], split, negatives=folders[2:])
    assert (findings.planned, findings.faults) == (None, [])
    counts = Counter((found.source, found.split) for found in findings.samples)
    for source, sides in source_counts(split).items():
        assert {side: counts[source, side] for side in sides} == sides
    alone = inspect(folders[1:2], split)
    assert alone.faults == []  # the folders that are not checked are not missing
    assert Counter(found.split for found in alone.samples) == Counter(
        {side: n for side, n in source_counts(split)["south"].items() if n}
    )


def test_image_that_changed_is_a_finding(folders, split, tmp_path):
    south = folder_of(tmp_path / "south", 16, 2)
    image = sorted((south / "images").iterdir())[0]
    PillowImage.new("RGB", (40, 40)).save(image)
    findings = inspect([south], split, bits=-1)
    assert [fault.name for fault in findings.strangers] == [str(image)]


def test_one_folder_has_no_plan(folders):
    assert inspect(folders[:1], bits=-1).planned is None


def test_what_a_training_refuses_is_told_and_stops_nothing(tmp_path):
    both = [folder_of(tmp_path / name, 8, seed) for seed, name in enumerate(("one", "two"))]
    for folder in both:
        stems = sorted(path.stem for path in (folder / "images").iterdir())
        (folder / "sequences.csv").write_text("frame,group\n" + "".join(f"{stem},patient\n" for stem in stems))
    findings = inspect(both, bits=-1)
    assert findings.faults == []
    assert findings.planned.refusal.startswith("1 group has the same name in one and two")
    assert findings.record().planned_split == PlannedSplitRecord(refused=findings.planned.refusal)


def test_negatives_with_masks_and_folders_named_twice_are_refused(folders):
    with pytest.raises(PairingError, match="declared to show no polyp, and it holds masks"):
        inspect(folders[:1], negatives=folders[1:2])
    with pytest.raises(UsageError, match="named twice"):
        inspect(folders[:1], negatives=folders[:1])
