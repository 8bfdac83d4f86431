"""A model file as a writer and a reader: prompt in, text out, piece by piece; text in, bits out.

It joins vocabulary, runtime, sampler and scoring; `stops.py` says where a text ends. It knows
nothing of terminals.
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charrnn.checkpoint.format import ModelFile, read_model
from charrnn.config import FillConfig, ModelConfig, SampleConfig, TextConfig
from charrnn.errors import ConfigError
from charrnn.inference.bans import make_bias
from charrnn.inference.batch import Batch
from charrnn.inference.chain import Chain
from charrnn.inference.fill import Filling, fill
from charrnn.inference.guide import Guide
from charrnn.inference.pattern import make_pattern
from charrnn.inference.runtime import Runtime
from charrnn.inference.sampler import Start, iter_ids
from charrnn.inference.samples import Sample, write_samples
from charrnn.inference.scoring import Scores, iter_scores, join_scores
from charrnn.inference.stops import Ending, Writing
from charrnn.inference.words import begins_word
from charrnn.text.vocab import StreamDecoder, Vocab

_SEED_BITS = 63
_BATCH = 256  # texts written side by side
_FEWEST = 8  # of fewer, each is written faster alone


class _Tools(NamedTuple):
    """What the settings of drawing are for one vocabulary."""

    chain: Chain
    guide: Guide | None


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
        after: Start | None = None,
        **settings: Any,
    ) -> Writing:
        """Give the text after `prompt` as it is drawn, in pieces of at least one character.

        Once it has ended, its `reason` says why. An empty prompt stands at the start of a line.
        config, settings: a SampleConfig, or its fields by keyword. index: which of several
        samples of one seed; each has a random stream of its own. after: what was `read` before the
        prompt.

        Raises:
            VocabError: the prompt holds characters that the model does not know.
            ConfigError: a setting is out of range, or leaves no character to write.
        """
        chosen = _with_seed(replace(config or SampleConfig(), **settings))
        tools = self._tools(chosen)
        random = np.random.default_rng([chosen.seed or 0, index])
        start = self._begin(prompt, chosen, after)(random)
        ids = iter_ids(self._runtime, start, tools.chain, random, tools.guide)
        ending = Ending(chosen, self.document_end)
        return Writing(self._iter_text(ids), ending, tools.guide.reason if tools.guide else "")

    def generate_many(
        self,
        prompt: str = "",
        config: SampleConfig | None = None,
        *,
        count: int = 1,
        first: int = 0,
        alternatives: int | None = None,
        after: Start | None = None,
        **settings: Any,
    ) -> Iterator[Sample]:
        """Give `count` whole texts, of the indices from `first` on, many written at once.

        Each is what `generate` gives for its index. alternatives: also what each character cost,
        and how many of the likeliest to name beside it.

        Raises:
            VocabError, ConfigError: as `generate`.
        """
        chosen = _with_seed(replace(config or SampleConfig(), **settings))
        tools, begin = self._tools(chosen), self._begin(prompt, chosen, after)

        def write(indices: range) -> list[Sample]:
            randoms = [np.random.default_rng([chosen.seed or 0, index]) for index in indices]
            starts = [begin(random) for random in randoms]
            batch = Batch(
                self._runtime,
                starts,
                tools.chain,
                randoms,
                tools.guide,
                alternatives=alternatives,
            )
            endings = [Ending(chosen, self.document_end) for _ in indices]
            return write_samples(batch, self.vocab, endings, indices)

        size = _BATCH if count >= _FEWEST else 1
        for start in range(first, first + count, size):
            yield from write(range(start, min(start + size, first + count)))

    def read(self, text: str, after: Start | None = None) -> Start:
        """Give where a text stands that goes on from here; `after` is what was read before it.

        Raises:
            VocabError: it holds characters that the model does not know.
        """
        ids = self.vocab.encode(self._normalized(text))
        before = after or Start(self._runtime.initial_state())
        state = self._runtime.prefill(ids.tolist(), before.state)
        return Start(state, [*before.prompt, *ids.tolist()])

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

    def _tools(self, config: SampleConfig) -> _Tools:
        """Resolve the settings for this vocabulary."""
        if config.documents is not None and self.document_end is None:
            raise ConfigError(
                "this model does not know where documents end: it was trained without "
                "--document-end; leave --documents out, or end at a text by --stop"
            )
        bias = make_bias(self.vocab, config)
        chain = Chain(config, self.vocab.size, bias, begins_word(self.vocab))
        return _Tools(chain, None)

    def _begin(
        self, prompt: str, config: SampleConfig, after: Start | None
    ) -> Callable[[np.random.Generator], Start]:
        """Give what gives the start of a text: it is random where nothing says how texts begin."""
        opening = self._opening(config)
        if prompt or after or opening:
            start = self.read(prompt, after) if prompt or after else self.read(opening)
            start = start if prompt or after else replace(start, prompt=())
            return lambda _: start

        def draw(random: np.random.Generator) -> Start:
            symbol = int(random.integers(self.vocab.size))
            return Start(self._runtime.advance(symbol, self._runtime.initial_state()))

        return draw

    def _opening(self, config: SampleConfig) -> str:
        """Give what stands before a text without a prompt: a document's end or a line's, if any."""
        if config.documents is not None:
            return self.document_end or ""
        return "\n" if "\n" in self.vocab.alphabet else ""

    def _iter_text(self, ids: Iterator[int]) -> Iterator[str]:
        """Turn ids into characters; endless, as ids are."""
        stream = StreamDecoder(self.vocab)
        for symbol in ids:
            yield from stream.feed(symbol)

    def next_chars(
        self, text: str, count: int, *, after: Start | None = None
    ) -> list[tuple[str, float]]:
        """Give the likeliest characters after `text`, the likeliest first, with probabilities.

        They are the model's own, before any control of the sampler; a byte is written as <E4>.
        after: what was `read` before the text.

        Raises:
            VocabError: the text holds characters that the model does not know.
        """
        start = self.read(text or ("" if after else self._opening(SampleConfig())), after)
        logits = self._runtime.logits(start.state).astype(np.float64)
        likelihoods = np.exp(logits - logits.max())
        likeliest = np.argsort(-likelihoods, kind="stable")[:count].tolist()
        shares = likelihoods / likelihoods.sum()
        return [(self.vocab.name_of(symbol), float(shares[symbol])) for symbol in likeliest]

    @property
    def document_end(self) -> str | None:
        """What ends each document of the text it learned from, if that was said."""
        end = self.summary.get("settings", {}).get("document_end")
        return end if isinstance(end, str) and end else None

    def fill(
        self,
        text: str,
        config: FillConfig | None = None,
        *,
        watch: Callable[[int, int], None] = lambda done, total: None,
        **settings: Any,
    ) -> Filling:
        """Give completions of a text in which _ is an unknown character and * any number of them.

        What follows counts as what stands before; the text begins a line. config, settings: a
        FillConfig, or its fields by keyword. watch: is told how many characters were gone through,
        and how many there are at most.

        Raises:
            ConfigError: nothing is to fill, or a setting is out of range.
            VocabError: the text holds characters that the model does not know.
            DivergedError: what a character costs is not a finite number.
        """
        chosen = replace(config or FillConfig(), **settings)
        pattern = make_pattern(text, chosen, self.vocab, self._normalized)
        return fill(self._runtime, self.vocab, pattern, chosen, watch)


def _with_seed(config: SampleConfig) -> SampleConfig:
    return config if config.seed is not None else replace(config, seed=secrets.randbits(_SEED_BITS))
