"""Runs as rows of a table: what search.py and grid.py share.

A run is known by its text, its time, its seed and the settings that it asked for, so that a table
that is there is gone on with: what it holds is not measured again. The other settings of a row are
what the run itself chose, on its machine. A run that failed has been made too; the last column says
what was wrong.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from runs import RunFailedError, train
from table import Row, Table

from charrnn.cli.formatting import format_duration
from charrnn.config import TrainConfig, as_dict
from charrnn.corpora.library import locate_texts
from charrnn.data.corpus import Corpus, open_corpus
from charrnn.errors import ConfigError, StorageError

TABLES = Path(__file__).with_name("tables")
SETTINGS = {
    item.name: item
    for item in fields(TrainConfig)
    if item.metadata["section"] in ("Model", "Optimization")
}

_TEXT = ("corpus", "train_chars", "vocab_size")
_TASK = (*_TEXT, "budget_seconds")
_FIGURES = ("val_nats", "val_windowed_nats", "train_nats", "steps", "best_step", "ms_per_step")
_READ = (*_TEXT, "budget_seconds", "seed", *_FIGURES, "error")
_COLUMNS = (
    *("kind", "index", *_TASK, "seed", "asked", *SETTINGS, *_FIGURES),
    *("chars_per_second", "seconds", "device", "precision", "threads", "error"),
)


@dataclass(frozen=True)
class Run:
    """A run to make. path: its text, as given; settings: those asked for; row: what it is."""

    path: str
    settings: dict[str, Any]
    row: Row


def open_texts(paths: Sequence[str]) -> dict[str, Corpus]:
    """Open every text before the first run, fetched if need be.

    Raises:
        CorpusError: one of them is missing or no text.
    """
    return {path: open_corpus(locate_texts([path])) for path in paths}


def make_run(text: tuple[str, Corpus], kind: str, index: int, **settings: Any) -> Run:
    """Describe a run of a text by its path: the row says what it is asked for, and no more.

    Raises:
        ConfigError: a setting is out of range, or clashes with another.
    """
    path, corpus = text
    config = TrainConfig(**settings)
    row = {
        "kind": kind,
        "index": index,
        "corpus": corpus.name,
        "train_chars": corpus.train_chars,
        "vocab_size": corpus.vocab.size,
        "budget_seconds": config.budget_seconds,
        "seed": config.seed,
        "asked": " ".join(name for name in SETTINGS if name in settings),
        **{name: value for name, value in as_dict(config).items() if name in SETTINGS},
    }
    return Run(path, settings, _as_cells(row))


def complete(path: Path, runs: Sequence[Run]) -> list[Row]:
    """Make the runs that a table lacks, with a row after each; give all rows of the table.

    Raises:
        ConfigError, StorageError: the table is not one, or cannot be written.
    """
    table = Table(path, _as_cells(dict.fromkeys(_COLUMNS)) | _defaults())
    rows = table.open()
    missing = _missing(runs, rows)
    seconds = sum(float(run.row["budget_seconds"]) for run in missing)
    print(f"{len(missing)} of {len(runs)} runs to make: {format_duration(seconds)} or more")
    try:
        for number, run in enumerate(missing, start=1):
            rows.append(table.blank | run.row | measure(run))
            table.add(rows[-1])
            print(f"{number}/{len(missing)} {describe(rows[-1])}", flush=True)
    except (KeyboardInterrupt, SystemExit):
        print(f"stopped; {path} holds the runs so far, and the same command goes on")
        raise
    return rows


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a table whose runs went well.

    Raises:
        StorageError: it cannot be read.
        ConfigError: it is no table of runs.
    """
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            if missing := [name for name in _READ if name not in (reader.fieldnames or ())]:
                raise ConfigError(f"{path} has no column {missing[0]!r}, so it is no table of runs")
            return [row for row in reader if not row["error"]]
    except (OSError, UnicodeError) as error:
        raise StorageError(f"cannot read the table {path}: {error}") from error


def identity(row: Row) -> tuple[str, ...]:
    """Return what tells one measurement from another."""
    return task(row) + tuple(row[name] for name in ("seed", "asked", *row["asked"].split()))


def task(row: Row) -> tuple[str, ...]:
    """Return what two runs must have in common to be compared: the text and the time."""
    return tuple(row[name] for name in _TASK)


def describe(row: Row) -> str:
    """Print in a line what came of a run."""
    name = (
        f"{row['corpus']} {float(row['budget_seconds']):g}s {row['kind']} {row['index']} "
        f"({row['cell']} {row['num_layers']}×{row['hidden_size']}, dropout {row['dropout']})"
    )
    if row["error"]:
        return f"{name}: failed, {row['error']}"
    return f"{name}: val {row['val_nats']} nats, train {row['train_nats']}, {row['steps']} steps"


def measure(run: Run) -> Row:
    """Make a run and give the cells of what came of it, or of why nothing did."""
    try:
        reports = train(run.path, run.settings)
    except RunFailedError as error:
        return {"error": " ".join(error.message.split())}
    started, progress, finished = (reports[k] for k in ("started", "progress", "finished"))
    plan = started["plan"] | started["plan"]["model"]
    chosen = {name: plan[name] for name in SETTINGS if name in plan and name not in run.settings}
    chars_per_step, rate = finished["chars_seen"] / finished["step"], progress["chars_per_second"]
    return _as_cells(
        chosen
        | {
            "val_nats": round(finished["best_val_nats"], 5),
            "val_windowed_nats": round(finished["best_val_windowed_nats"], 5),
            "train_nats": round(finished["best_train_nats"], 5),
            "steps": finished["step"],
            "best_step": finished["best_step"],
            "ms_per_step": round(1000 * chars_per_step / rate, 3) if rate else None,
            "chars_per_second": round(rate),
            "seconds": round(finished["elapsed_seconds"], 2),
            **{name: started[name] for name in ("device", "precision", "threads")},
        }
    )


def _missing(runs: Sequence[Run], rows: Sequence[Row]) -> list[Run]:
    wanted, done = {identity(run.row): run for run in runs}, set(map(identity, rows))
    return [run for key, run in wanted.items() if key not in done]


def _defaults() -> Row:
    """Return the cells of settings that a table's rows were made without: their defaults."""
    return _as_cells({name: item.default for name, item in SETTINGS.items()})


def _as_cells(values: Mapping[str, Any]) -> Row:
    return {name: "" if value is None else str(value) for name, value in values.items()}
