"""L-BFGS: the minimum of a smooth function of many numbers, from its values and gradients alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from charrnn.interpret.trace import Array

_PAIRS = 10  # of steps and changes of the gradient that are remembered
_ARMIJO = 1e-4  # of the expected fall, that a step must give
_HALVINGS = 20


def minimize(
    loss: Callable[[Array], tuple[float, Array]],
    start: Array,
    max_steps: int = 60,
    tolerance: float = 1e-4,
) -> Array:
    """Return where a function is least, as far as `max_steps` steps lead (Nocedal 1980).

    loss: from numbers to the value and its gradient, an array of the same shape. A fall of less
    than `tolerance`, relative to the value, ends the search.
    """
    x = start
    value, gradient = loss(x)
    pairs: list[tuple[Array, Array]] = []
    for _ in range(max_steps):
        direction = _direction(gradient, pairs)
        slope = float((direction * gradient).sum())
        size = 1.0 if pairs else 1 / max(float(np.linalg.norm(gradient)), 1e-12)
        for _ in range(_HALVINGS):
            new_x = x + x.dtype.type(size) * direction
            new_value, new_gradient = loss(new_x)
            if new_value <= value + _ARMIJO * size * slope:
                break
            size /= 2
        else:
            return x  # no step leads down: rounding is all that is left
        pair = new_x - x, new_gradient - gradient
        if (pair[0] * pair[1]).sum() > 0:
            pairs = [*pairs[1 - _PAIRS :], pair]
        fall = value - new_value
        x = new_x
        value = new_value
        gradient = new_gradient
        if fall <= tolerance * abs(value):
            return x
    return x


def _direction(gradient: Array, pairs: list[tuple[Array, Array]]) -> Array:
    """Return minus the inverse Hessian, as the pairs know it, times the gradient."""
    q = gradient.copy()
    shares = []
    for step, change in reversed(pairs):
        share = (step * q).sum() / (step * change).sum()
        shares.append(share)
        q -= share * change
    if pairs:
        step, change = pairs[-1]
        q *= (step * change).sum() / (change * change).sum()
    for (step, change), share in zip(pairs, reversed(shares), strict=True):
        q += (share - (change * q).sum() / (step * change).sum()) * step
    return -q
