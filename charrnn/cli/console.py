"""What stdout and stderr are written through, and whether there is a screen at their end.

Left to itself, rich takes a file for a terminal where FORCE_COLOR asks for colours, folds tables
that go into a pipe, and ends the program with 1 where nobody reads it any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from charrnn.cli.formatting import one_line
from charrnn.compression.codec import Compressed

PROTOCOLS = {
    "carried": "state carried",
    "windowed": "windows of 256",
    "dynamic": "dynamic, state carried",
}
"""What the protocols of an assessment are called, in the order in which they are measured."""

_UNFOLDED_COLUMNS = 10_000


class Output(Console):
    """A console that leaves a closed pipe to whoever writes."""

    def on_broken_pipe(self) -> None:
        """Say that nobody reads."""
        raise BrokenPipeError


def make_stdout(least_columns: int) -> Output:
    """Give stdout, as wide as its terminal but for tables that need `least_columns`.

    Where it is no terminal, a line takes any length.
    """
    console = Output()
    is_terminal = console.file.isatty()
    console.width = max(console.width, least_columns) if is_terminal else _UNFOLDED_COLUMNS
    return console


def is_screen(console: Console) -> bool:
    """Tell whether `console` writes to a terminal that can be drawn on, coloured or not."""
    return console.file.isatty() and console.is_terminal and not console.is_dumb_terminal


_PATIENCE_SECONDS = 2.0


@contextmanager
def show_packing(label: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that takes the bytes done and how many there are.

    A bar appears after two seconds, where stderr is a terminal.
    """
    console, began = Output(stderr=True), time.monotonic()
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=console, transient=True)
    bar.disable = not is_screen(console)
    task = bar.add_task(label, visible=False)

    def show(done: int, total: int) -> None:
        is_long = time.monotonic() - began > _PATIENCE_SECONDS
        bar.update(task, completed=done, total=total, visible=is_long)

    with bar:
        yield show


def show_packed(packed: Compressed, out: str, seconds: float) -> None:
    """Say how small it became, and what the model alone would have made of it."""
    size, original = len(packed.data), packed.original_bytes
    share = f" ({100 * size / original:.1f} %)" if original else ""
    lines = [f"{original:,} → {size:,} bytes{share}: {out}"]
    if original:
        lines.append(
            f"{packed.bits_per_char:.3f} bits per character, {packed.bits_per_byte:.3f} per byte; "
            f"{packed.chars / max(seconds, 1e-9):,.0f} characters/s"
        )
        lines.append(_describe_coding(packed))
    _show_lines(lines)


def _describe_coding(packed: Compressed) -> str:
    if packed.is_stored:
        return "kept as it is: the model does not make it smaller"
    told = f"the model's own code length: {packed.model_bits / 8:,.0f} bytes"
    unknown = f"{packed.escaped_bytes:,} bytes that it does not know are written as they are"
    return f"{told}; {unknown}" if packed.escaped_bytes else told


def show_unpacked(packed_bytes: int, original_bytes: int, out: str, seconds: float) -> None:
    """Say what came out; that it is right is known by its checksum."""
    rate = original_bytes / max(seconds, 1e-9)
    line = (
        f"{packed_bytes:,} → {original_bytes:,} bytes, checksum right: {out}; {rate:,.0f} bytes/s"
    )
    _show_lines([line])


def _show_lines(lines: list[str]) -> None:
    console = Output(stderr=True)
    for line in lines:
        console.print(one_line(line), markup=False, highlight=False, soft_wrap=True)


_PATIENCE_SECONDS = 2.0


@contextmanager
def show_scoring() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that takes a protocol, the tokens scored since, and how many there are.

    A bar appears for a protocol once the scoring has taken two seconds.
    """
    console, began = Output(stderr=True), time.monotonic()
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=console, transient=True)
    bar.disable = not is_screen(console)
    tasks = {name: bar.add_task(label, visible=False) for name, label in PROTOCOLS.items()}

    def show(protocol: str, tokens: int, total: int) -> None:
        is_long = time.monotonic() - began > _PATIENCE_SECONDS
        bar.update(tasks[protocol], advance=tokens, total=total, visible=is_long)

    with bar:
        yield show


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
