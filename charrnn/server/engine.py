"""The one thread that owns the models: jobs go in, their texts are sampled side by side.

It knows no HTTP. Any thread calls `prepare`, `submit` and `cancel`; what becomes of a ticket is
told to `deliver`, from the engine's thread. Each round of the thread does a little of everything
that there is to do, so that nothing waits for something long:

    take what came in → read prompts → do other work → one more character of each text → deliver

Prompts are read in slices of a few milliseconds, in turn the oldest and the one that needs least;
then texts are sampled for as long as that took.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.config.serve import ServeConfig
from charrnn.server.jobs import (
    Ended,
    EngineStats,
    Event,
    Failed,
    News,
    Piece,
    PreparedJob,
    QueueFullError,
    ServerClosingError,
    Slice,
    TextJob,
    Ticket,
)
from charrnn.server.sampled_model import SampledModel, SampledModels
from charrnn.server.state_cache import StateCache, TextKeys, iter_read
from charrnn.server.text_batch import ServedText, TextBatch
from charrnn.state import State
from charrnn.tasks.open_models import OpenModels
from charrnn.text.vocab import Ids

_SLICE_SECONDS = 0.005  # of reading in one round, while texts are sampled
_IDLE_SLICE_SECONDS = 0.02  # and while none are
_FLUSH_SECONDS = 0.025  # at least, from one delivery of the characters of all texts to the next
_EVENT_SECONDS = 0.001  # for each text: whoever sends its events shares Python with this thread
_MOST_ENDED = 16  # texts that have ended, whose states are still to be read
_FEW_TEXTS = 8  # with more, these are read only once nothing else is left to do
_JOIN_SECONDS = 1.0

Reading = Iterator[tuple[int, State | None]]


@dataclass(eq=False)
class _Waiting:
    """What has not begun: a text, or other work in slices."""

    ticket: Ticket
    deadline: float  # of time.monotonic
    prepared: PreparedJob | None = None
    make: Callable[[], Iterator[Any]] | None = None


@dataclass(eq=False)
class _Prompt:
    """A prompt that is being read. left: ids."""

    ticket: Ticket
    prepared: PreparedJob
    reading: Reading
    left: int
    deadline: float


@dataclass(eq=False)
class _Slices:
    """Other work that has begun."""

    ticket: Ticket
    iterator: Iterator[Any]
    deadline: float


class Engine:
    """Models, and the thread that samples from them."""

    def __init__(
        self,
        models: Mapping[str, OpenModels],
        config: ServeConfig,
        deliver: Callable[[Sequence[tuple[Ticket, Event]]], None],
    ) -> None:
        """Take opened models by name.

        deliver: called from the engine's thread with what is new, each event once; it must not
        block.
        """
        self._models = SampledModels(models)
        self._config = config
        self._deliver_news = deliver
        self._cache = StateCache(config.cache_bytes)
        # What other threads change, under this lock.
        self._changed = threading.Condition()
        self._inbox: deque[_Waiting] = deque()
        self._has_cancelled = False
        self._closing: str | None = None
        # What only the engine's thread changes.
        self._waiting: deque[_Waiting] = deque()
        self._prompts: list[_Prompt] = []
        self._slices: deque[_Slices] = deque()
        self._batches: dict[SampledModel, TextBatch] = {}
        self._ended: deque[tuple[SampledModel, Ids]] = deque(maxlen=_MOST_ENDED)
        self._ended_reading: Reading | None = None
        self._is_oldest_next = True
        self._flush_at = 0.0
        self._numbers = itertools.count(1)
        self._count = dict.fromkeys(("chars", "steps", "prompts", "ended", "failed", "cancels"), 0)
        self._begun_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="charrnn-engine", daemon=True)

    # ── called by any thread ──

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def prepare(self, model: str, job: TextJob) -> PreparedJob:
        """Check and resolve a job, which may take milliseconds.

        Raises:
            VocabError: the prompt holds characters that the model does not know.
            ConfigError: a setting is out of range, clashes, or leaves no character to write.
            CorpusError: a setting needs the text that the model was trained on, which is not there.
        """
        served = self._models.get(model, job.labels, job.label_strength)
        generator = served.generator
        settings = served.resolve(job.config)
        prompt = generator.text_format.normalized(
            generator.fit(job.prompt, job.config.unknown).text
        )
        before = served.models.start
        begin = generator.start_ids(prompt, job.config, is_first=before is None)
        read = None if begin is None else begin.read
        prompt_ids = np.zeros(0, np.int64) if begin is None else begin.prompt
        if before is not None:
            prompt_ids = np.concatenate((before.prompt, prompt_ids))
        if settings.constraint is not None:
            settings.constraint.initial_state(prompt_ids)  # refuses what cannot be followed
        keys = None if read is None else TextKeys(served.root, read)
        return PreparedJob(model, job, prompt, served, settings, read, keys, prompt_ids)

    def submit(self, prepared: PreparedJob, deadline: float | None = None) -> Ticket:
        """Queue a text; return the ticket that its events come with.

        deadline: of `time.monotonic`, when the text ends whatever it is; None: after
        `config.max_seconds`.

        Raises:
            QueueFullError: more texts wait than `config.queue`.
            ServerClosingError: the engine ends.
        """
        return self._put(deadline, prepared=prepared)

    def submit_slices(
        self, model: str, make: Callable[[], Iterator[Any]], deadline: float | None = None
    ) -> Ticket:
        """Queue other work for the engine's thread; each that it yields is a Slice, then an Ended.

        make: begins it, on that thread. Each `next` of what it returns takes 20 ms at most: texts
        are sampled between two of them. Work that cannot be cut, such as a beam search, belongs in
        a thread of its own: a model is only read, so it may be used there too.

        Raises:
            ConfigError: there is no such model.
            QueueFullError, ServerClosingError: as `submit`.
        """
        self._models.get(model)
        return self._put(deadline, make=make)

    def cancel(self, ticket: Ticket) -> None:
        """Cancel a ticket: its text is dropped before the next step."""
        with self._changed:
            if not ticket.is_ended:
                ticket.is_cancelled = True
                ticket.is_ended = True
                self._has_cancelled = True
                self._changed.notify()

    def stats(self) -> EngineStats:
        """Return what there is to do, and what was done."""
        count = self._count
        return EngineStats(
            waiting=len(self._inbox) + len(self._waiting),
            reading=len(self._prompts),
            running=self._running(),
            chars_total=count["chars"],
            steps_total=count["steps"],
            prompt_chars_total=count["prompts"],
            ended_total=count["ended"],
            failed_total=count["failed"],
            cancelled_total=count["cancels"],
            cache_hits=self._cache.hits,
            cache_misses=self._cache.misses,
            cache_bytes=self._cache.bytes,
            cache_states=len(self._cache),
            uptime_seconds=time.monotonic() - self._begun_at,
        )

    def close(self, *, reason: str = "the server ends") -> None:
        """End every text with a ServerClosingError of this message, and the thread."""
        with self._changed:
            self._closing = self._closing or reason
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(_JOIN_SECONDS)
        else:
            self._end_all(ServerClosingError(self._closing))

    def _running(self) -> int:
        """Return the number of texts that are sampled, and of other work; from any thread."""
        return sum(map(len, [*self._batches.values()])) + len(self._slices)

    def _put(
        self,
        deadline: float | None,
        prepared: PreparedJob | None = None,
        make: Callable[[], Iterator[Any]] | None = None,
    ) -> Ticket:
        if deadline is None:
            deadline = time.monotonic() + self._config.max_seconds
        with self._changed:
            if self._closing is not None:
                raise ServerClosingError(self._closing)
            held = len(self._inbox) + len(self._waiting) + len(self._prompts) + self._running()
            if held >= self._config.batch + self._config.queue:
                raise QueueFullError(f"{held} texts are written or wait already; try again later")
            ticket = Ticket(next(self._numbers))
            self._inbox.append(_Waiting(ticket, deadline, prepared, make))
            self._changed.notify()
        return ticket

    # ── the engine's thread ──

    def _run(self) -> None:
        while self._take_in():
            try:
                began = time.perf_counter()
                self._read_prompts(began)
                self._do_slices()
                self._read_ended()
                self._sample(time.perf_counter() - began)
                self._flush()
            except Exception as error:  # of ours: whatever it was, the next text may be sampled
                self._end_all(error)
        self._end_all(ServerClosingError(self._closing or ""))

    def _end_all(self, error: Exception) -> None:
        """End all that there is to do with an error."""
        with self._changed:
            self._waiting += self._inbox
            self._inbox.clear()
        lost = [each.ticket for each in self._waiting]
        lost += [each.ticket for each in self._prompts]
        lost += [each.ticket for each in self._slices]
        news: list[News] = [(ticket, Failed(error)) for ticket in lost]
        for batch in self._batches.values():
            news += [*batch.take(), *batch.fail_all(error)]
        self._waiting.clear()
        self._prompts = []
        self._slices.clear()
        self._batches = {}
        self._ended.clear()
        self._ended_reading = None
        self._deliver(news)

    def _take_in(self) -> bool:
        """Take what other threads want, and wait for it if there is nothing to do; False: end."""
        with self._changed:
            while not (self._inbox or self._has_cancelled or self._closing or self._has_work()):
                self._changed.wait()
            if self._closing is not None:
                return False
            self._waiting += self._inbox
            self._inbox.clear()
            has_cancelled = self._has_cancelled
            self._has_cancelled = False
        if has_cancelled:
            self._drop_cancelled()
        running = sum(map(len, self._batches.values()))
        free = self._config.batch - running - len(self._prompts) - len(self._slices)
        while self._waiting and free > 0:
            free -= 1
            self._begin(self._waiting.popleft())
        return True

    def _has_work(self) -> bool:
        return bool(
            self._waiting
            or self._prompts
            or self._slices
            or self._batches
            or self._ended
            or self._ended_reading
        )

    def _begin(self, waiting: _Waiting) -> None:
        """Begin to read a prompt, or other work."""
        ticket = waiting.ticket
        prepared = waiting.prepared
        try:
            if waiting.make is not None:
                self._slices.append(_Slices(ticket, waiting.make(), waiting.deadline))
            if prepared is not None:
                reading = self._iter_prompt(prepared)
                left = 0 if prepared.read is None else len(prepared.read)
                self._prompts.append(_Prompt(ticket, prepared, reading, left, waiting.deadline))
        except Exception as error:
            self._deliver([(ticket, Failed(error))])

    def _iter_prompt(self, prepared: PreparedJob) -> Reading:
        """Read what comes before a text, from where the cache knows it."""
        served = prepared.served
        if prepared.read is None or prepared.keys is None:
            return iter([(0, served.start)])
        model = served.generator.language_model
        return iter_read(model, prepared.keys, prepared.read, served.start, self._cache)

    def _read_prompts(self, began: float) -> None:
        """Read prompts for a slice of time: in turn the oldest and the one that needs least."""
        end = began + (_SLICE_SECONDS if self._batches else _IDLE_SLICE_SECONDS)
        while self._prompts and time.perf_counter() < end:
            prompt = self._prompts[0]
            if not self._is_oldest_next:
                prompt = min(self._prompts, key=lambda each: each.left)
            self._is_oldest_next = not self._is_oldest_next
            try:
                read, state = next(prompt.reading)
                length = 0 if prompt.prepared.read is None else len(prompt.prepared.read)
                prompt.left = length - read
                if prompt.left or state is None:
                    continue
                self._prompts.remove(prompt)
                self._count["prompts"] += prompt.prepared.prompt_chars
                self._join(prompt, state)
            except Exception as error:  # of this text, which must not stop the others
                if prompt in self._prompts:
                    self._prompts.remove(prompt)
                self._deliver([(prompt.ticket, Failed(error))])

    def _join(self, prompt: _Prompt, state: State) -> None:
        """Let a text be sampled whose prompt was read, if anybody waits for it still."""
        if prompt.ticket.is_cancelled:
            self._count["cancels"] += 1
            return
        served = prompt.prepared.served
        batch = self._batches.get(served) or TextBatch(served)
        self._deliver(batch.join(prompt.ticket, prompt.prepared, state, prompt.deadline))
        if len(batch):
            self._batches[served] = batch

    def _do_slices(self) -> None:
        """Do one slice of other work, each in its turn."""
        if not self._slices:
            return
        work = self._slices[0]
        event: Event
        try:
            event = Slice(next(work.iterator))
        except StopIteration:
            event = Ended("done")
        except Exception as error:
            event = Failed(error)
        self._slices.rotate(-1)
        if not isinstance(event, Slice):
            self._slices.pop()
        self._deliver([(work.ticket, event)])

    def _read_ended(self) -> None:
        """Read on to where texts have ended, for those that will go on, while there is time.

        The batch knows a state there, but not the one to the last bit that reading gives.
        """
        if self._prompts or sum(map(len, self._batches.values())) >= _FEW_TEXTS:
            return
        try:
            if self._ended_reading is None and self._ended:
                served, ids = self._ended.popleft()
                keys = TextKeys(served.root, ids)
                model = served.generator.language_model
                self._ended_reading = iter_read(model, keys, ids, served.start, self._cache)
            if self._ended_reading is not None and next(self._ended_reading, None) is None:
                self._ended_reading = None
        except Exception:  # nobody has asked for it; whoever goes on with the text will meet it
            self._ended_reading = None

    def _sample(self, seconds: float) -> None:
        """Sample for so long, at least one character of each text; deliver what is due."""
        end = time.perf_counter() + seconds
        while self._batches:
            for served, batch in [*self._batches.items()]:
                self._deliver(batch.step())
                self._count["steps"] += 1
                for text in batch.ended:
                    self._remember(text)
                batch.ended.clear()
                if not len(batch):
                    del self._batches[served]
            self._flush()
            if time.perf_counter() >= end:
                break

    def _remember(self, text: ServedText) -> None:
        """Plan to read a text that has ended up to its end, as the prompt that it may become."""
        prepared = text.prepared
        generator = prepared.served.generator
        try:
            ids = generator.encode(text.partial.text)
        except Exception:  # it may hold U+FFFD, for what was no character
            return
        if prepared.prompt and prepared.read is not None:
            ids = np.concatenate((prepared.read, ids))
        self._ended.append((prepared.served, ids))

    def _flush(self) -> None:
        """Deliver what is shown of all texts, if it is time; end those whose own time is over."""
        now = time.monotonic()
        if now < self._flush_at:
            return
        running = sum(map(len, self._batches.values()))
        self._flush_at = now + max(_FLUSH_SECONDS, _EVENT_SECONDS * running)
        news: list[News] = []
        for served, batch in [*self._batches.items()]:
            news += batch.take()
            news += batch.end_late(now)
            if not len(batch):
                del self._batches[served]
        begun: list[_Waiting | _Prompt | _Slices] = [*self._waiting, *self._prompts, *self._slices]
        late = [each.ticket for each in begun if each.deadline <= now]
        if late:
            self._waiting = deque(each for each in self._waiting if each.deadline > now)
            self._prompts = [each for each in self._prompts if each.deadline > now]
            self._slices = deque(each for each in self._slices if each.deadline > now)
        news += [(ticket, Ended("seconds")) for ticket in late]
        self._deliver(news)

    def _deliver(self, news: Sequence[News]) -> None:
        """Deliver what is new, without what was cancelled."""
        told = [(ticket, event) for ticket, event in news if not ticket.is_cancelled]
        for ticket, event in told:
            if isinstance(event, Piece):
                self._count["chars"] += len(event.text)
            elif isinstance(event, Ended | Failed):
                ticket.is_ended = True
                self._count["failed" if isinstance(event, Failed) else "ended"] += 1
        if told:
            self._deliver_news(told)

    def _drop_cancelled(self) -> None:
        """Drop what nobody waits for."""
        for served, batch in [*self._batches.items()]:
            self._count["cancels"] += batch.drop_cancelled()
            if not len(batch):
                del self._batches[served]
        before = len(self._waiting) + len(self._prompts) + len(self._slices)
        self._waiting = deque(each for each in self._waiting if not each.ticket.is_cancelled)
        self._prompts = [each for each in self._prompts if not each.ticket.is_cancelled]
        self._slices = deque(each for each in self._slices if not each.ticket.is_cancelled)
        after = len(self._waiting) + len(self._prompts) + len(self._slices)
        self._count["cancels"] += before - after
