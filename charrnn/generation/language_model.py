"""What reads ids and says what may come next: the interface of a network, and of several as one.

V = vocabulary, B = texts read side by side, S = tokens.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from charrnn.state import State
from charrnn.text.vocab import Ids


class LanguageModel(Protocol):
    """It keeps nothing between calls: a state is an argument and a result."""

    def initial_state(self) -> State:
        """Give the state before any text."""

    def advance(self, token: int, state: State) -> State:
        """Read one id; give the state after it."""

    def advance_all(self, tokens: Ids, states: State) -> State:
        """Read an id (B,) in each of B texts; give the states after them."""

    def prefill(self, tokens: Ids, state: State) -> State:
        """Read ids (S,) one after another; give the state after the last."""

    def logits(self, state: State) -> NDArray[np.float32]:
        """Give the logits (V,) of the next id after a state, or (B, V) after B of them."""
