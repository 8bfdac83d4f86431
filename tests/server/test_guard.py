from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.server import exchange, guard
from charrnn.server.errors import RequestError
from charrnn.server.incoming import parse_body
from tests.server.asgi import JSON, Answer, Client, serving

KEY = "correct-horse-battery"


@pytest.fixture(scope="module")
def client(make_model: Callable[..., ModelFile]) -> Iterator[Client]:
    with serving({"book": make_model()}, allow_host=("box.lan",)) as found:
        yield found


@pytest.fixture(scope="module")
def locked(make_model: Callable[..., ModelFile]) -> Iterator[Client]:
    with serving({"book": make_model()}, keys=[KEY, "a-second-key"]) as found:
        yield found


@pytest.fixture(scope="module")
def shared(make_model: Callable[..., ModelFile]) -> Iterator[Client]:
    origins = ("https://app.example.com",)
    with serving({"book": make_model()}, allow_origin=origins) as found:
        yield found


# Who is asked


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8000",
        "127.9.9.9:1",
        "localhost",
        "LocalHost:8000",
        "localhost.:80",
        "[::1]:8000",
        "[::1]",
        "box.lan",
        "BOX.lan:8000",
    ],
)
def test_this_machine_and_allowed_names_are_answered(client: Client, host: str) -> None:
    assert client.get("/health", {"host": host}).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.com",
        "127.0.0.1.evil.com",
        "localhost.evil.com",
        "192.168.1.5",
        "0.0.0.0",
        "",
        "box",
        "127.0.0.1:99:1",
        "127.0.0.1@evil.com",
        "[::2]",
        "localhost/",
        "loca lhost",
        "2130706433",
        "127.1",
        "é.com",
        "localhost:",
        "localhost..",
        "localhost...:8000",
        "[::1",
    ],
)
def test_a_rebound_name_is_refused_before_anything_else(client: Client, host: str) -> None:
    for path in ("/health", "/", "/v1/models", "/nothing"):
        answer = client.get(path, {"host": host})
        assert (answer.status, answer.error["code"]) == (403, "host_not_allowed")


def test_a_refused_host_is_told_the_way_out(client: Client) -> None:
    message = client.get("/health", {"host": "evil.com"}).error["message"]

    assert "'evil.com'" in message
    assert "--allow-host evil.com" in message


def test_where_other_machines_may_ask_an_address_is_no_rebound_name(
    make_model: Callable[..., ModelFile],
) -> None:
    with serving({"book": make_model()}, keys=[KEY], host="0.0.0.0", api_key=KEY) as client:
        assert client.get("/health", {"host": "192.168.1.5:8000"}).status == 200
        assert client.get("/health", {"host": "[fe80::1]:8000"}).status == 200
        assert client.get("/health", {"host": "evil.com"}).status == 403


# Who asks


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000"])
def test_the_own_page_may_ask(client: Client, host: str) -> None:
    assert client.get("/health", {"host": host, "origin": f"http://{host}"}).status == 200


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "http://evil.com",
        "http://localhost:8000",
        "http://127.0.0.1:9000",
        "file://",
        "",
        "http://127.0.0.1:8000.evil.com",
        "http://evil.com/127.0.0.1:8000",
        "127.0.0.1:8000",
        "http://127.0.0.1:8000@evil.com",
        "ftp://127.0.0.1:8000",
        "https://app.example.com.evil.com",
        "http://[",
        "*",
        "https://127.0.0.1:8000",
        "http://127.0.0.1:8000/",
        "http://127.0.0.1:8000?a",
        "http:///127.0.0.1:8000",
    ],
)
def test_a_foreign_page_is_refused_and_may_read_nothing(shared: Client, origin: str) -> None:
    for method in ("GET", "OPTIONS"):
        answer = shared.ask(method, "/health", headers={"origin": origin})
        assert (answer.status, answer.error["code"]) == (403, "origin_not_allowed")
        assert "access-control-allow-origin" not in answer.headers


def test_a_page_that_only_includes_an_address_is_refused(client: Client) -> None:
    for site in ("cross-site", "same-site"):
        headers = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
        assert client.get("/generate?start_text=a", headers).status == 403


def test_a_link_on_another_page_leads_to_our_page_and_starts_no_work(client: Client) -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    visit = link | {"sec-fetch-dest": "document"}

    assert client.get("/", visit).status == 200
    assert client.get("/", link | {"sec-fetch-dest": "iframe"}).status == 403
    for path in ("/generate?start_text=a", "/v1/models", "/metrics", "/health", "/nothing"):
        assert client.get(path, visit).error["code"] == "origin_not_allowed"


def test_the_own_page_behind_a_proxy_with_tls_is_that_of_an_allowed_name(client: Client) -> None:
    def status(scheme: str, host: str) -> int:
        return client.get("/health", {"host": host, "origin": f"{scheme}://{host}"}).status

    assert status("https", "box.lan") == status("http", "box.lan") == 200
    assert status("https", "127.0.0.1:8000") == 403


def test_an_allowed_page_may_read_answers(shared: Client) -> None:
    answer = shared.get("/health", {"origin": "https://app.example.com"})

    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
    assert answer.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in answer.headers


def test_an_allowed_page_may_ask_beforehand(shared: Client) -> None:
    asked = {
        "origin": "https://app.example.com",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-stainless-os",
        "access-control-request-private-network": "true",
    }
    answer = shared.ask("OPTIONS", "/v1/completions", headers=asked)

    assert answer.status == 204
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == asked["access-control-request-headers"]
    assert answer.headers["access-control-allow-private-network"] == "true"


def test_no_answer_lets_every_page_read(client: Client, shared: Client) -> None:
    for each in (client, shared):
        for origin in ({}, {"origin": "http://127.0.0.1:8000"}, {"origin": "null"}):
            answer = each.get("/v1/models", origin)
            assert answer.headers.get("access-control-allow-origin") is None


def test_a_form_cannot_be_posted(client: Client) -> None:
    body = b'{"prompt": "a", "max_tokens": 1}'
    kinds = ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
    kinds += [
        "application/jsonp",
        "text/plain; application/json",
        "application/json; charset=utf-7",
    ]
    for kind in kinds:
        answer = client.ask("POST", "/v1/completions", body, {"content-type": kind})
        assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")
    compressed = {"content-type": JSON, "content-encoding": "gzip"}
    assert client.ask("POST", "/v1/completions", body, compressed).status == 415
    for kind in (JSON, "Application/JSON; charset=UTF-8"):
        assert client.ask("POST", "/v1/completions", body, {"content-type": kind}).status == 200


# The key


def test_without_the_key_nothing_but_health_and_the_page_is_answered(locked: Client) -> None:
    assert locked.get("/health").status == 200
    assert locked.get("/").status != 401
    for path in ("/v1/models", "/metrics", "/tokenizer_info", "/generate?start_text=a", "/nothing"):
        answer = locked.get(path)
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert locked.post("/v1/completions", {"prompt": "a"}).status == 401
    assert locked.post("/", {}).status == 401


@pytest.mark.parametrize("given", [KEY, "a-second-key"])
def test_any_of_the_keys_is_enough(locked: Client, given: str) -> None:
    assert locked.get("/v1/models", {"authorization": f"Bearer {given}"}).status == 200
    assert locked.get("/v1/models", {"authorization": f"bearer  {given} "}).status == 200


@pytest.mark.parametrize(
    "given",
    [
        "",
        KEY,
        "Bearer",
        "Bearer ",
        f"Basic {KEY}",
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY.upper()}",
        "Bearer é",
        f"Bearer {KEY} {KEY}",
    ],
)
def test_anything_else_is_no_key(locked: Client, given: str) -> None:
    answer = locked.get("/v1/models", {"authorization": given})

    assert answer.status == 401
    assert KEY not in answer.body.decode()


def test_a_key_without_the_word_bearer_is_told_so_and_not_shown(locked: Client) -> None:
    for given in (KEY, f"Basic {KEY}"):
        error = locked.get("/v1/models", {"authorization": given}).error
        assert "does not begin with the word Bearer" in error["message"]
        assert KEY not in error["message"]
    assert "there is no key" in locked.get("/v1/models").error["message"]


def test_keys_are_compared_in_constant_time(
    locked: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr("hmac.compare_digest", compare)
    locked.get("/v1/models", {"authorization": f"Bearer {KEY}"})

    assert compared == [(KEY.encode(), KEY.encode()), (KEY.encode(), b"a-second-key")]


# How much


def test_a_body_of_the_largest_size_is_read_and_one_more_byte_is_not(
    make_model: Callable[..., ModelFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "_DRAIN_SECONDS", 0.01)
    with serving({"book": make_model()}, max_body="1kB") as client:
        body = json.dumps({"prompt": "a"}).encode()
        whole = body + b" " * (1000 - len(body))
        assert client.post("/tokenize", whole).status == 200
        for headers in ({}, {"content-length": "1001"}):
            answer = client.post("/tokenize", whole + b" ", headers)
            assert (answer.status, answer.error["code"]) == (413, "body_too_large")


def test_a_body_without_an_end_is_refused_at_the_limit(client: Client) -> None:
    answer = Answer()
    messages = [{"type": "http.request", "body": b" " * 100_000, "more_body": True}] * 41

    async def receive() -> Any:
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        answer.status = message.get("status", answer.status)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/tokenize",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", JSON.encode())],
    }
    client.run(client.app(scope, receive, send))

    assert answer.status == 413
    assert len(messages) < 41


def test_large_bodies_share_a_room_and_small_ones_need_none(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_MOST_HELD_BYTES", 5_000_000)
    monkeypatch.setattr(exchange, "_DRAIN_SECONDS", 0.01)
    headers = {"content-type": JSON}
    large = [b'{"prompt": "', b"a" * 3_000_000, b'"}']

    async def ask() -> list[Answer]:
        hanging = asyncio.Event()
        held = asyncio.ensure_future(client.exchange("POST", "/slow", large, headers, gone=hanging))
        await asyncio.sleep(0.05)
        second = await client.exchange("POST", "/slow", large, headers)
        small = await client.exchange("POST", "/tokenize", [b'{"prompt": "a"}'], headers)
        hanging.set()
        await held
        after = await client.exchange("POST", "/tokenize", [*large[:2], b'"x}'], headers)
        return [second, small, after]

    inner = client.app._app

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await asyncio.sleep(60)
        await inner(scope, receive, send)

    monkeypatch.setattr(client.app, "_app", app)
    second, small, after = client.run(ask())

    assert (second.status, second.error["code"]) == (503, "overloaded")
    assert second.headers["retry-after"] == "1"
    assert (small.status, after.status) == (200, 400)


def test_a_body_with_two_lengths_is_refused(client: Client) -> None:
    both = {"content-length": "15", "transfer-encoding": "chunked"}
    answer = client.post("/tokenize", {"prompt": "a"}, both)

    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert "Transfer-Encoding" in answer.error["message"]


def test_a_slow_body_is_given_up(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.05)
    statuses: list[int] = []
    headers: list[tuple[bytes, bytes]] = []

    async def receive() -> Any:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def send(message: Any) -> None:
        if "status" in message:
            statuses.append(message["status"])
            headers.extend(message["headers"])

    monkeypatch.setattr(exchange, "_DRAIN_SECONDS", 0.05)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/tokenize",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", JSON.encode())],
    }
    client.run(client.app(scope, receive, send))

    assert statuses == [408]
    assert (b"connection", b"close") in headers


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"\n ", "empty"),
        (b"[]", "list"),
        (b"1", "single value"),
        (b'"a"', "single value"),
        (b"{", "not JSON"),
        (b'{"a": 1}x', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"a": \xff}', "not UTF-8"),
        (b'{"prompt": "\xed\xa0\x80"}', "not UTF-8"),
        (b'{"prompt": "\\ud800"}', "surrogate"),
        (b'{"\\udc00": 1}', "surrogate"),
        (b'{"a": NaN}', "not finite"),
        (b'{"a": -Infinity}', "not finite"),
        (b'{"a": 1e999}', "not finite"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": [{"b": 1, "b": 2}]}', "twice"),
        (b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}", "nested"),
        (b"[" * 1_000_000, "nested"),
        (b'{"a":' * 100_000, "nested"),
        (b'{"a": [' + b"{}," * 30_000 + b"{}]}", "objects and lists"),
        (b'{"a": [' + b"0," * 2_000_000 + b"0]}", "values"),
        (b'{"a": "' + b'\\"' * 1_000_000, "not JSON"),
        (b'{"a": "x\\', "not JSON"),
    ],
)
def test_what_is_not_plain_json_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_body(body, 1_000_000)

    assert caught.value.status == 400
    assert words in caught.value.message
    assert len(caught.value.message) < 300


def test_a_text_may_hold_what_looks_like_nesting() -> None:
    text = '[{"' * 50_000 + "\\" * 9 + '"]}' * 50_000

    assert parse_body(json.dumps({"prompt": text}).encode(), 10) == {"prompt": text}


def test_a_long_prompt_of_ids_is_read() -> None:
    ids = [*range(100_000)]

    assert parse_body(json.dumps({"prompt": ids}).encode(), 1_000_000)["prompt"] == ids


def test_a_deciding_header_may_not_come_twice(client: Client) -> None:
    statuses: list[int] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    for name, value in ((b"host", b"evil.com"), (b"origin", b"null"), (b"authorization", b"x")):
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/health",
            "headers": [(b"host", b"localhost"), (name, b"localhost"), (name, value)],
        }
        client.run(client.app(scope, receive, send))

    assert statuses == [400, 400, 400]


# Answers and the log


def test_every_answer_has_the_headers_that_keep_browsers_safe(client: Client) -> None:
    answers = [client.get("/health"), client.get("/nothing"), client.get("/", {"host": "evil.com"})]
    answers += [client.post("/tokenize", b"{")]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_a_request_that_was_not_read_to_its_end_closes_the_connection(client: Client) -> None:
    unread = client.ask("POST", "/tokenize", b"a=b", {"content-type": "text/plain"})
    read = client.post("/tokenize", {"prompt": "a"})
    with_body = client.ask("GET", "/health", b"x", {"content-length": "1"})

    assert unread.headers["connection"] == "close"
    assert with_body.headers["connection"] == "close"
    assert "connection" not in read.headers


def test_texts_are_not_logged_unless_asked_for(
    make_model: Callable[..., ModelFile], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "charrnn.serve")
    with serving({"book": make_model()}) as client:
        client.post("/tokenize", {"prompt": "abba"})
        client.get("/generate?start_text=abba&n=1")
    assert "POST /tokenize 200" in caplog.text
    assert "abba" not in caplog.text

    with serving({"book": make_model()}, log_prompts=True) as client:
        client.post("/tokenize", {"prompt": "abba"})
    assert '{"prompt": "abba"}' in caplog.text


def test_a_client_that_is_gone_has_its_handler_cancelled(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled = []

    async def handler(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    monkeypatch.setattr(client.app, "_app", handler)

    async def leave() -> Answer:
        gone = asyncio.Event()
        asyncio.get_running_loop().call_later(0.02, gone.set)
        return await client.exchange("GET", "/health", gone=gone)

    assert client.run(leave()).status == 0
    assert cancelled == [True]


def test_a_failure_of_ours_is_told_without_its_details(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def handler(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(client.app, "_app", handler)
    answer = client.get("/health")

    assert answer.status == 500
    assert "secret" not in answer.body.decode()
