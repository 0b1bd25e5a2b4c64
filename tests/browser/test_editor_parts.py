"""What the editor's tools do to a mask equals what NumPy and SciPy say of it, or what is counted by hand."""

import csv
import io
import zipfile

import numpy as np
import pytest
from scipy import ndimage

from browser.editing import flat

CORNERS = np.ones((3, 3))


def computed(page, module, body, **given):
    """What a function body of JavaScript returns; it sees `part` (the module) and what is given."""
    script = "async (given) => { const part = await import('/page/%s'); %s }"
    return page.evaluate(script % (module, body), given)


def random_masks():
    generator = np.random.default_rng(0)
    yield from (np.zeros((4, 3), bool), np.ones((4, 3), bool), np.ones((1, 1), bool))
    for share in (0.1, 0.4, 0.6, 0.9):
        yield generator.random((23, 17)) < share
    yield ndimage.gaussian_filter(generator.random((40, 61)), 2) > 0.5


MASKS = list(random_masks())


def tool(page, body, mask, **given):
    height, width = mask.shape
    body = f"const mask = Uint8Array.from(given.mask), {{ width, height }} = given; {body}"
    return computed(page, "editor_tools.js", body, mask=flat(mask), width=width, height=height, **given)


def near_line(shape, start, end, reach):
    """Pixels at most `reach` from the line between two pixels, (column, row)."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    (x1, y1), (x2, y2) = start, end
    length2 = (x2 - x1) ** 2 + (y2 - y1) ** 2
    share = np.clip(((columns - x1) * (x2 - x1) + (rows - y1) * (y2 - y1)) / max(length2, 1), 0, 1)
    return np.hypot(columns - x1 - share * (x2 - x1), rows - y1 - share * (y2 - y1)) <= reach + 1e-9


@pytest.mark.parametrize("size", [1, 3, 7, 15])
@pytest.mark.parametrize(
    ("start", "end"),
    [((5, 5), (5, 5)), ((2, 3), (28, 17)), ((30, 19), (0, 0)), ((-4, 8), (40, 9)), ((10, 25), (12, -3))],
)
def test_a_line_is_all_pixels_within_half_the_brush(parts, size, start, end):
    body = "part.drawLine(mask, width, height, given.start, given.end, given.size, 1); return [...mask]"
    shape = (21, 31)
    found = tool(parts, body, np.zeros(shape, bool), start=start, end=end, size=size)
    assert found == flat(near_line(shape, start, end, size / 2))


def test_a_brush_of_three_pixels_is_three_wide(parts):
    # By hand: the neighbours of a pixel are 1 or 1.41 from it, and 1.41 <= 1.5.
    body = "part.drawLine(mask, width, height, [2, 2], [2, 2], 3, 1); return [...mask]"
    expected = np.zeros((5, 5), bool)
    expected[1:4, 1:4] = True
    assert tool(parts, body, np.zeros((5, 5), bool)) == flat(expected)


@pytest.mark.parametrize("value", [0, 1])
def test_a_line_tells_the_runs_that_it_turned_over(parts, value):
    body = """const before = mask.slice();
      const runs = part.drawLine(mask, width, height, [1, 1], [14, 19], 5, given.value);
      return [[...mask], runs, [...before]]"""
    mask = MASKS[4]
    after, runs, before = tool(parts, body, mask, value=value)
    turned = np.zeros(mask.size, bool)
    for begin, length in zip(runs[::2], runs[1::2], strict=True):
        assert not turned[begin : begin + length].any()
        turned[begin : begin + length] = True
    assert turned.tolist() == (np.array(after) != np.array(before)).tolist()
    assert turned.any()


def even_odd(shape, points):
    """Whether a ray to the right of each pixel's middle crosses the polygon an odd number of times."""
    inside = np.zeros(shape, bool)
    for row in range(shape[0]):
        for column in range(shape[1]):
            for (x1, y1), (x2, y2) in zip(points, points[1:] + points[:1], strict=True):
                if (y1 <= row) != (y2 <= row) and column < x1 + (row - y1) * (x2 - x1) / (y2 - y1):
                    inside[row, column] ^= True
    return inside


POLYGONS = [
    [(2, 2), (20, 4), (9, 18)],
    [(1, 1), (25, 18), (25, 1), (1, 18)],  # crosses itself
    [(3, 3), (3, 15), (18, 15), (18, 3)],
    [(10, 2), (12, 2), (11, 2)],  # flat
    [(-5, 5), (40, -3), (30, 40)],  # beyond the image
]


@pytest.mark.parametrize("points", POLYGONS)
def test_a_polygon_is_its_inside_and_its_edges(parts, points):
    shape = (20, 28)
    found = tool(
        parts, "return [...part.withPolygon(mask, width, height, given.points)]", np.zeros(shape, bool), points=points
    )
    expected = even_odd(shape, points)
    for start, end in zip(points, points[1:] + points[:1], strict=True):
        expected |= near_line(shape, start, end, 0.5)
    assert found == flat(expected)
    cut = tool(
        parts, "return [...part.withPolygon(mask, width, height, given.points, 0)]", np.ones(shape, bool), points=points
    )
    assert cut == flat(~expected)


@pytest.mark.parametrize("mask", MASKS)
def test_holes_are_filled_as_scipy_fills_them(parts, mask):
    found = tool(parts, "return [...part.withoutHoles(mask, width, height)]", mask)
    assert found == flat(ndimage.binary_fill_holes(mask))


@pytest.mark.parametrize("mask", MASKS)
def test_one_hole_is_filled_and_what_is_open_is_not(parts, mask):
    body = """return given.places.map((place) => {
      const filled = part.withHoleFilled(mask, width, height, place);
      return filled && [...filled];
    })"""
    places = [(x, y) for y in range(0, mask.shape[0], 3) for x in range(0, mask.shape[1], 2)]
    labels, _ = ndimage.label(~mask)
    border = {*labels[0], *labels[-1], *labels[:, 0], *labels[:, -1]}
    for (x, y), found in zip(places, tool(parts, body, mask, places=places), strict=True):
        label = labels[y, x]
        assert found == (None if label == 0 or label in border else flat(mask | (labels == label)))


@pytest.mark.parametrize("mask", MASKS)
def test_a_region_is_removed_with_what_hangs_on_its_corners(parts, mask):
    body = """return given.places.map((place) => {
      const rest = part.withoutRegion(mask, width, height, place);
      return rest && [...rest];
    })"""
    places = [(x, y) for y in range(0, mask.shape[0], 4) for x in range(0, mask.shape[1], 3)]
    labels, _ = ndimage.label(mask, CORNERS)
    for (x, y), found in zip(places, tool(parts, body, mask, places=places), strict=True):
        assert found == (flat(mask & (labels != labels[y, x])) if mask[y, x] else None)


@pytest.mark.parametrize("reach", [1, 3])
@pytest.mark.parametrize("mask", MASKS)
def test_smoothing_follows_the_most_of_the_neighbours(parts, mask, reach):
    found = tool(parts, "return [...part.smoothed(mask, width, height, given.reach)]", mask, reach=reach)
    size = 2 * reach + 1
    sums, counts = (
        np.rint(size**2 * ndimage.uniform_filter(values.astype(float), size, mode="constant"))
        for values in (mask, np.ones_like(mask))
    )
    assert found == flat(2 * sums > counts)


HISTORY = """
  const mask = Uint8Array.from(given.mask), history = new part.History(), seen = [[...mask]];
  for (const flips of given.steps) {
    const after = mask.slice();
    for (const at of flips) after[at] ^= 1;
    const runs = part.differingRuns(mask, after);
    part.turnOver(mask, runs);
    history.keep(runs, "step");
    seen.push([...mask]);
  }
  const back = [];
  while (history.canUndo) { history.undo(mask); back.unshift([...mask]); }
  const forth = [[...mask]];
  while (history.canRedo) { history.redo(mask); forth.push([...mask]); }
  return { seen, back, forth }"""


def test_undo_and_redo_go_through_every_step(parts):
    generator = np.random.default_rng(1)
    steps = [generator.choice(60, 1 + index % 9, replace=False).tolist() for index in range(300)]
    told = computed(parts, "history.js", HISTORY, mask=[0, 1] * 30, steps=steps)
    assert told["back"] == told["seen"][:-1]
    assert told["forth"] == told["seen"]
    assert len({tuple(mask) for mask in told["seen"]}) > 250


def test_a_step_after_an_undo_takes_the_place_of_what_was_undone(parts):
    body = """const mask = new Uint8Array(4), history = new part.History();
      const step = (at) => {
        part.turnOver(mask, [at, 1]);
        history.keep(Uint32Array.of(at, 1), "step");
      };
      step(0); step(1); history.undo(mask); step(2);
      const nothing = history.keep(new Uint32Array(0), "nothing");
      return [[...mask], history.canRedo, history.redo(mask), nothing, history.steps.length]"""
    assert computed(parts, "history.js", body) == [[1, 0, 1, 0], False, None, False, 2]


def test_runs_are_tidied_and_their_box_told(parts):
    body = "return [[...part.tidyRuns(given.runs)], part.boxOfRuns(given.runs, 10), part.boxOfRuns([18, 4], 10)]"
    # By hand, rows of 10: pixels 12 to 16 and 25; 12, 13 | 14 .. 16 hang together. 18 to 21 cross the end of a row.
    assert computed(parts, "history.js", body, runs=[25, 1, 14, 3, 12, 2]) == [
        [12, 5, 25, 1],
        [2, 1, 7, 3],
        [0, 1, 10, 3],
    ]


def test_a_step_is_small_however_large_the_image(parts):
    body = """const tools = await import("/page/editor_tools.js");
      const mask = new Uint8Array(4000 * 3000);
      const runs = part.tidyRuns(tools.drawLine(mask, 4000, 3000, [2000, 1500], [2060, 1500], 41, 1));
      return runs.byteLength"""
    assert computed(parts, "history.js", body) == 41 * 8  # a run for each of its 41 rows, two numbers of 4 bytes


PROPOSED = """const { width, height, first, second } = given;
  const map = given.map && Uint8Array.from(given.map);
  return [...part.proposedRegion(map, width, height, first, second)]"""


def proposed(parts, shape, first, second, levels=None):
    given = None if levels is None else levels.astype(int).ravel().tolist()
    height, width = shape
    found = computed(parts, "propose.js", PROPOSED, width=width, height=height, first=first, second=second, map=given)
    return np.array(found, bool).reshape(shape)


def ellipse_distance(shape, middle, half):
    """1 on the edge of an ellipse along the rows, 8 % longer than the clicks, 0.8 as high as long."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.hypot((columns - middle[0]) / (1.08 * half), (rows - middle[1]) / (1.08 * half * 0.8))


def test_two_clicks_without_a_map_propose_an_ellipse(parts):
    found = proposed(parts, (60, 80), (20, 30), (60, 30))
    assert found.tolist() == (ellipse_distance((60, 80), (40, 30), 20) < 1).tolist()


def test_two_clicks_move_the_edge_by_the_map(parts):
    levels = np.zeros((60, 80))
    levels[:, 40:] = 30  # the right half is the more probable one, though far below any threshold
    found = proposed(parts, (60, 80), (20, 30), (60, 30), levels)
    distance = ellipse_distance((60, 80), (40, 30), 20)
    share = np.where(np.arange(80) >= 40, 1.0, 0.0)  # the tenth and ninetieth of a hundred levels are 0 and 30
    assert found.tolist() == (1 - distance + 0.3 * (share - 0.5) > 0).tolist()
    assert found[:, 40:].sum() > 1.5 * found[:, :40].sum()


@pytest.mark.parametrize("click", [(0, 0), (79, 59), (40, 30)])
def test_two_clicks_on_one_pixel_or_at_the_border_stay_in_the_image(parts, click):
    assert 1 <= proposed(parts, (60, 80), click, click).sum() <= 9
    assert proposed(parts, (60, 80), click, (79, 0)).any()


ZIP = """const files = given.files.map(({ name, bytes }) => ({ name, blob: new Blob([Uint8Array.from(bytes)]) }));
  const zip = await part.zipOf(files, new Date(2024, 1, 29, 12, 30, 8));
  const back = await part.unzip(zip, "image/png");
  const again = [];
  for (const { name, blob } of back) again.push([name, [...new Uint8Array(await blob.arrayBuffer())]]);
  return [[...new Uint8Array(await zip.arrayBuffer())], again]"""


def test_a_zip_file_is_read_by_python_and_by_the_page(parts):
    contents = {"masks/a.png": bytes(range(256)), "masks/é 中.png": b"", "masks.csv": b"x" * 1000}
    files = [{"name": name, "bytes": list(content)} for name, content in contents.items()]
    written, again = computed(parts, "zip.js", ZIP, files=files)
    with zipfile.ZipFile(io.BytesIO(bytes(written))) as opened:
        assert opened.testzip() is None
        assert {name: opened.read(name) for name in opened.namelist()} == contents
        assert opened.infolist()[0].date_time == (2024, 2, 29, 12, 30, 8)
    assert {name: bytes(content) for name, content in again} == contents


def test_a_zip_file_of_python_is_read_by_the_page(parts):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr("one.png", b"12")
        opened.writestr("two.png", b"345")
    body = (
        "return (await part.unzip(new Blob([Uint8Array.from(given.bytes)]))).map(({ name, blob }) => [name, blob.size])"
    )
    assert computed(parts, "zip.js", body, bytes=list(buffer.getvalue())) == [["one.png", 2], ["two.png", 3]]


def test_a_csv_file_is_read_by_python(parts):
    rows = [["file", "area"], ['a "b", c.png', 12], ["two\nlines", None], ["é", 0.5]]
    text = computed(parts, "zip.js", "return await part.csvOf(given.rows).text()", rows=rows)
    assert list(csv.reader(io.StringIO(text, newline=""))) == [
        ["file", "area"],
        ['a "b", c.png', "12"],
        ["two\nlines", ""],
        ["é", "0.5"],
    ]
