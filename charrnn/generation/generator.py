"""A network and a vocabulary as a writer: prompt in, text out, one by one or many at once.

It joins the sampler's parts: `controls.py` gives what chooses and what may come, `stops.py` where a
text ends. What few texts need is imported where it is used: most should begin at once. It knows
nothing of model files or of terminals.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from charrnn.config import SampleConfig
from charrnn.errors import ConfigError
from charrnn.generation.batch import Batch, SampleBatch, SamplingBackend
from charrnn.generation.constraints.constraint import Constraint
from charrnn.generation.language_model import LanguageModel
from charrnn.generation.prefill import prefill
from charrnn.generation.sampler import Context, iter_tokens
from charrnn.generation.samples import Sample, write_samples
from charrnn.generation.settings import TextFormat, resolve_settings
from charrnn.generation.stopping import StoppingCriteria, TextStream
from charrnn.text.vocab import StreamDecoder, Vocab

_SEED_BITS = 63
_BATCH = 256  # texts written side by side
_MOST_LOGITS = 1 << 22  # of one step: 32 MB in double precision
_FEWEST = 8  # of fewer, each is written faster alone


class Generator:
    """What writes: one model, or several as one."""

    def __init__(self, reader: LanguageModel, vocab: Vocab, form: TextFormat) -> None:
        self.vocab, self.form = vocab, form
        self.reader = reader

    def generate(
        self,
        prompt: str = "",
        config: SampleConfig | None = None,
        *,
        index: int = 0,
        after: Context | None = None,
        guide: Constraint | None = None,
        **settings: Any,
    ) -> TextStream:
        """Give the text after `prompt` as it is drawn, in pieces of at least one character.

        Once it has ended, its `reason` says why. An empty prompt stands at the start of a line, or
        of a document where documents are asked for.
        config, settings: a SampleConfig, or its fields by keyword. index: which of several
        samples of one seed; each has a random stream of its own. after: what was `read` before the
        prompt. guide: says what may come next, beside the settings.

        Raises:
            VocabError: the prompt holds characters that the model does not know.
            ConfigError: a setting is out of range, or leaves no character to write.
        """
        chosen = _to_draw(replace(config or SampleConfig(), **settings))
        chain, guide = resolve_settings(chosen, self.vocab, self.form, guide)
        random = np.random.default_rng([chosen.seed or 0, index])
        start = self._begin(prompt, chosen, after)(random)
        ids = iter_tokens(self.reader, start, chain, random, guide)
        ending = StoppingCriteria(chosen, self.form.document_end)
        return TextStream(self._iter_text(ids), ending, guide.reason if guide else "")

    def generate_many(
        self,
        prompt: str = "",
        config: SampleConfig | None = None,
        *,
        count: int = 1,
        first: int = 0,
        alternatives: int | None = None,
        after: Context | None = None,
        guide: Constraint | None = None,
        engine: SamplingBackend | None = None,
        **settings: Any,
    ) -> Iterator[Sample]:
        """Give `count` whole texts, of the indices from `first` on, many written at once.

        Each is what `generate` gives for its index. alternatives: also what each character cost,
        and how many of the likeliest to name beside it. engine: writes them elsewhere, by the
        settings that it was made with.

        Raises:
            VocabError, ConfigError: as `generate`.
        """
        chosen = _to_draw(replace(config or SampleConfig(), **settings))
        chain, guide = resolve_settings(chosen, self.vocab, self.form, guide)
        begin = self._begin(prompt, chosen, after)

        def write(indices: range) -> list[Sample]:
            randoms = [np.random.default_rng([chosen.seed or 0, index]) for index in indices]
            starts = [begin(random) for random in randoms]
            batch: SampleBatch
            if engine is not None:
                batch = engine.start(self.reader, starts, randoms, alternatives)
            else:
                batch = Batch(self.reader, starts, chain, randoms, guide, alternatives=alternatives)
            endings = [StoppingCriteria(chosen, self.form.document_end) for _ in indices]
            return write_samples(batch, self.vocab, endings, indices)

        size = max(min(_BATCH, _MOST_LOGITS // self.vocab.size), 1) if count >= _FEWEST else 1
        size = engine.at_once if engine is not None else size
        for start in range(first, first + count, size):
            yield from write(range(start, min(start + size, first + count)))

    def search(
        self,
        prompt: str = "",
        config: SampleConfig | None = None,
        *,
        count: int = 1,
        after: Context | None = None,
        **settings: Any,
    ) -> list[Sample]:
        """Give the `count` likeliest texts that a beam of `config.beam` finds, the best first.

        Only bias and bans shape the probabilities; a text ends as one that is drawn would.

        Raises:
            VocabError: the prompt holds characters that the model does not know.
            ConfigError: a setting is out of range, or asks for what is drawn or takes time.
        """
        from charrnn.generation.beam import check_search, search_beams

        chosen = replace(config or SampleConfig(), **settings)
        check_search(chosen, count)
        chain, _ = resolve_settings(chosen, self.vocab, self.form)
        start = self._begin(prompt, chosen, after)(np.random.default_rng(0))
        has_stops = StoppingCriteria(chosen, self.form.document_end).has_rules
        found = search_beams(
            self.reader,
            start.state,
            chosen,
            count=count,
            bias=chain.bias,
            is_end=lambda ids: has_stops and self._end(ids, chosen)[1] is not None,
        )
        samples = []
        for index, hypothesis in enumerate(found):
            text, reason = self._end(hypothesis.ids, chosen)
            samples.append(Sample(index, text, reason or "", -hypothesis.log_prob))
        return samples

    def read(self, text: str, after: Context | None = None) -> Context:
        """Give where a text stands that goes on from here; `after` is what was read before it.

        Raises:
            VocabError: it holds characters that the model does not know.
        """
        ids = self.vocab.encode(self.form.normalized(text))
        before = after or Context(self.reader.initial_state())
        state = prefill(self.reader, ids, before.state)
        return Context(state, np.concatenate((before.prompt, ids)))

    def next_chars(
        self, text: str, count: int, *, after: Context | None = None
    ) -> list[tuple[str, float]]:
        """Give the likeliest characters after `text`, the likeliest first, with probabilities.

        They are the model's own, before any control of the sampler; a byte is written as <E4>.
        after: what was `read` before the text.

        Raises:
            VocabError: the text holds characters that the model does not know.
        """
        start = self.read(text or ("" if after else self.opening(SampleConfig())), after)
        logits = self.reader.logits(start.state).astype(np.float64)
        likelihoods = np.exp(logits - logits.max())
        likeliest = np.argsort(-likelihoods, kind="stable")[:count].tolist()
        shares = likelihoods / likelihoods.sum()
        return [(self.vocab.name_of(token), float(shares[token])) for token in likeliest]

    def _end(self, ids: Sequence[int], config: SampleConfig) -> tuple[str, str | None]:
        """Give what of a text is shown once these ids are written, and why it ends, if it does."""
        ending, shown = StoppingCriteria(config, self.form.document_end), ""
        for char in self.vocab.decode(ids):
            if ending.reason is None:
                shown += ending.feed(char)
        return shown, ending.reason

    def _begin(
        self, prompt: str, config: SampleConfig, after: Context | None
    ) -> Callable[[np.random.Generator], Context]:
        """Give what gives the start of a text: it is random where nothing says how texts begin."""
        opening = self.opening(config)
        if prompt or after or opening:
            start = self.read(prompt, after) if prompt or after else self.read(opening)
            start = start if prompt or after else Context(start.state)
            return lambda _: start

        def draw(random: np.random.Generator) -> Context:
            token = int(random.integers(self.vocab.size))
            return Context(self.reader.advance(token, self.reader.initial_state()))

        return draw

    def opening(self, config: SampleConfig) -> str:
        """Give what stands before a text without a prompt: a document's end or a line's, if any."""
        if config.documents is not None:
            return self.form.document_end or ""
        return "\n" if "\n" in self.vocab.alphabet else ""

    def _iter_text(self, ids: Iterator[int]) -> Iterator[str]:
        """Turn ids into characters; endless, as ids are."""
        stream = StreamDecoder(self.vocab)
        for token in ids:
            yield from stream.feed(token)


def _to_draw(config: SampleConfig) -> SampleConfig:
    """Give the settings of a draw, with a seed.

    Raises:
        ConfigError: they ask for a search.
    """
    if config.beam:
        raise ConfigError(f"beam is {config.beam}, which draws nothing; use search, or leave it 0")
    return config if config.seed is not None else replace(config, seed=secrets.randbits(_SEED_BITS))
