"""A text with blanks and gaps as a machine over ids: what may come next, and when it is complete.

A pattern is a row of cells. Each takes one id: a given one, or any of those that may fill; those
of a gap may be left out. A place says how much of the pattern a beginning may have gone through:
as a gap can end wherever what follows it begins, that is a set of cells, kept as the bits of an
int (Navarro and Raffinot 2002, chapter 4). So a text has one place, however many ways it fits.

C = cells, V = vocabulary, S = ids of a text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.config import FillConfig, SampleConfig
from charrnn.errors import ConfigError
from charrnn.generation.logit_bias import make_logit_bias
from charrnn.text.vocab import Vocab

_MOST_CELLS = 10_000

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Cell:
    """What takes one id: `token`, or where that is None any that may fill, for blank `number`."""

    token: int | None = None
    number: int = -1
    is_optional: bool = False


class Pattern:
    """Cells (C,) and the ids that may fill; bit i of a place is set where cell i may come next."""

    def __init__(self, cells: Sequence[Cell], is_filler: NDArray[np.bool_]) -> None:
        """Make the machine. is_filler: (V,), which ids may fill."""
        self.cells = tuple(cells)
        self._is_filler = is_filler
        self._free = self._optional = 0
        self._given: dict[int, int] = {}
        for index, cell in enumerate(cells):
            bit = 1 << index
            self._optional |= bit * cell.is_optional
            if cell.token is None:
                self._free |= bit
            else:
                self._given[cell.token] = self._given.get(cell.token, 0) | bit
        self.start = self._skip_optional(1)

    def follow(self, place: int, token: int) -> int:
        """Give the place after one more id; 0 where it cannot come."""
        takers = self._given.get(token, 0) | (self._free if self._is_filler[token] else 0)
        return self._skip_optional((place & takers) << 1)

    def moves(self, place: int) -> tuple[Ints, Ints]:
        """Give the ids that can come at a place, and how far each leads: the cells behind it."""
        furthest = self._skip_optional((place & self._free) << 1).bit_length()
        reached = np.where(self._is_filler, furthest, 0)
        for token, takers in self._given.items():
            if place & takers:
                reached[token] = self.follow(place, token).bit_length()
        tokens = np.flatnonzero(reached)
        return tokens, reached[tokens]

    def is_complete(self, place: int) -> bool:
        """Tell whether a text fits that ends here."""
        return place >> len(self.cells) == 1

    def goes_on(self, place: int) -> bool:
        """Tell whether a longer text can fit."""
        return place.bit_count() > self.is_complete(place)

    def align(self, ids: Sequence[int]) -> list[tuple[int, int]]:
        """Give start and end in ids (S,), of a text that fits, of what fills each blank.

        Where several ways fit, the last gaps are the shortest.
        """
        places = [self.start]
        for token in ids:
            places.append(self.follow(places[-1], token))
        spans: dict[int, tuple[int, int]] = {}
        start = len(ids)
        for index in reversed(range(len(self.cells))):
            cell, end = self.cells[index], start
            is_left_out = cell.is_optional and places[start] >> index & 1
            start -= not is_left_out
            if cell.token is None:
                spans[cell.number] = start, spans.get(cell.number, (start, end))[1]
        return [spans[number] for number in sorted(spans)]

    def _skip_optional(self, place: int) -> int:
        """Add the places that are reached by leaving cells out."""
        while (wider := place | (place & self._optional) << 1) != place:
            place = wider
        return place


def make_pattern(
    text: str, config: FillConfig, vocab: Vocab, normalize: Callable[[str], str]
) -> Pattern:
    """Read a text with its signs; `normalize` is done to what stands between them.

    Raises:
        ConfigError: it has no sign, ends with a gap, is too long, or no character may fill.
        VocabError: it has characters that the model does not know.
    """
    cells: list[Cell] = []
    signs = f"[{re.escape(config.blank + config.gap)}]"
    pieces = re.split(f"({signs})", text + "\n" * config.line)
    for index, piece in enumerate(pieces):
        if index % 2:
            is_gap = piece == config.gap
            cells += [Cell(None, index // 2, is_gap)] * (config.max_gap if is_gap else 1)
        else:
            cells += [Cell(token) for token in vocab.encode(normalize(piece)).tolist()]
    _check_cells(cells, config)
    return Pattern(cells, _fillers(vocab, config))


def _check_cells(cells: list[Cell], config: FillConfig) -> None:
    if all(cell.token is not None for cell in cells):
        signs = ((config.blank, "an unknown character"), (config.gap, "any number of them"))
        raise ConfigError(
            "the text has nothing to fill: write "
            f"{' or '.join(f'{sign} for {what}' for sign, what in signs if sign)}; "
            "--blank and --gap name other signs"
        )
    if cells[-1].is_optional:
        raise ConfigError(
            f"the text ends with the gap {config.gap}, which nothing ends: write what follows it, "
            "or give --line where the line ends there"
        )
    if len(cells) > _MOST_CELLS:
        raise ConfigError(
            f"the text has {len(cells):,} characters, its gaps at their longest; give at most "
            f"{_MOST_CELLS:,}, or a smaller --max-gap"
        )


def _fillers(vocab: Vocab, config: FillConfig) -> NDArray[np.bool_]:
    """Give which ids (V,) may fill: the characters of the alphabet that are not banned."""
    bias = make_logit_bias(vocab, SampleConfig(only=config.only, ban=config.ban))
    is_filler = np.ones(vocab.size, np.bool_) if bias is None else bias == 0
    is_filler[len(vocab.alphabet) :] = False
    if config.line:
        is_filler[vocab.encode("\n")] = False
    if not is_filler.any():
        raise ConfigError(
            "no character of this model's alphabet may fill; what it writes as bytes cannot"
        )
    return is_filler
