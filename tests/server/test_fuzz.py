"""Requests at random: each gets an answer that is no fault of the server, and opens no file."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.checkpoint.model_file import ModelFile
from charrnn.server.errors import RequestError
from charrnn.server.incoming import parse_body
from tests.generation.record_models import WHO, make_records_file
from tests.generation.task_models import make_task_file
from tests.server.asgi import Client, serving
from tests.server.hostile import Attacker

_opened: list[str] | None = None


def _note_files(event: str, arguments: tuple[object, ...]) -> None:
    if _opened is not None and event in ("open", "os.listdir", "os.scandir", "subprocess.Popen"):
        _opened.append(str(arguments[0]))


sys.addaudithook(_note_files)  # which stays until Python ends; it costs little


@pytest.fixture(scope="module")
def client(make_model: Callable[..., ModelFile]) -> Iterator[Client]:
    files = {
        "book": make_model(),
        "play": make_records_file(labels=(WHO,)),
        "kinds": make_task_file("classification"),
        "cases": make_task_file("tagging"),
        "xyz": make_task_file("seq2seq"),
    }
    with serving(files, max_chars=200, max_prompt=5000, role_template="{role}: {content}\n") as one:
        for path in ("/", "/generate?start_text=a"):  # imports and reads what it needs
            one.get(path)
        yield one


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_request_gets_an_answer_that_is_no_fault_of_ours(
    client: Client, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    method, path, body, headers = Attacker(seed).request()
    answer = client.ask(method, path, body, headers)

    assert answer.is_whole
    assert 200 <= answer.status < 500, (path, body)
    if answer.status >= 400:
        assert set(answer.error) == {"message", "type", "param", "code"}
        assert "Traceback" not in answer.error["message"]
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


def test_no_request_opens_a_file(client: Client) -> None:
    global _opened
    attacker = Attacker(1)
    for path in ("../../../etc/passwd", "/etc/passwd", "hf://user/name", "book.safetensors"):
        client.post("/v1/completions", {"model": path, "prompt": "a"})
    _opened = []
    try:
        for _ in range(150):
            client.ask(*attacker.request())
        for path in ("../../../etc/passwd", "/etc/passwd", "hf://user/name", "-", "."):
            for name in ("model", "prompt", "text", "input", "label", "choices", "regex"):
                for route in ("/v1/completions", "/v1/score", "/v1/fill", "/v1/classify"):
                    client.post(route, {"prompt": "a", "text": "ab", "input": "a"} | {name: path})
            client.get(f"/v1/models/{path}")
            client.get(f"/generate?start_text={path}")
        found = [each for each in _opened if not each.endswith((".py", ".pyc"))]
    finally:
        _opened = None

    assert found == []


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_refused(body: bytes) -> None:
    with suppress(RequestError):  # whose status is 400, as it comes from bad_request alone
        assert parse_body(body, 100) == json.loads(body)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.text(), _json, max_size=4))
def test_any_plain_object_is_read_as_it_is(value: dict[str, object]) -> None:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    except ValueError:  # infinity
        return
    assert parse_body(text.encode("utf-8", "surrogatepass"), 1000) == value
