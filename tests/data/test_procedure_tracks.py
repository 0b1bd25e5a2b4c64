"""Numbers of polyps on synthetic procedures with exact identities: IDF1 and identity switches."""

from functools import cache

import numpy as np

from polypseg.data.procedure import ProcedureRequest, draw_procedure
from polypseg.metrics.procedures.identity import identity
from polypseg.metrics.procedures.tables import Procedures
from polypseg.predict.video.tracks import Tracker
from polypseg.preprocess.lesion_masks import level_boxes

REQUEST = ProcedureRequest(seconds=20, rate=12.5, side=48, num_lesions=4)


@cache
def drawn(seed):
    """The boxes of each frame."""
    return [level_boxes(frame.numbers) for frame in draw_procedure(seed, 1, REQUEST)]


def followed(seed, missed_share):
    """What the tracker says of a procedure of which a share of the sights is missed; gaps of a second and more."""
    request = REQUEST
    rng, tracker = np.random.default_rng(seed), Tracker()
    sights, findings, tracks = [], [], []
    for place, boxes in enumerate(drawn(seed)):
        sights += [(place, level - 1) for level, _, _ in boxes]
        kept = [(level, np.array(box)) for level, box, _ in boxes if rng.random() > missed_share]
        kept = [(level, box + rng.normal(0, 0.05, 4) * np.sqrt(box[2] * box[3])) for level, box in kept]
        tracks += tracker.follow([box for _, box in kept], place / request.rate)
        findings += [(place, level - 1) for level, _ in kept]
    seen = np.array(sights)
    lesions, number = np.unique(seen[:, 1], return_inverse=True)
    where = {pair: index for index, pair in enumerate(sights)}
    num = round(request.seconds * request.rate)
    found = np.array(findings)
    procedures = Procedures(
        ("p",),
        np.zeros(num, np.int64),
        np.arange(num) / request.rate,
        tuple(map(str, lesions)),
        np.zeros(len(lesions), np.int64),
        seen[:, 0],
        number,
        np.full(len(seen), np.nan),
        found[:, 0],
        np.ones(len(found)),
        np.full(len(found), np.nan),
        np.arange(len(found)),
        np.array([where[pair] for pair in findings]),
    )
    gaps = [np.diff(found[found[:, 1] == level, 0]) / request.rate for level in np.unique(found[:, 1])]
    return identity(procedures, np.array(tracks)), sum(int((gap >= 1).sum()) for gap in gaps)


def test_gaps_of_under_a_second_keep_the_number():
    (whole, long_gaps), (holed, holed_gaps) = followed(3, 0.0), followed(3, 0.3)
    assert whole.num_sights > 100
    assert whole.num_switches <= long_gaps
    assert holed.num_switches <= holed_gaps + 1
    # A third is missed: at best 2·0.7 / 1.7 = 0.82.
    assert holed.idf1 > 0.9 * 2 * 0.7 / 1.7 * whole.idf1


def test_the_measure_notices_a_tracker_without_memory(monkeypatch):
    with_memory, _ = followed(3, 0.3)
    monkeypatch.setattr(Tracker.__init__, "__defaults__", (0.09,))
    without, _ = followed(3, 0.3)
    assert without.num_switches > with_memory.num_switches + 10
    assert without.idf1 < with_memory.idf1 - 0.2
