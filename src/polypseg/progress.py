"""How long work tells of its progress: the caller hands in a `Track`, and the work loops over it.

The command line hands in a bar (cli/); a library call is silent unless its caller wants otherwise.
"""

from collections.abc import Iterable, Iterator
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


def silent(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """The items, without a word.

    >>> list(silent([1, 2], "counting", 2))
    [1, 2]
    """
    yield from items
