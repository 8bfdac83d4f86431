"""A download's progress on stderr; nothing where that is no terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from charrnn.console.streams import Output, is_screen
from charrnn.console.visible import one_line


@contextmanager
def show_transfer(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Yield a function that takes the bytes received and, where it is known, their total.

    The bar appears with the first of them: a name that nobody knows draws none.
    """
    columns = TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn()
    console = Output(stderr=True)
    bar = Progress(*columns, TransferSpeedColumn(), console=console, transient=True)
    bar.disable = not is_screen(console)
    task = bar.add_task(one_line(name), total=None)

    def show(received: int, total: int | None) -> None:
        bar.start()
        bar.update(task, completed=received, total=total)

    try:
        yield show
    finally:
        bar.stop()
