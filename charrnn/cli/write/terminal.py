"""The keyboard of a session: lines as they are typed, and signals to stop or to leave.

Where Python has readline, a line can be edited, ↑ brings earlier ones back, pasted text comes as
one line with its newlines, and Tab completes.
"""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import click

from charrnn.cli.signals import catch_signals
from charrnn.errors import ConfigError

try:
    import readline
    import termios
except ImportError:  # Windows
    readline = termios = None  # type: ignore[assignment]

_TERMINAL_GONE = (OSError, termios.error) if termios else (OSError,)


class ReplExit(BaseException):
    """The person left, by the end of input (signal_number 0) or by a signal.

    typed: the line that was begun; readline forgets it where the terminal itself is gone.
    """

    def __init__(self, signal_number: int = 0, typed: str = "") -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number
        self.typed = typed


class _Interrupted(BaseException):
    """A signal came while a line was typed."""


class Terminal:
    """Reads lines, and takes the signals that would end the program.

    While a line is typed, a signal ends that; at any other time it only asks to stop.
    signal_number: of the signal that asked since the last line was read; 0 for none. complete:
    returns the lines that a line may become at Tab; each begins with it.
    """

    def __init__(self) -> None:
        self.complete: Callable[[str], list[str]] = lambda line: []
        self.signal_number = 0
        self._is_reading = False

    @contextmanager
    def open(self) -> Iterator[None]:
        """Take signals and Tab within the block."""

        def complete_line(line: str, index: int) -> str | None:
            self._is_reading = False  # readline would swallow what a signal raises in here
            try:
                return dict(enumerate(self.complete(line))).get(index)
            finally:
                self._is_reading = True

        if readline:
            for key in ("set enable-bracketed-paste on", "set bell-style none", "tab: complete"):
                readline.parse_and_bind(key)
            readline.set_completer_delims("")  # complete the whole line, not its last word
            readline.set_completer(complete_line)
        with catch_signals(self._take_signal):
            yield

    @contextmanager
    def without_echo(self) -> Iterator[None]:
        """Show nothing of what is typed within the block; the next line begins with it."""
        before = None
        with suppress(*_TERMINAL_GONE):
            if termios:
                before = termios.tcgetattr(sys.stdin)
                quiet = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, quiet)
        try:
            yield
        finally:
            if before is not None:
                with suppress(*_TERMINAL_GONE):
                    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)

    def read_line(self) -> str:
        """Return the next line; Ctrl-C clears one that was begun.

        Raises:
            ReplExit: by Ctrl-D, by Ctrl-C on an empty line, or by another signal.
            ConfigError: the line is not in the terminal's encoding.
        """
        while True:
            if self.signal_number == signal.SIGINT:  # it was meant for what ran until now
                self.signal_number = 0
            line, is_whole = self._try_line()
            if is_whole and not self.signal_number:
                return line
            if self.signal_number != signal.SIGINT or not line:
                raise ReplExit(self.signal_number, line)

    def confirm(self, question: str) -> bool:
        """Return whether a question is answered with yes, as Enter alone does.

        Raises:
            ReplExit: as `read_line`; also by Ctrl-C.
        """
        with self._without_history():
            while True:
                answer, is_whole = self._try_line(f"{question} [Y/n] ")
                if not is_whole or self.signal_number:
                    raise ReplExit(self.signal_number)
                answer = answer.strip().lower()
                if answer in ("", "y", "yes", "n", "no"):
                    return not answer.startswith("n")
                question = "Please type y or n."

    @contextmanager
    def _without_history(self) -> Iterator[None]:
        """Keep what is typed within the block out of what ↑ brings back."""
        if readline:
            readline.set_auto_history(False)
        try:
            yield
        finally:
            if readline:
                readline.set_auto_history(True)

    def _try_line(self, prompt: str = "> ") -> tuple[str, bool]:
        """Return a line and True, or what was typed of it when a signal came and False."""
        if self.signal_number:
            return "", False
        try:
            try:
                self._is_reading = True
                return input(prompt), True
            finally:
                self._is_reading = False  # from here on a signal raises nothing
        except _Interrupted:
            with suppress(OSError):  # the terminal is gone
                click.echo()
            return readline.get_line_buffer() if readline else "", False
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"what was typed is not in the terminal's encoding ({error.reason}); "
                "the text has not changed"
            ) from error
        except (EOFError, OSError) as error:  # OSError: the terminal is gone
            raise ReplExit from error

    def _take_signal(self, number: int, _: FrameType | None) -> None:
        if number != signal.SIGINT or not self.signal_number:  # Ctrl-C replaces no other signal
            self.signal_number = number
        if self._is_reading:
            self._is_reading = False  # a terminal that closes may send two of them
            raise _Interrupted
