"""A download's progress on stderr; nothing where that is no terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from charrnn.console.streams import Output, is_screen


@contextmanager
def show_transfer(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Yield a function that takes the bytes received and, where it is known, their total."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn()
    console = Output(stderr=True)
    bar = Progress(*columns, TransferSpeedColumn(), console=console, transient=True)
    bar.disable = not is_screen(console)
    with bar:
        task = bar.add_task(name, total=None)
        yield lambda received, total: bar.update(task, completed=received, total=total)
