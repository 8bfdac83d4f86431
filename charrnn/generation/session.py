"""Writing together with a model: a text made of pieces, by a person and by the model in turn.

A session is a value: every step gives a new one, so that undo is the one before. It knows nothing
of terminals, keys or files.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from functools import reduce

from charrnn.config import SampleConfig
from charrnn.errors import ConfigError, VocabError
from charrnn.generation.model import Model
from charrnn.generation.sampler import Context
from charrnn.generation.stopping import TextStream

LONGEST_READ = 50_000  # characters of one piece, its last; some seconds to read
_LONGEST_PAST = 10_000  # ids that a penalty can look back on
_LONGEST_WORD = 30
_SEED_BITS = 32


@dataclass(frozen=True)
class Piece:
    """A part of the text that was added at once, whether the model wrote it, and what comes after.

    after: where a text stands that goes on from its end.
    """

    text: str
    is_models: bool
    after: Context = field(compare=False, repr=False)


Pieces = tuple[Piece, ...]


@dataclass(frozen=True)
class Session:
    """A text, the steps before and after it, and how the model goes on with it.

    config: its seed is set; see `with_config`. draws: continuations since then, each of which has
    a random stream of its own.
    """

    model: Model
    config: SampleConfig
    pieces: Pieces = ()
    past: tuple[Pieces, ...] = ()
    future: tuple[Pieces, ...] = ()
    draws: int = 0

    @property
    def text(self) -> str:
        """The whole text so far."""
        return join_pieces(self.pieces)

    # ── what a person does ──

    def add(self, text: str) -> Session:
        """Put a person's `text` at the end.

        Raises:
            VocabError: it holds characters that the model does not know.
        """
        return self._step(self._with(self.pieces, text)) if text else self

    def rewrite(self, text: str) -> Session:
        """Put a person's `text` in place of all there is; what it begins with in common stays.

        Raises:
            VocabError: as `add`.
        """
        if text == self.text:
            return self
        differ = (i for i, (a, b) in enumerate(zip(self.text, text, strict=False)) if a != b)
        shared = next(differ, min(len(self.text), len(text)))
        return self._step(self._with(self._cut(shared), text[shared:]))

    def undo(self) -> Session:
        """Go back one step.

        Raises:
            ConfigError: there is none.
        """
        if not self.past:
            raise ConfigError("nothing more can be undone: so the session began")
        *past, pieces = self.past
        return replace(self, pieces=pieces, past=(*past,), future=(self.pieces, *self.future))

    def redo(self) -> Session:
        """Do again what was undone last.

        Raises:
            ConfigError: nothing was, or something else was done since.
        """
        if not self.future:
            raise ConfigError("nothing more can be done again: no other step was undone")
        pieces, *future = self.future
        return replace(self, pieces=pieces, past=(*self.past, self.pieces), future=(*future,))

    def with_config(self, config: SampleConfig) -> Session:
        """Draw by other settings. A seed of its own is chosen for None; a new one starts anew."""
        seed = secrets.randbits(_SEED_BITS) if config.seed is None else config.seed
        draws = self.draws if seed == self.config.seed else 0
        return replace(self, config=replace(config, seed=seed), draws=draws)

    # ── what the model does ──

    def begun(self, is_retry: bool) -> Pieces:
        """Give the pieces that the model goes on with: without its last, to try that again.

        Raises:
            ConfigError: it is to try again, but did not write last.
        """
        if not is_retry:
            return self.pieces
        if not self.pieces or not self.pieces[-1].is_models:
            raise ConfigError("the model did not write last, so it has nothing to try again")
        return self.pieces[:-1]

    def write(self, *, is_retry: bool = False, length: int | None = None) -> TextStream:
        """Give what the model goes on with, as it is drawn; the text changes only by `take`.

        length: in place of that of the settings.

        Raises:
            ConfigError: as `begun`; or the settings leave no character.
        """
        config = self.config if length is None else replace(self.config, length=length)
        after = _end_of(self.begun(is_retry))
        return self.model.generate(config=config, index=self.draws, after=after)

    def take(self, text: str, *, is_retry: bool = False) -> Session:
        """Put what the model wrote at the end, or in place of what it wrote last."""
        begun, drawn = self.begun(is_retry), replace(self, draws=self.draws + 1)
        is_same = not text or (is_retry and text == self.pieces[-1].text)
        return drawn if is_same else drawn._step(self._with(begun, text, is_models=True))

    def next_chars(self, count: int) -> list[tuple[str, float]]:
        """Give the likeliest characters to come next, each with its probability."""
        return self.model.next_chars("", count, after=_end_of(self.pieces))

    def finish_word(self, typed: str) -> str:
        """Give the likeliest rest of the word that the text ends in, were `typed` at its end.

        Raises:
            VocabError, ConfigError: as `add`, and as `write`.
        """
        only, ban, bias = self.config.only, self.config.ban, self.config.bias
        config = SampleConfig(
            temperature=0, length=_LONGEST_WORD, stop_regex=r"\W", only=only, ban=ban, bias=bias
        )
        return "".join(self.model.generate(typed, config, after=_end_of(self.pieces)))

    def _with(self, pieces: Pieces, text: str, *, is_models: bool = False) -> Pieces:
        """Put a piece at the end, if it has any text; what is too long is read from its end."""
        if not text:
            return pieces
        before = _end_of(pieces) if len(text) <= LONGEST_READ else None
        try:
            after = self._read(before, text[-LONGEST_READ:])
        except VocabError:
            if not is_models:
                raise
            # Characters that it knows one by one may make one, normalised, that it does not.
            after = reduce(self._read, text[1:], self._read(before, text[0]))
        return (*pieces, Piece(text, is_models, after))

    def _read(self, before: Context | None, text: str) -> Context:
        after = self.model.read(text, before)
        return replace(after, prompt=after.prompt[-_LONGEST_PAST:])

    def _cut(self, length: int) -> Pieces:
        """Give the pieces of the first `length` characters."""
        kept: Pieces = ()
        for piece in self.pieces:
            if len(piece.text) <= length:
                kept = (*kept, piece)
            else:
                kept = self._with(kept, piece.text[:length], is_models=piece.is_models)
            length -= min(length, len(piece.text))
        return kept

    def _step(self, pieces: Pieces) -> Session:
        return replace(self, pieces=pieces, past=(*self.past, self.pieces), future=())


def start_session(model: Model, config: SampleConfig, text: str = "") -> Session:
    """Begin with a person's `text`, which is there before the first step.

    Raises:
        VocabError: it holds characters that the model does not know.
    """
    session = Session(model, config).with_config(config).add(text)
    return replace(session, past=())


def join_pieces(pieces: Pieces) -> str:
    """Give the text of pieces."""
    return "".join(piece.text for piece in pieces)


def _end_of(pieces: Pieces) -> Context | None:
    return pieces[-1].after if pieces else None
