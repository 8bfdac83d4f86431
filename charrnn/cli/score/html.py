"""A scored text as one HTML file: every character on the colour of what it costs, and its bits.

The file needs nothing else and asks no network. Nothing of the text is markup in it, and control
characters are shown as signs.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from itertools import chain

from charrnn.cli.formatting import one_line
from charrnn.cli.score.view import COLOURS, LABELS, level_of, show_character
from charrnn.generation.scoring import Line

_HEAD = """<!DOCTYPE html>
<html lang="und">
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
<p>Bits that a character costs: {legend}</p>
<pre>"""
_TAIL = "</pre>\n</body>\n</html>\n"


def make_page(title: str, figures: Iterable[tuple[str, str]], body: Iterable[str]) -> str:
    """Give the file's text. figures: names and values. body: what `format_line` gave."""
    head = _HEAD.format(
        title=_safe(title),
        figures="\n".join(f"<tr><th>{_safe(a)}</th><td>{_safe(b)}</td></tr>" for a, b in figures),
        legend=" ".join(f'<b class="s{i}">{label}</b>' for i, label in enumerate(LABELS)),
        colours="\n".join(
            f".s{level} {{ color: {letters}; background: {behind}; }}"
            for level, (letters, behind) in enumerate(COLOURS)
            if behind
        ),
    )
    return "".join(chain([head], body, [_TAIL]))


def format_line(line: Line) -> str:
    """Give a line's characters; those of a bit and more with the figure to be read off them."""
    return "".join(map(_format_character, line.text, line.bits.tolist()))


def _format_character(char: str, bits: float) -> str:
    shown, level = escape(show_character(char)), level_of(bits)
    ending = "\n" if char == "\n" else ""
    return (
        f'<b class="s{level}" title="{bits:.2f} bits">{shown}</b>{ending}'
        if level
        else (shown + ending)
    )


def _safe(text: str) -> str:
    return escape(one_line(text))
