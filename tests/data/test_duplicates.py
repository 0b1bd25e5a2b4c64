"""Near-duplicates: every copy is found, at any size, quality and margin, and nothing else is."""

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from polypseg.arrays import Image
from polypseg.data import duplicates
from polypseg.data.duplicates import (
    ORIENTATIONS,
    Candidate,
    DecodedImages,
    SimilarPair,
    find_candidates,
    join,
    near_duplicate_groups,
    orient,
    similar_across,
    similar_pairs,
)
from polypseg.data.fingerprints import Fingerprint, fingerprint, local_contrast, perceptual_hash, visible_part
from polypseg.data.scene import draw_frame, draw_scene
from polypseg.data.synthetic import synthetic_image
from polypseg.preprocess import read_image

NUM_IMAGES = 12


@pytest.fixture(scope="module")
def images() -> list[Image]:
    """Frames of different scenes."""
    return [synthetic_image(np.random.default_rng(500 + number), (200, 240))[0] for number in range(NUM_IMAGES)]


@pytest.fixture(scope="module")
def prints(images: list[Image]) -> list[Fingerprint]:
    return [fingerprint(image) for image in images]


def _jpeg(image: Image, quality: int) -> Image:
    stored = io.BytesIO()
    PillowImage.fromarray(image).save(stored, "JPEG", quality=quality)
    return np.asarray(PillowImage.open(stored).convert("RGB"))


def _scaled(image: Image, factor: float) -> Image:
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=how))


COPIES: dict[str, Callable[[Image], Image]] = {
    **{f"quality {quality}": lambda image, q=quality: _jpeg(image, q) for quality in (30, 50, 70, 95)},
    **{f"scaled {factor}": lambda image, f=factor: _jpeg(_scaled(image, f), 60) for factor in (0.35, 0.6, 1.5, 2.2)},
    "scaled 0.4, quality 30": lambda image: _jpeg(_scaled(image, 0.4), 30),
    "squeezed to a square": lambda image: np.asarray(cv2.resize(image, (256, 256))),
    "grey": lambda image: np.repeat(image.mean(2, keepdims=True).astype(np.uint8), 3, 2),
    "darker": lambda image: (image * 0.6).astype(np.uint8),
    "brighter": lambda image: np.clip(image * 1.25 + 10, 0, 255).astype(np.uint8),
    "dark margins": lambda image: cv2.copyMakeBorder(image, 10, 20, 60, 5, cv2.BORDER_CONSTANT),
    "cut by 5 %": lambda image: image[6:-4, 4:-8],
    "turned by 5 degrees": lambda image: cv2.warpAffine(
        image, cv2.getRotationMatrix2D((120, 100), 5, 1), (image.shape[1], image.shape[0])
    ),
}


@pytest.mark.parametrize("kind", COPIES)
def test_similar_pairs_finds_every_copy_and_nothing_else(
    images: list[Image], prints: list[Fingerprint], kind: str
) -> None:
    copies = [fingerprint(np.ascontiguousarray(COPIES[kind](image))) for image in images]
    pairs = similar_pairs(prints + copies)
    assert [(pair.first, pair.second) for pair in pairs] == [(n, n + NUM_IMAGES) for n in range(NUM_IMAGES)]
    assert {pair.orientation for pair in pairs} == {"upright"}


@pytest.mark.parametrize("orientation", range(1, 8))
def test_similar_pairs_finds_copies_turned_and_mirrored_and_says_how(
    images: list[Image], prints: list[Fingerprint], orientation: int
) -> None:
    def laid(image: Image, number: int) -> Image:
        return np.rot90(np.fliplr(image) if number >= 4 else image, number % 4)

    # What undoes a turn by k quarters is a turn by -k; what undoes a mirroring (and turning) is itself.
    back = orientation if orientation >= 4 else -orientation % 4
    image = images[0]
    np.testing.assert_array_equal(laid(laid(image, orientation), back), image)
    copies = [fingerprint(_jpeg(np.ascontiguousarray(laid(image, orientation)), 60)) for image in images]
    pairs = similar_pairs(prints + copies)
    assert [(pair.first, pair.second) for pair in pairs] == [(n, n + NUM_IMAGES) for n in range(NUM_IMAGES)]
    assert {pair.orientation for pair in pairs} == {ORIENTATIONS[back]}


@pytest.mark.slow
def test_similar_pairs_no_false_alarm_among_distinct_scenes() -> None:
    many = [fingerprint(synthetic_image(np.random.default_rng(number), (128, 160))[0]) for number in range(120)]
    assert similar_pairs(many) == []


@pytest.mark.slow
def test_similar_pairs_no_false_alarm_even_where_every_pair_is_a_candidate() -> None:
    many = [fingerprint(synthetic_image(np.random.default_rng(number), (128, 160))[0]) for number in range(30)]
    assert len({(candidate.first, candidate.second) for candidate in find_candidates(many, bits=64)}) == 30 * 29 / 2
    assert similar_pairs(many, bits=64) == []


def test_similar_pairs_no_false_alarm_among_the_views_of_one_scene() -> None:
    # The views of a synthetic sequence share colours and the polyp's look, but neither folds nor vessels.
    scene = draw_scene(np.random.default_rng(1))
    views = [draw_frame(scene, np.random.default_rng(number), (128, 128))[0] for number in range(20)]
    assert similar_pairs([fingerprint(view) for view in views]) == []


def test_similar_pairs_identical_pixels_are_told_apart_from_copies(images: list[Image]) -> None:
    prints = [fingerprint(image) for image in (images[0], images[0].copy(), _jpeg(images[0], 90))]
    pairs = similar_pairs(prints)
    assert [pair.is_identical for pair in pairs] == [True, False, False]
    assert pairs[0] == SimilarPair(0, 1, 1.0, "upright", is_identical=True)


def test_similar_pairs_a_panel_in_one_of_the_two_does_not_hide_the_frame(images: list[Image]) -> None:
    plain = images[3]
    with_panel = cv2.copyMakeBorder(plain, 12, 12, 30, 30, cv2.BORDER_CONSTANT)
    with_panel[-70:, :80] = (20, 160, 130)
    black_corner = plain.copy()
    black_corner[-70:, :80] = 0
    prints = [fingerprint(with_panel), fingerprint(black_corner)]
    hashes = [fingerprint_.hash for fingerprint_ in prints]
    assert (hashes[0] ^ hashes[1]).bit_count() > 12  # out of reach of the hash
    assert len(similar_pairs(prints)) == 1


def test_similar_pairs_flat_pictures_are_like_nothing() -> None:
    flat = [fingerprint(np.full((50, 60, 3), value, np.uint8)) for value in (0, 60, 200)]
    assert similar_pairs(flat) == []


def test_similar_pairs_of_none_and_one() -> None:
    assert similar_pairs([]) == []
    assert similar_pairs([fingerprint(np.zeros((20, 20, 3), np.uint8))]) == []


def test_find_candidates_more_bits_make_more_candidates(prints: list[Fingerprint]) -> None:
    few, many = find_candidates(prints, bits=0), find_candidates(prints, bits=32)
    assert set(few) < set(many)
    hashes = [fingerprint_.hash for fingerprint_ in prints]
    near = {
        Candidate(first, second, 0)
        for first in range(NUM_IMAGES)
        for second in range(first + 1, NUM_IMAGES)
        if (hashes[first] ^ hashes[second]).bit_count() <= 32
    }
    assert near <= set(many)


def test_find_candidates_are_the_same_whatever_the_block(
    prints: list[Fingerprint], images: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = prints + [fingerprint(np.ascontiguousarray(image[:, ::-1])) for image in images]
    whole = find_candidates(copies)
    monkeypatch.setattr("polypseg.data.duplicates._BLOCK", 5)
    assert find_candidates(copies) == whole
    assert any(candidate.orientation for candidate in whole)


def _write(folder: Path, images: list[Image]) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{number}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        PillowImage.fromarray(image).save(path)
    return paths


def test_near_duplicate_groups_join_through_a_third(images: list[Image], tmp_path: Path) -> None:
    given = [images[0], images[1], _jpeg(images[0], 50), images[2], _scaled(images[0], 0.5), _jpeg(images[2], 50)]
    assert near_duplicate_groups(_write(tmp_path / "set", given)) == [[0, 2, 4], [3, 5]]


def test_images_that_were_decoded_before_are_not_read_again(
    images: list[Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [images[0], images[1], images[0], images[2]]
    paths = _write(tmp_path / "set", given)
    seen = DecodedImages()
    read: list[Path] = []
    for path in paths[:3]:
        seen.see(path, read_image(path))

    def reading(path: Path) -> Image:
        read.append(path)
        return read_image(path)

    monkeypatch.setattr(duplicates, "read_image", reading)
    assert near_duplicate_groups(paths, seen=seen) == [[0, 2]]
    assert read == paths[3:]


def test_near_duplicate_groups_of_distinct_images_are_none(images: list[Image], tmp_path: Path) -> None:
    assert near_duplicate_groups(_write(tmp_path / "set", images[:4])) == []


def test_similar_across_leaves_out_pairs_on_one_side(images: list[Image], tmp_path: Path) -> None:
    scored = _write(tmp_path / "scored", [images[0], _jpeg(images[0], 60), images[1]])
    trained = _write(tmp_path / "trained", [images[2], images[3], _scaled(images[1], 0.7), images[2]])
    pairs = similar_across(scored, trained)
    assert [(pair.first, pair.second) for pair in pairs] == [(2, 2)]


def test_join_chains_and_leaves_out_the_single() -> None:
    pairs = [SimilarPair(a, b, 0.9, "upright", is_identical=False) for a, b in ((0, 3), (3, 5), (1, 2))]
    assert join(7, pairs) == [[0, 3, 5], [1, 2]]
    assert join(3, []) == []


def test_orient_is_what_its_name_says() -> None:
    picture = np.array([[1, 2], [3, 4]])
    expected = {
        "upright": [[1, 2], [3, 4]],
        "turned left": [[2, 4], [1, 3]],
        "turned around": [[4, 3], [2, 1]],
        "turned right": [[3, 1], [4, 2]],
        "mirrored": [[2, 1], [4, 3]],
        "upside down": [[3, 4], [1, 2]],
    }
    for name, laid in expected.items():
        assert orient(picture, ORIENTATIONS.index(name)).tolist() == laid
    assert len({orient(picture, number).tobytes() for number in range(8)}) == 8


def test_fingerprint_digest_differs_with_one_pixel_and_with_the_shape(images: list[Image]) -> None:
    changed = images[0].copy()
    changed[5, 5, 0] ^= 1
    flat = images[0].reshape(240, 200, 3)
    assert len({fingerprint(image).digest for image in (images[0], changed, flat)}) == 3


def test_visible_part_cuts_dark_margins_off() -> None:
    image = np.zeros((100, 120, 3), np.uint8)
    image[10:80, 30:110] = 150
    image[20:24, 2:20] = 200  # a line of text in the margin
    assert visible_part(image).shape == (70, 80, 3)


def test_visible_part_of_a_black_image_is_all_of_it() -> None:
    assert visible_part(np.zeros((30, 40, 3), np.uint8)).shape == (30, 40, 3)


def test_local_contrast_does_not_see_surround_nor_panel() -> None:
    image = np.full((64, 64, 3), (180, 90, 80), np.uint8)
    image[::4] += 40
    image[:, :20] = 0
    image[40:, 20:40] = (20, 160, 130)
    contrast, shown = local_contrast(image, 2.7)
    assert not shown[:, :20].any()
    assert not shown[42:, 20:38].any()
    assert shown[5:35, 25:60].all()
    assert (contrast[~shown] == 0).all()


def test_local_contrast_hardly_depends_on_light(images: list[Image]) -> None:
    small = np.asarray(cv2.resize(images[1], (64, 64), interpolation=cv2.INTER_AREA))
    bright, shown = local_contrast(small, 2.7)
    dark, _ = local_contrast((small * 0.7).astype(np.uint8), 2.7)
    assert np.corrcoef(bright[shown].ravel(), dark[shown].ravel())[0, 1] > 0.97


def test_perceptual_hash_survives_resizing(images: list[Image]) -> None:
    for image in images:
        assert (perceptual_hash(image) ^ perceptual_hash(_scaled(image, 0.5))).bit_count() <= 4


@pytest.mark.data
def test_similar_pairs_on_clinicdb_stay_within_one_sequence(real_data: Path) -> None:
    # Every 4th frame, to be quick: neighbours in a sequence are near-duplicates, frames of two sequences are not.
    from polypseg.data.catalogue import find_samples

    samples = find_samples(real_data / "cvc-clinicdb")[0][::4]
    groups = near_duplicate_groups([sample.image_path for sample in samples])
    assert len(groups) > 5
    for group in groups:
        assert len({samples[place].group for place in group}) == 1


@pytest.mark.data
def test_similar_pairs_knows_frames_of_kvasir_seg_stored_with_and_without_a_panel(real_data: Path) -> None:
    # Pairs that we looked at: the same second of the same examination, by the time printed in both.
    known = [
        ("cju33za6l2qy70988jhrlp2ev", "cjyzjzssvd8pq0838f4nolj5l"),
        ("cju1dfeupuzlw0835gnxip369", "cjyzul1qggwwj07216mhiv5sy"),
        ("cju7fnfv02tt90801djnix9m8", "cjyzuio1qgh040763k56deohv"),
    ]
    # Alike for a hash, and yet two polyps in two colons.
    others = ["cju8c5223s8j80850b4kealt4", "cju8dpa89u6l80818dj6lldh9"]
    folder = real_data / "kvasir-seg" / "images"
    first, second = (perceptual_hash(read_image(folder / f"{name}.jpg")) for name in others)
    assert (first ^ second).bit_count() <= 4
    names = [name for pair in known for name in pair] + others
    assert near_duplicate_groups([folder / f"{name}.jpg" for name in names], bits=16) == [[0, 1], [2, 3], [4, 5]]
