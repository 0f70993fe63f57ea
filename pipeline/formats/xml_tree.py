"""XML from outside into a tree: no entities are expanded, nothing is loaded, and no tree grows without limit."""

from __future__ import annotations

from lxml import etree


def parser(*, recover: bool = False) -> etree.XMLParser:
    """A parser for one document; with `recover` it keeps what can be read of a broken one."""
    return etree.XMLParser(
        recover=recover,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
