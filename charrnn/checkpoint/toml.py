"""Flat settings as TOML, which Python reads but does not write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def format_toml(settings: Mapping[str, Any]) -> str:
    """Write flat settings as TOML; None is left out, as TOML has no word for it."""
    given = {key: value for key, value in settings.items() if value is not None}
    return "".join(f"{key} = {_toml_value(value)}\n" for key, value in given.items())


def _toml_value(value: Any) -> str:
    """Write one value; JSON's spelling is TOML's for these types, once DEL and C1 are escaped.

    So is what turns the reading order, since a person looks at it.
    """
    return json.dumps(value, ensure_ascii=False).translate(_ESCAPED)


_TURNING = "\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_ESCAPED = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), *map(ord, _TURNING))}
