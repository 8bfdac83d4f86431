"""How far compressing or decompressing has come, and what came of it, on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from charrnn.console.streams import Output, is_screen
from charrnn.console.visible import one_line
from charrnn.inference.coding.packing import Packed

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


def show_packed(packed: Packed, out: str, seconds: float) -> None:
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


def _describe_coding(packed: Packed) -> str:
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
