"""Writing together with a model: a text made of pieces, by a person and by the model in turn.

A session is a value: each step returns a new one, so that undo is the one before. The terminal
around it is `charrnn write`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import reduce

from charrnn.config import SampleConfig, check_type, with_seed
from charrnn.config.sample import ENDS, FORMS
from charrnn.errors import ConfigError, VocabError
from charrnn.generation.sampler import Context
from charrnn.generation.stopping import TextStream
from charrnn.generation.text_format import check_text
from charrnn.tasks.model import Model
from charrnn.text.substitutions import Fitted

MAX_PIECE_READ = 50_000  # characters, the last of a piece; they take some seconds to read
_MAX_HISTORY = 10_000  # ids that a penalty can look back on
_MAX_WORD = 30  # characters
_MAX_TURN = 1000  # characters from which a turn is finished that a setting was to end before


@dataclass(frozen=True)
class Piece:
    """A part of the text that was added at once, whether the model wrote it, and where it ends.

    text: as it was typed, even where the model reads it with other characters. end: None where the
    model has read nothing yet.
    """

    text: str
    is_models: bool
    end: Context | None = field(compare=False, repr=False)


Pieces = tuple[Piece, ...]


@dataclass(frozen=True)
class Session:
    """A text, the steps before and after it, and how the model continues it.

    config: its seed is set; see `with_config`. samples: how many continuations the model has begun
    with this seed; each has a random stream of its own.
    """

    model: Model
    config: SampleConfig
    pieces: Pieces = ()
    undo_steps: tuple[Pieces, ...] = ()
    redo_steps: tuple[Pieces, ...] = ()
    samples: int = 0

    @property
    def text(self) -> str:
        """The whole text so far."""
        return join_pieces(self.pieces)

    # ── what a person does ──

    def add(self, text: str) -> Session:
        """Append a person's `text`.

        Raises:
            VocabError: it has characters that the model does not know.
        """
        check_text(text)
        return self._step(self._with(self.pieces, text)) if text else self  # no text, no step

    def rewrite(self, text: str) -> Session:
        """Replace the whole text by a person's `text`; the pieces of their common start stay.

        Raises:
            VocabError: as `add`.
        """
        check_text(text)
        if text == self.text:
            return self
        # The first difference; where there is none, one text is the start of the other.
        differ = (i for i, (a, b) in enumerate(zip(self.text, text, strict=False)) if a != b)
        shared = next(differ, min(len(self.text), len(text)))
        return self._step(self._with(self._cut(shared), text[shared:]))

    def undo(self) -> Session:
        """Go back one step.

        Raises:
            ConfigError: there is none.
        """
        if not self.undo_steps:
            raise ConfigError("nothing to undo: the session began with this text")
        *before, pieces = self.undo_steps
        after = (self.pieces, *self.redo_steps)
        return replace(self, pieces=pieces, undo_steps=(*before,), redo_steps=after)

    def redo(self) -> Session:
        """Repeat the step that was undone last.

        Raises:
            ConfigError: no step was undone, or another step was made since.
        """
        if not self.redo_steps:
            raise ConfigError("nothing to redo")
        pieces, *after = self.redo_steps
        return replace(self._step(pieces), redo_steps=(*after,))

    def with_config(self, config: SampleConfig) -> Session:
        """Sample with other settings. None as seed chooses one; a new seed starts at sample 0."""
        check_type("config", config, SampleConfig, "a SampleConfig")
        config = with_seed(config)
        samples = self.samples if config.seed == self.config.seed else 0
        return replace(self, config=config, samples=samples)

    def fit(self, text: str) -> Fitted:
        """Return what the model reads of a person's `text`, by the setting `unknown`.

        Raises:
            VocabError: it has characters that the model does not know, and may not.
        """
        check_text(text)
        return self.model.fit(text[-MAX_PIECE_READ:], self.config.unknown)

    # ── what the model does ──

    def base(self, is_retry: bool) -> Pieces:
        """Return the pieces that the model continues; a retry leaves out its last one.

        Raises:
            ConfigError: a retry, where the model did not write last.
        """
        if not is_retry:
            return self.pieces
        if not self.pieces or not self.pieces[-1].is_models:
            raise ConfigError("the model did not write last, so it has nothing to try again")
        return self.pieces[:-1]

    def write(
        self, *, is_retry: bool = False, length: int | None = None, finish: bool = False
    ) -> TextStream:
        """Return the model's continuation as it is sampled; only `take` adds it to the text.

        length: in characters; None is that of the settings. finish: write on from there to the end
        of a sentence or a word, unless the settings give the text a form.

        Raises:
            ConfigError: as `base`; or the settings leave no character.
        """
        config = self.config if length is None else replace(self.config, length=length)
        after = _end_of(self.base(is_retry))
        finish_from = None
        if finish and not config.used(*FORMS, "must"):
            finish_from = max(config.length, _MAX_TURN if config.used(*ENDS) else 0)
            config = replace(config, length=2 * finish_from)  # where no word ends
        return self.model.generate(
            config=config, index=self.samples, after=after, finish_from=finish_from
        )

    def take(self, text: str, *, is_retry: bool = False) -> Session:
        """Append what the model wrote, or put it in place of what it wrote last.

        text: an END in it is shown as what separates records.
        """
        check_text(text)
        base = self.base(is_retry)
        sampled = replace(self, samples=self.samples + 1)
        # A retry with the same text is not a step, but the next one samples again.
        shown = self.model.text_format.without_ends(text)
        is_same = not text or (is_retry and shown == self.pieces[-1].text)
        return sampled if is_same else sampled._step(self._with(base, text, is_models=True))

    def next_chars(self, count: int) -> list[tuple[str, float]]:
        """Return the likeliest next characters, each with its probability."""
        return self.model.next_chars("", count, after=_end_of(self.pieces))

    def finish_word(self, typed: str) -> str:
        """Return the likeliest rest of the word that the text and `typed` end in.

        Raises:
            VocabError, ConfigError: as `add` and `write`.
        """
        names = ("only", "ban", "ban_word", "bias", "unknown")
        kept = {name: getattr(self.config, name) for name in names}
        config = SampleConfig(temperature=0, length=_MAX_WORD, stop_regex=r"\W", **kept)
        return "".join(self.model.generate(typed, config, after=_end_of(self.pieces)))

    def _with(self, pieces: Pieces, text: str, *, is_models: bool = False) -> Pieces:
        """Return the pieces and a further one, if it has any text."""
        if not text:
            return pieces
        # If the text is very long, only its end is read, as if nothing came before that.
        before = _end_of(pieces) if len(text) <= MAX_PIECE_READ else None
        readable = text[-MAX_PIECE_READ:] if is_models else self.fit(text).text
        try:
            end = self._read(before, readable)
        except VocabError:
            if not is_models:
                raise
            # Characters that it knows may, once normalized, become one that it does not know.
            end = reduce(self._read, text, before)
        shown = self.model.text_format.without_ends(text) if is_models else text
        return (*pieces, Piece(shown, is_models, end))

    def _read(self, before: Context | None, text: str) -> Context | None:
        if not text:  # the model begins as if nothing had been typed
            return before
        end = self.model.read(text, before)
        return replace(end, prompt=end.prompt[-_MAX_HISTORY:])

    def _cut(self, length: int) -> Pieces:
        """Return the pieces of the first `length` characters."""
        # What stands in the text is refused no more.
        is_strict = self.config.unknown == "error"
        reader = replace(self, config=replace(self.config, unknown="map")) if is_strict else self
        kept: Pieces = ()
        for piece in self.pieces:
            text = piece.text[:length]
            length -= len(text)
            is_whole = text == piece.text  # its end is known: nothing is read again
            is_models = piece.is_models
            kept = (*kept, piece) if is_whole else reader._with(kept, text, is_models=is_models)
        return kept

    def _step(self, pieces: Pieces) -> Session:
        undo_steps = (*self.undo_steps, self.pieces)
        return replace(self, pieces=pieces, undo_steps=undo_steps, redo_steps=())


def start_session(model: Model, config: SampleConfig, text: str = "") -> Session:
    """Begin with a person's `text`, which undo does not remove.

    Raises:
        VocabError: it has characters that the model does not know.
    """
    check_type("model", model, Model, "what charrnn.load returns")
    session = Session(model, config).with_config(config).add(text)
    return replace(session, undo_steps=())


def join_pieces(pieces: Pieces) -> str:
    """Return the text of the pieces."""
    return "".join(piece.text for piece in pieces)


def _end_of(pieces: Pieces) -> Context | None:
    return pieces[-1].end if pieces else None
