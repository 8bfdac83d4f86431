"""Lengths of time in words."""

from __future__ import annotations

import re

from charrnn.errors import ConfigError

_UNIT_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"\d+(\.\d+)?|(\d+(\.\d+)?[smhd] ?)+")
_LONGEST_DURATION_SECONDS = 1e9


def parse_duration(text: str) -> float:
    """Turn "90s", "10m", "1h30m" or a bare number of seconds into seconds.

    Raises:
        ConfigError: it is not such a text, or not above zero.
    """
    cleaned = text.strip().lower()
    parts = re.findall(r"([\d.]+)([smhd]?)", cleaned) if _DURATION.fullmatch(cleaned) else []
    seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)
    if not 0 < seconds < _LONGEST_DURATION_SECONDS:
        raise ConfigError(f"{text!r} is not a length of time; write 90s, 10m or 1h30m")
    return seconds
