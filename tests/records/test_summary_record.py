"""summary.json: a figure that is not there is one line."""

from pathlib import Path

import pytest

from polypseg.errors import ScoreError
from polypseg.records.evaluation import Evaluation

OLD = Path(__file__).parents[1] / "data_files" / "old_run" / "run" / "evaluation" / "test"


def test_a_metric_is_found_and_a_missing_one_is_one_line():
    summary = Evaluation(OLD).summary()
    assert summary.of("dice") == summary.metrics["dice"]
    with pytest.raises(ScoreError, match=r"lacks the figures of depth; score again with: polypseg evaluate"):
        summary.of("depth")
