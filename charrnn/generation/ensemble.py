"""Several models that sample as one, each reading the text in tokens of its own vocabulary.

A model reads a character that it does not know as UTF-8 bytes, or not at all if it has no byte
tokens. Such a model is inactive inside a character that others write as bytes; once that is whole,
those that know it read it. tasks/model.py makes a `Blend` or a `NegativeGuidance`.

V = tokens of the common vocabulary, B = texts side by side, S = tokens of a text.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ConfigError, VocabError
from charrnn.generation.filters import Floats, log_softmax
from charrnn.generation.network import LanguageModel
from charrnn.state import State, replace_rows, select_rows
from charrnn.text.vocab import Ids, Vocab

Part = tuple[LanguageModel, Vocab]

MAX_WEIGHT = 1000  # and the largest strength
_LEAST_SHARE = 1e-100  # of a weight among all: where that model is the only active one, it decides
_MAX_PENDING = 3  # bytes of an unfinished UTF-8 character


class Ensemble:
    """Models that read side by side. Its state is a tuple of theirs.

    Where one of them can be inactive, the state ends with the bytes of an unfinished character:
    (3,) float32, padded with zeros, which are never such bytes.
    """

    def __init__(self, vocab: Vocab, members: Sequence[Part]) -> None:
        self.vocab = vocab
        self._members = [_Member(model, own, vocab) for model, own in members]
        self._has_pending = any(member.can_be_inactive for member in self._members)

    def initial_state(self) -> State:
        """Return the state before any text."""
        return self._join([member.model.initial_state() for member in self._members], [b""])

    def advance(self, token: int, state: State) -> State:
        """Read one id; return the state after it."""
        return self.prefill(np.array([token]), state)

    def advance_all(self, tokens: Ids, states: State) -> State:
        """Read one id (B,) in each of B texts; return the states after them."""
        # A member reads none, one or several ids of its own, which differs from text to text.
        spelled = []
        pending = []
        for row, token in enumerate(tokens.tolist()):
            ids, held = self._spell([token], self._pending_bytes(states, row))
            spelled.append(ids)
            pending.append(held)
        columns = zip(self._members, zip(*spelled, strict=True), states, strict=False)
        after = [_read_rows(member.model, rows, own) for member, rows, own in columns]
        return self._join(after, pending, len(pending))

    def prefill(self, tokens: Ids, state: State) -> State:
        """Read ids (S,) one after another; return the state after the last."""
        spelled, pending = self._spell(tokens.tolist(), self._pending_bytes(state))
        columns = zip(self._members, spelled, state, strict=False)
        after = [member.model.prefill(np.array(ids, int), own) for member, ids, own in columns]
        return self._join(after, [pending])

    def _predictions(self, state: State) -> Iterator[tuple[Floats, NDArray[np.bool_]]]:
        """Yield each member's ln p (..., V), and whether it is active (..., 1); B states or one."""
        always = np.ones(1, np.bool_)
        between = state[-1][..., :1] == 0 if self._has_pending else always
        for member, own in zip(self._members, state, strict=False):
            yield member.log_probs(own), between if member.can_be_inactive else always

    def _spell(self, tokens: Iterable[int], pending: bytes) -> tuple[list[list[int]], bytes]:
        """Return what each member reads for `tokens`, and the bytes then pending."""
        spelled: list[list[int]] = [[] for _ in self._members]
        first_byte = len(self.vocab.alphabet)
        for token in tokens:
            if char := self.vocab.text_of(token):
                pending = b""  # bytes that a character interrupts are dropped
            else:
                char, pending = _feed_byte(pending, token - first_byte)
            for member, ids in zip(self._members, spelled, strict=True):
                ids.extend(member.spell(token, char))
        return spelled, pending

    def _pending_bytes(self, states: State, *row: int) -> bytes:
        """Return the bytes of an unfinished character in a state, or in a row of several."""
        if not self._has_pending:
            return b""
        return bytes(filter(None, states[-1][row].astype(np.uint8).tolist()))

    def _join(self, states: Sequence[State], pending: Sequence[bytes], *shape: int) -> State:
        """Return the members' states as one: of a text, or of B with their number as `shape`."""
        if not self._has_pending:
            return tuple(states)
        padded = b"".join(each.ljust(_MAX_PENDING, b"\0") for each in pending)
        held = np.frombuffer(padded, np.uint8).astype(np.float32)
        return (*states, held.reshape(*shape, _MAX_PENDING))


class _Member:
    """A model and its vocabulary, seen from the common one."""

    def __init__(self, model: LanguageModel, own: Vocab, common: Vocab) -> None:
        self.model = model
        self._vocab = own
        self.can_be_inactive = common.has_bytes and not own.has_bytes
        # The own id (V,) of each common token; −1 where there is none.
        id_of = {char: i for i, char in enumerate(own.alphabet)}
        ids = [id_of.get(char, -1) for char in common.alphabet]
        if common.has_bytes:
            first = len(own.alphabet)
            ids += range(first, first + 256) if own.has_bytes else [-1] * 256
        cluster_of = {each: own.first_cluster + i for i, each in enumerate(own.clusters)}
        ids += [cluster_of.get(each, -1) for each in common.clusters]
        ids += [own.end] * common.has_end
        self._ids = np.array(ids, np.int64)
        self.is_known = self._ids >= 0  # (V,) bool
        self.writes = self.is_known[: len(ids) - common.has_end]  # without the end of a record
        self._known_ids = self._ids[self.is_known]

    def spell(self, token: int, char: str) -> list[int]:
        """Return the own ids of a common token that writes `char`, or ends its bytes."""
        own = int(self._ids[token])
        if own >= 0:
            return [own]
        try:
            return list(self._vocab.encode(char).tolist())
        except VocabError:  # it does not know the character, and has no bytes
            return []

    def log_probs(self, state: State) -> Floats:
        """Return ln p (..., V) of the common tokens; −inf for those that it does not have."""
        own = log_softmax(self.model.logits(state).astype(np.float64))
        common = np.full((*own.shape[:-1], len(self._ids)), -np.inf)
        common[..., self.is_known] = own[..., self._known_ids]
        return common


def _feed_byte(pending: bytes, byte: int) -> tuple[str, bytes]:
    """Return the character that a byte completes, "" where it completes none, and those pending."""
    # Not codecs' incremental decoder: it also holds back ED A0, which begins no character.
    raw = pending + bytes([byte])
    try:
        return raw.decode(), b""
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            return "", raw
        return _feed_byte(b"", byte) if pending else ("", b"")


def _read_rows(model: LanguageModel, rows: Sequence[Sequence[int]], states: State) -> State:
    """Read in each of B texts its own ids: none, one or several."""
    for t in range(max(map(len, rows))):
        still = [row for row, ids in enumerate(rows) if len(ids) > t]
        ids = np.array([rows[row][t] for row in still])
        if len(still) == len(rows):
            states = model.advance_all(ids, states)
        else:
            after = model.advance_all(ids, select_rows(states, still))
            states = replace_rows(states, still, after)
    return states


class Blend(Ensemble):
    """Models by weight, over every token that one of them has.

    p = Σ wᵢ pᵢ / Σ wᵢ, or in log space ln p = Σ wᵢ ln pᵢ / Σ wᵢ minus its normalizer: the linear
    and the logarithmic pool (Genest and Zidek 1986). A token that a model lacks has probability 0
    in that model: in the linear pool the others can still sample it, in the logarithmic one not.
    """

    def __init__(
        self, members: Sequence[tuple[LanguageModel, Vocab, float]], in_log_space: bool = False
    ) -> None:
        vocabs = [vocab for _, vocab, _ in members]
        _check_records(vocabs)
        super().__init__(reduce(Vocab.union, vocabs), [member[:2] for member in members])
        weights = np.array([_check_range("weight", weight) for *_, weight in members])
        self._weights: list[float] = np.maximum(weights / weights.sum(), _LEAST_SHARE).tolist()
        self._in_log_space = in_log_space
        if in_log_space and not np.all([each.writes for each in self._members], axis=0).any():
            raise ConfigError(
                "these models have no character in common, so --blend-log leaves none; blend them "
                "by probability"
            )

    def logits(self, state: State) -> NDArray[np.float32]:
        """Return ln p (V,) of the next token after a state, or (B, V) after B of them."""
        predictions = zip(self._weights, self._predictions(state), strict=True)
        if self._in_log_space:
            pooled = [
                (np.where(is_active, weight * each, 0), np.where(is_active, weight, 0))
                for weight, (each, is_active) in predictions
            ]
            sums, weights = (sum(each) for each in zip(*pooled, strict=True))
            return log_softmax(sums / weights).astype(np.float32)
        total = sum(weight * active * np.exp(each) for weight, (each, active) in predictions)
        with np.errstate(divide="ignore"):  # ln 0 = −inf: no active model has the token
            return log_softmax(np.log(total)).astype(np.float32)


class NegativeGuidance(Ensemble):
    """A model pushed away from a negative one, over the tokens that the first one has.

    ln p = (1 + s) ln p_main − s ln p_negative minus its normalizer: classifier-free guidance (Ho
    and Salimans 2022; on language models Sanchez et al. 2023), close to contrastive decoding (Li et
    al. 2023). The two are compared among the tokens that both have; no other token is pushed.
    """

    def __init__(self, main: Part, negative: Part, strength: float) -> None:
        _check_records([main[1], negative[1]])
        super().__init__(main[1], [main, negative])
        self._strength = _check_range("strength", strength)
        if not self._members[1].writes.any():
            raise ConfigError(
                "the negative model has no character in common with the first; "
                "name another by --negative-model"
            )

    def logits(self, state: State) -> NDArray[np.float32]:
        """Return ln p (V,) of the next token after a state, or (B, V) after B of them."""
        (main, _), (negative, is_active) = self._predictions(state)
        is_shared = np.isfinite(main) & np.isfinite(negative) & is_active
        with np.errstate(invalid="ignore"):  # −inf − −inf, of tokens that are not shared
            push = log_softmax(np.where(is_shared, main, -np.inf))
            push -= log_softmax(np.where(is_shared, negative, -np.inf))
        pushed = main + self._strength * np.where(is_shared, push, 0)
        return log_softmax(pushed).astype(np.float32)


def _check_records(vocabs: Sequence[Vocab]) -> None:
    """Refuse models that do not agree on whether a text has ends of records."""
    if len({vocab.has_end for vocab in vocabs}) > 1:
        raise ConfigError(
            "one of these models reads records and one running text; take models that were both "
            "trained on records, or both with --no-lines"
        )


def _check_range(name: str, value: float) -> float:
    if not 0 < value <= MAX_WEIGHT:  # NaN compares as False
        raise ConfigError(
            f"the {name} of a model is {value}; it must be a finite number above 0 and at most "
            f"{MAX_WEIGHT:,}"
        )
    return value
