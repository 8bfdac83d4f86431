"""The program run inside this process, with pipes or a pseudo-terminal around it."""

from __future__ import annotations

import io
import os
import sys
import termios
import threading
import tty
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from charrnn.cli.main import main

EXIT_CODES = {*range(10), 130, 141}
"""Those of the table in charrnn/errors.py, and the ends by Ctrl-C and by a closed pipe."""


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it wrote."""

    code: int
    out: bytes
    err: str

    @property
    def is_clear(self) -> bool:
        """Whether it ended well, or with a known code and exactly one line that says why."""
        has_one_line = self.err.startswith("charrnn: ") and len(self.err.splitlines()) == 1
        return self.code in EXIT_CODES and (self.code == 0 or has_one_line)


def run(*arguments: str, stdin: bytes = b"") -> Ended:
    """Run the program with pipes around it; an error that it does not expect comes out of here."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict") for _ in range(2))
    err.reconfigure(errors="backslashreplace")  # as Python opens it
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        code = end_of(*arguments)
        out.flush()
        err.flush()
        return Ended(code, out.buffer.getvalue(), err.buffer.getvalue().decode())


def end_of(*arguments: str) -> int:
    """Run the program on whatever stdout and stderr are, and give its exit code."""
    with pytest.raises(SystemExit) as ending:
        main(arguments)
    code = ending.value.code or 0
    assert isinstance(code, int), code
    return code


def on_terminal(act: Callable[[], object], *, term: str = "xterm-256color") -> str:
    """Do something with stdout and stderr on a pseudo-terminal, and give what reached it."""
    leader, follower = os.openpty()
    tty.setraw(follower)  # what is read is what was written
    termios.tcsetwinsize(follower, (50, 10_000))
    received: list[bytes] = []
    reader = threading.Thread(target=_read_all, args=(leader, received))
    reader.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("TERM", term), ("COLUMNS", "10000"), ("LINES", "50")):
            patch.setenv(name, value)
        try:
            with os.fdopen(follower, "w", encoding="utf-8", errors="backslashreplace") as screen:
                patch.setattr(sys, "stdout", screen)
                patch.setattr(sys, "stderr", screen)
                act()
        finally:
            reader.join()
            os.close(leader)
    return b"".join(received).decode()


def _read_all(leader: int, received: list[bytes]) -> None:
    try:
        while chunk := os.read(leader, 1 << 16):
            received.append(chunk)
    except OSError:  # the other end is closed
        return
