"""The view `links`: on which earlier characters a prediction rests (connectivity, Madsen 2019).

A prediction is the score of one character after the text so far. Three methods say what each
character that was read has to do with it: the gradient of the score, what replacing the character
changes, and integrated gradients, whose parts sum to a difference of scores.

With n-grams, what the network reads at a character is a sum: its embedding, and those of the
n-grams that end with it. Their influence is booked on that character. `ablate` reads the text
again, so there the character changes the n-grams that end later too.

W = tokens of the window, N = predictions, R = draws, V = vocabulary, E = embedding size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from charrnn.config.inspect import InspectConfig
from charrnn.generation.network import Network
from charrnn.interpret.derivatives import Derivatives, grad_features
from charrnn.interpret.subject import Subject
from charrnn.interpret.trace import Array, Trace, log_softmax, record
from charrnn.interpret.units import check_place
from charrnn.state import State, map_state, repeat_state, select_row
from charrnn.text.vocab import Ids

WINDOWS = {"gradient": 128, "ablate": 64, "ig": 32}
"""Tokens that are looked at. A path through inputs that are no characters, which integrated
gradients take, leads a network into chaos: over 64 tokens no number of points closes the gap."""

DRAWS = 16  # characters that replace each one
PATH_POINTS = (32, 64, 128, 256)  # of integrated gradients, until nothing is missing
GAP = 1e-3  # of the logit, within which the parts sum to the difference
UNITS = {"gradient": "logits per unit of the input", "ablate": "bits", "ig": "logits"}
SCALES = {"gradient": (0.03, 30.0), "ablate": (0.01, 10.0), "ig": (0.01, 10.0)}
"""Strengths at which the colours begin and end, by factors, the same for all models and places."""


@dataclass(frozen=True, eq=False)
class Links:
    """What one prediction rests on.

    kind: "true" for the character that follows in the text, "likeliest" for the model's first guess
    where that is another. probability: that the model gives it. strengths: (W,), of each character
    of the window, in the report's unit. relative: the same divided by the largest. gap: of
    integrated gradients, by how much the parts miss the difference of logits that they should sum
    to.
    """

    kind: str
    symbol: str
    probability: float
    strengths: Array
    relative: Array
    gap: float | None

    def reach(self, share: float) -> int:
        """Return how many of the last characters hold this share of all strength."""
        sizes = np.abs(self.strengths[::-1]).cumsum()
        return int(np.searchsorted(sizes, share * sizes[-1])) + 1


@dataclass(frozen=True, eq=False)
class LinksReport:
    """The view `links`.

    at: the place in the text after whose character something is predicted. start: the place of the
    first of the W symbols; the last is at `at`. matrix: (W, W), at [t, s] the gradient link of the
    prediction after t with s; 0 where s > t. followers: the W characters that the rows of the
    matrix predict: those that follow in the text, after its last one the likeliest.
    """

    method: str
    unit: str
    at: int
    start: int
    symbols: list[str]
    links: list[Links]
    matrix: Array
    followers: list[str]
    notes: list[str]

    def table(self) -> tuple[list[str], list[list[object]]]:
        """Return columns and rows, one row for each character of the window."""
        unit = self.unit.replace(" ", "_")
        columns = ["place", "character"]
        for each in self.links:
            columns += [f"link_with_{each.kind}_{unit}", f"link_with_{each.kind}_of_the_largest"]
        values = [
            series.tolist() for each in self.links for series in (each.strengths, each.relative)
        ]
        places = range(self.start, self.at + 1)
        return columns, [list(row) for row in zip(places, self.symbols, *values, strict=True)]


def scale_share(strength: float, method: str) -> float:
    """Return where a strength lies on its method's scale, 0 to 1, with the strength's sign.

    >>> scale_share(30.0, "gradient"), scale_share(-10.0, "ig"), scale_share(0.001, "ig")
    (1.0, -1.0, 0.0)
    """
    low, high = SCALES[method]
    share = math.log(max(abs(strength), low) / low) / math.log(high / low)
    return math.copysign(min(share, 1.0), strength) if share else 0.0


def inspect_links(subject: Subject, config: InspectConfig) -> LinksReport:
    """Return what the prediction after a place of the text in view rests on.

    Raises:
        ConfigError: the text has no such place.
    """
    at, start = _find_window(subject.trace, config.at, WINDOWS[config.method])
    part = subject.trace.part(start, at + 1)
    log_p = part.log_probabilities
    followers = np.append(subject.ids[start + 1 : at + 1], -1)
    best = int(log_p[-1].argmax())
    followers[-1] = subject.ids[at + 1] if at + 1 < len(subject.ids) else best
    tokens = {"true": int(followers[-1]), "likeliest": best}
    if at + 1 == len(subject.ids):
        del tokens["true"]
    elif tokens["true"] == best:
        del tokens["likeliest"]
    chosen = np.array(list(tokens.values()))
    strengths, gaps = _measure(subject, part, chosen, config)
    return LinksReport(
        method=config.method,
        unit=UNITS[config.method],
        at=at,
        start=start,
        symbols=subject.symbols[start : at + 1],
        links=[
            Links(
                kind=kind,
                symbol=subject.vocab.name_of(token),
                probability=float(np.exp(log_p[-1, token])),
                strengths=row,
                relative=row / (np.abs(row).max() or 1),
                gap=gap,
            )
            for (kind, token), row, gap in zip(tokens.items(), strengths, gaps, strict=True)
        ],
        matrix=gradient_links(part, np.arange(len(part)), followers),
        followers=[subject.vocab.name_of(token) for token in followers.tolist()],
        notes=_notes(start, gaps),
    )


def gradient_links(trace: Trace, times: NDArray[np.integer], tokens: Ids) -> Array:
    """Return ‖∂z_t[token] / ∂x_s‖₂ (N, T) of N logits at `times`, for each token s that was read.

    x_s is the token as a vector of V numbers, of which one is 1, so the gradient by it is E times
    that by its row of the table. Madsen 2019 takes the square of this. n-grams stay as they were
    found: a little of another token finds no other row.
    """
    embedding = trace.network.weights["embedding.weight"].astype(np.float64)
    gram = embedding.T @ embedding
    found = np.zeros((len(tokens), len(trace)))
    for s, x in enumerate(_input_gradients(trace, times, tokens)):
        found[:, s] = np.sqrt(((x @ gram) * x).sum(-1).clip(0))
    return found


def ablation_links(trace: Trace, tokens: Ids, draws: Ids) -> Array:
    """Return by how many bits less the last place expects N tokens, without each token (N, T).

    log₂ p(y) − mean log₂ p(y | token s replaced). draws: (T, R), what replaces each token.
    """
    network = trace.network
    states: State | None = None
    for t, token in enumerate(trace.ids.tolist()):
        fresh = repeat_state(select_row(trace.states, t), draws.shape[1])
        read = np.concatenate([np.full(t * draws.shape[1], token), draws[t]])
        states = fresh if states is None else map_state(_joined, states, fresh)
        states = network.advance_all(read, states)
    replaced = log_softmax(network.logits(states))[:, tokens]  # type: ignore[arg-type]
    kept = trace.part(len(trace) - 1).log_probabilities[0][tokens]
    changed: Array = kept - replaced.reshape(*draws.shape, -1).mean(1)
    return changed.T / math.log(2)


def integrated_links(
    trace: Trace, tokens: Ids, baseline: Array, points: tuple[int, ...] = PATH_POINTS
) -> tuple[Array, Array]:
    """Return integrated gradients (N, T) of the last place's logits, and their gaps (N,).

    Sundararajan et al. 2017: ∫ ∂z/∂x · (x − b) along the straight line from b to x, where all
    tokens move together. baseline: b (E,), a row such as `input_rows` returns. The integral is
    taken at the points of Gauss and Legendre, more of them until the gap is small.
    """
    # n-grams move with the tokens. Were they held, the text of the baseline would still say what
    # stood there; were they looked up on the way, there would be none between two texts.
    rows = input_rows(trace)
    start = select_row(trace.layer_states, 0)
    ends = [_last_logits(trace.network, each, start) for each in (rows, baseline + 0 * rows)]
    expected = (ends[0] - ends[1])[tokens]
    for count in points:
        found = _integrate(trace, tokens, rows, baseline, count)
        gaps = found.sum(-1) - expected
        if np.abs(gaps).max() < GAP:
            break
    return found, gaps


def _measure(
    subject: Subject, part: Trace, tokens: Ids, config: InspectConfig
) -> tuple[Array, list[float | None]]:
    """Return the strengths (N, W) by the chosen method, and the gap of each."""
    known = subject.held_out[subject.held_out != subject.vocab.end]  # an end is no character
    known = known if len(known) else part.ids
    if config.method == "ablate":
        random = np.random.default_rng(config.seed)
        draws = random.choice(known, (len(part), DRAWS))
        return ablation_links(part, tokens, draws), [None] * len(tokens)
    if config.method == "ig":
        baseline = _mean_row(subject, part, known)
        found, gaps = integrated_links(part, tokens, baseline)
        return found, gaps.tolist()
    times = np.full(len(tokens), len(part) - 1)
    return gradient_links(part, times, tokens), [None] * len(tokens)


def _mean_row(subject: Subject, part: Trace, known: Ids) -> Array:
    """Return the mean row (E,) of known tokens; with n-grams, of what is read on average."""
    rows: Array = subject.network.weights["embedding.weight"][known]
    if subject.config.ngram_rows:
        trace = subject.measured if len(subject.measured) else part
        read = input_rows(trace)[~trace.is_end]
        rows = read if len(read) else rows
    mean: Array = rows.mean(0)
    return mean


def _notes(start: int, gaps: list[float | None]) -> list[str]:
    """Return what a reader has to know."""
    notes = []
    if start:
        notes.append(f"the {start:,} characters before the first are read, but not looked at")
    if any(gap is not None and abs(gap) >= GAP for gap in gaps):
        notes.append(
            f"integrated gradients do not sum to the difference of logits (gap at least {GAP:g}): "
            "the network is too steep on the way, so take these figures with care"
        )
    return notes


def _find_window(trace: Trace, at: int | None, size: int) -> tuple[int, int]:
    """Return the place that is asked for and where its window starts: after an end of a record."""
    at = check_place(at, len(trace))
    while at and trace.is_end[at]:  # what comes after an end rests on nothing
        at -= 1
    start = max(0, at + 1 - size)
    ends = np.flatnonzero(trace.is_end[start:at])
    return at, start + int(ends[-1]) + 1 if len(ends) else start


def _input_gradients(trace: Trace, times: NDArray[np.integer], tokens: Ids) -> list[Array]:
    """Return the gradients of logits by each token's row of the table: T arrays (N, …, E)."""
    config = trace.config
    weights = trace.network.weights["output.bias"]
    grad_logits = np.zeros((len(tokens), len(weights)), weights.dtype)
    grad_logits[np.arange(len(tokens)), tokens] = 1
    features = grad_features(trace.network, grad_logits)
    lanes = trace.ids.shape[1:]
    features = features.reshape(len(tokens), *(1 for _ in lanes), -1)
    shape = (len(tokens), *lanes, config.hidden_size)
    state = map_state(lambda array: np.zeros(shape, array.dtype), trace.layer_states)
    derivatives = Derivatives(trace)
    found = []
    for t in reversed(range(len(trace))):
        is_now = (times == t).reshape(-1, *(1 for _ in shape[1:]))
        step = derivatives.back(t, state, features * is_now)
        found.append(step.x)
        state = step.state
    return found[::-1]


def _integrate(trace: Trace, tokens: Ids, rows: Array, baseline: Array, count: int) -> Array:
    """Return the integral (N, T) at `count` points, all of which are read side by side."""
    places, weights = np.polynomial.legendre.leggauss(count)
    alphas = ((places + 1) / 2).astype(rows.dtype)
    path = baseline + alphas[:, None, None] * (rows - baseline)
    network = network_of_rows(trace.network, path.reshape(-1, rows.shape[-1]))
    ids = np.arange(count) * len(rows) + np.arange(len(rows))[:, None]
    moved = record(network, ids, repeat_state(select_row(trace.layer_states, 0), count))
    times = np.full(len(tokens), len(rows) - 1)
    gradients = _input_gradients(moved, times, tokens)
    means = np.stack([np.tensordot(weights / 2, x, (0, 1)) for x in gradients], 1)
    total: Array = (means * (rows - baseline)).sum(-1) * trace.config.embedding_scale
    return total


def input_rows(trace: Trace) -> Array:
    """Return what is read at each token as a row of the table (T, E): what n-grams add is in it."""
    rows: Array = trace.network.weights["embedding.weight"][trace.ids]
    if trace.config.ngram_rows:
        rows = rows + trace.from_ngrams() / np.float32(trace.config.embedding_scale)
    return rows


def network_of_rows(network: Network, rows: Array) -> Network:
    """Return the same network reading from another table; its ids are the rows of that table.

    It looks up no n-grams: `input_rows` has them in the rows.
    """
    config = network.config
    weights = {name: each for name, each in network.weights.items() if "ngrams." not in name}
    weights["embedding.weight"] = np.float32(config.embedding_scale) * rows
    if config.tie_embeddings:
        weights["output.weight"] = network.weights["embedding.weight"]
    free = replace(
        config,
        vocab_size=len(rows),
        tie_embeddings=False,
        has_end=False,
        ngram_order=1,
        ngram_rows=0,
    )
    return Network(free, weights)


def _last_logits(network: Network, rows: Array, state: State) -> Array:
    """Return the logits (V,) after reading rows (T, E) of a table."""
    reader = network_of_rows(network, rows)
    logits: Array = reader.logits(reader.prefill(range(len(rows)), state))
    return logits


def _joined(first: Array, second: Array) -> Array:
    return np.concatenate((first, second))
