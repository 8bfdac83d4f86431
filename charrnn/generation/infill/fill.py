"""Completions of a text with blanks and gaps, by the probability that a model gives the whole text.

The likeliest are found by a beam search; as what follows never makes a text likelier, they are
proven unless a likelier beginning was dropped. Draws are made by a particle filter, which keeps
beginnings by the optimal resampling of Fearnhead and Clifford (2003) so that their weights stay
unbiased: they are by p(text | pattern) as the beam grows, and exactly so where nothing was dropped.
It knows nothing of the terminal.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import numpy as np

from charrnn.config import FillConfig
from charrnn.generation.beam import largest
from charrnn.generation.infill.frontier import (
    BeamOptions,
    Watch,
    keep_likeliest,
    resample,
    search_pattern,
)
from charrnn.generation.infill.pattern import Pattern
from charrnn.generation.network import Network
from charrnn.generation.scoring import QUIETLY, opening_state
from charrnn.metrics import bits_per_char
from charrnn.text.vocab import Vocab


class Completion(NamedTuple):
    """A text that fits.

    filled: start and end in `text` of what fills each blank and gap, in order. bits: −log₂ p of the
    whole text. share: p(text | pattern) as far as those found tell, at the temperature.
    """

    text: str
    filled: tuple[tuple[int, int], ...]
    bits: float
    share: float

    @property
    def bpc(self) -> float:
        """Bits per character, each one counted."""
        return self.bits / len(self.text)


class Filling(NamedTuple):
    """The likeliest completions, the best first, or draws in the order of drawing.

    is_exact: the likeliest are proven, or drawn from all that there are. found: how many fitted.
    """

    completions: tuple[Completion, ...]
    is_exact: bool
    found: int


@QUIETLY
def fill(
    runtime: Network,
    vocab: Vocab,
    pattern: Pattern,
    config: FillConfig,
    watch: Watch = lambda done, total: None,
) -> Filling:
    """Complete a pattern that stands at the start of a line.

    Raises:
        DivergedError: what a character costs is not a finite number.
    """
    random = np.random.default_rng(config.seed)
    choose = partial(resample, random) if config.sample else keep_likeliest
    temperature = config.temperature if config.sample else 1.0
    width = config.beam_width if config.sample else max(config.beam_width, config.count)
    how = BeamOptions(width, temperature, choose)
    search = search_pattern(runtime, opening_state(runtime, vocab), pattern, how, watch)
    log_weights, dropped = search.found.log_weights, search.heaviest_dropped
    weights = np.exp(log_weights - log_weights.max())
    log_total = float(log_weights.max()) + math.log(weights.sum())
    if config.sample:
        chosen = random.choice(len(weights), config.count, p=weights / weights.sum())
        is_exact = dropped == -math.inf
    else:
        chosen = largest(log_weights, config.count)
        # Where any was dropped, as many as were asked for are left.
        is_exact = dropped <= log_weights[chosen[-1]]
    completions = []
    for index in chosen.tolist():
        log_prob = float(search.found.log_probs[index])
        share = math.exp(log_prob / temperature - log_total)
        ids, bits = search.ids_of(index), bits_per_char(-log_prob)
        completions.append(_make_completion(vocab, pattern, ids, bits, share))
    return Filling(tuple(completions), bool(is_exact), len(weights))


def _make_completion(
    vocab: Vocab, pattern: Pattern, ids: list[int], bits: float, share: float
) -> Completion:
    chars = np.append(0, vocab.starts_character[ids].cumsum()).tolist()
    filled = tuple((chars[start], chars[end]) for start, end in pattern.align(ids))
    return Completion(vocab.decode(ids), filled, bits, share)
