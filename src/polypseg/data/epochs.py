"""Epochs: which samples each shows, in which order, and how they are changed.

Decisions:
- What an epoch looks like depends on the seed and the number of the epoch alone. A resumed training therefore sees what
  an uninterrupted one would have seen.
- A source's weight changes how often its samples are shown, not how long an epoch's list of samples is drawn: each
  epoch shows the same number of samples.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg.config import DataConfig
from polypseg.data.frame_synthesis import SynthesisShares


class EpochCounter:
    """The number of the epoch that begins next; set `next_epoch` to begin elsewhere, as a resume does."""

    def __init__(self) -> None:
        self.next_epoch = 0

    def begin(self) -> int:
        """The number of the epoch that begins now."""
        epoch = self.next_epoch
        self.next_epoch += 1
        return epoch


class BatchPlan(NamedTuple):
    """How samples are batched.

    Attributes:
        batch_size: Samples a batch; the last one may be smaller.
        preset: Augmentation preset.
        shuffled: Whether the order is drawn again each epoch.
        seed: What order and augmentation follow from, with the epoch.
        synthesis: Shares of the samples that are made of others, bent or compressed again.
        mix_up: Share of the samples that another one shines through.
        draws: How often an epoch shows each sample, on average; empty for once each.
    """

    batch_size: int
    preset: str
    shuffled: bool
    seed: int
    synthesis: SynthesisShares = SynthesisShares()
    mix_up: float = 0.0
    draws: tuple[float, ...] = ()

    def num_shown(self, count: int) -> int:
        """How many samples an epoch shows of `count`."""
        return len(drawn(self.draws, np.random.default_rng(0))) if self.draws else count

    def epoch(self, count: int, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The order of the samples in an epoch (num_shown,), and a key a batch for its augmentation (steps, 2)."""
        generator = np.random.default_rng([self.seed, epoch])
        shown = drawn(self.draws, generator) if self.draws else np.arange(count)
        steps = -(-len(shown) // self.batch_size)
        order = generator.permutation(shown) if self.shuffled else shown
        return order.astype(np.int64), generator.integers(0, 2**31 - 1, (steps, 2), np.int32)


def drawn(draws: Sequence[float], generator: np.random.Generator) -> NDArray[np.int64]:
    """The places that an epoch shows: each as often as its whole draws, and of the rest a random part of equals.

    Args:
        draws: How often each sample is to be shown, on average.
        generator: Draws which of the samples of one fraction are shown once more.

    >>> drawn([2.0, 1.0, 0.5, 0.5], np.random.default_rng(0)).tolist()[:3]
    [0, 0, 1]
    """
    given = np.asarray(draws, np.float64)
    whole = np.floor(given).astype(np.int64)
    found = [np.repeat(np.arange(len(given)), whole)]
    for value in np.unique(given):
        places = np.flatnonzero(given == value)
        found.append(generator.permutation(places)[: round((value - np.floor(value)) * len(places))])
    return np.sort(np.concatenate(found)).astype(np.int64)


def training_plan(config: DataConfig, seed: int, draws: tuple[float, ...] = ()) -> BatchPlan:
    """How training samples are batched: in a new order each epoch, changed as the config says."""
    shares = SynthesisShares(**{name: getattr(config, name) for name in SynthesisShares._fields})
    return BatchPlan(config.batch_size, config.augment, True, seed, shares, config.mix_up, draws)
