"""Reports → files: what a run leaves in its folder.

metrics.jsonl gets a line for the start, each change of the run's length, each milestone, evaluation
and incident; samples.txt what the model writes at each evaluation; best.safetensors and
step-N.safetensors the weights, snapshots/ those along the way; resolved.toml all settings in force,
chosen ones too. With --tensorboard, an event file gets the figures as well. The training loop hands
every report to `record` before anybody sees it.
"""

import math
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from charrnn._version import __version__
from charrnn.analysis.baselines import Baselines
from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.config import LENGTHS, Length, as_dict, format_length_history
from charrnn.config.text import SPLITS
from charrnn.data.corpus import Corpus
from charrnn.metrics import bits_per_char
from charrnn.tasks.model import Model
from charrnn.tasks.predict_labels import calibrate_labels
from charrnn.tasks.predict_targets import measure_bounds
from charrnn.tasks.sample_on_the_way import describe_decisions, sample_text
from charrnn.tasks.task_scores import QUICK_TOKENS, calibrate_classes, score_task
from charrnn.tasks.tensorboard import Board
from charrnn.tasks.train_request import TrainRequest
from charrnn.training import reports

_MACHINE = ("device", "precision", "threads")
_OF_THE_TEXT = ("vocab_size", "has_end", "label_count", "class_count", "target_size")
_SCORED_TOKENS = {"classification": 2_000_000, "tagging": 1_000_000, "seq2seq": 50_000}
"""That are read of held-out records at the end, evenly spread: half a minute of a slow core."""
_MEASURED_TOKENS = 10_000_000  # of the held-out text: as many as the last evaluation scores


@dataclass(frozen=True)
class Written:
    """What the model of an evaluation writes, its --sample-prompt first; not with --no-samples.

    Of a network that decides: what it says of the prompt, or of some held-out records, a line each,
    and its figures on those by name, such as "accuracy"; with --no-samples the text is empty.
    """

    step: int
    text: str
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RunFinished:
    """The last report: the finished run, and the scores of simpler models on its held-out text.

    baselines_bpc: empty where the run was stopped, or the held-out text, of val_chars characters,
    is too short, and for other tasks than text. scores: the task's own figures on held-out records.
    classification: how well labels are named, by column, as the model file has it;
    empty without labels, or where the run was stopped. bytes_per_char: of the
    held-out text in UTF-8; NaN without one.
    """

    run: RunFolder
    finished: reports.Finished
    baselines_bpc: dict[str, float]
    val_chars: int
    classification: dict[str, dict[str, Any]] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    bytes_per_char: float = math.nan


class Recorder:
    """Writes a run's reports into its folder, if this is the main process.

    best_val_nats: the best so far, in nats. baselines: of a text, scored at the end. `start` opens
    it, `record` takes each report.
    """

    def __init__(
        self,
        corpus: Corpus,
        request: TrainRequest,
        best_val_nats: float | None,
        baselines: Baselines | None,
        *,
        is_main: bool,
    ) -> None:
        self.is_main = is_main
        self.best_val_nats = best_val_nats
        self._baselines = baselines
        self._corpus = corpus
        self._request = request
        self.run: RunFolder | None = None
        self._board: Board | None = None

    def start(self, run: RunFolder, started: reports.Started) -> None:
        """Write into this folder from here on."""
        self.run = run
        self._started = started
        self._lengths = list(started.length_history or ())
        self._is_repeatable = started.length_history is not None and self._is_as_before(started)
        folder = self._request.run.tensorboard
        if self.is_main and folder is not None:
            is_text = started.plan.model.task == "text"
            self._board = Board(run, Path(folder), self._resolved(), is_text=is_text)

    def record(self, report: reports.Report) -> Iterator[reports.Report | Written | RunFinished]:
        """Write what a report brings; yield it, and after it what that led to."""
        assert self.run is not None
        if self.is_main:
            self._write(self.run, report)
        yield report
        if self.is_main and isinstance(report, reports.Evaluation):
            yield from self._write_sample(self.run, report)
        if isinstance(report, reports.Finished):
            # A stopped run may continue: nothing was measured.
            is_over = self.is_main and report.reason != "stopped"
            found = self._complete_best(self.run, report) if is_over else {}
            baselines = found.get("baselines_bpc", {})
            named = found.get("classification", {})
            scores = found.get("scores", {})
            sizes = (self._corpus.val_chars, named, scores, self._bytes_per_char)
            yield RunFinished(self.run, report, baselines, *sizes)

    @cached_property
    def _lengths_read(self) -> dict[str, Any]:
        """How long texts are, and their targets may be: entries of the summary; {} of text."""
        corpus = self._corpus
        if self._started.plan.model.task == "text" or not corpus.train_records:
            return {}
        sources = np.diff(corpus.train_records.ends, prepend=1) - 1
        about: dict[str, Any] = {"longest_tokens": int(sources.max())}
        if corpus.target_vocab is None or not corpus.train_targets:
            return about
        targets = np.diff(corpus.train_targets.ends, prepend=0) - 1
        longest = self._request.train.longest_tokens
        is_read = (sources <= longest) & (targets < longest)  # a target's end counts too
        return about | {"target_bounds": list(measure_bounds(sources[is_read], targets[is_read]))}

    @cached_property
    def _bytes_per_char(self) -> float:
        """The UTF-8 bytes that a held-out character takes; NaN without one."""
        vocab = self._corpus.vocab
        ids = self._corpus.val[:_MEASURED_TOKENS]
        return vocab.count_bytes(ids) / (vocab.count_characters(ids) or math.nan)

    def _write(self, run: RunFolder, report: reports.Report) -> None:
        if isinstance(report, Length):
            self._lengths.append(report)
        is_milestone = isinstance(report, reports.Progress) and report.is_milestone
        # A run that continues has its start in the file.
        is_start = isinstance(report, reports.Started) and not report.resumed_from_step
        if is_milestone or is_start or isinstance(report, Length | reports.Incident):
            self._log(run, {"event": type(report).__name__.lower(), **asdict(report)})
            if isinstance(report, reports.Incident) and report.back_to_step is not None:
                run.rewind_snapshots(report.back_to_step)
        elif isinstance(report, reports.Evaluation):
            # vars, as asdict would copy the weights.
            values = {key: value for key, value in vars(report).items() if key != "weights"}
            self._log(run, {"event": "evaluation", **values})
            self.best_val_nats = report.best_val_nats
            if report.is_best:
                run.save_best(self._model_of(report))
        elif isinstance(report, reports.KeptWeights):
            run.save_snapshot(report.step, report.weights)
        elif isinstance(report, reports.Snapshot):
            self._is_repeatable &= report.progress["length_history"] is not None
            self._save_state(run, report)
        elif isinstance(report, reports.Finished):
            self._save_resolved(run, report)

    def _log(self, run: RunFolder, values: dict[str, Any]) -> None:
        """Add a line to metrics.jsonl, and its figures to TensorBoard's file if there is one."""
        run.log_metrics(values)
        if self._board is not None:
            self._board.add(values)

    def _write_sample(self, run: RunFolder, report: reports.Evaluation) -> Iterator[Written]:
        """Let the model write a little if samples are wanted; or let it decide, and score that."""
        config = self._request.train
        prompt = config.sample_prompt or ""
        is_text = self._started.plan.model.task == "text"
        if is_text and not config.samples:
            return
        file = self._model_of(report)
        scores: dict[str, float] = {}
        text = ""
        if is_text:
            text = sample_text(Model(file), prompt)
        else:
            found = score_task(file, self._corpus, QUICK_TOKENS)
            scores = found.figures
            text = describe_decisions(file, found, prompt) if config.samples else ""
            self._log(run, {"event": "scored", "step": report.step, **scores})
        if config.samples:
            run.log_sample(report.step, report.val_nats, text)
        yield Written(report.step, text, scores)

    def _complete_best(self, run: RunFolder, report: reports.Finished) -> dict[str, Any]:
        """Write what was measured at the end into the best model's file, and return it."""
        best = read_model(run.best)
        baselines = self._baselines.score() if self._baselines else {}
        by_source = report.best_val_by_source_nats
        losses = (report.best_val_nats, report.best_val_windowed_nats)
        figures = self._val_figures(*losses) | {
            "val_end_nats": report.best_val_end_nats,
            "val_unlabelled_nats": report.best_val_unlabelled_nats,
            **({"val_by_source_nats": by_source} if by_source else {}),
            "train_eval_nats": report.best_train_eval_nats,
            "baselines_bpc": baselines,
            **self._measure_task(best),
            # Evaluations score a part of the held-out text: a longer run compares with this one.
            "eval_nats": best.summary.get("eval_nats", best.summary["val_nats"]),
        }
        resolved = {"resolved": self._resolved()}  # the length is final only now
        run.save_best(replace(best, summary=best.summary | figures | resolved))
        self._log(
            run, {"event": "finished", "step": report.step, "best_step": report.best_step} | figures
        )
        self._save_state(run, report.snapshot)  # it says that the run has ended
        return figures

    def _measure_task(self, best: ModelFile) -> dict[str, Any]:
        """Return how well the best model decides on held-out records, for its summary."""
        corpus = self._corpus
        if best.config.task == "text":
            return {"classification": calibrate_labels(best, corpus)} if best.labels else {}
        most = _SCORED_TOKENS[best.config.task]
        found: dict[str, Any] = {"scores": score_task(best, corpus, most).figures}
        if best.config.task == "classification" and found["scores"]:
            found["classification"] = calibrate_classes(best, corpus)
        return found

    def describe_best(self) -> str:
        """Return a clause on which model there is, for the message of a run that failed."""
        if self.run is None or not self.run.best.exists():
            return "no model was saved"
        return f"the best model before that is {self.run.best}"

    def describe_state(self) -> str:
        """Return a clause on the state from which the run can continue."""
        if self.run is None or self.run.step is None:
            return "nothing was saved yet"
        where = f"saved after step {self.run.step:,} in {self.run.path}"
        return f"{where}; the same command continues it"

    def _model_of(self, report: reports.Evaluation) -> ModelFile:
        """Return the averaged weights of an evaluation as a model."""
        summary = self._summary(report.step, report.val_nats, vars(report))
        summary["train_eval_nats"] = report.train_eval_nats
        corpus = self._corpus
        model = self._started.plan.model
        return ModelFile(
            model,
            corpus.vocab,
            report.weights,
            summary,
            labels=corpus.labels,
            target_vocab=corpus.target_vocab,
        )

    def _save_state(self, run: RunFolder, report: reports.Snapshot) -> None:
        """Save all that resuming needs, once the logs that lead up to it are on the disk."""
        progress = report.progress | {"logs": run.log_positions()}
        summary = self._summary(report.step, self.best_val_nats, progress)
        corpus = self._corpus
        if not self._is_repeatable:
            progress |= {"length_history": None}
        state = ModelFile(
            report.model,
            corpus.vocab,
            report.weights,
            summary,
            report.arrays,
            progress,
            corpus.labels,
            corpus.target_vocab,
        )
        run.save_state(state, report.step, self._request.run.keep_checkpoints)

    def _is_as_before(self, started: reports.Started) -> bool:
        """Return whether a resumed run has the settings and the machine that it had until then."""
        if self._request.last is None:
            return True
        before = self._request.last.summary
        machine = before.get("resolved", {})
        settings = before.get("settings", {})
        shown = ("samples", "sample_prompt")  # they change no weight
        now = {name: v for name, v in self._request.settings.items() if name not in shown}
        return now == {name: v for name, v in settings.items() if name not in shown} and all(
            machine.get(name) == getattr(started, name) for name in _MACHINE
        )

    def _resolved(self) -> dict[str, Any]:
        """Return every setting with the value in force; `length_history` where it changed."""
        started = self._started
        plan = started.plan
        chosen = as_dict(plan.model) | {
            name: getattr(plan, name) for name in ("seq_len", "batch_size", "learning_rate")
        }
        chosen["written_lanes"] = plan.written_lanes or None
        for name in _OF_THE_TEXT:
            del chosen[name]
        if plan.model.task != "text":  # what a batch has follows from the records
            chosen["seq_len"] = self._request.train.seq_len
        chosen["weight_decay_embedding"] = self._request.train.embedding_decay(plan.model.task)
        settings = self._request.settings | chosen | {"parameters": None}  # it is hidden_size now
        # Of a text too short for n-grams: their decay did nothing.
        decay = plan.ngram_decay(self._request.train, len(self._corpus.train))
        settings["weight_decay_ngrams"] = decay if plan.model.ngram_rows else None
        settings |= {name: getattr(started, name) for name in _MACHINE}
        if self._corpus.record_kind in ("", "line") and self._request.text.record_kind is None:
            settings["lines"] = bool(self._corpus.record_kind)  # as the text decided
        if self._corpus.split_method in SPLITS:
            settings["split"] = self._corpus.split_method
        steps = self._lengths[-1].total_steps if self._lengths else plan.total_steps
        if steps is not None:  # else the first steps have not shown yet how many fit the budget
            settings |= dict.fromkeys(LENGTHS) | {"steps": steps}
            if not self._lengths:
                settings["eval_every"] = plan.eval_every
            elif self._is_repeatable:
                settings["length_history"] = format_length_history(self._lengths)
        return settings

    def _save_resolved(self, run: RunFolder, report: reports.Finished) -> None:
        """Write the settings in force, and whether they repeat the run."""
        settings = self._resolved()
        paths = self._request.corpus_paths
        comment = "all settings of this run; "
        if not paths or "-" in (*paths, settings["val_file"]):
            comment += "its text is in no file: give it again"
        elif settings["steps"] is None:
            comment += "it was stopped before its number of steps was known"
        elif not self._is_repeatable:
            comment += "charrnn train --config with this file makes one like it, not the same: it "
            comment += "was rolled back, or continued with other settings or on another machine"
        else:
            comment += "charrnn train --config with this file repeats it on a CPU, bit for bit"
            processes = self._started.processes
            comment += f", with {processes} processes" * (processes > 1)
            is_stopped = report.reason == "stopped"
            comment += f"; it was stopped after step {report.step}" * is_stopped
        run.save_resolved(comment, {"corpus": paths} | settings)

    def _val_figures(
        self, carried_nats: float | None, windowed_nats: float | None
    ) -> dict[str, Any]:
        """Return the held-out loss by both protocols: nats, bits per character and per byte.

        The nats of another task than text are not those of characters.
        """
        is_text = self._started.plan.model.task == "text"
        figures: dict[str, float | None] = {}
        for name, nats in (("val", carried_nats), ("val_windowed", windowed_nats)):
            figures[f"{name}_nats"] = nats
            figures[f"{name}_bpc"] = None if nats is None or not is_text else bits_per_char(nats)
        bits = figures["val_bpc"]
        figures["val_bits_per_byte"] = None if bits is None else bits / self._bytes_per_char
        return figures

    def _summary(
        self, step: int, val_nats: float | None, report: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the training summary that a model file carries (docs/file-format.md)."""
        corpus = self._corpus
        return {
            "step": step,
            **self._val_figures(val_nats, None),
            **{key: report[key] for key in ("train_nats", "chars_seen", "elapsed_seconds")},
            "corpus": {
                "name": corpus.name,
                "paths": self._request.corpus_paths,
                "sha256": corpus.sha256,
                "train_chars": corpus.train_chars,
                "val_chars": corpus.val_chars,
                "held_out": corpus.held_out,
                **({"record_kind": corpus.record_kind} if corpus.record_kind else {}),
                **({"test_chars": corpus.test_chars} if corpus.test_chars else {}),
                **({"is_utf8": corpus.is_utf8} if corpus.vocab.is_binary else {}),
            },
            "settings": self._request.settings,
            **self._lengths_read,
            "resolved": self._resolved(),
            **self._request.origin(corpus.vocab),
            "device": self._started.device,
            "precision": self._started.precision,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {
                "charrnn": __version__,
                "python": platform.python_version(),
                **{name: version(name) for name in ("torch", "numpy")},
            },
        }
