"""Which of many samples are given: the likeliest, each text once, none that is known."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice

from charrnn.inference.drawing.samples import Sample

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_MOST_TRIES = 50  # samples drawn for each that is wanted, before none is looked for any more

DrawSamples = Callable[[int, int], Iterable[Sample]]
"""From an index and a number to so many samples from that index on."""

IsKnown = Callable[[str], bool]


def draw_wanted(
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
        yield replace(by_likelihood(group)[0], index=group[0].index // of)


def by_likelihood(samples: Iterable[Sample]) -> list[Sample]:
    """Give samples by their bits per character, the likeliest first; empty ones last."""
    return sorted(samples, key=lambda sample: (not sample.text, sample.bpc))


def choose_all(
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
