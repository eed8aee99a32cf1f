"""XML from strangers, and XML for them.

The standard library's parser is safe here on one condition: a document type declaration is refused the moment it
begins, and with it every entity bomb and every reference to a file (defusedxml does the same).  UPnP never has one.
"""

from __future__ import annotations

from typing import NoReturn
from xml.etree import ElementTree


class BadXml(ValueError):
    """This is no XML, or XML that nobody needs to send."""


class _WithoutDoctype(ElementTree.TreeBuilder):
    """Builds a tree, but from no document with a DTD."""

    def doctype(self, name: str, public_id: str | None, system: str | None) -> NoReturn:
        """Called at the beginning of a DTD, before any entity in it is read."""
        raise BadXml("a document type declaration")


def parse(data: bytes) -> ElementTree.Element:
    """The tree of a document.  Raises `BadXml`."""
    parser = ElementTree.XMLParser(target=_WithoutDoctype())
    try:
        parser.feed(data)
        tree: ElementTree.Element = parser.close()
    except (ElementTree.ParseError, LookupError, ValueError) as exc:  # the latter two: strange encodings
        raise BadXml(str(exc)) from exc
    return tree


def element(tag: str, *content: ElementTree.Element | str, **attributes: str) -> ElementTree.Element:
    """An element with a text, or with elements in it."""
    made = ElementTree.Element(tag, attributes)
    for part in content:
        if isinstance(part, str):
            made.text = part
        else:
            made.append(part)
    return made


def document(root: ElementTree.Element) -> bytes:
    """A whole document, as bytes."""
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text
