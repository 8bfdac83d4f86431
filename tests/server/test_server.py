from __future__ import annotations

import json
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.checkpoint.model_file import ModelFile, pack_model
from charrnn.config.serve import ServeConfig
from charrnn.errors import CharRNNError, CheckpointError, ConfigError, StorageError
from charrnn.server import server as server_module
from charrnn.server.server import Server, read_keys
from charrnn.server.start import import_server
from tests.cli.program import complaint
from tests.server.asking import Answer, Asker

KEY = "correct-horse-battery"


@pytest.fixture(scope="module")
def book(make_model: Callable[..., ModelFile], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a model called book."""
    path = tmp_path_factory.mktemp("models") / "book.safetensors"
    path.write_bytes(pack_model(make_model()))
    return path


@pytest.fixture(scope="module")
def server(book: Path) -> Iterator[Server]:
    config = ServeConfig(port=0, max_chars=10_000_000, connections=20)
    with Server([str(book)], config) as found:
        yield found


@contextmanager
def connected(server: Server, sent: bytes = b"") -> Iterator[socket.socket]:
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as caller:
        caller.sendall(sent)
        yield caller


def read_all(caller: socket.socket) -> bytes:
    """Return what comes until the other end closes."""
    found = b""
    try:
        while part := caller.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


# The address


def test_a_free_port_is_taken_and_told(server: Server) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:\d{4,5}", server.url)
    assert Asker(server.url).get("/health").json["status"] == "ok"
    assert Asker(server.url).get("/v1/models").json["data"][0]["id"] == "book"


def test_an_address_in_use_is_told_with_the_way_out(server: Server, book: Path) -> None:
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(StorageError, match=f"127.0.0.1:{port}: .*in use by another charrnn"):
        Server([str(book)], ServeConfig(port=port))

    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        with pytest.raises(StorageError, match=r"in use; give another port"):
            Server([str(book)], ServeConfig(port=port))


def test_a_wrong_name_is_told_before_an_address_in_use(server: Server, tmp_path: Path) -> None:
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(CheckpointError, match="nosuch"):
        Server(["nosuch"], ServeConfig(port=port), tmp_path)


def test_an_address_of_another_machine_cannot_be_listened_on(book: Path) -> None:
    config = ServeConfig(host="192.0.2.1", port=0, api_key=KEY)
    with pytest.raises(StorageError, match="give host an address of this machine"):
        Server([str(book)], config)
    with pytest.raises(ConfigError, match="no address"):
        Server([str(book)], ServeConfig(host="no host", port=0, api_key=KEY))


def test_the_address_is_free_again_after_a_failed_start(tmp_path: Path) -> None:
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    for _ in range(2):
        with pytest.raises(CheckpointError, match="no run or model file"):
            Server(["nothing"], ServeConfig(port=port), tmp_path)


def test_a_unix_socket_is_made_and_removed(book: Path, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Server([str(book)], ServeConfig(uds=str(path))) as found:
        assert found.url == f"unix:{path}"
        assert stat.S_ISSOCK(path.lstat().st_mode)
        with closing(socket.socket(socket.AF_UNIX)) as caller:
            caller.settimeout(10)
            caller.connect(str(path))
            caller.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert read_all(caller).startswith(b"HTTP/1.1 200")
        with pytest.raises(StorageError, match="in use"):
            Server([str(book)], ServeConfig(uds=str(path)))
    assert not path.exists()


def test_a_socket_that_a_killed_server_left_is_replaced_but_no_file(
    book: Path, tmp_path: Path
) -> None:
    path = tmp_path / "s"
    with closing(socket.socket(socket.AF_UNIX)) as left:
        left.bind(str(path))
    Server([str(book)], ServeConfig(uds=str(path))).close()
    assert not path.exists()

    path.write_text("mine", encoding="utf-8")
    with pytest.raises(StorageError, match="a file is there"):
        Server([str(book)], ServeConfig(uds=str(path)))
    assert path.read_text(encoding="utf-8") == "mine"


def test_two_models_of_one_name_are_refused(book: Path) -> None:
    with pytest.raises(ConfigError, match="two models are called 'book'"):
        Server([str(book), str(book)], ServeConfig(port=0))


# Keys


def test_a_file_holds_a_key_in_each_line(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"{KEY}\n\n second-key-1 \n", encoding="utf-8")

    assert read_keys(ServeConfig(api_key_file=str(path))) == [KEY, "second-key-1"]
    assert read_keys(ServeConfig(api_key=KEY)) == [KEY]
    assert read_keys(ServeConfig()) == []


@pytest.mark.parametrize("text", ["", "\n", "short\n", "with a space in it\n", "schlüssel-mit-ü\n"])
def test_a_file_without_a_good_key_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError) as caught:
        read_keys(ServeConfig(api_key_file=str(path)))
    assert not text.strip() or text.strip() not in caught.value.message
    with pytest.raises(ConfigError, match="cannot read the keys"):
        read_keys(ServeConfig(api_key_file=str(tmp_path / "missing")))


def test_no_object_shows_the_key() -> None:
    assert KEY not in repr(ServeConfig(api_key=KEY))


# Connections


def test_what_is_not_http_is_told_so(server: Server) -> None:
    for sent in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"\x00" * 100):
        with connected(server, sent + b"\r\n\r\n") as caller:
            assert read_all(caller).startswith(b"HTTP/1.1 400")
    long = b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connected(server) as caller:
        with suppress(BrokenPipeError, ConnectionResetError):
            caller.sendall(long)
        assert read_all(caller)[:12] in (b"HTTP/1.1 400", b"")
    assert Asker(server.url).get("/health").status == 200


def test_garbage_in_the_middle_of_a_body_ends_the_connection_quietly(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    head = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    for rest in (
        b"zz\r\n{}\r\n",
        b"5\r\n{}",
        b"ffffffffffffffffff\r\n",
        b"0\r\n\r\nGARBAGE\r\n\r\n",
    ):
        with connected(server, chunked + rest) as caller:
            caller.shutdown(socket.SHUT_WR)
            read_all(caller)
    assert Asker(server.url).get("/health").status == 200
    assert not [each for each in caplog.records if each.levelname == "ERROR"]


def test_a_connection_without_a_request_is_closed_in_time(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "HEADER_SECONDS", 0.2)
    began = time.monotonic()
    for sent in (b"", b"GET /health HTTP/1.1\r\nHost: loc", b"GET"):
        with connected(server, sent) as caller:
            assert read_all(caller) == b""
    assert time.monotonic() - began < 3


def test_slow_headers_do_not_hold_a_connection(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "HEADER_SECONDS", 0.3)
    begun = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
    with connected(server, begun) as caller:
        began = time.monotonic()
        with suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() < began + 5:
                caller.sendall(b"X-Slow: 1\r\n")
                time.sleep(0.05)
        assert time.monotonic() < began + 2


def test_clients_who_only_hold_connections_shut_nobody_out(server: Server) -> None:
    held = [socket.create_connection(("127.0.0.1", int(server.url[17:]))) for _ in range(60)]
    try:
        for caller in held[::2]:
            caller.sendall(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Le")
        for _ in range(5):
            began = time.monotonic()
            assert Asker(server.url).get("/health").status == 200
            assert time.monotonic() - began < 1
    finally:
        for caller in held:
            caller.close()


def test_a_client_that_reads_nothing_is_given_up(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_WRITE_SECONDS", 0.2)
    connections = server._uvicorn.server_state.connections
    body = json.dumps({"prompt": "a" * 900_000, "return_token_strs": True})  # more than 4 MB
    sent = "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    sent += f"Content-Length: {len(body)}\r\n\r\n{body}"
    with closing(socket.socket()) as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.connect(("127.0.0.1", int(server.url[17:])))
        before = len(connections)
        caller.sendall(sent.encode())
        ended = time.monotonic() + 10
        while not any(each.flow.write_paused for each in [*connections]):
            assert time.monotonic() < ended
            time.sleep(0.01)
        while len(connections) >= max(before, 1) and time.monotonic() < ended:
            time.sleep(0.01)
        assert len(connections) < max(before, 1)


def test_requests_follow_each_other_on_a_connection(server: Server) -> None:
    connection = HTTPConnection("127.0.0.1", int(server.url[17:]), timeout=10)
    with closing(connection):
        for path, status in (("/health", 200), ("/nothing", 404), ("/health", 200)):
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status


# The end


def test_streams_are_told_of_the_end_which_comes_soon(book: Path) -> None:
    config = ServeConfig(port=0, max_chars=10_000_000, batch=8)
    body = {"prompt": "a", "max_tokens": 10_000_000, "stream": True}
    found: list[bytes] = []
    with Server([str(book)], config) as server:
        asker = Asker(server.url)
        connections = [asker.connect() for _ in range(20)]
        for each in connections:
            asker.send(each, "/v1/completions", body)
        began_reading = threading.Barrier(len(connections) + 1)

        def read(connection: HTTPConnection) -> None:
            answer = connection.getresponse()
            began_reading.wait(10)
            found.append(answer.read())
            connection.close()

        readers = [threading.Thread(target=read, args=(each,)) for each in connections]
        for reader in readers:
            reader.start()
        began_reading.wait(10)
        began = time.monotonic()
    seconds = time.monotonic() - began
    for reader in readers:
        reader.join(5)

    assert seconds < 2
    assert len(found) == 20
    for each in found:
        last = each.strip().split(b"\n\n")[-1]
        assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "server_closing"


def test_a_server_can_be_made_again_at_once(book: Path) -> None:
    with Server([str(book)], ServeConfig(port=0)) as first:
        port = int(first.url.rpartition(":")[2])
        assert Asker(first.url).get("/health").status == 200
    with Server([str(book)], ServeConfig(port=port)) as second:
        assert Asker(second.url).get("/health").status == 200


def test_a_failed_start_is_told_to_who_started(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server([str(book)], ServeConfig(port=0))
    monkeypatch.setattr(server.service.engine, "start", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        server.start()
    assert server._socket.fileno() == -1


def test_python_can_serve_too(book: Path) -> None:
    with charrnn.start_server(book, port=0) as server:
        assert Asker(server.url).get("/health").status == 200

    urls: list[str] = []

    def ready(url: str) -> None:
        urls.append(url)
        raise KeyboardInterrupt  # as if Ctrl-C came here

    with pytest.raises(CharRNNError, match="there is no setting 'prot'; did you mean 'port'"):
        charrnn.start_server(book, prot=1)
    with pytest.raises(KeyboardInterrupt):
        charrnn.serve(book, port=0, on_ready=ready)
    assert urls[0].startswith("http://127.0.0.1:")


# The command


def start(book: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    """Start the program; return it and its line."""
    command = [sys.executable, "-m", "charrnn", "serve", str(book), "--port", "0", *options]
    program = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert program.stdout is not None
    return program, program.stdout.readline()


def test_a_short_key_is_told_by_the_name_of_what_holds_it(
    book: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = "must hold 8 characters of ASCII or more"
    for options, name in ((["--api-key", "secret"], "--api-key"), ([], "CHARRNN_API_KEY")):
        if not options:
            monkeypatch.setenv("CHARRNN_API_KEY", "secret")
        code, said = complaint(capsys, "serve", str(book), *options)
        assert code == 2
        assert f"{name} {wanted}" in said
        assert "secret" not in said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_program_in_time(book: Path, number: int, code: int) -> None:
    program, line = start(book)
    match = re.fullmatch(r"serving book at (http://127\.0\.0\.1:\d+) \(Ctrl-C stops it\)\n", line)
    assert match
    asker = Asker(match[1])
    assert asker.get("/health").status == 200
    began = time.monotonic()
    program.send_signal(number)
    out, err = program.communicate(timeout=10)

    assert (program.returncode, out) == (code, "")
    assert time.monotonic() - began < 2
    assert re.fullmatch(r"\d\d:\d\d:\d\d GET /health 200 \d\.\d{3}s\n", err)


LONG_WORK: list[tuple[str, dict[str, Any]]] = [
    ("/v1/completions", {"prompt": "a", "beam": 1000, "max_tokens": 200}),
    ("/v1/completions", {"prompt": "a", "max_tokens": 20_000}),
    ("/v1/score", {"text": "ab" * 450_000}),
    ("/v1/embeddings", {"input": "ab" * 450_000}),
    ("/v1/fill", {"text": "ab*" * 8 + "a", "blank": "", "max_gap": 60, "beam_width": 500}),
]


def test_a_signal_ends_work_of_any_kind_and_tells_its_clients(book: Path) -> None:
    program, line = start(book, "--no-log-requests")
    asker = Asker(re.findall(r"http://\S+", line)[0])
    connections = [asker.connect() for _ in LONG_WORK]
    for connection, (path, body) in zip(connections, LONG_WORK, strict=True):
        asker.send(connection, path, body)
    assert asker.get("/health").status == 200
    time.sleep(0.2)  # the requests are read, and two of them are in a thread
    began = time.monotonic()
    program.send_signal(signal.SIGINT)
    answers = [Answer(connection.getresponse()) for connection in connections]
    for connection in connections:
        connection.close()
    _, err = program.communicate(timeout=10)
    seconds = time.monotonic() - began

    assert seconds < 2
    assert (program.returncode, err) == (130, "")
    assert [each.status for each in answers] == [503] * len(answers)
    assert {each.error["code"] for each in answers} == {"server_closing"}


def test_a_second_signal_ends_the_program_at_once(book: Path, tmp_path: Path) -> None:
    path = tmp_path / "s"
    program, line = start(book, "--uds", str(path), "--no-log-requests")
    assert line == f"serving book at unix:{path} (Ctrl-C stops it)\n"
    program.send_signal(signal.SIGSTOP)  # so that both come before the first is obeyed
    program.send_signal(signal.SIGINT)
    program.send_signal(signal.SIGTERM)
    program.send_signal(signal.SIGCONT)
    _, err = program.communicate(timeout=10)

    assert program.returncode in (130, 143)
    assert err == ""
    assert not path.exists()


def test_the_server_imports_neither_torch_nor_rich(book: Path) -> None:
    code = f"""
import sys, charrnn
from tests.server.asking import Answer, Asker
with charrnn.start_server({str(book)!r}, port=0) as server:
    for path in ("/", "/health", "/v1/models", "/metrics", "/generate?start_text=a&n=1"):
        assert Asker(server.url).get(path).status == 200, path
    assert Asker(server.url).post("/v1/completions", {{"prompt": "a"}}).status == 200
print([each for each in ("torch", "rich", "click.testing") if each in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_program_tells_what_it_cannot_serve(
    book: Path, capsys: pytest.CaptureFixture[str], server: Server, tmp_path: Path
) -> None:
    port = server.url.rpartition(":")[2]
    folder = ("--checkpoints", str(tmp_path))
    quiet = ("serve", "--no-log-requests")  # the other server logs there too

    assert complaint(capsys, *quiet, str(book), "--port", port)[0] == 7
    assert complaint(capsys, *quiet, *folder, "--port", "0")[0] == 4
    assert complaint(capsys, *quiet, "nothing", *folder, "--port", "0")[0] == 4
    code, line = complaint(capsys, *quiet, str(book), "--host", "0.0.0.0", "--port", "0")
    assert code == 2
    assert "--api-key-file" in line
    code, line = complaint(capsys, *quiet, str(book), "--api-key-file", "no file", "--port", "0")
    assert code == 2


def test_a_missing_extra_is_named(
    capsys: pytest.CaptureFixture[str], book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "charrnn.server.server")
    monkeypatch.setitem(sys.modules, "uvicorn", None)  # as if it were not installed
    code, line = complaint(capsys, "serve", str(book))

    assert code == 2
    assert line == (
        "charrnn: charrnn serve needs uvicorn; install it by pip install starlette uvicorn\n"
    )
    with pytest.raises(ConfigError, match="uvicorn"):
        import_server()


def test_the_key_can_come_from_the_environment(book: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("CHARRNN_API_KEY", KEY)
    program, line = start(book)
    url = re.findall(r"http://\S+", line)[0]
    connection = HTTPConnection(url.removeprefix("http://"), timeout=10)
    statuses = []
    for headers in ({}, {"Authorization": f"Bearer {KEY}"}):
        connection.request("GET", "/v1/models", headers=headers)
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=10)

    assert statuses == [401, 200]
    assert KEY not in line + err
