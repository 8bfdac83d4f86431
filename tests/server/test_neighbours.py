from __future__ import annotations

import socket
from contextlib import closing

import pytest

from charrnn.cli import serve
from charrnn.config.serve import ServeConfig
from charrnn.server.neighbours import is_charrnn, own_address, reachable

KEY = "correct-horse-battery"


def test_an_address_of_its_own_stays_and_every_one_is_this_machine() -> None:
    assert [reachable(host) for host in ("0.0.0.0", "::", "box.lan")] == [
        "127.0.0.1",
        "::1",
        "box.lan",
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.7", "box.lan"])
def test_only_a_server_on_every_address_is_told_the_one_of_its_machine(host: str) -> None:
    assert own_address(host) is None
    assert own_address("0.0.0.0") != "127.0.0.1"


@pytest.mark.parametrize(
    ("host", "address", "shown"),
    [("0.0.0.0", "10.0.0.7", "http://10.0.0.7:8004"), ("::", "fd00::7", "http://[fd00::7]:8004")],
)
def test_the_line_of_the_start_says_how_other_machines_ask(
    monkeypatch: pytest.MonkeyPatch, host: str, address: str, shown: str
) -> None:
    monkeypatch.setattr(serve, "own_address", {host: address}.get)
    url = "http://127.0.0.1:8004"
    config = ServeConfig(host=host, api_key=KEY)
    named = ServeConfig(host=host, api_key=KEY, allow_host=("box.lan",))

    said = f", from other machines at {shown}"
    assert serve._url_elsewhere(url, config) == f"{said}; by a name only with --allow-host NAME"
    assert serve._url_elsewhere(url, named) == said
    assert serve._url_elsewhere(url, ServeConfig()) == ""


def test_what_does_not_answer_is_no_charrnn() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        assert not is_charrnn("127.0.0.1", other.getsockname()[1])
