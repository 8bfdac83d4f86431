"""What stands between the network and the handlers: who may ask, from where, and how much.

A server on this machine can be asked by every web page that its user has open, so a request must
name this machine as its Host (a page of a rebound DNS name cannot), come from no foreign page, and
bring its JSON as JSON (a form cannot). Then come the key, and the size and the time of the body.
The handlers get the whole body, and are cancelled when their client is gone. `app.py` wraps the
guard around them; it is pure ASGI, so that it holds for all they answer.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
from collections.abc import Callable, Iterable

from charrnn.config.serve import ServeConfig, is_loopback
from charrnn.errors import CharRNNError
from charrnn.server.errors import RequestError, bad_request, refused
from charrnn.server.exchange import Answer, App, ClientGoneError, Receive, Scope, Send, run
from charrnn.server.metrics import Metrics

BODY_SECONDS = 30.0  # in which the whole body must have come
_OPEN_PATHS = ("/", "/health")  # need no key: the page asks for it, a balancer has none
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]{2,45}\]|(?!.*\.\.)[A-Za-z0-9_.-]{1,253})(?::[0-9]{1,5})?")
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, -]{0,2000}")
_LARGE_BYTES = 1 << 16  # a larger body is counted
_MOST_HELD_BYTES = 256 << 20  # of the large bodies of all requests together
_CLIENT_GONE = 499  # as nginx logs it

log = logging.getLogger("charrnn.serve")


class Guard:
    """An ASGI app around another one, to which it passes on what is allowed.

    keys: of which a request must bring one; none: it needs none. route_of: returns the name under
    which a path is counted, which is not the path itself where that holds a model's name.
    """

    def __init__(
        self,
        app: App,
        config: ServeConfig,
        keys: Iterable[str] = (),
        *,
        metrics: Metrics,
        route_of: Callable[[str], str],
    ) -> None:
        self._app = app
        self._keys = [key.encode() for key in keys]
        self._names = {host.lower().strip("[]").removesuffix(".") for host in config.allow_host}
        self._hosts = self._names | {config.host.lower()}
        # Where other machines may ask, they do so by an address; no rebound name is one.
        self._takes_addresses = not is_loopback(config.host)
        self._origins = {origin.lower() for origin in config.allow_origin}
        self._max_bytes = config.max_body_bytes
        self._max_size = config.max_body
        self._logs_prompts = config.log_prompts
        self._root_path = config.root_path or ""
        self._metrics = metrics
        self._route_of = route_of
        self._held_bytes = 0  # of large bodies, by the requests that are being answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever happens, the client gets an answer and the log a line."""
        if scope["type"] != "http":
            return
        answer = Answer(receive, send)
        body = b""
        try:
            headers = _single_headers(scope["headers"])
            self._check_host(headers)
            answer.headers += self._check_origin(scope, headers)
            if scope["method"] == "OPTIONS":
                await self._answer_options(headers, answer)
                return
            self._check_key(scope, headers)
            if scope["method"] == "POST":
                _check_content_type(headers)
                body = await self._read_body(headers, receive, answer)
                answer.is_read = True
            else:
                answer.is_read = not _has_body(headers)
            await run(self._app, scope, body, receive, answer)
        except RequestError as error:
            await answer.give(error)
        except CharRNNError as error:
            await answer.give(refused(error))
        except ClientGoneError:
            answer.status = answer.status or _CLIENT_GONE
        except Exception:  # app.py has logged it
            await answer.give(RequestError(500, "the server failed; its log says where"))
        finally:
            self._held_bytes -= answer.held_bytes
            self._note(scope, answer, body)

    def _check_host(self, headers: dict[bytes, bytes]) -> None:
        """Refuse a Host that is not this machine or an allowed name."""
        host = headers.get(b"host")
        if host is None:  # HTTP/1.0, which no browser speaks
            return
        name = _name_of(host)
        is_address = self._takes_addresses and _is_address(name)
        if not name or not (is_loopback(name) or name in self._hosts or is_address):
            shown = name or host[:60].decode("ascii", "replace")
            raise RequestError(
                403,
                f"this server does not answer to the Host {shown!r}; start it with "
                f"--allow-host {name or 'NAME'} if that is its name",
                code="host_not_allowed",
            )

    def _check_origin(self, scope: Scope, headers: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        """Refuse what a foreign page asks; return the headers by which an allowed one may read."""
        origin = headers.get(b"origin")
        if origin is None:
            site = headers.get(b"sec-fetch-site", b"none")
            is_visit = (  # of the page; to another path it would be work that a link can ask for
                headers.get(b"sec-fetch-mode") == b"navigate"
                and headers.get(b"sec-fetch-dest") == b"document"
                and scope["method"] in ("GET", "HEAD")
                and self._path(scope) == "/"
            )
            if site not in (b"none", b"same-origin") and not is_visit:
                raise _foreign("another web page")
            return []
        text = origin.decode("latin-1").lower()
        if text in self._origins:
            return [
                (b"access-control-allow-origin", origin),
                (b"access-control-expose-headers", b"retry-after"),
                (b"vary", b"Origin"),
            ]
        host = headers.get(b"host", b"")
        shown = host.decode("latin-1").lower()
        # Only a proxy can have shown our page as https, and it is asked by an allowed name.
        if host and (
            text == f"http://{shown}"
            or (text == f"https://{shown}" and _name_of(host) in self._names)
        ):
            return []
        raise _foreign(f"the Origin {text[:100]!r}")

    async def _answer_options(self, headers: dict[bytes, bytes], answer: Answer) -> None:
        """Answer what a browser asks before an allowed page's request."""
        answer.is_read = not _has_body(headers)
        more = [(b"allow", b"GET, HEAD, POST, OPTIONS")]
        asked = headers.get(b"access-control-request-headers", b"")
        is_allowed = any(name == b"access-control-allow-origin" for name, _ in answer.headers)
        if is_allowed and b"access-control-request-method" in headers:
            more += [
                (b"access-control-allow-methods", b"GET, POST"),
                (b"access-control-max-age", b"600"),
            ]
            if asked and _HEADER_NAMES.fullmatch(asked):
                more.append((b"access-control-allow-headers", asked))
            if headers.get(b"access-control-request-private-network") == b"true":
                more.append((b"access-control-allow-private-network", b"true"))
        await answer.send({"type": "http.response.start", "status": 204, "headers": more})
        await answer.send({"type": "http.response.body", "body": b""})

    def _check_key(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Refuse a request without the key; the time that takes says nothing about the key."""
        is_open = scope["method"] in ("GET", "HEAD") and self._path(scope) in _OPEN_PATHS
        if not self._keys or is_open:
            return
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        found = [hmac.compare_digest(given.strip(), key) for key in self._keys]  # all of them
        if scheme.lower() != b"bearer" or not any(found):
            if scheme and scheme.lower() != b"bearer":  # which may be the key: it is not shown
                what = "the header Authorization does not begin with the word Bearer"
            else:
                what = "the key is wrong" if given else "there is no key"
            raise RequestError(
                401,
                f"{what}; send the header Authorization: Bearer KEY",
                code="invalid_api_key",
                headers={"WWW-Authenticate": 'Bearer realm="charrnn"'},
            )

    async def _read_body(
        self, headers: dict[bytes, bytes], receive: Receive, answer: Answer
    ) -> bytes:
        """Return the whole body, which must not be too large or too slow."""
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > self._max_bytes:
            raise self._too_large()
        parts = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGoneError
                    parts += message.get("body", b"")
                    if len(parts) > self._max_bytes:
                        raise self._too_large()
                    self._hold(len(parts), answer)
                    if not message.get("more_body", False):
                        return bytes(parts)
        except TimeoutError:
            raise RequestError(
                408, f"the body took more than {BODY_SECONDS:g} seconds; send it faster"
            ) from None

    def _hold(self, size: int, answer: Answer) -> None:
        """Count the bytes of a body until its request is answered; a small one always has room."""
        if size <= _LARGE_BYTES:
            return
        held = self._held_bytes + size - answer.held_bytes
        if held > max(_MOST_HELD_BYTES, self._max_bytes):
            raise RequestError(
                503,
                "there are too many large requests at once; try again later",
                code="overloaded",
                headers={"Retry-After": "1"},
            )
        self._held_bytes = held
        answer.held_bytes = size

    def _too_large(self) -> RequestError:
        return RequestError(
            413,
            f"the body is larger than {self._max_size}; send less, or start the server with a "
            "larger --max-body",
            code="body_too_large",
        )

    def _path(self, scope: Scope) -> str:
        path: str = scope["path"]
        return path.removeprefix(self._root_path)

    def _note(self, scope: Scope, answer: Answer, body: bytes) -> None:
        """Count the request, and write its line of the log."""
        seconds = time.monotonic() - answer.begun
        route = self._route_of(self._path(scope))
        self._metrics.count_request(route, answer.status, seconds)
        if log.isEnabledFor(logging.INFO):
            line = f"{scope['method']} {_shown_path(scope)} {answer.status} {seconds:.3f}s"
            if self._logs_prompts:
                query = scope.get("query_string", b"").decode("ascii", "replace")
                line += f" ?{query}" * bool(query)
                line += f" {body.decode('utf-8', 'replace')}" * bool(body)
            log.info("%s", line)


def _single_headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the headers by name; one that decides and is given twice is refused."""
    headers: dict[bytes, bytes] = {}
    for name, value in pairs:
        if name in headers and name in (b"host", b"origin", b"authorization", b"content-type"):
            raise bad_request(f"the header {name.decode()} is given twice; give it once")
        headers[name] = value
    if b"transfer-encoding" in headers and b"content-length" in headers:
        # What stands before us may have taken the other one for where the next request begins.
        raise bad_request("the body has both Content-Length and Transfer-Encoding; send one")
    return headers


def _name_of(host: bytes) -> str:
    """Return the name or the address in a Host, without its port; "" where it is none."""
    match = _HOST.fullmatch(host)
    return match[1].decode().lower().strip("[]").removesuffix(".") if match else ""


def _check_content_type(headers: dict[bytes, bytes]) -> None:
    """Refuse a body that is not JSON: what a page can send anywhere without asking is not."""
    kind, *parameters = (
        part.strip() for part in headers.get(b"content-type", b"").lower().split(b";")
    )
    charsets = {part for part in parameters if part.startswith(b"charset=")}
    is_utf8 = charsets <= {b"charset=utf-8", b'charset="utf-8"', b"charset=utf8"}
    is_plain = headers.get(b"content-encoding", b"identity") == b"identity"
    if kind != b"application/json" or not is_utf8 or not is_plain:
        raise RequestError(
            415,
            "the body must be JSON in UTF-8, not compressed; send the header "
            "Content-Type: application/json",
            code="unsupported_media_type",
        )


def _has_body(headers: dict[bytes, bytes]) -> bool:
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _foreign(what: str) -> RequestError:
    return RequestError(
        403,
        f"this server does not answer to {what}; start it with --allow-origin and the page's "
        "scheme and name, such as https://example.com, if it may ask",
        code="origin_not_allowed",
    )


def _is_address(name: str) -> bool:
    """Return whether a Host is an IP address."""
    import ipaddress

    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _shown_path(scope: Scope) -> str:
    """Return the path for a log: one line, not too long, and without the query."""
    path = scope.get("raw_path") or scope["path"].encode("utf-8", "replace")
    shown: str = path[:200].decode("ascii", "backslashreplace")
    return shown
