"""A person at a terminal: lines as they are typed, and the wish to stop or to leave.

Where Python has readline, a line can be edited, earlier ones come back by ↑, what is pasted comes
as one line with its newlines, and Tab completes.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import click

from charrnn.errors import ConfigError

try:
    import readline
    import termios
except ImportError:  # Windows
    readline = termios = None  # type: ignore[assignment]

_PROMPT = "> "
_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class ReplExit(BaseException):
    """The person left, by the end of input (number 0) or by a signal.

    typed: a line that was begun; readline forgets it where the terminal itself is gone.
    """

    def __init__(self, number: int = 0, typed: str = "") -> None:
        super().__init__(number)
        self.number = number
        self.typed = typed


class _Interrupted(BaseException):
    """A signal came while a line was typed."""


class Terminal:
    """Reads lines, and takes the signals that would end the program.

    While a line is typed they end that; at any other time they only ask for a stop. number: of the
    signal that asks, 0 for none.
    """

    def __init__(self) -> None:
        self.number = 0
        self._is_reading = False

    @contextmanager
    def held(self, complete: Callable[[str], list[str]]) -> Iterator[Terminal]:
        """Take signals and keys within the block; SIGHUP stays ignored where it was (nohup).

        complete: gives what a line may become at Tab, of which each begins with it.
        """
        before: dict[int, Any] = {}
        for number in _SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, self._take)
        self._prepare(complete)
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def has_stopped(self) -> bool:
        """Tell whether to stop what goes on since the last line was read."""
        return self.number != 0

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Show nothing of what is typed within the block; the next line begins with it."""
        before = _switch_echo_off()
        try:
            yield
        finally:
            if before is not None:
                with suppress(termios.error, OSError):  # the terminal is gone
                    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)

    def read_line(self) -> str:
        """Give the next line; Ctrl-C clears one that was begun.

        Raises:
            Left: by Ctrl-D, by Ctrl-C on an empty line, or by another signal.
            ConfigError: it is not in the terminal's encoding.
        """
        while True:
            if self.number == signal.SIGINT:  # which was meant for what went on until now
                self.number = 0
            line, is_whole = ("", False) if self.number else self._try_line()
            if is_whole and not self.number:
                return line
            if self.number != signal.SIGINT or not line:
                raise ReplExit(self.number, line)

    def _try_line(self) -> tuple[str, bool]:
        """Give a line and whether it is whole, or what was typed of it when a signal came."""
        try:
            return self._input(), True
        except _Interrupted:
            with suppress(OSError):  # the terminal is gone
                click.echo()
            return readline.get_line_buffer() if readline else "", False
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"what was typed is not in the terminal's encoding ({error.reason}); "
                "the text is as it was"
            ) from error
        except (EOFError, OSError) as error:  # OSError: the terminal is gone
            raise ReplExit from error

    def _input(self) -> str:
        try:
            self._is_reading = True
            return input(_PROMPT)
        finally:
            self._is_reading = False

    def _take(self, number: int, _: FrameType | None) -> None:
        if number != signal.SIGINT or not self.number:
            self.number = number
        if self._is_reading:
            self._is_reading = False  # a terminal that goes may send two of them
            raise _Interrupted

    def _prepare(self, complete: Callable[[str], list[str]]) -> None:
        """Set up the editing of lines."""
        if not readline:
            return

        def complete_line(line: str, index: int) -> str | None:
            self._is_reading = False  # readline would swallow what a signal raises in here
            try:
                return dict(enumerate(complete(line))).get(index)
            finally:
                self._is_reading = True

        for setting in ("set enable-bracketed-paste on", "set bell-style none", "tab: complete"):
            readline.parse_and_bind(setting)
        readline.set_completer_delims("")
        readline.set_completer(complete_line)


def _switch_echo_off() -> list[Any] | None:
    """Let the terminal show no keys; give its settings before, None where it has none."""
    if not termios:
        return None
    try:
        before = termios.tcgetattr(sys.stdin)
        quiet = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, quiet)
    except (termios.error, OSError):
        return None
    return before
