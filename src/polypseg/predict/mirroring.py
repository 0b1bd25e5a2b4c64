"""Test-time augmentation: mirror images of what a model sees, averaged, or asked where the model is in doubt.

Decisions:
- `flips` averages the probabilities of the image and its three mirror images; it costs as many runs.
- `doubt` is for frames without a polyp. A polyp is one from every side: a frame in which the model marks something, but
  is nowhere sure of it, is mirrored too, and no pixel keeps more than the mean of the four highest probabilities. The
  peak threshold then removes what the mirror images do not confirm; the outlines of the rest stay. Of frames with a
  polyp it mirrors one in 15 to 30, so that most take no longer (docs/explanation/experiments.md has the figures).
- `SURE` was chosen on the validation images of `polyp-lite`, with the polyp and without it.
"""

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import ModelRunError, PolypsegError, plural
from polypseg.predict.engines.checking import check_probabilities
from polypseg.predict.engines.engine import Engine, Outputs

TTAS = ("none", "doubt", "flips")
"""The test-time augmentations by name."""
MIRRORS: tuple[tuple[int, ...], ...] = ((1,), (2,), (1, 2))
"""The axes of a batch (N, H, W, C) along which each mirror image is flipped."""
SURE = 0.998
"""A frame whose highest probability reaches this is in no doubt."""


def run_augmented(engine: Engine, batch: NDArray[np.float32], tta: str = "none", attention: bool = False) -> Outputs:
    """What the engine says of a batch, with a test-time augmentation.

    Args:
        engine: From `open_engine`.
        batch: Shape (N, size, size, 3), float32 in [0, 1].
        tta: A name of `TTAS`.
        attention: Whether the gates' coefficients are wanted; they are of the image as it is.

    Raises:
        ModelError: What it says are no probabilities.
        ModelRunError: It fails.
    """
    outputs = _run(engine, batch, attention)
    if tta == "doubt":
        return outputs._replace(probabilities=confirmed(engine, batch, outputs.probabilities))
    if tta == "none":
        return outputs
    total = outputs.probabilities
    for axes in MIRRORS:
        total = total + np.flip(_run(engine, _mirrored(batch, axes)).probabilities, axes)
    return outputs._replace(probabilities=np.asarray(total, np.float32) / np.float32(1 + len(MIRRORS)))


def confirmed(engine: Engine, batch: NDArray[np.float32], probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """The probabilities, limited in frames in doubt to what the mirror images confirm.

    Args:
        engine: That gave them.
        batch: Shape (N, size, size, 3), float32 in [0, 1].
        probabilities: Of the batch, (N, size, size, 1) float32.

    Returns:
        Of the same shape. The highest of a frame in doubt is the mean of its own and its mirror images' highest, or its
        own if that is lower.
    """
    in_doubt = is_in_doubt(engine, probabilities)
    if not in_doubt.any():
        return probabilities
    frames = np.ascontiguousarray(batch[in_doubt])
    mirrored = (_run(engine, _mirrored(frames, axes)).probabilities for axes in MIRRORS)
    limits = np.mean([_highest(each) for each in (probabilities[in_doubt], *mirrored)], axis=0)
    limited = probabilities.copy()
    limited[in_doubt] = np.minimum(limited[in_doubt], limits[:, None, None, None])
    return limited


def is_in_doubt(engine: Engine, probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each frame of a batch is marked without being sure; (N,) bool. Arguments as of `confirmed`."""
    highest = _highest(probabilities)
    return (highest >= np.float32(engine.threshold)) & (highest < np.float32(SURE))


def _highest(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """The highest of each frame, (N,)."""
    return np.asarray(probabilities.max(axis=(1, 2, 3)), np.float32)


def _mirrored(batch: NDArray[np.float32], axes: tuple[int, ...]) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.flip(batch, axes))


def _run(engine: Engine, batch: NDArray[np.float32], attention: bool = False) -> Outputs:
    """What the engine says, after it was checked."""
    try:
        outputs = engine.run_with_attention(batch) if attention else Outputs(engine.run(batch), {})
    except (PolypsegError, MemoryError):
        raise
    except Exception as error:  # the runtimes' own exceptions share no class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelRunError(
            f"{engine.facts.name or engine.name}: the model cannot run {plural(len(batch), 'picture')} at once "
            f"({reason}); export it again"
        ) from error
    check_probabilities(outputs.probabilities, len(batch), engine.size, engine.facts.name or engine.name)
    return outputs
