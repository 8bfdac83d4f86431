"""The card of one unit: what it follows, what moves it, what it moves, and what it is worth.

A value is h as it is, or tanh c of an LSTM's memory, so that all lie on one scale.

T = tokens of the text in view, N = tokens that are measured, V = vocabulary, H = hidden size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from charrnn.config import ModelConfig
from charrnn.config.inspect import InspectConfig
from charrnn.errors import ConfigError
from charrnn.interpret.clamp import ClampReport, Sides, clamp_test
from charrnn.interpret.features import Feature, Values, make_features
from charrnn.interpret.neurons import (
    MARGIN,
    MEMORY,
    Finding,
    NeuronsReport,
    exact_score,
    features_of,
    inspect_neurons,
    make_finding,
    split_places,
    strength,
)
from charrnn.interpret.rank_scores import auc, spearman
from charrnn.interpret.subject import Subject
from charrnn.interpret.trace import GATES, Array, Trace, layer_weights, sigmoid
from charrnn.interpret.units import (
    Unit,
    parse_unit,
    state_arrays,
    state_values,
    unit_values,
    value_range,
)
from charrnn.text.vocab import Ids, Vocab

BINS = 40
_QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
_BEFORE, _AFTER = 40, 20  # characters of a snippet around its place
_LEAST_CHANGE = 0.01
_LEAST_SEEN = 20  # times that a character must follow for its mean to be shown


@dataclass(frozen=True, eq=False)
class Snippet:
    """A stretch of the held-out text with the unit's values, chosen for its place `at`."""

    kind: str
    symbols: tuple[str, ...]
    values: Values
    at: int


@dataclass(frozen=True, eq=False)
class Histogram:
    """The share of the places of each side in each bin; edges has one number more."""

    edges: Values
    inside: Values
    outside: Values
    names: tuple[str, str]


@dataclass(frozen=True)
class Link:
    """A weight, or a mean, that belongs to a name: a character or a unit."""

    name: str
    value: float
    more: str = ""


@dataclass(frozen=True, eq=False)
class NeuronReport:
    """The card of a unit.

    symbols, values: (T,) of the text in view; labels: its feature there, NaN where a file has none.
    low, high: the fixed range of values. finding: its best feature, with this unit's own scores.
    best_of_feature: the unit that the search chose for that feature. tau: characters after which a
    share 1/e of what it keeps is left, by its own gate alone; None of an rnn. rises, falls:
    characters after which its value changes most, in the mean. pushes, holds_back: characters whose
    logit a rise of h by 1 raises or lowers most, in relation to all. reads_from, writes_to: units h
    with the largest weights.
    """

    unit: str
    cell: str
    symbols: tuple[str, ...]
    values: Values
    labels: Values
    low: float
    high: float
    finding: Finding
    best_of_feature: str
    tau: float | None
    snippets: tuple[Snippet, ...]
    histogram: Histogram
    rises: tuple[Link, ...]
    falls: tuple[Link, ...]
    pushes: tuple[Link, ...]
    holds_back: tuple[Link, ...]
    pushes_note: str
    reads_from: tuple[Link, ...]
    writes_to: tuple[Link, ...]
    clamp: ClampReport
    is_memory: bool

    def table(self) -> tuple[list[str], list[list[object]]]:
        """Return the columns and rows of a table: the values over the text in view."""
        rows: list[list[object]] = [
            [place, symbol, float(value), None if np.isnan(label) else float(label)]
            for place, (symbol, value, label) in enumerate(
                zip(self.symbols, self.values, self.labels, strict=True)
            )
        ]
        return ["place", "symbol", self.unit, self.finding.feature], rows


def inspect_neuron(
    subject: Subject, config: InspectConfig, neurons: NeuronsReport | None = None
) -> NeuronReport:
    """Return the card of the first of config.neurons, or of the best memory neuron.

    neurons: what the search found, if it has been made.

    Raises:
        ConfigError: there is no such unit, it is not of the state, or the text is too short.
    """
    asked = parse_state_unit(config.neurons[0], subject.config) if config.neurons else None
    neurons = neurons or inspect_neurons(subject, config)
    if not neurons.findings:
        raise ConfigError(
            "the held-out text has none of the features that units are searched for; give one by "
            "--feature NAME=REGEX"
        )
    best = _most_telling(neurons)
    unit = asked or parse_unit(best.best.unit, subject.config)
    features, _ = features_of(subject, config)
    if asked:
        feature, best, finding = _best_feature(subject.measured, unit, features, neurons)
    else:
        feature = next(each for each in features if each.name == best.feature)
        finding = best
    return _card(subject, config, unit, feature, replace(finding, top=()), best.best.unit)


def _most_telling(neurons: NeuronsReport) -> Finding:
    """Return the best memory neuron's finding, or where there is none that of the best unit."""
    memories = [each for each in neurons.findings if each.verdict == MEMORY]
    return max(memories or neurons.findings, key=strength)


def parse_state_unit(name: str, config: ModelConfig) -> Unit:
    """Return the unit of the state that a name means.

    Raises:
        ConfigError: there is none, or it is a gate's.
    """
    unit = parse_unit(name, config)
    arrays = state_arrays(config)
    if unit.array not in arrays:
        raise ConfigError(
            f"{name} is a gate; a card is of a unit of the state: give "
            f"{' or '.join(f'{array}{unit.layer}.{unit.number}' for array in arrays)}"
        )
    return unit


def sides_of(feature: Feature, trace: Trace, vocab: Vocab) -> Sides:
    """Return the places inside and outside, or those of the upper and the lower third."""
    places = ~trace.is_end
    values = feature.values
    if feature.is_yes_no:
        inside, outside = values > 0, values <= 0
        names = ("inside", "outside")
    else:
        low, high = np.quantile(values[places], (1 / 3, 2 / 3))
        outside = values <= low
        inside = values >= high if high > low else values > low
        if not (inside & places).any():  # most have the highest value
            inside, outside = values >= low, values < low
        names = (f"where {feature.name} is high", f"where {feature.name} is low")
    tokens = {sign: vocab.alphabet.find(sign) for sign in feature.closing}
    known = {sign: token for sign, token in tokens.items() if token >= 0}
    return Sides(feature.name, inside & places, outside & places, names, known)


def _best_feature(
    trace: Trace, unit: Unit, features: list[Feature], neurons: NeuronsReport
) -> tuple[Feature, Finding, Finding]:
    """Return the feature of a unit, the search's finding of it, and that of this unit.

    It is the one that the unit tells best on the search half, among those that it tells better than
    the last characters and untrained networks do; if there are none, the one where it is nearest.
    """
    found = {each.feature: each for each in neurons.findings}
    search_half = split_places(trace)[0]
    values = state_values(trace, unit)[search_half]
    leads = []
    strengths = []
    for feature in features:
        labels = feature.values[search_half]
        own = 2 * auc(values, labels) - 1 if feature.is_yes_no else spearman(values, labels)
        controls = _control_strengths(found[feature.name])
        leads.append(abs(own) - max(controls[name] for name in ("last_1", "last_3", "untrained")))
        strengths.append(own)
    told = [number for number, lead in enumerate(leads) if lead >= MARGIN]
    if told:  # of two that are told alike, the one that is harder to tell
        chosen = max(told, key=lambda number: (round(abs(strengths[number]), 6), leads[number]))
    else:
        chosen = int(np.argmax(leads))
    feature = features[chosen]
    best = found[feature.name]
    score = exact_score(trace, feature, str(unit), strengths[chosen])
    controls = _control_strengths(best)
    return feature, best, make_finding(trace, feature, [score], controls)


def _control_strengths(finding: Finding) -> dict[str, float]:
    names = ("shifted", "last_1", "last_3", "untrained", "probe", "untrained_probe")
    scores = {name: getattr(finding, name) for name in names}
    return {name: 2 * s - 1 if finding.is_yes_no else s for name, s in scores.items()}


def _card(
    subject: Subject,
    config: InspectConfig,
    unit: Unit,
    feature: Feature,
    finding: Finding,
    best_of_feature: str,
) -> NeuronReport:
    """Return the card of a unit with its feature."""
    trace = subject.measured
    measured = unit_values(trace, unit)
    low, high = value_range(unit.array, subject.config)
    if not np.isfinite(high):  # of a ReLU
        high = max(float(np.quantile(measured, 0.99)), 1e-3)
    sides = sides_of(feature, trace, subject.vocab)
    name_of = subject.vocab.name_of
    rises, falls = _responses(trace, unit, name_of, config.top)
    pushes, holds_back, note = _pushes(trace, unit, name_of, config.top)
    reads_from, writes_to = _partners(trace, unit, config.top)
    return NeuronReport(
        unit=str(unit),
        cell=subject.config.cell,
        symbols=tuple(subject.symbols),
        values=unit_values(subject.trace, unit).astype(np.float32),
        labels=labels_in_view(subject, config, feature),
        low=low,
        high=high,
        finding=finding,
        best_of_feature=best_of_feature,
        tau=_tau(trace, unit),
        snippets=tuple(_snippets(trace, measured, name_of, config.top, config.seed)),
        histogram=_histogram(measured, sides, low, high),
        rises=rises,
        falls=falls,
        pushes=pushes,
        holds_back=holds_back,
        pushes_note=note,
        reads_from=reads_from,
        writes_to=writes_to,
        clamp=clamp_test(trace, unit, sides, config.seed),
        is_memory=finding.verdict == MEMORY,
    )


def labels_in_view(subject: Subject, config: InspectConfig, feature: Feature) -> Values:
    """Return a feature over the text in view (T,).

    A file labels the held-out text: NaN where the text in view is not its beginning.
    """
    nats = np.take_along_axis(subject.log_probabilities, subject.ids[:, None].astype(np.int64), 1)[
        :, 0
    ]
    own = replace(config, labels_file=None)
    bits = (-nats / np.log(2)).astype(np.float32)
    for each in make_features(subject.vocab, subject.ids, own, bits):
        if each.name == feature.name:
            return each.values
    count = len(subject.ids)
    if np.array_equal(subject.ids, subject.measured.ids[:count]):
        return feature.values[:count]
    return np.full(count, np.nan, np.float32)


def _tau(trace: Trace, unit: Unit) -> float | None:
    """Return −1 / mean ln f in characters (of a GRU: ln z), by the unit's own gate."""
    if trace.config.cell == "rnn":
        return None
    gate = GATES[trace.config.cell].index("f" if trace.config.cell == "lstm" else "z")
    depth = unit.layer - 1
    layer = layer_weights(trace.network, depth)
    row = gate * trace.config.hidden_size + unit.number
    sums = trace.inputs(depth) @ layer.weight_ih[row]
    sums = sums + trace.hidden(depth)[:-1] @ layer.weight_hh[row]
    kept = sigmoid(sums + layer.bias_ih[row] + layer.bias_hh[row])[~trace.is_end]
    mean_log = float(np.log(np.maximum(kept, 1e-7), dtype=np.float64).mean())
    return -1 / mean_log if mean_log < -1e-6 else 1e6


def _snippets(
    trace: Trace, values: Array, name_of: Callable[[int], str], top: int, seed: int
) -> list[Snippet]:
    """Return stretches where the unit is highest, lowest, anywhere, and at five quantiles.

    The highest alone would show what one expects to see (Bolukbasi et al. 2021).
    """
    places = np.flatnonzero(~trace.is_end)
    order = places[np.argsort(-values[places], kind="stable")]
    random = np.random.default_rng(seed).choice(places, min(top, len(places)), replace=False)
    ranked = order[::-1]
    chosen = [("highest", at) for at in _apart(order, top)]
    chosen += [("lowest", at) for at in _apart(ranked, top)]
    chosen += [("random", at) for at in random.tolist()]
    for share in _QUANTILES:
        chosen.append((f"{share:.0%} quantile", int(ranked[int(share * (len(ranked) - 1))])))
    return [_snippet(trace, values, name_of, kind, at) for kind, at in chosen]


def _apart(order: NDArray[np.int64], count: int) -> list[int]:
    """Return the first `count` places that lie no closer than a snippet's length."""
    taken: list[int] = []
    for at in order.tolist():
        if all(abs(at - other) > _BEFORE + _AFTER for other in taken):
            taken.append(at)
            if len(taken) == count:
                break
    return taken


def _snippet(
    trace: Trace, values: Array, name_of: Callable[[int], str], kind: str, at: int
) -> Snippet:
    start = max(at - _BEFORE, 0)
    stop = min(at + _AFTER + 1, len(trace))
    symbols = tuple(name_of(token) for token in trace.ids[start:stop].tolist())
    return Snippet(kind, symbols, values[start:stop].astype(np.float32), at - start)


def _histogram(values: Array, sides: Sides, low: float, high: float) -> Histogram:
    edges = np.linspace(low, high, BINS + 1)
    shares = [
        np.histogram(values[mask].clip(low, high), edges)[0] / max(int(mask.sum()), 1)
        for mask in (sides.is_inside, sides.is_outside)
    ]
    inside, outside = (each.astype(np.float32) for each in shares)
    return Histogram(edges.astype(np.float32), inside, outside, sides.names)


def _responses(
    trace: Trace, unit: Unit, name_of: Callable[[int], str], top: int
) -> tuple[tuple[Link, ...], tuple[Link, ...]]:
    """Return the characters that raise a unit's value most in the mean, and that lower it.

    E[v_t − v_{t−1} | x_t], the expected response of Ming et al. (2017).
    """
    values = unit_values(trace, unit).astype(np.float64)
    changes = np.diff(values)
    tokens: Ids = trace.ids[1:]
    keeps = ~trace.is_end[1:] & ~trace.is_end[:-1]
    size = trace.config.vocab_size
    counts = np.bincount(tokens[keeps], minlength=size)
    sums = np.bincount(tokens[keeps], changes[keeps], size)
    seen = np.flatnonzero(counts >= _LEAST_SEEN)
    means = sums[seen] / counts[seen]
    links = [
        Link(name_of(int(seen[k])), float(means[k]), f"{counts[seen[k]]:,} times")
        for k in np.argsort(-means, kind="stable")
    ]
    rises = tuple(link for link in links[:top] if link.value >= _LEAST_CHANGE)
    falls = tuple(link for link in links[::-1][:top] if link.value <= -_LEAST_CHANGE)
    return rises, falls


def _pushes(
    trace: Trace, unit: Unit, name_of: Callable[[int], str], top: int
) -> tuple[tuple[Link, ...], tuple[Link, ...], str]:
    """Return the next characters that h of this number makes likelier, and less likely."""
    config = trace.config
    weights = trace.network.weights
    if unit.layer < config.num_layers and not config.residual:
        return (), (), f"layer {unit.layer} is read by the layer above, not by the output"
    output = weights["embedding.weight" if config.tie_embeddings else "output.weight"]
    if "projection.weight" in weights:
        column = output @ weights["projection.weight"][:, unit.number]
    else:
        column = output[:, unit.number]
    column = column - column.mean()  # what all logits share changes no probability
    order = np.argsort(-column, kind="stable")
    links = [Link(name_of(int(token)), float(column[token])) for token in order]
    note = f"h{unit.layer}.{unit.number} rises by 1"
    if unit.array == "c":
        note += f"; the output reads h = o·tanh(c), not {unit} itself"
    return tuple(links[:top]), tuple(links[::-1][:top]), note


def _partners(trace: Trace, unit: Unit, top: int) -> tuple[tuple[Link, ...], tuple[Link, ...]]:
    """Return the units h with the largest recurrent weights to and from this unit.

    Of several gates the length of their weights counts, and the strongest one is named.
    """
    config = trace.config
    matrix = layer_weights(trace.network, unit.layer - 1).weight_hh
    blocks = matrix.reshape(-1, config.hidden_size, config.hidden_size)  # gate, to, from
    return (
        _strongest(blocks[:, unit.number, :], unit, config, top),
        _strongest(blocks[:, :, unit.number], unit, config, top),
    )


def _strongest(weights: Array, unit: Unit, config: ModelConfig, top: int) -> tuple[Link, ...]:
    """Return the units with the longest columns of weights (G, H)."""
    lengths = np.sqrt((weights * weights).sum(0))
    gates = GATES[config.cell] or ("h",)
    links = []
    for number in np.argsort(-lengths, kind="stable")[:top].tolist():
        gate = int(np.argmax(np.abs(weights[:, number])))
        more = f"{gates[gate]} {weights[gate, number]:+.2f}"
        links.append(Link(f"h{unit.layer}.{number}", float(lengths[number]), more))
    return tuple(links)
