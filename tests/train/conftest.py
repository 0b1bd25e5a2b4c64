"""Trainings of these tests run eagerly, but for those marked `graph` and the fixtures that they share."""

import pytest

from train.eager import eagerly


@pytest.fixture(autouse=True)
def _eager(request):
    if request.node.get_closest_marker("graph"):
        yield
    else:
        with eagerly():
            yield
