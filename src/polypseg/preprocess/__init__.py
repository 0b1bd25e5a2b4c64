"""From a file to what the model sees, and back to the image's own size.

field.py      the lit field: where in a frame the picture lies
reading.py    an image file to upright 8-bit RGB
masks.py      a mask file to True and False
resizing.py   to the model's size and back, normalisation, thresholds
"""

from polypseg.preprocess.field import FIELD_RULES, Field, FieldRule, field_of, field_rule, find_field, whole_frame
from polypseg.preprocess.masks import MAX_GREY_SHARE, mask_problem, read_grey, read_mask
from polypseg.preprocess.reading import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    decode_image,
    image_size,
    num_pages,
    open_pages,
    read_image,
    read_page,
)
from polypseg.preprocess.resizing import normalise, put_back, resize_image, resize_mask, restore, to_mask

__all__ = [
    "FIELD_RULES",
    "Field",
    "FieldRule",
    "field_of",
    "field_rule",
    "find_field",
    "whole_frame",
    "IMAGE_SUFFIXES",
    "MAX_GREY_SHARE",
    "MAX_PIXELS",
    "decode_image",
    "image_size",
    "mask_problem",
    "normalise",
    "num_pages",
    "open_pages",
    "put_back",
    "read_grey",
    "read_image",
    "read_mask",
    "read_page",
    "resize_image",
    "resize_mask",
    "restore",
    "to_mask",
]
