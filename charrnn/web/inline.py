"""Pages that are one file: scripts and styles in their markup, and a policy that forbids all else.

A content security policy with the hashes of a page's own script and style lets nothing else run,
so a text that got into the markup would stay inert.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

from charrnn.web.assets import read_asset

_ISLAND = re.compile("[<>&\u2028\u2029]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_INDENTS = re.compile(r"^[ \t]+", re.MULTILINE)
_COMMENTS = re.compile(r"^(?://.*|/\*\*[\s\S]*?\*/)?\n", re.MULTILINE)


def join_scripts(names: Iterable[str]) -> str:
    """Return scripts in one, without indents, and without the comments that fill lines."""
    return _COMMENTS.sub("", _INDENTS.sub("", "\n".join(map(read_asset, names))))


def csp_hash(text: str) -> str:
    """Return the source of a content security policy that allows this script or style alone.

    >>> csp_hash("")
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
    """
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def as_island(data: Any) -> str:
    """Return data as JSON that no browser takes for markup.

    >>> as_island({"text": "</script>"})
    '{"text":"\\\\u003c/script\\\\u003e"}'
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    escaped = _ISLAND.sub(_escape, text)
    return _SURROGATES.sub(_escape, escaped)  # alone, they have no UTF-8


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
