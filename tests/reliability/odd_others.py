"""Odd masks, and damaged saved files, models and videos, through the commands that read them.

    PYTHONPATH=tests python -m reliability.odd_others --count 600 --seed 0

Counted is what must not be: a traceback, an error of more than one sentence's line, more than ten seconds, a label map
that is read as a mask, a damaged model or video that gives another answer than the intact one and says nothing.
"""

import argparse
import io
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from time import process_time

import cv2
import numpy as np
from PIL import Image as PillowImage

from polypseg.errors import ImageError
from polypseg.preprocess import read_mask
from predict.tiny_model import write_tiny_model
from predict.video_making import moving_scene, read_video, write_video
from preprocess.odd_files import Rng, encoded, flipped_bits, frame, overwritten, polyp, without_end
from reliability.odd_inputs import LOOKS_LIKE_A_TRACEBACK, PATIENCE_SECONDS, typed, working_in

OLD_RUN = Path(__file__).parents[1] / "data_files" / "old_run"
Damage = Callable[[bytes, Rng], bytes]

DAMAGES: dict[str, Damage] = {
    "cut": without_end,
    "flipped bits": flipped_bits,
    "overwritten": overwritten,
    "empty": lambda content, rng: b"",
    "zeros": lambda content, rng: bytes(len(content)),
    "noise": lambda content, rng: rng.integers(0, 256, 500).astype(np.uint8).tobytes(),
    "zero tail": lambda content, rng: content[: len(content) // 2] + bytes(len(content) - len(content) // 2),
    "twice": lambda content, rng: content + content,
}
TEXT_DAMAGES: dict[str, Damage] = {
    "UTF-16": lambda content, rng: content.decode().encode("utf-16"),
    "nested": lambda content, rng: b'{"a": ' + b"[" * 100_000,
    "5,000 digits": lambda content, rng: _with_a_number(content, rng, b"9" * 5000),
    "not a number": lambda content, rng: _with_a_number(content, rng, b"NaN"),
    "negative": lambda content, rng: _with_a_number(content, rng, b"-1e300"),
    "list": lambda content, rng: b"[]",
    "null": lambda content, rng: b"null",
    "comma lost": lambda content, rng: content.replace(b",", b" ", 1),
    "line lost": lambda content, rng: _without_a_line(content, rng),
}


def _with_a_number(content: bytes, rng: Rng, number: bytes) -> bytes:
    """One digit that stands alone replaced."""
    places = [place for place, byte in enumerate(content) if 48 <= byte <= 57]
    place = places[int(rng.integers(len(places)))]
    return content[:place] + number + content[place + 1 :]


def _without_a_line(content: bytes, rng: Rng) -> bytes:
    lines = content.splitlines(keepends=True)
    del lines[int(rng.integers(len(lines)))]
    return b"".join(lines)


SAVED: dict[str, list[tuple[str, ...]]] = {
    "run/config.toml": [("summary", "old/run"), ("evaluate", "old/run", "--data", "old/data", "-o", "out")],
    "run/environment.json": [("report", "old/run", "-o", "out")],
    "run/history.csv": [("show", "old/run", "--data", "old/data", "--samples", "1")],
    "run/splits.json": [("evaluate", "old/run", "--data", "old/data", "-o", "out"), ("data", "check", "old/data",
                        "--splits", "old/run/splits.json", "--bits", "-1")],
    "run/threshold.json": [("evaluate", "old/run", "--data", "old/data", "-o", "out")],
    "run/evaluations.json": [("evaluate", "old/run", "--data", "old/data"), ("report", "old/run", "-o", "out")],
    "run/checkpoints/best.keras": [("predict", "old/run", "old/data/images", "-o", "out")],
    "run/checkpoints/last/state.json": [("train", "--resume", "--runs", "old", "--name", "run", "--epochs", "1")],
    "run/evaluation/test/evaluation.json": [("compare", "old/run", "old/run"), ("report", "old/run", "-o", "out")],
    "run/evaluation/test/scores.csv": [("compare", "old/run", "old/run"), ("report", "old/run", "-o", "out")],
    "run/evaluation/test/summary.json": [("report", "old/run", "-o", "out")],
    "run/evaluation/test/curves.npz": [("report", "old/run", "-o", "out")],
    "run/evaluation/test/histograms.npy": [("report", "old/run", "-o", "out")],
    "predicted/settings.json": [("predict", "tiny.onnx", "old/data/images", "-o", "old/predicted", "--resume")],
    "predicted/predictions.csv": [("predict", "tiny.onnx", "old/data/images", "-o", "old/predicted", "--resume")],
    "data/sequences.csv": [("data", "check", "old/data", "--bits", "-1")],
}  # fmt: skip
"""Files that polypseg saves, and the commands that read each."""


class Others:
    """What came of the files: how many of each kind, and what must not be."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.slowest = 0.0

    def call(self, kind: str, *words: object) -> tuple[int, str]:
        """A command, and what can be said of any: one line, an exit code, in time."""
        began = process_time()  # a busy machine must not count as a hang
        code, output = typed(*words)
        seconds = process_time() - began
        self.slowest = max(self.slowest, seconds)
        self.counts[f"{kind.partition(',')[0]}: {'taken' if code == 0 else 'refused'}"] += 1
        if code not in (0, 1, 2) or any(mark in output for mark in LOOKS_LIKE_A_TRACEBACK):
            self.wrong.append(f"{kind} {words[0]}: exit code {code}: {output[-500:]}")
        if code and not any(word in output for word in ("error:", "cannot be used", "note:")):
            self.wrong.append(f"{kind} {words[0]}: no error told: {output[-300:]}")
        if seconds > PATIENCE_SECONDS * 3:  # a training or a report of a few images takes some itself
            self.wrong.append(f"{kind} {words[0]}: {seconds:.0f} s")
        return code, output

    def masks(self, count: int) -> None:
        """Label maps and the like must be refused; damaged masks must be refused or true."""
        made = 0
        while made < count:
            for kind, content, truth in odd_masks(self.rng):
                path = Path(f"mask-{made:04d}.{'jpg' if content[:2] == bytes((0xFF, 0xD8)) else 'png'}")
                path.write_bytes(content)
                made += 1
                try:
                    found = read_mask(path)
                except ImageError as error:
                    self.counts["masks: refused"] += 1
                    if "whole" in kind or "\n" in str(error):
                        self.wrong.append(f"masks, {kind}: {error}")
                    continue
                self.counts["masks: taken"] += 1
                if truth is None or found.shape != truth.shape or np.mean(found != truth) > 0.01:
                    self.wrong.append(f"masks, {kind}: read as another mask")

    def saved(self, count: int) -> None:
        """Every kind of saved file with every kind of damage, and the commands that read it."""
        kinds = [
            (name, how, harm) for name in SAVED for how, harm in (DAMAGES | TEXT_DAMAGES).items()
            if how in DAMAGES or Path(name).suffix in (".json", ".toml", ".csv")
        ]  # fmt: skip
        for place in self.rng.permutation(len(kinds))[:count]:
            name, how, harm = kinds[int(place)]
            for command in SAVED[name]:
                shutil.rmtree("old", ignore_errors=True)
                shutil.rmtree("out", ignore_errors=True)
                shutil.copytree(OLD_RUN, "old")
                path = Path("old", name)
                path.write_bytes(harm(path.read_bytes(), self.rng))
                self.call(f"saved files, {name} {how}", *command)

    def models(self, count: int) -> None:
        """A damaged exported model is refused, or gives what the intact one gives."""
        whole = write_tiny_model(Path("tiny.onnx")).read_bytes()
        picture = Path("frame.png")
        picture.write_bytes(encoded(frame(self.rng), "PNG"))
        for number in range(count):
            how = list(DAMAGES)[number % len(DAMAGES)]
            Path("odd.onnx").write_bytes(DAMAGES[how](whole, self.rng))
            code, _ = self.call(f"models, {how}", "predict", "odd.onnx", picture, "-o", "m", "--overwrite")
            if code == 0:
                self.wrong.append(f"models, {how}: taken")

    def videos(self, count: int) -> None:
        """A damaged video is refused or told (exit code 1, or a note), or has the intact one's frames."""
        scene = moving_scene(24, (64, 96))
        at_25 = {"pts": list(range(24)), "tick": Fraction(1, 25)}
        wholes = {name: write_video(Path(name), scene) for name in ("a.mp4", "b.mkv")}
        wholes["c.avi"] = write_video(Path("c.avi"), scene, codec="mjpeg", pixels="yuvj420p", options={}, **at_25)
        wholes["d.ts"] = write_video(Path("d.ts"), scene, codec="mpeg2video", options={"g": "10"}, **at_25)
        truths = {}
        for name in wholes:
            typed("predict", "tiny.onnx", name, "-o", f"true-{name}.mkv", "--view", "none", "--quality", 0)
            truths[name] = read_video(Path(f"true-{name}.mkv"))[0]
        for number in range(count):
            name = list(wholes)[number % len(wholes)]
            how = ("cut", "flipped bits", "overwritten", "zero tail", "zeros within")[number // 4 % 5]
            content = wholes[name].read_bytes()
            odd = Path(f"odd-{name}")
            odd.write_bytes(
                _zeros_within(content, self.rng) if how == "zeros within" else DAMAGES[how](content, self.rng)
            )
            words = ("predict", "tiny.onnx", odd, "-o", "odd.mkv", "--overwrite", "--view", "none", "--quality", 0)
            code, output = self.call(f"videos, {name} {how}", *words)
            is_known = how in ("cut", "zero tail")  # coded pictures have no check sum: what else is told, is a gain
            if (
                code == 0
                and is_known
                and "note:" not in output
                and not _same(read_video(Path("odd.mkv"))[0], truths[name])
            ):
                self.wrong.append(f"videos, {name} {how}: other frames, and nothing told")


def _zeros_within(content: bytes, rng: Rng) -> bytes:
    place = int(rng.uniform(0.1, 0.8) * len(content))
    return content[:place] + bytes(300) + content[place + 300 :]


def _same(found: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    if len(found) != len(expected):
        return False
    return all(np.abs(a.astype(int) - b).mean() / 255 <= 0.01 for a, b in zip(found, expected, strict=True))


def odd_masks(rng: Rng) -> Iterator[tuple[str, bytes, np.ndarray | None]]:
    """What stands for a mask: kind, bytes, and what it may be read as (None: nothing)."""
    mask = polyp(rng)
    grey = mask.astype(np.uint8)
    second = np.roll(polyp(rng), (40, 50), (0, 1)) & ~mask
    outline = cv2.findContours(grey, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    first_value, second_value = (
        int(value) for value in rng.choice([1, 2, 3, 20, 60, 100, 128, 200, 240, 255], 2, False)
    )
    labels = grey * np.uint8(first_value) + second.astype(np.uint8) * np.uint8(second_value)
    colours = np.zeros((*mask.shape, 3), np.uint8)
    colours[mask], colours[second] = (255, 0, 0), (0, 255, 0)
    layered = np.zeros((*mask.shape, 4), np.uint8)
    layered[..., 3] = grey * 255
    palette = PillowImage.fromarray(grey + 2 * second.astype(np.uint8)).convert("P")
    palette.putpalette([0, 0, 0, 200, 0, 0, 0, 0, 200])
    yield "labels", encoded(labels, "PNG"), None if second.sum() > 20 else labels > 0
    yield "void border", encoded(cv2.drawContours(grey.copy(), outline, -1, 255, 2), "PNG"), None
    yield "outline", encoded(cv2.drawContours(np.zeros_like(grey), outline, -1, 255, 2), "PNG"), None
    yield "two colours", encoded(colours, "PNG"), None if second.sum() > 20 else mask
    yield "alpha", encoded(layered, "PNG"), None
    yield "alpha 0", encoded(np.dstack([np.repeat(grey[..., None] * 255, 3, 2), grey * 0]), "PNG"), None
    yield "palette", encoded(palette, "PNG"), None if second.sum() > 20 else mask
    yield "probability map", encoded(cv2.GaussianBlur(grey * np.uint8(255), (0, 0), 8), "PNG"), None
    white = grey * np.uint8(255)
    yield (
        "JPEG labels",
        encoded(np.kron(labels, np.ones((3, 3), np.uint8)), "JPEG", quality=92),
        (None if second.sum() > 20 else np.kron(labels, np.ones((3, 3), np.uint8)) > 0),
    )
    for kind, whole in (("PNG", encoded(white, "PNG")), ("JPEG", encoded(white, "JPEG", quality=90))):
        truth = mask
        yield f"{kind} whole", whole, truth
        yield f"{kind} cut", without_end(whole, rng), truth
        yield f"{kind} zero tail", DAMAGES["zero tail"](whole, rng), truth
    yield "PNG flipped bits", flipped_bits(encoded(white, "PNG"), rng), mask
    sixteen = io.BytesIO()
    PillowImage.fromarray(grey.astype(np.uint16) * np.uint16(257)).save(sixteen, "PNG")
    yield "16 bit whole", sixteen.getvalue(), mask


def drive(count: int, seed: int, folder: Path) -> Others:
    """What came of so many files in all, in an empty folder."""
    found = Others(seed)
    with working_in(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_tiny_model(Path("tiny.onnx"))
        found.masks(count // 4)
        found.models(count // 6)
        found.videos(count // 6)
        found.saved(count - count // 4 - 2 * (count // 6))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="odd-") as folder:
        found = drive(arguments.count, arguments.seed, Path(folder))
    for kind, number in sorted(found.counts.items()):
        print(f"{kind:28} {number:5}")
    print(f"slowest: {found.slowest:.1f} s", f"wrong: {len(found.wrong)}", *found.wrong[:40], sep="\n")
    sys.exit(bool(found.wrong))


if __name__ == "__main__":
    main()
