"""Text from a model, a corpus or a file name, made safe to look at.

A terminal obeys control characters; here each becomes a visible sign instead, so that nothing
generated can move the cursor, recolour the screen or hide what it says. It needs no rich.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

_KEPT = "\n\t"
_BIDIRECTIONAL = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_SIGNS = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in _KEPT}
_SIGNS |= {0x7F: "\u2421"}
_SIGNS |= {code: f"<{code:02X}>" for code in range(0x80, 0xA0)}
_SIGNS |= {ord(char): f"<{ord(char):04X}>" for char in _BIDIRECTIONAL + "\u2028\u2029"}
_SIGNS |= dict.fromkeys(range(55296, 57344), "�")


def sanitize(text: str) -> str:
    """Replace C0 and C1 controls, DEL, bidirectional controls and surrogates by visible signs.

    Newline and tab stay. U+241B stands for ESC, <9B> for CSI, and so on.
    """
    return text.translate(_SIGNS)


def one_line(text: str) -> str:
    """Make `text` safe and bring it onto one line, for messages and table cells."""
    return sanitize(text).replace("\n", "\u2424").replace("\t", " ")


_BARS = "▁▂▃▄▅▆▇█"


def format_count(number: float) -> str:
    """Give 999, 12.3k, 4.5M or 1.2G."""
    for limit, divisor, unit in ((1e3, 1, ""), (1e6, 1e3, "k"), (1e9, 1e6, "M")):
        if abs(number) < limit * 0.9995:
            return f"{number / divisor:.3g}{unit}" if unit else f"{number:.0f}"
    return f"{number / 1e9:.3g}G"


def format_duration(seconds: float) -> str:
    """Give 0:07, 12:34 or 3:45:06."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def format_threads(threads: int, processes: int = 1) -> str:
    """Give 2 threads, or 2 processes of 1 thread."""
    each = f"{threads} thread{'s' if threads > 1 else ''}"
    return f"{processes} processes of {each}" if processes > 1 else each


def draw_curve(values: Sequence[float], width: int) -> str:
    """Draw `values` from left to right as bars of eight heights, at most `width` of them."""
    if not values:
        return ""
    count = min(width, len(values))
    edges = [i * len(values) // count for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    span, top = high - low or 1.0, len(_BARS) - 1
    return "".join(_BARS[round((mean - low) / span * top)] for mean in means)
