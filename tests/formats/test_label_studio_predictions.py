"""What Label Studio gets of a mask, against the runs' own reader and its converter's where that is installed."""

import numpy as np
import pytest

from polypseg.errors import DataError
from polypseg.formats.label_studio_predictions import Brush, brush_of, brush_regions
from polypseg.formats.label_studio_runs import decode

BRUSH = '<BrushLabels name="b" toName="i">{}</BrushLabels>'
IMAGE = '<Image name="i" value="$picture"/>'


def interface(*labels):
    return "<View>" + IMAGE + BRUSH.format("".join(f'<Label value="{label}"/>' for label in labels)) + "</View>"


@pytest.mark.parametrize(
    ("labels", "meant"), [(["polyp"], "polyp"), (["stool", "Polyp"], "Polyp"), (["adenoma"], "adenoma")]
)
def test_label_that_means_polyp(labels, meant):
    assert brush_of(interface(*labels)) == Brush("b", "i", "picture", meant)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (interface("stool", "adenoma"), "which label means polyp"),
        (f"<View>{IMAGE}</View>", "has no brush for an image; add <BrushLabels"),
        (f'<View>{IMAGE}<BrushLabels name="b" toName="other"><Label value="polyp"/></BrushLabels></View>', "no brush"),
        ("<View>", "damaged"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><View/>', "declares a document type"),
    ],
)
def test_interfaces_that_do_not_fit(text, message):
    with pytest.raises(DataError, match=message):
        brush_of(text)


def test_each_polyp_is_a_region_pixel_for_pixel():
    mask = np.zeros((30, 40), bool)
    mask[2:9, 3:12] = True
    mask[4, 5] = False  # a hole stays
    mask[20:22, 30:39] = True
    regions = brush_regions(mask, Brush("b", "i", "picture", "Polyp"))
    assert len(regions) == 2
    together = np.zeros(mask.shape, bool)
    for region in regions:
        assert (region.original_width, region.original_height) == (40, 30)
        assert (region.from_name, region.to_name, region.value.brushlabels) == ("b", "i", ["Polyp"])
        alpha = decode(region.value.rle, mask.size).reshape(mask.shape)
        assert set(np.unique(alpha)) == {0, 255}
        assert not (together & (alpha > 0)).any()
        together |= alpha > 0
    assert np.array_equal(together, mask)
    assert brush_regions(np.zeros((4, 4), bool), Brush("b", "i", "picture", "polyp")) == []


def test_regions_are_read_by_label_studios_own_package():
    brush = pytest.importorskip("label_studio_sdk.converter.brush", reason="pip install label-studio-sdk")
    mask = np.kron(np.random.default_rng(0).random((9, 12)) < 0.4, np.ones((3, 3), bool))
    together = np.zeros(mask.shape, bool)
    for region in brush_regions(mask, Brush("b", "i", "picture", "polyp")):
        together |= brush.decode_rle(region.value.rle).reshape(*mask.shape, 4)[..., 3] > 0
    assert np.array_equal(together, mask)
    theirs = brush.mask2rle(mask.astype(np.uint8) * 255)
    assert np.array_equal(decode(theirs, mask.size).reshape(mask.shape) > 127, mask)
