"""The view `errors`: what a model still gets wrong, and where it beats a 5-gram.

An error is a character that the model gave less than half of its probability. Karpathy, Johnson &
Fei-Fei 2015 peel errors off one cause at a time: an oracle says which places it would get right,
and what it removes is no longer there for the next one.

S = characters (tokens) of the held-out text that are predicted, V = vocabulary.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.analysis.baselines import TRAINED_TOKENS, ngram_order_nats, ngram_token_nats
from charrnn.config.inspect import InspectConfig
from charrnn.errors import ConfigError
from charrnn.interpret.subject import Subject
from charrnn.interpret.trace import Array, Trace
from charrnn.text.vocab import Ids, Vocab

HALF = 0.5  # of the probability: what is below is an error
NEARLY = 0.4
LONGEST_NGRAM = 9
REPEAT_TOKENS = 1_000
RARE = 5  # times that a word is in the training text
NGRAM = "n-gram"
ORACLES = {
    NGRAM: f"n-grams of the training text (n ≤ {LONGEST_NGRAM}) expect it",
    "repeat": "the word began so in the last 1,000 characters",
    "rare word": f"in a word seen {RARE} times or less in training",
    "word start": "the first letter of a word",
    "punctuation": "no letter, digit or space; also line ends",
    "nearly right": f"the model gave it {NEARLY} to {HALF}",
    "rest": "none of these",
}
"""The oracles in the order in which they remove errors, and what each of them knows."""

DISTANCES = (1, 5, 10, 20, 40, 80, 160)  # to the opening bracket or quote: groups start here
POSITIONS = 8  # in a word; those further on are one group
MIN_PLACES = 10  # of a group whose mean is shown
_BLOCK = 4_096  # tokens whose logits are in memory at once
_LONGEST_PREFIX = 40
_MAX_SPAN = 1_000  # between a bracket or quote and its end
_PAIRS = {")": "(", "]": "[", "}": "{", "”": "“", "’": "‘", "»": "«"}
_QUOTE = '"'

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Peeled:
    """What one oracle removes: its share of all errors, and of all characters."""

    oracle: str
    meaning: str
    count: int
    share_of_errors: float
    share_of_chars: float


@dataclass(frozen=True)
class Saving:
    """How many bits a character the model saves over the 5-gram at a group of places.

    saved_bits: the mean; NaN where the group has fewer than 10 places.
    """

    group: str
    places: int
    saved_bits: float
    model_bits: float


@dataclass(frozen=True, eq=False)
class ErrorsReport:
    """The view `errors`. ngram_bits_per_char: of the 5-gram, None without a training text."""

    chars: int
    bits_per_char: float
    ngram_bits_per_char: float | None
    errors: int
    error_share: float
    oracles: list[Peeled]
    by_distance: list[Saving]
    by_position: list[Saving]
    notes: list[str]

    def table(self) -> tuple[list[str], list[list[object]]]:
        """Return columns and rows, one row for each oracle and each group of places."""
        columns = ["figure", "group", "places", "share_of_errors", "share_of_characters"]
        columns += ["bits_saved_per_character", "bits_per_character"]
        rows: list[list[object]] = [
            ["errors", each.oracle, each.count, each.share_of_errors, each.share_of_chars, "", ""]
            for each in self.oracles
        ]
        for figure, savings in (
            ("distance to the opening", self.by_distance),
            ("position in a word", self.by_position),
        ):
            rows += [
                [figure, each.group, each.places, "", "", each.saved_bits, each.model_bits]
                for each in savings
            ]
        return columns, rows


def inspect_errors(subject: Subject, config: InspectConfig) -> ErrorsReport:
    """Return what kinds of errors the model makes on the held-out text.

    Raises:
        ConfigError: the held-out text is too short.
    """
    ids = subject.measured.ids
    if len(ids) < 2:
        raise ConfigError(
            f"the held-out text has {len(ids)} tokens; errors need at least 2: give a longer text"
        )
    nats = token_nats(subject.measured)
    train = subject.train[-TRAINED_TOKENS:]
    vocab = subject.vocab
    oracles = find_oracles(ids, train, vocab)
    counts = peel(nats, oracles)
    ngram = ngram_token_nats(train, ids, vocab.size)[1:] if len(train) else None
    is_word = word_tokens(vocab)[ids]
    texts = token_texts(vocab)
    return ErrorsReport(
        chars=len(nats),
        bits_per_char=float(nats.mean() / math.log(2)),
        ngram_bits_per_char=None if ngram is None else float(ngram.mean() / math.log(2)),
        errors=sum(counts.values()),
        error_share=sum(counts.values()) / len(nats),
        oracles=[_peeled(name, count, counts, len(nats)) for name, count in counts.items()],
        by_distance=_savings(nats, ngram, _by_distance([texts[token] for token in ids.tolist()])),
        by_position=_savings(nats, ngram, _by_position(is_word)),
        notes=[] if len(train) else [_NO_TRAINING_TEXT],
    )


_NO_TRAINING_TEXT = (
    "the training text is not where training found it; without it, errors that an n-gram or rare "
    "words explain are not told apart, and nothing is compared with the 5-gram"
)


def token_nats(trace: Trace) -> Array:
    """Return −ln p (S,) of each token after the first, float64."""
    found = []
    for start in range(0, len(trace) - 1, _BLOCK):
        stop = min(start + _BLOCK, len(trace) - 1)
        log_p = trace.part(start, stop).log_probabilities
        targets = trace.ids[start + 1 : stop + 1, None]
        found.append(-np.take_along_axis(log_p, targets, -1)[:, 0].astype(np.float64))
    return np.concatenate(found)


def find_oracles(ids: Ids, train: Ids, vocab: Vocab) -> dict[str, Bools]:
    """Return by oracle at which tokens after the first (S,) it would be right, in their order.

    Without a training text, those that count in it are left out.
    """
    is_word = word_tokens(vocab)
    is_space = np.array([text == " " for text in token_texts(vocab)])
    inside = is_word[ids]
    found: dict[str, Bools] = {}
    if len(train):
        nats = ngram_order_nats(train, ids, vocab.size, LONGEST_NGRAM).min(0)
        found[NGRAM] = np.exp(-nats) >= HALF
    found["repeat"] = _find_repeats(ids, is_word)
    if len(train):
        found["rare word"] = _find_rare_words(ids, train, is_word)
    found["word start"] = inside & ~np.append(False, inside[:-1])
    found["punctuation"] = ~inside & ~is_space[ids]
    return {name: places[1:] for name, places in found.items()}


def peel(nats: Array, oracles: Mapping[str, Bools]) -> dict[str, int]:
    """Return how many errors each oracle removes of those that the ones before it left.

    nats: (S,), what each character costs the model. After the oracles come the errors that are
    nearly right, and the rest.
    """
    probabilities = np.exp(-nats)
    left = probabilities < HALF
    counts = {}
    for name, is_right in {**oracles, "nearly right": probabilities >= NEARLY}.items():
        counts[name] = int((left & is_right).sum())
        left &= ~is_right
    counts["rest"] = int(left.sum())
    return counts


def token_texts(vocab: Vocab) -> list[str]:
    """Return what each token (V,) writes: of a byte that is ASCII its character, else a letter."""
    first_byte = len(vocab.alphabet)
    texts = []
    for token in range(vocab.size):
        byte = chr(token - first_byte) if 0 <= token - first_byte < 0x80 else "é"
        texts.append(vocab.text_of(token) or byte)
    return texts


def word_tokens(vocab: Vocab) -> Bools:
    """Return whether each token (V,) is part of a word: letters, digits, "_" and bytes of them."""
    return np.array([text.replace("_", "a").isalnum() for text in token_texts(vocab)])


def _find_repeats(ids: Ids, is_word: Bools) -> Bools:
    """Return where a letter goes on as the same beginning of a word did not long ago."""
    found = np.zeros(len(ids), bool)
    last: dict[str, int] = {}
    for start, word in _iter_words(ids, is_word):
        for length in range(2, min(len(word), _LONGEST_PREFIX) + 1):
            before = last.get(word[:length], -REPEAT_TOKENS - 1)
            found[start + length - 1] = start - before <= REPEAT_TOKENS
            last[word[:length]] = start
    return found


def _find_rare_words(ids: Ids, train: Ids, is_word: Bools) -> Bools:
    """Return which letters are in words that the training text hardly has."""
    counts = Counter(_as_text(train, is_word).split(" "))
    found = np.zeros(len(ids), bool)
    for start, word in _iter_words(ids, is_word):
        found[start : start + len(word)] = counts[word] <= RARE
    return found


def _iter_words(ids: Ids, is_word: Bools) -> Iterator[tuple[int, str]]:
    """Yield where each word starts, and its tokens as characters."""
    start = 0
    for word in _as_text(ids, is_word).split(" "):
        if word:
            yield start, word
        start += len(word) + 1


def _as_text(ids: Ids, is_word: Bools) -> str:
    """Return a character for each token, a space for those that are outside words."""
    codes = np.where(is_word[ids], ids.astype(np.int64) + 0x100, ord(" ")).astype("<u4")
    return codes.tobytes().decode("utf-32-le", "surrogatepass")


def _by_distance(texts: Sequence[str]) -> dict[str, Bools]:
    """Return the closing brackets and quotes (S,) by how far back the opening one stands."""
    distances = closing_distances(texts)[1:]
    groups = {}
    for first, after in zip(DISTANCES, (*DISTANCES[1:], _MAX_SPAN + 1), strict=True):
        name = f"{first}–{after - 1}" if after <= _MAX_SPAN else f"{first} or more"
        groups[name] = (distances >= first) & (distances < after)
    return groups


def closing_distances(texts: Sequence[str]) -> NDArray[np.int64]:
    """Return how far before each closing bracket or quote its opening one is; 0 elsewhere.

    Brackets nest; a straight quote opens and closes in turn. A blank line ends all quotes that are
    open, and what is longer than 1,000 characters is taken for no pair.

    >>> closing_distances("f(a[0])").tolist()
    [0, 0, 0, 0, 0, 2, 5]
    """
    found = np.zeros(len(texts), np.int64)
    opened: list[tuple[str, int]] = []
    for t, text in enumerate(texts):
        if text == "\n" and t and texts[t - 1] == "\n":
            opened = [each for each in opened if each[0] != _QUOTE]
        is_open = any(each[0] == _QUOTE for each in opened)
        wanted = _PAIRS.get(text) or (_QUOTE if text == _QUOTE and is_open else "")
        if wanted:
            at = max((i for i, each in enumerate(opened) if each[0] == wanted), default=-1)
            if at >= 0:
                distance = t - opened[at][1]
                found[t] = distance if distance <= _MAX_SPAN else 0
                del opened[at:]
        elif text == _QUOTE or text in _PAIRS.values():
            opened.append((text, t))
            opened = [each for each in opened if t - each[1] <= _MAX_SPAN]
    return found


def _by_position(is_word: Bools) -> dict[str, Bools]:
    """Return the tokens (S,) by their position in a word, and those after it."""
    places = np.arange(len(is_word))
    last_outside = np.maximum.accumulate(np.where(is_word, -1, places))
    position = np.where(is_word, places - last_outside, 0)[1:]  # from 1
    follows = ~is_word[1:] & is_word[:-1]
    groups = {str(n): position == n for n in range(1, POSITIONS)}
    groups[f"{POSITIONS} or more"] = position >= POSITIONS
    groups["just after"] = follows
    groups["elsewhere"] = (position == 0) & ~follows
    return groups


def _savings(nats: Array, ngram: Array | None, groups: Mapping[str, Bools]) -> list[Saving]:
    """Return the mean bits saved over the 5-gram in each group; nothing without a 5-gram."""
    if ngram is None:
        return []
    savings = []
    for group, places in groups.items():
        count = int(places.sum())
        is_known = count >= MIN_PLACES
        saved = float((ngram - nats)[places].mean() / math.log(2)) if is_known else math.nan
        own = float(nats[places].mean() / math.log(2)) if is_known else math.nan
        savings.append(Saving(group, count, saved, own))
    return savings


def _peeled(name: str, count: int, counts: Mapping[str, int], chars: int) -> Peeled:
    errors = sum(counts.values())
    return Peeled(name, ORACLES[name], count, count / max(errors, 1), count / chars)
