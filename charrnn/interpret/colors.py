"""Colours with one meaning each, which a colour-blind reader can tell apart.

Signed values go from blue over white to orange, with the same lightness on both sides; zero is
always neutral and the range is fixed, so that a colour means the same number everywhere. Magnitudes
go from white to one dark hue. Curves have the colours of Okabe and Ito (2008), each with a dash of
its own, as colour is never the only sign.
"""

from __future__ import annotations

from collections.abc import Sequence

NEGATIVE = ("#ffffff", "#c6dbf2", "#8ab6e2", "#3f87c6", "#0b4f8a")
"""Backgrounds from 0 to −1."""

POSITIVE = ("#ffffff", "#f3d4ab", "#e3a663", "#bc7028", "#773f00")
"""Backgrounds from 0 to 1, each of the lightness that its negative has."""

MAGNITUDE = ("#ffffff", "#d5e5da", "#9cc7ad", "#559d78", "#17603f")
"""Backgrounds from 0 to the end of the scale."""

CURVES = ("#0072b2", "#d55e00", "#009e73", "#000000", "#cc79a7", "#56b4e9", "#e69f00")
"""One for each curve of a chart, in this order: the last two are pale on white."""

DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2", "12 4", "1 2")
"""SVG's stroke-dasharray of the same curves."""

_DARK, _LIGHT = "#000000", "#ffffff"


def mix(ramp: Sequence[str], share: float) -> str:
    """Return the colour at `share` of a ramp, between 0 and 1; what is outside is cut.

    >>> mix(NEGATIVE, 0), mix(NEGATIVE, 2), mix(("#000000", "#ffffff"), 0.5)
    ('#ffffff', '#0b4f8a', '#808080')
    """
    place = min(max(share, 0.0), 1.0) * (len(ramp) - 1)
    low = min(int(place), len(ramp) - 2)
    pairs = zip(_channels(ramp[low]), _channels(ramp[low + 1]), strict=True)
    rest = place - low
    return "#" + "".join(f"{round(a + (b - a) * rest):02x}" for a, b in pairs)


def signed_color(value: float) -> str:
    """Return the background of a value between −1 and 1."""
    return mix(POSITIVE if value > 0 else NEGATIVE, abs(value))


def letter_color(background: str) -> str:
    """Return black or white, whichever is read more easily on a background."""
    return max((_DARK, _LIGHT), key=lambda letters: contrast(letters, background))


def contrast(first: str, second: str) -> float:
    """Return the contrast of two colours, 1 to 21, as WCAG 2 defines it.

    >>> round(contrast("#000000", "#ffffff"), 1)
    21.0
    """
    high, low = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(color: str) -> float:
    """Return the relative luminance of an sRGB colour, 0 to 1."""
    parts = [channel / 255 for channel in _channels(color)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _channels(color: str) -> tuple[int, int, int]:
    return (int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16))
