"""From a graph in fp32 (or one of integers that may saturate) to the int8 file that is right on every processor.

Decisions:
- Each quantised graph is rounded again so that no sum of two products can leave 16 bits (rounding.py): the integers are
  then the same with AVX2 and with newer instructions, and the file costs no time.
- Where the Dice changes by too much, the convolutions that the rounding harms most keep their weights in fp32, as few
  as will do; then other layers stay in float altogether (quantize.py).
- A graph that rounding.py does not understand makes no claim: its saturating sums are counted and told.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from polypseg.arrays import Image
from polypseg.errors import ModelError
from polypseg.export.float_weights import Weights, convolution_weights, keep_in_float
from polypseg.export.pair_sums import count_saturating, quantised_convolutions, unsafe_layers
from polypseg.export.proof import Prover, evenly, installed_engines, proving_engines, sample_squares, synthetic_squares
from polypseg.export.quantize import NUM_CALIBRATION, methods, processor_seconds, quantise, variants
from polypseg.export.rounding import NUM_IMAGES, round_safely
from polypseg.export.source import ExportSource
from polypseg.predict.engines.model_file import write_model_file
from polypseg.predict.engines.opening import open_engine
from polypseg.predict.engines.self_test import BLOCKS, SIDE, make_self_test, pack
from polypseg.preprocess import resize_image
from polypseg.records.model_facts import ModelFacts

FLOAT_WEIGHTS = (0, 2, 4, 8, 16)
"""How many convolutions keep their weights in fp32, tried in this order."""


class Attempt(NamedTuple):
    """One int8 graph.

    Attributes:
        words: How it was made.
        graph: An `onnx.ModelProto`.
    """

    words: str
    graph: Any


def best_int8(
    made: tuple[Any, ModelFacts], path: Path, prover: Prover, method: str, integers: Any = None
) -> tuple[Any, ModelFacts, list[str]]:
    """The int8 graph that takes the least processor time of those that are proved, its facts, and what was measured.

    Args:
        made: The graph in fp32, and its facts.
        path: Where files lie while they are proved.
        prover: Of the source.
        method: A key of `quantize.METHODS`.
        integers: An int8 graph whose ranges are kept and whose weights are rounded again; None to quantise.

    Raises:
        ModelError: None is proved.
    """
    squares = calibration_squares(prover.source)
    candidates, notes, faults = [], [], []
    default = installed_engines()[0]
    for tool in methods(method) if integers is None else [""]:
        for words, graph in attempts(made[0], squares, tool, integers):
            said = f"{tool}, {words}" if tool else words
            by = f"{tool}, {len(squares)} images, {words}" if tool else f"{made[1].quantised_by}; {words}"
            facts = made[1].model_copy(update={"quantised_by": by, **counted(graph, squares, prover)._asdict()})
            try:
                facts = proved(graph, facts, path, prover)
            except ModelError as error:
                faults.append(error)
                notes.append(f"{said}: refused, {str(error).partition(';')[0]}")
                continue
            seconds = processor_seconds(open_engine(path, default, threads=1))
            candidates.append((seconds, graph, facts))
            notes.append(
                f"{said}: {1000 * seconds:.1f} ms of processor time in {default}, Dice change {facts.dice_change:+.4f}"
            )
            notes += claim(facts)
            break
    if not candidates:
        raise faults[0]
    _, graph, facts = min(candidates, key=lambda candidate: (candidate[2].saturating_sums != 0, candidate[0]))
    return graph, facts, notes


def attempts(plain: Any, squares: Sequence[Image], tool: str, integers: Any = None) -> Iterator[Attempt]:
    """The int8 graphs to try, the fastest first; arguments as `best_int8`."""
    weights = convolution_weights(plain)
    given = [("", integers)] if integers is not None else None
    for number, (kept, in_float) in enumerate(given or variants(plain)):
        graph = integers if given else quantise(plain, squares, tool, in_float)
        words = [kept] if kept else []
        layers = quantised_convolutions(graph)
        if not layers:
            yield Attempt(", ".join(words), graph)
            continue
        safe = round_safely(graph, weights, evenly(squares, NUM_IMAGES))
        worst = sorted(safe.losses, key=lambda name: -safe.losses[name])
        for count in FLOAT_WEIGHTS if number == 0 else FLOAT_WEIGHTS[:1]:
            chosen: Weights = {name: weights[name] for name in worst[:count]}
            kept_words = f"weights of {len(chosen)} of {len(layers)} convolutions in float" if chosen else ""
            said = [*words, *filter(None, [kept_words]), "pairs of products within 16 bits"]
            yield Attempt(", ".join(said), keep_in_float(safe.graph, chosen) if chosen else safe.graph)


class Counted(NamedTuple):
    """What a model file says of sums that saturate: the fields of `ModelFacts` of these names."""

    saturating_sums: int | None
    counted_on: str
    calibration_digest: str


def counted(graph: Any, squares: Sequence[Image], prover: Prover) -> Counted:
    """The saturating sums of an int8 graph."""
    digest = hashlib.sha256(b"".join(square.tobytes() for square in squares)).hexdigest()
    if not quantised_convolutions(graph):
        return Counted(None, "", digest)
    validation = [seen.square for seen in sample_squares(prover.source.validation, prover.source.engine.facts)]
    images = f"{len(squares)} calibration and {len(validation)} validation images"
    if not unsafe_layers(graph):
        return Counted(0, f"{images}; no image could make one", digest)
    total = sum(count_saturating(graph, [*squares, *validation]).values())
    return Counted(total, images, digest)


def claim(facts: ModelFacts) -> list[str]:
    """What a user should know of the processors that a file is right on, a sentence each."""
    if facts.saturating_sums == 0:
        return [f"the same integers on AVX2 and newer processors: no saturating sums ({facts.counted_on})"]
    if facts.saturating_sums is None:
        return ["its sums were not counted: processors without int8 dot products may give other masks"]
    return [f"{facts.saturating_sums} sums saturate on processors without int8 dot products: other masks there"]


def proved(graph: Any, facts: ModelFacts, path: Path, prover: Prover) -> ModelFacts:
    """The facts with what the proof gives, after a file of the graph was written to `path` and proved in all engines.

    Raises:
        ModelError: It is not its source.
    """
    write_model_file(path, graph.SerializeToString(), facts)
    with proving_engines(path) as engines:
        facts = facts.model_copy(update=prover.prove(engines, facts.precision)._asdict())
        if facts.size < BLOCKS:
            return facts
        side = min(SIDE, facts.size)
        pictures = [np.asarray(resize_image(square, (side, side))) for square in synthetic_squares(facts.size)]
        stored = make_self_test(list(engines.values()), pictures)
    return facts.model_copy(update={"self_test": pack(stored)})


def calibration_squares(source: ExportSource) -> list[Image]:
    """The images that int8 is calibrated with, as the model sees them, (size, size, 3) uint8 each."""
    chosen = evenly(source.calibration, NUM_CALIBRATION)
    return [seen.square for seen in sample_squares(chosen, source.engine.facts)]
