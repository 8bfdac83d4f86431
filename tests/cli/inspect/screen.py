"""What a view prints on a terminal of a width, with colours or without."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console

Show = Callable[[Mapping[str, Any], Console], None]


def lines_of(
    show: Show, reports: Mapping[str, Any], width: int = 80, *, color: str | None = None
) -> list[str]:
    """Return the lines that a console of a width gets; color: its colour system."""
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=width,
        color_system=color,  # type: ignore[arg-type]
        force_terminal=color is not None,
        no_color=color is None,
        legacy_windows=False,
    )
    show(reports, console)
    return stream.getvalue().splitlines()
