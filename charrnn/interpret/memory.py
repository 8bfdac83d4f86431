"""The view `memory`: what the state after a text still holds of what was read, in four figures.

They answer four questions and are never mixed: what each token wrote into the memory (ledger.py),
what another word in its place would change (counterfactual.py), which characters can be read off
the state (decoding.py), and how much context lowers the loss (context.py).

T = tokens of the text in view up to the place, W = words, P = pieces, D = distances in tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count, takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config.inspect import InspectConfig
from charrnn.generation.network import Network
from charrnn.interpret import ledger as ledgers
from charrnn.interpret.context import SHUFFLED, measure_context
from charrnn.interpret.counterfactual import (
    REPLACEMENTS,
    WordPool,
    fall_to,
    follow_words,
    stranger_distance,
    words_left,
)
from charrnn.interpret.decoding import Decoded, Decoder, aligned, classes_of, misaligned
from charrnn.interpret.subject import Subject
from charrnn.interpret.units import check_layer, check_place
from charrnn.interpret.words import Words, cut_into_words, find_words

SHARES = (0.5, 0.9, 0.99)
"""Of the memory: after how many tokens so much of it is written."""

LEFT = (0.5, 0.1, 0.01)
"""Of what a word changes at first: after how many tokens no more than that is left."""

BACKS = (0, 1, 2, 4, 8, 16, 32, 64, 128)
"""How many characters back a decoder looks."""

MIN_TOKENS = 1_000
"""Held-out text that figures can be measured on; with less there is the ledger alone."""

_LEDGER_PLACES = 64
_LEDGER_TOKENS = 512
_WORDS = 32
_DISTANCES = 129
_NEAR = 128  # tokens before the place, whose words are replaced
_POOL = 500_000  # tokens of the training text, whose words are drawn
_STRETCHES = 384
_LONGEST = 512
_SHORTEST = 64  # of a network so large that fewer than so many stretches could be read
_FEW_STRETCHES = 32
_FEWEST = 8
_WORK = 6e10  # multiplications for one figure: some seconds

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LedgerReport:
    """(a) What was written into the memory and is still there.

    kind: "c" or "h", the part of the state. shares: of each token up to the place (T,), which add
    to 1 with initial_share. piece_starts, piece_shares: of words and of what is between (P,), by
    their added parts. residual: relative error of the parts' sum. cancelled: share of what was
    written that other parts cancel. recent: mean share by distance from the last token, over
    `places` places of the held-out text (D,). reach, mean_reach: how many of the last tokens wrote
    each of SHARES, at the place and on average; None for more than were read.
    """

    kind: str
    shares: Floats
    initial_share: float
    piece_starts: NDArray[np.int64]
    piece_shares: Floats
    residual: float
    cancelled: float
    reach: dict[str, int | None]
    recent: Floats
    mean_reach: dict[str, int | None]
    places: int


@dataclass(frozen=True, eq=False)
class WordReport:
    """(b) What another word of the same length would change.

    starts, stops, bits, distances: of the last words before the place (W,): KL in bits of the
    prediction after the place, and distance of the state, 1 for two strangers. mean_bits,
    mean_distances: by tokens read since the word, over `words` held-out words (D,). lasting_bits,
    lasting_distances: the tokens after which they have fallen to each of LEFT, None where never.
    """

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    bits: Floats
    distances: Floats
    mean_bits: Floats
    mean_distances: Floats
    lasting_bits: dict[str, float | None]
    lasting_distances: dict[str, float | None]
    words: int
    replacements: int


@dataclass(frozen=True, eq=False)
class DecodingReport:
    """(c) How well a linear decoder names the character so many back, on text it never saw.

    entropy_bits: all that there is to tell of it. untrained: of the network before training.
    misaligned: of states beside characters that they never read, the floor.
    """

    method: str
    backs: list[int]
    entropy_bits: list[float]
    information_bits: list[float]
    accuracy: list[float]
    untrained_information_bits: list[float]
    untrained_accuracy: list[float]
    misaligned_information_bits: float
    misaligned_accuracy: float


@dataclass(frozen=True, eq=False)
class ContextReport:
    """(d) Bits a character where only the last so many tokens were read, alone or after shuffled
    ones. whole_bits: after the whole text; the others are this and what is lost by the same
    characters. counts: of how many characters.
    """

    contexts: list[int]
    whole_bits: float
    alone_bits: list[float]
    shuffled_bits: list[float]
    counts: list[int]
    shuffled_tokens: int


@dataclass(frozen=True, eq=False)
class MemoryReport:
    """What a network holds of a text. layer: from 1. at: the place, the last token read.

    symbols: of the tokens up to the place. ledger: None of an rnn. The others but `words` are None
    where the held-out text has fewer than MIN_TOKENS.
    """

    cell: str
    layer: int
    at: int
    symbols: list[str]
    ledger: LedgerReport | None
    words: WordReport | None
    decoding: DecodingReport | None
    context: ContextReport | None

    def shades(self) -> Floats:
        """Return what is left of each token (T,): its share, or of an rnn its word's distance."""
        if self.ledger:
            return self.ledger.shares
        shades = np.zeros(len(self.symbols))
        if self.words:
            for start, stop, left in zip(
                self.words.starts, self.words.stops, self.words.distances, strict=True
            ):
                shades[start:stop] = left
        return np.nan_to_num(shades)

    def word_shades(self) -> Floats:
        """Return what is left of the word of each token (T,), or of what stands between words."""
        if not self.ledger:
            return self.shades()
        starts = self.ledger.piece_starts
        lengths = np.diff(np.append(starts, len(self.symbols)))
        return np.repeat(self.ledger.piece_shares, lengths)

    def table(self) -> tuple[list[str], list[list[object]]]:
        """Return the curves of all figures as columns and rows; what a figure lacks is None."""
        columns = [
            "figure",
            "characters",
            "share",
            "kl_bits",
            "state_distance",
            "information_bits",
            "untrained_information_bits",
            "accuracy",
            "untrained_accuracy",
            "alone_bits_per_char",
            "shuffled_bits_per_char",
        ]
        rows: list[dict[str, object]] = []
        if self.ledger:
            last = len(self.ledger.shares) - 1
            for at, share in enumerate(self.ledger.shares):
                rows.append({"figure": "ledger", "characters": last - at, "share": share})
            for at, share in enumerate(self.ledger.recent):
                rows.append({"figure": "mean ledger", "characters": at, "share": share})
        if self.words:
            pairs = zip(self.words.mean_bits, self.words.mean_distances, strict=True)
            for at, (bits, distance) in enumerate(pairs):
                row = {"kl_bits": bits, "state_distance": distance}
                rows.append({"figure": "other words", "characters": at} | row)
        if self.decoding:
            names = [name for name in columns if "information" in name or "accuracy" in name]
            for i, back in enumerate(self.decoding.backs):
                row = {name: getattr(self.decoding, name)[i] for name in names}
                rows.append({"figure": "decoding", "characters": back} | row)
        if self.context:
            for i, context in enumerate(self.context.contexts):
                row = {
                    "alone_bits_per_char": self.context.alone_bits[i],
                    "shuffled_bits_per_char": self.context.shuffled_bits[i],
                }
                rows.append({"figure": "context", "characters": context} | row)
        return columns, [[_plain(row.get(name)) for name in columns] for row in rows]


def inspect_memory(
    subject: Subject,
    config: InspectConfig,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> MemoryReport:
    """Return what the state after a place of the text in view holds of what came before it.

    Raises:
        ConfigError: the place or the layer does not exist, or there is no text.
    """
    at = check_place(config.at, len(subject.ids))
    depth = check_layer(subject.config, config.layer) - 1
    is_long = len(subject.held_out) >= MIN_TOKENS
    total = 4 + len(BACKS) * 2 if is_long else 2
    done = count(1)

    def tick() -> None:
        on_progress(next(done), total)

    ledger = None
    if subject.config.cell in ledgers.CELLS:
        ledger = _report_ledger(subject, depth, at, config.seed)
    tick()
    words = _report_words(subject, depth, at, config.seed)
    tick()
    context = _report_context(subject, config.seed) if is_long else None
    tick()
    decoding = _report_decoding(subject, depth, config, tick) if is_long else None
    return MemoryReport(
        cell=subject.config.cell,
        layer=depth + 1,
        at=at,
        symbols=subject.symbols[: at + 1],
        ledger=ledger,
        words=words,
        decoding=decoding,
        context=context,
    )


def _report_ledger(subject: Subject, depth: int, at: int, seed: int) -> LedgerReport:
    ledger = ledgers.make_ledger(subject.trace, depth, at)
    shares = ledger.shares()
    starts = cut_into_words(subject.vocab, subject.ids[: at + 1])[:-1]
    length = min(_LEDGER_TOKENS, len(subject.measured) // 2)
    traces = []
    if length:
        count = _affordable(subject.network, _LEDGER_PLACES, length)
        random = np.random.default_rng(seed)
        places = random.integers(0, len(subject.measured) - length + 1, count)
        traces = [subject.measured.part(place, place + length) for place in places.tolist()]
    recent = ledgers.recent_shares(traces, depth) if traces else shares[::-1]
    return LedgerReport(
        kind="c" if subject.config.cell == "lstm" else "h",
        shares=shares[1:],
        initial_share=float(shares[0]),
        piece_starts=starts,
        piece_shares=ledger.piece_shares(starts)[1:],
        residual=ledger.residual,
        cancelled=ledger.cancelled,
        reach=_reaches(shares[::-1]),
        recent=recent[:-1],
        mean_reach=_reaches(recent),
        places=len(traces),
    )


def _reaches(recent: Floats) -> dict[str, int | None]:
    return {f"{share:.0%}": ledgers.reach(recent, share) for share in SHARES}


def _report_words(subject: Subject, depth: int, at: int, seed: int) -> WordReport | None:
    source = subject.train[:_POOL] if len(subject.train) else subject.held_out
    pool = WordPool(source, find_words(subject.vocab, source), seed)
    measured = subject.measured
    # Where all states are alike, nothing differs in any unit.
    scale = stranger_distance(measured.hidden(depth), seed) or 1.0
    distances = min(_DISTANCES, len(measured) // 4)
    words = find_words(subject.vocab, measured.ids)
    is_early = words.stops + distances <= len(measured)
    wanted = _affordable(subject.network, _WORDS, (REPLACEMENTS + 1) * (distances + 5))
    chosen = np.flatnonzero(is_early)
    random = np.random.default_rng(seed)
    chosen = np.sort(random.permutation(chosen)[:wanted])
    some = Words(words.starts[chosen], words.stops[chosen])
    curves = [*follow_words(measured, some, pool.draw, depth, distances)]
    if not curves:
        return None
    mean_bits, mean_distances = np.mean(curves, 0)
    mean_distances = mean_distances / scale
    own = _near_words(subject, at)
    bits, left = words_left(subject.trace, own, pool.draw, depth, at)
    return WordReport(
        starts=own.starts,
        stops=own.stops,
        bits=bits,
        distances=left / scale,
        mean_bits=mean_bits,
        mean_distances=mean_distances,
        lasting_bits={f"{each:.0%}": fall_to(mean_bits, each) for each in LEFT},
        lasting_distances={f"{each:.0%}": fall_to(mean_distances, each) for each in LEFT},
        words=len(curves),
        replacements=REPLACEMENTS,
    )


def _near_words(subject: Subject, at: int) -> Words:
    """Return the last words of the text in view up to the place, as many as can be replaced."""
    words = find_words(subject.vocab, subject.ids[: at + 1])
    steps = at + 1 - words.starts  # that a text with another word in its place takes
    work = np.cumsum(steps[::-1])[::-1] * REPLACEMENTS * subject.config.num_dense_parameters
    is_near = (steps <= _NEAR) & (work <= _WORK)
    return Words(words.starts[is_near], words.stops[is_near])


def _report_context(subject: Subject, seed: int) -> ContextReport:
    measured = subject.measured
    network = subject.network
    room = min(_LONGEST, len(measured) // 2)
    while room > _SHORTEST and _affordable(network, _STRETCHES, room // 4) < _FEW_STRETCHES:
        room //= 2
    contexts = [*takewhile(lambda k: k <= room, (2**power for power in count()))]
    longest = contexts[-1]
    stretches = _affordable(network, _STRETCHES, SHUFFLED + 32 + longest // 2)
    losses = measure_context(measured, stretches, longest, seed)
    # Characters differ from each other far more than from themselves: losses are compared pairwise,
    # and those of contexts up to a quarter longer are taken too.
    ranges = [slice(k - 1, k + k // 4) for k in contexts]
    whole = float(np.average(losses.whole, weights=losses.counts))
    alone = losses.alone - losses.whole
    shuffled = losses.shuffled - losses.whole
    return ContextReport(
        contexts=contexts,
        whole_bits=whole,
        alone_bits=[whole + float(alone[each].mean()) for each in ranges],
        shuffled_bits=[whole + float(shuffled[each].mean()) for each in ranges],
        counts=[int(losses.counts[each].sum()) for each in ranges],
        shuffled_tokens=SHUFFLED,
    )


def _report_decoding(
    subject: Subject, depth: int, config: InspectConfig, tick: Callable[[], None]
) -> DecodingReport:
    backs = [back for back in BACKS if back <= len(subject.measured) // 7]
    classes = classes_of(subject.measured.ids)
    found: list[list[Decoded]] = []
    floor = Decoded(0.0, 0.0, 0.0)
    for trace in (subject.measured_untrained, subject.measured):
        decoder = Decoder(trace, depth, config.seed, is_exact=config.exact)
        found.append([])
        for back in backs:
            found[-1].append(decoder.decode(aligned(classes, back)))
            tick()
        if trace is subject.measured:
            floor = decoder.decode(misaligned(classes, config.seed))
    tick()
    untrained, trained = found
    return DecodingReport(
        method="logistic regression" if config.exact else "ridge regression",
        backs=backs,
        entropy_bits=[each.entropy_bits for each in trained],
        information_bits=[each.information_bits for each in trained],
        accuracy=[each.accuracy for each in trained],
        untrained_information_bits=[each.information_bits for each in untrained],
        untrained_accuracy=[each.accuracy for each in untrained],
        misaligned_information_bits=floor.information_bits,
        misaligned_accuracy=floor.accuracy,
    )


def _affordable(network: Network, wanted: int, steps: int) -> int:
    """Return how many texts of so many steps a network can read within _WORK, at least _FEWEST."""
    return max(min(wanted, int(_WORK / (network.config.num_dense_parameters * steps))), _FEWEST)


def _plain(value: Any) -> object:
    """Return a numpy number as Python's own."""
    return value.item() if isinstance(value, np.generic) else value
