"""A model file as a `Model`, which samples, scores and fills in text; several as one Generator.

`charrnn.load` makes a Model. What few texts need is imported where it is used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.config import FillConfig, ModelConfig, chosen_settings
from charrnn.errors import ConfigError
from charrnn.generation.generator import Generator
from charrnn.generation.labels import AskedLabels, list_labels, with_labels
from charrnn.generation.network import LanguageModel, Network
from charrnn.generation.scoring import Scores, iter_scores, join_scores, unseen_bits
from charrnn.generation.text_format import check_text, text_format_of
from charrnn.text.vocab import END, Vocab

if TYPE_CHECKING:
    from charrnn.config.inspect import InspectConfig
    from charrnn.generation.infill.fill import Filling
    from charrnn.interpret.trace import Trace
    from charrnn.tasks.inspect import Inspection


MAX_STRENGTH = 1000  # of labels


class Model(Generator):
    """A trained model: `generate` samples, `score` costs a text, `fill` completes one.

    labels: by column, what a label of a text can be, and how many of its records have it.
    """

    def __init__(self, file: ModelFile, labels: AskedLabels = ()) -> None:
        """Open the contents of a file; labels: of its texts, each as "COLUMN=VALUE:WEIGHT".

        Raises:
            ConfigError: the model has no such label.
        """
        self.labels: dict[str, dict[str, int]] = file.labels.counts
        file = with_labels(file, list_labels(labels))
        self.config: ModelConfig = file.config
        self.summary: dict[str, Any] = file.summary
        self.file = file
        self._network = Network(file.config, file.weights)  # scoring and fill need more of it
        form = text_format_of(file.summary, has_end=file.vocab.has_end)
        super().__init__(self._network, file.vocab, form)

    @classmethod
    def from_file(cls, path: Path, labels: AskedLabels = ()) -> Model:
        """Open a model file; labels: as above.

        Raises:
            CheckpointError: it is missing, damaged or not a model.
            ConfigError: the model has no such label.
        """
        return cls(read_model(path), labels)

    def score(self, text: str) -> Scores:
        """Return what each character of `text` costs in bits, normalized as the model's text was.

        A model of records reads it as records, each of which its mark or the end of the text ends.

        Raises:
            CorpusError: the text holds what stands for the end of a record.
            DivergedError: a character's cost is not a finite number.
        """
        form = self.text_format
        return join_scores(self.iter_scores(form.iter_with_ends([form.normalized(text)])))

    def iter_scores(self, pieces: Iterable[str]) -> Iterator[Scores]:
        """Yield the scores of a text, block by block; its pieces are normalized, with their ENDs.

        Raises:
            DivergedError: as `score`.
        """
        bits = unseen_bits(self.vocab, self.summary)
        are_lines = self.text_format.has_lines
        return iter_scores(self._network, self.vocab, pieces, bits, are_lines=are_lines)

    def fill(
        self,
        text: str,
        config: FillConfig | None = None,
        *,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        **settings: Any,
    ) -> Filling:
        """Return completions of a text: _ is an unknown character, and * any number of them.

        The text after a blank counts as much as the text before it. The text begins a line; for a
        model of records it is a whole record, and its end counts too.
        config, settings: a FillConfig, or its fields by keyword. on_progress: called with the
        number of characters done and the most there can be.

        Raises:
            ConfigError: there is nothing to fill in, or a setting is out of range.
            VocabError: it holds characters that the model does not know.
            DivergedError: as `score`.
        """
        from charrnn.generation.infill.fill import fill
        from charrnn.generation.infill.pattern import make_pattern

        check_text(text)
        chosen = chosen_settings(FillConfig, config, settings)
        changes: Counter[str] = Counter()

        def read(piece: str) -> str:
            """Return what stands between two signs as the model reads it."""
            fitted = self.fit(piece, chosen.unknown)
            changes.update(fitted.changes)
            text = self.text_format.normalized(fitted.text)
            return text.replace("\n", END) if self.text_format.has_lines else text

        pattern = make_pattern(text, chosen, self.vocab, read)
        filling = fill(self._network, self.vocab, pattern, chosen, on_progress)
        return filling._replace(changes=tuple(changes.items()))

    def trace(self, text: str) -> Trace:
        """Return all that the network computes while it reads a text: states, gates, logits.

        Raises:
            VocabError: the text holds characters that the model does not know.

        >>> trace = charrnn.load("book").trace("It was")  # doctest: +SKIP
        >>> trace.hidden(0).shape, trace.gates(0)["f"].shape  # doctest: +SKIP
        ((7, 256), (6, 256))
        """
        from charrnn.interpret.trace import record

        return record(self._network, self.encode(text))

    def inspect(
        self, text: str | None = None, config: InspectConfig | None = None, **settings: Any
    ) -> Inspection:
        """Return every view of the network while it reads a text, which a notebook shows as a page.

        text: None is the beginning of what the model held out in training. Figures that need more
        text than that are measured on what it held out, where that is at hand, else on the text
        itself. config, settings: an InspectConfig, or its fields by keyword; views: names of the
        views, all by default. The view training is of a run, which a Model does not know:
        `charrnn.inspect` has it.

        Raises:
            ConfigError: a setting is out of range, or there is no such view.
            CorpusError: no text is given, and what was held out is not at hand.
            VocabError: the text holds characters that the model does not know.
        """
        from charrnn.config.inspect import InspectConfig
        from charrnn.tasks.inspect import VIEWS, inspect, subject_of

        views = settings.pop("views", VIEWS)
        chosen = chosen_settings(InspectConfig, config, settings)
        ids = None if text is None else self.encode(text)
        return inspect([subject_of(self.file, ids, chosen)], chosen, views)


def blend(models: Sequence[tuple[Generator, float]], *, in_log_space: bool = False) -> Generator:
    """Return one generator of several models with weights; their alphabets may differ.

    Raises:
        ConfigError: there is no model, a weight is out of range, or the models know texts in
            different normal forms or have no character in common.
    """
    from charrnn.generation.ensemble import Blend

    if not models:
        raise ConfigError("there is no model to blend; give one or more, each with its weight")

    joined = Blend([(model.language_model, model.vocab, w) for model, w in models], in_log_space)
    return _make_generator(joined, joined.vocab, [model for model, _ in models])


def with_label_strength(
    file: ModelFile, labels: AskedLabels = (), strength: float = 1.0
) -> Generator:
    """Return a model whose labels count more than they did in training, or less.

    ln p = (1 − s) ln p_without + s ln p_with, minus its normalizer: classifier-free guidance (Ho
    and Salimans 2022).

    Raises:
        ConfigError: the strength is out of range, or the model has no such label.
    """
    if not 0 < strength <= MAX_STRENGTH:  # NaN compares as False
        raise ConfigError(
            f"the label strength is {strength}; it must be above 0 and at most {MAX_STRENGTH}: 1 "
            "is as in training, above it the label counts more"
        )
    asked = list_labels(labels)
    if strength != 1 and not asked:
        raise ConfigError(
            f"the label strength is {strength:g}, and no label is given; give --label, or leave "
            "--label-strength out"
        )
    main = Model(file, asked)
    if strength == 1:
        return main
    if strength > 1:
        return with_negative_model(main, Model(file), strength - 1)
    return blend([(main, strength), (Model(file), 1 - strength)], in_log_space=True)


def with_negative_model(main: Generator, other: Generator, strength: float) -> Generator:
    """Return a generator of a model that is pushed away from another one.

    Raises:
        ConfigError: as `blend`.
    """
    from charrnn.generation.ensemble import NegativeGuidance

    main_part, other_part = ((model.language_model, model.vocab) for model in (main, other))
    joined = NegativeGuidance(main_part, other_part, strength)
    return _make_generator(joined, joined.vocab, [main, other])


def _make_generator(joined: LanguageModel, vocab: Vocab, models: Sequence[Generator]) -> Generator:
    """Return the generator of an ensemble of models whose texts have one normal form."""
    first, *others = (model.text_format for model in models)
    for other in others:
        if other.normalize != first.normalize:
            raise ConfigError(
                f"these models know texts in different normal forms, {first.normalize} and "
                f"{other.normalize}; take models that were trained with one --normalize"
            )
    return Generator(joined, vocab, first)
