"""Several engines as one: the mean of their probabilities, and of their attention where all have the same gates."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import ModelError
from polypseg.predict.engines.engine import Engine, Outputs
from polypseg.records.model_facts import ModelFacts


class EnsembleEngine:
    """Implements `Engine` for the members of a group of runs.

    Attributes:
        members: The engines, at least one, all of one size.

    Raises:
        ModelError: They are none, or see images of unlike sizes.
    """

    name = "ensemble"

    def __init__(self, members: Sequence[Engine], threshold: float, peak_threshold: float = 0.0) -> None:
        sizes = sorted({member.size for member in members})
        if len(sizes) != 1:
            raise ModelError(f"an ensemble's members must see one size; found {len(members)} members of sizes {sizes}")
        self.members = list(members)
        fields = {member.facts.field for member in members}
        if len(fields) != 1:
            raise ModelError("an ensemble's members must see the same part of a frame; found auto and whole")
        levels = {member.facts.attention_levels for member in members}
        counts = [member.facts.num_parameters for member in members]
        self.facts = ModelFacts(
            size=sizes[0],
            field=fields.pop(),
            threshold=threshold,
            peak_threshold=peak_threshold,
            name=f"ensemble of {len(members)} {members[0].facts.name}",
            attention_levels=levels.pop() if len(levels) == 1 else (),
            num_parameters=None if None in counts else sum(count or 0 for count in counts),
        )
        self.size, self.threshold = sizes[0], threshold

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `Engine.run`."""
        total = np.zeros((*batch.shape[:3], 1), np.float32)
        for member in self.members:
            total += member.run(batch)
        return np.asarray(total / len(self.members), np.float32)

    def run_with_attention(self, batch: NDArray[np.float32]) -> Outputs:
        """As `Engine.run_with_attention`."""
        if not self.facts.attention_levels:
            raise ModelError("the members of this ensemble have no attention gates in common")
        found = [member.run_with_attention(batch) for member in self.members]
        share = np.float32(1 / len(found))
        return Outputs(
            np.asarray(share * sum(outputs.probabilities for outputs in found), np.float32),
            {
                level: np.asarray(share * sum(outputs.attention[level] for outputs in found), np.float32)
                for level in self.facts.attention_levels
            },
        )
