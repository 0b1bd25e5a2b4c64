"""`polypseg data` as a user meets it: what is printed, what is written, what the exit code is."""

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from typer.testing import CliRunner, Result

from polypseg.cli import app, console
from polypseg.data.synthetic import make_synthetic


def _run(*arguments: object, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, ["data", *map(str, arguments)], input=answer, env={"COLUMNS": "100"})


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight frames of two sequences; tests read only."""
    folder = tmp_path_factory.mktemp("synthetic") / "set"
    make_synthetic(folder, num_images=8, side_range=(64, 64))
    return folder


@pytest.mark.parametrize("command", ["download", "check", "convert", "synth"])
def test_help_reads_like_a_manual(command: str) -> None:
    result = _run(command, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert f"polypseg data {command}" in result.stdout


def test_data_without_a_command_shows_what_there_is() -> None:
    result = _run()
    assert all(command in result.output for command in ("download", "check", "synth"))


def test_synth_writes_what_was_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "set"
    result = _run("synth", out, "--num-images", 8, "--seed", 3, "--smallest", 32, "--largest", 40, "--empty-share", 0.5)
    assert result.exit_code == 0, result.output
    assert f"wrote 8 frames of 2 sequences and their masks to {out}" in result.stdout
    make_synthetic(tmp_path / "same", num_images=8, seed=3, side_range=(32, 40), empty_share=0.5)
    for path in (tmp_path / "same" / "masks").iterdir():
        assert path.read_bytes() == (out / "masks" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--seconds", 5, "--side", 64), "--seconds, --side: for whole procedures; add --procedure"),
        (("--procedure", "--num-images", 8), "--num-images: for single frames; leave it out with --procedure"),
    ],
)
def test_synth_refuses_options_that_would_do_nothing(tmp_path: Path, words: tuple[object, ...], told: str) -> None:
    result = _run("synth", tmp_path / "out", *words)
    assert result.exit_code == 2
    assert told in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_synth_over_images_is_one_line_and_exit_code_1(synthetic: Path) -> None:
    result = _run("synth", synthetic)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert "already holds files" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    "options", [("--num-images", 0), ("--smallest", 8), ("--empty-share", 2), ("--smallest", 64, "--largest", 32)]
)
def test_synth_impossible_numbers_are_exit_code_2(tmp_path: Path, options: tuple) -> None:
    assert _run("synth", tmp_path / "set", *options).exit_code == 2
    assert not (tmp_path / "set").exists()


def test_check_of_a_sound_folder(synthetic: Path) -> None:
    result = _run("check", synthetic)
    assert result.exit_code == 0, result.output
    for line in (
        "set: 8 samples",
        "groups (sequences): 2",
        "sizes, height x width: 64x64 (8)",
        "without a polyp: 0",
        "every file can be used",
        "near-duplicates: 0 pairs",
    ):
        assert line in result.stdout
    assert "polyp area" in result.stdout


def test_check_of_several_folders_tells_the_sizes_of_the_splits(synthetic: Path, tmp_path: Path) -> None:
    other, empty = tmp_path / "other", tmp_path / "empty"
    for folder, seed in ((other, 7), (empty, 8)):
        make_synthetic(folder, num_images=12, seed=seed, side_range=(64, 64))
    for mask in (empty / "masks").iterdir():
        mask.unlink()
    (empty / "masks").rmdir()
    result = _run("check", synthetic, other, "--negatives", empty)
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line.strip()}
    assert "as polypseg train splits them" in result.stdout
    assert [sum(map(int, rows[name])) for name in ("set", "other", "empty")] == [8, 12, 12]
    assert [int(number) for number in rows["all"]] == [
        sum(int(rows[name][side]) for name in ("set", "other", "empty")) for side in range(4)
    ]
    refused = _run("check", synthetic, "--negatives", other)
    assert (refused.exit_code, refused.output.count("\n")) == (1, 1)
    assert "declared to show no polyp, and it holds masks (masks/)" in refused.output


def _leaky(folder: Path) -> Path:
    """A data set in which a and b are one frame, and its manifest that parts them."""
    from polypseg.data.catalogue import find_samples
    from polypseg.records.digests import file_digests
    from polypseg.records.split import Split, SplitEntry

    make_synthetic(folder, num_images=2, side_range=(96, 96))
    for kind, ending in (("images", "jpg"), ("masks", "png")):
        first, second = sorted((folder / kind).iterdir())
        PillowImage.open(first).save(folder / kind / f"copy.{ending}", quality=60)
        assert second.exists()
    (folder / "sequences.csv").unlink()
    samples, _ = find_samples(folder)
    digests = file_digests([sample.image_path for sample in samples])
    splits = dict(zip((sample.name for sample in samples), ("test", "train", "train"), strict=True))
    entries = {s.name: SplitEntry(splits[s.name], digests[s.image_path], None, None) for s in samples}  # type: ignore[arg-type]
    manifest = folder.parent / "splits.json"
    Split("by hand", 0, entries).save(manifest)
    return manifest


def test_check_leak_across_splits_is_named_pictured_and_recorded(tmp_path: Path) -> None:
    manifest = _leaky(tmp_path / "set")
    result = _run(
        "check",
        tmp_path / "set",
        "--splits",
        manifest,
        "--pictures",
        tmp_path / "leaks",
        "--json",
        tmp_path / "new/f.json",
    )
    assert result.exit_code == 0, result.output
    assert "set: 3 samples (train 2, test 1)" in result.stdout
    assert "across splits: 1" in result.stdout
    assert "set/copy (test) = set/synthetic_00001 (train)" in result.stdout
    assert len(list((tmp_path / "leaks").glob("*.png"))) == 1
    assert f"wrote 1 pictures to {tmp_path / 'leaks'}" in result.stdout
    record = json.loads((tmp_path / "new/f.json").read_text())
    assert [pair["where"] for pair in record["near_duplicates"]] == ["across splits"]


def test_check_strict_makes_a_leak_an_error(tmp_path: Path) -> None:
    manifest = _leaky(tmp_path / "set")
    assert _run("check", tmp_path / "set", "--splits", manifest, "--strict").exit_code == 1
    assert _run("check", tmp_path / "set", "--strict").exit_code == 0  # within the data set nothing leaks
    assert _run("check", tmp_path / "set", "--splits", manifest, "--strict", "--bits", -1).exit_code == 0


def test_check_group_in_two_splits_is_named(tmp_path: Path) -> None:
    manifest = _leaky(tmp_path / "set")
    (tmp_path / "set" / "groups.csv").write_text("name,group\ncopy,7\nsynthetic_00001,7\nsynthetic_00002,8\n")
    result = _run("check", tmp_path / "set", "--splits", manifest)
    assert "group set/7 is in test and train" in result.stdout


def test_check_unusable_files_are_listed_and_exit_code_1(tmp_path: Path) -> None:
    make_synthetic(tmp_path / "set", num_images=2, side_range=(32, 32))
    (tmp_path / "set/images/synthetic_00001.jpg").write_bytes(b"")
    (tmp_path / "set/masks/alone.png").write_bytes((tmp_path / "set/masks/synthetic_00002.png").read_bytes())
    result = _run("check", tmp_path / "set")
    assert result.exit_code == 1
    assert "cannot be used: 2" in result.stdout
    assert "the file is empty (0 bytes)" in result.stdout
    assert "alone.png: no image of that name" in result.stdout


def test_check_names_with_brackets_are_printed_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "[bold]set"
    make_synthetic(folder, num_images=1, side_range=(32, 32))
    result = _run("check", folder)
    assert "[bold]set: 1 sample" in result.stdout


def test_check_wrong_folder_is_one_line(tmp_path: Path) -> None:
    result = _run("check", tmp_path)
    assert result.exit_code == 1
    assert "not recognised as a data set; looked for" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_check_images_alone_need_the_option(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    PillowImage.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "images/a.png")
    assert "--empty-masks" in _run("check", tmp_path).stderr
    result = _run("check", tmp_path, "--empty-masks")
    assert result.exit_code == 0, result.output
    assert "without a polyp: 1" in result.stdout


def test_check_damaged_manifest_is_one_line(synthetic: Path, tmp_path: Path) -> None:
    (tmp_path / "splits.json").write_text("{}")
    result = _run("check", synthetic, "--splits", tmp_path / "splits.json")
    assert result.exit_code == 1
    assert "not a split manifest" in result.stderr


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def mirror(synthetic: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a server that has the synthetic set as kvasir-seg.zip."""
    import shutil

    shutil.make_archive(str(tmp_path / "www" / "kvasir-seg"), "zip", synthetic)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path / "www")))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_download_shows_the_terms_and_needs_them_accepted(mirror: str, tmp_path: Path) -> None:
    result = _run("download", "kvasir-seg", "--to", tmp_path / "set", "--mirror", mirror)
    assert result.exit_code == 2
    assert "research and education only" in result.stdout
    assert "add --accept-terms" in result.stderr
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(("answer", "is_there"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_download_asks_at_a_terminal(
    mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, is_there: bool
) -> None:
    monkeypatch.setattr(console.messages, "_force_terminal", True)
    result = _run("download", "kvasir-seg", "--to", tmp_path / "set", "--mirror", mirror, answer=answer)
    assert "Do you accept these terms?" in result.stderr
    assert (tmp_path / "set").exists() == is_there
    assert result.exit_code == (0 if is_there else 2)


def test_download_then_check(mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POLYPSEG_MIRROR", mirror)
    result = _run("download", "kvasir-seg", "--accept-terms")
    assert result.exit_code == 0, result.output
    assert "Kvasir-SEG is in data/kvasir-seg" in result.stdout
    assert "SHA-256 of the archive: " in result.stdout
    assert "next: polypseg data check data/kvasir-seg" in result.stdout
    assert _run("check", "data/kvasir-seg").exit_code == 0
    again = _run("download", "kvasir-seg", "--accept-terms")
    assert again.exit_code == 1
    assert "is already there" in again.stderr


@pytest.mark.slow
def test_download_wrong_checksum_is_one_line(mirror: str, tmp_path: Path) -> None:
    result = _run(
        "download", "kvasir-seg", "--to", tmp_path / "set", "--mirror", mirror, "--accept-terms", "--sha256", "00"
    )
    assert result.exit_code == 1
    assert "the archive is not what was expected" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_download_of_what_needs_a_hand(tmp_path: Path) -> None:
    result = _run("download", "polypgen", "--to", tmp_path / "set")
    assert result.exit_code == 1
    assert "synapse.org" in result.stderr


def test_download_unknown_name_lists_the_choices() -> None:
    result = _run("download", "kvasir")
    assert result.exit_code == 2
    assert "did you mean 'kvasir-seg'?" in result.stderr


def test_check_reads_colours_on_request_and_tells_what_is_polyp(tmp_path: Path) -> None:
    make_synthetic(tmp_path, num_images=4, side_range=(64, 64))
    for number, path in enumerate(sorted((tmp_path / "masks").iterdir())):
        with PillowImage.open(path) as opened:
            mask = np.asarray(opened.convert("L")) > 127
        colour = ((255, 0, 0), (0, 255, 0))[number % 2]
        PillowImage.fromarray(np.where(mask[..., None], colour, 0).astype(np.uint8)).save(path)
    result = _run("check", tmp_path, "--bits", -1)
    assert result.exit_code == 1
    assert "the masks do not agree on what is polyp" in result.stdout
    result = _run("check", tmp_path, "--bits", -1, "--polyp-colours", "red,#00ff00")
    assert result.exit_code == 0, result.stdout
    assert "polyp is: #ff0000,#00ff00 in 4 masks" in result.stdout
    assert "from sequences.csv, columns" in result.stdout


def test_check_counts_and_names_files_that_are_no_images(tmp_path: Path) -> None:
    make_synthetic(tmp_path, num_images=4, side_range=(64, 64))
    for name in ("a.heic", "b.HEIC", "IM0001", "notes.txt"):
        (tmp_path / "images" / name).write_bytes(b"x")
    result = _run("check", tmp_path, "--bits", -1)
    assert result.exit_code == 1
    found = " ".join(result.stdout.split())
    assert "3 files are no images that can be read (.heic 2, no ending 1): IM0001, a.heic, b.HEIC" in found


def test_convert_writes_and_tells_what_a_format_cannot_hold(tmp_path: Path, synthetic: Path) -> None:
    result = _run("convert", synthetic, tmp_path / "coco", "--to", "coco")
    assert result.exit_code == 0, result.output
    assert "images/ and masks/: wrote 8 frames with" in result.stdout
    assert len(json.loads((tmp_path / "coco" / "annotations.json").read_text())["images"]) == 8
    again = _run("convert", tmp_path / "coco" / "annotations.json", tmp_path / "masks", "--to", "masks",
                 "--images", synthetic / "images", "--polyp-labels", "lesion")  # fmt: skip
    assert again.exit_code == 1
    assert "no region is labelled lesion; the labels are: polyp" in again.stderr


def test_convert_to_an_unknown_format_is_a_wrong_call(tmp_path: Path, synthetic: Path) -> None:
    result = _run("convert", synthetic, tmp_path / "out", "--to", "kitti")
    assert result.exit_code == 2
    assert "the choices are: coco, cvat, label-studio, labelme, masks, nnunet, voc, yolo" in result.stderr
