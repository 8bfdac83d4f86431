"""Sample texts from opened models: counted, chosen among and sorted.

`charrnn.sample` in Python and on the command line call this; `generation/` makes each sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice, repeat
from typing import Any

import numpy as np

from charrnn.config import SampleConfig, chosen_settings, with_seed
from charrnn.config.fields import setting, validate
from charrnn.errors import ConfigError, located
from charrnn.generation import samples
from charrnn.generation.constraints.constraint import Constraint
from charrnn.generation.samples import Sample
from charrnn.generation.stopping import TextStream
from charrnn.tasks.open_models import OpenModels


@dataclass(frozen=True, kw_only=True)
class SampleRequest:
    """How many samples to return, and which ones."""

    count: int = setting(1, "samples to return", ge=1)
    best_of: int = setting(
        1, "made for each: the one of the highest mean log-probability per character stays", ge=1
    )
    unique: bool = setting(False, "no text twice")
    sort: bool = setting(False, "the highest mean log-probability first")
    skip_known_lines: bool = setting(False, "without the lines, or records, of the training text")
    logprobs: int | None = setting(
        None, "alternatives named in each `Cost`; None: no costs, unless they are needed", ge=0
    )
    device: str | None = setting(None, "samples by torch on it", choices=("cpu", "cuda"))

    def __post_init__(self) -> None:
        validate(self)

    def check(self, config: SampleConfig) -> None:
        """Refuse what does not go together with the settings.

        Raises:
            ConfigError: a beam search is asked for what only samples have, or for too many texts.
        """
        if config.beam and (self.best_of > 1 or self.unique or self.logprobs is not None):
            raise ConfigError(
                "--beam finds the likeliest texts once each; leave --best-of, --unique, --logprobs "
                "out"
            )
        if config.beam:
            from charrnn.generation.beam import check_search

            check_search(config, self.count)


@dataclass(frozen=True)
class Prompt:
    """A text to continue, by settings of its own; `place` is what messages call it, if anything."""

    text: str
    config: SampleConfig
    place: str = ""


def stream_text(models: OpenModels, prompt: str, config: SampleConfig) -> Iterator[str]:
    """Return the first sample as a stream of pieces, each yielded as soon as it is sampled.

    With `lines` that is the first one that is not blank, as for `iter_samples`.

    Raises:
        VocabError: the prompt holds characters that the model does not know.
        ConfigError: a setting leaves no character to write.
    """
    config = with_seed(config)
    constraint = models.make_constraint(config)

    def sample(index: int) -> TextStream:
        return models.generator.generate(
            prompt, config, index=index, after=models.start, constraint=constraint
        )

    first = sample(0)
    may_be_blank = config.lines is not None and samples.is_blank(prompt, "")
    return _skip_blank(first, sample) if may_be_blank else first


def _skip_blank(first: TextStream, sample: Callable[[int], TextStream]) -> Iterator[str]:
    """Yield the first stream that is not blank; white space is held back until that is clear."""
    for index in range(samples.MOST_TRIES):
        stream = sample(index) if index else first
        held = ""
        for piece in stream:
            held += piece
            if held.strip():
                yield held
                yield from stream
                return
        if stream.reason != "lines":
            yield held
            return


def iter_samples(
    models: OpenModels,
    prompt: str = "",
    config: SampleConfig | None = None,
    request: SampleRequest | None = None,
    **settings: Any,
) -> Iterator[Sample]:
    """Yield the samples that are asked for, or fewer where too many are refused.

    Sample i depends only on the seed and i, not on how many samples are asked for. With `lines` or
    `unique`, a blank one is refused. config, settings: a SampleConfig, or its fields by keyword.

    Raises:
        VocabError: the prompt holds characters that the model does not know.
        ConfigError: settings do not go together, or leave no character to write.
        CorpusError: the training text is needed, and is missing or has changed.
    """
    config = chosen_settings(SampleConfig, config, settings)
    asked = [Prompt(prompt, config)]
    yield from (sample for _, sample in iter_prompts(models, asked, request or SampleRequest()))


def iter_prompts(
    models: OpenModels, prompts: Sequence[Prompt], request: SampleRequest
) -> Iterator[tuple[Prompt, Sample]]:
    """Yield each prompt, in order, with each of its samples.

    The first prompt of a seed has the samples that it would have alone; each further one has random
    streams of its own. Neighbours with the same settings are sampled side by side.

    Raises:
        VocabError, ConfigError, CorpusError: as `iter_samples`, before the first sample.
    """
    _check(models, prompts, request)
    places: Counter[int | None] = Counter()  # prompts so far by their seeds
    for config, neighbours in groupby(prompts, key=lambda each: each.config):
        group = [*neighbours]
        texts = [models.generator.fit(each.text, config.unknown).text for each in group]
        for number, sample in _iter_alike(models, texts, config, request, places[config.seed]):
            yield group[number], sample
        places[config.seed] += len(group)


def _check(models: OpenModels, prompts: Sequence[Prompt], request: SampleRequest) -> None:
    """Refuse what no sample can follow, and name its prompt."""
    generator = models.generator
    constraints: dict[SampleConfig, Constraint | None] = {}
    for each in prompts:
        config = each.config
        with located(each.place):
            request.check(config)
            text = generator.fit(each.text, config.unknown).text
            if len(prompts) == 1:
                return  # what is found before its first sample is found before any
            if config not in constraints:
                _, constraints[config] = generator.resolve(config, models.make_constraint(config))
                models.make_backend(config, request.device)
            if constraint := constraints[config]:
                before = models.start.prompt if models.start else np.zeros(0, np.int64)
                constraint.initial_state(np.concatenate((before, generator.encode(text))))


def _iter_alike(
    models: OpenModels,
    prompts: Sequence[str],
    config: SampleConfig,
    request: SampleRequest,
    stream: int,
) -> Iterator[tuple[int, Sample]]:
    """Yield the number of each prompt with each of its samples; the settings are the same."""
    if config.beam and request.device is None:
        search = partial(models.generator.search, count=request.count, after=models.start)
        for number, prompt in enumerate(prompts):
            yield from zip(repeat(number), search(prompt, config), strict=False)
        return

    config = with_seed(config)  # one for all batches: sample i is the same in each of them
    logprobs = request.logprobs
    if logprobs is None and (request.sort or request.best_of > 1):
        logprobs = 0  # what is compared has to be known
    backend = models.make_backend(config, request.device)
    constraint = models.make_constraint(config)

    def sample_batch(
        prompts: Sequence[str], stream: int, first: int, count: int
    ) -> Iterator[Sample]:
        """Yield each prompt's candidates `first` … `first + count - 1`, each its group's best."""
        candidates = models.generator.generate_many(
            prompts,
            config,
            stream=stream,
            first=first * request.best_of,  # each candidate has random streams of its own
            count=count * request.best_of,
            alternatives=logprobs,
            after=models.start,
            constraint=constraint,
            backend=backend,
        )
        return samples.iter_best(candidates, request.best_of) if request.best_of > 1 else candidates

    form = models.generator.text_format
    are_whole = bool(form.record_kind) and not form.has_lines
    is_known = None
    if request.skip_known_lines:
        own = models.own_text
        is_known = own.records.__contains__ if are_whole else own.lines.__contains__
    at_once = sample_batch(prompts, stream, 0, request.count)
    for number, prompt in enumerate(prompts):

        def make(
            first: int, count: int, prompt: str = prompt, place: int = stream + number
        ) -> Iterator[Sample]:
            # What is refused of all at once is made again for its prompt alone.
            return sample_batch([prompt], place, first, count) if first else islice(at_once, count)

        select = samples.make_selector(
            is_known, prompt, is_unique=request.unique, are_whole=are_whole
        )
        chosen = samples.sample_until(make, request.count, select)
        chosen = iter(samples.sort_by_likelihood(chosen)) if request.sort else chosen
        yield from zip(repeat(number), chosen, strict=False)
