"""Whether an exported model gives on this machine what it gave where it was proved: a few pictures in its own file.

Decisions:
- Two small synthetic pictures, enlarged by a sum of products that is the same everywhere, and the mean probability of
  each of 16x16 blocks, as each engine gave them where the file was proved. Each is compared with itself, since engines
  round in their own ways. What is compared is the mean difference over the blocks.
- It runs when a file is opened for the first time on a machine, in an engine of a version; the result is kept in the
  user's cache folder. A cache that cannot be written costs the test again, nothing else.
- A difference is a warning, not an error: what the mask is for, the user knows.
"""

import base64
import json
import os
import warnings
import zlib
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from polypseg.arrays import Image
from polypseg.errors import ModelError, PolypsegWarning
from polypseg.machine import instruction_set, onednn_instruction_set, processor
from polypseg.predict.engines.engine import Engine
from polypseg.predict.engines.openvino_graph import enlarging_matrix
from polypseg.predict.engines.second_look import without_second_look
from polypseg.records.atomic import write_text
from polypseg.records.reading import FileKind, Saved, as_json, parse_json, read_json

SIDE = 64
"""Of the stored pictures, in pixels."""
BLOCKS = 16
NUM_PICTURES = 2
ROOM = 2.0
"""Times the largest difference between instruction sets where the file was proved: what is no fault elsewhere."""
LEAST_TOLERANCE = 0.005
_NUM_KEPT = 200


class SelfTestWarning(PolypsegWarning):
    """A model gives on this machine something else than where it was proved."""


class SelfTest(NamedTuple):
    """Pictures and what a model says of them.

    Attributes:
        pictures: Shape (N, side, side, 3), uint8.
        means: By engine the mean probability of each block, (N, blocks, blocks) float32.
        tolerance: The largest mean difference of a picture that is no fault.
    """

    pictures: NDArray[np.uint8]
    means: dict[str, NDArray[np.float32]]
    tolerance: float


def make_self_test(engines: Sequence[Engine], pictures: Sequence[Image]) -> SelfTest:
    """The self-test of a model's file.

    Args:
        engines: That the file was proved in, at least one; of several of one runtime the first tells what it gives.
        pictures: Each (side, side, 3) uint8; those of the liveliest answers are taken.
    """
    answers = [float(_means(engines[0], picture[None]).std()) for picture in pictures]
    chosen = sorted(range(len(pictures)), key=lambda n: -answers[n])[:NUM_PICTURES]
    stacked = np.stack([pictures[n] for n in chosen])
    means: dict[str, NDArray[np.float32]] = {}
    for engine in engines:
        means.setdefault(_runtime(engine), _means(engine, stacked))
    stored = SelfTest(stacked, means, LEAST_TOLERANCE)
    largest = max(deviation(engine, stored) or 0.0 for engine in engines)
    return stored._replace(tolerance=max(LEAST_TOLERANCE, ROOM * largest))


def deviation(engine: Engine, stored: SelfTest) -> float | None:
    """The mean difference over the blocks, of the picture where it is largest; None of a runtime that is not stored."""
    expected = stored.means.get(_runtime(engine))
    if expected is None:
        return None
    return float(np.abs(_means(engine, stored.pictures) - expected).mean(axis=(1, 2)).max())


def pack(stored: SelfTest) -> str:
    """As a text for a file's metadata."""
    means = {name: _packed(np.asarray(values, np.float32)) for name, values in stored.means.items()}
    return as_json(_PackedTest(pictures=_packed(stored.pictures), means=means, tolerance=stored.tolerance), indent=None)


def unpack(text: str) -> SelfTest | None:
    """The self-test of a file; None for an empty text or one that cannot be read."""
    try:
        found = parse_json(text, _PackedTest, "self-test", _KIND)
        means = {name: _unpacked(values, np.float32) for name, values in found.means.items()}
        return SelfTest(_unpacked(found.pictures, np.uint8), means, found.tolerance)
    except (ModelError, ValueError, zlib.error):
        return None


def check_once(engine: Engine, path: Path) -> None:
    """Warn, if a model just opened gives something else than where it was proved.

    Args:
        engine: Of the file.
        path: The file.
    """
    stored = unpack(engine.facts.self_test) if engine.facts.self_test else None
    if stored is None or stored.pictures.shape[1] > engine.size:
        return
    key, cache = _key(engine, path), cache_file()
    known = _read(cache)
    if key not in known:
        found = deviation(engine, stored)
        if found is None:
            return
        known[key] = round(found, 6)
        _write(cache, known)
    if known[key] > stored.tolerance:
        warnings.warn(
            f"{path.name}: in {engine.name} on this processor ({processor()}) its probabilities differ by "
            f"{known[key]:.3f} from those of its proof (expected: at most {stored.tolerance:.3f}); its figures do not "
            "hold here: take another --engine, or an fp32 export",
            SelfTestWarning,
            stacklevel=3,
        )


_KIND = FileKind("self-test", ModelError, "export the model again")


def cache_file() -> Path:
    """Where results of self-tests are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(home) if home else Path.home() / ".cache") / "polypseg" / "self-tests.json"


def _runtime(engine: Engine) -> str:
    """The engine's name without its instruction set."""
    return engine.name.partition(" ")[0]


class _PackedArray(Saved):
    shape: tuple[int, ...]
    content: str = Field(alias="bytes")


class _PackedTest(Saved):
    pictures: _PackedArray
    means: dict[str, _PackedArray]
    tolerance: float


def _packed(values: NDArray[Any]) -> _PackedArray:
    content = base64.b64encode(zlib.compress(values.tobytes(), 9)).decode()
    return _PackedArray(shape=values.shape, content=content)


def _unpacked(found: _PackedArray, kind: type) -> NDArray[Any]:
    return np.frombuffer(zlib.decompress(base64.b64decode(found.content)), kind).reshape(found.shape)


def _means(engine: Engine, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The mean probability of each block of each picture."""
    matrix = enlarging_matrix(pictures.shape[1], engine.size)
    batch = np.einsum("ya,nabc,xb->nyxc", matrix, pictures.astype(np.float32) / 255, matrix, optimize=True)
    found = without_second_look(engine).run(np.ascontiguousarray(np.clip(batch, 0, 1), np.float32))[..., 0]
    edges = np.arange(BLOCKS) * engine.size // BLOCKS
    sums = np.add.reduceat(np.add.reduceat(found, edges, axis=1), edges, axis=2)
    sizes = np.diff([*edges, engine.size])
    return np.asarray(sums / (sizes[:, None] * sizes), np.float32)


def _key(engine: Engine, path: Path) -> str:
    package = {"openvino": "openvino", "onnxruntime": "onnxruntime"}.get(engine.name, "")
    try:
        number = version(package) if package else ""
    except PackageNotFoundError:
        number = ""
    own = onednn_instruction_set() if engine.name == "openvino" else instruction_set()
    with path.open("rb") as opened:
        opened.seek(-96, os.SEEK_END)  # the digest that ends the file, and what an IR has behind it
        digest = opened.read().decode("ascii", errors="replace")
    return "|".join([digest, engine.name, number, processor(), own])


def _read(cache: Path) -> dict[str, float]:
    try:
        return read_json(cache, dict[str, float], _KIND)
    except ModelError:
        return {}


def _write(cache: Path, known: dict[str, float]) -> None:
    with suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_text(cache, json.dumps(dict(list(known.items())[-_NUM_KEPT:]), indent=1) + "\n")
