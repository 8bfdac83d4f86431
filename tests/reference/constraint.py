"""What a constrained text may be, straight from the rule, and random patterns to try it on.

Every text up to the length is asked whether it is a full match. A model is a function from the
text so far to the probability of each character; no speed.
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
    """Give a pattern, with all that a pattern may have."""
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
    """Give all texts of so many characters or fewer."""
    counts = range(length + 1)
    return ["".join(each) for n in counts for each in itertools.product(alphabet, repeat=n)]


def enumerate_by_rule(
    matches: Collection[str], alphabet: str, model: Model, is_free: bool = True
) -> dict[str, float]:
    """Give the probability of each text of `matches`, which are all full matches.

    At a match the model draws freely where `is_free`, and the text ends before what leads to no
    other; it goes on as long as it can where not.
    """
    beginnings = {text[:end] for text in matches for end in range(len(text) + 1)}
    found: dict[str, float] = {}

    def visit(text: str, chance: float) -> None:
        may_come = np.array([text + char in beginnings for char in alphabet])
        is_match = text in matches
        shares = model(text) * (1 if is_match and is_free else may_come)
        if not may_come.any():
            found[text] = chance
            return
        shares = shares / shares.sum()
        if is_match and is_free and not may_come.all():
            found[text] = chance * shares[~may_come].sum()
        for char, share, may in zip(alphabet, shares, may_come, strict=True):
            if may:
                visit(text + char, chance * share)

    visit("", 1.0)
    return found


def enumerate_by_constraint(constraint: Constraint, vocab: Vocab, model: Model) -> dict[str, float]:
    """Give the probability of each text that a constraint lets a model write; model: over ids (V,)."""
    found: dict[str, float] = {}

    def visit(state: object, ids: list[int], chance: float) -> None:
        text = vocab.decode(ids)
        if constraint.is_finished(state):
            found[text] = found.get(text, 0) + chance
            return
        bias = constraint.mask(state)
        shares = model(text) * np.exp(np.zeros(vocab.size) if bias is None else bias)
        shares = shares / shares.sum()
        for token in np.flatnonzero(shares).tolist():
            after = constraint.advance(token, state)
            if after is None:
                found[text] = found.get(text, 0) + chance * shares[token]
            else:
                visit(after, [*ids, token], chance * shares[token])

    visit(constraint.initial_state(np.zeros(0, np.int64)), [], 1.0)
    return found


def make_model(size: int) -> Model:
    """Give a model that has its own probabilities (size,) after each text."""

    def shares(text: str) -> Floats:
        drawn = np.random.default_rng(zlib.crc32(text.encode())).random(size) + 0.01
        return np.asarray(drawn / drawn.sum(), np.float64)

    return shares


def draw(constraint: Constraint, vocab: Vocab, random: np.random.Generator, prompt: str = "") -> str:
    """Write a text with random logits."""
    state, stream, text = constraint.initial_state(vocab.encode(prompt)), StreamDecoder(vocab), ""
    while not constraint.is_finished(state):
        logits, bias = 3 * random.normal(size=vocab.size), constraint.mask(state)
        weights = np.exp(logits if bias is None else logits + bias)
        token = int(random.choice(vocab.size, p=weights / weights.sum()))
        state = constraint.advance(token, state)
        if state is None:
            break
        text += stream.feed(token)
    return text + stream.flush()
