"""Holds the download to its word against a server that fails in every way it can."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from charrnn.corpora import download as module
from charrnn.corpora.download import download
from charrnn.errors import CorpusError, DownloadError, StorageError

CONTENT = bytes(range(256)) * 1000  # larger than one block
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2

Handler = http.server.BaseHTTPRequestHandler
Serve = Callable[[Handler], None]


class Server(http.server.ThreadingHTTPServer):
    """Answers by `plan`, one entry a request, the last one for good; keeps what was asked."""

    daemon_threads = False

    def __init__(self) -> None:
        self.plan: list[Serve] = [serve_file]
        self.ranges: list[str | None] = []
        self.released = threading.Event()
        super().__init__(("127.0.0.1", 0), Router)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file"

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay quiet when a client hangs up, as clients here do."""


class Router(Handler):
    server: Server

    def do_GET(self) -> None:  # noqa: N802, the name that http.server calls
        self.server.ranges.append(self.headers["Range"])
        plan = self.server.plan
        (plan.pop(0) if len(plan) > 1 else plan[0])(self)

    def log_message(self, *args: object) -> None:
        pass


def send(
    handler: Handler, body: bytes, status: int = 200, length: int | None = None, **headers: str
) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def serve_file(handler: Handler, content: bytes = CONTENT, etag: str = '"v1"') -> None:
    """Serve the content, or its rest where a Range of this very version is asked for."""
    asked = handler.headers["Range"]
    if asked is None or handler.headers["If-Range"] not in (None, etag):
        return send(handler, content, ETag=etag)
    start = int(asked.removeprefix("bytes=").removesuffix("-"))
    content_range = f"bytes {start}-{len(content) - 1}/{len(content)}"
    return send(handler, content[start:], 206, ETag=etag, Content_Range=content_range)


def truncate(handler: Handler) -> None:
    send(handler, CONTENT[:HALF], length=len(CONTENT), ETag='"v1"')


def stall(handler: Handler) -> None:
    truncate(handler)
    handler.wfile.flush()
    handler.server.released.wait(10)  # type: ignore[attr-defined]


def trickle(handler: Handler) -> None:
    """Announce the whole and send a byte at a time, each before a reader loses patience."""
    send(handler, b"", length=len(CONTENT), ETag='"v1"')
    for position in range(len(CONTENT)):
        handler.wfile.write(CONTENT[position : position + 1])
        if handler.server.released.wait(0.02):  # type: ignore[attr-defined]
            break


def ignore_range(handler: Handler) -> None:
    send(handler, CONTENT)


def fail_with(status: int) -> Serve:
    return lambda handler: send(handler, b"no", status)


def redirect_to(location: str) -> Serve:
    return lambda handler: send(handler, b"", 302, Location=location)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "BACKOFF_SECONDS", 0)
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    """Return the path for the file, in a folder that is not there yet."""
    return tmp_path / "new" / "file"


@pytest.fixture
def fetch(server: Server, destination: Path) -> Callable[..., Path]:
    """Return `download` with the right expectations, each of which a test may change."""
    right = {"sha256": SHA256, "size_bytes": len(CONTENT), "max_bytes": 10**6, "retries": 2}
    return lambda to=destination, url=server.url, **given: download(url, to, **(right | given))


def part_of(destination: Path) -> Path:
    return destination.with_name("file.part")


def leave_part(destination: Path, url: str, content: bytes, validator: str | None = '"v1"') -> None:
    destination.parent.mkdir()
    part_of(destination).write_bytes(content)
    note = {"url": url, "validator": validator}
    destination.with_name("file.part.json").write_text(json.dumps(note))


def wait_for_other_threads() -> None:
    """Wait until no thread of a download is left; progress bars of other libraries have one too."""
    for thread in threading.enumerate():
        is_other = thread is not threading.current_thread() and thread.name != "tqdm_monitor"
        if thread.daemon and is_other:
            thread.join(10)
            assert not thread.is_alive()


def test_a_file_arrives_whole_and_nothing_else_stays(fetch, destination):
    assert fetch() == destination
    assert destination.read_bytes() == CONTENT
    assert list(destination.parent.iterdir()) == [destination]


def test_progress_ends_at_the_whole_size(fetch):
    seen: list[tuple[int, int | None]] = []
    fetch(on_progress=lambda *figures: seen.append(figures))
    assert seen == sorted(seen)
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_truncated_transfer_resumes_where_it_ended(server, fetch, destination):
    server.plan = [truncate, serve_file]
    assert fetch().read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={HALF}-"]


def test_a_stall_resumes_where_it_ended(server, fetch):
    server.plan = [stall, serve_file]
    assert fetch(timeout_seconds=0.2).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={HALF}-"]


@pytest.mark.parametrize("hold", [stall, trickle])
def test_a_limit_of_the_whole_ends_a_slow_download_and_its_thread(server, fetch, destination, hold):
    server.plan = [hold]
    begun = time.monotonic()
    with pytest.raises(DownloadError, match=r"did not arrive within 0\.3 s; try again later"):
        fetch(limit_seconds=0.3, timeout_seconds=0.5)
    assert time.monotonic() - begun < 5
    wait_for_other_threads()
    kept = part_of(destination).stat().st_size
    assert 0 < kept < len(CONTENT)
    server.plan = [serve_file]
    assert fetch(limit_seconds=60).read_bytes() == CONTENT  # goes on from what has arrived
    assert server.ranges[-1] == f"bytes={kept}-"


def test_a_limit_holds_while_a_name_is_looked_up(fetch, monkeypatch):
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: answered.wait(10) and [])
    with pytest.raises(DownloadError, match=r"did not arrive within 0\.1 s"):
        fetch(limit_seconds=0.1, url="http://example.org/file")
    answered.set()
    wait_for_other_threads()


def test_a_server_that_does_not_answer_is_left_after_the_limit(fetch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file"
        with pytest.raises(DownloadError, match=r"did not arrive within 0\.1 s"):
            fetch(limit_seconds=0.1, timeout_seconds=0.3, url=url)
        wait_for_other_threads()


def test_an_error_comes_through_a_limit_as_it_is(server, fetch):
    server.plan = [fail_with(404)]
    with pytest.raises(DownloadError, match="404") as caught:
        fetch(limit_seconds=60)
    assert caught.value.reason == "the server answered 404 Not Found"


def test_an_unknown_host_is_looked_up_once_and_reported(fetch, monkeypatch):
    asked = []

    def getaddrinfo(host: str, *args: object, **kwargs: object) -> list[object]:
        asked.append(host)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(DownloadError) as caught:
        fetch(url="http://example.org/file")
    assert caught.value.reason == "example.org was not found; is this machine online?"
    assert asked == ["example.org"]


def test_a_server_error_passes(server, fetch):
    server.plan = [fail_with(500), fail_with(503), serve_file]
    assert fetch().read_bytes() == CONTENT


def test_a_server_error_that_stays_is_reported_after_the_retries(server, fetch):
    server.plan = [fail_with(500)]
    with pytest.raises(CorpusError, match="500"):
        fetch()
    assert len(server.ranges) == 3


def test_a_missing_file_is_reported_at_once_with_a_hint(server, fetch):
    server.plan = [fail_with(404)]
    with pytest.raises(CorpusError, match=rf"{server.url}: .*404.*download it yourself"):
        fetch()
    assert len(server.ranges) == 1


def test_a_server_that_hangs_up_without_a_word_is_asked_again(server, fetch):
    server.plan = [lambda handler: handler.connection.close(), serve_file]
    assert fetch().read_bytes() == CONTENT


def test_a_server_that_is_not_there_is_reported(server, fetch):
    server.server_close()
    with pytest.raises(CorpusError, match="refused"):
        fetch(retries=1, timeout_seconds=1)


def test_a_server_that_ignores_range_makes_it_start_again(server, fetch, destination):
    leave_part(destination, server.url, CONTENT[:HALF])
    server.plan = [ignore_range]
    assert fetch().read_bytes() == CONTENT
    assert server.ranges == [f"bytes={HALF}-"]


def test_a_range_that_cannot_be_had_makes_it_start_again(server, fetch, destination):
    leave_part(destination, server.url, CONTENT + b"more")
    server.plan = [fail_with(416), serve_file]
    assert fetch(retries=0).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT) + 4}-", None]


def test_an_answer_from_the_wrong_byte_makes_it_start_again(server, fetch, destination):
    leave_part(destination, server.url, CONTENT[:HALF])
    wrong = functools.partial(send, body=CONTENT[7:], status=206, Content_Range="bytes 7-9/10")
    server.plan = [wrong, serve_file]
    assert fetch().read_bytes() == CONTENT
    assert server.ranges[-1] is None


def test_a_part_of_a_file_that_has_changed_is_not_resumed(server, fetch, destination):
    leave_part(destination, server.url, b"x" * HALF, validator='"v0"')
    assert fetch(sha256=None).read_bytes() == CONTENT


def test_a_part_of_another_address_is_not_resumed(server, fetch, destination):
    leave_part(destination, server.url + "/other", b"x" * HALF)
    assert fetch().read_bytes() == CONTENT
    assert server.ranges == [None]


def test_a_part_without_its_note_is_not_resumed(server, fetch, destination):
    destination.parent.mkdir()
    part_of(destination).write_bytes(b"x" * HALF)
    assert fetch().read_bytes() == CONTENT
    assert server.ranges == [None]


def test_a_part_that_nothing_can_vouch_for_is_not_resumed(server, fetch, destination):
    leave_part(destination, server.url, b"x" * HALF, validator=None)
    assert fetch(sha256=None).read_bytes() == CONTENT
    assert server.ranges == [None]


@pytest.mark.parametrize("is_resumed", [True, False])
def test_a_part_that_is_a_link_is_not_followed(fetch, server, destination, tmp_path, is_resumed):
    (tmp_path / "elsewhere").write_bytes(b"mine")
    leave_part(destination, server.url if is_resumed else "", b"")
    part_of(destination).unlink()
    part_of(destination).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=r"file\.part: it is a link"):
        fetch()
    assert (tmp_path / "elsewhere").read_bytes() == b"mine"


def test_a_second_name_of_a_part_keeps_what_it_has(fetch, server, destination, tmp_path):
    leave_part(destination, server.url, CONTENT[:HALF])
    (tmp_path / "snapshot").hardlink_to(part_of(destination))
    assert fetch().read_bytes() == CONTENT
    assert (tmp_path / "snapshot").read_bytes() == CONTENT[:HALF]
    assert server.ranges == [f"bytes={HALF}-"]


def test_a_resumed_file_with_the_wrong_digest_is_fetched_again(server, fetch, destination):
    leave_part(destination, server.url, b"x" * HALF)
    assert fetch().read_bytes() == CONTENT
    assert server.ranges == [f"bytes={HALF}-", None]


def test_a_corrupt_file_is_refused_with_both_digests_and_removed(server, fetch, destination):
    wrong = bytes(len(CONTENT))
    server.plan = [functools.partial(serve_file, content=wrong)]
    seen = hashlib.sha256(wrong).hexdigest()
    with pytest.raises(CorpusError, match=f"{seen}, but {SHA256} was expected"):
        fetch()
    assert list(destination.parent.iterdir()) == []


def test_a_file_of_another_size_is_refused_before_it_is_sent(server, fetch, destination):
    leave_part(destination, server.url, CONTENT[:HALF])
    server.plan = [functools.partial(send, body=b"a page to sign in at")]
    with pytest.raises(CorpusError, match=f"has 20 bytes, but {len(CONTENT)}"):
        fetch()
    assert part_of(destination).read_bytes() == CONTENT[:HALF]


def test_a_file_announced_above_the_cap_is_refused(fetch, destination):
    with pytest.raises(CorpusError, match=f"{len(CONTENT)} bytes, but at most 1000"):
        fetch(sha256=None, size_bytes=None, max_bytes=1000)
    assert not part_of(destination).exists()


def test_a_stream_without_a_length_ends_at_the_cap(server, fetch, destination):
    def pour(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(1000):
            handler.wfile.write(CONTENT)

    server.plan = [pour]
    with pytest.raises(CorpusError, match="more than the 300000 bytes"):
        fetch(sha256=None, size_bytes=None, max_bytes=300_000)
    assert list(destination.parent.iterdir()) == []


def test_a_length_announced_too_long_is_reported_after_the_retries(server, fetch, destination):
    server.plan = [lambda handler: send(handler, b"short", length=9, ETag='"v1"')]
    with pytest.raises(CorpusError, match="5 bytes arrived, but 9 were expected"):
        fetch(sha256=None, size_bytes=None)
    assert not destination.exists()


def test_a_length_announced_too_short_is_caught_by_the_size(server, fetch, destination):
    server.plan = [lambda handler: send(handler, CONTENT, length=9)]
    with pytest.raises(CorpusError, match="has 9 bytes"):
        fetch()
    assert not destination.exists()


def test_an_empty_answer_is_no_file(server, fetch, destination):
    server.plan = [lambda handler: send(handler, b"")]
    with pytest.raises(CorpusError, match="0 bytes arrived"):
        fetch(sha256=None, size_bytes=None)
    assert not destination.exists()


def test_a_compressed_answer_is_refused(server, fetch):
    server.plan = [lambda handler: send(handler, CONTENT, Content_Encoding="gzip")]
    with pytest.raises(CorpusError, match="compressed"):
        fetch()


def test_a_redirect_is_followed(server, fetch):
    server.plan = [redirect_to(server.url + "/there"), serve_file]
    assert fetch().read_bytes() == CONTENT


def test_a_redirect_loop_ends(server, fetch):
    server.plan = [redirect_to(server.url)]
    with pytest.raises(CorpusError, match="302"):
        fetch()
    assert len(server.ranges) < 20


@pytest.mark.parametrize("location", ["file:///etc/hostname", "ftp://127.0.0.1/x", "http://[bad"])
def test_a_redirect_off_http_is_refused(server, fetch, location):
    server.plan = [redirect_to(location)]
    with pytest.raises(CorpusError, match=r"not allowed|not valid"):
        fetch()
    assert len(server.ranges) == 1


def test_a_redirect_from_https_down_to_http_is_refused():
    request = module.Request("https://example.org/a")
    with pytest.raises(module.HTTPError, match="not allowed") as caught:
        module._Redirects().redirect_request(
            request, io.BytesIO(), 302, "Found", {}, "http://example.org/a"
        )
    caught.value.close()


@pytest.mark.parametrize("url", ["file:///etc/hostname", "nonsense", "http://[bad"])
def test_an_address_off_http_is_refused(fetch, url):
    with pytest.raises(CorpusError, match="cannot download"):
        fetch(url=url)


def test_an_interrupted_download_leaves_only_a_part_to_resume(server, fetch, destination):
    def interrupt(received: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(on_progress=interrupt)
    kept = part_of(destination).stat().st_size
    assert 0 < kept < len(CONTENT)
    assert {path.name for path in destination.parent.iterdir()} == {"file.part", "file.part.json"}
    assert fetch().read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={kept}-"]


def test_a_failed_download_keeps_the_file_that_was_there(server, fetch, destination):
    destination.parent.mkdir()
    destination.write_bytes(b"old")
    server.plan = [fail_with(404)]
    with pytest.raises(CorpusError):
        fetch()
    assert destination.read_bytes() == b"old"


def test_a_folder_that_cannot_be_written_is_reported(fetch, tmp_path):
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot write"):
        fetch(to=tmp_path / "taken" / "file")
