"""Which metadata an image file carries: their kinds, never their values."""

from pathlib import Path

from PIL import ExifTags

from polypseg.errors import ImageError
from polypseg.preprocess import open_pages

_KINDS = {
    "comment": "comment",
    "exif": "EXIF",
    "icc_profile": "colour profile",
    "photoshop": "Photoshop",
    "xmp": "XMP",
    "XML:com.adobe.xmp": "XMP",
    "mp": "further pictures",
    "timestamp": "time",
}

_TIFF_KINDS = {
    270: "description", 271: "maker", 272: "model", 285: "page name", 305: "software", 306: "time", 315: "artist",
    316: "computer", 700: "XMP", 33432: "copyright", 33723: "IPTC", 34377: "Photoshop",
}  # fmt: skip


def metadata_kinds(path: Path) -> tuple[str, ...]:
    """The kinds of metadata of an image file, in order of the alphabet; none where it cannot be opened."""
    kinds: set[str] = set()
    try:
        with open_pages(path, str(path)) as opened:
            kinds |= {kind for key, kind in _KINDS.items() if opened.info.get(key)}
            if opened.format == "PNG":
                opened.load()  # texts may follow the pixels
                texts = getattr(opened, "text", {})
                kinds |= {_KINDS.get(key, f"text {key!r}") for key in texts}
            exif = opened.getexif()
            if exif.get_ifd(ExifTags.IFD.GPSInfo):
                kinds.add("GPS")
            if opened.format == "TIFF":
                kinds |= {kind for tag, kind in _TIFF_KINDS.items() if tag in exif}
            elif len(exif):
                kinds.add("EXIF")
    except (ImageError, OSError, SyntaxError, ValueError, KeyError):
        return tuple(sorted(kinds))  # reading the image itself tells what is wrong with it
    return tuple(sorted(kinds))
