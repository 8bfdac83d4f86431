"""Tokens that stand with spaces between them, such as the phones of a word: tokens ↔ ids.

V = tokens, S = tokens of a text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import VocabError
from charrnn.text.vocab import END, END_NAME, Ids


@dataclass(frozen=True)
class TokenVocab:
    """Ids of tokens, their indices in `tokens` (sorted, distinct); with has_end the last id is END.

    >>> vocab = TokenVocab(("AH", "B"), has_end=True)
    >>> vocab.encode("B AH").tolist(), vocab.decode([1, 0, 2])
    ([1, 0], 'B AH')
    """

    tokens: tuple[str, ...]
    has_end: bool = False

    def __post_init__(self) -> None:
        if list(self.tokens) != sorted(set(self.tokens)):
            raise VocabError("the tokens are not sorted, or one is there twice")
        if not self.size:
            raise VocabError("there are no tokens")
        if any(each.split() != [each] for each in self.tokens):
            raise VocabError("a token is empty, or holds a space")
        if self.has_end and END in self.tokens:
            raise VocabError("U+10FFFF is a token, which stands for the end of a record")

    @classmethod
    def from_texts(cls, texts: Iterable[str], *, has_end: bool = False) -> TokenVocab:
        """Make the vocabulary of the tokens of some texts."""
        found: set[str] = set()
        for text in texts:
            found.update(text.split())
        return cls(tuple(sorted(found)), has_end)

    def union(self, other: TokenVocab) -> TokenVocab:
        """Return the vocabulary of all tokens that either has."""
        return TokenVocab(tuple(sorted({*self.tokens, *other.tokens})), self.has_end)

    def ids_in(self, larger: TokenVocab) -> NDArray[np.int64]:
        """Return the id (V,) of each of these tokens in a vocabulary that holds them all."""
        ids = [larger._id_of[token] for token in self.tokens]
        return np.array([*ids, *[larger.end] * self.has_end], np.int64)

    @cached_property
    def _id_of(self) -> dict[str, int]:
        ids = {token: i for i, token in enumerate(self.tokens)}
        return {**ids, END: self.end} if self.has_end else ids

    @property
    def size(self) -> int:
        """V, the number of ids."""
        return len(self.tokens) + self.has_end

    @property
    def end(self) -> int:
        """The token that ends a text; −1 where there is none."""
        return self.size - 1 if self.has_end else -1

    @property
    def dtype(self) -> np.dtype[Any]:
        """The narrowest unsigned type that holds every id."""
        return np.min_scalar_type(self.size - 1)

    @property
    def newline(self) -> int:
        """−1: no token is a newline."""
        return -1

    @property
    def has_bytes(self) -> bool:
        """False: a token that is not known cannot be spelled."""
        return False

    @property
    def is_one_to_one(self) -> bool:
        """False: a token may write several characters."""
        return False

    def count_characters(self, ids: Ids) -> int:
        """Return the number of characters in the text of `ids` (S,), each END as one.

        >>> TokenVocab(("AH", "B"), has_end=True).count_characters(np.array([1, 0, 2]))  # B AH
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

    def decode(self, ids: Iterable[int]) -> str:
        """Return the tokens of ids with spaces between them; an END writes nothing."""
        return " ".join(self.tokens[i] for i in ids if i < len(self.tokens))

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        return {"tokens": list(self.tokens), **({"end": True} if self.has_end else {})}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TokenVocab:
        """Return the vocabulary that `to_json` described.

        Raises:
            LookupError, TypeError, ValueError, VocabError: the values describe none.
        """
        return cls(tuple(map(str, values["tokens"])), bool(values.get("end", False)))
