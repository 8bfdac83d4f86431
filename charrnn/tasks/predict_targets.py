"""What sources become, by an encoder–decoder. Never torch.

A target is no longer and no shorter than those of training were for sources of such a length, give
or take two tokens: a decoder that has lost its place may write the same again and again, or stop
short. Where lengths of training lie on a line with those of the sources, they do so here.

N = texts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from charrnn.checkpoint.model_file import ModelFile
from charrnn.data.draw import Ints
from charrnn.errors import ConfigError
from charrnn.generation.seq2seq import Candidate, Seq2Seq
from charrnn.tasks.predict_task import longest_of
from charrnn.tasks.predictions import Prediction, PredictRequest, TextIds
from charrnn.text.vocab import END, Ids

_BEAM = 5
_ROOM = 2  # tokens more than the longest of training, in proportion, and fewer than the shortest
_ROUNDING = 1e-3  # tokens: lengths that differ by less lie on a line
_MOST_TOKENS = 1 << 12  # of a target, whatever a file says


class TargetPredictor:
    """Turns sources into targets."""

    def __init__(self, file: ModelFile, request: PredictRequest) -> None:
        """Open the contents of a model file.

        Raises:
            ConfigError: more targets are asked for than the beam is wide.
        """
        if request.beam is not None and request.beam < request.top:
            raise ConfigError(
                f"--top {request.top} needs a beam of as many; give --beam {request.top} or more"
            )
        assert file.target_vocab is not None
        self._vocab = file.target_vocab
        self._network = Seq2Seq(file.config, file.weights)
        self._bounds = bounds_of(file)
        self._beam = request.beam or max(_BEAM, request.top)
        self._top = request.top
        self._ids = TextIds(file, longest_of(file))
        self.changes = self._ids.changes

    @property
    def notes(self) -> list[str]:
        """What a person should know of the texts that were read."""
        return self._ids.notes

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return what sources become; an empty one becomes nothing.

        Raises:
            VocabError: one holds half of a surrogate pair.
        """
        found = self.convert(self._ids.encode(texts))
        return [self._describe(text, each) for text, each in zip(texts, found, strict=True)]

    def convert(self, texts: Sequence[Ids]) -> list[list[Candidate]]:
        """Return the likeliest targets of sources, the best first; none of an empty one."""
        found: list[list[Candidate]] = [[] for _ in texts]
        read = [i for i, each in enumerate(texts) if len(each)]
        made = self._network.convert(
            [texts[i] for i in read],
            limit=self._bounds.most,
            least=self._bounds.fewest,
            beam=self._beam,
            n_best=self._top,
        )
        for i, candidates in zip(read, made, strict=True):
            found[i] = candidates
        return found

    def text_of(self, candidate: Candidate) -> str:
        """Return what a target is as text."""
        return self._vocab.decode(list(candidate.ids)).replace(END, "")

    def _describe(self, text: str, candidates: Sequence[Candidate]) -> Prediction:
        top = tuple((self.text_of(each), math.exp(each.log_prob)) for each in candidates)
        target, probability = top[0] if top else ("", 1.0)
        return Prediction(text, target, probability, top)


class Bounds(NamedTuple):
    """How long targets may be: from ratio · source + below to ratio · source + above, in tokens.

    >>> Bounds(1.0, 3.0, -1.0).most(5), Bounds(1.0, 3.0, -1.0).fewest(5)
    (8, 4)
    """

    ratio: float
    above: float
    below: float

    def most(self, length: int) -> int:
        """Return the most tokens of a target, for a source of so many."""
        most = math.ceil(self.ratio * length + self.above - _ROUNDING)
        return min(max(most, 1), _MOST_TOKENS)

    def fewest(self, length: int) -> int:
        """Return the fewest tokens of a target, for a source of so many."""
        return max(math.floor(self.ratio * length + self.below + _ROUNDING), 0)


def measure_bounds(source_lengths: Ints, target_lengths: Ints) -> Bounds:
    """Return the bounds that the targets of training keep, with some room.

    Where three lengths of sources or more lie on a line with those of their targets, there is none.

    >>> bounds = measure_bounds(np.array([2, 4, 6]), np.array([3, 5, 8]))
    >>> round(bounds.ratio, 6), bounds.above, bounds.below
    (1.25, 2.5, -2.0)
    """
    different = len(np.unique(source_lengths))
    if different == 1:  # nothing is known of longer or shorter sources
        above = float((target_lengths - source_lengths).max())
        return Bounds(1.0, above + _ROOM, -float(_MOST_TOKENS))
    ratio = max(float(np.polyfit(source_lengths, target_lengths, 1)[0]), 0.0)
    over = target_lengths - ratio * source_lengths
    above, below = float(over.max()), float(over.min())
    if different == 2 or above - below > _ROUNDING:
        above += _ROOM
        below -= _ROOM
    return Bounds(ratio, round(above, 4), round(below, 4))


def bounds_of(file: ModelFile) -> Bounds:
    """Return what `measure_bounds` found in training; generous where the file does not say."""
    found: Any = file.summary.get("target_bounds")
    if isinstance(found, list) and len(found) == 3:
        most = _MOST_TOKENS
        ratio, above, below = (float(min(max(each, -most), most)) for each in found)
        return Bounds(max(ratio, 0.0), above, below)
    return Bounds(2.0, 20.0 + _ROOM, -float(_MOST_TOKENS))
