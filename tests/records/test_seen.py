import pytest
from hypothesis import given
from hypothesis import strategies as st

from polypseg.errors import RunError
from polypseg.records.run import Run, write_seen_before
from polypseg.records.seen import NUM_BYTES, seen_of, seen_of_split, unpack
from polypseg.records.split import Split, SplitEntry

DIGESTS = st.lists(st.binary(min_size=32, max_size=32).map(bytes.hex), max_size=20)


@given(DIGESTS)
def test_packed_images_come_back(digests):
    seen = unpack(seen_of(digests).pack())
    assert all(digest in seen for digest in digests)
    assert len(seen) == len({digest[: 2 * NUM_BYTES] for digest in digests})


def test_others_are_not_in_it():
    seen = seen_of(["ab" * 32])
    assert "ab" * 32 in seen
    assert "ac" + "ab" * 31 not in seen
    assert None not in seen


def test_tested_images_are_not_seen():
    entries = {
        side: SplitEntry(side, digest * 32, None, None)
        for side, digest in (("train", "01"), ("validation", "02"), ("test", "03"))
    }
    seen = seen_of_split(Split("by hand", 0, entries))
    assert ["01" * 32 in seen, "02" * 32 in seen, "03" * 32 in seen] == [True, True, False]


def test_a_run_has_seen_what_its_start_had_seen(tmp_path):
    run = Run(tmp_path)
    entries = {
        side: SplitEntry(side, digest * 32, None, None)
        for side, digest in (("train", "01"), ("validation", "02"), ("test", "03"))
    }
    Split("by hand", 0, entries).save(run.splits_path)
    assert len(run.seen()) == 2
    write_seen_before(run, seen_of(["02" * 32, "04" * 32]))
    assert ["01" * 32 in run.seen(), "04" * 32 in run.seen(), "03" * 32 in run.seen()] == [True, True, False]
    assert len(run.seen()) == 3  # 01, 02, 04
    assert ["02" * 32 in run.seen(("train",)), "01" * 32 in run.seen(("train",))] == [True, True]
    write_seen_before(run, seen_of([]))
    assert not run.seen_before_path.exists()
    assert "02" * 32 not in run.seen(("train",))  # it validated, and nothing else is known
    run.seen_before_path.write_text('{"images": 3}')
    with pytest.raises(RunError, match=r"seen_before\.json.*put it back from a copy"):
        run.seen()


def test_4000_images_take_27_kilobytes():
    # 4000 x 5 bytes, 4 characters of base64 for each 3 bytes: 4 x ceil(20000 / 3) = 26668
    digests = [f"{number:010x}" + "0" * 54 for number in range(4000)]
    assert len(seen_of(digests).pack()) == 26668


def test_damaged_text_knows_nothing():
    assert len(unpack("not base64!")) == len(unpack("")) == 0
