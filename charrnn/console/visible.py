"""Text from a model, a corpus or a file name, made safe to look at.

A terminal obeys control characters; here each becomes a visible sign instead, so that nothing
generated can move the cursor, recolour the screen or hide what it says. It needs no rich.
"""

from __future__ import annotations

_KEPT = "\n\t"
_BIDIRECTIONAL = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_SIGNS = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in _KEPT}
_SIGNS |= {0x7F: "\u2421"}
_SIGNS |= {code: f"<{code:02X}>" for code in range(0x80, 0xA0)}
_SIGNS |= {ord(char): f"<{ord(char):04X}>" for char in _BIDIRECTIONAL + "\u2028\u2029"}
_SIGNS |= dict.fromkeys(range(55296, 57344), "�")


def make_visible(text: str) -> str:
    """Replace C0 and C1 controls, DEL, bidirectional controls and surrogates by visible signs.

    Newline and tab stay. U+241B stands for ESC, <9B> for CSI, and so on.
    """
    return text.translate(_SIGNS)


def one_line(text: str) -> str:
    """Make `text` safe and bring it onto one line, for messages and table cells."""
    return make_visible(text).replace("\n", "\u2424").replace("\t", " ")
