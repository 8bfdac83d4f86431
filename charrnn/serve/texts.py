"""The texts of one request, written side by side: what completions, chat and /generate share.

All texts are prepared before the first is begun, so that a request that is refused gets a status
and no broken stream. Few enough are in the engine at once that one request does not fill its queue.
Leaving the iteration, as when the client is gone, cancels them all.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from charrnn.config import SampleConfig
from charrnn.errors import CharRNNError, VocabError
from charrnn.generation.samples import Cost
from charrnn.serve.engine import Ended, Piece, PreparedJob, TextJob
from charrnn.serve.errors import RequestError, bad_request, refused
from charrnn.serve.protocol import CompletionRequest, ModelInfo, blamed
from charrnn.serve.scoring import iter_prompt_costs
from charrnn.tasks.model import Model

if TYPE_CHECKING:
    from charrnn.config.serve import ServeConfig
    from charrnn.serve.service import Served, Service, Stream, Watch

_LENGTH = ("length", "seconds")  # reasons that cut a text
_MOST_AT_ONCE = 64  # texts of one request in the engine
_RETRY_SECONDS = 0.05  # while the engine's queue is full
_MAX_SEARCH = 200_000  # hypotheses of a beam times characters: seconds of work
_FILL_WIDTH = 200  # partial texts of a filling
_MAX_GAP = 200  # characters that a filling may have
_FIRST_SIGN = 0xE000  # private use: a sign for the blank that no text holds
_MAX_COSTS = 2_000_000  # log-probabilities of one answer
_PART_COSTS = 20_000  # of a part of an echo
_MAX_ECHO = 10_000_000  # characters of it
_BEAM_SETTINGS = ("beam", "beam_groups", "beam_diversity", "length_penalty")
_NO_BEAM = {name: getattr(SampleConfig, name) for name in _BEAM_SETTINGS}


@dataclass(frozen=True)
class Part:
    """The next characters of choice `index`; costs: of each, where they are asked for.

    The cost of a prompt's first character is None where nothing comes before it. end: set in the
    last part.
    """

    index: int
    text: str = ""
    costs: tuple[Cost | None, ...] = ()
    end: Ended | None = None


@dataclass(frozen=True)
class Text:
    """A whole text; prompt_costs: of the echoed prompt that it begins with."""

    index: int
    text: str
    costs: tuple[Cost | None, ...]
    end: Ended


def info_of(served: Served, config: ServeConfig) -> ModelInfo:
    """Return what a request for this model has to fit."""
    generator = served.generator
    return ModelInfo(
        served.name, generator.vocab, generator.text_format, config.max_chars, config.max_prompt
    )


def finish_reason(end: Ended) -> str:
    """Return OpenAI's word for why a text ended.

    >>> finish_reason(Ended("length")), finish_reason(Ended("sentences"))
    ('length', 'stop')
    """
    return "length" if end.reason in _LENGTH else "stop"


def stop_reason(end: Ended) -> str:
    """Return which stop text ended a text, else the name of what did."""
    return end.reason if end.stop is None else end.stop


class Texts:
    """The texts of a request, prepared; `parts` writes them."""

    def __init__(
        self, service: Service, request: CompletionRequest, jobs: Sequence[PreparedJob]
    ) -> None:
        """Take prepared jobs: the candidates of the first prompt, then those of the next."""
        self._service = service
        self.request = request
        self._jobs = jobs
        self._deadline = time.monotonic() + service.config.max_seconds
        self._streams: dict[int, Stream] = {}  # those that were begun before the answer
        self._costs: dict[int, asyncio.Task[tuple[Cost | None, ...]]] = {}  # by prompt

    @classmethod
    async def prepare(cls, service: Service, served: Served, request: CompletionRequest) -> Texts:
        """Check all texts, and begin the first ones.

        Raises:
            RequestError: the model cannot follow a setting or read a prompt, or the queue is full.
        """
        texts = cls(service, request, await service.check(_prepare, service, served, request))
        if texts._is_sampled:
            texts._begin()
        return texts

    @property
    def _is_sampled(self) -> bool:
        """Whether the engine samples these texts; a search and a filling are other work."""
        config = self.request.config
        return bool(config.length and not config.beam and self.request.suffix is None)

    @cached_property
    def prompts(self) -> list[str]:
        """The prompts as the model reads them, once each."""
        return [_as_read(job) for job in self._jobs[:: self.request.best_of]]

    def close(self) -> None:
        """Cancel what was begun and is not being read."""
        for stream in self._streams.values():
            stream.close()
        for task in self._costs.values():
            task.cancel()

    def explain(self, error: Exception) -> RequestError:
        """Return what the client is told of an error."""
        return self._service.explain(error)

    async def parts(self) -> AsyncGenerator[Part]:
        """Yield the parts of all candidates as they come; index: of the candidate.

        Raises:
            RequestError: a text cannot go on.
        """
        is_found = bool(self.request.config.length) and not self._is_sampled
        try:
            async with aclosing(self._found() if is_found else self._written()) as source:
                async for part in source:
                    yield part
        finally:
            self.close()

    async def wholes(self) -> list[Text]:
        """Return all candidates as whole texts.

        Raises:
            RequestError: a text cannot go on.
        """
        found: dict[int, list[Part]] = {}
        async with aclosing(self.parts()) as parts:
            async for part in parts:
                found.setdefault(part.index, []).append(part)
        return [_join(found[index]) for index in sorted(found)]

    def choose(self, texts: Sequence[Text]) -> list[Text]:
        """Return the choices: of each prompt the `n` likeliest candidates, the likeliest first."""
        request = self.request
        if request.best_of == request.n:
            return [*texts]
        chosen: list[Text] = []
        for number, prompt in enumerate(self.prompts):
            group = texts[number * request.best_of : (number + 1) * request.best_of]
            echoed = len(prompt) if request.echo else 0
            ranked = sorted(group, key=lambda text: _mean_nats(text, echoed))
            chosen += [
                replace(text, index=number * request.n + i)
                for i, text in enumerate(ranked[: request.n])
            ]
        return chosen

    # How they are written

    def _begin(self) -> None:
        """Begin as many texts as the engine takes, at least one."""
        # Half of those that are written at once, so that one request leaves room for others.
        most = min(_MOST_AT_ONCE, max(self._service.config.batch // 2, 1), len(self._jobs))
        for index in range(most):
            try:
                self._streams[index] = self._service.stream(self._jobs[index])
            except RequestError as error:
                if error.status != 429 or not self._streams:
                    self.close()
                    raise
                break

    async def _written(self) -> AsyncGenerator[Part]:
        """Yield parts from several tasks, each of which writes one text after another."""
        coming: asyncio.Queue[Part | Exception | None] = asyncio.Queue()
        left = iter(range(len(self._jobs)))

        async def write() -> None:
            try:
                for index in left:
                    async with aclosing(self._write(index)) as parts:
                        async for part in parts:
                            coming.put_nowait(part)
                coming.put_nowait(None)
            except Exception as error:  # it is raised where the parts are read
                coming.put_nowait(error)

        writers = [asyncio.create_task(write()) for _ in range(max(len(self._streams), 1))]
        running = len(writers)
        try:
            while running:
                item = await coming.get()
                if isinstance(item, Exception):
                    raise item
                if item is None:
                    running -= 1
                else:
                    yield item
        finally:
            for writer in writers:
                writer.cancel()
            await asyncio.gather(*writers, return_exceptions=True)

    async def _write(self, index: int) -> AsyncGenerator[Part]:
        """Yield the parts of one candidate."""
        job = self._jobs[index]
        if self.request.echo and job.prompt:
            prompt = _as_read(job)
            costs = await self._prompt_costs(job)
            size = _PART_COSTS // (1 + (self.request.logprobs or 0))
            for first in range(0, len(prompt), size):
                some = slice(first, first + size)
                yield Part(index, prompt[some], costs[some])
        if not self._is_sampled:  # nothing is to be written
            yield Part(index, end=Ended("length"))
            return
        is_begun = False
        with await self._stream(index) as events:
            async for event in events:
                if isinstance(event, Piece):
                    is_begun = True
                    yield Part(index, event.text, event.costs)
                elif isinstance(event, Ended):
                    is_late = event.reason == "seconds" and self.request.config.seconds is None
                    if is_late and not is_begun:  # its turn never came
                        raise self.explain(TimeoutError())
                    costs = () if event.end_cost is None else (event.end_cost,)
                    yield Part(index, "", costs, event)

    async def _stream(self, index: int) -> Stream:
        """Return the events of a candidate, which waits while the engine's queue is full."""
        if index in self._streams:
            return self._streams.pop(index)
        while time.monotonic() < self._deadline:
            try:
                return self._service.stream(self._jobs[index])
            except RequestError as error:
                if error.status != 429:
                    raise
            await asyncio.sleep(_RETRY_SECONDS)
        raise self.explain(TimeoutError())

    async def _prompt_costs(self, job: PreparedJob) -> tuple[Cost | None, ...]:
        """Return what each character of an echoed prompt costs, read once for all its texts."""
        top = self.request.logprobs
        if top is None:
            return ()
        number = job.job.stream
        if number not in self._costs:
            self._costs[number] = asyncio.create_task(self._read_costs(job, top))
        return await self._costs[number]

    async def _read_costs(self, job: PreparedJob, top: int) -> tuple[Cost | None, ...]:
        generator = job.served.generator
        costs: list[Cost | None] = []

        def read() -> Iterator[tuple[Cost | None, ...]]:
            return iter_prompt_costs(generator, job.prompt, top)

        with self._service.stream_slices(job.model, read) as events:
            async for event in events:
                if not isinstance(event, Ended):  # of slices, what they yield
                    costs += cast(Any, event)
        return tuple(costs)

    async def _found(self) -> AsyncGenerator[Part]:
        """Yield the texts that a beam finds, or that fill a blank, prompt by prompt."""
        request = self.request
        work = _search if request.suffix is None else _fill
        for number, job in enumerate(self._jobs[:: request.n]):
            found = await self._service.watched(work, job, request)
            for i, (text, end) in enumerate(found):
                index = number * request.n + i
                if request.echo and job.prompt:
                    yield Part(index, _as_read(job))
                yield Part(index, text, end=end)


def _as_read(job: PreparedJob) -> str:
    """Return a prompt in the form of the model's text, which has a cost for each character."""
    return job.served.generator.text_format.normalized(job.prompt)


def _join(parts: Sequence[Part]) -> Text:
    """Return the parts of a text as one."""
    end = parts[-1].end
    assert end is not None
    costs = tuple(cost for part in parts for cost in part.costs)
    return Text(parts[0].index, "".join(part.text for part in parts), costs, end)


def _mean_nats(text: Text, echoed: int) -> float:
    """Return the nats per character of a text without its prompt; inf for an empty one."""
    costs = [cost.nats for cost in text.costs[echoed:] if cost is not None]
    return sum(costs) / len(costs) if costs and len(text.text) > echoed else math.inf


def _prepare(service: Service, served: Served, request: CompletionRequest) -> list[PreparedJob]:
    """Return the jobs of all candidates, prompt by prompt; in a worker thread.

    Raises:
        RequestError: one of them is refused.
    """
    logprobs = request.logprobs
    if request.best_of > request.n and logprobs is None:
        logprobs = 0  # what is compared has to be known
    config = replace(request.config, **_NO_BEAM) if request.config.beam else request.config
    jobs = []
    for number, prompt in enumerate(request.prompts):
        job = TextJob(prompt, config, 0, number, logprobs, request.labels, request.label_strength)
        try:
            first = service.engine.prepare(served.name, job)
        except CharRNNError as error:
            place = "prompt" if len(request.prompts) == 1 else f"prompt[{number}]"
            raise refused(
                error, place if isinstance(error, VocabError) else blamed(error)
            ) from error
        # All candidates of a prompt differ in nothing but their random stream.
        jobs += [replace(first, job=replace(job, index=i)) for i in range(request.best_of)]
    _check_sizes(request, jobs)
    return jobs


def _check_sizes(request: CompletionRequest, jobs: Sequence[PreparedJob]) -> None:
    """Refuse what would take too much memory or time.

    Raises:
        RequestError: says which field to lower.
    """
    config = request.config
    if config.beam * config.length > _MAX_SEARCH:
        raise bad_request(
            f"beam times max_tokens is {config.beam * config.length:,}; this server searches at "
            f"most {_MAX_SEARCH:,}",
            "beam",
        )
    echoed = sum(job.prompt_chars for job in jobs) if request.echo else 0
    if echoed > _MAX_ECHO:
        raise bad_request(
            f"the prompts would be echoed with {echoed:,} characters; this server echoes at most "
            f"{_MAX_ECHO:,}: lower n, or leave echo out",
            "echo",
        )
    if request.logprobs is not None:
        chars = config.length * len(jobs) + echoed
        costs = chars * (1 + min(request.logprobs, jobs[0].served.generator.vocab.size))
        if costs > _MAX_COSTS:
            raise bad_request(
                f"the answer could have {costs:,} log-probabilities; this server gives at most "
                f"{_MAX_COSTS:,}: lower logprobs, max_tokens or n, or send several requests",
                "logprobs",
            )


def _search(watch: Watch, job: PreparedJob, request: CompletionRequest) -> list[tuple[str, Ended]]:
    """Return the likeliest texts that a beam finds."""
    models = job.served.models
    found = models.generator.search(job.prompt, request.config, count=request.n, after=models.start)
    return [(each.text, Ended(each.stopped_by, None, each.has_end)) for each in found]


def _fill(watch: Watch, job: PreparedJob, request: CompletionRequest) -> list[tuple[str, Ended]]:
    """Return what stands between a prompt and the suffix: samples, the likeliest at temperature 0.

    Raises:
        RequestError: the blank may be too long; or the client is gone, and the work ends.
    """
    model = job.served.generator
    if not isinstance(model, Model):
        raise bad_request("suffix does not go with label_strength; leave one of them out", "suffix")
    config = request.config
    suffix = request.suffix or ""
    if config.length > _MAX_GAP:
        raise bad_request(
            f"max_tokens is {config.length}; with suffix it is the longest that the blank may be, "
            f"at most {_MAX_GAP}",
            "max_tokens",
        )
    taken = {*job.prompt, *suffix}
    sign = next(chr(code) for code in range(_FIRST_SIGN, 0xF8FF) if chr(code) not in taken)
    filling = model.fill(
        job.prompt + sign + suffix,
        blank="",
        gap=sign,
        max_gap=config.length,
        only=config.only,
        ban=config.ban,
        count=request.n,
        beam_width=max(_FILL_WIDTH, request.n),
        sample=config.temperature > 0,
        temperature=config.temperature or 1.0,
        seed=config.seed,
        unknown=config.unknown,
        on_progress=watch,
    )
    return [(each.text[slice(*each.filled[0])], Ended("suffix")) for each in filling.completions]
