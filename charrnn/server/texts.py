"""The texts of one request, written side by side: what completions, chat and /generate share.

All texts are prepared before the first is begun, so that a request that is refused gets a status
and no broken stream. Of the texts in the engine each request has its share, so that one of many
keeps no other waiting. Leaving the iteration, as when the client is gone, cancels them all.
"""

from __future__ import annotations

import asyncio
import math
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import cached_property, partial
from typing import TYPE_CHECKING

from charrnn.config import SampleConfig
from charrnn.config.sample import FORMS
from charrnn.errors import CharRNNError, VocabError
from charrnn.generation.samples import Cost
from charrnn.server.errors import RequestError, bad_request, refused
from charrnn.server.jobs import Ended, Event, Piece, PreparedJob, Slice, TextJob
from charrnn.server.lines import LineSamples
from charrnn.server.protocol import CompletionRequest, ModelInfo, blamed
from charrnn.server.scoring import iter_prompt_costs
from charrnn.server.searches import fill, search
from charrnn.server.service import Watch

if TYPE_CHECKING:
    from charrnn.config.serve import ServeConfig
    from charrnn.server.served import Served
    from charrnn.server.service import Service, Stream

_LENGTH = ("length", "seconds")  # reasons that cut a text
_MOST_AT_ONCE = 64  # texts of one request in the engine
_MOST_COMING = 64  # parts that were written and not sent
_RETRY_SECONDS = 0.05  # while the engine's queue is full
_MAX_SEARCH = 200_000  # hypotheses of beams times characters: seconds of work
_MAX_BEAM = 4_000_000  # hypotheses of a beam times vocabulary: a hundred megabytes
_MAX_COSTS = 300_000  # log-probabilities of one answer: 150 MB
_PART_COSTS = 20_000  # of a part of an echo
_MAX_ECHO = 10_000_000  # characters of it
_FEW_PROMPTS = 16  # are prepared in milliseconds, where no setting needs an automaton
_MADE = (*FORMS, "must", "ban_word", "max_copy", "stop_regex")  # settings that may
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
    """A whole text, with the echoed prompt that it begins with."""

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


class _Way(Enum):
    """How the texts of a request come about."""

    NONE = auto()  # nothing is to be written
    SAMPLED = auto()  # by the engine, side by side
    FOUND = auto()  # by a beam or a filling, one prompt after the other

    @classmethod
    def of(cls, request: CompletionRequest) -> _Way:
        """Return the way of a request's texts."""
        if not request.config.length:
            return cls.NONE
        is_found = request.config.beam or request.suffix is not None
        return cls.FOUND if is_found else cls.SAMPLED


class Texts:
    """The texts of a request, prepared; `parts` writes them."""

    def __init__(
        self,
        service: Service,
        request: CompletionRequest,
        jobs: Sequence[PreparedJob],
        deadline: float,
    ) -> None:
        """Take prepared jobs: the candidates of the first prompt, then those of the next.

        deadline: of the request, of `time.monotonic`.
        """
        self._service = service
        self.request = request
        self._jobs = jobs
        self._deadline = deadline
        self._way = _Way.of(request)
        self._samples = [
            LineSamples(job.prompt, request.config, request.best_of)
            for job in jobs[:: request.best_of]
        ]
        self._begun: dict[tuple[int, int], Stream] = {}  # before the answer, by prompt and sample
        self._open: set[Stream] = set()
        self._costs: dict[int, asyncio.Task[tuple[Cost | None, ...]]] = {}  # by prompt
        self._give_costs: Callable[[], object] = lambda: None

    @classmethod
    async def prepare(cls, service: Service, served: Served, request: CompletionRequest) -> Texts:
        """Check all texts, and begin the first ones.

        Raises:
            RequestError: the model cannot follow a setting or read a prompt, or the queue is full.
        """
        deadline = service.deadline()
        if request.config.used(*_MADE) or len(request.prompts) > _FEW_PROMPTS:
            made = service.make(_prepare, service, served, request, deadline=deadline)
        else:
            made = service.check(_prepare, Watch(), service, served, request, deadline=deadline)
        texts = cls(service, request, await made, deadline)
        texts._take_costs()
        if texts._way is _Way.SAMPLED:
            texts._begin()
        return texts

    @cached_property
    def prompts(self) -> list[str]:
        """The prompts as the model reads them, once each."""
        return [job.prompt for job in self._jobs[:: self.request.best_of]]

    def close(self) -> None:
        """Cancel what was begun and is not being read."""
        for stream in self._begun.values():
            stream.close()
        for task in self._costs.values():
            task.cancel()
        self._give_costs()

    def explain(self, error: Exception) -> RequestError:
        """Return what the client is told of an error."""
        return self._service.explain(error)

    async def parts(self) -> AsyncGenerator[Part]:
        """Yield the parts of all candidates as they come; index: of the candidate.

        Raises:
            RequestError: a text cannot go on.
        """
        source = self._found() if self._way is _Way.FOUND else self._written()
        try:
            async with aclosing(source):
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

    def _take_costs(self) -> None:
        """Take memory for the log-probabilities, until the texts are closed.

        Raises:
            RequestError: other answers have too many.
        """
        costs = _most_costs(self.request, self._jobs)
        self._service.take_costs(costs)
        # Once, also where the client is gone before the first text is asked for.
        self._give_costs = weakref.finalize(self, self._service.give_costs, costs)

    def _begin(self) -> None:
        """Begin as many texts as are this request's share, at least one."""
        for job in self._jobs[:_MOST_AT_ONCE]:
            if not self._has_room():
                break
            try:
                self._begun[job.job.stream, job.job.index] = self._submit(job)
            except RequestError as error:
                if error.status != 429 or not self._begun:
                    self.close()
                    raise
                break

    def _has_room(self) -> bool:
        """Whether another text leaves as much room to the other requests as this one takes.

        So one alone has half of what is written at once, and of k each one in k + 1 parts.
        """
        self._open = {stream for stream in self._open if not stream.is_ended}
        stats = self._service.engine.stats()
        others = stats.waiting + stats.reading + stats.running - len(self._open)
        own = (self._service.config.batch - others) // 2
        return len(self._open) < max(own, 1)

    def _submit(self, job: PreparedJob) -> Stream:
        """Begin a text.

        Raises:
            RequestError: the queue is full, or the server ends.
        """
        stream = self._service.stream(job, self._deadline)
        self._open.add(stream)
        return stream

    async def _written(self) -> AsyncGenerator[Part]:
        """Yield parts from several tasks, each of which writes one text after another."""
        # A client that reads slowly leaves the events in the streams, which join them.
        coming: asyncio.Queue[Part | Exception | None] = asyncio.Queue(_MOST_COMING)
        left = iter(range(len(self._jobs)))

        async def write() -> None:
            try:
                for number in left:
                    async with aclosing(self._write(number)) as parts:
                        async for part in parts:
                            await coming.put(part)
                await coming.put(None)
            except Exception as error:  # it is raised where the parts are read
                await coming.put(error)

        most = min(_MOST_AT_ONCE, self._service.config.batch // 2, len(self._jobs))
        writers = [asyncio.create_task(write()) for _ in range(max(most, 1))]
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

    async def _write(self, number: int) -> AsyncGenerator[Part]:
        """Yield the parts of one candidate."""
        job = self._jobs[number]
        if self._way is _Way.NONE:
            async with aclosing(self._all_of(job, number, Ended("length"))) as parts:
                async for part in parts:
                    yield part
            return
        first = number - number % self.request.best_of
        samples = self._samples[job.job.stream]
        while (sample := samples.begin()) is not None:
            sampled = replace(job, job=replace(job.job, index=sample))
            with await self._stream(sampled) as events:
                candidate, read = await samples.settle(sample, events)
                if candidate is None:
                    continue
                source = self._all_of(job, first + candidate, *read, events=events)
                async with aclosing(source) as parts:
                    async for part in parts:
                        yield part
                return
        left = first + await samples.next_left()
        async with aclosing(self._all_of(job, left, Ended("lines"))) as parts:
            async for part in parts:
                yield part

    async def _all_of(
        self, job: PreparedJob, index: int, *read: Event, events: Stream | None = None
    ) -> AsyncGenerator[Part]:
        """Yield all of a candidate: its prompt if that is echoed, events that were read, others."""
        if self.request.echo and job.prompt:
            costs = await self._prompt_costs(job)
            size = _PART_COSTS // (1 + (self.request.logprobs or 0))
            for begin in range(0, len(job.prompt), size):
                some = slice(begin, begin + size)
                yield Part(index, job.prompt[some], costs[some])
        is_begun = False
        for event in read:
            is_begun = is_begun or isinstance(event, Piece)
            yield self._part(index, event, is_begun=is_begun)
        if events is not None:
            async for event in events:
                is_begun = is_begun or isinstance(event, Piece)
                yield self._part(index, event, is_begun=is_begun)

    def _part(self, index: int, event: Event, *, is_begun: bool) -> Part:
        """Return an event as a part of a candidate."""
        if isinstance(event, Piece):
            return Part(index, event.text, event.costs)
        assert isinstance(event, Ended)
        is_late = event.reason == "seconds" and self.request.config.seconds is None
        if is_late and not is_begun:  # its turn never came
            raise self.explain(TimeoutError())
        costs = () if event.end_cost is None else (event.end_cost,)
        return Part(index, "", costs, event)

    async def _stream(self, job: PreparedJob) -> Stream:
        """Return the events of a sample, which waits for room."""
        begun = self._begun.pop((job.job.stream, job.job.index), None)
        if begun is not None:
            return begun
        while not self._has_room():
            if time.monotonic() >= self._deadline:
                raise self.explain(TimeoutError())
            await asyncio.sleep(_RETRY_SECONDS)
        return await self._submitted(partial(self._submit, job))

    async def _submitted(self, submit: Callable[[], Stream]) -> Stream:
        """Return what `submit` does, which waits while the engine's queue is full."""
        while time.monotonic() < self._deadline:
            try:
                return submit()
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

        def submit() -> Stream:
            return self._service.stream_slices(job.model, read, self._deadline)

        with await self._submitted(submit) as events:
            async for event in events:
                if isinstance(event, Slice):
                    costs += event.value
                elif isinstance(event, Ended) and event.reason != "done":
                    raise self.explain(TimeoutError())
        return tuple(costs)

    async def _found(self) -> AsyncGenerator[Part]:
        """Yield the texts that a beam finds, or that fill a blank, prompt by prompt."""
        request = self.request
        work = search if request.suffix is None else fill
        for number, job in enumerate(self._jobs[:: request.n]):
            found = await self._service.watched(work, job, request, deadline=self._deadline)
            for i, (text, end) in enumerate(found):
                index = number * request.n + i
                if request.echo and job.prompt:
                    yield Part(index, job.prompt)
                yield Part(index, text, end=end)


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


def _prepare(
    watch: Watch, service: Service, served: Served, request: CompletionRequest
) -> list[PreparedJob]:
    """Return the jobs of all candidates, prompt by prompt; in a thread.

    Raises:
        RequestError: one of them is refused.
    """
    logprobs = request.logprobs
    if request.best_of > request.n and logprobs is None:
        logprobs = 0  # what is compared has to be known
    config = replace(request.config, **_NO_BEAM) if request.config.beam else request.config
    jobs = []
    for number, prompt in enumerate(request.prompts):
        watch()
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
    searched = config.beam * config.length * len(request.prompts)
    if searched > _MAX_SEARCH:
        raise bad_request(
            f"beam times max_tokens of all prompts is {searched:,}; this server searches at most "
            f"{_MAX_SEARCH:,}",
            "beam",
        )
    vocab_size = jobs[0].served.generator.vocab.size
    if config.beam * vocab_size > _MAX_BEAM:
        raise bad_request(
            f"beam is {config.beam:,}; with the {vocab_size:,} characters of this model it can be "
            f"at most {_MAX_BEAM // vocab_size:,}",
            "beam",
        )
    echoed = sum(job.prompt_chars for job in jobs) if request.echo else 0
    if echoed > _MAX_ECHO:
        raise bad_request(
            f"the prompts would be echoed with {echoed:,} characters; this server echoes at most "
            f"{_MAX_ECHO:,}: lower n, or leave echo out",
            "echo",
        )
    costs = _most_costs(request, jobs)
    if costs > _MAX_COSTS:
        raise bad_request(
            f"the answer could have {costs:,} log-probabilities; this server gives at most "
            f"{_MAX_COSTS:,}: lower logprobs, max_tokens or n, or send several requests",
            "logprobs",
        )


def _most_costs(request: CompletionRequest, jobs: Sequence[PreparedJob]) -> int:
    """Return how many log-probabilities an answer may have."""
    if request.logprobs is None:
        return 0
    chars = request.config.length * len(jobs)
    chars += sum(job.prompt_chars for job in jobs) if request.echo else 0
    return chars * (1 + min(request.logprobs, jobs[0].served.generator.vocab.size))
