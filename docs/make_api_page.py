"""Write the reference in docs/api.md from signatures, docstrings and settings: make docs

What stands above the line MARK is written by hand and stays.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import charrnn
from charrnn import errors
from charrnn.analysis.statistics import CorpusStats
from charrnn.bench.speeds import EvaluationSpeed, MachineSpeed, SamplingSpeed, TrainingSpeed
from charrnn.checkpoint.hub import Pushed
from charrnn.checkpoint.run_folder import DamagedState, RunFolder
from charrnn.compression.codec import Compressed
from charrnn.config import FillConfig, Length, RunConfig, SampleConfig, TextConfig, TrainConfig
from charrnn.config.export import ExportConfig
from charrnn.config.inspect import InspectConfig
from charrnn.config.serve import ServeConfig
from charrnn.config.sweep import SweepConfig
from charrnn.data.corpus import Corpus
from charrnn.generation.infill.fill import Completion, Filling
from charrnn.generation.samples import Cost, Sample
from charrnn.generation.scoring import Scores
from charrnn.generation.stopping import TextStream
from charrnn.generation.text_format import TextFormat
from charrnn.interpret.trace import Trace
from charrnn.server.server import Server
from charrnn.tasks.compare import ComparedRun, Comparison, Difference
from charrnn.tasks.corpus_stats import CorpusSummary
from charrnn.tasks.distill import StudentStarted, TeacherStarted
from charrnn.tasks.eval_text import EvalTextRequest
from charrnn.tasks.evaluate import EvalResult, Metrics, ModelScores
from charrnn.tasks.export import ExportReport
from charrnn.tasks.finetune import InitialModel
from charrnn.tasks.fit import CellsFinished, CellStarted, Result, SeedsFinished, SeedStarted
from charrnn.tasks.hub import Pulled
from charrnn.tasks.inspect import Inspection
from charrnn.tasks.open_models import OpenModels
from charrnn.tasks.predictions import Prediction, PredictRequest
from charrnn.tasks.recorder import RunFinished, Written
from charrnn.tasks.sample import SampleRequest
from charrnn.tasks.session import Piece
from charrnn.tasks.sweep import (
    LongerStarted,
    SweepFinished,
    SweepStarted,
    TrialEnded,
    TrialStarted,
)
from charrnn.tasks.sweep_trials import Trial
from charrnn.tasks.task_model import TaskModel
from charrnn.tasks.task_result import TaskEvalResult
from charrnn.tasks.train import Opened, Reading
from charrnn.text.substitutions import Fitted
from charrnn.training.plan import Plan
from charrnn.training.reports import (
    Evaluation,
    Finished,
    Incident,
    KeptWeights,
    Progress,
    Snapshot,
    Started,
)
from charrnn.training.trouble import Trouble
from charrnn.wording import in_python

PAGE = Path(__file__).with_name("api.md")
WIDTH = 100
MARK = "<!-- `make docs` writes what follows -->\n"

CALLS = {
    "Train": ["fit", "fit_seeds", "fit_cells", "sweep", "train"],
    "Use a model": [
        *("load", "sample", "score", "predict", "evaluate", "compress", "decompress"),
    ],
    "Several models, and writing together": [
        *("open_models", "blend", "with_negative_model", "start_session"),
    ],
    "Share": ["serve", "start_server", "export", "push", "pull"],
    "Look": ["inspect", "corpus_stats", "describe", "list_runs", "remove", "compare", "benchmark"],
}
OBJECTS = [charrnn.Model, TaskModel, OpenModels, charrnn.Session, TextStream]
OBJECTS += [Inspection, Trace, Server]
REPORTS = [Reading, Opened, Started, Length, Progress, Evaluation, Written, Snapshot, Incident]
REPORTS += [Finished, RunFinished, KeptWeights, SeedStarted, CellStarted]
REPORTS += [TeacherStarted, StudentStarted]
REPORTS += [SweepStarted, TrialStarted, TrialEnded, LongerStarted]
RESULTS = [
    Result,
    SeedsFinished,
    CellsFinished,
    SweepFinished,
    Trial,
    Scores,
    Prediction,
    EvalResult,
    TaskEvalResult,
    ModelScores,
    Metrics,
    CorpusSummary,
]
RESULTS += [CorpusStats, Sample, Cost, Filling, Completion, Compressed, Fitted]
RESULTS += [Comparison, ComparedRun, Difference, ExportReport, Pushed, Pulled]
RESULTS += [MachineSpeed, TrainingSpeed, EvaluationSpeed, SamplingSpeed]
PARTS = [Plan, Trouble, RunFolder, DamagedState, InitialModel, Corpus, Piece, TextFormat]
SETTINGS: list[tuple[type, str]] = [
    (
        TrainConfig,
        "`fit`, `fit_seeds`, `fit_cells`, `sweep`, `train`; `benchmark` takes those of network and "
        "machine",
    ),
    (SweepConfig, "`sweep`"),
    (TextConfig, "`fit`, `fit_seeds`, `fit_cells`, `sweep`, `train`, `corpus_stats`"),
    (RunConfig, "`fit`, `fit_seeds`, `fit_cells`, `sweep`, `train`"),
    (SampleConfig, "`sample`, `Model.generate`, `generate_many`, `search`, `start_session`"),
    (SampleRequest, "`sample`"),
    (FillConfig, "`Model.fill`"),
    (PredictRequest, "`predict`"),
    (EvalTextRequest, "`evaluate`"),
    (InspectConfig, "`inspect`, `Model.inspect`"),
    (ServeConfig, "`serve`, `start_server`"),
    (ExportConfig, "`export`"),
]


def make_reference() -> str:
    """Return what stands below the mark."""
    return "\n".join(_iter_sections())


def _iter_sections() -> Iterator[str]:
    yield "## Calls\n"
    for heading, names in CALLS.items():
        yield f"### {heading}\n"
        for name in names:
            call = getattr(charrnn, name)
            yield f"#### `charrnn.{name}`\n\n{_format_call(name, call)}\n"
    yield "## Objects\n"
    for kind in OBJECTS:
        yield from _iter_object(kind)
    yield "## Reports\n\nWhat `train` yields, and what `on_report` of `fit` is called with.\n"
    for kind in REPORTS:
        yield _format_class(kind)
    yield "## Results\n"
    for kind in RESULTS:
        yield _format_class(kind)
    yield "## What reports and results hold\n"
    for kind in PARTS:
        yield _format_class(kind)
    yield "## Settings\n"
    for kind, users in SETTINGS:
        yield _format_settings(kind, users)
    yield "## Errors\n"
    yield _format_errors()


def _format_call(name: str, call: Any) -> str:
    """Return the signature of a function or method, and what its docstring says."""
    lines = []
    is_keyword_only = False
    for each in inspect.signature(call).parameters.values():
        if each.name in ("self", "cls"):
            continue
        if each.kind is each.KEYWORD_ONLY and not is_keyword_only:
            is_keyword_only = True
            lines.append("*")
        stars = "**" * (each.kind is each.VAR_KEYWORD)
        default = "" if each.default is each.empty else f" = {_format_default(each.default)}"
        lines.append(f"{stars}{each.name}: {_format_type(each.annotation)}{default}")
    returns = _format_type(inspect.signature(call).return_annotation)
    shown = f"{name}({', '.join(lines)}) -> {returns}"
    if len(shown) > WIDTH:
        arguments = "".join(f"    {line},\n" for line in lines)
        shown = f"{name}(\n{arguments}) -> {returns}"
    return f"```text\n{shown}\n```\n\n{_format_doc(call)}"


def _format_default(value: Any) -> str:
    return "..." if callable(value) else repr(value)


def _format_doc(thing: Any) -> str:
    """Return a docstring as Markdown: examples as code, what is raised as a line."""
    paragraphs = inspect.cleandoc(thing.__doc__ or "").split("\n\n")
    parts = []
    for each in paragraphs:
        if each.startswith(">>> "):
            code = each.replace("  # doctest: +SKIP", "")
            parts.append(f"```text\n{code}\n```")
        elif each.startswith("Raises:"):
            lines = [line.strip() for line in each.splitlines()[1:]]
            parts.append(f"Raises {' '.join(lines)}")
        else:
            parts.append(each)
    return "\n\n".join(parts)


def _iter_object(kind: type) -> Iterator[str]:
    """Yield what a class is, and each of its public methods."""
    yield _format_class(kind)
    for name, member in inspect.getmembers(kind):
        if name[0] != "_" and (inspect.isfunction(member) or inspect.ismethod(member)):
            title = f"#### `{kind.__name__}.{name}`"
            yield f"{title}\n\n{_format_call(name, member)}\n"


def _format_class(kind: Any) -> str:
    """Return the fields and properties of a class, and what its docstring says."""
    lines = []
    if is_dataclass(kind):
        named = [(each.name, each.type) for each in fields(kind) if each.name[0] != "_"]
        lines = [f"{name}: {_format_type(annotation)}" for name, annotation in named]
    elif hasattr(kind, "_fields"):  # a NamedTuple
        lines = [f"{name}: {_format_type(kind.__annotations__[name])}" for name in kind._fields]
    for name, member in vars(kind).items():
        getter = getattr(member, "fget", None) or getattr(member, "func", None)
        if name[0] != "_" and getter is not None:
            first = inspect.cleandoc(getter.__doc__ or "").partition("\n")[0]
            lines.append(f"{name}: {_format_type(getter.__annotations__['return'])}  # {first}")
    shown = "".join(f"{line}\n" for line in lines)
    block = f"```text\n{shown}```\n\n" if shown else ""
    return f"### `{kind.__name__}`\n\n{block}{_format_doc(kind)}\n"


def _format_type(annotation: Any) -> str:
    """Return a type by its short name, without modules."""
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", name)


def _format_settings(kind: Any, users: str) -> str:
    """Return a table of settings."""
    rows = ["| setting | default | what |", "|---|---|---|"]
    for each in fields(kind):
        rule = each.metadata
        default = rule["unset"] or ("" if each.default is MISSING else _toml(each.default))
        words = in_python(rule["help"]).replace("|", "\\|").replace("<", "\\<")
        choices = f" ({', '.join(rule['choices'])})" if rule["choices"] else ""
        rows.append(f"| `{each.name}` | {default} | {words}{choices} |")
    table = "\n".join(rows)
    return f"### `{kind.__name__}`\n\nOf {users}.\n\n{table}\n"


def _toml(value: Any) -> str:
    return "" if value in (None, ()) else f"`{value!r}`"


def _format_errors() -> str:
    """Return a table of the kinds of errors."""
    rows = ["| error | exit code | when |", "|---|---|---|"]
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.CharRNNError):
            what = inspect.cleandoc(kind.__doc__ or "")
            rows.append(f"| `charrnn.errors.{kind.__name__}` | {kind.exit_code} | {what} |")
    return "\n".join(rows) + "\n"


def make_page() -> str:
    """Return the whole page: what is written by hand, and the reference."""
    by_hand, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    return f"{by_hand}{MARK}\n{make_reference()}"


if __name__ == "__main__":
    PAGE.write_text(make_page(), encoding="utf-8")
