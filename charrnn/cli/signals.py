"""How a run is stopped from outside: by Ctrl-C, by a signal, or because nobody looks any more."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from charrnn.checkpoint.run_folder import RunFolder

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


_NOTHING_YET = "stopped before training began, so nothing is lost; the same command starts again"


class Stopped(click.ClickException):
    """A run was stopped: one line says where it is and how to go on. Exits with 128 + signal."""

    def __init__(self, number: int, run: RunFolder | None) -> None:
        super().__init__(_describe(run))
        self.exit_code = 128 + number  # type: ignore[misc]


def _describe(run: RunFolder | None) -> str:
    from charrnn.cli.train.summary import name_for_shell

    if run is None or run.step is None:
        return _NOTHING_YET
    return (
        f"stopped; saved after step {run.step:,} in {run.path}; "
        f"go on with: charrnn train --resume {name_for_shell(run)}"
    )


class _Left(BaseException):
    """The program is to be left at once."""


class StopSignal:
    """Turns the first Ctrl-C, SIGTERM or SIGHUP into a wish to stop; a second one ends at once.

    Until the run heeds it, while the text is read and nothing is there to save, the first one ends
    at once too. While modules load, so does the process: an exception in the middle of one may be
    swallowed, or crash it. SIGHUP stays ignored where it was (nohup).
    """

    def __init__(self) -> None:
        self.number = 0
        self.is_loaded = False
        self.is_heeded = False
        self._is_left = False
        self._before: dict[int, Any] = {}

    def is_set(self) -> bool:
        """Tell whether to stop."""
        return self.number != 0

    def note(self, number: int) -> None:
        """Wish to stop for the reason that a signal stands for."""
        self.number = self.number or number

    def __enter__(self) -> StopSignal:
        for number in _SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> bool:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        return self._is_left

    def _take(self, number: int, _: FrameType | None) -> None:
        if not self.is_loaded:
            with suppress(OSError):
                os.write(2, f"charrnn: {_NOTHING_YET}\n".encode())
            os._exit(128 + number)
        if self.number or not self.is_heeded:
            self._is_left = True
            self.note(number)
            raise _Left
        self.note(number)
