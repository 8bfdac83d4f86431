"""Surprisal in bits as a person reads it: six levels, the same on a terminal and on a page.

It knows nothing of either; what stands here is which characters are shown how.
"""

from __future__ import annotations

from charrnn.console.visible import make_visible

BOUNDS_BITS = (1, 2, 4, 7, 10)
LABELS = ("under 1", "1–2", "2–4", "4–7", "7–10", "10 or more")
COLOURS = (  # of letters and of what is behind them; the lowest level is left as it is
    ("", ""),
    ("#1a1a1a", "#fff1c2"),
    ("#1a1a1a", "#ffd27f"),
    ("#1a1a1a", "#ff9d57"),
    ("#ffffff", "#d9432f"),
    ("#ffffff", "#8b0a2a"),
)
_SIGNS = {ord("\n"): "\u2424", ord("\t"): "\u2409"}


def level_of(bits: float) -> int:
    """Give the level, 0 to 5, of a surprisal."""
    return sum(bits >= bound for bound in BOUNDS_BITS)


def show_character(char: str) -> str:
    """Give a sign for a control character, newline and tab among them; others as they are."""
    return make_visible(char).translate(_SIGNS)
