"""Whole texts out of ids that are drawn side by side, and what each of their characters cost.

K = alternatives.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, repeat

from charrnn.generation.batch import BatchStep, SampleBatch
from charrnn.generation.stopping import StoppingCriteria
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
    batch: SampleBatch, vocab: Vocab, endings: Sequence[StoppingCriteria], indices: Sequence[int]
) -> list[Sample]:
    """Let a batch write until all of its texts have ended; give them in order."""
    drafts = [_Draft(vocab, ending, batch.guide_reason) for ending in endings]
    batch.drop({row for row, draft in enumerate(drafts) if draft.ending.reason})
    for step in batch:
        costs = _costs(step, vocab)
        for row, token, cost in zip(step.rows.tolist(), step.tokens.tolist(), costs, strict=True):
            drafts[row].take(token, cost)
        batch.drop({row for row in step.rows.tolist() if drafts[row].ending.reason})
    return [draft.finish(index) for index, draft in zip(indices, drafts, strict=True)]


class _Draft:
    """One text as it is written."""

    def __init__(self, vocab: Vocab, ending: StoppingCriteria, guide_reason: str) -> None:
        self.ending = ending
        self._guide_reason = guide_reason
        self._decoder = StreamDecoder(vocab)
        self._shown: list[str] = []
        self._costs: list[Cost] = []
        self._unfinished: list[Cost] = []

    def take(self, token: int, cost: Cost | None) -> None:
        """Take the next id; −1 where a guide ended the text."""
        if token < 0:
            self._shown.append(self.ending.end(self._guide_reason))
            return
        chars = self._decoder.feed(token)
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
        """Give what the tokens cost to the characters that they finished.

        Where there are several, the last token's is the last one's, and the first one, which
        stands for bytes that are none, has the rest.
        """
        self._unfinished.append(cost)
        if not finished:
            return
        end = len(self._unfinished) - self._decoder.held_back
        done, self._unfinished = self._unfinished[:end], self._unfinished[end:]
        if finished > 1:
            nothing = [Cost(0.0)] * (finished - 2)
            self._costs += [_merge_costs(done[:-1]), *nothing, _merge_costs(done[-1:])]
        else:
            self._costs.append(_merge_costs(done))


def _costs(step: BatchStep, vocab: Vocab) -> Iterable[Cost | None]:
    """Give what each id of a step cost; None where that was not asked for."""
    if step.nats is None or step.top is None or step.top_nats is None:
        return repeat(None, len(step.rows))
    tops = (
        tuple((vocab.name_of(token), nats) for token, nats in zip(ids, costs, strict=True))
        for ids, costs in zip(step.top.tolist(), step.top_nats.tolist(), strict=True)
    )
    return map(Cost, step.nats.tolist(), tops)


def _merge_costs(costs: Sequence[Cost]) -> Cost:
    """Give the cost of a character from those of its tokens."""
    return Cost(sum(cost.nats for cost in costs), costs[0].top) if costs else Cost(0.0)


_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_MOST_TRIES = 50  # samples drawn for each that is wanted, before none is looked for any more

DrawSamples = Callable[[int, int], Iterable[Sample]]
"""From an index and a number to so many samples from that index on."""

IsKnown = Callable[[str], bool]


def sample_until(
    draw: DrawSamples, count: int, choose: Callable[[Sample], Sample | None]
) -> Iterator[Sample]:
    """Yield the first `count` samples, in the order of their indices, that `choose` gives back.

    They are fewer where too many are refused.
    """
    first = found = 0
    while found < count and first < _MOST_TRIES * count:
        batch = count - found
        for sample in draw(first, batch):
            chosen = choose(sample)
            if chosen is not None:
                found += 1
                yield chosen
        first += batch


def iter_best(samples: Iterable[Sample], of: int) -> Iterator[Sample]:
    """Yield of each `of` samples in a row the likeliest by the character, numbered by the row."""
    each = iter(samples)
    while group := list(islice(each, of)):
        yield replace(sort_by_likelihood(group)[0], index=group[0].index // of)


def sort_by_likelihood(samples: Iterable[Sample]) -> list[Sample]:
    """Give samples by their bits per character, the likeliest first; empty ones last."""
    return sorted(samples, key=lambda sample: (not sample.text, sample.bpc))


def make_selector(
    is_known: IsKnown | None, prompt: str, *, is_unique: bool
) -> Callable[[Sample], Sample | None]:
    """Give what leaves out known lines, and then texts that were given before, if that is asked."""
    given: set[str] = set()

    def choose(sample: Sample) -> Sample | None:
        left = without_lines(sample, is_known, prompt) if is_known else sample
        if left is None or (is_unique and left.text in given):
            return None
        given.add(left.text)
        return left

    return choose


def without_lines(sample: Sample, is_known: IsKnown, prompt: str = "") -> Sample | None:
    """Give a sample without its known lines; None where all of it is known.

    The line that the prompt began is judged as a whole.
    """
    kept, start = [], -len(prompt)
    for line in _LINE.findall(prompt + sample.text):
        end = start + len(line)
        if line == "\n" or not is_known(line):
            kept.append(slice(max(start, 0), max(end, 0)))
        start = end
    text = "".join(sample.text[part] for part in kept)
    if sample.text.strip("\n") and not text.strip("\n"):
        return None
    if len(text) == len(sample.text):
        return sample
    costs = tuple(cost for part in kept for cost in sample.costs[part])
    return replace(sample, text=text, costs=costs, nats=sum(cost.nats for cost in costs))
