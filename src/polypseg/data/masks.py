"""What the masks of a set say together: whether one value means polyp in all of them, and whether it can be the polyp.

Decisions:
- A set whose files mean polyp by different values or colours is refused: a value of 1 beside 255 is a class, a void
  border or another person's export, and no file alone says which.
- A mask that covers more than half of the image's border is inverted or white: of 3,298 real masks the one that touches
  the border most covers a third of it.
- A set of which no mask holds a polyp is a lost alpha channel or a failed export unless the user says that it is meant.
- What the user states (`MaskRule`, empty_masks) is not questioned.
"""

from collections.abc import Sequence

from polypseg.config import DataConfig
from polypseg.data.samples import Fault, MaskFacts
from polypseg.preprocess import MaskRule

MOST_OF_BORDER = 0.5
"""A polyp covers at most this share of the image's border."""


def rule_of(config: DataConfig) -> MaskRule:
    """What means polyp in the masks of a run's data."""
    return MaskRule(config.polyp_values, config.polyp_colours, config.mask_channel, config.polyp_labels)


def mixed_values(facts: Sequence[MaskFacts], rule: MaskRule) -> str:
    """Why the masks do not agree on what means polyp; empty where they do.

    >>> facts = [MaskFacts("a", "255", 0.1, 0, False), MaskFacts("b", "1", 0.1, 0, True)]
    >>> mixed_values(facts, MaskRule())
    'the masks do not agree on what is polyp: 255 in 1 of them (a), 1 in 1 (b); say it with --polyp-values 1,255'
    """
    if rule.is_explicit:
        return ""
    names: dict[str, list[str]] = {}
    for fact in facts:
        if fact.polyp:
            names.setdefault(fact.polyp, []).append(fact.name)
    if len(names) < 2:
        return ""
    ordered = sorted(names.items(), key=lambda item: -len(item[1]))
    told = [
        f"{polyp} in {len(found)}{' of them' * (place == 0)} ({found[0]})"
        for place, (polyp, found) in enumerate(ordered)
    ]
    shown = ", ".join(told[:6]) + (", …" if len(told) > 6 else "")
    if all(polyp.isdigit() for polyp in names):
        mend = f"--polyp-values {','.join(map(str, sorted(map(int, names))))}"
    else:
        mend = f'--polyp-colours "{",".join("white" if polyp == "255" else polyp for polyp in names)}"'
    return f"the masks do not agree on what is polyp: {shown}; say it with {mend}"


def inverted(facts: Sequence[MaskFacts], rule: MaskRule) -> list[Fault]:
    """The masks that look inverted, a fault each."""
    if rule.is_explicit:
        return []
    return [
        Fault(
            fact.name,
            f"the mask looks inverted or white: polyp on {100 * fact.border_share:.0f} % of the image's border, "
            f"{100 * fact.share:.0f} % of its area; if black is the polyp, say so with --polyp-values 0, if it is "
            f"right, with {_as_meant(fact)}",
        )
        for fact in facts
        if fact.border_share > MOST_OF_BORDER and not fact.is_stated
    ]


def set_faults(facts: Sequence[MaskFacts], rule: MaskRule, empty_masks: bool) -> list[str]:
    """What keeps the masks from being references as a whole.

    Args:
        facts: Of every mask that could be read.
        rule: What the user said of them.
        empty_masks: Whether the user said that there may be no polyp at all.
    """
    found = [mixed_values(facts, rule)]
    if facts and not empty_masks and not any(fact.share for fact in facts):
        found.append(
            f"none of the {len(facts)} masks holds a polyp: every one is empty; a lost channel or a failed export? "
            "If no image shows a polyp, say so: --empty-masks (data check, train)"
        )
    doubtful = inverted(facts, rule)
    with_polyp = sum(fact.share > 0 for fact in facts)
    if len(doubtful) > with_polyp / 2:
        found.append(
            f"{len(doubtful)} of {with_polyp} masks look inverted or white (polyp on more than half of the image's "
            "border); if black is the polyp, say so with --polyp-values 0, if they are right, with "
            f"{_as_meant(next(fact for fact in facts if fact.share))}"
        )
    return [text for text in found if text]


def _as_meant(fact: MaskFacts) -> str:
    if fact.polyp.isdigit():
        return f"--polyp-values {fact.polyp}"
    return f'--polyp-colours "{fact.polyp}"'
