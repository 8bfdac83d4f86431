"""A loss in other units: nats, bits per character, perplexity.

A loss in nats is the mean of −ln p(character | everything before it) over the characters of a
text; each figure here is that number in another unit.
"""

import math
from collections.abc import Mapping
from typing import Any


def bits_per_char(loss_nats: float) -> float:
    """Return bits per character (bpc) of a loss in nats per character: nats / ln 2.

    >>> bits_per_char(math.log(8))  # of a model that chooses evenly among 8 characters
    3.0
    """
    return loss_nats / math.log(2)


def perplexity(loss_nats: float) -> float:
    """Return the perplexity e^nats of a loss in nats per character; inf if a float overflows."""
    try:
        return math.exp(loss_nats)
    except OverflowError:
        return math.inf  # from about 710 nats: a loss gone astray, still shown


def without_nan(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures with None for NaN and infinity, which JSON cannot express.

    >>> without_nan({"loss": math.nan, "step": 3})
    {'loss': None, 'step': 3}
    """
    # json.dumps would write NaN, which only some readers accept.
    is_lost = {k: isinstance(v, float) and not math.isfinite(v) for k, v in figures.items()}
    return {key: None if is_lost[key] else value for key, value in figures.items()}
