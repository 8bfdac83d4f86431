"""What each character of a prompt costs, with the likeliest in its place, a slice at a time.

`Model.score` costs a text for its figures; this one is for a prompt that is echoed with log
probabilities, of one model or of several, and names alternatives. Both read the same: the costs
agree to rounding.

N = characters, S = tokens (S ≥ N without clusters), T = tokens of a slice, V = vocabulary, K =
alternatives.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import DivergedError
from charrnn.generation.filters import Floats
from charrnn.generation.generator import Generator
from charrnn.generation.samples import Cost
from charrnn.generation.scoring import IGNORE_OVERFLOW, NOT_FINITE
from charrnn.state import State, stack_states
from charrnn.text.vocab import Ids

_SLICE_TOKENS = 64  # about 2 ms of a network of 256 units
_SLICE_LOGITS = 1 << 17  # of a large vocabulary fewer tokens: they are sorted


def iter_prompt_costs(
    generator: Generator, text: str, top: int
) -> Iterator[tuple[Cost | None, ...]]:
    """Yield what each character of a text costs in the model, with its `top` likeliest tokens.

    text: as `Generator.fit` returns it. A character that is written as bytes costs the sum of
    theirs, the first of a cluster or of a mark of records all of it. Nothing predicts the first
    character of running text: it is None. That of a record has a cost, and so has a mark, which
    ends one.

    Raises:
        VocabError: the text holds characters that the model does not know.
        DivergedError: what a character costs is not a finite number.

    >>> [len(costs) for costs in iter_prompt_costs(charrnn.load("book"), "It was", 5)]
    ... # doctest: +SKIP
    [6]
    """
    vocab = generator.vocab
    form = generator.text_format
    normal = form.normalized(text)
    ids = generator.encode(text)
    widths = form.end_widths(normal)  # of a mark, which is one END there
    starts = _token_starts(generator, normal, ids)
    model = generator.language_model
    size = max(1, min(_SLICE_TOKENS, _SLICE_LOGITS // vocab.size))
    state = model.initial_state()
    done = 0  # characters of the model's text, one for each mark
    has_given = not vocab.has_end
    costs: list[Cost] = []  # of tokens, from `first` on
    first = 0
    for begin in range(0, len(ids), size):
        some = ids[begin : begin + size]
        slice_costs, state = _read(generator, some, state, top)
        costs += slice_costs
        read: list[Cost | None] = []
        while done + 1 < len(starts) and starts[done + 1] <= begin + len(some):
            own = costs[int(starts[done]) - first : int(starts[done + 1]) - first]
            cost = Cost(sum(each.nats for each in own), own[0].top if own else ())
            read.append(None if has_given and not done else cost)
            read += [Cost(0.0)] * (widths[done] - 1)
            done += 1
        costs = costs[int(starts[done]) - first :]
        first = int(starts[done])
        if read:
            yield tuple(read)


def _token_starts(generator: Generator, text: str, ids: Ids) -> NDArray[np.int64]:
    """Return where the tokens of each character of the model's text begin, and at last S."""
    if not generator.vocab.is_binary:
        return generator.vocab.token_starts(ids)
    widths = [len(char.encode("utf-8", "surrogateescape")) for char in text]  # each byte is a token
    return np.cumsum([0, *widths])


@IGNORE_OVERFLOW
def _read(generator: Generator, ids: Ids, state: State, top: int) -> tuple[list[Cost], State]:
    """Return the cost of each id (T,) with K alternatives, and the state after them."""
    model = generator.language_model
    vocab = generator.vocab
    states = [state]
    for token in ids.tolist():
        states.append(model.advance(token, states[-1]))
    logits = model.logits(stack_states(states[:-1]))
    # ln Σ exp(l) − l, rounded as generation/scoring.py rounds it, so that the sums agree.
    logits = logits - logits.max(1, keepdims=True)
    totals = np.log(np.exp(logits).sum(1, dtype=np.float64))
    nats: Floats = totals[:, None] - logits.astype(np.float64)
    own = nats[np.arange(len(ids)), ids]
    if not np.isfinite(own).all():
        raise DivergedError(NOT_FINITE)
    if not top:
        return [Cost(each) for each in own.tolist()], states[-1]
    likeliest = nats.argsort(-1, kind="stable")[:, :top]
    likeliest_nats = np.take_along_axis(nats, likeliest, -1)
    return [
        Cost(each, tuple(zip(map(vocab.name_of, tokens), costs, strict=True)))
        for each, tokens, costs in zip(
            own.tolist(), likeliest.tolist(), likeliest_nats.tolist(), strict=True
        )
    ], states[-1]
