"""An engine samples many texts at once, each of them the one that it would be alone."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.config import SampleConfig
from charrnn.config.serve import ServeConfig
from charrnn.errors import ConfigError, VocabError
from charrnn.generation.network import Network
from charrnn.generation.samples import Cost
from charrnn.generation.stopping import UpToSentences
from charrnn.server import engine as engine_module
from charrnn.server.engine import Engine, _Prompt
from charrnn.server.jobs import (
    Ended,
    Event,
    Failed,
    Piece,
    QueueFullError,
    ServerClosingError,
    Slice,
    TextJob,
    Ticket,
)
from charrnn.tasks.model import Model
from charrnn.tasks.open_models import OpenModels
from tests.server.tiny_models import make_files

PATIENCE_SECONDS = 60


def open_all() -> dict[str, OpenModels]:
    opened = {}
    for name, file in make_files().items():
        model = Model(file)
        opened[name] = OpenModels(model, name, model.file, source=file)
    return opened


class Told:
    """What an engine delivered, by ticket."""

    def __init__(self) -> None:
        self.events: dict[int, list[Event]] = {}
        self._changed = threading.Condition()

    def __call__(self, news: Sequence[tuple[Ticket, Event]]) -> None:
        with self._changed:
            for ticket, event in news:
                self.events.setdefault(ticket.id, []).append(event)
            self._changed.notify_all()

    def wait(self, is_done: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(is_done, PATIENCE_SECONDS)

    def end_of(self, ticket: Ticket) -> Event:
        def last() -> Any:
            return (self.events.get(ticket.id) or [None])[-1]

        self.wait(lambda: isinstance(last(), Ended | Failed))
        end: Event = last()
        return end

    def text_of(self, ticket: Ticket) -> str:
        self.end_of(ticket)
        pieces = [each for each in self.events[ticket.id] if isinstance(each, Piece)]
        assert all(piece.text for piece in pieces)
        return "".join(piece.text for piece in pieces)

    def costs_of(self, ticket: Ticket) -> list[Cost]:
        pieces = [each for each in self.events[ticket.id] if isinstance(each, Piece)]
        return [cost for piece in pieces for cost in piece.costs]


@contextmanager
def running(**config: Any) -> Iterator[tuple[Engine, Told]]:
    told = Told()
    engine = Engine(open_all(), ServeConfig(**config), told)
    engine.start()
    try:
        yield engine, told
    finally:
        engine.close()


def submit(engine: Engine, name: str = "book", prompt: str = "", **config: Any) -> Ticket:
    settings = {"seed": 1, "length": 30} | config
    return engine.submit(engine.prepare(name, TextJob(prompt, SampleConfig(**settings))))


# ── the same texts ──

ANY_SETTINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.0},
    {"top_k": 5, "top_p": 0.9},
    {"repetition_penalty": 1.3, "penalty_window": 9},
    {"dry_penalty": 1.0, "dry_length": 2},
    {"mirostat": 2.0},
    {"xtc": 0.5},
    {"word_temperature": 0.5},
    {"typical": 0.9, "min_p": 0.01},
    {"lines": 2},
    {"sentences": 1},
    {"stop": ("ab", "b")},
    {"stop_regex": "a[^a]"},
    {"bias": ("a=2",), "ban": ("b",)},
    {"must": ("ab",)},
    {"ban_word": ("a",)},
    {"regex": "[ab ]{3,20}"},
    {"choices": ("ab", "ba")},
]
ANY_PROMPTS = ["", "", "a", "ab a", "b" * 70]
JOBS = st.tuples(
    st.sampled_from(["book", "tang", "marks", "bytes", "names", "play"]),
    st.sampled_from(ANY_PROMPTS),
    st.sampled_from(ANY_SETTINGS),
    st.sampled_from([0, 1, 7, 60]),
    st.sampled_from([None, None, 0, 3]),
    st.integers(0, 2),
    st.integers(0, 1),
    st.sampled_from([(), ("who=ROMEO",)]),
)


@given(st.lists(JOBS, min_size=1, max_size=25), st.booleans())
@settings(max_examples=8, deadline=None)
def test_every_text_is_the_one_that_is_sampled_alone(
    asked: list[tuple[Any, ...]], has_cache: bool
) -> None:
    """Whatever model, settings and prompt the others have, and whatever is in the cache."""
    opened = open_all()
    with running(cache_size="1MB" if has_cache else "0") as (engine, told):
        submitted = []
        for name, prompt, chosen, length, logprobs, index, stream, labels in asked:
            config = SampleConfig(seed=3, length=length, **chosen)
            labels = labels if name == "play" else ()
            job = TextJob(prompt, config, index, stream, logprobs, labels)
            try:
                submitted.append((engine.submit(engine.prepare(name, job)), name, job))
            except (ConfigError, VocabError):  # what `sample` refuses too
                with pytest.raises((ConfigError, VocabError)):
                    alone(opened[name], job)
        for ticket, name, job in submitted:
            expected = alone(opened[name], job)
            assert told.text_of(ticket) == expected.text
            end = told.end_of(ticket)
            assert isinstance(end, Ended)
            assert (end.reason, end.has_end) == (expected.stopped_by, expected.has_end)
            if job.logprobs is None:
                assert told.costs_of(ticket) == []
                continue
            costs = told.costs_of(ticket) + [end.end_cost] * expected.has_end
            assert len(costs) == len(expected.costs)
            for cost, other in zip(costs, expected.costs, strict=True):
                assert cost is not None
                assert cost.nats == pytest.approx(other.nats, rel=1e-3, abs=1e-4)
                assert len(cost.top) == len(other.top)


def alone(models: OpenModels, job: TextJob) -> Any:
    if job.labels:
        models = models.with_labels(job.labels)
    [sample] = models.generator.generate_many(
        job.prompt,
        job.config,
        first=job.index,
        stream=job.stream,
        alternatives=job.logprobs,
        constraint=models.make_constraint(job.config),
    )
    return sample


def test_a_text_that_goes_on_is_the_same_with_its_state_kept_and_without() -> None:
    texts = []
    for cache in ("0", "1MB"):
        with running(cache_size=cache) as (engine, told):
            text = "ab"
            for _ in range(4):
                text += told.text_of(submit(engine, prompt=text, length=400))
            texts.append(text)
            hits = engine.stats().cache_hits
            assert (hits > 0) == (cache != "0")
    assert texts[0] == texts[1]
    assert len(texts[0]) == 1602


def test_the_stop_text_that_ended_a_text_is_told() -> None:
    with running() as (engine, told):
        ticket = submit(engine, stop=("é,", "a", "b"), length=500, ban=("c", "d"))

        end = told.end_of(ticket)
        assert isinstance(end, Ended)
        assert end.reason == "stop"
        assert end.stop in ("a", "b")


def test_the_cost_of_an_end_has_as_many_alternatives_as_were_asked_for() -> None:
    config = SampleConfig(seed=1, length=200)
    with running() as (engine, told):
        jobs = [TextJob("", config, index, logprobs=index % 4) for index in range(16)]
        tickets = [engine.submit(engine.prepare("names", job)) for job in jobs]
        for job, ticket in zip(jobs, tickets, strict=True):
            end = told.end_of(ticket)
            assert isinstance(end, Ended)
            assert end.end_cost is not None
            assert len(end.end_cost.top) == job.logprobs


def test_the_cost_of_a_records_end_is_told_apart() -> None:
    with running() as (engine, told):
        config = SampleConfig(seed=1, length=5000)
        ticket = engine.submit(engine.prepare("names", TextJob("", config, logprobs=1)))

        end = told.end_of(ticket)
        assert isinstance(end, Ended)
        assert (end.reason, end.has_end) == ("end", True)
        assert end.end_cost is not None
        assert end.end_cost.nats > 0


# ── what is refused ──


@pytest.mark.parametrize(
    ("prompt", "config", "error"),
    [
        ("ж", {}, VocabError),
        ("", {"documents": 1}, ConfigError),
        ("", {"regex": "ж"}, ConfigError),
        ("", {"beam": 4}, ConfigError),
        ("", {"stop_regex": r"(a)\1"}, ConfigError),  # no automaton, so no limit to its time
        ("", {"stop": ("ж",)}, ConfigError),
    ],
)
def test_what_cannot_be_sampled_is_refused_before_it_is_queued(
    prompt: str, config: dict[str, Any], error: type[Exception]
) -> None:
    with running() as (engine, _), pytest.raises(error):
        submit(engine, prompt=prompt, **config)


def test_an_unknown_model_or_label_is_refused() -> None:
    config = SampleConfig(seed=1)
    with running() as (engine, _):
        with pytest.raises(ConfigError, match="'film'; there are book"):
            engine.prepare("film", TextJob("", config))
        with pytest.raises(ConfigError, match="HAMLET"):
            engine.prepare("play", TextJob("", config, labels=("who=HAMLET",)))
        with pytest.raises(ConfigError, match="film"):
            engine.submit_slices("film", lambda: iter(()))


class Held:
    """A slice that does not end before it may, so that the engine takes up nothing else."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.may_end = threading.Event()

    def __call__(self) -> Iterator[str]:
        self.has_begun.set()
        assert self.may_end.wait(PATIENCE_SECONDS)
        yield "held"


def test_more_texts_than_may_wait_are_refused_and_the_others_are_sampled() -> None:
    with running(batch=2, queue=3) as (engine, told):
        held = Held()
        tickets = [engine.submit_slices("book", held)]
        assert held.has_begun.wait(PATIENCE_SECONDS)
        tickets += [submit(engine) for _ in range(4)]
        with pytest.raises(QueueFullError, match="5 texts"):
            submit(engine)
        assert engine.stats().waiting == 4

        held.may_end.set()

        assert told.end_of(tickets[0]) == Ended("done")
        assert [len(told.text_of(ticket)) for ticket in tickets[1:]] == [30] * 4
        assert submit(engine).id == tickets[-1].id + 1


# ── what becomes of a ticket ──


def test_a_cancelled_text_is_dropped_and_tells_nothing_more() -> None:
    with running(max_chars=10**7) as (engine, told):
        ticket = submit(engine, length=10**6)
        other = submit(engine, length=10**6)
        told.wait(lambda: ticket.id in told.events and other.id in told.events)

        engine.cancel(ticket)
        seen = len(told.events[ticket.id])
        later = submit(engine, length=3)
        told.end_of(later)

        stats = engine.stats()
        assert (stats.running, stats.cancelled_total) == (1, 1)
        assert len(told.events[ticket.id]) <= seen + 1  # one may have been on its way
        assert not any(isinstance(each, Ended | Failed) for each in told.events[ticket.id])
        engine.cancel(ticket)
        assert ticket.is_ended
        assert not other.is_ended


def test_a_text_that_waits_can_be_cancelled_too() -> None:
    with running(batch=1) as (engine, told):
        held = Held()
        first = engine.submit_slices("book", held)
        waiting = [submit(engine) for _ in range(3)]
        engine.cancel(waiting[1])
        held.may_end.set()

        assert told.text_of(waiting[2])
        assert told.end_of(first) == Ended("done")
        assert waiting[1].id not in told.events
        assert engine.stats().cancelled_total == 1


def test_closing_tells_every_text_why() -> None:
    with running(batch=2) as (engine, told):
        tickets = [submit(engine, length=10**6) for _ in range(4)]
        told.wait(lambda: tickets[1].id in told.events)

        engine.close(reason="good night")

        for ticket in tickets:
            end = told.end_of(ticket)
            assert isinstance(end, Failed)
            assert isinstance(end.error, ServerClosingError)
            assert str(end.error) == "good night"
        with pytest.raises(ServerClosingError):
            submit(engine)
        assert not engine._thread.is_alive()


def test_an_engine_that_never_began_tells_its_texts_too() -> None:
    told = Told()
    engine = Engine(open_all(), ServeConfig(), told)
    ticket = submit(engine)

    engine.close(reason="good night")

    assert isinstance(told.end_of(ticket), Failed)


def test_a_text_ends_once_its_seconds_are_over() -> None:
    with running(max_seconds=0.2) as (engine, told):
        ticket = submit(engine, length=10**7)

        assert told.end_of(ticket) == Ended("seconds")
        assert told.text_of(ticket)


def test_what_fails_in_one_text_ends_that_text_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as (engine, told):
        others = [submit(engine, length=800) for _ in range(9)]
        broken = engine.prepare("book", TextJob("", SampleConfig(seed=1, must=("ab",))))
        constraint: Any = broken.settings.constraint
        monkeypatch.setattr(constraint, "mask", lambda state: 1 / 0)
        ticket = engine.submit(broken)

        end = told.end_of(ticket)
        assert isinstance(end, Failed)
        assert isinstance(end.error, ZeroDivisionError)
        assert [len(told.text_of(other)) for other in others] == [800] * 9


def test_a_rule_that_fails_ends_its_text_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as (engine, told):
        monkeypatch.setattr(UpToSentences, "feed", lambda self, char: 1 / 0)
        ticket = submit(engine, sentences=1)
        other = submit(engine, length=50)

        end = told.end_of(ticket)
        assert isinstance(end, Failed)
        assert isinstance(end.error, ZeroDivisionError)
        assert len(told.text_of(other)) == 50


def test_a_text_that_cannot_be_ended_or_remembered_ends_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running(max_seconds=0.3) as (engine, told):
        other = submit(engine, length=10**6)
        broken = submit(engine, length=20)
        monkeypatch.setattr(Model, "encode", lambda self, text: 1 / 0)
        assert len(told.text_of(broken)) == 20
        assert told.end_of(other) == Ended("seconds")


def test_a_deadline_of_its_own_ends_a_text_and_other_work() -> None:
    with running() as (engine, told):
        soon = time.monotonic() + 0.1
        config = SampleConfig(seed=1, length=10**6)
        text = engine.submit(engine.prepare("book", TextJob("", config)), soon)
        work = engine.submit_slices("book", itertools.count, soon)

        assert told.end_of(text) == Ended("seconds")
        assert told.end_of(work) == Ended("seconds")


def test_a_text_that_was_cancelled_while_its_prompt_was_read_does_not_join() -> None:
    engine = Engine(open_all(), ServeConfig(), Told())
    prepared = engine.prepare("book", TextJob("", SampleConfig(seed=1, length=9)))
    ticket = engine.submit(prepared)
    engine.cancel(ticket)
    state = prepared.served.start
    engine._join(_Prompt(ticket, prepared, iter(()), 0, math.inf), state)

    assert engine.stats().running == 0


def test_a_model_that_fails_ends_its_texts_and_serves_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running() as (engine, told):
        ticket = submit(engine, length=10**6)
        told.wait(lambda: ticket.id in told.events)
        with monkeypatch.context() as patch:
            patch.setattr(Network, "logits", lambda self, state: 1 / 0)
            end = told.end_of(ticket)
        assert isinstance(end, Failed)
        assert isinstance(end.error, ZeroDivisionError)

        assert len(told.text_of(submit(engine))) == 30


# ── its time ──


def test_other_work_is_done_a_slice_at_a_time_between_characters() -> None:
    with running() as (engine, told):
        text = submit(engine, length=10**6)
        told.wait(lambda: text.id in told.events)

        def count() -> Iterator[int]:
            yield from range(5)

        def fail() -> Iterator[str]:
            yield "a"
            raise OSError("gone")

        good = engine.submit_slices("book", count)
        bad = engine.submit_slices("book", fail)

        assert told.end_of(good) == Ended("done")
        assert told.events[good.id] == [*map(Slice, range(5)), Ended("done")]
        assert str(told.end_of(bad).error) == "gone"  # type: ignore[union-attr]
        assert not text.is_ended


def test_a_long_prompt_keeps_neither_texts_nor_short_prompts_waiting() -> None:
    with running() as (engine, told):
        long = submit(engine, prompt="ab" * 200_000, length=3)
        short = submit(engine, prompt="a", length=300)

        assert len(told.text_of(short)) == 300
        assert not long.is_ended  # it was asked for first, and takes a hundred times as long
        assert engine.stats().reading == 1


def test_characters_are_delivered_together_but_the_first_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_module, "_FLUSH_SECONDS", 1000.0)
    with running() as (engine, told):
        told.text_of(submit(engine, length=2))  # the first flush is at once, too
        ticket = submit(engine, length=50)
        told.end_of(ticket)

        pieces = [each.text for each in told.events[ticket.id] if isinstance(each, Piece)]
        assert [*map(len, pieces)] == [1, 49]


def test_stats_count_what_was_done() -> None:
    with running() as (engine, told):
        for _ in range(2):
            told.text_of(submit(engine, prompt="ab ab", length=20))

        stats = engine.stats()
        assert (stats.chars_total, stats.prompt_chars_total, stats.ended_total) == (40, 10, 2)
        assert (stats.waiting, stats.reading, stats.running) == (0, 0, 0)
        assert stats.cache_hits >= 1
        assert 0 < stats.cache_bytes < 10**6
        assert stats.steps_total >= 40
        assert stats.uptime_seconds > 0


def test_texts_of_one_settings_share_a_chain_whatever_ends_them() -> None:
    with running() as (engine, _):
        configs = [
            {"seed": 1, "temperature": 0.7},
            {"seed": 2, "temperature": 0.7, "length": 9, "stop": ("a",)},
            {"seed": 2, "temperature": 0.6},
        ]
        jobs = [engine.prepare("book", TextJob("", SampleConfig(**each))) for each in configs]

        chains = [job.settings.chain for job in jobs]
        assert chains[0] is chains[1]
        assert chains[0] is not chains[2]


def test_a_prompt_is_told_as_the_model_reads_it() -> None:
    with running() as (engine, _):
        config = SampleConfig(seed=1, unknown="skip")
        prepared = engine.prepare("book", TextJob("aжb", config))

        assert (prepared.prompt, prepared.prompt_chars) == ("ab", 2)
        assert np.array_equal(prepared.prompt_ids, open_all()["book"].generator.encode("ab"))
