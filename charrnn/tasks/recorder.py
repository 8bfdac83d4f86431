"""Reports → files: what a run leaves in its folder.

metrics.jsonl gets a line for each milestone, evaluation and incident; samples.txt what the model
writes at each evaluation; best.safetensors and step-N.safetensors the weights. tasks/train.py feeds
the reports in, on the main process alone.
"""

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
from charrnn.generation.model import Model
from charrnn.metrics import bits_per_char
from charrnn.tasks.train_request import TrainRequest
from charrnn.text.corpus import Corpus
from charrnn.training import reports

_SAMPLE_CHARS = 240  # three lines of a terminal


@dataclass(frozen=True)
class Written:
    """What the model of an evaluation writes without a prompt."""

    step: int
    text: str


@dataclass(frozen=True)
class RunFinished:
    """The last report: the finished run, and the scores of simpler models on its held-out text."""

    run: RunFolder
    finished: reports.Finished
    baselines_bpc: dict[str, float]


@dataclass
class Recorder:
    """Writes a run's reports into its folder; best_val_nats is the best so far, in nats."""

    run: RunFolder
    corpus: Corpus
    request: TrainRequest
    started: reports.Started
    best_val_nats: float | None = None

    def write(self, report: reports.Report) -> None:
        """Write what this report brings."""
        if isinstance(report, reports.Progress) and report.is_milestone:
            self.run.log_metrics({"event": "progress", **asdict(report)})
        elif isinstance(report, reports.Incident):
            self.run.log_metrics({"event": "incident", **asdict(report)})
        elif isinstance(report, reports.Evaluation):
            # vars, as asdict would copy the weights.
            values = {key: value for key, value in vars(report).items() if key != "weights"}
            self.run.log_metrics({"event": "evaluation", **values})
            self.best_val_nats = report.best_val_nats
            if report.is_best:
                self.run.save_best(self._model_of(report))
        elif isinstance(report, reports.Snapshot):
            self._save_state(report)

    def write_sample(self, report: reports.Evaluation) -> Written:
        """Let the model write a little, always from the same random stream."""
        model = Model(self._model_of(report))
        text = "".join(model.generate(length=_SAMPLE_CHARS, seed=1))  # so samples compare
        self.run.log_sample(report.step, report.val_nats, text)
        return Written(report.step, text)

    def finish(self, report: reports.Finished) -> RunFinished:
        """Complete the best model's file with what was measured at the end."""
        if report.reason == "stopped":  # nothing was measured: the run is to continue
            return RunFinished(self.run, report, {})
        corpus = self.corpus
        baselines = score_baselines(corpus.train, corpus.val, corpus.vocab)
        best = read_model(self.run.best)
        figures = _val_figures(report.best_val_nats, report.best_val_windowed_nats) | {
            "baselines_bpc": baselines,
            # Evaluations score a part of the held-out text: a longer run compares with this one.
            "eval_nats": best.summary.get("eval_nats", best.summary["val_nats"]),
        }
        self.run.save_best(replace(best, summary=best.summary | figures))
        self._save_state(report.snapshot)  # it says that the run has ended
        return RunFinished(self.run, report, baselines)

    def describe_best(self) -> str:
        """Return a clause on which model there is, for the message of a run that failed."""
        if self.best_val_nats is None:
            return "no model was saved"
        return f"the best model before that is {self.run.best}"

    def _model_of(self, report: reports.Evaluation) -> ModelFile:
        """Return the averaged weights of an evaluation as a model."""
        summary = self._summary(report.step, report.val_nats, vars(report))
        return ModelFile(self.started.plan.model, self.corpus.vocab, report.weights, summary)

    def _save_state(self, report: reports.Snapshot) -> None:
        """Save all there is to continue from, once the logs that lead up to it are on the disk."""
        progress = report.progress | {"logs": self.run.log_positions()}
        summary = self._summary(report.step, self.best_val_nats, progress)
        vocab = self.corpus.vocab
        state = ModelFile(report.model, vocab, report.weights, summary, report.arrays, progress)
        self.run.save_state(state, report.step, self.request.run.keep_checkpoints)

    def _summary(
        self, step: int, val_nats: float | None, report: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the training summary that a model file carries (docs/file-format.md)."""
        corpus = self.corpus
        return {
            "step": step,
            **_val_figures(val_nats, None),
            **{key: report[key] for key in ("train_nats", "chars_seen", "elapsed_seconds")},
            "corpus": {
                "name": corpus.name,
                "paths": self.request.corpus_paths,
                "sha256": corpus.sha256,
                "train_chars": corpus.train_chars,
                "val_chars": corpus.val_chars,
            },
            "settings": self.request.settings,
            **self.request.origin(corpus.vocab),
            "device": self.started.device,
            "precision": self.started.precision,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {
                "charrnn": __version__,
                "python": platform.python_version(),
                **{name: version(name) for name in ("torch", "numpy")},
            },
        }


def _val_figures(carried_nats: float | None, windowed_nats: float | None) -> dict[str, Any]:
    """Return the held-out loss by both protocols, in nats and in bits per character."""
    figures: dict[str, float | None] = {}
    for name, nats in (("val", carried_nats), ("val_windowed", windowed_nats)):
        figures[f"{name}_nats"] = nats
        figures[f"{name}_bpc"] = None if nats is None else bits_per_char(nats)
    return figures
