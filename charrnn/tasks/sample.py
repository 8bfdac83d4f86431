"""Sample texts from opened models: counted, chosen among and sorted.

`charrnn.sample` in Python and on the command line call this; `generation/` makes each sample.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from charrnn.config import SampleConfig, with_seed, with_settings
from charrnn.errors import ConfigError
from charrnn.generation import samples
from charrnn.generation.samples import Sample
from charrnn.generation.stopping import TextStream
from charrnn.tasks.open_models import OpenModels


@dataclass(frozen=True, kw_only=True)
class SampleRequest:
    """How many samples to return, and which ones.

    best_of: samples made for each one returned, the one of the highest mean log-probability per
    character. unique: no text twice. sort: the highest mean log-probability first.
    skip_known_lines: without the lines of the training text. logprobs: how many alternatives to
    name in each `Cost`; None: no costs, unless they are needed. device: "cpu" or "cuda", by torch.
    """

    count: int = 1
    best_of: int = 1
    unique: bool = False
    sort: bool = False
    skip_known_lines: bool = False
    logprobs: int | None = None
    device: str | None = None

    def check(self, config: SampleConfig) -> None:
        """Refuse what does not go together with the settings.

        Raises:
            ConfigError: a beam search is asked for what only samples have.
        """
        if config.beam and (self.best_of > 1 or self.unique or self.logprobs is not None):
            raise ConfigError(
                "--beam finds the likeliest texts once each; leave --best-of, --unique, --logprobs "
                "out"
            )


def stream_text(models: OpenModels, prompt: str, config: SampleConfig) -> TextStream:
    """Return sample 0 as a stream of pieces, each yielded as soon as it is sampled.

    Raises:
        VocabError: the prompt holds characters that the model does not know.
        ConfigError: a setting leaves no character to write.
    """
    constraint = models.make_constraint(config)
    return models.generator.generate(prompt, config, after=models.start, constraint=constraint)


def iter_samples(
    models: OpenModels,
    prompt: str = "",
    config: SampleConfig | None = None,
    request: SampleRequest | None = None,
    **settings: Any,
) -> Iterator[Sample]:
    """Yield the samples that are asked for, or fewer where too many are refused.

    Sample i depends only on the seed and i, not on how many samples are asked for. config,
    settings: a SampleConfig, or its fields by keyword.

    Raises:
        VocabError: the prompt holds characters that the model does not know.
        ConfigError: settings do not go together, or leave no character to write.
        CorpusError: the training text is needed, and is missing or has changed.
    """
    config = with_settings(config or SampleConfig(), settings)
    request = request or SampleRequest()
    request.check(config)
    if config.beam and request.device is None:
        yield from models.generator.search(prompt, config, count=request.count, after=models.start)
        return

    config = with_seed(config)  # one for all batches: sample i is the same in each of them
    logprobs = request.logprobs
    if logprobs is None and (request.sort or request.best_of > 1):
        logprobs = 0  # what is compared has to be known
    backend = models.make_backend(config, request.device)
    constraint = models.make_constraint(config)

    def sample_batch(first: int, count: int) -> Iterator[Sample]:
        """Yield candidates `first` … `first + count - 1`, each the best of its group."""
        candidates = models.generator.generate_many(
            prompt,
            config,
            first=first * request.best_of,  # each candidate has random streams of its own
            count=count * request.best_of,
            alternatives=logprobs,
            after=models.start,
            constraint=constraint,
            backend=backend,
        )
        return samples.iter_best(candidates, request.best_of) if request.best_of > 1 else candidates

    is_known = models.own_text.lines.__contains__ if request.skip_known_lines else None
    select = samples.make_selector(is_known, prompt, is_unique=request.unique)
    chosen = samples.sample_until(sample_batch, request.count, select)
    yield from samples.sort_by_likelihood(chosen) if request.sort else chosen
