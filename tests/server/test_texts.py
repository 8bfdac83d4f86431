"""The texts of a request: their time, their share of the engine, and lines that are not blank."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from charrnn.config import SampleConfig
from charrnn.config.serve import ServeConfig
from charrnn.generation.samples import Cost
from charrnn.server import service as service_module
from charrnn.server import texts as texts_module
from charrnn.server.jobs import Ended, Piece, Ticket
from charrnn.server.metrics import Metrics
from charrnn.server.server import Server
from charrnn.server.service import Stream
from charrnn.tasks.model import Model
from charrnn.tasks.open_models import OpenModels
from charrnn.tasks.sample import SampleRequest, iter_samples
from tests.server.asking import Asker
from tests.server.test_completions import PATH, wait_for
from tests.server.tiny_models import make_files


def texts(answer: Any) -> list[str]:
    return [choice["text"] for choice in answer["choices"]]


# Blank lines


@pytest.fixture(scope="module")
def book() -> OpenModels:
    file = make_files()["book"]
    model = Model(file)
    return OpenModels(model, "book", model.file, source=file)


ASKED: dict[str, Any] = {"max_tokens": 30, "seed": 5, "lines": 1, "bias": ["\n=4"]}


def samples_of(models: OpenModels, prompt: str, count: int, **settings: Any) -> list[str]:
    config = SampleConfig(temperature=1.0, length=30, seed=5, lines=1, bias=("\n=4",), **settings)
    request = SampleRequest(count=count)
    return [each.text for each in iter_samples(models, prompt, config, request)]


@pytest.mark.parametrize("prompt", ["ab\n", "", "ab", "ab\n  "])
def test_blank_lines_are_passed_over_as_sample_does(
    ask: Asker, book: OpenModels, prompt: str
) -> None:
    expected = samples_of(book, prompt, 12)
    answer = ask.complete(prompt=prompt, n=12, **ASKED)

    assert texts(answer) == expected
    assert len(expected) == 12
    if prompt == "ab\n":
        config = SampleConfig(temperature=1.0, length=30, seed=5, lines=1, bias=("\n=4",))
        made = book.generator.generate_many(prompt, config, count=12)
        assert any(not each.text.strip() for each in made)


def test_blank_lines_are_passed_over_in_streams_and_of_each_prompt(
    ask: Asker, book: OpenModels
) -> None:
    answer = ask.post(
        PATH, {"prompt": ["ab\n", "b"], "n": 3, "stream": True, "echo": True, **ASKED}
    )
    found: dict[int, str] = defaultdict(str)
    for event in answer.events:
        for choice in event["choices"]:
            found[choice["index"]] += choice["text"]
    whole = texts(ask.complete(prompt=["ab\n", "b"], n=3, echo=True, **ASKED))

    assert [found[index] for index in range(6)] == whole
    assert whole[:3] == ["ab\n" + each for each in samples_of(book, "ab\n", 3)]


def test_where_all_lines_are_blank_the_texts_are_empty(ask: Asker) -> None:
    answer = ask.complete(prompt="ab\n", n=2, lines=1, only="\n", max_tokens=3)

    assert texts(answer) == ["", ""]
    assert {choice["stop_reason"] for choice in answer["choices"]} == {"lines"}


# Time


def test_a_search_for_several_prompts_has_the_time_of_one_request(tiny_runs: Path) -> None:
    with Server(["book"], ServeConfig(port=0, max_seconds=0.4), tiny_runs) as server:
        body = {"prompt": ["a"] * 40, "beam": 100, "max_tokens": 45}
        began = time.monotonic()
        answer = Asker(server.url).post(PATH, body)

    assert answer.status == 408
    assert time.monotonic() - began < 2


def test_searches_for_several_prompts_count_together(ask: Asker) -> None:
    assert ask.refuse(prompt=["a", "b"], beam=1000, max_tokens=150)["param"] == "beam"


def test_the_memory_of_a_beam_has_a_limit(ask: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts_module, "_MAX_BEAM", 1000)
    message = ask.refuse(prompt="a", beam=100, max_tokens=3)["message"]
    size = make_files()["book"].vocab.size

    assert message.endswith(f"it can be at most {1000 // size}")


def test_an_echo_that_takes_too_long_is_told_so(tiny_runs: Path) -> None:
    with Server(["book"], ServeConfig(port=0, max_seconds=0.3), tiny_runs) as server:
        body = {"prompt": "ab" * 100_000, "echo": True, "logprobs": 0, "max_tokens": 0}
        answer = Asker(server.url).post(PATH, body)

    assert answer.status == 408
    assert answer.error["code"] == "max_seconds"


def test_an_echo_whose_turn_never_comes_is_told_so(tiny_runs: Path) -> None:
    config = ServeConfig(port=0, max_seconds=0.3, batch=1)
    with Server(["book"], config, tiny_runs) as server:
        engine = server.service.engine
        other = engine.submit_slices("book", itertools.count, time.monotonic() + 60)
        body = {"prompt": "ab", "echo": True, "logprobs": 0, "max_tokens": 0}
        answer = Asker(server.url).post(PATH, body)
        engine.cancel(other)

    assert answer.status == 408
    assert answer.error["code"] == "max_seconds"


def test_an_echo_waits_while_the_queue_is_full(tiny_runs: Path) -> None:
    with Server(["book"], ServeConfig(port=0, batch=1, queue=0), tiny_runs) as server:
        body = {"prompt": "ab", "echo": True, "logprobs": 0, "max_tokens": 500}
        assert Asker(server.url).post(PATH, body).status == 200


def test_the_costs_of_one_answer_have_a_limit(ask: Asker) -> None:
    error = ask.refuse(prompt="a", max_tokens=7000, n=8, logprobs=10)

    assert error["param"] == "logprobs"


# Shares


def test_requests_of_many_texts_share_the_engine_and_leave_room(
    tiny_server: Server, ask: Asker
) -> None:
    stats = tiny_server.service.engine.stats
    assert wait_for(lambda: stats().running == 0)
    with ExitStack() as stack:
        for expected in (32, 48, 56):
            connection = ask.connect()
            stack.callback(connection.close)
            ask.send(connection, PATH, {"max_tokens": 100_000, "n": 128})
            assert wait_for(lambda expected=expected: stats().running == expected)  # type: ignore[misc]
        began = time.monotonic()
        assert texts(ask.complete(max_tokens=3, seed=1))
        assert time.monotonic() - began < 2
    assert wait_for(lambda: stats().running == 0)


def test_what_takes_long_to_make_keeps_no_plain_request_waiting(
    tiny_server: Server, ask: Asker
) -> None:
    is_over = threading.Event()
    for _ in range(8):
        tiny_server.service._makers.submit(is_over.wait, 20)
    try:
        assert texts(ask.complete(max_tokens=3, seed=1))
    finally:
        is_over.set()
    assert texts(ask.complete(max_tokens=5, seed=1, must="ab"))


# Clients that read slowly


def test_pieces_that_nobody_has_read_become_one() -> None:
    async def put_some() -> tuple[Any, Any]:
        service: Any = SimpleNamespace(
            metrics=Metrics(), register=lambda stream, submit: submit(), forget=lambda ticket: None
        )
        stream = Stream(service, lambda: Ticket(1), time.monotonic() + 10)
        for char in "abc":
            stream.put(Piece(char, (Cost(1.0),)))
        stream.put(Ended("length"))
        with stream:
            return await anext(stream), await anext(stream)

    piece, end = asyncio.run(put_some())
    assert piece == Piece("abc", (Cost(1.0),) * 3)
    assert end == Ended("length")


def test_log_probabilities_of_all_answers_have_a_limit(
    tiny_server: Server, ask: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "_MOST_COSTS", 150_000)
    body = {"prompt": "a", "max_tokens": 100_000, "logprobs": 0, "stream": True}
    first = ask.connect()
    ask.send(first, PATH, body)
    assert wait_for(lambda: tiny_server.service._costs == 100_000)
    answer = ask.post(PATH, body)
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    assert texts(ask.complete(prompt="a", max_tokens=5, logprobs=1))
    first.close()
    assert wait_for(lambda: tiny_server.service._costs == 0)


# Clients that leave


LONG: list[tuple[str, dict[str, Any]]] = [
    (PATH, {"prompt": "a", "beam": 1000, "max_tokens": 200}),
    ("/v1/embeddings", {"input": "ab" * 450_000}),
    ("/v1/score", {"text": "ab" * 450_000}),
    ("/v1/fill", {"text": "ab*" * 8 + "a", "blank": "", "max_gap": 60, "beam_width": 500}),
]


@pytest.mark.parametrize(("path", "body"), LONG, ids=lambda each: str(each)[:20])
def test_work_ends_soon_after_its_client_is_gone(
    tiny_server: Server, ask: Asker, path: str, body: dict[str, Any]
) -> None:
    service = tiny_server.service
    connection = ask.connect()
    ask.send(connection, path, body)
    assert wait_for(lambda: bool(service._workers._work_queue.qsize() or service.is_busy))
    time.sleep(0.2)  # it is read, and has begun
    assert service.is_busy
    connection.close()

    assert wait_for(lambda: not service.is_busy, 2)
