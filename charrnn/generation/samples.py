"""Whole samples: texts collected from a batch, their costs, and which of them are chosen.

`generator.py` collects them; `tasks/sample.py` chooses among them.

K = alternatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from itertools import islice, repeat
from typing import TYPE_CHECKING

from charrnn.generation.batch import Batch, BatchStep
from charrnn.generation.stopping import StoppingCriteria
from charrnn.metrics import bits_per_char
from charrnn.text.vocab import END, StreamDecoder, Vocab

if TYPE_CHECKING:
    from charrnn.generation.gpu import GpuBatch

SampleRange = Callable[[int, int], Iterable["Sample"]]  # from a first index and a count to samples
Selector = Callable[["Sample"], "Sample | None"]

MOST_TRIES = 50  # samples made for each one that is asked for, before the search is given up
# Of texts without content.
_BLANK_ENDS = {"lines", "sentences", "documents", "stop", "stop-regex", "end"}


@dataclass(frozen=True)
class Cost:
    """What a character cost: −ln p in the model, before anything shaped its logits.

    nats: the sum of its bytes' costs where it was written as bytes. top: the K likeliest tokens at
    its position, each with its own cost; a byte is named <E4>.
    """

    nats: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Sample:
    """A text that was sampled, and why it ended.

    nats: −ln p of the text in the model, before anything shaped its logits. costs: of each of its
    characters. Where costs were not asked for, nats is NaN and costs is empty. has_end: the model
    ended the record; nats counts its end, whose cost is the last.
    """

    index: int
    text: str
    stopped_by: str
    nats: float = math.nan
    costs: tuple[Cost, ...] = ()
    has_end: bool = False

    def __str__(self) -> str:
        return self.text

    @property
    def bpc(self) -> float:
        """Bits per character, the end of a record among them; NaN without any or without costs."""
        chars = len(self.text) + self.has_end
        return bits_per_char(self.nats / chars) if chars else math.nan


def collect_samples(
    batch: Batch | GpuBatch,
    vocab: Vocab,
    criteria: Sequence[StoppingCriteria],
    indices: Sequence[int],
    constraint_reason: str = "",
) -> list[Sample]:
    """Sample a batch of new texts until all have ended; return them in order.

    constraint_reason: why a text ended that the constraint ended.
    """
    texts = [PartialSample(vocab, each, constraint_reason) for each in criteria]
    batch.drop({row for row, text in enumerate(texts) if text.criteria.reason})
    for step in batch:
        for error in step.errors.values():
            raise error
        rows = step.rows.tolist()
        for row, token, cost in zip(
            rows, step.tokens.tolist(), step_costs(step, vocab), strict=True
        ):
            texts[row].feed(token, cost)
        batch.drop({row for row in rows if texts[row].criteria.reason})
    return [text.finish(index) for index, text in zip(indices, texts, strict=True)]


def step_costs(step: BatchStep, vocab: Vocab) -> Iterable[Cost | None]:
    """Return the cost of each id of a step; None where it was not asked for."""
    if step.nats is None or step.top is None or step.top_nats is None:
        return repeat(None, len(step.rows))
    tops = (
        tuple((vocab.name_of(token), nats) for token, nats in zip(ids, costs, strict=True))
        for ids, costs in zip(step.top.tolist(), step.top_nats.tolist(), strict=True)
    )
    if step.asked is None:
        return map(Cost, step.nats.tolist(), tops)
    costs = iter([*map(Cost, step.nats.tolist(), tops)])
    return [next(costs) if is_asked else None for is_asked in step.asked.tolist()]


class PartialSample:
    """One text of a batch while it is sampled."""

    def __init__(self, vocab: Vocab, criteria: StoppingCriteria, constraint_reason: str) -> None:
        self.criteria = criteria
        self._constraint_reason = constraint_reason
        self._decoder = StreamDecoder(vocab)
        self._vocab = vocab
        self._shown: list[str] = []
        self._taken = 0  # parts of what is shown, and characters
        self._taken_chars = 0
        self._costs: list[Cost] = []
        self._pending: list[Cost] = []  # of the bytes of a character that is not complete
        self._end: tuple[Cost, ...] | None = None  # of the end of a record that ended the text

    def feed(self, token: int, cost: Cost | None) -> None:
        """Take the next id; −1 where a constraint ended the text."""
        if token < 0:
            self._shown.append(self.criteria.end(self._constraint_reason))
            return
        chars = self._decoder.feed(token)
        if cost is not None:
            more = max(len(self._vocab.text_of(token)) - 1, 0)  # the first of a cluster costs all
            self._add_cost(cost, len(chars) - more)
            self._costs += [Cost(0.0)] * more
        for char in chars:
            if self.criteria.reason is None:
                self._shown.append(self.criteria.feed(char))
                if char == END:
                    self._note_end(has_cost=cost is not None)

    def stop(self, reason: str) -> None:
        """End the text for a reason of the caller's."""
        self._shown.append(self.criteria.end(reason))

    def take(self) -> tuple[str, tuple[Cost, ...]]:
        """Return what is shown since the last call, and its costs where they are known."""
        text = "".join(self._shown[self._taken :])
        self._taken = len(self._shown)
        first = self._taken_chars
        self._taken_chars += len(text)
        return text, tuple(self._costs[first : self._taken_chars])

    @property
    def text(self) -> str:
        """All that is shown so far."""
        return "".join(self._shown)

    @property
    def end_cost(self) -> Cost | None:
        """The cost of the end of a record that ended the text, where it is known."""
        return self._end[0] if self._end else None

    def finish(self, index: int) -> Sample:
        """Return the text as it ended."""
        text = "".join(self._shown)
        costs = tuple(self._costs[: len(text)])  # a stop text has costs, but is not shown
        costs += self._end or ()
        nats = sum(cost.nats for cost in costs) if costs else math.nan
        has_end = self._end is not None
        return Sample(index, text, self.criteria.reason or "", nats, costs, has_end)

    def _note_end(self, *, has_cost: bool) -> None:
        """Keep the end that ended the text, or pad the costs to the separator that is shown."""
        separator = self.criteria.separator or ""
        if self.criteria.is_at_end:
            self._end = (self._costs[-1],) if has_cost else ()
        elif has_cost:
            self._costs += [Cost(0.0)] * (len(separator) - 1)

    def _add_cost(self, cost: Cost, count: int) -> None:
        """Add the cost of a token that completed `count` characters."""
        self._pending.append(cost)
        if not count:
            return
        end = len(self._pending) - self._decoder.pending_bytes
        done = self._pending[:end]  # the rest are bytes of the next character
        self._pending = self._pending[end:]
        # If there are several characters, the last one gets the cost of the token, and the first
        # one the cost of the bytes before it.
        parts = [done] if count == 1 else [done[:-1], *[[]] * (count - 2), done[-1:]]
        for part in parts:
            top = part[0].top if part else ()
            self._costs.append(Cost(sum((each.nats for each in part), 0.0), top))


def sample_until(make: SampleRange, count: int, select: Selector) -> Iterator[Sample]:
    """Yield the first `count` samples that `select` returns, fewer where it refuses too many."""
    first = found = 0
    while found < count and first < MOST_TRIES * count:
        missing = count - found
        for sample in make(first, missing):
            selected = select(sample)
            if selected is not None:
                found += 1
                yield selected
        first += missing


def iter_best(samples: Iterable[Sample], of: int) -> Iterator[Sample]:
    """Yield the sample of the fewest bits per character of each `of` in a row, renumbered."""
    iterator = iter(samples)
    while group := list(islice(iterator, of)):
        yield replace(sort_by_likelihood(group)[0], index=group[0].index // of)


def sort_by_likelihood(samples: Iterable[Sample]) -> list[Sample]:
    """Return samples by bits per character, the fewest first; empty ones last.

    >>> sort_by_likelihood([Sample(0, "a", "", nats=2.0), Sample(1, "b", "", nats=1.0)])[0].text
    'b'
    """
    return sorted(samples, key=lambda sample: (not sample.text, sample.bpc))


def make_selector(
    is_known: Callable[[str], bool] | None,
    prompt: str,
    *,
    is_unique: bool,
    are_whole: bool = False,
) -> Selector:
    """Return what leaves out blank lines and known ones and, with is_unique, repeated texts.

    are_whole: is_known knows whole texts, not their lines.
    """
    seen: set[str] = set()
    blank_ends = _BLANK_ENDS if is_unique else {"lines"}

    def select(sample: Sample) -> Sample | None:
        if sample.stopped_by in blank_ends and is_blank(prompt, sample.text):
            return None
        left: Sample | None = sample
        if is_known and are_whole:
            left = None if is_known(prompt + sample.text) else sample
        elif is_known:
            left = without_lines(sample, is_known, prompt)
        if left is None or (is_unique and left.text in seen):
            return None
        seen.add(left.text)
        return left

    return select


def is_blank(prompt: str, text: str) -> bool:
    """Return whether a text is only white space, with the line of the prompt that it continues."""
    return not (prompt.rpartition("\n")[2] + text).strip()


def without_lines(
    sample: Sample, is_known: Callable[[str], bool], prompt: str = ""
) -> Sample | None:
    """Return a sample without its known lines; None where all of it is known."""
    kept = []
    start = -len(prompt)  # the line that the prompt began is looked up as a whole
    for line in StringIO(prompt + sample.text):
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
    costs += sample.costs[len(sample.text) :]  # that of the end
    return replace(sample, text=text, costs=costs, nats=sum(cost.nats for cost in costs))
