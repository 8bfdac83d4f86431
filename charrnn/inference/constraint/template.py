"""A text with blanks, such as "Name: {}\\nAge: {[0-9]+}", as a pattern.

`{…}` holds the pattern of a blank. `{}` is a piece of a line up to the character that comes next in
the template, so that the model says where it ends. `{{` and `}}` stand for braces.
"""

from __future__ import annotations

import re

from charrnn.errors import ConfigError

_LITERAL = re.compile(r"(?:[^{}]|\{\{|\}\})+")
_PIECE = re.compile(
    r"\\.|[^\\]", re.DOTALL
)  # of a blank: an escaped brace opens and closes nothing


def template_pattern(template: str) -> str:
    """Give the pattern of a template.

    Raises:
        ConfigError: a brace has no partner, or a blank holds no pattern.
    """
    pattern, place = "", 0
    while place < len(template):
        if found := _LITERAL.match(template, place):
            pattern += re.escape(found[0].replace("{{", "{").replace("}}", "}"))
            place = found.end()
        else:
            end = _closing_brace(template, place)
            blank = _checked(template, template[place + 1 : end])
            place = end + 1
            pattern += f"(?:{blank or _piece_before(template, place)})"
    return pattern


def _piece_before(template: str, place: int) -> str:
    """Give the pattern of a blank that says nothing, by the literal character at `place`."""
    is_literal = _LITERAL.match(template, place)
    return rf"[^\n{re.escape(template[place])}]+" if is_literal else r"[^\n]+"


def _closing_brace(template: str, start: int) -> int:
    """Give the place of the brace that closes the one at `start`."""
    depth = 0
    for piece in _PIECE.finditer(template, start):
        depth += {"{": 1, "}": -1}.get(piece[0], 0)
        if depth <= 0:
            break
    if depth:
        brace, way_out = template[start], "{{" if depth > 0 else "}}"
        raise ConfigError(
            f"template {template!r} has a {brace} at position {start} without its partner; "
            f"write {way_out} for the character itself"
        )
    return piece.start()


def _checked(template: str, blank: str) -> str:
    try:
        re.compile(blank)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(
            f"template {template!r} has the blank {blank!r}, which is no pattern: {error}"
        ) from error
    return blank
