"""Which of many weighted texts to go on with: the heaviest, or a fair choice among them.

C = candidates, K = how many are kept, below C.
"""

from __future__ import annotations

import numpy as np

from charrnn.inference.search.beam import Floats, Ints, largest


def keep_likeliest(log_weights: Floats, count: int) -> tuple[Ints, Floats]:
    """Give the places (K,) of the `count` heaviest of log-weights (C,), and these weights."""
    places = largest(log_weights, count)
    return places, log_weights[places]


def resample(random: np.random.Generator, log_weights: Floats, count: int) -> tuple[Ints, Floats]:
    """Give the places (K,) of `count` different ones of log-weights (C,), and new weights (K,).

    What comes of it is fair: on average, each has the weight that it had. The heaviest are kept as
    they are, the others one in so many, each of which then weighs c (Fearnhead and Clifford 2003,
    the choice that changes the weights least).
    """
    order = np.argsort(-log_weights, kind="stable")
    heaviest = log_weights[order[0]]
    weights = np.exp(log_weights[order] - heaviest)
    left = weights[::-1].cumsum()[::-1]  # the sum of each and of all lighter ones
    room = np.arange(count, 0, -1)
    is_sure = weights[:count] * room >= left[:count]
    sure = int(is_sure.sum())  # those that are stand in front
    chosen = order[:sure], log_weights[order[:sure]]
    if sure == count:
        return chosen
    c = left[sure] / room[sure]
    points = (random.random() + np.arange(room[sure])) * c
    drawn = sure + weights[sure:].cumsum().searchsorted(points, side="right")
    drawn = order[np.minimum(drawn, len(order) - 1)]
    return (
        np.concatenate((chosen[0], drawn)),
        np.concatenate((chosen[1], np.full(len(drawn), np.log(c) + heaviest))),
    )
