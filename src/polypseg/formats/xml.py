"""The safe reader of XML.

Decisions:
- A document type is refused: only there can entities be declared, which read other files or fill the memory. No
  annotation format has one.
- The text is UTF-8 and is decoded before it is parsed, so that nothing hides in another encoding.
"""

from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree

from polypseg.records.reading import FileKind, read_text

T = TypeVar("T", int, float)


def read_xml(path: Path, kind: FileKind) -> ElementTree.Element:
    """The root of an XML file.

    Raises:
        DataError: It cannot be read, is damaged, or declares a document type or entities.
    """
    return parse_xml(read_text(path, kind), path, kind)


def parse_xml(text: str, source: Path | str, kind: FileKind) -> ElementTree.Element:
    """The root of an XML text; as `read_xml`."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise kind.damaged(source, "it declares a document type or entities, which an annotation does not need")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise kind.damaged(source, error) from error


def number(element: ElementTree.Element, name: str, to: type[T]) -> T:
    """An attribute as a number.

    Raises:
        ValueError: It is missing, or no number.
    """
    try:
        return to(element.attrib[name])
    except (KeyError, ValueError) as error:
        raise ValueError(f"<{element.tag}> has no number {name}") from error
