"""What the page computes itself equals what Python computes, degenerate masks included."""

import json

import numpy as np
import pytest

from browser.editing import flat
from polypseg.formats.outlines import compress_run_lengths, run_lengths
from polypseg.overlay import contour, line_width_px
from polypseg.predict.predictor import without_small
from polypseg.predict.regions import find_regions


def computed(page, body, **given):
    """What a function body of JavaScript returns; it sees `part` (mask.js) and what is given."""
    script = "async (given) => { const part = await import('/page/mask.js'); %s }"
    return page.evaluate(script % body, given)


def masks():
    generator = np.random.default_rng(0)
    one, corner, diagonal = (np.zeros((5, 7), bool) for _ in range(3))
    one[2, 3] = True
    corner[0, 0] = corner[4, 6] = True
    diagonal[[0, 1, 2], [2, 1, 0]] = True  # one region: corners touch
    ring = np.ones((9, 9), bool)
    ring[3:6, 3:6] = False
    yield from (np.zeros((4, 3), bool), np.ones((4, 3), bool), np.ones((1, 1), bool), one, corner, diagonal, ring)
    for share in (0.1, 0.4, 0.6, 0.9):
        yield generator.random((23, 17)) < share
    wide = np.zeros((60, 300), bool)  # runs longer than 5 bits tell
    wide[5:50, 20:270] = True
    yield wide


MASKS = list(masks())


@pytest.mark.parametrize("mask", MASKS)
def test_run_lengths_there_and_back(parts, mask):
    counts = compress_run_lengths(run_lengths(mask))
    height, width = mask.shape
    body = "return [...part.decodeRunLengths({ size: given.size, counts: given.counts })]"
    assert computed(parts, body, size=[height, width], counts=counts) == flat(mask)
    body = "return part.encodeRunLengths(Uint8Array.from(given.mask), given.width, given.height)"
    assert computed(parts, body, mask=flat(mask), width=width, height=height) == {
        "size": [height, width],
        "counts": counts,
    }


@pytest.mark.parametrize("mask", MASKS)
def test_regions_equal_those_of_the_api(parts, mask):
    height, width = mask.shape
    levels = np.random.default_rng(1).integers(0, 256, mask.shape, np.uint8)
    body = """const { mask, polyps } = part.findRegions(
      Uint8Array.from(given.mask), Uint8Array.from(given.levels), given.width, given.height, given.smallest);
      return { mask: [...mask], polyps }"""
    for smallest in (0, 3):
        kept = without_small(mask, smallest)
        expected = find_regions(kept, (levels / 255).astype(np.float32))
        given = {"mask": flat(mask), "levels": levels.ravel().tolist(), "width": width, "height": height}
        found = computed(parts, body, smallest=smallest, **given)
        assert found["mask"] == flat(kept)
        assert sorted((p["area_px"], p["box"]) for p in found["polyps"]) == sorted(
            (region.area_px, list(region.box)) for region in expected
        )
        assert [p["area_px"] for p in found["polyps"]] == sorted((r.area_px for r in expected), reverse=True)
        for key in ("mean_probability", "max_probability"):
            mine, theirs = ([p[key] for p in found["polyps"]], [getattr(region, key) for region in expected])
            np.testing.assert_allclose(sorted(mine), sorted(theirs), atol=1e-6)


@pytest.mark.parametrize("width_px", [1, 2, 4])
@pytest.mark.parametrize("mask", MASKS)
def test_outline_equals_that_of_the_overlays(parts, mask, width_px):
    expected = contour(np.zeros((*mask.shape, 3), np.uint8), mask, width_px=width_px)[..., 0] == 255
    body = "return [...part.outline(Uint8Array.from(given.mask), given.width, given.height, given.line)]"
    height, width = mask.shape
    assert computed(parts, body, mask=flat(mask), width=width, height=height, line=width_px) == flat(expected)


def test_line_width_equals_that_of_the_overlays(parts):
    sizes = [(8, 8), (256, 256), (1072, 1920), (300, 62)]
    body = "return given.sizes.map(([height, width]) => part.lineWidth(width, height))"
    assert computed(parts, body, sizes=json.loads(json.dumps(sizes))) == [line_width_px(size) for size in sizes]


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 0.501, 1.0])
def test_threshold_is_reached_at_equality(parts, threshold):
    body = "return [...part.thresholded(Uint8Array.from(given.levels), given.threshold)]"
    found = computed(parts, body, levels=list(range(256)), threshold=threshold)
    assert found == [int(level / 255 >= threshold) for level in range(256)]
    # By hand: 0.2 is level 51 exactly, and 0.501 lies between 127 (0.498) and 128 (0.502).
    assert found.index(1) == {0.0: 0, 0.2: 51, 0.5: 128, 0.501: 128, 1.0: 255}[threshold]
