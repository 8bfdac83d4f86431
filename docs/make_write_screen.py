"""Write the screen of a session of charrnn write, as the tutorial shows one, to stdout.

    python docs/make_write_screen.py [COLUMNS]

It trains a model on python-docs for about 20 s of one core, types at a session in tmux, and gives
what stands on the screen, 24 rows high. Needs tmux.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("charrnn")
TRAIN = "train python-docs --steps 700 --hidden-size 256 --threads 1 --name docs --quiet"
WRITE = "write docs --seed 4 --temp 0.6"
TYPED = ["Return the name of", "", "/r", "/n 3"]
PATIENCE_SECONDS = 30.0


def make_screen(columns: int) -> str:
    """Return the screen after a short session."""
    # The session, hung up, may still save its text while the folder is removed.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        subprocess.run([PROGRAM, *TRAIN.split()], cwd=folder, check=True)
        home = ("-e", f"HOME={folder}")
        size = ("-x", str(columns), "-y", "24")
        tmux("new-session", "-d", *size, *home, "-c", folder, str(PROGRAM), *WRITE.split())
        try:
            screen = wait_for_prompt("")
            for line in TYPED:
                tmux("send-keys", "-l", line)
                tmux("send-keys", "Enter")
                screen = wait_for_prompt(screen)
        finally:
            tmux("kill-server")
        return screen


def wait_for_prompt(before: str) -> str:
    """Return the screen once it is another one, on whose last row a line can be typed."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        screen = tmux("capture-pane", "-p").rstrip()
        if screen != before and screen.endswith("\n>"):
            return screen
        time.sleep(0.05)
    raise SystemExit(f"no prompt came:\n{screen}")


def tmux(*arguments: str) -> str:
    """Run a command of tmux, with a server of our own; give what it writes."""
    command = ["tmux", "-u", "-L", f"charrnn-screen-{os.getpid()}", "-f", os.devnull, *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False).stdout


if __name__ == "__main__":
    sys.stdout.write(make_screen(int(sys.argv[1]) if len(sys.argv) > 1 else 80) + "\n")
