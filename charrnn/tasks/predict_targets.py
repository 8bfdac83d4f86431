"""What sources become, by an encoder–decoder. Never torch.

A target is no longer than those of training were for sources of such a length: without a limit, a
decoder that has lost its place may write the same again and again.

N = texts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from charrnn.checkpoint.model_file import ModelFile
from charrnn.data.draw import Ints
from charrnn.errors import ConfigError
from charrnn.generation.seq2seq import Candidate, Seq2Seq
from charrnn.tasks.predict_task import longest_of
from charrnn.tasks.predictions import Prediction, PredictRequest, TextIds
from charrnn.text.vocab import END, Ids

_BEAM = 5
_ROOM = 2  # more tokens than the longest of training, in proportion
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
        self._ratio, self._more = limit_of(file)
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
            [texts[i] for i in read], limit=self._limit, beam=self._beam, n_best=self._top
        )
        for i, candidates in zip(read, made, strict=True):
            found[i] = candidates
        return found

    def text_of(self, candidate: Candidate) -> str:
        """Return what a target is as text."""
        return self._vocab.decode(list(candidate.ids)).replace(END, "")

    def _limit(self, length: int) -> int:
        return min(math.ceil(self._ratio * length + self._more) + _ROOM, _MOST_TOKENS)

    def _describe(self, text: str, candidates: Sequence[Candidate]) -> Prediction:
        top = tuple((self.text_of(each), math.exp(each.log_prob)) for each in candidates)
        target, probability = top[0] if top else ("", 1.0)
        return Prediction(text, target, probability, top)


def measure_limit(source_lengths: Ints, target_lengths: Ints) -> list[float]:
    """Return (ratio, more): no target of training has more tokens than ratio · source + more.

    >>> measure_limit(np.array([2, 4, 6]), np.array([3, 5, 7]))
    [1.0, 1.0]
    """
    ratio = 1.0
    if int(source_lengths.min()) < int(source_lengths.max()):  # a line through the lengths
        ratio = max(float(np.polyfit(source_lengths, target_lengths, 1)[0]), 0.0)
    more = float((target_lengths - ratio * source_lengths).max())
    return [round(ratio, 4), round(max(more, 0.0), 4)]


def limit_of(file: ModelFile) -> tuple[float, float]:
    """Return what `measure_limit` found in training; generous where the file does not say."""
    found: Any = file.summary.get("target_limit")
    if isinstance(found, list) and len(found) == 2:
        ratio, more = (float(min(max(each, 0), _MOST_TOKENS)) for each in found)
        return ratio, more
    return 2.0, 20.0
