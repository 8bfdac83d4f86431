"""How far the scoring of a text has come, on stderr; nothing where that is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from charrnn.console.streams import Output, is_screen
from charrnn.console.tables import PROTOCOLS

_PATIENCE_SECONDS = 2.0


@contextmanager
def show_scoring() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that takes a protocol, the symbols scored since, and how many there are.

    A bar appears for a protocol once the scoring has taken two seconds.
    """
    console, began = Output(stderr=True), time.monotonic()
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=console, transient=True)
    bar.disable = not is_screen(console)
    tasks = {name: bar.add_task(label, visible=False) for name, label in PROTOCOLS.items()}

    def show(protocol: str, symbols: int, total: int) -> None:
        is_long = time.monotonic() - began > _PATIENCE_SECONDS
        bar.update(tasks[protocol], advance=symbols, total=total, visible=is_long)

    with bar:
        yield show
