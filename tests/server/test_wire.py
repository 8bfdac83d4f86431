"""JSON and streams of events, byte for byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response

from charrnn.server.wire import DONE, JSON, PING, EventStream, event, iter_json, to_json

values = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda each: (
        st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=3), each, max_size=3)
    ),
    max_leaves=6,
)


def test_json_is_compact_and_in_utf_8() -> None:
    assert (
        to_json({"text": "é月", "n": [1, 2.5, None]}) == '{"text":"é月","n":[1,2.5,null]}'.encode()
    )


@given(values)
def test_a_large_value_has_the_same_json(value: Any) -> None:
    large = {"few": value, "many": [value] * 400, "plain": [1] * 2500}
    assert "".join(iter_json(large)).encode() == to_json(large)


def test_half_of_a_surrogate_pair_is_sent_as_its_escape() -> None:
    raw = to_json({"text": "a\udce9"})

    assert raw == b'{"text":"a\\udce9"}'
    assert json.loads(raw) == {"text": "a\udce9"}


def test_what_is_no_number_is_never_sent() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(float("nan"))


def test_an_answer_says_that_it_is_json() -> None:
    start, body = sent(JSON({"a": [1] * 5000}, 404, {"retry-after": "1"}))
    headers = {name.decode(): value.decode() for name, value in start["headers"]}

    assert start["status"] == 404
    assert json.loads(body["body"]) == {"a": [1] * 5000}
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(body["body"]))
    assert headers["retry-after"] == "1"


class Source:
    """Events with a wait before each, in seconds; is_closed: nobody will read on."""

    def __init__(self, *waits: float) -> None:
        self._waits = waits
        self.is_closed = False

    async def events(self) -> AsyncGenerator[bytes]:
        try:
            for wait in self._waits:
                await asyncio.sleep(wait)
                yield event({"wait": wait})
            yield DONE
        finally:
            self.is_closed = True


def sent(answer: Response, leave_after: int | None = None) -> list[Any]:
    """Return what an answer sends; leave_after: the client goes then."""
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)
        if len(messages) == leave_after:
            raise asyncio.CancelledError

    async def receive() -> Any:
        raise AssertionError

    async def run() -> None:
        await answer({"type": "http"}, receive, send)

    if leave_after is None:
        asyncio.run(run())
    else:
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(run())
    return messages


def stream(source: Source, ping_seconds: float = 1.0) -> EventStream:
    return EventStream(source.events(), ping_seconds)


def test_a_stream_has_the_headers_that_let_proxies_pass_it_on() -> None:
    start, *_ = sent(stream(Source()))
    headers = {name.decode(): value.decode() for name, value in start["headers"]}

    assert start["status"] == 200
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-cache"
    assert headers["x-accel-buffering"] == "no"
    assert "content-length" not in headers


def test_events_come_whole_and_in_order() -> None:
    _, *pieces, last = sent(stream(Source(0, 0)))

    assert [piece["body"] for piece in pieces] == [event({"wait": 0})] * 2 + [DONE]
    assert last == {"type": "http.response.body", "body": b"", "more_body": False}


def test_a_silent_stream_gives_signs_of_life() -> None:
    _, *pieces = sent(stream(Source(0.05), 0.01))
    bodies = [piece["body"] for piece in pieces]

    assert bodies[0] == PING
    assert PING.startswith(b":")  # which every reader of events leaves out
    assert [body for body in bodies if body != PING] == [event({"wait": 0.05}), DONE, b""]


def test_a_stream_that_nobody_reads_is_closed_at_once() -> None:
    source = Source(0, 0, 60)
    sent(stream(source, 30), leave_after=3)

    assert source.is_closed
