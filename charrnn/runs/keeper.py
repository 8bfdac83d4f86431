"""Reports → files: what a run leaves in its folder."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from charrnn._version import __version__
from charrnn.checkpoint.format import ModelFile, read_model
from charrnn.checkpoint.store import RunFolder
from charrnn.config import SampleConfig
from charrnn.inference.generator import Model
from charrnn.metrics import bits_per_char
from charrnn.runs.request import Request
from charrnn.text.compressors import held_out_bpc
from charrnn.text.corpus import Corpus
from charrnn.training.reports import Evaluation, Finished, Progress, Report, Snapshot, Started

_SAMPLE_CHARS = 240
_CONTEXT_SYMBOLS, _HELD_OUT_SYMBOLS = 1 << 20, 1 << 18  # what gzip and xz are given


@dataclass(frozen=True)
class Written:
    """What the model of an evaluation writes without a prompt."""

    step: int
    text: str


@dataclass(frozen=True)
class Kept:
    """The last report: the finished run beside what compressors make of the same held-out text."""

    run: RunFolder
    finished: Finished
    compressors_bpc: dict[str, float]


class Keeper:
    """Turns reports into the run's files."""

    def __init__(self, run: RunFolder, corpus: Corpus, request: Request) -> None:
        self._run, self._corpus, self._request = run, corpus, request
        self._started: Started | None = None
        self._best_val_nats: float | None = None

    def keep(self, report: Report) -> None:
        """Write what this report brings."""
        if isinstance(report, Started):
            self._started = report
        elif isinstance(report, Progress) and report.is_milestone:
            self._run.log_metrics({"event": "progress", **asdict(report)})
        elif isinstance(report, Evaluation):
            values = {key: value for key, value in vars(report).items() if key != "weights"}
            self._run.log_metrics({"event": "evaluation", **values})
            self._best_val_nats = report.best_val_nats
            if report.is_best:
                self._run.keep_best(self._best_file(report))
        elif isinstance(report, Snapshot):
            self._run.keep_last(self._last_file(report))

    def write_sample(self, report: Evaluation) -> Written:
        """Let the model write a little, always from the same random stream."""
        model = Model(self._best_file(report))
        text = "".join(model.generate(config=SampleConfig(length=_SAMPLE_CHARS, seed=1)))
        self._run.log_sample(report.step, report.val_nats, text)
        return Written(report.step, text)

    def close(self, report: Finished) -> Kept:
        """Complete the best model's file with what was measured at the end."""
        if report.reason == "stopped":
            return Kept(self._run, report, {})
        vocab, corpus = self._corpus.vocab, self._corpus
        compressors = held_out_bpc(
            vocab.decode(corpus.train[-_CONTEXT_SYMBOLS:]),
            vocab.decode(corpus.val[:_HELD_OUT_SYMBOLS]),
        )
        figures = {
            "val_windowed_nats": report.best_val_windowed_nats,
            "compressors_bpc": compressors,
        }
        best = read_model(self._run.best)
        self._run.keep_best(replace(best, summary=best.summary | figures))
        return Kept(self._run, report, compressors)

    def _best_file(self, report: Evaluation) -> ModelFile:
        figures = {
            "step": report.step,
            "val_nats": report.val_nats,
            "train_nats": report.train_nats,
            "chars_seen": report.chars_seen,
            "elapsed_seconds": report.elapsed_seconds,
        }
        model = self._begun.plan.model
        return ModelFile(model, self._corpus.vocab, report.weights, self._summary(figures))

    def _last_file(self, report: Snapshot) -> ModelFile:
        figures = {
            "step": report.step,
            "val_nats": self._best_val_nats,
            "train_nats": report.progress["train_nats"],
            "chars_seen": report.progress["chars_seen"],
            "elapsed_seconds": report.progress["elapsed_seconds"],
        }
        return ModelFile(
            report.model,
            self._corpus.vocab,
            report.weights,
            self._summary(figures),
            report.arrays,
            report.progress,
        )

    @property
    def _begun(self) -> Started:
        assert self._started is not None, "a trainer reports Started first"
        return self._started

    def _summary(self, figures: dict[str, Any]) -> dict[str, Any]:
        """Give the training summary that a model file carries."""
        begun, corpus, val_nats = self._begun, self._corpus, figures["val_nats"]
        return {
            **figures,
            "val_bpc": None if val_nats is None else bits_per_char(val_nats),
            "val_windowed_nats": None,
            "corpus": {
                "name": corpus.name,
                "paths": self._request.corpus_paths,
                "sha256": corpus.sha256,
                "train_chars": corpus.train_chars,
                "val_chars": begun.val_chars,
            },
            "settings": self._request.settings,
            "device": begun.device,
            "precision": begun.precision,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": _versions(),
        }


def _versions() -> dict[str, str]:
    others = {name: version(name) for name in ("torch", "numpy")}
    return {"charrnn": __version__, "python": platform.python_version(), **others}
