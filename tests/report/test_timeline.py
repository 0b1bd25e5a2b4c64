"""The timeline of a video: how its table is read, cut into columns and drawn."""

import numpy as np
import pytest

from polypseg.errors import DataError
from polypseg.predict.video.table import FrameTable
from polypseg.records.video_table import FrameRow
from polypseg.report.timeline import NUM_COLUMNS, covered, frame_seconds, plot_timeline, read_timeline, timeline


def write_table(path, rows):
    table = FrameTable(path)
    for row in rows:
        table.add(row)
    return table.finish()


def seen(number, seconds, area=10.0, components=1, withheld=0, fault=""):
    return FrameRow(number, seconds, 100, area, 1, 2, 3, 4, components, 0.9, withheld, fault=fault)


@pytest.fixture
def table(tmp_path):
    return write_table(
        tmp_path / "film.csv",
        [
            seen(0, 0.0, area=0.0, components=0),
            seen(1, 0.25),
            seen(2, 0.5, area=0.0, components=0, withheld=2),
            seen(3, 0.75, fault="damaged+mistimed"),
            FrameRow(4, 1.0, fault="dropped"),
            seen(5, 1.25, fault="resized"),
        ],
    )


def test_table_is_read_frame_by_frame(table):
    found = read_timeline(table)
    assert found.seconds.tolist() == [0, 0.25, 0.5, 0.75, 1, 1.25]
    np.testing.assert_array_equal(found.area_percent, [0, 10, 0, 10, np.nan, 10])
    frames = {name: np.flatnonzero(mask).tolist() for name, mask in found.states.items()}
    assert frames == {"polyp shown": [1, 3, 5], "withheld": [2], "damaged": [3, 5], "dropped": [4]}


def test_row_that_a_kill_cut_off_is_left_out(table):
    table.write_text(table.read_text()[:-12])
    assert read_timeline(table).seconds.tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_a_gap_in_the_recording_is_no_long_frame():
    assert frame_seconds(np.array([0, 0.04, 0.08, 100, 100.04])) == pytest.approx([0.04, 0.04, 1, 0.04, 0.04])
    assert frame_seconds(np.array([0.0])).tolist() == [0.04]


def test_one_frame_of_a_long_video_is_seen():
    edges = np.arange(100_001)[:, np.newaxis] * NUM_COLUMNS / 100_001 + [0, NUM_COLUMNS / 100_001]
    chosen = np.zeros(100_001, bool)
    chosen[[0, 50_000, 100_000]] = True
    assert np.flatnonzero(covered(edges, chosen)).tolist() == [
        0,
        NUM_COLUMNS // 2 - 1,
        NUM_COLUMNS // 2,
        NUM_COLUMNS - 1,
    ]


def test_picture_names_counts_and_seconds(table):
    figure = plot_timeline(table)
    labels = [text.get_text() for text in figure.axes[1].get_yticklabels()]
    assert labels == [
        "polyp shown: 3 frames, 0.8 s",
        "withheld: 1 frame, 0.2 s",
        "damaged: 2 frames, 0.5 s",
        "dropped: 1 frame, 0.2 s",
    ]
    assert figure.axes[0].get_title(loc="left") == "film"
    assert figure.axes[1].get_xlim() == (0, 1.5)  # the last frame lasts as long as the others


def test_strips_by_hand(table):
    # 1.5 s: frames 1, 3 and 5 begin at 1/6, 3/6 and 5/6 and last 1/6.
    figure = plot_timeline(table)
    shown = figure.axes[1].collections[1]
    spans = [(path.vertices[:, 0].min(), path.vertices[:, 0].max()) for path in shown.get_paths()]
    assert np.ravel(spans) == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.25, 1.5], abs=1.5 / NUM_COLUMNS)


def test_file_is_written(table, tmp_path):
    path = timeline(table, tmp_path / "pictures" / "film.png")
    assert path.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"film\.csv: cannot read the table of the video"),
        ("name,dice\na,1\n", r"film\.csv: has no column seconds; expected the table of a video"),
        ("seconds,area_percent,num_components,num_withheld,fault\n", r"film\.csv: holds no frames"),
        ("seconds,area_percent,num_components,num_withheld,fault\nx,1,1,0,\n", r"film\.csv: cannot read the table"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "film.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_timeline(tmp_path / "film.csv")
