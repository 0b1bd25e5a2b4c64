"""The queue of a project: its frames in the order in which a person should see them."""

import numpy as np

from polypseg.annotate.frames import FrameInProject
from polypseg.annotate.project import Project
from polypseg.annotate.proposals import Proposals
from polypseg.annotate.usefulness import useful_order


def by_usefulness(project: Project, proposals: Proposals) -> list[FrameInProject]:
    """Frames to label by usefulness, then those without a proposal yet, then those that a person has seen."""
    frames = list(project.frames.values())
    looks = {frame.id: proposals.look(frame.name) for frame in frames}
    seen = {frame.id for frame in frames if project.last(frame) is not None}
    known = [(frame, look) for frame in frames if (look := looks[frame.id]) is not None]
    vectors = np.asarray([look.vector() for _, look in known], np.float32)
    is_seen = [frame.id in seen for frame, _ in known]
    order = useful_order([look.doubt for _, look in known], vectors, is_seen) if known else []
    first = [known[place][0] for place in order]
    unknown = [frame for frame in frames if looks[frame.id] is None and frame.id not in seen]
    return first + unknown + [frame for frame in frames if frame.id in seen]
