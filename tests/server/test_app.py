from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from charrnn.checkpoint.model_file import ModelFile
from tests.server.asgi import Client, serving

KEY = "correct-horse-battery"


@pytest.fixture(scope="module")
def client(make_model: Callable[..., ModelFile]) -> Iterator[Client]:
    with serving({"book": make_model()}) as found:
        yield found


def test_a_path_that_is_not_there_names_the_nearest(client: Client) -> None:
    error = client.post("/v1/completion", {"prompt": "a"}).error

    assert error["code"] == "not_found"
    assert "/v1/completions" in error["message"]
    assert client.get("/wp-login.php").status == 404


def test_a_path_of_another_server_names_the_route_for_it_here(client: Client) -> None:
    error = client.post("/v1/responses", {"input": "a"}).error
    assert error["message"] == "there is nothing at '/v1/responses'; use POST /v1/completions"
    assert "use GET /v1/models" in client.get("/api/tags").error["message"]


def test_a_path_that_nothing_is_near_gets_all_routes(client: Client) -> None:
    message = client.get("/wp-login.php").error["message"]

    posted, _, got = message.partition("; there are POST ")[2].partition("; GET ")
    assert {"/v1/completions", "/v1/score", "/tokenize"} < {*posted.split(", ")}
    assert {"/health", "/v1/models", "/v1/models/{id}", "/generate"} < {*got.split(", ")}


def test_a_proxy_that_leaves_the_root_path_in_is_told_to_strip_it(
    make_model: Callable[..., ModelFile],
) -> None:
    with serving({"book": make_model()}, root_path="/charrnn") as client:
        # As uvicorn has it, which puts the root path before what the proxy sends.
        message = client.get("/charrnn/charrnn/v1/models").error["message"]
    assert "let the proxy strip it and ask for '/v1/models'" in message


def test_a_method_that_is_not_taken_names_those_that_are(client: Client) -> None:
    answer = client.get("/v1/completions")

    assert answer.status == 405
    assert answer.headers["allow"] == "POST"
    assert "use POST" in answer.error["message"]
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "BREW"):
        assert client.ask(method, "/health").status == 405


def test_every_error_is_an_object_of_openai(client: Client) -> None:
    for answer in (client.get("/nothing"), client.get("/tokenize"), client.post("/tokenize", {})):
        assert answer.headers["content-type"] == "application/json"
        assert set(answer.error) == {"message", "type", "param", "code"}
        assert answer.error["message"]


@pytest.mark.parametrize("path", ["/", "/health", "/v1/models", "/metrics"])
def test_what_may_be_asked_without_a_body_answers(client: Client, path: str) -> None:
    assert client.get(path).status == 200


def test_the_page_allows_nothing_but_its_own_script(client: Client) -> None:
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]

    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "book" in answer.body.decode()


def test_the_page_names_no_model_to_who_has_no_key(make_model: Callable[..., ModelFile]) -> None:
    with serving({"hidden-name": make_model()}, keys=[KEY]) as client:
        answer = client.get("/")
        assert answer.status == 200
        assert "hidden-name" not in answer.body.decode()


def test_a_path_of_the_disk_is_no_path_of_ours(client: Client) -> None:
    for path in (
        "/../../etc/passwd",
        "//etc/passwd",
        "/static/../app.py",
        "/%2e%2e/",
        "/web/page.js",
    ):
        assert client.get(path).status == 404
