"""Whether a track is one lesion: IDF1 and identity switches.

Decisions:
- Tracks and lesions are matched one to one over the whole video so that the most frames agree (IDF1), and frame by
  frame (switches). A finding and a lesion agree in a frame where they meet.
- A lesion that two findings meet in one frame agrees with either; it counts once.
- A switch is a frame in which a lesion meets no finding of the track that it met last, but one of another.

Reference:
    Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking", ECCV Workshops 2016
    (IDF1); Bernardin, Stiefelhagen, "Evaluating Multiple Object Tracking Performance: The CLEAR MOT Metrics", EURASIP
    JIVP 2008 (switches).
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from polypseg.errors import missing_extra
from polypseg.metrics.procedures.tables import Places, Procedures


class Identity(NamedTuple):
    """How well tracks keep lesions apart.

    Attributes:
        idf1: 2·agreeing / (sights + tracked frames); 1 is best, NaN where there is neither.
        num_agreeing: Frames in which a lesion meets the track that is matched to it.
        num_sights: Lesions, counted in each of their frames.
        num_tracked: Tracks, counted in each of their frames.
        num_switches: Over all lesions.
        num_tracks: Tracks that meet any lesion.
    """

    idf1: float
    num_agreeing: int
    num_sights: int
    num_tracked: int
    num_switches: int
    num_tracks: int


def identity(procedures: Procedures, tracks: Places) -> Identity:
    """IDF1 and switches of the findings' tracks.

    Args:
        procedures: The facts.
        tracks: Shape (N,): the track of each finding; a number means another track in another procedure.

    Raises:
        MissingExtraError: SciPy is not installed.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ModuleNotFoundError as error:
        raise missing_extra("scipy", "evaluate") from error
    owner = procedures.procedure[procedures.finding_frame]
    _, names = np.unique(np.stack([owner, tracks]), axis=1, return_inverse=True)
    names = names.reshape(-1)
    num_tracked = len(np.unique(np.stack([procedures.finding_frame, names]), axis=1).T)
    met = np.unique(np.stack([procedures.meeting_sight, names[procedures.meeting_finding]]), axis=1)
    sights, met_tracks = met
    agreeing = np.zeros((len(procedures.lesions), int(names.max(initial=-1)) + 1))
    np.add.at(agreeing, (procedures.sight_lesion[sights], met_tracks), 1)
    rows, columns = linear_sum_assignment(-agreeing)
    num_agreeing = int(agreeing[rows, columns].sum())
    num_sights = len(procedures.sight_frame)
    total = num_sights + num_tracked
    switches = _num_switches(procedures, sights, met_tracks)
    return Identity(
        2 * num_agreeing / total if total else float("nan"),
        num_agreeing,
        num_sights,
        num_tracked,
        switches,
        len(np.unique(met_tracks)),
    )


def _num_switches(procedures: Procedures, sights: Places, tracks: Places) -> int:
    """Frames in which a lesion changes its track; `sights` and `tracks` are the pairs that meet."""
    order = np.lexsort([procedures.sight_frame[sights], procedures.sight_lesion[sights]])
    last: dict[int, int] = {}
    number = 0
    here: list[int] = []
    for place, following in pairwise([*order.tolist(), -1]):
        here.append(int(tracks[place]))
        if following >= 0 and sights[following] == sights[place]:
            continue
        lesion = int(procedures.sight_lesion[sights[place]])
        before = last.get(lesion)
        if before not in here:
            number += before is not None
            last[lesion] = here[0]
        here = []
    return number
