"""A model file as a writer and a reader: prompt in, text out, piece by piece; text in, bits out.

It joins vocabulary, runtime, sampler and scoring; `stops.py` says where a text ends. It knows
nothing of terminals.
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.checkpoint.format import ModelFile, read_model
from charrnn.config import ModelConfig, SampleConfig, TextConfig
from charrnn.inference.bans import make_bias
from charrnn.inference.runtime import Runtime
from charrnn.inference.sampler import iter_ids
from charrnn.inference.scoring import Scores, iter_scores, join_scores
from charrnn.inference.states import State
from charrnn.inference.stops import Writing
from charrnn.text.vocab import StreamDecoder, Vocab

_SEED_BITS = 63


class Model:
    """A trained model that can write and read; made by `charrnn.load`."""

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
    ) -> Writing:
        """Give the text after `prompt` as it is drawn, in pieces of at least one character.

        Once it has ended, its `reason` says why. An empty prompt stands at the start of a line.
        config, settings: a SampleConfig, or its fields by keyword. index: which of several
        samples of one seed; each has a random stream of its own.

        Raises:
            VocabError: the prompt holds characters that the model does not know.
            ConfigError: a setting is out of range, or leaves no character to write.
        """
        chosen = replace(config or SampleConfig(), **settings)
        bias = make_bias(self.vocab, chosen)
        seed = secrets.randbits(_SEED_BITS) if chosen.seed is None else chosen.seed
        random = np.random.default_rng([seed, index])
        read = self.vocab.encode(self._normalized(prompt)).tolist()
        state = self._state_after(read or [self._opening(random)])
        ids = iter_ids(self._runtime, state, chosen, random, prompt=read, bias=bias)
        return Writing(self._iter_text(ids), chosen)

    def score(self, text: str) -> Scores:
        """Give what each character of `text`, normalised as the model's own was, costs in bits.

        Raises:
            VocabError: it holds characters that the model does not know.
            DivergedError: what a character costs is not a finite number.
        """
        return join_scores(self.iter_scores([self._normalized(text)]))

    def iter_scores(self, pieces: Iterable[str]) -> Iterator[Scores]:
        """Score a text that comes in pieces, already in the form `normalize`, block by block.

        Raises:
            VocabError, DivergedError: as `score`.
        """
        return iter_scores(self._runtime, self.vocab, pieces)

    @property
    def normalize(self) -> str:
        """The Unicode normal form of the text it learned from: "none", "nfc" or "nfkc"."""
        form = self.summary.get("settings", {}).get("normalize")
        return form if form in ("nfc", "nfkc") else TextConfig().normalize

    def _normalized(self, text: str) -> str:
        if self.normalize == "none":
            return text
        return unicodedata.normalize("NFC" if self.normalize == "nfc" else "NFKC", text)

    def _state_after(self, ids: list[int]) -> State:
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

    def next_chars(self, text: str, count: int) -> list[tuple[str, float]]:
        """Give the likeliest characters after `text`, each with its probability, the likeliest first.

        They are the model's own, before any control of the sampler; a byte is written as <E4>.

        Raises:
            VocabError: the text holds characters that the model does not know.
        """
        opening = "\n" if "\n" in self.vocab.alphabet else ""
        read = self.vocab.encode(self._normalized(text) or opening).tolist()
        logits = self._runtime.logits(self._state_after(read)).astype(np.float64)
        likelihoods = np.exp(logits - logits.max())
        likeliest = np.argsort(-likelihoods, kind="stable")[:count].tolist()
        shares = likelihoods / likelihoods.sum()
        return [(self._name_of(symbol), float(shares[symbol])) for symbol in likeliest]

    def _name_of(self, symbol: int) -> str:
        byte = symbol - len(self.vocab.alphabet)
        return self.vocab.alphabet[symbol] if byte < 0 else f"<{byte:02X}>"
