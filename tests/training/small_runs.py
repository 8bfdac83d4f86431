"""Small runs that can be stopped after so many steps, for the tests that cut them.

The fixture `counted_steps` of conftest.py does the counting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SMALL: dict[str, Any] = {
    "hidden_size": 6,
    "embedding_size": 3,
    "seq_len": 5,
    "batch_size": 2,
    "precision": "fp32",
    "threads": 1,
    "patience": 0,
}
STEPS: list[int] = []
"""As long as the number of steps that have been made, of any run."""


def stop_after(steps: int) -> Callable[[], bool]:
    """Return a wish to stop once so many steps more have been made."""
    end = len(STEPS) + steps
    return lambda: len(STEPS) >= end
