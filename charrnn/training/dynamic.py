"""Dynamic evaluation: a model goes on learning from the text that it is scored on.

The text is read once, from its start to its end, in one lane. A window is scored first; then the
weights take one gradient step on it, and a little of the way back to what training made of them
(Krause et al. 2018). No character is scored by weights that have seen it. What learns is a copy.

S = tokens, T = window length, M = models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from charrnn.config import DynamicConfig
from charrnn.errors import DivergedError
from charrnn.model.network import CharRNN, State, copy_model, negative_log_likelihood
from charrnn.text.vocab import Ids, Vocab
from charrnn.training.evaluation import Score, Watch, make_scores, unwatched, with_average

WINDOW = 20
_DECAY = 0.001
_TINY = 1e-16  # squares start from it, so that what has no gradient is not divided by zero


def compare_dynamic(
    models: Sequence[CharRNN],
    ids: Ids,
    vocab: Vocab,
    config: DynamicConfig,
    watch: Watch = unwatched,
) -> list[Score]:
    """Give the score on `ids` (S,) of each model, learning by itself, then of their average.

    Raises:
        DivergedError: a model learned so fast that its loss is no longer a finite number.
    """
    students = [_Student(model, config.dynamic_rate) for model in models]
    device = models[0].output.weight.device
    totals = np.zeros(len(models) + 1)
    for start in range(0, len(ids) - 1, WINDOW):
        block = torch.from_numpy(ids[start : start + WINDOW + 1].astype(np.int64)).to(device)[None]
        nats = [student.read(block[:, :-1], block[:, 1:]) for student in students]
        totals += with_average(torch.stack(nats)).sum(1, dtype=torch.float64).cpu().numpy()
        if not np.isfinite(totals).all():
            raise DivergedError(
                f"the loss became {totals.max()} at character {start:,} of the text; "
                f"give a lower --dynamic-rate than {config.dynamic_rate:g}"
            )
        watch(block.shape[1] - 1)
    return make_scores(totals, ids, vocab)


class _Student:
    """A copy of a model that learns from every window it reads.

    Each weight's step is measured by the root mean square of its own gradients so far: what the
    text has had much to say about moves no faster than the rest, and is pulled back harder.
    """

    def __init__(self, model: CharRNN, rate: float) -> None:
        self._model, self._rate = copy_model(model), rate
        named = self._model.named_parameters()
        self._weights = [weight for name, weight in named if not name.endswith(".initial")]
        self._trained = [weight.detach().clone() for weight in self._weights]
        self._squares = [torch.full_like(weight, _TINY) for weight in self._weights]
        self._windows = 0
        self._state: State | None = None

    @torch.enable_grad()
    def read(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Give the nats (T,) of `targets` (1, T), which follow `inputs`; then learn from them."""
        logits, state = self._model(inputs, self._state)
        self._state = tuple(tuple(part.detach() for part in layer) for layer in state)
        nats = negative_log_likelihood(logits, targets)
        self._learn(torch.autograd.grad(nats.mean(), self._weights))
        return nats.detach()

    @torch.no_grad()
    def _learn(self, gradients: Sequence[Tensor]) -> None:
        self._windows += 1
        for weight, trained, squares, gradient in zip(
            self._weights, self._trained, self._squares, gradients, strict=True
        ):
            root = squares.addcmul_(gradient, gradient).sqrt()  # the root mean square · √windows
            weight.lerp_(trained, (root * (_DECAY / root.mean())).clamp_(max=1))
            weight.addcdiv_(gradient, root, value=-self._rate * math.sqrt(self._windows))
