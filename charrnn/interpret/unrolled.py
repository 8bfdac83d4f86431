"""The view `unrolled`: the network as a picture, once with its loop and once along the text.

Question: what does "recurrent" mean here? Folded, the network is a few boxes and an arrow that
leads back into itself. Unrolled, there is a column for each character, and the same matrices in
each.

W = characters in view, L = layers, H = hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from charrnn.config.inspect import InspectConfig
from charrnn.interpret.derivatives import Derivatives, grad_features, grad_of_nats
from charrnn.interpret.subject import Subject
from charrnn.interpret.trace import Array, layer_weights
from charrnn.interpret.units import check_layer, check_place
from charrnn.state import map_state

COLUMNS = 12
_BEFORE = 8  # of them stand before the place that is looked at


@dataclass(frozen=True, eq=False)
class UnrolledReport:
    """A window of the text.

    start: the place of its first character; at: that which is looked at; layer: from 1. symbols:
    what is read (W,). guesses, chances: the likeliest next character and its probability (W,).
    truth: the probability of what came (W,), NaN where the text ends. strengths: the root mean
    square of each layer's state after the character (W, L), 0 to 1 for bounded states; scale: what
    counts as full. gates: of the layer, by name, the mean over its units (W,). gradients: ‖∂ℓ/∂h‖₂
    of the loss at `at` by the state after each character (W, L), 0 after it. seq_len: of the run,
    None if it is not known. cuts: columns before which a window of training begins, if windows are
    counted from the text's start. ends: columns that end a record.
    """

    name: str
    cell: str
    hidden_size: int
    embedding_size: int
    num_layers: int
    residual: bool
    start: int
    at: int
    layer: int
    symbols: tuple[str, ...]
    guesses: tuple[str, ...]
    chances: Array
    truth: Array
    strengths: Array
    scale: float
    gates: dict[str, Array]
    gradients: Array
    seq_len: int | None
    cuts: tuple[int, ...]
    ends: tuple[int, ...]

    def table(self) -> tuple[list[str], list[list[object]]]:
        """Return one row for each character."""
        layers = range(1, self.num_layers + 1)
        columns = ["place", "read", "guess", "guess probability", "truth probability"]
        columns += [f"rms of h{layer}" for layer in layers]
        columns += [f"gradient norm by h{layer}" for layer in layers]
        columns += [f"mean {gate}{self.layer}" for gate in self.gates]
        rows: list[list[object]] = []
        for t, symbol in enumerate(self.symbols):
            row: list[object] = [self.start + t, symbol, self.guesses[t]]
            row += [self.chances[t], self.truth[t], *self.strengths[t], *self.gradients[t]]
            rows.append(row + [values[t] for values in self.gates.values()])
        return columns, rows


def inspect_unrolled(subject: Subject, config: InspectConfig) -> UnrolledReport:
    """Return the characters around the place that `config` names; without one, the last ones.

    Raises:
        ConfigError: there is no such place or layer.
    """
    count = len(subject.ids)
    at = check_place(config.at, count)
    layer = check_layer(subject.config, config.layer)
    start = max(0, min(at - _BEFORE + 1, count - COLUMNS))
    stop = min(start + COLUMNS, count)
    trace = subject.trace.part(start, stop)
    p = np.exp(trace.log_probabilities)
    likeliest = p.argmax(1)
    columns = np.arange(stop - start)
    truth = np.full(len(columns), np.nan)
    known = subject.ids[start + 1 : stop + 1]
    truth[: len(known)] = p[columns[: len(known)], known]
    states = np.stack([trace.hidden(depth)[1:] for depth in trace.depths], 1).astype(np.float64)
    gates = {
        name: values.mean(1) for name, values in trace.gates(layer - 1).items() if name != "n_h"
    }
    seq_len = subject.seq_len
    return UnrolledReport(
        name=subject.name,
        cell=subject.config.cell,
        hidden_size=subject.config.hidden_size,
        embedding_size=subject.config.embedding_size,
        num_layers=subject.config.num_layers,
        residual=subject.config.residual,
        start=start,
        at=at,
        layer=layer,
        symbols=tuple(subject.symbols[start:stop]),
        guesses=tuple(subject.vocab.name_of(int(token)) for token in likeliest),
        chances=p.max(1),
        truth=truth,
        strengths=np.sqrt((states**2).mean(2)),
        scale=_scale(subject),
        gates=gates,
        gradients=_gradients(subject, start, stop, at),
        seq_len=seq_len,
        cuts=tuple(t - start for t in range(start, stop) if seq_len and t and t % seq_len == 0),
        ends=tuple(map(int, np.flatnonzero(trace.is_end))),
    )


def _scale(subject: Subject) -> float:
    """Return the strength of a state that is drawn darkest: 1, and of ReLU the 99th percentile."""
    if subject.config.cell != "rnn" or subject.config.nonlinearity != "relu":
        return 1.0
    states = np.stack([subject.measured.hidden(depth) for depth in subject.trace.depths])
    means = np.square(states, dtype=np.float64).mean(-1)
    return float(np.percentile(np.sqrt(means), 99)) or 1.0


def _gradients(subject: Subject, start: int, stop: int, at: int) -> Array:
    """Return ‖∂ℓ/∂h‖₂ of the loss at a place by the states after characters in view (W, L)."""
    trace = subject.trace.part(start, at + 1)
    following = subject.ids[at + 1 : at + 2]
    target = following[0] if len(following) else trace.logits[-1].argmax()
    loss = grad_of_nats(trace.log_probabilities[-1], np.asarray(target))
    slopes = Derivatives(trace)
    grads = map_state(lambda array: np.zeros_like(array[0]), trace.layer_states)
    norms = np.zeros((stop - start, len(trace.depths)))
    flow = grad_features(trace.network, loss)  # what comes down from above, at one character
    for t in reversed(range(len(trace))):
        step = slopes.back(t, grads, flow)
        for depth in reversed(trace.depths):
            norms[t, depth] = np.linalg.norm(grads[depth][0] + flow)
            below = step.sums[depth][0] @ layer_weights(trace.network, depth).weight_ih
            flow = flow + below if trace.config.residual and depth else below
        grads = step.state
        flow = np.zeros_like(grads[0][0])
    return norms
