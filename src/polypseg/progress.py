"""How long work tells of its progress: the caller hands in a `Track`, and the work loops over it.

The command line hands in a bar (cli/); a library call is silent (`silent`), or says now and then how far it is where it
may take long (`slow_steps_told`).
"""

import sys
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Protocol, TypeVar

T = TypeVar("T")


class Track(Protocol):
    """Yields the items unchanged, and shows that it does."""

    def __call__(self, items: Iterable[T], description: str, total: int) -> Iterator[T]:
        """The items, one after another.

        Args:
            items: What is worked on.
            description: A few words, as "checking images".
            total: How many items there are.
        """


FIRST_SECONDS, NEXT_SECONDS = 2.0, 10.0
"""After this time a slow step is mentioned, and again after each such time."""


def slow_steps_told(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """The items; a step of more than two seconds is mentioned on standard error, with its count, every ten seconds."""
    due = monotonic() + FIRST_SECONDS
    for count, item in enumerate(items):
        yield item
        now = monotonic()
        if now >= due:
            sys.stderr.write(f"polypseg: {description}, {count + 1} of {total}\n")
            due = now + NEXT_SECONDS


def silent(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """The items, without a word.

    >>> list(silent([1, 2], "counting", 2))
    [1, 2]
    """
    yield from items
