"""Reports → files: what a run leaves in its folder."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from charrnn._version import __version__
from charrnn.analysis.baselines import score_baselines
from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.config import SampleConfig
from charrnn.generation.model import Model
from charrnn.metrics import bits_per_char
from charrnn.tasks.train_request import TrainRequest
from charrnn.text.corpus import Corpus
from charrnn.training.reports import (
    Evaluation,
    Finished,
    Incident,
    Progress,
    Report,
    Snapshot,
    Started,
)
from charrnn.training.stats import Best

_SAMPLE_CHARS = 240


@dataclass(frozen=True)
class Written:
    """What the model of an evaluation writes without a prompt."""

    step: int
    text: str


@dataclass(frozen=True)
class RunFinished:
    """The last report: the finished run, and what simpler models make of its held-out text."""

    run: RunFolder
    finished: Finished
    baselines_bpc: dict[str, float]


class Recorder:
    """Turns reports into the run's files."""

    def __init__(
        self, run: RunFolder, corpus: Corpus, request: TrainRequest, best: Best | None = None
    ) -> None:
        self._run, self._corpus, self._request = run, corpus, request
        self._started: Started | None = None
        self._best_val_nats = best.val_nats if best is not None else None

    def keep(self, report: Report) -> None:
        """Write what this report brings."""
        if isinstance(report, Started):
            self._started = report
        elif isinstance(report, Progress) and report.is_milestone:
            self._run.log_metrics({"event": "progress", **asdict(report)})
        elif isinstance(report, Incident):
            self._run.log_metrics({"event": "incident", **asdict(report)})
        elif isinstance(report, Evaluation):
            values = {key: value for key, value in vars(report).items() if key != "weights"}
            self._run.log_metrics({"event": "evaluation", **values})
            self._best_val_nats = report.best_val_nats
            if report.is_best:
                self._run.save_best(self._best_file(report))
        elif isinstance(report, Snapshot):
            self._keep_state(report)

    def write_sample(self, report: Evaluation) -> Written:
        """Let the model write a little, always from the same random stream."""
        model = Model(self._best_file(report))
        text = "".join(model.generate(config=SampleConfig(length=_SAMPLE_CHARS, seed=1)))
        self._run.log_sample(report.step, report.val_nats, text)
        return Written(report.step, text)

    def close(self, report: Finished) -> RunFinished:
        """Complete the best model's file with what was measured at the end."""
        if report.reason == "stopped":
            return RunFinished(self._run, report, {})
        corpus, windowed = self._corpus, report.best_val_windowed_nats
        baselines = score_baselines(corpus.train, corpus.val, corpus.vocab)
        figures = _val_figures(report.best_val_nats, windowed) | {"baselines_bpc": baselines}
        best = read_model(self._run.best)
        on_the_way = best.summary.get("eval_nats", best.summary["val_nats"])
        figures |= {"eval_nats": on_the_way}  # what a resumed run's evaluations compare with
        self._run.save_best(replace(best, summary=best.summary | figures))
        self._keep_state(report.snapshot)
        return RunFinished(self._run, report, baselines)

    def _best_file(self, report: Evaluation) -> ModelFile:
        summary = self._summary(report.step, report.val_nats, vars(report))
        model = self._begun.plan.model
        return ModelFile(model, self._corpus.vocab, report.weights, summary)

    def describe_kept(self) -> str:
        """Say which model there is."""
        if self._best_val_nats is None:
            return "no model was saved"
        return f"the best model until then is {self._run.best}"

    def _keep_state(self, report: Snapshot) -> None:
        """Save all there is to go on from, once the logs that lead up to it are safe."""
        progress = report.progress | {"logs": self._run.log_positions()}
        summary = self._summary(report.step, self._best_val_nats, progress)
        vocab, weights = self._corpus.vocab, report.weights
        state = ModelFile(report.model, vocab, weights, summary, report.arrays, progress)
        self._run.save_state(state, report.step, self._request.run.keep_checkpoints)

    @property
    def _begun(self) -> Started:
        assert self._started is not None, "a trainer reports Started first"
        return self._started

    def _summary(
        self, step: int, val_nats: float | None, report: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Give the training summary that a model file carries."""
        begun, corpus = self._begun, self._corpus
        return {
            "step": step,
            **_val_figures(val_nats, None),
            **{key: report[key] for key in ("train_nats", "chars_seen", "elapsed_seconds")},
            "corpus": {
                "name": corpus.name,
                "paths": self._request.corpus_paths,
                "sha256": corpus.sha256,
                "train_chars": corpus.train_chars,
                "val_chars": corpus.val_chars,
            },
            "settings": self._request.settings,
            **self._request.origin(corpus.vocab),
            "device": begun.device,
            "precision": begun.precision,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": _versions(),
        }


def _val_figures(carried_nats: float | None, windowed_nats: float | None) -> dict[str, Any]:
    """Give the held-out loss by both protocols, in nats and in bits per character."""
    figures: dict[str, float | None] = {}
    for name, nats in (("val", carried_nats), ("val_windowed", windowed_nats)):
        figures[f"{name}_nats"] = nats
        figures[f"{name}_bpc"] = None if nats is None else bits_per_char(nats)
    return figures


def _versions() -> dict[str, str]:
    others = {name: version(name) for name in ("torch", "numpy")}
    return {"charrnn": __version__, "python": platform.python_version(), **others}
