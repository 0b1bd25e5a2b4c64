import numpy as np
import pytest

from polypseg.metrics.procedures.tables import Procedures


def build(frames, sights, findings, meetings, lesions, rate=10.0, is_located=True):
    """Procedures from short lists: frames a procedure, (frame, lesion), (frame, score), (finding, sight)."""
    procedure = np.repeat(np.arange(len(frames)), frames)
    seconds = np.concatenate([np.arange(number) / rate for number in frames])
    sight = np.array(sights, np.int64).reshape(-1, 2)
    found = np.array(findings, float).reshape(-1, 2)
    met = np.array(meetings, np.int64).reshape(-1, 2)
    owners = [procedure[sight[sight[:, 1] == place, 0][0]] for place in range(len(lesions))]
    return Procedures(
        tuple("ABCDEFGH"[: len(frames)]),
        procedure,
        seconds,
        tuple(lesions),
        np.array(owners, np.int64),
        sight[:, 0],
        sight[:, 1],
        np.full(len(sight), 4.0),
        found[:, 0].astype(np.int64),
        found[:, 1],
        np.full(len(found), 2.0),
        met[:, 0],
        met[:, 1],
        is_located,
    )


@pytest.fixture
def two():
    """A: six frames, lesion a in 1-3. B (frames 6-9): lesion b in its frames 0, 1 and 3. Ten frames a second.

    frame      0     1    2     3            4     5     | 6     7    8     9
    lesion           a    a     a                        | b     b          b
    finding    .9 F       .6 T  .8 T, .3 F   .5 F  .4 F  | .2 T       .7 F
    """
    sights = [(1, 0), (2, 0), (3, 0), (6, 1), (7, 1), (9, 1)]
    findings = [(0, 0.9), (2, 0.6), (3, 0.8), (3, 0.3), (4, 0.5), (5, 0.4), (6, 0.2), (8, 0.7)]
    return build([6, 4], sights, findings, [(1, 1), (2, 2), (6, 3)], ["a", "b"])
