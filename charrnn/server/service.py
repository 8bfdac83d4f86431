"""What stands between the handlers of asyncio and the threads that work: the engine's and others.

A handler prepares a job, which a worker thread does, submits it, and reads its events from a
`Stream`. The engine delivers events once per flush; one call into the event loop hands all of them
to their streams. A stream that is closed cancels its text, and so does a client that is gone.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from charrnn.config.serve import ServeConfig
from charrnn.errors import CharRNNError, DivergedError
from charrnn.server.engine import Engine
from charrnn.server.errors import (
    RequestError,
    bad_request,
    closing,
    model_not_found,
    refused,
    too_many_requests,
)
from charrnn.server.jobs import (
    Ended,
    Event,
    Failed,
    Piece,
    PreparedJob,
    QueueFullError,
    ServerClosingError,
    TextJob,
    Ticket,
)
from charrnn.server.metrics import Metrics
from charrnn.server.served import Served
from charrnn.wording import nearest

T = TypeVar("T")

_WORKERS = 2  # threads for work that takes long; each takes the interpreter from the engine
_CHECKERS = 2  # threads that read requests
_MAKERS = 2  # threads that make what a request's settings need
_MOST_WAITING = 256  # calls that wait for a worker
_MOST_COSTS = 3_000_000  # log-probabilities of all answers together: 300 MB
_ROUTES = {  # of models that write no text
    "classification": "POST /v1/classify",
    "tagging": "POST /v1/convert",
    "seq2seq": "POST /v1/convert",
}
_TIME_IS_OVER = TimeoutError()
_GRACE_SECONDS = 1.0  # for the engine, which ends a text in time, with what was written of it

log = logging.getLogger("charrnn.serve")


class Stream:
    """The events of one ticket, as they come; leaving it, by `with` or `close`, cancels the rest.

    The last event is Ended. Raises RequestError where the text cannot go on. deadline: of
    `time.monotonic`.
    """

    def __init__(self, service: Service, submit: Callable[[], Ticket], deadline: float) -> None:
        self._service = service
        self._events: deque[Event | BaseException] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._is_over = False
        self._begun: float | None = time.monotonic()  # until the first character
        self._ticket = service.register(self, submit)
        loop = asyncio.get_running_loop()
        seconds = deadline - time.monotonic() + _GRACE_SECONDS
        self._timer = loop.call_later(seconds, self.put, _TIME_IS_OVER)

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Event:
        if self._is_over:
            raise StopAsyncIteration
        while not self._events:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        event = self._events.popleft()
        if isinstance(event, Failed | BaseException):
            self.close()
            raise self._service.explain(event.error if isinstance(event, Failed) else event)
        if isinstance(event, Ended):
            self.close()
        return event

    def put(self, event: Event | BaseException) -> None:
        """Take an event; in the event loop."""
        if self._begun is not None and isinstance(event, Piece):
            self._service.metrics.first_char_seconds.add(time.monotonic() - self._begun)
            self._begun = None
        last = self._events[-1] if self._events else None
        if isinstance(event, Piece) and isinstance(last, Piece):  # of a client that reads slowly
            self._events[-1] = Piece(last.text + event.text, last.costs + event.costs)
        else:
            self._events.append(event)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def is_ended(self) -> bool:
        """Whether the engine has nothing more to do for it."""
        return self._ticket.is_ended

    def close(self) -> None:
        """Cancel what has not ended."""
        if not self._is_over:
            self._is_over = True
            self._timer.cancel()
            self._service.forget(self._ticket)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Watch:
    """Tells work in a thread that nobody waits for it any more; passed on as its first argument."""

    def __init__(self) -> None:
        self._is_over = threading.Event()

    def __call__(self, *_: object) -> None:
        """End the work, by an exception, if it is over."""
        if self._is_over.is_set():
            raise closing()

    def end(self) -> None:
        """Let the work end."""
        self._is_over.set()


class Service:
    """What the handlers share: models, engine, settings, figures.

    Made anywhere; `start` binds it to the running event loop.
    """

    def __init__(self, config: ServeConfig, served: Mapping[str, Served]) -> None:
        self.config = config
        self.served = dict(served)
        self.metrics = Metrics()
        self.is_closing = False
        texts = {name: each.models for name, each in served.items() if each.models is not None}
        self.engine = Engine(texts, config, self._deliver)
        self._streams: dict[int, Stream] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Future[None] | None = None  # done once the server ends
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="worker")
        self._checkers = ThreadPoolExecutor(_CHECKERS, thread_name_prefix="checker")
        self._makers = ThreadPoolExecutor(_MAKERS, thread_name_prefix="maker")
        self._waiting: Counter[ThreadPoolExecutor] = Counter()  # calls that may take long
        self._calls: set[Future[Any]] = set()  # of functions that have not come back
        self._costs = 0  # log-probabilities that answers may have which are not read

    def start(self) -> None:
        """Begin to work, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.create_future()
        self.engine.start()

    async def stop(self) -> None:
        """Refuse what is new, end what is running with an error, and the engine's thread."""
        self.is_closing = True
        if self._end is not None and not self._end.done():
            self._end.set_result(None)
        await asyncio.to_thread(self.engine.close, reason="the server is closing down")
        for stream in self._streams.values():  # if the engine is too busy to tell them
            stream.put(ServerClosingError("the server is closing down"))
        for pool in (self._workers, self._checkers, self._makers):
            pool.shutdown(wait=False, cancel_futures=True)

    @property
    def is_busy(self) -> bool:
        """Whether a thread has not come back, for which Python would wait at its end."""
        return bool(self._calls)

    def find(self, name: object) -> Served:
        """Return the model of a request's `model`, which is only looked up; None: the first one.

        Raises:
            RequestError: it is no text, or no such model is served.
        """
        if name is None:
            return next(iter(self.served.values()))
        if not isinstance(name, str):
            raise bad_request(
                "model must be the name of a model; GET /v1/models lists them", "model"
            )
        if name not in self.served:
            error = model_not_found(name[:100], tuple(self.served))
            near = nearest(name[:100], self.served)
            error.message += f"; did you mean {near!r}?" * bool(near)
            raise error
        return self.served[name]

    def find_text(self, name: object) -> Served:
        """Return a model that writes text.

        Raises:
            RequestError: as `find`, or it is for another task; says which route is for it.
        """
        found = self.find(name)
        if found.models is None:
            raise bad_request(
                f"{found.name} is a model for {found.task}, which writes no text of its own; use "
                f"{_ROUTES[found.task]}",
                "model",
            )
        return found

    async def prepare(self, name: str, job: TextJob) -> PreparedJob:
        """Check and resolve a job.

        Raises:
            RequestError: it is refused.
        """
        return await self.check(self.engine.prepare, name, job)

    def stream(self, prepared: PreparedJob, deadline: float | None = None) -> Stream:
        """Submit a text, and return its events; deadline: of its request.

        Raises:
            RequestError: too many texts wait, or the server ends.
        """
        deadline = deadline or self.deadline()
        return Stream(self, partial(self.engine.submit, prepared, deadline), deadline)

    def stream_slices(
        self, name: str, make: Callable[[], Iterator[Any]], deadline: float | None = None
    ) -> Stream:
        """Submit other work of the engine's thread, and return what it yields.

        Raises:
            RequestError: as `stream`.
        """
        deadline = deadline or self.deadline()
        return Stream(self, partial(self.engine.submit_slices, name, make, deadline), deadline)

    def take_costs(self, count: int) -> None:
        """Take memory for the log-probabilities of an answer; `give_costs` gives it back.

        Raises:
            RequestError: other answers, whose clients may read slowly, have too many.
        """
        if self._costs + count > _MOST_COSTS:
            raise too_many_requests(
                "the log-probabilities of other answers take all memory that is for them; try "
                "again later"
            )
        self._costs += count

    def give_costs(self, count: int) -> None:
        """Release what `take_costs` counted."""
        self._costs -= count

    def deadline(self) -> float:
        """Return when a request that comes now has to be answered, of `time.monotonic`."""
        return time.monotonic() + self.config.max_seconds

    async def check(
        self, function: Callable[..., T], *arguments: Any, deadline: float | None = None
    ) -> T:
        """Return what a function returns that takes milliseconds, as reading a request does.

        It has threads of its own, so that it waits for no work that takes long.

        Raises:
            RequestError: it is refused, or takes too long.
        """
        return await self._run_in(self._checkers, function, *arguments, deadline=deadline)

    async def watched(
        self, work: Callable[..., T], *arguments: Any, deadline: float | None = None
    ) -> T:
        """Return what `work` returns in a thread; it takes a Watch first, by which it ends early.

        Raises:
            RequestError: it is refused, takes too long, or too many wait.
        """
        return await self._watched(self._workers, work, *arguments, deadline=deadline)

    async def make(
        self, work: Callable[..., T], *arguments: Any, deadline: float | None = None
    ) -> T:
        """Return what `work` returns, as `watched`: the making of texts and their automata.

        It has threads of its own, so that it keeps neither plain requests nor searches waiting.

        Raises:
            RequestError: as `watched`.
        """
        return await self._watched(self._makers, work, *arguments, deadline=deadline)

    async def _watched(
        self,
        pool: ThreadPoolExecutor,
        work: Callable[..., T],
        *arguments: Any,
        deadline: float | None,
    ) -> T:
        waiting = self._waiting[pool]
        if waiting >= _MOST_WAITING:
            raise too_many_requests(f"{waiting} requests wait already; try again later")
        self._waiting[pool] += 1
        watch = Watch()
        try:
            return await self._run_in(pool, work, watch, *arguments, deadline=deadline)
        finally:
            watch.end()
            self._waiting[pool] -= 1

    async def _run_in(
        self,
        pool: ThreadPoolExecutor,
        function: Callable[..., T],
        *arguments: Any,
        deadline: float | None,
    ) -> T:
        if self.is_closing or self._end is None:
            raise closing()
        call = pool.submit(function, *arguments)
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)  # when it comes back, not when nobody waits
        work = asyncio.wrap_future(call)
        seconds = self.config.max_seconds if deadline is None else deadline - time.monotonic()
        try:
            await asyncio.wait(
                (work, self._end), timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED
            )
            if work.done() and not work.cancelled():
                return work.result()
            raise closing() if self.is_closing else TimeoutError
        except (CharRNNError, TimeoutError, RuntimeError, MemoryError) as error:
            raise self.explain(error) from error
        finally:
            work.cancel()

    def explain(self, error: BaseException) -> RequestError:
        """Return what a client is told of an error."""
        if isinstance(error, RequestError):
            return error
        if isinstance(error, QueueFullError):
            return too_many_requests(str(error))
        if isinstance(error, ServerClosingError) or self.is_closing:
            return closing()
        if isinstance(error, TimeoutError):
            return RequestError(
                408,
                f"the request took more than {self.config.max_seconds:g} seconds; ask for less, or "
                "start the server with a larger --max-seconds",
                code="max_seconds",
            )
        if isinstance(error, MemoryError):
            return bad_request("there is no memory for this request; ask for less")
        if isinstance(error, CharRNNError) and not isinstance(error, DivergedError):
            return refused(error)
        if not self.is_closing:
            log.error("the server failed", exc_info=error)
        return RequestError(500, "the server failed; its log says where")

    def figures(self) -> dict[str, float]:
        """Return what GET /metrics shows besides requests."""
        stats = self.engine.stats()
        return {
            "characters_total": stats.chars_total,
            "prompt_characters_total": stats.prompt_chars_total,
            "steps_total": stats.steps_total,
            "texts_ended_total": stats.ended_total,
            "texts_failed_total": stats.failed_total,
            "texts_cancelled_total": stats.cancelled_total,
            "cache_hits_total": stats.cache_hits,
            "cache_misses_total": stats.cache_misses,
            "cache_bytes": stats.cache_bytes,
            "texts_waiting": stats.waiting,
            "texts_running": stats.running,
            "uptime_seconds": stats.uptime_seconds,
        }

    def register(self, stream: Stream, submit: Callable[[], Ticket]) -> Ticket:
        """Submit what a stream is to have the events of.

        Raises:
            RequestError: too many texts wait, or the server ends.
        """
        if self.is_closing:
            raise closing()
        try:
            ticket = submit()
        except CharRNNError as error:
            raise self.explain(error) from error
        # No event is lost: those of the engine come by the event loop, which waits for us.
        self._streams[ticket.id] = stream
        return ticket

    def forget(self, ticket: Ticket) -> None:
        """Cancel a ticket whose stream is closed."""
        self._streams.pop(ticket.id, None)
        if not ticket.is_ended:
            self.engine.cancel(ticket)

    def _deliver(self, events: Sequence[tuple[Ticket, Event]]) -> None:
        """Hand events to the event loop; in the engine's thread."""
        if self._loop is not None and events:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._dispatch, events)

    def _dispatch(self, events: Iterable[tuple[Ticket, Event]]) -> None:
        for ticket, event in events:
            if (stream := self._streams.get(ticket.id)) is not None:
                stream.put(event)
