"""The probabilities of constrained texts by enumeration, and random patterns to try them on.

Every text up to the length is tried for a full match. A model is a function from the text so far to
the probability of each character. Slow and obvious.
"""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from charrnn.generation.constraints.constraint import Constraint
from charrnn.text.vocab import StreamDecoder, Vocab

Floats = NDArray[np.float64]
Model = Callable[[str], Floats]

ATOMS = ["a", "b", "é", "É", "-", r"\n", ".", "[ab]", "[^a]", "[a-é]", "[^\\n]", "(?i:É)", "(?s:.)"]
ATOMS += [r"\w", r"\W", r"\s", r"\d", r"(?a:\w)", "(?i:[a-b])", "(?P<n{}>a)", "", "b-"]
ANCHORS = ["^", "$", r"\A", r"\Z", r"\b", r"\B", "(?m:^)", "(?m:$)", r"(?a:\b)"]
COUNTS = ["*", "+", "?", "*?", "+?", "??", "{2}", "{0,2}", "{1,3}?", "{1,}"]
FLAGS = ["", "", "", "(?i)", "(?s)", "(?m)", "(?a)", "(?x) "]


def random_pattern(source: random.Random, depth: int = 3) -> str:
    """Return a pattern, with all that a pattern may have."""
    return source.choice(FLAGS) + _random_part(source, depth, itertools.count())


def _random_part(source: random.Random, depth: int, names: itertools.count[int]) -> str:
    if depth == 0:
        atoms = ATOMS if source.random() < 0.9 else ANCHORS
        return source.choice(atoms).replace("{}", str(next(names)))
    parts = [_random_part(source, depth - 1, names) for _ in range(2)]
    kind = source.randrange(4)
    if kind == 0:
        return f"(?:{parts[0]}|{parts[1]})"
    if kind == 1:
        return f"({parts[0]}){source.choice(COUNTS)}"
    return "".join(parts)


def texts_up_to(length: int, alphabet: str) -> list[str]:
    """Return all texts of up to `length` characters."""
    counts = range(length + 1)
    return ["".join(each) for n in counts for each in itertools.product(alphabet, repeat=n)]


def enumerate_by_rule(
    matches: Collection[str], alphabet: str, model: Model, is_free: bool = True
) -> dict[str, float]:
    """Return the probability of each text of `matches`, which are all full matches.

    At a match the model samples freely if `is_free`, and the text ends before what leads to no
    other match; if not, it goes on as long as it can.
    """
    beginnings = {text[:end] for text in matches for end in range(len(text) + 1)}
    found: dict[str, float] = {}

    def visit(text: str, probability: float) -> None:
        is_allowed = np.array([text + char in beginnings for char in alphabet])
        is_match = text in matches
        shares = model(text) * (1 if is_match and is_free else is_allowed)
        if not is_allowed.any():
            found[text] = probability
            return
        shares = shares / shares.sum()
        if is_match and is_free and not is_allowed.all():
            found[text] = probability * shares[~is_allowed].sum()
        for char, share, allowed in zip(alphabet, shares, is_allowed, strict=True):
            if allowed:
                visit(text + char, probability * share)

    visit("", 1.0)
    return found


def enumerate_by_constraint(constraint: Constraint, vocab: Vocab, model: Model) -> dict[str, float]:
    """Return the probability of each text under a constraint; model: over ids (V,)."""
    found: dict[str, float] = {}

    def visit(state: object, ids: list[int], probability: float) -> None:
        text = vocab.decode(ids)
        if constraint.is_finished(state):
            found[text] = found.get(text, 0) + probability
            return
        mask = constraint.mask(state)
        shares = model(text) * np.exp(np.zeros(vocab.size) if mask is None else mask)
        shares = shares / shares.sum()
        for token in np.flatnonzero(shares).tolist():
            after = constraint.advance(token, state)
            if after is None:
                found[text] = found.get(text, 0) + probability * shares[token]
            else:
                visit(after, [*ids, token], probability * shares[token])

    visit(constraint.initial_state(np.zeros(0, np.int64)), [], 1.0)
    return found


def make_model(size: int) -> Model:
    """Return a model with its own probabilities (size,) after each text."""

    def shares(text: str) -> Floats:
        weights = np.random.default_rng(zlib.crc32(text.encode())).random(size) + 0.01
        return np.asarray(weights / weights.sum(), np.float64)

    return shares


def sample_text(
    constraint: Constraint, vocab: Vocab, random: np.random.Generator, prompt: str = ""
) -> str:
    """Sample a text with random logits."""
    state = constraint.initial_state(vocab.encode(prompt))
    decoder = StreamDecoder(vocab)
    text = ""
    while not constraint.is_finished(state):
        logits = 3 * random.normal(size=vocab.size)
        mask = constraint.mask(state)
        weights = np.exp(logits if mask is None else logits + mask)
        token = int(random.choice(vocab.size, p=weights / weights.sum()))
        state = constraint.advance(token, state)
        if state is None:
            break
        text += decoder.feed(token)
    return text + decoder.flush()
