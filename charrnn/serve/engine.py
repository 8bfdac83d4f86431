"""The one thread that owns the models: requests become texts, many sampled side by side.

It knows no HTTP: jobs go in by `submit`, events come out by `deliver`, each for a ticket.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from charrnn.config import SampleConfig
from charrnn.config.serve import ServeConfig
from charrnn.errors import CharRNNError, ConfigError
from charrnn.generation.samples import Cost, Sample
from charrnn.tasks.open_models import OpenModels


class QueueFullError(CharRNNError):
    """So many texts wait for their turn already that no further one is taken."""


class ServerClosingError(CharRNNError):
    """The server ends, and with it the text."""


@dataclass(frozen=True)
class TextJob:
    """A text to sample: what `Generator.generate` takes.

    prompt: "" is the start of a record. config: with its seed set. index: which sample of the seed.
    stream: which prompt of the request, from 0. logprobs: how many alternatives are named with each
    character's cost; None leaves the costs out. labels, label_strength: as `open_models` takes
    them.
    """

    prompt: str
    config: SampleConfig
    index: int = 0
    stream: int = 0
    logprobs: int | None = None
    labels: tuple[str, ...] = ()
    label_strength: float = 1.0


@dataclass(frozen=True)
class Piece:
    """The next characters of a text, at least one; costs: of each, () where none are asked for."""

    text: str
    costs: tuple[Cost, ...] = ()


@dataclass(frozen=True)
class Ended:
    """The last event of a text.

    reason: as `StoppingCriteria` names it. stop: the text of `config.stop` that ended it.
    end_cost: of the end of a record that ended it, where costs are asked for.
    """

    reason: str
    stop: str | None = None
    has_end: bool = False
    end_cost: Cost | None = None


@dataclass(frozen=True)
class Failed:
    """The last event of a text that cannot go on."""

    error: Exception


Event = Piece | Ended | Failed


@dataclass(eq=False)
class Ticket:
    """What was submitted; is_ended: its last event was delivered, or it was cancelled."""

    id: int
    is_ended: bool = False


@dataclass(frozen=True)
class PreparedJob:
    """A job that nothing can refuse any more. prompt: as the model reads it."""

    model: str
    job: TextJob
    prompt: str
    models: OpenModels = field(repr=False)

    @property
    def prompt_chars(self) -> int:
        """The characters of the prompt."""
        return len(self.prompt)


@dataclass(frozen=True)
class EngineStats:
    """What an engine has done, and holds now."""

    waiting: int = 0
    running: int = 0
    chars_total: int = 0
    steps_total: int = 0
    prompt_chars_total: int = 0
    ended_total: int = 0
    failed_total: int = 0
    cancelled_total: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    cache_bytes: int = 0
    cache_states: int = 0
    uptime_seconds: float = 0.0


class Engine:
    """Models, and the thread that samples from them."""

    def __init__(
        self,
        models: Mapping[str, OpenModels],
        config: ServeConfig,
        deliver: Callable[[Sequence[tuple[Ticket, Event]]], None],
    ) -> None:
        """Take opened models by name.

        deliver: is called with events from the engine's own thread, and must not block.
        """
        self._models = dict(models)
        self._config = config
        self._deliver = deliver
        self._changed = threading.Condition()
        self._ids = itertools.count(1)
        self._waiting: deque[tuple[Ticket, Callable[[], Iterator[Event]]]] = deque()
        self._running: list[tuple[Ticket, Iterator[Event]]] = []
        self._closing = False
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def prepare(self, model: str, job: TextJob) -> PreparedJob:
        """Check and resolve a job.

        Raises:
            VocabError: the prompt holds characters that the model does not know.
            ConfigError: a setting is out of range, clashes, or leaves no character to write.
        """
        models = self._models[model]
        if job.labels or job.label_strength != 1:
            raise ConfigError("labels are not served yet")
        if job.config.beam:
            raise ConfigError("beam searches and does not sample; use search, or leave it 0")
        generator = models.generator
        prompt = generator.fit(job.prompt, job.config.unknown).text
        generator.resolve(job.config, models.make_constraint(job.config))
        return PreparedJob(model, replace(job, prompt=prompt), prompt, models)

    def submit(self, prepared: PreparedJob) -> Ticket:
        """Queue a text.

        Raises:
            QueueFullError: more texts wait than `config.queue`.
            ServerClosingError: the engine ends.
        """
        return self._queue(lambda: _sample(prepared))

    def submit_slices(self, model: str, make: Callable[[], Iterator[Event]]) -> Ticket:
        """Queue other work for the engine's thread: each `next` should take 20 ms at most.

        Raises:
            QueueFullError, ServerClosingError: as `submit`.
        """

        def run() -> Iterator[Event]:
            yield from make()
            yield Ended("done")

        return self._queue(run)

    def cancel(self, ticket: Ticket) -> None:
        """Drop what a ticket stands for before the next step; no further event comes."""
        ticket.is_ended = True
        with self._changed:
            self._changed.notify()

    def stats(self) -> EngineStats:
        """Return what was done so far."""
        return EngineStats(
            waiting=len(self._waiting),
            running=len(self._running),
            uptime_seconds=time.monotonic() - self._began,
        )

    def close(self, *, reason: str = "the server ends") -> None:
        """End all texts with a ServerClosingError, and the thread."""
        self._reason = reason
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(1)

    def _queue(self, make: Callable[[], Iterator[Event]]) -> Ticket:
        with self._changed:
            if self._closing:
                raise ServerClosingError("the server ends")
            if len(self._waiting) >= self._config.queue + self._config.batch:
                raise QueueFullError(f"{len(self._waiting)} texts wait already; try again later")
            ticket = Ticket(next(self._ids))
            self._waiting.append((ticket, make))
            self._changed.notify()
        return ticket

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closing and not self._waiting and not self._running:
                    self._changed.wait()
                while self._waiting and len(self._running) < self._config.batch:
                    ticket, make = self._waiting.popleft()
                    self._running.append((ticket, make()))
                if self._closing:
                    break
            self._running = [each for each in self._running if not each[0].is_ended]
            events: list[tuple[Ticket, Event]] = []
            for ticket, iterator in self._running:
                try:
                    event = next(iterator)
                except Exception as error:
                    event = Failed(error)
                events.append((ticket, event))
                ticket.is_ended = isinstance(event, Ended | Failed)
            if events:
                self._deliver(events)
        lost = [ticket for ticket, _ in [*self._running, *self._waiting] if not ticket.is_ended]
        self._deliver([(ticket, Failed(ServerClosingError(self._reason))) for ticket in lost])


def _sample(prepared: PreparedJob) -> Iterator[Event]:
    job = prepared.job
    models = prepared.models
    constraint = models.make_constraint(job.config)
    [sample] = models.generator.generate_many(
        job.prompt,
        job.config,
        first=job.index,
        stream=job.stream,
        alternatives=job.logprobs,
        after=models.start,
        constraint=constraint,
    )
    yield from _events(sample)


def _events(sample: Sample) -> Iterator[Event]:
    costs = sample.costs
    for i, char in enumerate(sample.text):
        yield Piece(char, costs[i : i + 1])
    end_cost = costs[-1] if sample.has_end and costs else None
    yield Ended(sample.stopped_by, None, sample.has_end, end_cost)
