"""A language model and a vocabulary: prompt in, text out, one text as a stream or many at once.

Settings are resolved once. Then `sampler.py` or `batch.py` samples ids, `stopping.py` decides where
a text ends. `model.py` makes a Generator from one model file, or from several. What few texts need
is imported where it is used: most texts should begin at once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain as chained
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charrnn.config import SampleConfig, checked, chosen_settings, with_seed
from charrnn.errors import ConfigError, VocabError
from charrnn.generation.batch import SMALLEST_BATCH, Batch
from charrnn.generation.chain import SamplerChain
from charrnn.generation.constraints.constraint import Constraint
from charrnn.generation.filters import softmax
from charrnn.generation.logit_bias import begins_word, check_writable, make_logit_bias
from charrnn.generation.network import LanguageModel
from charrnn.generation.prefill import prefill
from charrnn.generation.running import Row
from charrnn.generation.sampler import Context, iter_tokens
from charrnn.generation.samples import Sample, collect_samples
from charrnn.generation.stopping import StoppingCriteria, TextStream
from charrnn.generation.text_format import TextFormat, check_text
from charrnn.text.substitutions import Fitted, fit_text
from charrnn.text.vocab import END, Ids, StreamDecoder, Vocab

if TYPE_CHECKING:
    from charrnn.generation.gpu import GpuBackend, GpuBatch

_LARGEST_BATCH = 256  # texts side by side
_LARGEST_LOGITS = 1 << 22  # numbers of one step: 32 MB in float64
_LITERALS = ("stop", "must", "ban_word", "choices")  # texts that the model is to write, or not
_PATTERNS = ("only", "ban", "regex", "template", "stop_regex")
_LONGEST_UTF8 = 4  # bytes of a character
_NO_IDS = np.zeros(0, np.uint8)


class StartIds(NamedTuple):
    """The ids that a model reads before a text (S,), and those of them that are its prompt."""

    read: Ids
    prompt: Ids


class Generator:
    """A source of text: one model, or several as one."""

    def __init__(
        self, language_model: LanguageModel, vocab: Vocab, text_format: TextFormat
    ) -> None:
        self.language_model = language_model
        self.vocab = vocab
        self.text_format = text_format

    def generate(
        self,
        prompt: str = "",
        config: SampleConfig | None = None,
        *,
        index: int = 0,
        after: Context | None = None,
        constraint: Constraint | None = None,
        finish_from: int | None = None,
        **settings: Any,
    ) -> TextStream:
        """Return the text after `prompt` as a stream of pieces, each sampled when it is asked for.

        An empty prompt means the start of a record, of a line, or of a document where documents
        are asked for. config, settings: a SampleConfig, or its fields by keyword. index: which
        sample of the seed; each has a random stream of its own. after: what was `read` before the
        prompt. constraint: restricts the next token, as the settings do. finish_from: from so many
        characters on the text ends with a sentence, from half as many more on with a word; its
        length stays the limit. Once the stream has ended, its `reason` says why.

        Raises:
            VocabError: the prompt holds characters that the model does not know.
            ConfigError: a setting is out of range, or leaves no character to write.
        """
        config = self.normalized_config(_with_seed(chosen_settings(SampleConfig, config, settings)))
        chain, constraint = self.resolve(config, constraint)
        index = checked("index", index, "int", ge=0)
        start = self._read_start(prompt, config, after)
        row = self.begin_text(start, chain, constraint, [config.seed or 0, index])
        ids = iter_tokens(self.language_model, row.start, chain, row.random, constraint)
        # No generator of ours between the ids and the stream: it would cost time per character.
        chars = chained.from_iterable(map(StreamDecoder(self.vocab).feed, ids))
        finish_from = checked("finish_from", finish_from, "int | None", ge=0)
        criteria = self.stopping_criteria(config, finish_from)
        return TextStream(chars, criteria, constraint.reason if constraint else "")

    def generate_many(
        self,
        prompt: str | Sequence[str] = "",
        config: SampleConfig | None = None,
        *,
        count: int = 1,
        first: int = 0,
        stream: int = 0,
        alternatives: int | None = None,
        after: Context | None = None,
        constraint: Constraint | None = None,
        backend: GpuBackend | None = None,
        **settings: Any,
    ) -> Iterator[Sample]:
        """Yield `count` whole samples, of the indices from `first` on, many sampled at once.

        Each has the text that `generate` returns for its index. prompt: one, or several, which have
        `count` samples each, in order; stream: of the first, each further one has random streams of
        its own. alternatives: how many of the likeliest tokens to name with the cost of each
        character; None leaves costs out. backend: samples on a device, by the settings that it was
        made with.

        Raises:
            VocabError, ConfigError: as `generate`.
        """
        config = self.normalized_config(_with_seed(chosen_settings(SampleConfig, config, settings)))
        chain, constraint = self.resolve(config, constraint)
        count = checked("count", count, "int", ge=0)
        first = checked("first", first, "int", ge=0)
        stream = checked("stream", stream, "int", ge=0)
        alternatives = checked("alternatives", alternatives, "int | None", ge=0)
        prompts: Sequence[str] = [prompt] if isinstance(prompt, str) else prompt
        if not isinstance(prompts, list | tuple):
            check_text(prompt)
        begun = [self._read_start(each, config, after) for each in prompts]
        # A stream of 0 changes no number: the seed's own streams are those of the first prompt.
        seed = config.seed or 0
        jobs = [
            (start, [seed, index, place])
            for place, start in enumerate(begun, stream)
            for index in range(first, first + count)
        ]
        limit = _LARGEST_BATCH if len(jobs) >= SMALLEST_BATCH else 1
        size = max(min(limit, _LARGEST_LOGITS // self.vocab.size), 1)
        if backend is not None:
            size = backend.at_once
        for begin in range(0, len(jobs), size):
            part = jobs[begin : begin + size]
            indices = [index for _, (_, index, _) in part]
            rows = [
                self.begin_text(start, chain, constraint, key, alternatives) for start, key in part
            ]
            model = self.language_model
            batch: Batch | GpuBatch
            if backend is not None:
                starts = [row.start for row in rows]
                batch = backend.start(model, starts, [row.random for row in rows], alternatives)
            else:
                batch = Batch(model, rows)
            criteria = [self.stopping_criteria(config) for _ in indices]
            reason = constraint.reason if constraint else ""
            yield from collect_samples(batch, self.vocab, criteria, indices, reason)

    def search(
        self,
        prompt: str = "",
        config: SampleConfig | None = None,
        *,
        count: int = 1,
        after: Context | None = None,
        on_progress: Callable[[], object] = lambda: None,
        **settings: Any,
    ) -> list[Sample]:
        """Return the `count` likeliest texts that a beam of `config.beam` finds, the best first.

        Only bias and bans shape the probabilities; a text ends as a sampled one would. Where
        several ways to write and to end a text were found, its nats are those of all of them.
        on_progress: called before each step; what it raises ends the search.

        Raises:
            VocabError, ConfigError: as `generate`; or a setting is only for sampling.
        """
        from charrnn.generation.beam import check_search, search_beams

        config = self.normalized_config(chosen_settings(SampleConfig, config, settings))
        check_search(config, checked("count", count, "int", ge=1))
        chain, _ = self.resolve(config)
        start = self._read_start(prompt, config, after)
        start = start or self._random_start(np.random.default_rng(0))

        def shown(ids: Sequence[int]) -> tuple[str, str]:
            """Return what is shown of a text of these ids, and why it ends, "" if it continues."""
            criteria = self.stopping_criteria(config)
            decode = StreamDecoder(self.vocab).feed  # which waits for a character's last byte
            text = ""
            for char in chained.from_iterable(map(decode, ids)):
                if criteria.reason is None:
                    text += criteria.feed(char)
            return text, criteria.reason or ""

        has_bytes = self.vocab.has_bytes
        can_end = not self.vocab.is_one_to_one or self.stopping_criteria(config).has_rules
        found = search_beams(
            self.language_model,
            start.state,
            config,
            count=count,
            bias=chain.bias,
            is_end=lambda ids: can_end and shown(ids)[1] != "",
            text_of=lambda ids: shown(ids)[0],
            ids_per_char=_LONGEST_UTF8 if has_bytes else 1,
            on_progress=on_progress,
        )
        end = self.vocab.end
        return [
            Sample(i, *shown(each.ids), -each.log_prob, has_end=each.ids[-1:] == (end,))
            for i, each in enumerate(found)
        ]

    def read(self, text: str, after: Context | None = None) -> Context:
        """Return the context of a text that continues here; `after` is what was read before it.

        Raises:
            VocabError: it holds characters that the model does not know.
        """
        ids = self.encode(text)
        before = after or Context(self.language_model.initial_state())
        state = prefill(self.language_model, ids, before.state)
        return Context(state, np.concatenate((before.prompt, ids)))

    def encode(self, text: str) -> Ids:
        """Return the ids (S,) of a text, which may hold marks of records or END itself.

        Raises:
            VocabError: it holds characters that the model does not know.
        """
        return self.vocab.encode(self._with_ends(text))

    def fit(self, text: str, unknown: str = "map") -> Fitted:
        """Return `text` with only characters that the model knows, and what was changed.

        unknown: what becomes of others: "map" takes the nearest that it knows and leaves out what
        has none, "skip" leaves them out, "error" refuses them.

        Raises:
            VocabError: a character is refused.
        """
        check_text(text)
        if not self.vocab.has_end:
            return fit_text(text, self.vocab, unknown, self.text_format.normalized)
        lost = text.count(END)  # where it is typed it ends no record
        if lost and unknown == "error":
            raise VocabError(
                "the text holds U+10FFFF, which stands for the end of a record; remove it"
            )
        fitted = fit_text(text.replace(END, ""), self.vocab, unknown, self._with_ends)
        changes = fitted.changes + Counter({"U+10FFFF → nothing": lost})
        return Fitted(self.text_format.without_ends(fitted.text), changes)

    def _with_ends(self, text: str) -> str:
        """Return a text in the form of the model's text, with END for each mark of records."""
        return self.text_format.with_ends(self.text_format.normalized(text))

    def next_chars(
        self, text: str, count: int, *, after: Context | None = None
    ) -> list[tuple[str, float]]:
        """Return the `count` likeliest characters after `text` and their probabilities.

        They are the model's own, before any setting of the sampler; a byte is named <E4>. after:
        what was `read` before the text.

        Raises:
            VocabError: the text holds characters that the model does not know.
        """
        count = checked("count", count, "int", ge=1)
        start = self.read(text if text != "" or after else self.opening(SampleConfig()), after)
        probabilities = softmax(self.language_model.logits(start.state).astype(np.float64))
        likeliest = np.argsort(-probabilities, kind="stable")[:count].tolist()
        return [(self.vocab.name_of(token), float(probabilities[token])) for token in likeliest]

    def opening(self, config: SampleConfig) -> str:
        """Return what comes before a text without a prompt: the end of a record, document, line."""
        if self.vocab.has_end:
            return END
        if config.documents is not None:
            return self.text_format.document_end or ""
        has_lines = "\n" in self.vocab.alphabet or self.text_format.is_utf8
        return "\n" if has_lines else ""

    def normalized_config(self, config: SampleConfig) -> SampleConfig:
        """Return the settings with their texts in the form of the model's text."""
        form = self.text_format
        if form.normalize == "none" and not form.lowercase:
            return config
        # In small letters a pattern would mean another: \S is what \s is not, Lu is a category.
        read = dict.fromkeys(_LITERALS, form.normalized) | dict.fromkeys(_PATTERNS, form.composed)
        texts: dict[str, Any] = {}
        for name, change in read.items():
            value = getattr(config, name)
            if isinstance(value, tuple):
                texts[name] = tuple(map(change, value))
            elif value is not None:
                texts[name] = change(value)
        return replace(config, **texts)

    def resolve(
        self, config: SampleConfig, constraint: Constraint | None = None
    ) -> tuple[SamplerChain, Constraint | None]:
        """Return the chain, and `constraint` or the one that the settings ask for.

        Raises:
            ConfigError: this model cannot follow a setting, or they leave no character to write.
        """
        config = self.normalized_config(config)
        has_documents = self.vocab.has_end or self.text_format.document_end is not None
        if config.documents is not None and not has_documents:
            raise ConfigError(
                "this model does not know where documents end: it was trained without "
                "--document-end; leave --documents out, or end at a text by --stop"
            )
        if config.max_copy is not None and constraint is None:
            raise ConfigError(
                "max_copy needs the text that the model was trained on: pass the constraint that "
                "charrnn.tasks.originality makes, or leave max_copy out"
            )
        for text in config.stop:
            check_writable(self.vocab, "stop", text)
        if config.stop_regex is not None:
            from charrnn.generation.constraints.pattern import check_stop_regex

            check_stop_regex(config.stop_regex, self.vocab)
        bias = make_logit_bias(self.vocab, config)  # first: a constraint has to know the bans
        if config.regex or config.template or config.choices or config.balanced:
            from charrnn.generation.constraints.pattern import make_constraint

            if constraint is not None:
                raise ConfigError(
                    "together, --max-copy and a constraint may leave nothing to write; leave "
                    "--max-copy out, or --regex, --choices, --template and --balanced"
                )
            is_allowed = None if bias is None else bias > -math.inf
            constraint = make_constraint(self.vocab, config, is_allowed)
        if config.must or config.ban_word:
            from charrnn.generation.constraints.words import WordsConstraint

            is_allowed = None if bias is None else bias > -math.inf
            constraint = WordsConstraint(self.vocab, config, is_allowed)
        if constraint is None and self.vocab.is_binary and self.text_format.is_utf8:
            from charrnn.generation.constraints.utf8 import ValidUtf8

            constraint = ValidUtf8(self.vocab, config.length)
        words = None if config.word_temperature is None else begins_word(self.vocab)
        return SamplerChain(config, self.vocab.size, bias, words, self.vocab.end), constraint

    def stopping_criteria(
        self, config: SampleConfig, finish_from: int | None = None
    ) -> StoppingCriteria:
        """Return what ends one text."""
        form = self.text_format
        return StoppingCriteria(config, form.document_end, finish_from, form.separator)

    def _read_start(
        self, prompt: str, config: SampleConfig, after: Context | None
    ) -> Context | None:
        """Return where a text begins; None where nothing is known of how texts begin."""
        begin = self.start_ids(self.fit(prompt, config.unknown).text, config, is_first=not after)
        if begin is None:
            return None
        before = after or Context(self.language_model.initial_state())
        state = prefill(self.language_model, begin.read, before.state)
        return Context(state, np.concatenate((before.prompt, begin.prompt)))

    def start_ids(self, prompt: str, config: SampleConfig, *, is_first: bool) -> StartIds | None:
        """Return what is read before a text; None where nothing is known of how texts begin.

        prompt: as `fit` returns it. is_first: nothing was read before it.

        Raises:
            VocabError: it holds characters that the model does not know.
        """
        if prompt != "" or not is_first:
            ids = self.encode(prompt)
            return StartIds(ids, ids)
        opening = self.opening(config)  # not part of the text: penalties do not count it
        return StartIds(self.encode(opening), _NO_IDS) if opening else None

    def begin_text(
        self,
        start: Context | None,
        chain: SamplerChain,
        constraint: Constraint | None,
        key: Sequence[int],
        alternatives: int | None = None,
    ) -> Row:
        """Return a text that can join a batch, by what `resolve` returns.

        start: None where nothing is known of how texts begin. key: the seed, the index of the
        sample and that of the prompt, from which its random numbers are. alternatives: as
        `generate_many` takes them.
        """
        random = np.random.default_rng(key)
        return Row(start or self._random_start(random), chain, random, constraint, alternatives)

    def _random_start(self, random: np.random.Generator) -> Context:
        """Return the context after one random token, where `start_ids` are unknown."""
        model = self.language_model
        token = int(random.integers(self.vocab.size))
        return Context(model.advance(token, model.initial_state()))


def _with_seed(config: SampleConfig) -> SampleConfig:
    """Return the settings of a sampled text with a seed, a fresh one if they have none."""
    if config.beam:
        raise ConfigError(
            f"beam is {config.beam}, which searches and does not sample; use search, or leave it 0"
        )
    return with_seed(config)
