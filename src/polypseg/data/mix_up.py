"""Mix-up: a training frame with another one shining through, and its mask with the other's, in the same proportion.

Meant against learning a small set by heart: of such a frame neither mask alone is the answer.

Decisions:
- The last change to a batch, after the augmentation: the two frames were moved and coloured each on its own. A teacher
  sees the mixture.
- A frame's partner is the one before it in the batch, whose order is new in each epoch; a batch of one stays as it is.
- A frame keeps at least half: else two of a batch would be one picture. What is drawn follows from a key alone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.4
"""Of the beta distribution that the proportion is drawn from: mostly a little, now and then one half."""
_STREAM = 0x6D6978
"""Keeps the draws apart from those of `synthesise`, whose keys end in the place in the batch."""


def kept_shares(count: int, key: Sequence[int], share: float) -> NDArray[np.float32]:
    """How much of itself each frame keeps, in [0.5, 1], exactly 1 where it is not mixed: shape (count, 1, 1, 1).

    Args:
        count: Frames in the batch.
        key: Whole numbers that decide what is drawn.
        share: Of the frames that are mixed, in [0, 1].

    Reference:
        Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018, with the larger proportion for the frame.
    """
    rng = np.random.default_rng([*map(int, key), _STREAM])
    drawn = rng.beta(ALPHA, ALPHA, count)
    kept = np.where(rng.random(count) < share, np.maximum(drawn, 1 - drawn), 1.0)
    return kept.astype(np.float32).reshape(-1, 1, 1, 1)


def mixed(images: Any, masks: Any, kept: Any, roll: Callable[[Any], Any]) -> tuple[Any, Any]:
    """Each image and mask, so much of it as it keeps, and for the rest the one before it (the first: the last).

    Args:
        images: Shape (N, H, W, 3), float32.
        masks: Shape (N, H, W, 1), float32.
        kept: Shape (N, 1, 1, 1), float32 in [0, 1].
        roll: Moves each element of a batch one place on, the last to the first.

    Returns:
        Both, in the shapes given; the masks between 0 and 1.
    """
    rest = 1.0 - kept
    return kept * images + rest * roll(images), kept * masks + rest * roll(masks)
