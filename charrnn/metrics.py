"""What a loss is called: nats, bits per character, perplexity. Plain floats, nothing else.

A loss in nats is the mean of −ln p(character | everything before it) over the characters of a
text; every figure here is that one number in other units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def bits_per_char(loss_nats: float) -> float:
    """Turn nats per character into bits per character (bpc): nats / ln 2."""
    return loss_nats / math.log(2)


def perplexity(loss_nats: float) -> float:
    """Turn nats per character into perplexity, e^nats; inf where that overflows a float."""
    try:
        return math.exp(loss_nats)
    except OverflowError:
        return math.inf


def without_nan(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Put None for NaN and infinity, which JSON has no word for."""
    is_lost = {k: isinstance(v, float) and not math.isfinite(v) for k, v in figures.items()}
    return {key: None if is_lost[key] else value for key, value in figures.items()}
