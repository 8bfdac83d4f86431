"""How a run is stopped from outside: by Ctrl-C, by a signal, or because its output is closed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.inputs import name_for_shell

if TYPE_CHECKING:
    from charrnn.checkpoint.run_folder import RunFolder

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]  # Windows has no SIGHUP
_LOADED_LATER = (  # torch, and what begins to load it, after the text is read
    "torch",
    *(f"charrnn.training.{name}" for name in ("loop", "calibration", "distributed", "trial")),
)
_SHOW_CURSOR = b"\x1b[?25h"
_NOTHING_YET = "stopped before training began, so nothing is lost; the same command starts again"


@contextmanager
def catch_signals(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Call `handler` at Ctrl-C, SIGTERM and SIGHUP within the block.

    A signal that was ignored stays ignored, such as SIGHUP under nohup.
    """
    caught = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in caught}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


class Stopped(click.ClickException):
    """A run was stopped: one line says where it is and how to continue. Exits with 128 + signal."""

    def __init__(
        self, number: int, run: RunFolder | None, *, is_one_of_several: bool = False
    ) -> None:
        message = _NOTHING_YET
        if run is not None and run.step is not None:
            hint = f"continue with: charrnn train --resume {name_for_shell(run)}"
            if is_one_of_several:
                hint = "the same command continues"
            message = f"stopped; saved after step {run.step:,} in {run.path}; {hint}"
        super().__init__(message)
        self.exit_code = 128 + number  # type: ignore[misc]


def _is_importing(module: str) -> bool:
    """Return whether an import of this module has begun and not ended."""
    spec = getattr(sys.modules.get(module), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))  # what importlib itself goes by


class _StopNow(BaseException):
    """The program must end at once."""


class StopSignal:
    """Turns the first Ctrl-C, SIGTERM or SIGHUP into a request to stop; a second one ends at once.

    is_loaded: whether the caller's modules are imported; until then, and while torch is imported
    later, the first signal ends the process. is_polled: whether the run polls `is_set`; while the
    text is read there is nothing to save, so the first signal ends the block.
    """

    def __init__(self) -> None:
        self.number = 0
        self.is_loaded = False
        self.is_polled = False
        self._must_stop_now = False
        self._caught = catch_signals(self._take)

    def is_set(self) -> bool:
        """Return whether to stop."""
        return self.number != 0

    def note(self, number: int) -> None:
        """Ask to stop, as if this signal had come; the first one counts."""
        self.number = self.number or number

    def __enter__(self) -> StopSignal:
        self._caught.__enter__()
        return self

    def __exit__(self, *_: object) -> bool:
        self._caught.__exit__(None, None, None)
        # Any exception since then comes from _StopNow, which a finally block may have replaced.
        return self._must_stop_now

    def _take(self, number: int, _: FrameType | None) -> None:
        # An exception during an import may be swallowed, or crash it.
        if not self.is_loaded or any(map(_is_importing, _LOADED_LATER)):
            with suppress(OSError):  # os.write: print may be in the middle of a line
                os.write(2, _SHOW_CURSOR * os.isatty(2) + f"charrnn: {_NOTHING_YET}\n".encode())
            os._exit(128 + number)
        is_second = self.is_set()
        self.note(number)
        if is_second or not self.is_polled:
            self._must_stop_now = True
            raise _StopNow
