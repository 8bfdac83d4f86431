"""When a run keeps its weights along the way: at steps that lie evenly on a logarithm.

A network learns most in its first steps, so half of the snapshots come in the first hundredth of a
run of ten thousand. A run by budget does not know its length exactly: then it is what it seems to
be at that moment, and each snapshot comes at the first step at or after its place.
"""

from __future__ import annotations

import math

from charrnn.config import ModelConfig
from charrnn.config.model import NOT_LEARNED
from charrnn.errors import ConfigError
from charrnn.storage import format_bytes

MOST_BYTES = 256_000_000
"""That all snapshots of a run may take: two dozen of a network with the usual table of n-grams."""

_HEADER_BYTES = 4_000  # about what names and shapes take


def place_of(step: int, total_steps: float, count: int) -> int:
    """Return the number of the last of `count` snapshots that is due by a step: 0 at the start.

    Number k is due at step (T + 1)^(k / (count − 1)) − 1 of T, which is T for the last.

    >>> [place_of(step, 99, 3) for step in (0, 8, 9, 98, 99)]
    [0, 0, 1, 1, 2]
    """
    if count < 2 or step <= 0:
        return 0
    if step >= total_steps:
        return count - 1
    share = math.log1p(step) / math.log1p(total_steps)
    return min(int((count - 1) * share + 1e-9), count - 2)


def estimate_steps(step: int, elapsed_seconds: float, budget_seconds: float) -> float:
    """Return how many steps a run by budget will have made, by those it has made so far."""
    return step * max(budget_seconds / max(elapsed_seconds, 1e-9), 1.0)


def snapshot_bytes(config: ModelConfig) -> int:
    """Return about how many bytes the file of such a network's weights in float16 takes."""
    numbers = {name: math.prod(shape) for name, shape in config.weight_shapes().items()}
    in_float32 = sum(numbers[name] for name in NOT_LEARNED if name in numbers)
    return _HEADER_BYTES + 2 * (sum(numbers.values()) + in_float32)


def check_size(config: ModelConfig, count: int) -> None:
    """Refuse so many snapshots of such a network if they take too much room.

    Raises:
        ConfigError: they do; says how many would not.
    """
    each = snapshot_bytes(config)
    if count * each <= MOST_BYTES:
        return
    fitting = MOST_BYTES // each
    way_out = f"give --snapshots {fitting}" if fitting else "leave --snapshots out"
    smaller = ", or train a smaller network"
    if config.ngram_rows:
        smaller = f", fewer --ngram-rows than {config.ngram_rows:,}{smaller}"
    raise ConfigError(
        f"{count:,} snapshots of {config.num_parameters:,} weights take "
        f"{format_bytes(count * each)}, more than the {format_bytes(MOST_BYTES)} that a run's "
        f"snapshots may; {way_out}{smaller}"
    )
