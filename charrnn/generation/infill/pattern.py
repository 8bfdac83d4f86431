"""A text with blanks and gaps as cells, and how far through them a beginning of a text may be.

Each cell takes one id: a given one, or any of the fillers; those of a gap are optional. The cells
that may take the next id are a set, the bits of an int (Navarro and Raffinot 2002, chapter 4): a
beginning has one such set, however many ways it fits. `Model.fill` makes patterns.

C = cells, V = vocabulary, S = ids of a text.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.config import FillConfig, SampleConfig
from charrnn.errors import ConfigError
from charrnn.generation.beam import Ints
from charrnn.generation.logit_bias import make_logit_bias
from charrnn.text.vocab import Vocab

_MAX_CELLS = 10_000


@dataclass(frozen=True)
class Cell:
    """What takes one id: `token`, or where that is None any filler, for blank `number`."""

    token: int | None = None
    number: int = -1
    is_optional: bool = False


class Pattern:
    """Cells (C,) and their fillers. `at` is a set of cells; bit C, past the last, is the end."""

    def __init__(self, cells: Sequence[Cell], is_filler: NDArray[np.bool_]) -> None:
        """Index the cells by what they take. is_filler: (V,), which ids may fill."""
        self.cells = tuple(cells)
        self._is_filler = is_filler
        self._free = 0  # the cells that take any filler
        self._optional = 0  # those of gaps
        self._given: dict[int, int] = {}  # token → the cells that give it
        for index, cell in enumerate(cells):
            bit = 1 << index
            self._optional |= bit * cell.is_optional
            if cell.token is None:
                self._free |= bit
            else:
                self._given[cell.token] = self._given.get(cell.token, 0) | bit
        self.start = self._skip_optional(1)

    def step(self, at: int, token: int) -> int:
        """Return the cells after one more id; 0 where the id does not fit."""
        takers = self._given.get(token, 0) | (self._free if self._is_filler[token] else 0)
        return self._skip_optional((at & takers) << 1)

    def next_tokens(self, at: int) -> tuple[Ints, Ints]:
        """Return the ids that fit next, and how far each leads at most: the cells behind it."""
        # All fillers lead equally far, except those that a cell gives.
        furthest = self._skip_optional((at & self._free) << 1).bit_length()
        reached = np.where(self._is_filler, furthest, 0)
        for token, takers in self._given.items():
            if at & takers:
                reached[token] = self.step(at, token).bit_length()
        tokens = np.flatnonzero(reached)
        return tokens, reached[tokens]

    def is_complete(self, at: int) -> bool:
        """Return whether a text that ends here fits."""
        return at >> len(self.cells) == 1

    def can_continue(self, at: int) -> bool:
        """Return whether a longer text can fit."""
        return at.bit_count() > self.is_complete(at)

    def align(self, ids: Sequence[int]) -> list[tuple[int, int]]:
        """Return start and end, in ids (S,) of a text that fits, of what fills each blank.

        Where several ways fit, the last gaps are the shortest.
        """
        sets = [self.start]
        for token in ids:
            sets.append(self.step(sets[-1], token))
        # Backwards: a cell that could be left out was left out, so the last gaps stay short.
        spans: dict[int, tuple[int, int]] = {}
        start = len(ids)
        for index in reversed(range(len(self.cells))):
            cell = self.cells[index]
            end = start
            start -= not (cell.is_optional and sets[start] >> index & 1)
            if cell.token is None:
                spans[cell.number] = start, spans.get(cell.number, (start, end))[1]
        return [spans[number] for number in sorted(spans)]

    def _skip_optional(self, at: int) -> int:
        """Add the cells that are reached by leaving optional ones out."""
        while (wider := at | (at & self._optional) << 1) != at:
            at = wider
        return at


def make_pattern(
    text: str, config: FillConfig, vocab: Vocab, normalize: Callable[[str], str]
) -> Pattern:
    """Return the pattern of a text with signs; `normalize` is applied to what is between them.

    For a model of records the text is a whole record: its end follows.

    Raises:
        ConfigError: the model is of bytes, or the text has no sign, ends with a gap or is too
            long, or no character may fill.
        VocabError: it has characters that the model does not know.
    """
    if vocab.is_binary:
        raise ConfigError(
            "fill works with characters, and this model is of bytes; name one that was trained "
            "without --unit byte"
        )
    cells: list[Cell] = []
    signs = f"[{re.escape(config.blank + config.gap)}]"
    has_newline = config.line and not vocab.has_end  # a record ends its line itself
    pieces = re.split(f"({signs})", text + "\n" * has_newline)
    for index, piece in enumerate(pieces):
        if index % 2:  # re.split puts the signs at the odd indices
            is_gap = piece == config.gap
            cells += [Cell(None, index // 2, is_gap)] * (config.max_gap if is_gap else 1)
        elif piece:  # not empty between two signs: a million of them are refused at once
            cells += [Cell(token) for token in vocab.encode(normalize(piece)).tolist()]
    if vocab.has_end:
        cells.append(Cell(vocab.end))
    if len(pieces) == 1:
        meanings = ((config.blank, "an unknown character"), (config.gap, "any number of them"))
        raise ConfigError(
            "the text has nothing to fill: write "
            f"{' or '.join(f'{sign} for {what}' for sign, what in meanings if sign)}; "
            "--blank and --gap name other signs"
        )
    if cells[-1].is_optional:
        raise ConfigError(
            f"the text ends with the gap {config.gap}, which nothing ends: write what follows it, "
            "or give --line if the line ends there"
        )
    if len(cells) > _MAX_CELLS:
        raise ConfigError(
            f"the text has {len(cells):,} characters, with its gaps at their longest; give at most "
            f"{_MAX_CELLS:,}, or a smaller --max-gap"
        )
    return Pattern(cells, _find_fillers(vocab, config))


def _find_fillers(vocab: Vocab, config: FillConfig) -> NDArray[np.bool_]:
    """Return which ids (V,) may fill: the characters and clusters that are not banned."""
    bias = make_logit_bias(vocab, SampleConfig(only=config.only, ban=config.ban))
    is_filler = np.ones(vocab.size, np.bool_) if bias is None else bias == 0
    is_filler[len(vocab.alphabet) : vocab.first_cluster] = False  # a lone byte is no character
    if vocab.has_end:
        is_filler[vocab.end] = False
    if config.line and not vocab.has_end:
        is_filler[vocab.encode("\n")] = False
    if not is_filler.any():
        raise ConfigError(
            "no character of this model's alphabet is allowed in a blank, and those that it writes "
            "as bytes do not fit; allow a character of the alphabet"
        )
    return is_filler
