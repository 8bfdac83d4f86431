"""A model file as a writer: prompt in, text out, piece by piece.

It joins vocabulary, runtime and sampler; the end comes with a stop text or after `length`
characters. It knows nothing of terminals.
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.checkpoint.format import ModelFile, read_model
from charrnn.config import ModelConfig, SampleConfig, TextConfig
from charrnn.inference.runtime import Runtime, State
from charrnn.inference.sampler import iter_ids
from charrnn.text.vocab import StreamDecoder, Vocab

_SEED_BITS = 63


class Model:
    """A trained model that can write; made by `charrnn.load`."""

    def __init__(self, file: ModelFile) -> None:
        self.config: ModelConfig = file.config
        self.vocab: Vocab = file.vocab
        self.summary: dict[str, Any] = file.summary
        self._runtime = Runtime(file.config, file.weights)

    @classmethod
    def from_file(cls, path: Path) -> Model:
        """Open a model file.

        Raises:
            CheckpointError: it is missing, damaged or not a model.
        """
        return cls(read_model(path))

    def generate(
        self,
        prompt: str = "",
        config: SampleConfig | None = None,
        *,
        index: int = 0,
        **settings: Any,
    ) -> Iterator[str]:
        """Give the text after `prompt` as it is drawn, in pieces of at least one character.

        config, settings: a SampleConfig, or its fields by keyword. index: which of several
        samples of one seed; each has a random stream of its own.

        Raises:
            VocabError: the prompt holds characters that the model does not know.
            ConfigError: a setting is out of range.
        """
        chosen = replace(config or SampleConfig(), **settings)
        seed = secrets.randbits(_SEED_BITS) if chosen.seed is None else chosen.seed
        random = np.random.default_rng([seed, index])
        state = self._read(prompt, random)
        ids = iter_ids(self._runtime, state, chosen, random)
        pieces = _limit(self._iter_text(ids), chosen.length)
        return _until_stop(pieces, chosen.stop) if chosen.stop else pieces

    def _read(self, prompt: str, random: np.random.Generator) -> State:
        """Give the state after the prompt; an empty one stands at the start of a line."""
        form = self.summary.get("settings", {}).get("normalize", TextConfig().normalize)
        if form in ("nfc", "nfkc"):
            prompt = unicodedata.normalize("NFC" if form == "nfc" else "NFKC", prompt)
        ids = self.vocab.encode(prompt).tolist() or [self._opening(random)]
        return self._runtime.prefill(ids, self._runtime.initial_state())

    def _opening(self, random: np.random.Generator) -> int:
        """Give the id to start from where there is no prompt: the newline, if the model has it."""
        line_end = self.vocab.alphabet.find("\n")
        return line_end if line_end >= 0 else int(random.integers(self.vocab.size))

    def _iter_text(self, ids: Iterator[int]) -> Iterator[str]:
        """Turn ids into characters; endless, as ids are."""
        stream = StreamDecoder(self.vocab)
        for symbol in ids:
            yield from stream.feed(symbol)


def _limit(chars: Iterator[str], length: int) -> Iterator[str]:
    """Give the first `length` characters."""
    for _, char in zip(range(length), chars, strict=False):
        yield char


def _until_stop(chars: Iterator[str], stops: tuple[str, ...]) -> Iterator[str]:
    """End before the first stop text; what may be its beginning is held back until it is not."""
    held = ""
    for char in chars:
        held += char
        if any(held.endswith(stop) for stop in stops):
            kept = min((held.removesuffix(stop) for stop in stops if held.endswith(stop)), key=len)
            if kept:
                yield kept
            return
        starts = [i for i in range(len(held)) if any(s.startswith(held[i:]) for s in stops)]
        sure = starts[0] if starts else len(held)
        if sure:
            yield held[:sure]
        held = held[sure:]
    if held:
        yield held
