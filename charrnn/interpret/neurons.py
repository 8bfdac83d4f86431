"""Which feature of the text lives in which unit: a search over all units, with its controls.

The held-out text has two halves. On the search half the best unit of a feature is chosen, and
whether it is high or low inside; on the held half it is scored. A score is the AUC of a yes-or-no
feature, or Spearman's rank correlation ρ of a number. Four controls stand beside each score,
as a high score alone means little: most features are written in the last few characters.

Inside this module a score is a strength from −1 to 1, 2·AUC − 1 or ρ; 0 is what chance gives.

N = places of one half, U = units, F = features, K = columns of labels, S = tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from charrnn.config.inspect import InspectConfig
from charrnn.errors import ConfigError
from charrnn.generation.network import Network
from charrnn.interpret.features import Feature, Values, lacking, make_features
from charrnn.interpret.rank_scores import (
    auc,
    f1_scores,
    label_columns,
    spearman,
    strengths,
    strengths_of_predictions,
)
from charrnn.interpret.subject import Subject
from charrnn.interpret.trace import Array, Trace, record_lanes
from charrnn.interpret.units import Unit, all_units, parse_unit, state_arrays, state_values
from charrnn.interpret.untrained import untrained_weights
from charrnn.text.vocab import Ids

Places = NDArray[np.int64]

MARGIN = 0.06  # of strength, by which a finding must beat a control: 0.03 of AUC
UNTRAINED = 3  # networks, of which the best unit is the control
SHIFTS = 20  # labellings that are moved against the text
_MIN_SHIFT = 1_000  # places
_MIN_HALF = 200  # places, below which nothing can be told
_UNITS_AT_ONCE = 256
_RIDGE = 1e-3  # of a unit's variance
_LONGEST_CONTEXT = 3  # characters

MEMORY, CHARACTER = "memory neuron", "character neuron"
SPREAD, NOT_THERE = "spread", "not there"


@dataclass(frozen=True)
class UnitScore:
    """A unit with its scores on both halves; sign: −1 where it is low inside."""

    unit: str
    sign: int
    search: float
    held: float


@dataclass(frozen=True)
class Finding:
    """What was found of one feature.

    is_yes_no: scores are AUC, else ρ in the direction that the search half has. share: of the
    places inside, in the whole text. best: the unit chosen on the search half. f1: of that unit on
    the held half, at the threshold chosen on the search half. shifted: the best of all units on the
    held half, for the best of SHIFTS labellings that were moved. last_1, last_3: what the last
    characters alone tell. untrained: the best unit of UNTRAINED untrained networks, on the held
    half. probe: all units together, by ridge regression; untrained_probe: the best of those of the
    untrained networks. localised: the unit's score as a share of the probe's. top: the best units
    of the search half, best first.
    """

    feature: str
    meaning: str
    is_yes_no: bool
    share: float
    best: UnitScore
    f1: float | None
    threshold: float | None
    shifted: float
    last_1: float
    last_3: float
    untrained: float
    probe: float
    untrained_probe: float
    localised: float
    verdict: str
    sentence: str
    top: tuple[UnitScore, ...]
    closing: str = ""


@dataclass(frozen=True, eq=False)
class NeuronsReport:
    """The findings, strongest memory neurons first, and the features that the text lacks."""

    findings: tuple[Finding, ...]
    left_out: tuple[tuple[str, str], ...]
    places: int
    units: int
    shifts: int
    untrained: int
    margin: float
    seed: int

    def table(self) -> tuple[list[str], list[list[object]]]:
        """Return the columns and rows of a table."""
        columns = ["feature", "score", "unit", "search", "held", "f1", "shifted", "last_1"]
        columns += ["last_3", "untrained", "probe", "untrained_probe", "localised", "verdict"]
        rows: list[list[object]] = [
            [
                each.feature, "AUC" if each.is_yes_no else "rho", each.best.unit, each.best.search,
                each.best.held, each.f1, each.shifted, each.last_1, each.last_3, each.untrained,
                each.probe, each.untrained_probe, each.localised, each.verdict,
            ]
            for each in self.findings
        ]  # fmt: skip
        return columns, rows


def inspect_neurons(
    subject: Subject,
    config: InspectConfig,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> NeuronsReport:
    """Search all units of all layers for each feature that the held-out text has.

    on_progress: called with the networks that were searched, and how many there are.

    Raises:
        ConfigError: the held-out text is too short, or a feature of the config cannot be read.
    """
    trace = subject.measured
    features, left_out = features_of(subject, config)
    findings = []
    if features:
        findings = search(trace, _untrained(subject, on_progress), features, config)
    units = len(all_units(trace.config))
    places = sum(map(len, split_places(trace)))
    return NeuronsReport(
        tuple(findings), left_out, places, units, SHIFTS, UNTRAINED, MARGIN, config.seed
    )


def features_of(
    subject: Subject, config: InspectConfig
) -> tuple[list[Feature], tuple[tuple[str, str], ...]]:
    """Return the features that the held-out text has, and why it lacks the others.

    Raises:
        ConfigError: as `inspect_neurons`.
    """
    trace = subject.measured
    halves = split_places(trace)
    kept = []
    left_out = []
    for feature in make_features(subject.vocab, trace.ids, config, surprise_bits(trace)):
        reasons = [lacking(feature, half) for half in halves]
        if any(reasons):
            left_out.append((feature.name, next(filter(None, reasons))))
        else:
            kept.append(feature)
    return kept, tuple(left_out)


def _untrained(subject: Subject, on_progress: Callable[[int, int], None]) -> Iterator[Trace]:
    """Yield how untrained networks read the held-out text: one alone could be unlucky."""
    on_progress(1, 1 + UNTRAINED)
    yield subject.measured_untrained
    for more in range(1, UNTRAINED):
        on_progress(1 + more, 1 + UNTRAINED)
        seed = (subject.seed + more) % 2**32
        weights = untrained_weights(subject.config, seed, subject.file.weights)
        yield record_lanes(Network(subject.config, weights), subject.measured.ids)


def search(
    trace: Trace, untrained: Iterable[Trace], features: Sequence[Feature], config: InspectConfig
) -> list[Finding]:
    """Return what is found of each feature in a trace, beside the traces of untrained networks."""
    halves = split_places(trace)
    labels = np.stack([each.values for each in features], 1)
    is_yes_no = np.array([each.is_yes_no for each in features])
    columns = [label_columns(labels[half], is_yes_no) for half in halves]
    moved = _shifted_columns(labels, halves, is_yes_no, config.seed)
    names = [name for block, _ in unit_blocks(trace) for name in block]
    own = _strengths(trace, halves, (columns[0], np.hstack((columns[1], moved))), is_yes_no)
    shifted = np.abs(own[1][:, len(features) :]).max(0)
    blank = [
        (
            np.abs(_strengths(other, halves[1:], columns[1:], is_yes_no)[0]).max(0),
            probe(other, halves, columns, is_yes_no),
        )
        for other in untrained
    ]
    last = [last_characters(trace.ids, labels, halves, size) for size in (1, _LONGEST_CONTEXT)]
    controls = {
        "untrained": np.max([unit for unit, _ in blank], 0),
        "untrained_probe": np.max([together for _, together in blank], 0),
        "shifted": shifted.reshape(SHIFTS, -1).max(0),
        "last_1": strengths_of_predictions(last[0], columns[1], is_yes_no),
        "last_3": strengths_of_predictions(last[1], columns[1], is_yes_no),
        "probe": probe(trace, halves, columns, is_yes_no),
    }
    findings = []
    for number, feature in enumerate(features):
        searched = own[0][:, number]
        best = np.argsort(-np.abs(searched), kind="stable")[: config.top]
        tops = [exact_score(trace, feature, names[unit], searched[unit]) for unit in best]
        scores = {name: float(each[number]) for name, each in controls.items()}
        findings.append(make_finding(trace, feature, tops, scores))
    order_of = (MEMORY, SPREAD, CHARACTER, NOT_THERE)
    return sorted(findings, key=lambda each: (order_of.index(each.verdict), -strength(each)))


def strength(finding: Finding, score: float | None = None) -> float:
    """Return a score of a finding, its own if None, as a strength: 0 is chance, 1 perfect."""
    score = finding.best.held if score is None else score
    return 2 * score - 1 if finding.is_yes_no else score


def verdict_of(held: float, scores: dict[str, float]) -> str:
    """Return what strengths say of a feature: a memory neuron beats every control by MARGIN.

    scores: shifted, last_1, last_3, untrained, probe, untrained_probe.
    """
    last = max(scores["last_1"], scores["last_3"])

    def beats(value: float, *others: float) -> bool:
        return value >= max(others) + MARGIN

    if beats(held, scores["shifted"], last, scores["untrained"]):
        return MEMORY
    untrained = max(scores["untrained"], scores["untrained_probe"])
    if beats(scores["probe"], scores["shifted"], last, untrained):
        return SPREAD
    return CHARACTER if beats(held, scores["shifted"]) else NOT_THERE


def split_places(trace: Trace) -> tuple[Places, Places]:
    """Return the places of the search half and of the held half; ends of records are left out.

    Raises:
        ConfigError: the text is too short.
    """
    places = np.flatnonzero(~trace.is_end)
    half = len(places) // 2
    if half < _MIN_HALF:
        raise ConfigError(
            f"the held-out text has {len(places):,} characters, too few to search neurons; give at "
            f"least {2 * _MIN_HALF} by --file, or raise --chars"
        )
    return places[:half], places[half:]


def unit_blocks(trace: Trace) -> Iterator[tuple[list[str], Array]]:
    """Yield the names of units and their values after each token (S, U), block by block."""
    for depth in trace.depths:
        arrays = state_arrays(trace.config)
        for name, array in zip(arrays, trace.states[depth], strict=True):
            for start in range(0, array.shape[1], _UNITS_AT_ONCE):
                block = array[1:, start : start + _UNITS_AT_ONCE]
                numbers = range(start, start + block.shape[1])
                yield [str(Unit(depth + 1, name, number)) for number in numbers], block


def surprise_bits(trace: Trace) -> Values:
    """Return −log2 p of each token (S,) before it was read; 0 of the first."""
    found = np.zeros(len(trace), np.float32)
    if len(trace) < 2:
        return found
    targets = trace.ids[1:].astype(np.int64)
    for places, log_p in trace.part(0, len(trace) - 1).log_probability_blocks():
        nats = -np.take_along_axis(log_p, targets[places, None], 1)[:, 0]
        found[1 + places.start : 1 + places.stop] = nats / np.log(2)
    return found


def last_characters(ids: Ids, labels: Values, halves: tuple[Places, Places], size: int) -> Values:
    """Return what the last `size` tokens alone say of the labels (N, F) on the held half.

    It is the mean label after the same tokens on the search half, with one count for the mean
    after one token less, and so on: where a context was never seen, the shorter one speaks.
    """
    searched, held = halves
    known = labels[searched].astype(np.float64)
    found = np.repeat(known.mean(0)[None], len(held), 0)
    context = np.zeros(len(ids), np.int64)
    for back in range(size):
        token = np.concatenate((np.zeros(back, np.int64), ids[: len(ids) - back].astype(np.int64)))
        _, context = np.unique(context * (int(ids.max()) + 1) + token, return_inverse=True)
        kinds = int(context.max()) + 1
        counts = np.bincount(context[searched], minlength=kinds)
        sums = np.stack([np.bincount(context[searched], column, kinds) for column in known.T], 1)
        found = (sums[context[held]] + found) / (counts[context[held]] + 1)[:, None]
    return found.astype(np.float32)


def probe(
    trace: Trace,
    halves: tuple[Places, Places],
    columns: Sequence[Values],
    is_yes_no: NDArray[np.bool_],
) -> Values:
    """Return the strength (F,) on the held half of a ridge regression on all units together."""
    searched, held = (
        np.hstack([block[half] for _, block in unit_blocks(trace)]) for half in halves
    )
    mean, spread = searched.mean(0), searched.std(0)
    scale = np.divide(1, spread, out=np.zeros_like(spread), where=spread > 1e-7)
    searched = (searched - mean) * scale
    gram = (searched.T @ searched).astype(np.float64)
    gram[np.diag_indices_from(gram)] += _RIDGE * len(searched)
    weights = np.linalg.solve(gram, (searched.T @ columns[0]).astype(np.float64))
    predicted = ((held - mean) * scale) @ weights.astype(np.float32)
    return strengths_of_predictions(predicted, columns[1], is_yes_no)


def _strengths(
    trace: Trace,
    halves: Sequence[Places],
    columns: Sequence[Values],
    is_yes_no: NDArray[np.bool_],
) -> list[Values]:
    """Return the strength of each unit for each column (U, K), of each half given."""
    found: list[list[Values]] = [[] for _ in halves]
    for _, block in unit_blocks(trace):
        for half, each, products in zip(halves, columns, found, strict=True):
            products.append(strengths(block[half], each, is_yes_no))
    return [np.concatenate(each) for each in found]


def _shifted_columns(
    labels: Values, halves: tuple[Places, Places], is_yes_no: NDArray[np.bool_], seed: int
) -> Values:
    """Return the columns of the held half (N, SHIFTS·F) with labels moved round by many places.

    Moved labels keep their stretches, but have nothing to do with the text that they lie beside.
    """
    known = labels[np.concatenate(halves)]
    count = len(known)
    least = min(_MIN_SHIFT, count // 4)
    steps = np.random.default_rng(seed).integers(least, count - least + 1, SHIFTS)
    start = len(halves[0])
    return np.hstack([label_columns(np.roll(known, step, 0)[start:], is_yes_no) for step in steps])


def exact_score(trace: Trace, feature: Feature, unit: str, searched: float) -> UnitScore:
    """Return the scores of a unit in float64, whose strength on the search half has this sign."""
    halves = split_places(trace)
    sign = -1 if searched < 0 else 1
    values = sign * state_values(trace, parse_unit(unit, trace.config))
    score = auc if feature.is_yes_no else spearman
    search_score, held = (score(values[half], feature.values[half]) for half in halves)
    return UnitScore(unit, sign, search_score, held)


def make_finding(
    trace: Trace,
    feature: Feature,
    tops: list[UnitScore],
    scores: dict[str, float],
) -> Finding:
    """Return what is found of a feature, from its best units and the strengths of the controls."""
    best = tops[0]
    halves = split_places(trace)
    places = np.concatenate(halves)
    held = 2 * best.held - 1 if feature.is_yes_no else best.held
    as_score = {n: (1 + s) / 2 if feature.is_yes_no else s for n, s in scores.items()}
    f1: tuple[float | None, float | None] = (None, None)
    if feature.is_yes_no:
        values = state_values(trace, parse_unit(best.unit, trace.config))
        f1 = f1_scores(
            (values[halves[0]], values[halves[1]]),
            (feature.values[halves[0]], feature.values[halves[1]]),
            best.sign,
        )
    finding = Finding(
        feature=feature.name,
        meaning=feature.meaning,
        is_yes_no=feature.is_yes_no,
        share=float((feature.values[places] > 0).mean()),
        best=best,
        threshold=f1[0],
        f1=f1[1],
        localised=best.held / as_score["probe"] if as_score["probe"] else 0.0,
        verdict=verdict_of(held, scores),
        sentence="",
        top=tuple(tops),
        closing=feature.closing,
        **as_score,
    )
    return replace(finding, sentence=describe(finding))


def describe(finding: Finding) -> str:
    """Return a finding as one plain sentence."""
    best = finding.best
    if finding.is_yes_no:
        does = f"{best.unit} is {'high' if best.sign > 0 else 'low'} {finding.meaning}"
        score = "AUC"
    else:
        does = f"{best.unit} {'rises' if best.sign > 0 else 'falls'} with {finding.meaning}"
        score = "ρ"
    last = max(finding.last_1, finding.last_3)
    against = (
        f"the last characters alone {last:.3f}, untrained networks {finding.untrained:.3f}, "
        f"shifted labels {finding.shifted:.3f}"
    )
    if finding.verdict == MEMORY:
        return f"{does}: {score} {best.held:.3f} ({against})."
    if finding.verdict == CHARACTER:
        return f"{does}: {score} {best.held:.3f}, but {_what_is_not_beaten(finding)} ({against})."
    if finding.verdict == SPREAD:
        return (
            f"No unit alone tells {finding.feature} ({best.unit}: {score} {best.held:.3f}), but "
            f"all together do: {finding.probe:.3f} ({against})."
        )
    return f"Nothing tells {finding.feature} ({best.unit}: {score} {best.held:.3f}; {against})."


def _what_is_not_beaten(finding: Finding) -> str:
    """Return what the controls say that a unit does not beat by MARGIN, in words."""
    own = strength(finding)
    margin = f"{MARGIN / 2:g} of AUC" if finding.is_yes_no else f"{MARGIN:g} of ρ"
    controls = (
        (
            max(finding.last_1, finding.last_3),
            "the last characters alone",
            "tell as much, so it takes no memory",
        ),
        (finding.untrained, "untrained networks", "have a unit as good, so it need not be learned"),
    )
    parts = []
    for score, name, as_good in controls:
        other = strength(finding, score)
        if own >= other + MARGIN:
            continue
        is_beatable = other + MARGIN <= 1
        parts.append(
            f"{name} {as_good if is_beatable else f'tell it too well to be beaten by {margin}'}"
        )
    return " and ".join(parts)
