"""Mirror images of what a model sees: averaged where a user asks for it, asked one by one where the model is in doubt.

Decisions:
- Test-time augmentation averages the probabilities of the image and its mirror images; it costs as many runs.
- A polyp is one from every side. A model may ask for confirmation (`ModelFacts.confirm_below`): where it marks
  something, but its highest probability in the frame lies below that, the frame is mirrored in three ways, and no
  pixel keeps more than the mean of the four highest probabilities. The peak threshold then removes what the mirror
  images do not confirm. The outline of what stays is untouched. How often it helps: docs/explanation/experiments.md.
- Probabilities that were averaged need no confirmation.
"""

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import ModelRunError, PolypsegError, plural
from polypseg.predict.engines.checking import check_probabilities
from polypseg.predict.engines.engine import Engine, Outputs

MIRRORS: tuple[tuple[int, ...], ...] = ((1,), (2,), (1, 2))
"""The axes of a batch (N, H, W, C) along which each mirror image is flipped."""
FLIPS: dict[str, tuple[tuple[int, ...], ...]] = {"none": ((),), "flips": ((), *MIRRORS)}
"""Test-time augmentations by name: the same axes of each copy."""


def run_augmented(engine: Engine, batch: NDArray[np.float32], tta: str = "none", attention: bool = False) -> Outputs:
    """What the engine says of a batch, averaged over its mirror images where `tta` asks for them, else confirmed.

    Args:
        engine: From `open_engine`.
        batch: Shape (N, size, size, 3), float32 in [0, 1].
        tta: A name of `FLIPS`.
        attention: Whether the gates' coefficients are wanted; they are of the image as it is.

    Raises:
        ModelError: What it says are no probabilities.
        ModelRunError: It fails.
    """
    outputs = _run(engine, batch, attention)
    mirrors = FLIPS[tta][1:]
    if not mirrors:
        return outputs._replace(probabilities=confirmed(engine, batch, outputs.probabilities))
    total = outputs.probabilities
    for axes in mirrors:
        total = total + np.flip(_run(engine, _mirrored(batch, axes)).probabilities, axes)
    return outputs._replace(probabilities=np.asarray(total, np.float32) / np.float32(len(FLIPS[tta])))


def confirmed(engine: Engine, batch: NDArray[np.float32], probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """The probabilities, limited in frames in doubt to what the mirror images confirm.

    Args:
        engine: That gave them; its facts say which frames are in doubt.
        batch: Shape (N, size, size, 3), float32 in [0, 1].
        probabilities: Of the batch, (N, size, size, 1) float32.

    Returns:
        Of the same shape. The highest of a frame in doubt is the mean of its own and its mirror images' highest, or its
        own if that is lower.
    """
    highest = probabilities.max(axis=(1, 2, 3))
    in_doubt = (highest >= np.float32(engine.threshold)) & (highest < np.float32(engine.facts.confirm_below))
    if not in_doubt.any():
        return probabilities
    frames = np.ascontiguousarray(batch[in_doubt])
    seen = [_run(engine, _mirrored(frames, axes)).probabilities.max(axis=(1, 2, 3)) for axes in MIRRORS]
    limits = np.stack([highest[in_doubt], *seen]).mean(axis=0)
    limited = probabilities.copy()
    limited[in_doubt] = np.minimum(limited[in_doubt], limits[:, None, None, None])
    return limited


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
