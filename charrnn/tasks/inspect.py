"""Models looked at from inside: what `charrnn inspect` and `Model.inspect` call. Never torch.

`open_subjects` opens models and finds the texts to look at them with; `inspect` returns the reports
of views for each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.checkpoint.run_store import find_model
from charrnn.config.fields import refuse_escapes
from charrnn.config.inspect import InspectConfig, InspectText
from charrnn.errors import CharRNNError, ConfigError, CorpusError, counted
from charrnn.generation.generator import Generator
from charrnn.generation.labels import AskedLabels, list_labels, with_labels
from charrnn.generation.network import Network
from charrnn.generation.text_format import text_format_of
from charrnn.interpret.subject import Subject, Texts
from charrnn.storage import write_atomically
from charrnn.text.substitutions import describe_changes
from charrnn.text.vocab import Ids

VIEWS = (
    *("text", "guesses", "gates", "memory", "gradients", "links"),
    *("neurons", "neuron", "step", "unrolled", "training", "errors"),
)
"""What can be seen of a model of text, in the order of a page."""
TASK_VIEWS = {"classification": "decision", "tagging": "directions", "seq2seq": "attention"}
"""What can be seen of a model of another task."""
_AFTER_SEARCH = ("neuron", "training")
_LONG = ("gates", "memory", "neurons")
"""Views that say how far they are."""
TEXT_IN_VIEW = 2_000
"""Characters of a file or of the held-out text that are shown."""
MAX_TEXT_IN_VIEW = 20_000
"""Characters of a literal text that can be shown."""


@dataclass(frozen=True)
class Subjects:
    """Models that are looked at, and what must be said about the text."""

    subjects: tuple[Subject, ...]
    folder: Path
    """Of the first model's file."""
    notes: list[str] = field(default_factory=list)


def open_subjects(
    names: Sequence[str | None],
    text: InspectText,
    config: InspectConfig,
    *,
    labels: AskedLabels = (),
    checkpoints: str | Path,
) -> Subjects:
    """Open models by name (None is the newest run), with one text for all.

    Raises:
        ConfigError: they do not read texts alike, are not models of text, or a place is not there.
        CheckpointError: a model is missing or damaged.
        CorpusError: the text cannot be read, or is too short.
        VocabError: it has characters that the models do not know, and may not.
    """
    paths = [find_model(name, Path(checkpoints)) for name in names]
    files = [with_labels(read_model(path), list_labels(labels)) for path in paths]
    called = _distinct_names(names, paths)
    models = dict(zip(called, files, strict=True))
    notes: list[str] = []
    ids, texts = _read_texts(models, text, notes)
    if config.at is not None and config.at >= len(ids):
        raise ConfigError(
            f"--at is {config.at}, and the text has {counted(len(ids), 'token')} (mostly "
            f"characters), counted from 0; give a number up to {len(ids) - 1}"
        )
    subjects = []
    for (name, file), path in zip(models.items(), paths, strict=True):
        run = RunFolder(path.parent)
        subjects.append(
            Subject(
                name,
                file,
                ids,
                texts,
                metrics=tuple(run.read_metrics()),
                read_snapshots=run.read_snapshots,
                chars=config.chars,
                seed=config.seed,
            )
        )
    return Subjects(tuple(subjects), paths[0].parent, notes)


def subject_of(file: ModelFile, ids: Ids | None, config: InspectConfig) -> Subject:
    """Return a model with a text (T,) in view, and its own held-out text for figures, if it can be.

    file: its labels are fixed. ids: of the text; None is the beginning of the held-out text.

    Raises:
        ConfigError: the model does not say what it was trained on.
        CorpusError: no text is given, and the held-out text is not at hand.
    """
    name = str(file.summary.get("corpus", {}).get("name", "model"))
    if ids is None:
        ids, texts = _read_texts({name: file}, InspectText(), [])
    else:
        texts = _texts_beside({name: file}, ids, [])
    return Subject(name, file, ids, texts, chars=config.chars, seed=config.seed)


def _distinct_names(names: Sequence[str | None], paths: Sequence[Path]) -> list[str]:
    """Return what to call each model: its run's name, or its path where two have one name."""
    called = [str(name or path.parent.name) for name, path in zip(names, paths, strict=True)]
    if len(set(called)) < len(called):
        called = [str(path) for path in paths]
    if len(set(called)) < len(called):
        twice = next(name for name in called if called.count(name) > 1)
        raise ConfigError(f"{twice} is named twice; name each model once")
    return called


def _read_texts(
    models: Mapping[str, ModelFile], text: InspectText, notes: list[str]
) -> tuple[Ids, Texts]:
    """Return the text in view, and those that figures are measured on."""
    if text.text is not None and text.files:
        raise ConfigError("--file and --text both name the text to look at; keep one")
    if text.text is None:
        from charrnn.tasks.inspect_texts import read_texts

        ids, texts = read_texts(models, text, notes)
        return ids[:TEXT_IN_VIEW], texts
    _check_vocabs(models)
    file = next(iter(models.values()))
    ids = _encode(file, text.text, text.unknown, notes)
    if text.measured is not None:
        measured = _encode(file, text.measured, text.unknown, notes)
        return ids, Texts(lambda: (measured, ids[:0]))
    return ids, _texts_beside(models, ids, notes)


def _texts_beside(models: Mapping[str, ModelFile], ids: Ids, notes: list[str]) -> Texts:
    """Return what the models held out and trained on; where that is not at hand, the text (T,)."""

    def read() -> tuple[Ids, Ids]:
        from charrnn.tasks.inspect_texts import own_texts

        try:
            return own_texts(models)
        except (ConfigError, CorpusError) as error:
            notes.append(f"figures are measured on the text itself: {error.message}")
            return ids, ids[:0]

    return Texts(read)


def _encode(file: ModelFile, text: str, unknown: str, notes: list[str]) -> Ids:
    """Return the ids (T,) of a literal text, read as a prompt is.

    Raises:
        ConfigError: it is empty, or too long to be shown.
        VocabError: it has characters that the model does not know, and may not.
    """
    refuse_escapes("--text", text, file.vocab.alphabet)
    form = text_format_of(file.summary, has_end=file.vocab.has_end)
    reader = Generator(Network(file.config, file.weights), file.vocab, form)
    fitted = reader.fit(text, unknown)
    if fitted.changes:
        notes.append(describe_changes(fitted.changes))
    ids = reader.encode(fitted.text)
    if not len(ids):
        raise ConfigError("the text has no character that the model knows; give another by --text")
    if len(ids) > MAX_TEXT_IN_VIEW:
        raise ConfigError(
            f"--text has {len(ids):,} characters, and {MAX_TEXT_IN_VIEW:,} can be shown; put it "
            "into a file and name it by --file"
        )
    return ids


def _check_vocabs(models: Mapping[str, ModelFile]) -> None:
    """Refuse models to which one text is not the same ids."""
    (name, first), *others = models.items()
    for other, file in others:
        if file.vocab != first.vocab:
            raise ConfigError(
                f"{name} and {other} have different vocabularies; look at them one at a time"
            )


Reports = Mapping[str, Mapping[str, Any]]
"""Of each view, the report of each model by its name."""


@dataclass(frozen=True, eq=False)
class Inspection:
    """Models looked at: reports by view and model, and why a view or a model in it is left out.

    A notebook shows it as a page.

    >>> charrnn.load("book").inspect("It was the best of times")  # doctest: +SKIP
    """

    subjects: tuple[Subject, ...]
    reports: Reports
    left_out: Mapping[str, str]
    command: str = "Model.inspect"

    @cached_property
    def pictures(self) -> dict[str, str]:
        """Each view as SVG."""
        return {view: draw_view(view, reports) for view, reports in self.reports.items()}

    def page(self, *, has_weights: bool = True) -> str:
        """Return everything as one HTML file; has_weights: the models run in it."""
        from charrnn.tasks.inspect_page import make_page

        return make_page(
            self.subjects,
            self.reports,
            self.pictures,
            command=self.command,
            has_weights=has_weights,
        )

    def save(self, path: str | Path) -> None:
        """Write the page to a file.

        Raises:
            StorageError: it cannot be written.
        """
        write_atomically(Path(path), self.page())

    def _repr_html_(self) -> str:
        source = escape(self.page())
        size = 'width="100%" height="800"'
        rights = 'sandbox="allow-scripts allow-downloads"'
        return f'<iframe {size} {rights} srcdoc="{source}"></iframe>'


def inspect(
    subjects: Sequence[Subject],
    config: InspectConfig,
    views: Sequence[str] = VIEWS,
    *,
    command: str = "Model.inspect",
    on_progress: Callable[[float, str], None] = lambda done, view: None,
) -> Inspection:
    """Return the reports of several views; a model that has nothing to show in one is left out.

    on_progress: called with how many views are measured, with a fraction, and the name of the view
    that is being measured.

    Raises:
        ConfigError: there is no such view.
    """
    for view in views:
        if view not in VIEWS:
            raise ConfigError(f"there is no view {view!r}; take some of {', '.join(VIEWS)}")
    reports: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    for number, view in enumerate(views):
        found, reasons = _inspect_each(
            view,
            subjects,
            config,
            reports.get("neurons", {}),
            partial(_pass_on, on_progress, number, view),
        )
        if found:
            reports[view] = found
        if reasons:
            left_out[view] = _in_one_line(reasons, len(subjects))
    return Inspection(tuple(subjects), reports, left_out, command)


def _pass_on(
    on_progress: Callable[[float, str], None], number: int, view: str, done: int, total: int
) -> None:
    """Call `on_progress` with the views that are done, the part of view `number` included."""
    on_progress(number + done / total, view)


def _inspect_each(
    view: str,
    subjects: Sequence[Subject],
    config: InspectConfig,
    searched: Mapping[str, Any],
    on_progress: Callable[[int, int], None],
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the reports of a view by model, and why the other models have none.

    searched: the reports of neurons, where that view was measured before.
    """
    module = import_module(f"charrnn.interpret.{view}")  # none imports another view's
    make_report: Callable[..., Any] = getattr(module, f"inspect_{view}")
    reports: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    for number, subject in enumerate(subjects):
        on_progress(number, len(subjects))
        more: dict[str, Any] = {}
        if view in _LONG:
            more["on_progress"] = partial(_pass_part, on_progress, number, len(subjects))
        elif view in _AFTER_SEARCH and subject.name in searched:  # need not be searched again
            more["neurons"] = searched[subject.name]
        try:
            reports[subject.name] = make_report(subject, config, **more)
        except CharRNNError as error:
            reasons[subject.name] = error.message
    return reports, reasons


def _pass_part(
    on_progress: Callable[[int, int], None], number: int, count: int, done: int, total: int
) -> None:
    """Call `on_progress` with the parts that are done of all models' parts."""
    on_progress(number * total + done, count * total)


def _in_one_line(reasons: Mapping[str, str], count: int) -> str:
    """Return why some of `count` models have no report; one reason of all is said once."""
    if len(reasons) == count and len({*reasons.values()}) == 1:
        return next(iter(reasons.values()))
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())


def draw_view(view: str, reports: Mapping[str, Any]) -> str:
    """Return the picture of a view as SVG, of several models on one scale."""
    module = import_module(f"charrnn.interpret.pictures.{view}")
    draw: Callable[[Mapping[str, Any]], str] = getattr(module, f"draw_{view}")
    return draw(reports)
