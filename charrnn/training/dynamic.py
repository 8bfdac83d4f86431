"""Dynamic evaluation: a model keeps learning from the text that it is scored on.

The text is read once, from its start to its end, in one lane. A window is scored first; then the
weights take one gradient step on it, and a small step back towards their trained values (Krause et
al. 2018). No character is scored by weights that have seen it. A copy learns, not the model.

A table of n-grams stays as it was trained: a window reads a few of its rows, and the step back
would have to pass over all of them.

T = window length, M = models.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from charrnn.config import DynamicConfig
from charrnn.config.model import NGRAM_TABLE, NOT_LEARNED
from charrnn.errors import DivergedError
from charrnn.model.network import CharRNN, State, copy_model, negative_log_likelihood
from charrnn.state import map_state
from charrnn.text.vocab import Vocab
from charrnn.training.batches import Window
from charrnn.training.evaluation import OnProgress, Score, Stretch, make_scores, with_average

WINDOW = 20
_DECAY = 0.001
_TINY = 1e-16  # squares start from it, so that what has no gradient is not divided by zero


def compare_dynamic(
    models: Sequence[CharRNN],
    text: Stretch,
    vocab: Vocab,
    config: DynamicConfig,
    on_progress: OnProgress = lambda tokens: None,
) -> list[Score]:
    """Return the score on a text of each model, learning by itself, then of their average.

    Raises:
        DivergedError: a model learned so fast that its loss is no longer a finite number.
    """
    copies = [_LearningCopy(model, config.dynamic_rate) for model in models]
    device = models[0].output.weight.device
    totals = np.zeros((2, len(models) + 1))  # of all targets, and of ends
    for start in range(0, len(text.ids) - 1, WINDOW):
        positions = np.arange(start, min(start + WINDOW, len(text.ids) - 1))[None]
        window, is_end = text.read(positions, device)
        nats = with_average(torch.stack([copy.read(window) for copy in copies])).cpu().numpy()
        totals += [nats.sum(1, dtype=np.float64), nats[:, is_end[0]].sum(1, dtype=np.float64)]
        if not np.isfinite(totals).all():
            raise DivergedError(
                f"the loss became {totals.max()} at character {start:,} of the text; "
                f"give a lower --dynamic-rate than {config.dynamic_rate:g}"
            )
        on_progress(positions.size)
    return make_scores(totals, text, vocab)


class _LearningCopy:
    """A copy of a model that learns from every window it reads.

    Each weight's step is divided by the root mean square of its own gradients so far: a weight with
    large gradients moves no faster than the rest, and is pulled back harder.
    """

    def __init__(self, model: CharRNN, rate: float) -> None:
        self._model = copy_model(model)
        self._rate = rate
        # What a text begins with, and its labels, are no matter of what comes next. The table of
        # n-grams is the model's own: copies share it.
        still = (".initial", "labels.weight", *NOT_LEARNED, NGRAM_TABLE)
        named = self._model.named_parameters()
        self._weights = [weight for name, weight in named if not name.endswith(still)]
        self._trained = [weight.detach().clone() for weight in self._weights]
        self._squares = [torch.full_like(weight, _TINY) for weight in self._weights]
        self._windows = 0
        self._state: State | None = None

    @torch.enable_grad()
    def read(self, window: Window) -> Tensor:
        """Return the nats (T,) of the targets of a window of one lane; then learn from them."""
        logits, state = self._model(window.inputs, self._state, None, window.labels)
        self._state = map_state(lambda part: part.detach(), state)
        nats = negative_log_likelihood(logits, window.targets)
        self._learn(torch.autograd.grad(nats.mean(), self._weights))
        return nats.detach()

    @torch.no_grad()
    def _learn(self, gradients: Sequence[Tensor]) -> None:
        self._windows += 1
        for weight, trained, squares, gradient in zip(
            self._weights, self._trained, self._squares, gradients, strict=True
        ):
            root = squares.addcmul_(gradient, gradient).sqrt()  # the root mean square · √windows
            # Back towards the trained value, the more the text has moved this weight ...
            weight.lerp_(trained, (root * (_DECAY / root.mean())).clamp_(max=1))
            # ... then against the gradient, divided by the root mean square of all so far.
            weight.addcdiv_(gradient, root, value=-self._rate * math.sqrt(self._windows))
