"""View `guesses`: what does the model expect at each place, and where is it wrong?

T = tokens of the text in view, K = guesses at each place, V = vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.config.inspect import InspectConfig
from charrnn.interpret.subject import Subject
from charrnn.interpret.trace import Array
from charrnn.interpret.units import check_place
from charrnn.metrics import bits_per_char
from charrnn.text.columns import TextCell, make_cells, text_columns

SPACE = "␣"  # of a guess, which would not be seen
WINDOW = 320  # places that are shown of a longer text


@dataclass(frozen=True, eq=False)
class GuessesReport:
    """The likeliest tokens at each place, before the model reads what stands there.

    symbols: (T,) what stands there. guesses: (T, K) the likeliest tokens, and probabilities: (T, K)
    theirs. true_probabilities: (T,) of what stands there, and ranks: (T,) its place among all
    tokens, from 1; of equals the lower id comes first. surprise_bits: (T,) −log₂ p of it, what
    `charrnn score` counts. entropy_bits: (T,) the surprise that the model expects. at: the place
    that was asked for.
    """

    symbols: list[str]
    guesses: list[list[str]]
    probabilities: Array
    true_probabilities: Array
    ranks: NDArray[np.int64]
    surprise_bits: Array
    entropy_bits: Array
    at: int

    @property
    def excess_bits(self) -> Array:
        """How much more surprised than uncertain the model is (T,); below 0: less."""
        excess: Array = self.surprise_bits - self.entropy_bits
        return excess

    @property
    def window(self) -> range:
        """The places that are shown: all, or WINDOW of them around the place asked for."""
        count = len(self.symbols)
        stop = min(max(self.at + WINDOW // 2, WINDOW), count)
        return range(max(stop - WINDOW, 0), stop)

    @property
    def described(self) -> str:
        """The averages over the text, in words."""
        first = float(np.mean(self.ranks == 1))
        size = self.probabilities.shape[1]
        found = float(np.mean(self.ranks <= size))
        return (
            f"{self.surprise_bits.mean():.2f} bits of surprise a token, "
            f"{self.entropy_bits.mean():.2f} expected; the first guess is right at {first:.0%} of "
            f"places, one of {size} at {found:.0%}"
        )

    def table(self) -> tuple[list[str], list[list[object]]]:
        """Return the columns and rows of a CSV: one row a place."""
        columns = ["place", "symbol", "probability", "rank", "surprise_bits", "entropy_bits"]
        for number in range(1, self.probabilities.shape[1] + 1):
            columns += [f"guess_{number}", f"probability_{number}"]
        rows: list[list[object]] = []
        for place, symbol in enumerate(self.symbols):
            row: list[object] = [place, symbol, float(self.true_probabilities[place])]
            row += [int(self.ranks[place]), float(self.surprise_bits[place])]
            row.append(float(self.entropy_bits[place]))
            chances = self.probabilities[place].tolist()
            for pair in zip(self.guesses[place], chances, strict=True):
                row += pair
            rows.append(row)
        return columns, rows


def inspect_guesses(subject: Subject, config: InspectConfig) -> GuessesReport:
    """Return the likeliest `config.top` tokens at each place of the text in view.

    Raises:
        ConfigError: the text has no place `config.at`.
    """
    count = len(subject.ids)
    at = check_place(config.at, count)
    nats = subject.log_probabilities
    size = min(config.top, subject.config.vocab_size)
    ids = np.stack([np.argsort(-row, kind="stable")[:size] for row in nats])
    true = np.take_along_axis(nats, subject.ids[:, None], -1)
    is_equal_before = (nats == true) & (np.arange(nats.shape[1]) < subject.ids[:, None])
    entropy_nats = -(np.exp(nats) * nats).sum(-1)
    return GuessesReport(
        symbols=subject.symbols,
        guesses=[[subject.vocab.name_of(token) for token in row] for row in ids.tolist()],
        probabilities=np.exp(np.take_along_axis(nats, ids, -1)),
        true_probabilities=np.exp(true[:, 0]),
        ranks=1 + (nats > true).sum(-1) + is_equal_before.sum(-1),
        surprise_bits=-true[:, 0] * np.float32(bits_per_char(1)),
        entropy_bits=entropy_nats * np.float32(bits_per_char(1)),
        at=at,
    )


def guess_cells(
    reports: Mapping[str, GuessesReport],
    show: Callable[[str], str],
    columns_of: Callable[[str], int] = text_columns,
) -> list[TextCell]:
    """Return a cell for each place in view, as wide as the widest of what stands in its column.

    show: what is shown of a token.
    """
    first = next(iter(reports.values()))
    cells = []
    for place in first.window:
        symbols = [first.symbols[place]]
        symbols += [guess for report in reports.values() for guess in report.guesses[place]]
        own = make_cells(map(show, symbols), columns_of, joins_marks=False)
        width = max(cell.columns for cell in own)
        cells.append(TextCell(own[0].shown, width, place, place + 1))
    return cells
