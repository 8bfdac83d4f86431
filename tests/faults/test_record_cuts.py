"""Runs on records with labels, cut at random steps: each is the one that never stopped."""

import random
from collections.abc import Callable

from tests.training.test_records import check_cut


def test_a_run_on_records_cut_at_any_step_loses_nothing(times: Callable[[int, int], int]) -> None:
    draw = random.Random(6)
    for number in range(times(3, 50)):
        check_cut(("lstm", "gru", "rnn")[number % 3], draw.randrange(1, 60))
