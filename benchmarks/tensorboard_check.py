"""Read event files as TensorBoard does, and compare every figure with the run's metrics.jsonl.

    python -m venv /tmp/board && /tmp/board/bin/pip install tensorboard
    charrnn train book.txt --tensorboard boards
    /tmp/board/bin/python benchmarks/tensorboard_check.py boards checkpoints

It needs tensorboard and nothing of charrnn, so it can run in an environment of its own. Each folder
of `boards` is that of the run of its name.
"""

import json
import math
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

CURVES = {
    "train/nats": ("progress", "train_nats"),
    "train/learning_rate": ("progress", "learning_rate"),
    "train/gradient_norm": ("progress", "gradient_norm"),
    "run/chars_per_second": ("progress", "chars_per_second"),
    "val/nats": ("evaluation", "val_nats"),
    "final/val_bpc": ("finished", "val_bpc"),
}


def check_run(board: Path, run: Path) -> int:
    """Compare the curves of a run; return how many figures agree."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    log = [json.loads(line) for line in lines]
    events = EventAccumulator(str(board), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    count = 0
    for tag, (kind, key) in CURVES.items():
        expected = [
            (e["step"], e[key]) for e in log if e["event"] == kind and e.get(key) is not None
        ]
        found = [(each.step, each.value) for each in events.Scalars(tag)] if expected else []
        assert [step for step, _ in found] == [step for step, _ in expected], (board, tag)
        for (_, value), (_, logged) in zip(found, expected, strict=True):
            assert math.isclose(value, logged, rel_tol=1e-6), (board, tag, value, logged)
        count += len(found)
    names = events.summary_metadata
    assert {"_hparams_/experiment", "_hparams_/session_start_info"} <= names.keys(), board
    return count


def main() -> None:
    """Check each run of the folders that are given."""
    boards, checkpoints = map(Path, sys.argv[1:])
    for board in sorted(path for path in boards.iterdir() if path.is_dir()):
        print(f"{board.name}: {check_run(board, checkpoints / board.name):,} figures as logged")


if __name__ == "__main__":
    main()
