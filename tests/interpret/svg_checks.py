"""What holds for every picture."""

from __future__ import annotations

import re
from xml.etree import ElementTree


def assert_is_picture(svg: str) -> list[str]:
    """Check that a picture is well-formed, finite and inert; return the words in it."""
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    assert not re.search(r"nan|inf\b|style=|<script", re.sub(r">[^<]*<", "><", svg), re.IGNORECASE)
    return [text for each in root.iter() if (text := each.text or "").strip()]
