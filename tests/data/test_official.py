"""The official split of Kvasir-SEG, checked against the owners' own lists where these are at hand."""

from pathlib import Path

import pytest

from polypseg.data.official import NUM_IMAGES, NUM_TEST_IMAGES, is_kvasir_seg, official_test_names


def _listed(real_data: Path, name: str) -> list[str]:
    return (real_data / "kvasir-seg" / "splits" / name).read_text().split()


@pytest.mark.data
def test_official_test_names_are_the_published_120(real_data: Path) -> None:
    test, train = _listed(real_data, "official-test-120.txt"), _listed(real_data, "official-train-880.txt")
    assert len(test) == NUM_TEST_IMAGES
    assert len(train) + len(test) == NUM_IMAGES
    assert official_test_names(train + test) == set(test)


@pytest.mark.data
def test_is_kvasir_seg_knows_the_folder_in_any_order(real_data: Path) -> None:
    stems = [path.stem for path in (real_data / "kvasir-seg" / "images").iterdir()]
    assert is_kvasir_seg(stems)
    assert is_kvasir_seg(sorted(stems, reverse=True))


@pytest.mark.data
def test_is_kvasir_seg_refuses_one_name_changed_or_missing(real_data: Path) -> None:
    stems = [path.stem for path in (real_data / "kvasir-seg" / "images").iterdir()]
    assert not is_kvasir_seg(stems[1:])
    assert not is_kvasir_seg([*stems[1:], "another"])


def test_is_kvasir_seg_refuses_a_thousand_other_names() -> None:
    assert not is_kvasir_seg([f"polyp_{number}" for number in range(NUM_IMAGES)])


def test_official_test_names_of_other_names_is_empty() -> None:
    # 120 of 2**32 prefixes are known: among 10,000 names 0.0003 are expected to collide.
    assert official_test_names(f"polyp_{number}" for number in range(10_000)) == set()
