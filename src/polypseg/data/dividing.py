"""How samples are divided: what must stay together, and whole units drawn for a split until it has what it wants."""

from collections.abc import Iterable, MutableSequence, Sequence
from typing import Any

import numpy as np

from polypseg.records.split import SplitName


def by_group(groups: Sequence[str | None]) -> list[list[int]]:
    """The places of each group that is known."""
    found: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        if group is not None:
            found.setdefault(group, []).append(index)
    return list(found.values())


def join_units(count: int, together: Iterable[Sequence[int]]) -> list[list[int]]:
    """What cannot be parted: lists of places joined directly or through a third, in order."""
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for places in together:
        for place in places[1:]:
            parent[root(place)] = root(places[0])
    units: dict[int, list[int]] = {}
    for index in range(count):
        units.setdefault(root(index), []).append(index)
    return list(units.values())


def fill_split(
    assigned: MutableSequence[Any],
    units: list[list[int]],
    split: SplitName,
    wanted: int,
    generator: np.random.Generator,
) -> list[list[int]]:
    """Give whole units, drawn at random, to a split until it has what it wants; the units that are left.

    A unit that would overshoot is taken only where that comes nearer to what is wanted; but where all of them
    would, the smallest is taken, so that the split is not empty.
    """
    left: list[list[int]] = []
    taken = 0
    for place in generator.permutation(len(units)):
        unit = units[place]
        if taken < wanted and abs(taken + len(unit) - wanted) < abs(taken - wanted):
            taken += len(unit)
            for index in unit:
                assigned[index] = split
        else:
            left.append(unit)
    if not taken and wanted and left:
        smallest = min(left, key=len)
        left.remove(smallest)
        for index in smallest:
            assigned[index] = split
    return sorted(left)
