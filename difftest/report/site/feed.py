"""What is new as an Atom feed, for whoever follows the site: an entry for each event, the newest first."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree

import msgspec

from difftest.history.stored import moment
from difftest.text import visible

ATOM = "http://www.w3.org/2005/Atom"
MOST_ENTRIES = 200
LONGEST = 600


class FeedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One event. `page` is the address of its page in the site, or ""."""

    started: str
    title: str
    words: str
    page: str


def feed(title: str, entries: Sequence[FeedEntry]) -> bytes:
    """The feed. Its ids depend on what an entry says alone, so that a site made again repeats none."""
    root = ElementTree.Element("feed", xmlns=ATOM)
    newest = max((moment(entry.started) for entry in entries), default=0.0)
    _add(root, "id", f"urn:difftest:history:{_hash(title)}")
    _add(root, "title", title)
    _add(root, "updated", _when(newest))
    ElementTree.SubElement(_add(root, "author", ""), "name").text = "difftest"
    for entry in entries[:MOST_ENTRIES]:
        one = _add(root, "entry", "")
        _add(one, "id", f"urn:difftest:event:{_hash(entry.started, entry.title, entry.words)}")
        _add(one, "title", entry.title)
        _add(one, "updated", _when(moment(entry.started)))
        _add(one, "summary", entry.words)
        ElementTree.SubElement(one, "link", href=entry.page or "index.html")
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _add(parent: ElementTree.Element, name: str, text: str) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, name)
    if text:
        element.text = visible(text, LONGEST)
    return element


def _hash(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode("utf-8", "backslashreplace")).hexdigest()[:32]


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
