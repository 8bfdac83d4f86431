"""Tokens that stand with spaces between them, such as the phones of a word: tokens ↔ ids.

V = tokens, S = tokens of a text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from charrnn.errors import ConfigError, VocabError
from charrnn.text.vocab import Ids, Vocab


@dataclass(frozen=True)
class TokenVocab(Vocab):
    """Ids of tokens, their indices in `tokens` (sorted, distinct); with has_end the last id is END.

    In every count a token is a character.

    >>> vocab = TokenVocab(tokens=("AH", "B"), has_end=True)
    >>> vocab.encode("B AH").tolist(), vocab.decode([1, 0, 2])
    ([1, 0], 'B AH')
    """

    alphabet: str = ""
    tokens: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if list(self.tokens) != sorted(set(self.tokens)):
            raise VocabError("the tokens are not sorted, or one is there twice")
        if not self.tokens:
            raise VocabError("there are no tokens")
        if any(each.split() != [each] for each in self.tokens):
            raise VocabError("a token is empty, or holds a space")

    @classmethod
    def from_texts(cls, texts: Iterable[str], *, has_end: bool = False) -> TokenVocab:
        """Make the vocabulary of the tokens of some texts."""
        found: set[str] = set()
        for text in texts:
            found.update(text.split())
        return cls(tokens=tuple(sorted(found)), has_end=has_end)

    def union(self, other: Vocab) -> TokenVocab:
        """Return the vocabulary of all tokens that either has."""
        if not isinstance(other, TokenVocab):
            raise ConfigError("a model of characters and one of tokens cannot share a text")
        return TokenVocab(tokens=tuple(sorted({*self.tokens, *other.tokens})), has_end=self.has_end)

    @cached_property
    def _id_of(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.tokens)}

    @property
    def first_cluster(self) -> int:
        """The id after those of the tokens."""
        return len(self.tokens)

    def encode(self, text: str) -> Ids:
        """Return the ids (S,) of a text of tokens with spaces between them.

        Raises:
            VocabError: a token is not known.
        """
        try:
            return np.array([self._id_of[token] for token in text.split()], self.dtype)
        except KeyError as error:
            raise VocabError(f"the model never saw the token {error.args[0]!r}") from error

    def decode(self, ids: Iterable[int] | Ids) -> str:
        """Return the tokens of ids with spaces between them; an END writes nothing."""
        return " ".join(self.tokens[i] for i in map(int, ids) if i < len(self.tokens))

    def to_json(self) -> dict[str, object]:
        """Return what `from_json` takes."""
        return {"tokens": list(self.tokens), **({"end": True} if self.has_end else {})}

    @classmethod
    def from_json(cls, data: object) -> TokenVocab:
        """Make the vocabulary that `to_json` described; raise VocabError for anything else."""
        values: dict[str, object] = data if isinstance(data, dict) else {}
        tokens = values.get("tokens")
        has_end = values.get("end", False)
        if not isinstance(tokens, list) or not all(isinstance(each, str) for each in tokens):
            raise VocabError("a vocabulary has no list of tokens")
        return cls(tokens=tuple(tokens), has_end=has_end is True)
