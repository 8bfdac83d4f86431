"""Tokens that stand with spaces between them, such as the phones of a word: tokens ↔ ids.

V = tokens, S = tokens of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ConfigError, VocabError
from charrnn.text.vocab import END, END_NAME, Ids, Vocab


@dataclass(frozen=True)
class TokenVocab(Vocab):
    """Ids of tokens, their indices in `tokens` (sorted, distinct); with has_end the last id is END.

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
        if self.alphabet or self.has_bytes or self.clusters:
            raise VocabError("a vocabulary of tokens between spaces has no characters")
        if self.has_end and END in self.tokens:
            raise VocabError("U+10FFFF is a token, which stands for the end of a record")

    def union(self, other: Vocab) -> TokenVocab:
        """Return the vocabulary of all tokens that either has.

        Raises:
            ConfigError: the other has characters.
        """
        if not isinstance(other, TokenVocab):
            raise ConfigError("a model of characters and one of tokens cannot share a text")
        return TokenVocab(tokens=tuple(sorted({*self.tokens, *other.tokens})), has_end=self.has_end)

    def ids_in(self, larger: Vocab) -> NDArray[np.int64]:
        """Return the id (V,) of each of these tokens in a vocabulary that holds them all."""
        assert isinstance(larger, TokenVocab)
        ids = [larger._id_of[token] for token in self.tokens]
        return np.array([*ids, *[larger.end] * self.has_end], np.int64)

    @cached_property
    def _id_of(self) -> dict[str, int]:
        ids = {token: i for i, token in enumerate(self.tokens)}
        return {**ids, END: self.end} if self.has_end else ids

    @property
    def first_cluster(self) -> int:
        """The id after those of the tokens."""
        return len(self.tokens)

    @property
    def is_one_to_one(self) -> bool:
        """False: a token may write several characters."""
        return False

    def count_characters(self, ids: Ids) -> int:
        """Return the number of characters in the text of `ids` (S,), each END as one.

        >>> vocab = TokenVocab(tokens=("AH", "B"), has_end=True)
        >>> vocab.count_characters(np.array([1, 0, 2]))  # B AH
        5
        """
        return self._count(ids, [len(token) for token in self.tokens])

    def count_bytes(self, ids: Ids) -> int:
        """Return the number of UTF-8 bytes in the text of `ids` (S,), each END as one."""
        return self._count(ids, [len(token.encode()) for token in self.tokens])

    def _count(self, ids: Ids, widths: list[int]) -> int:
        """Return the widths of tokens, of the space between two, and 1 for each END, summed."""
        is_token = np.asarray(ids) < len(self.tokens)
        counts = np.bincount(ids, minlength=self.size)
        spaces = np.count_nonzero(is_token[1:] & is_token[:-1])
        return int(counts @ np.array([*widths, *[1] * self.has_end]) + spaces)

    def text_of(self, token: int) -> str:
        """Return what a token writes, END for an end."""
        return END if token == self.end else self.tokens[token]

    def name_of(self, token: int) -> str:
        """Return what a token writes, the end of a record as <end>."""
        return END_NAME if token == self.end else self.tokens[token]

    def encode(self, text: str) -> Ids:
        """Return the ids (S,) of a text of tokens with spaces between them; END is a token too.

        Raises:
            VocabError: a token is not known.
        """
        try:
            return np.array([self._id_of[token] for token in text.split()], self.dtype)
        except KeyError as error:
            raise VocabError(f"the model never saw the token {error.args[0]!r}") from error

    def decode(self, ids: Ids | Sequence[int]) -> str:
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
