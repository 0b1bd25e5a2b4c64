"""From the calls of a model to the blocks of its picture.

Everything is found by the graph's shape, names only give titles:
- a layer, and the normalisation, activation and dropout that only it feeds, are one block;
- equal blocks in a row are one block, counted ("2 × …");
- what leads through a sigmoid into one side of a multiplication, and nowhere else, is an attention gate;
- a level is the number of times that the input's sides have been halved.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

from polypseg.models.graph.layout import GraphBlock, LayerPart
from polypseg.models.graph.trace import Step, trace

MOST_GATE_BLOCKS = 12
"""What would be a larger gate is drawn block by block."""

NOMINAL_SIDE = 512
"""Stands for a height or width that a model leaves open, to find the levels."""

SQUASHING = {"σ", "softmax", "hard sigmoid"}
"""Activations that make a coefficient in [0, 1]."""

GREEK = {"theta": "θ", "phi": "φ", "psi": "ψ", "attention": "α", "alpha": "α"}


def blocks_of(model: Any) -> list[GraphBlock]:
    """The blocks of a model's graph, each after those that it depends on."""
    steps = trace(model)
    levels = _levels(model, steps)
    open_sides = any(side is None for step in steps for side in step.shape[:-1])
    chains = _chains(steps)
    home = {place: number for number, chain in enumerate(chains) for place in chain}
    blocks = []
    for chain in chains:
        first, last = steps[chain[0]], steps[chain[-1]]
        words = [*first.words, *(steps[place].words[0] for place in chain[1:])]
        shape = _shape_text(last.shape, levels[chain[-1]] if open_sides else None)
        part = LayerPart(tuple(steps[place].name for place in chain), words[0], first.filters, tuple(words[1:]), shape)
        kind = "output" if last.returned else "other" if first.kind == "attached" else first.kind
        blocks.append(GraphBlock(kind, (part,), levels[chain[-1]], tuple(home[place] for place in first.parents)))
    blocks = _with_gates(_counted(blocks))
    return [replace(block, title=block.title or _title(block)) for block in blocks]


def _children(parents: Sequence[tuple[int, ...]]) -> list[list[int]]:
    children: list[list[int]] = [[] for _ in parents]
    for child, sources in enumerate(parents):
        for source in sources:
            children[source].append(child)
    return children


def _levels(model: Any, steps: Sequence[Step]) -> list[int]:
    """How often each step's sides have been halved; without sides (a dense layer) the level of what it takes."""
    shapes = [step.shape for step in steps]
    if any(side is None for tensor in model.inputs for side in tensor.shape[1:]):
        import keras

        sized = [
            keras.Input([NOMINAL_SIDE if side is None else side for side in tensor.shape[1:]], dtype=tensor.dtype)
            for tensor in model.inputs
        ]
        known = keras.models.clone_model(model, input_tensors=sized if len(sized) > 1 else sized[0])
        shapes = [step.shape for step in trace(known)]
    sides = [
        math.prod(side or 1 for side in shape[:-1]) ** (1 / (len(shape) - 1)) if len(shape) > 2 else None
        for shape in shapes
    ]
    largest = max((side for side in sides if side), default=1.0)
    levels: list[int] = []
    for side, step in zip(sides, steps, strict=True):
        inherited = max((levels[parent] for parent in step.parents), default=0)
        levels.append(inherited if side is None else round(math.log2(largest / side)))
    return levels


def _chains(steps: Sequence[Step]) -> list[list[int]]:
    """The steps, each with the attached ones that follow it and that nothing else feeds."""
    children = _children([step.parents for step in steps])
    chains: list[list[int]] = []
    chain_of: dict[int, list[int]] = {}
    for place, step in enumerate(steps):
        parent = step.parents[0] if len(step.parents) == 1 else None
        if step.kind == "attached" and parent is not None:
            before = steps[parent]
            if len(children[parent]) == 1 and not before.returned and before.kind != "input":
                chain_of[parent].append(place)
                chain_of[place] = chain_of[parent]
                continue
        chain_of[place] = [place]
        chains.append(chain_of[place])
    return chains


def _counted(blocks: Sequence[GraphBlock]) -> list[GraphBlock]:
    """Equal convolutions in a row as one block, with their number."""
    children = _children([block.parents for block in blocks])
    home: list[int] = []
    runs: list[list[int]] = []
    for place, block in enumerate(blocks):
        parent = block.parents[0] if len(block.parents) == 1 else None
        if parent is not None and block.kind == "convolution" and len(children[parent]) == 1:
            part, before = block.parts[0], blocks[parent].parts[0]
            if block.kind == blocks[parent].kind and part._replace(names=before.names) == before:
                runs[home[parent]].append(place)
                home.append(home[parent])
                continue
        home.append(len(runs))
        runs.append([place])
    counted = []
    for run in runs:
        first = blocks[run[0]]
        names = tuple(name for place in run for name in blocks[place].names)
        text = (f"{len(run)} × " if len(run) > 1 else "") + first.parts[0].text
        part = first.parts[0]._replace(names=names, text=text)
        counted.append(replace(first, parts=(part,), parents=tuple(home[parent] for parent in first.parents)))
    return counted


def _with_gates(blocks: list[GraphBlock]) -> list[GraphBlock]:
    """The blocks with each attention gate as one."""
    regions: dict[int, list[int]] = {}
    swallowed: set[int] = set()
    for end in reversed(range(len(blocks))):  # a gate within a gate belongs to the outer one
        region = [] if end in swallowed else _gate_region(blocks, end)
        if region:
            regions[end] = region
            swallowed |= set(region) - {end}
    kept = [place for place in range(len(blocks)) if place not in swallowed]
    home = {place: number for number, place in enumerate(kept)}
    gated = []
    for place in kept:
        block = _gate(blocks, regions[place]) if place in regions else blocks[place]
        gated.append(replace(block, parents=tuple(home[parent] for parent in block.parents)))
    return gated


def _gate_region(blocks: Sequence[GraphBlock], end: int) -> list[int]:
    """The blocks of the gate that ends in this multiplication, in order; empty where there is none."""
    if blocks[end].kind != "merge" or blocks[end].parts[0].text != "×":
        return []
    children = _children([block.parents for block in blocks])
    signals = set(blocks[end].parents)
    for coefficients in dict.fromkeys(blocks[end].parents):
        region = {end}
        waiting = [coefficients]
        while waiting and len(region) <= MOST_GATE_BLOCKS:
            place = waiting.pop()
            if place in region or not set(children[place]) <= region or (place in signals and place != coefficients):
                continue
            if blocks[place].kind in ("input", "output"):
                continue
            region.add(place)
            waiting += blocks[place].parents
        words = {word for place in region for part in blocks[place].parts for word in (part.text, *part.after)}
        if words & SQUASHING and len(region) <= MOST_GATE_BLOCKS:
            return sorted(region)
    return []


def _gate(blocks: Sequence[GraphBlock], region: Sequence[int]) -> GraphBlock:
    """One block for a gate: its parts in order, and its own small graph with the signals that enter it."""
    names = [name for place in region for name in blocks[place].names]
    title = _common(names) or "gate"
    parts = []
    for place in region:
        block = blocks[place]
        role = block.names[0].removeprefix(title.replace(" ", "_")).strip("_").lower()
        part = block.parts[0]
        parts.append(part._replace(text=f"{GREEK.get(role, '')} {part.text}".strip()))
    outside = list(dict.fromkeys(p for place in region for p in blocks[place].parents if p not in region))
    outside.sort(key=lambda place: place not in blocks[region[-1]].parents)  # the gated signal x first
    signs = ["x", *("g" if len(outside) == 2 else f"g{i}" for i in range(1, len(outside)))]
    inner = []
    for sign, place in zip(signs, outside, strict=True):
        source = blocks[place]
        words = ": ".join(filter(None, (sign, _title(source))))
        inner.append(GraphBlock("input", (LayerPart((), words, None, (), source.parts[-1].shape),), source.level, ()))
    home = {place: number for number, place in enumerate([*outside, *region])}
    for place, part in zip(region, parts, strict=True):
        block = blocks[place]
        inner.append(GraphBlock(block.kind, (part,), block.level, tuple(home[parent] for parent in block.parents)))
    return GraphBlock("gate", tuple(parts), blocks[region[-1]].level, tuple(outside), title, tuple(inner))


def _title(block: GraphBlock) -> str:
    """The role that the layers' names share, where the block is one that a reader looks for."""
    named = block.kind in ("convolution", "output") and len(block.names) > 1
    return _common(list(block.names)) if named else ""


def _common(names: list[str]) -> str:
    """The words with which all names begin.

    >>> _common(["encoder_1_1_convolution", "encoder_1_2_relu"])
    'encoder 1'
    >>> _common(["conv2d", "batch_normalization"])
    ''
    """
    columns = zip(*(name.split("_") for name in names), strict=False)
    return " ".join(words[0] for words in takewhile(lambda words: len(set(words)) == 1, columns))


def _shape_text(shape: tuple[int | None, ...], level: int | None) -> str:
    """The shape as H×W×C; sides that are open as parts of the input's, where a level is given.

    >>> _shape_text((128, 128, 32), None), _shape_text((None, None, 32), 2), _shape_text((10,), None)
    ('128×128×32', 'H/4×W/4×32', '10')
    """
    letters = {2: "N", 3: "HW", 4: "DHW"}.get(len(shape), "")
    texts = [str(side) for side in shape]
    for axis, letter in enumerate(letters):
        if shape[axis] is None:
            texts[axis] = letter + (f"/{2**level}" if level else "")
    return "×".join("?" if text == "None" else text for text in texts)
