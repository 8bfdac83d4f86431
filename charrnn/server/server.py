"""uvicorn around the app: the socket, one connection's limits, the start and the end.

A connection must send its request in time, and read its answer; of too many the one that has been
silent longest gives way, so that clients who only hold connections shut nobody out. The end takes
two seconds at most: streams get the error that says so, and a second signal ends at once.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from charrnn.config.serve import ServeConfig, check_key
from charrnn.errors import ConfigError, StorageError
from charrnn.server.app import make_app
from charrnn.server.errors import RequestError
from charrnn.server.neighbours import is_charrnn, reachable
from charrnn.server.served import open_served
from charrnn.server.service import Service

HEADER_SECONDS = 10.0  # in which a request's headers must have come
_IDLE_SECONDS = 75.0  # between two requests of a connection
_WRITE_SECONDS = 30.0  # in which a client must read something of its answer
_END_SECONDS = 1.0  # that handlers have at the end, after their streams were told
_SPARE_FILES = 64  # open files that are no connections
_MAX_KEY_BYTES = 1 << 16
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP


class Server:
    """A server that is bound to its address, with its models opened; `run` answers requests.

    >>> with Server(["book"], ServeConfig(port=0)) as server:  # doctest: +SKIP
    ...     print(server.url)
    http://127.0.0.1:43127
    """

    def __init__(
        self,
        names: Sequence[str | None] = (),
        config: ServeConfig | None = None,
        checkpoints: Path = Path("checkpoints"),
    ) -> None:
        """Open models, and bind the address.

        Raises:
            ConfigError: a setting is wrong, or two models have one name.
            CheckpointError: a model is missing or damaged.
            StorageError: the address is in use, or not to be had.
        """
        self.config = config = config or ServeConfig()
        keys = read_keys(config)
        served = open_served(names, checkpoints)  # a wrong name is told before a port in use
        self._socket = _bind(config)
        self._path = None if config.uds is None else Path(config.uds)
        try:
            self.service = Service(config, served)
            self.url = _url_of(self._socket, config)
            self._uvicorn = _Uvicorn(self.service, keys)
        except BaseException:
            self._release()
            raise
        self._thread: threading.Thread | None = None

    def run(self, on_ready: Callable[[], object] = lambda: None) -> None:
        """Answer requests until `stop` is called; on_ready: called when the first can come."""
        _allow_files(self.config.connections + _SPARE_FILES)
        self._uvicorn.on_ready = on_ready
        try:
            asyncio.run(self._uvicorn.serve(sockets=[self._socket]))
        finally:
            self._release()

    def stop(self) -> None:
        """Let `run` come to its end; can be called from anywhere, signal handlers too."""
        self._uvicorn.should_exit = True

    @contextmanager
    def stopped_by_signals(self) -> Iterator[list[int]]:
        """Stop at Ctrl-C, SIGTERM or SIGHUP within the block; a second one ends the process.

        Yields the numbers of the signals that came. Away from the main thread it catches none.
        """
        came: list[int] = []

        def take(number: int, _: FrameType | None) -> None:
            came.append(number)
            if len(came) > 1:
                self._release()
                os._exit(128 + number)
            self.stop()

        numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
        if threading.current_thread() is not threading.main_thread():
            numbers = []
        caught = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, take) for number in caught}
        try:
            yield came
        finally:
            for number, previous in before.items():
                signal.signal(number, previous)

    def start(self) -> None:
        """Answer requests in a thread of its own until `close`; return when the first can come.

        Raises:
            CharRNNError, OSError, RuntimeError: what kept it from answering.
        """
        has_begun = threading.Event()  # or failed to
        failed: list[BaseException] = []
        is_ready = False

        def begin() -> None:
            nonlocal is_ready
            is_ready = True
            has_begun.set()

        def run() -> None:
            try:
                self.run(begin)
            except BaseException as error:
                if is_ready:
                    raise
                failed.append(error)
            finally:
                has_begun.set()

        self._thread = threading.Thread(target=run, name="server")
        self._thread.start()
        has_begun.wait()
        if not is_ready:
            self._thread.join()
            if failed and isinstance(failed[0], Exception):
                raise failed[0]
            raise StorageError("the server ended before it could answer; see its log")

    def close(self) -> None:
        """Stop, and wait for the end; a server that was never started is closed too."""
        self.stop()
        if self._thread is None:
            self._release()
        else:
            self._thread.join()

    def __enter__(self) -> Server:
        """Answer requests in a thread of its own until the block is left."""
        if self._thread is None:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _release(self) -> None:
        """Close the socket, and remove the file that a Unix socket is."""
        self._socket.close()
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()
            self._path = None


def read_keys(config: ServeConfig) -> list[str]:
    """Return the keys of which a request must bring one; none where it needs none.

    Raises:
        ConfigError: the file of the keys cannot be read, or has none, or a bad one.
    """
    if config.api_key is not None:
        return [config.api_key]
    if config.api_key_file is None:
        return []
    try:
        with Path(config.api_key_file).open("rb") as file:
            text = file.read(_MAX_KEY_BYTES).decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise ConfigError(f"cannot read the keys in {config.api_key_file}: {reason}") from error
    keys = [line.strip() for line in text.splitlines() if line.strip()]
    if not keys:
        raise ConfigError(f"{config.api_key_file} has no key; write one in a line")
    for number, key in enumerate(keys, 1):
        check_key(f"key {number} of {config.api_key_file}", key)
    return keys


class _Uvicorn(uvicorn.Server):
    """uvicorn's server with the service's start and end, and without its own signal handlers."""

    def __init__(self, service: Service, keys: Sequence[str]) -> None:
        config = service.config
        super().__init__(
            uvicorn.Config(
                make_app(service, keys),
                http=_Connection,
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                root_path=config.root_path or "",
                timeout_keep_alive=int(_IDLE_SECONDS),
                timeout_graceful_shutdown=int(_END_SECONDS),
            )
        )
        # The guard logs whatever happens; uvicorn would add a line to each.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self.service = service
        self.server_state.most = config.connections  # type: ignore[attr-defined]
        self.on_ready: Callable[[], object] = lambda: None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `stopped_by_signals`."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the engine, then listen."""
        self.service.start()
        await super().startup(sockets)
        try:
            self.on_ready()
        except BaseException:
            await self.shutdown(sockets)
            raise

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the texts, of which each stream is told; then the connections."""
        await self.service.stop()
        await super().shutdown(sockets)


class _Connection(H11Protocol):
    """A connection that must make its request in time, and read its answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._silent_since = self.loop.time()
        self._expect_request()
        if len(self.connections) > self.server_state.most:  # type: ignore[attr-defined]
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._awaits_request:
            self._cancel(self._timer)
            self._timer = None
        elif self._timer is None and not self.transport.is_closing():
            self._expect_request()  # the first bytes of a further request

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, where an answer is still possible."""
        headers, body = RequestError(
            400, "this is not a valid HTTP request", headers={"Connection": "close"}
        ).encode()
        with suppress(h11.LocalProtocolError):  # in the middle of another answer
            reason = b"Bad Request"
            response = h11.Response(status_code=400, headers=headers, reason=reason)
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def shutdown(self) -> None:
        try:
            super().shutdown()
        except h11.LocalProtocolError:  # of a connection that has failed already
            self.transport.close()

    def timeout_keep_alive_handler(self) -> None:
        self._drop()

    def on_response_complete(self) -> None:
        self._silent_since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(_WRITE_SECONDS, self._drop)

    def resume_writing(self) -> None:
        self._cancel(self._write_timer)
        self._write_timer = None
        super().resume_writing()

    @property
    def _awaits_request(self) -> bool:
        """Whether no request is here whose headers are whole and whose answer is not."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def _awaits_client(self) -> bool:
        """Whether the client has to send something before we can answer."""
        return self._awaits_request or self.cycle.more_body

    def _expect_request(self) -> None:
        self._silent_since = self.loop.time()
        self._timer = self.loop.call_later(HEADER_SECONDS, self._drop_silent)

    def _drop_silent(self) -> None:
        if self._awaits_request:
            self._drop()

    def _drop(self) -> None:
        self._cancel_timers()
        if not self.transport.is_closing():
            self.transport.abort()

    def _make_room(self) -> None:
        """Close the connection that has been silent longest; if all are busy, refuse our own."""
        others = [each for each in self.connections if each is not self]
        silent = [each for each in others if isinstance(each, _Connection) and each._awaits_client]
        if silent:
            eldest = min(silent, key=lambda each: each._silent_since)
            self.connections.discard(eldest)
            eldest._drop()
        else:
            self.app = _refuse

    def _cancel_timers(self) -> None:
        self._cancel(self._timer)
        self._cancel(self._write_timer)
        self._timer = None
        self._write_timer = None

    @staticmethod
    def _cancel(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()


async def _refuse(scope: Any, receive: Any, send: Any) -> None:
    """Answer a client for whom there is no room."""
    headers, body = RequestError(
        503,
        "there are too many clients; try again later",
        code="overloaded",
        headers={"Retry-After": "1", "Connection": "close"},
    ).encode()
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _bind(config: ServeConfig) -> socket.socket:
    """Return the socket of the address; it does not listen yet."""
    if config.uds is not None:
        return _bind_path(config.uds)
    try:
        found = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"host is {config.host!r}, which is no address of this machine"
        ) from error
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere it would let two servers have one port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        _check_free(bound)
    except OSError as error:
        bound.close()
        hint = "give another --port, or --port 0 for a free one"
        if error.errno == errno.EADDRNOTAVAIL:
            hint = "give --host an address of this machine"
        where = _join(config.host, config.port)
        reason = error.strerror or str(error)
        if error.errno == errno.EADDRINUSE and is_charrnn(config.host, config.port):
            reason += " by another charrnn serve"
        raise StorageError(f"cannot listen on {where}: {reason}; {hint}") from error
    return bound


def _check_free(bound: socket.socket) -> None:
    """Raise OSError where another server has the address: two sockets may be bound to it."""
    bound.listen(1)


def _bind_path(path: str) -> socket.socket:
    """Return a Unix socket at a path; what another server has left there is replaced."""
    if not hasattr(socket, "AF_UNIX"):
        raise ConfigError("this system has no Unix sockets; leave --uds out")
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise StorageError(f"cannot listen on {path}: a file is there; give another --uds")
            if _is_answered(path):
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            Path(path).unlink()
        bound.bind(path)
        _check_free(bound)
    except OSError as error:
        bound.close()
        reason = error.strerror or error
        raise StorageError(f"cannot listen on {path}: {reason}; give another --uds") from error
    except BaseException:
        bound.close()
        raise
    return bound


def _is_answered(path: str) -> bool:
    """Return whether a server has the Unix socket at a path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(1)
        try:
            caller.connect(path)
        except ConnectionRefusedError:
            return False
    return True


def _url_of(bound: socket.socket, config: ServeConfig) -> str:
    """Return the address for a browser of this machine."""
    if config.uds is not None:
        return f"unix:{config.uds}"
    host, port = bound.getsockname()[:2]
    return f"http://{_join(reachable(host), port)}"


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _allow_files(count: int) -> None:
    """Let the process open so many files, if the system lets it."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < count:
            most = count if hard == resource.RLIM_INFINITY else min(count, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
