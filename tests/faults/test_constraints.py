"""Outputs of random patterns, all of which match in full: 100,000 in a whole run."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np

from charrnn.config import SampleConfig
from charrnn.errors import ConfigError
from charrnn.generation.constraints.constraint import Constraint
from charrnn.generation.constraints.pattern import make_constraint
from charrnn.text.vocab import Vocab
from tests.reference.constraint import random_pattern, sample_text

VOCABS = [Vocab("\n -1abÉé月"), Vocab("\n-ab", has_bytes=True)]
LENGTH = 16


def iter_constraints() -> Iterator[tuple[str, Vocab, Constraint]]:
    """Yield random patterns that have a match, without end."""
    source = random.Random(17)
    while True:
        pattern, vocab = random_pattern(source, depth=4), source.choice(VOCABS)
        try:
            constraint = make_constraint(vocab, SampleConfig(regex=pattern, length=LENGTH), None)
        except ConfigError:
            continue
        assert constraint is not None
        yield pattern, vocab, constraint


def test_every_output_matches_in_full(
    times: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    patterns, each = times(40, 200), times(50, 500)
    drawing, texts = np.random.default_rng(4), set()
    for pattern, vocab, constraint in islice(iter_constraints(), patterns):
        compiled = re.compile(pattern)
        for _ in range(each):
            text = sample_text(constraint, vocab, drawing)
            assert compiled.fullmatch(text), (pattern, text)
            assert len(text) <= LENGTH
            texts.add(text)

    assert len(texts) > patterns
    figure(f"{patterns * each:,} outputs of {patterns} patterns, {len(texts):,} different")
