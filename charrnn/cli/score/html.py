"""A scored text as one HTML file: every character is coloured by its bits.

The file needs no other file and loads nothing from the network. No part of the text becomes markup,
and control characters are shown as symbols.
"""

import re
from collections.abc import Iterable, Sequence
from html import escape

from charrnn.cli.formatting import format_character, one_line
from charrnn.cli.score.view import (
    COLOURS,
    LABELS,
    UNSEEN,
    characters_of,
    levels_of,
)
from charrnn.generation.scoring import Line

_HEAD = """<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem; font-family: sans-serif; }}
h1 {{ font-size: 1.2rem; }}
th {{ text-align: left; font-weight: normal; padding-right: 1rem; }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; font-size: 1rem; line-height: 1.6; }}
b {{ font-weight: normal; border-radius: 2px; }}
p b {{ padding: 0.1rem 0.5rem; }}
{colours}
</style>
</head>
<body>
<h1>{title}</h1>
<table>
{figures}
</table>
<p>Bits of each character: {legend} Point at one to read its bits.</p>
<pre{lang}>"""
_TAIL = "</pre>\n</body>\n</html>\n"
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_KANA = re.compile("[\u3041-\u30ff]")


def make_page(title: str, figures: Iterable[tuple[str, str]], lines: Sequence[Line]) -> str:
    """Return the file's text. figures: names and values."""
    language = language_of("".join(line.text for line in lines))
    head = _HEAD.format(
        title=escape(one_line(title)),
        lang=f' lang="{language}"' if language else "",
        figures="\n".join(
            f"<tr><th>{escape(one_line(name))}</th><td>{escape(one_line(value))}</td></tr>"
            for name, value in figures
        ),
        legend=" ".join(f'<b class="s{i}">{label}</b>' for i, label in enumerate(LABELS)),
        colours="\n".join(
            f".s{level} {{ color: {letters}; background: {background}; }}"
            for level, (letters, background) in enumerate(COLOURS)
            if background  # the lowest level has none
        ),
    )
    return "".join([head, *map(format_line, lines), _TAIL])


def language_of(text: str) -> str | None:
    """Return "zh" or "ja" of a text mostly in Han characters or kana; None of any other.

    The same Han character has other shapes in either, and a browser goes by the language.

    >>> language_of("床前明月光"), language_of("春はあけぼの"), language_of("the word 山")
    ('zh', 'ja', None)
    """
    han = len(_HAN.findall(text))
    kana = len(_KANA.findall(text))
    if 2 * (han + kana) <= sum(map(str.isalpha, text)):
        return None
    return "ja" if 10 * kana > han else "zh"


def format_line(line: Line) -> str:
    """Return a line's characters as HTML; one of a bit or more shows its bits to the pointer."""
    spans = map(_format_span, characters_of(line), line.all_bits.tolist(), levels_of(line))
    return "".join(spans) + "\n" * (line.end_bits is not None)


def _format_span(char: str, bits: float, level: int) -> str:
    # Browsers have no glyph for U+2424, which shows a newline on a terminal.
    shown = "↵" if char == "\n" else escape(format_character(char))
    if level:
        what = f"{LABELS[UNSEEN]}, " if level == UNSEEN else ""
        shown = f'<b class="s{level}" title="{what}{bits:.2f} bits">{shown}</b>'
    return shown + "\n" if char == "\n" else shown  # within <pre>, a newline breaks the line
