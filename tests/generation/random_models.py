"""Weights at random, large enough that every prediction depends on all that was read."""

from __future__ import annotations

import numpy as np

from charrnn.config import ModelConfig


def random_weights(config: ModelConfig, seed: int, spread: float) -> dict[str, np.ndarray]:
    """Return normal weights float32 of this standard deviation."""
    random = np.random.default_rng(seed)
    return {
        name: random.normal(0, spread, shape).astype(np.float32)
        for name, shape in config.weight_shapes().items()
    }
