"""L-BFGS finds a minimum that is known."""

from __future__ import annotations

import numpy as np

from charrnn.interpret.lbfgs import minimize
from charrnn.interpret.trace import Array


def test_a_stretched_bowl_has_its_minimum_where_the_gradient_is_zero() -> None:
    random = np.random.default_rng(1)
    root = random.normal(size=(7, 7)) * np.geomspace(0.1, 10, 7)
    matrix = root.T @ root
    goal = random.normal(size=7)

    def loss(x: Array) -> tuple[float, Array]:
        gradient = matrix @ (x - goal)
        return float((x - goal) @ gradient) / 2, gradient

    assert np.allclose(minimize(loss, np.zeros(7), 300, tolerance=0), goal, atol=1e-4)


def test_a_curved_valley_is_followed_to_its_end() -> None:
    def loss(x: Array) -> tuple[float, Array]:  # Rosenbrock's function, least at (1, 1)
        a, b = x
        gradient = [-2 * (1 - a) - 400 * a * (b - a * a), 200 * (b - a * a)]
        return float((1 - a) ** 2 + 100 * (b - a * a) ** 2), np.array(gradient)

    assert np.allclose(minimize(loss, np.array([-1.2, 1.0]), 100, tolerance=0), 1, atol=1e-3)


def test_a_start_at_the_minimum_is_the_answer() -> None:
    start = np.ones((2, 3), np.float32)

    found = minimize(lambda x: (0.0, np.zeros_like(x)), start)

    assert np.array_equal(found, start)
