"""Whole texts out of ids that are drawn side by side, and what each of their characters cost.

K = alternatives.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat

from charrnn.inference.drawing.batch import Drawing, Step
from charrnn.inference.drawing.stops import Ending
from charrnn.metrics import bits_per_char
from charrnn.text.vocab import StreamDecoder, Vocab


@dataclass(frozen=True)
class Cost:
    """What a character cost the model before anything shaped its logits.

    nats: −ln of its probability, the sum of its bytes' where it is written as such. top: the K
    likeliest in its place, each with its own; a byte is written as <E4>.
    """

    nats: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Sample:
    """A text that was written.

    nats: what it cost the model before anything shaped its logits; NaN where that was not asked
    for. costs: the share of each of its characters.
    """

    index: int
    text: str
    stopped_by: str
    nats: float = math.nan
    costs: tuple[Cost, ...] = ()

    @property
    def bpc(self) -> float:
        """Bits per character; NaN where there are none, or their cost was not asked for."""
        return bits_per_char(self.nats / len(self.text)) if self.text else math.nan


def write_samples(
    batch: Drawing, vocab: Vocab, endings: Sequence[Ending], indices: Sequence[int]
) -> list[Sample]:
    """Let a batch write until all of its texts have ended; give them in order."""
    drafts = [_Draft(vocab, ending, batch.guide_reason) for ending in endings]
    batch.drop({row for row, draft in enumerate(drafts) if draft.ending.reason})
    for step in batch:
        costs = _costs(step, vocab)
        for row, symbol, cost in zip(step.rows.tolist(), step.symbols.tolist(), costs, strict=True):
            drafts[row].take(symbol, cost)
        batch.drop({row for row in step.rows.tolist() if drafts[row].ending.reason})
    return [draft.finish(index) for index, draft in zip(indices, drafts, strict=True)]


class _Draft:
    """One text as it is written."""

    def __init__(self, vocab: Vocab, ending: Ending, guide_reason: str) -> None:
        self.ending = ending
        self._guide_reason = guide_reason
        self._decoder = StreamDecoder(vocab)
        self._shown: list[str] = []
        self._costs: list[Cost] = []
        self._unfinished: list[Cost] = []

    def take(self, symbol: int, cost: Cost | None) -> None:
        """Take the next id; −1 where a guide ended the text."""
        if symbol < 0:
            self._shown.append(self.ending.end(self._guide_reason))
            return
        chars = self._decoder.feed(symbol)
        if cost is not None:
            self._count(cost, len(chars))
        for char in chars:
            if self.ending.reason is None:
                self._shown.append(self.ending.feed(char))

    def finish(self, index: int) -> Sample:
        """Give the text as it ended."""
        text = "".join(self._shown)
        costs = tuple(self._costs[: len(text)])
        nats = sum(cost.nats for cost in costs) if costs else math.nan
        return Sample(index, text, self.ending.reason or "", nats, costs)

    def _count(self, cost: Cost, finished: int) -> None:
        """Give what the symbols cost to the characters that they finished.

        Where there are several, the last symbol's is the last one's, and the first one, which
        stands for bytes that are none, has the rest.
        """
        self._unfinished.append(cost)
        if not finished:
            return
        end = len(self._unfinished) - self._decoder.held_back
        done, self._unfinished = self._unfinished[:end], self._unfinished[end:]
        if finished > 1:
            nothing = [Cost(0.0)] * (finished - 2)
            self._costs += [_join(done[:-1]), *nothing, _join(done[-1:])]
        else:
            self._costs.append(_join(done))


def _costs(step: Step, vocab: Vocab) -> Iterable[Cost | None]:
    """Give what each id of a step cost; None where that was not asked for."""
    if step.nats is None or step.top is None or step.top_nats is None:
        return repeat(None, len(step.rows))
    tops = (
        tuple((vocab.name_of(symbol), nats) for symbol, nats in zip(ids, costs, strict=True))
        for ids, costs in zip(step.top.tolist(), step.top_nats.tolist(), strict=True)
    )
    return map(Cost, step.nats.tolist(), tops)


def _join(costs: Sequence[Cost]) -> Cost:
    """Give the cost of a character from those of its symbols."""
    return Cost(sum(cost.nats for cost in costs), costs[0].top) if costs else Cost(0.0)
