"""How models are served over HTTP: where, to whom, and how much one request may take."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from charrnn.config.fields import setting, validate
from charrnn.errors import ConfigError

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([kmg]?)b?", re.ASCII)
_UNIT_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_MAX_BYTES = 10**12
_KEY = re.compile(r"[!-~]+")  # what the header of a request can hold
_LEAST_KEY = 8  # characters; a shorter one is soon guessed

_address = partial(setting, section="Address")
_access = partial(setting, section="Access")
_limit = partial(setting, section="Limits")


def _secret(help: str, unset: str = "") -> Any:
    """Return the field of a text that the object does not show."""
    item = _access(None, help, unset=unset)
    item.repr = False
    return item


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Settings of a server. Sizes are in characters unless their name says otherwise."""

    host: str = _address("127.0.0.1", "address to listen on; 0.0.0.0 or :: is every one")
    port: int = _address(8000, "port to listen on; 0 takes a free one", ge=0, le=65_535)
    uds: str | None = _address(None, "listen on a Unix socket at this path, and on no port")
    root_path: str | None = _address(
        None, "path under which a reverse proxy shows the server: /charrnn"
    )

    api_key: str | None = _secret(
        f"key that requests must bring, of {_LEAST_KEY} characters or more", unset="none"
    )
    api_key_file: str | None = _access(None, "file with the key, or with one in each line")
    allow_host: tuple[str, ...] = _access(
        (), "name by which the server may be asked, besides this machine's own; can be repeated"
    )
    allow_origin: tuple[str, ...] = _access(
        (), "web page that may ask from a browser: https://example.com; can be repeated"
    )
    log_requests: bool = _access(True, "write a line on stderr for each request")
    log_prompts: bool = _access(False, "and in it the text of the request")
    metrics: bool = _access(True, "answer GET /metrics, in Prometheus' format")

    batch: int = _limit(64, "texts that are written at once", ge=1, le=4096)
    queue: int = _limit(
        256, "texts that may wait for their turn; further ones are refused", ge=0, le=100_000
    )
    max_chars: int = _limit(20_000, "characters that one text may have", ge=1, le=10_000_000)
    max_prompt: int = _limit(1_000_000, "characters that a prompt may have", ge=1, le=100_000_000)
    max_seconds: float = _limit(120.0, "seconds that one request may take", gt=0, le=86_400)
    max_body: str = _limit("4MB", "size of the largest request")
    cache_size: str = _limit(
        "64MB", "memory for the states of texts, so that going on with one costs nothing; 0 is none"
    )
    connections: int = _limit(
        512, "clients at once; the one that has been silent longest gives way", ge=1, le=100_000
    )
    ping: float = _limit(
        15.0, "seconds after which a silent stream gets a sign of life", gt=0, le=3600
    )

    role_template: str | None = setting(
        None,
        "answer chat requests: each message as this text, such as '{role}: {content}\\n'",
        unset="chat requests are refused",
    )

    def __post_init__(self) -> None:
        validate(self)
        if not self.host:
            raise ConfigError("host is empty; give an address such as 127.0.0.1")
        parse_size("cache_size", self.cache_size)
        if parse_size("max_body", self.max_body) < 1:
            raise ConfigError("max_body is 0; it must be a size such as 4MB")
        for name, value in (("uds", self.uds), ("api_key_file", self.api_key_file)):
            if value is not None and (not value or "\0" in value):
                raise ConfigError(f"{name} is {value!r}; it must be the path of a file")
        if self.api_key is not None:
            check_key("api_key", self.api_key)
            if self.api_key_file is not None:
                raise ConfigError("api_key and api_key_file both give a key; keep one")
        for host in self.allow_host:
            if not re.fullmatch(r"[\w.-]+|\[?[0-9a-fA-F:.]+\]?", host, re.ASCII):
                raise ConfigError(f"allow_host is {host!r}; write a name such as example.com")
        for origin in self.allow_origin:
            if not _is_origin(origin):
                raise ConfigError(
                    f"allow_origin is {origin!r}; write a scheme and a name, such as "
                    "https://example.com, without a path"
                )
        if self.root_path is not None and not re.fullmatch(
            r"(/[\w~-][\w.~-]*)+", self.root_path, re.ASCII
        ):
            raise ConfigError(f"root_path is {self.root_path!r}; write a path such as /charrnn")
        if self.role_template is not None and "{content}" not in self.role_template:
            raise ConfigError(
                f"role_template is {self.role_template!r}; it must hold {{content}}, the place of "
                "a message's text"
            )
        is_open = self.uds is None and not is_loopback(self.host)
        if is_open and self.api_key is None and self.api_key_file is None:
            raise ConfigError(
                f"host is {self.host}, which other machines reach, and there is no key; give "
                "--api-key-file or CHARRNN_API_KEY, or leave --host out"
            )

    @property
    def cache_bytes(self) -> int:
        """Memory for states of texts."""
        return parse_size("cache_size", self.cache_size)

    @property
    def max_body_bytes(self) -> int:
        """Size of the largest request."""
        return parse_size("max_body", self.max_body)


def parse_size(name: str, text: str) -> int:
    """Return the bytes that a size has; its units are powers of ten.

    >>> parse_size("cache_size", "1.5 GB"), parse_size("cache_size", "0")
    (1500000000, 0)

    Raises:
        ConfigError: it is not a size, or too large; name: of the setting.
    """
    match = _SIZE.fullmatch(text.strip().lower())
    size = round(float(match[1]) * _UNIT_BYTES[match[2]]) if match else -1
    if not 0 <= size <= _MAX_BYTES:
        raise ConfigError(f"{name} is {text!r}; write a size such as 64MB, at most 1000GB")
    return size


def check_key(name: str, key: str) -> None:
    """Refuse a key that no request could bring, or that is soon guessed; name: of the setting.

    Raises:
        ConfigError: the message does not show the key.
    """
    if not _KEY.fullmatch(key) or len(key) < _LEAST_KEY:
        raise ConfigError(
            f"{name} must hold {_LEAST_KEY} characters of ASCII or more, without spaces"
        )


def is_loopback(host: str) -> bool:
    """Return whether an address or a name is this machine's own, which no other machine reaches.

    >>> is_loopback("127.0.0.5"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host.lower().removesuffix(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_origin(text: str) -> bool:
    """Return whether a text is what a browser sends as Origin."""
    try:
        parts = urlsplit(text)
        has_port = parts.port is not None
    except ValueError:
        return False
    plain = f"{parts.scheme}://{parts.netloc}" == text and parts.username is None
    return plain and parts.scheme in ("http", "https") and bool(parts.hostname or has_port)
