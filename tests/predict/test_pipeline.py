"""Stages in threads: order, bounds, errors, and their end."""

import threading
import time

import pytest

from polypseg.predict.video.stages import Patience, Pipeline


def test_items_come_in_order_through_several_stages():
    with Pipeline() as pipeline:
        first = pipeline.ahead(iter(range(1000)))
        second = pipeline.ahead(2 * item for item in first)
        assert list(pipeline.ahead(item + 1 for item in second)) == [2 * item + 1 for item in range(1000)]


def test_no_more_is_made_than_the_queue_holds():
    made = []

    def endless():
        while True:
            made.append(len(made))
            yield made[-1]

    with Pipeline() as pipeline:
        taken = pipeline.ahead(endless(), length=3)
        assert next(taken) == 0
        time.sleep(0.3)
        assert len(made) <= 1 + 3 + 1  # taken, in the queue, in the thread's hand


def test_stages_work_side_by_side():
    meeting = threading.Barrier(2, timeout=10)

    def waits_for_the_other(items, without):
        for item in items:
            if item != without:
                meeting.wait()  # breaks unless the first works on an item while the second works on the one before it
            yield item

    with Pipeline() as pipeline:
        first = pipeline.ahead(waits_for_the_other(range(10), without=0))
        assert list(pipeline.ahead(waits_for_the_other(first, without=9))) == list(range(10))


def test_an_error_is_raised_where_items_are_taken_after_those_before_it():
    def breaks():
        yield 1
        raise ValueError("the stage is broken")

    with Pipeline() as pipeline:
        items = pipeline.ahead(item for item in pipeline.ahead(breaks()))
        assert next(items) == 1
        with pytest.raises(ValueError, match="the stage is broken"):
            next(items)


def test_leaving_ends_all_threads():
    before = threading.active_count()
    with Pipeline() as pipeline:
        first = pipeline.ahead(iter(int, 1))
        next(pipeline.ahead(item for item in first))
        assert threading.active_count() == before + 2
    assert threading.active_count() == before


def test_taking_goes_on_after_an_interruption(monkeypatch):
    with Pipeline() as pipeline:
        items = pipeline.ahead(range(5))
        assert next(items) == 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("polypseg.predict.video.stages.Queue.get", interrupted)
            with pytest.raises(KeyboardInterrupt):
                next(items)
        assert list(items) == [1, 2, 3, 4]


def test_an_item_that_takes_too_long_is_an_error_and_what_its_thread_uses_stays_open(monkeypatch):
    monkeypatch.setattr("polypseg.predict.video.stages._JOIN_SECONDS", 0.1)
    closed, ended, pipeline = [], threading.Event(), Pipeline()

    def hangs():
        yield 1
        ended.wait()

    with pipeline:
        items = pipeline.ahead(hangs(), patience=Patience(0.3, ValueError("too late")))
        assert next(items) == 1
        with pytest.raises(ValueError, match="too late"):
            next(items)
    pipeline.finally_close(lambda: closed.append("while the thread lives"))
    ended.set()
    time.sleep(0.5)
    pipeline.finally_close(lambda: closed.append("after its end"))
    assert closed == ["after its end"]


def test_patience_is_of_an_item_and_not_of_all_and_does_not_count_the_takers_own_time():
    def slowly():
        for number in range(5):
            time.sleep(0.15)
            yield number

    with Pipeline() as pipeline:  # five items take 0.75 s, the taker of the first one 0.6 s
        items = pipeline.ahead(slowly(), patience=Patience(0.5, ValueError("too late")))
        assert next(items) == 0
        time.sleep(0.6)
        assert list(items) == [1, 2, 3, 4]


def interrupted(*_):
    raise KeyboardInterrupt
