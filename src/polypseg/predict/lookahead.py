"""Work done ahead of whoever asks for it, in a pool, with bounded memory."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from typing import TypeVar

Given = TypeVar("Given")
Found = TypeVar("Found")


def map_ahead(
    pool: Executor, function: Callable[[Given], Found], items: Iterable[Given], ahead: int
) -> Generator[Found, None, None]:
    """The function of each item, in order, computed in the pool for at most `ahead` items that nobody asked for yet.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor(2) as pool:
    ...     list(map_ahead(pool, abs, [-2, -1, 3], ahead=2))
    [2, 1, 3]
    """
    pending: deque[Future[Found]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
