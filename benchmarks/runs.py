"""A run of `charrnn train` in a process of its own: what the scripts that train share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from charrnn.errors import CharRNNError

_LAUNCHER = "-m", "torch.distributed.run", "--standalone"


class RunFailedError(CharRNNError):
    """A training process ended with an error."""


def train(
    path: str, settings: Mapping[str, Any], processes: int = 1, folder: str | None = None
) -> dict[str, dict[str, Any]]:
    """Train in one process or several, and give the last report of each kind, by its event.

    folder: where the run stays; None keeps nothing of it. The user's own CHARRNN_ variables do not
    reach it: a default is the program's.

    Raises:
        RunFailedError: it ended with an error.
    """
    with tempfile.TemporaryDirectory() as checkpoints:
        own = ["--json", "--checkpoints", folder or checkpoints, "--", path]
        launcher = [*_LAUNCHER, "--nproc-per-node", str(processes)] if processes > 1 else []
        command = [sys.executable, *launcher, "-m", "charrnn", "train"]
        command += [*as_options(settings), *own]
        done = subprocess.run(
            command, env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise RunFailedError(f"exit {done.returncode}: {said[-1]}")
    reports = map(json.loads, done.stdout.splitlines())
    return {report["event"]: report for report in reports}


def as_options(settings: Mapping[str, Any]) -> list[str]:
    """Return settings, or cells of a row, as options of `charrnn train`."""
    options = []
    for name, value in settings.items():
        dashed = name.replace("_", "-")
        flag = {"True": f"--{dashed}", "False": f"--no-{dashed}"}.get(str(value))
        options += [flag] if flag else [f"--{dashed}", str(value)]
    return options


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the script with a line and an exit code where something is wrong; SIGTERM as Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    except CharRNNError as error:
        print(f"{Path(sys.argv[0]).name}: {error.message}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _environment() -> dict[str, str]:
    own = ("CHARRNN_CACHE",)
    return {k: v for k, v in os.environ.items() if k in own or not k.startswith("CHARRNN_")}
