"""Processes that train together, started as torchrun would start them, and the curves of runs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from charrnn.checkpoint.run_folder import RunFolder

PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Together:
    """The processes, by rank, and the files with what each writes: rank.out and rank.err."""

    processes: Sequence[subprocess.Popen[bytes]]
    folder: Path

    def wait(self) -> list[int]:
        """Wait for all to end and give their exit codes; a negative one is the signal."""
        return [process.wait(PATIENCE_SECONDS) for process in self.processes]

    def complaints(self) -> list[str]:
        """Return the lines in which any of them says why it ended, in the order of their ranks."""
        texts = [(self.folder / f"{rank}.err").read_text() for rank in range(len(self.processes))]
        return [line for text in texts for line in text.splitlines() if "charrnn: " in line]


TRAIN = (sys.executable, "-m", "charrnn", "train")


def start_together(
    number: int, folder: Path, *words: str, program: Sequence[str] = TRAIN
) -> Together:
    """Start `charrnn train`, or another program, with these words in `number` processes."""
    folder.mkdir()
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    processes = []
    for rank in range(number):
        own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number}
        with (folder / f"{rank}.out").open("wb") as out, (folder / f"{rank}.err").open("wb") as err:
            command = [*program, *words]
            environment = os.environ | common | {name: str(value) for name, value in own.items()}
            processes.append(subprocess.Popen(command, env=environment, stdout=out, stderr=err))
    return Together(processes, folder)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(path: Path, together: Together) -> None:
    """Wait until there is this file, which one of the processes writes."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not path.exists():
        codes = [process.poll() for process in together.processes]
        assert set(codes) == {None}, (codes, together.complaints())
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.002)


@dataclass(frozen=True)
class Curve:
    """A run's evaluations by step, and its folder."""

    val_nats: Mapping[int, float]
    train_nats: Mapping[int, float]
    run: RunFolder


def read_curve(run: RunFolder) -> Curve:
    """Read what a run, of however many processes, says of its evaluations."""
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["event"] == "evaluation"]
    val, train = ({row["step"]: row[name] for row in rows} for name in ("val_nats", "train_nats"))
    return Curve(val, train, run)
