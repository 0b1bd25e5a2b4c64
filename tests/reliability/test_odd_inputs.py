"""A sample of the damaged and odd files; `python -m reliability.odd_inputs` drives as many as are asked for."""

import pytest

from reliability.odd_images import Must, odd_images
from reliability.odd_inputs import drive


def test_every_kind_is_there_and_a_seed_gives_the_same_files():
    odds = odd_images(200, seed=3)
    assert {odd.must for odd in odds} == set(Must)
    assert [odd.content for odd in odds] == [odd.content for odd in odd_images(200, seed=3)]
    assert len({odd.name for odd in odds}) == len(odds)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_odd_images_on_every_road(tmp_path):
    tally = drive(200, seed=5, num_processes=2, folder=tmp_path)
    assert tally.wrong == []
    assert min(tally.num_files[road] for road in ("API", "predict", "data check", "evaluate", "serve")) >= 200
    assert 40 < tally.num_accepted["API"] < 160
