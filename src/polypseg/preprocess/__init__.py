"""From a file to what the model sees, and back to the image's own size.

field.py         the lit field: where in a frame the picture lies
files.py         which files are images, and their bytes
damage.py        what the usual decoders pass over
emptiness.py     pictures that show nothing
reading.py       an image file to upright 8-bit RGB
masks.py         a mask file to True and False
mask_levels.py   the two levels of a mask file
resizing.py      to the model's size and back, normalisation, thresholds
"""

from polypseg.preprocess.field import FIELD_RULES, Field, FieldRule, field_of, field_rule, find_field, whole_frame
from polypseg.preprocess.files import (
    IMAGE_SUFFIXES,
    MAX_FILE_BYTES,
    READABLE,
    endings,
    is_image_file,
    is_left_out,
    refuse_odd_names,
    unicode_name,
)
from polypseg.preprocess.masks import AUTOMATIC, MaskRule, mask_rule, read_grey, read_map, read_mask, read_mask_file
from polypseg.preprocess.reading import (
    MAX_PIXELS,
    decode_image,
    decode_noted,
    header_note,
    image_size,
    num_pages,
    open_pages,
    read_image,
    read_noted,
    read_page,
)
from polypseg.preprocess.resizing import (
    ModelView,
    model_view,
    normalise,
    put_back,
    resize_image,
    resize_mask,
    restore,
    to_mask,
)

__all__ = [
    "AUTOMATIC",
    "FIELD_RULES",
    "Field",
    "FieldRule",
    "IMAGE_SUFFIXES",
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "MaskRule",
    "ModelView",
    "READABLE",
    "decode_image",
    "decode_noted",
    "endings",
    "field_of",
    "field_rule",
    "find_field",
    "header_note",
    "image_size",
    "is_image_file",
    "is_left_out",
    "mask_rule",
    "model_view",
    "normalise",
    "num_pages",
    "open_pages",
    "put_back",
    "read_grey",
    "read_image",
    "read_map",
    "read_mask",
    "read_mask_file",
    "read_noted",
    "read_page",
    "refuse_odd_names",
    "resize_image",
    "resize_mask",
    "restore",
    "to_mask",
    "unicode_name",
    "whole_frame",
]
