"""What may be written next, after what was: the interface of constraints and of novelty.

V = vocabulary.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charrnn.text.vocab import Ids


class Constraint(Protocol):
    """A machine over ids. It keeps nothing between calls: its place is an argument and a result.

    reason: the word for a text that it ends.
    """

    reason: str

    def start(self, prompt: Ids) -> Any:
        """Give the place where a text begins that follows `prompt` (S,)."""

    def bias(self, place: Any) -> NDArray[np.float32] | None:
        """Give what to add to the logits (V,): −inf for what may not come; None for nothing.

        Something may come, unless `is_over`.
        """

    def follow(self, place: Any, token: int) -> Any | None:
        """Give the place after one more id; None where the text ends before it."""

    def is_over(self, place: Any) -> bool:
        """Tell whether the text ends here whatever the model would write."""
