from __future__ import annotations

from typing import Any

import pytest

from charrnn.config.serve import ServeConfig, is_loopback, parse_size
from charrnn.errors import ConfigError

KEY = "correct-horse-battery"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1"])
def test_this_machine_is_served_without_a_key(host: str) -> None:
    assert ServeConfig(host=host).api_key is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "box.lan", "127.1"])
def test_other_machines_are_served_only_with_a_key(host: str) -> None:
    with pytest.raises(ConfigError, match="no key; give api_key_file or CHARRNN_API_KEY"):
        ServeConfig(host=host)
    assert ServeConfig(host=host, api_key=KEY).host == host
    assert ServeConfig(host=host, api_key_file="keys").host == host
    assert ServeConfig(host=host, uds="/run/book.sock").host == host  # which is then not used


@pytest.mark.parametrize("key", ["", "short", "with a space", "schlüssel-mit-ü", "line\nbreak-"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ServeConfig(api_key=key)
    assert not key or key not in caught.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("host", ""),
        ("port", 65_536),
        ("port", -1),
        ("uds", ""),
        ("uds", "a\0b"),
        ("api_key_file", ""),
        ("allow_host", ("*",)),
        ("allow_host", ("https://example.com",)),
        ("allow_host", ("",)),
        ("allow_origin", ("*",)),
        ("allow_origin", ("null",)),
        ("allow_origin", ("example.com",)),
        ("allow_origin", ("https://example.com/",)),
        ("allow_origin", ("https://me@example.com",)),
        ("allow_origin", ("https://example.com:x",)),
        ("root_path", ""),
        ("root_path", "charrnn"),
        ("root_path", "/a/../b"),
        ("root_path", "/charrnn/"),
        ("cache_size", "much"),
        ("cache_size", "-1"),
        ("cache_size", "2000GB"),
        ("max_body", "0"),
        ("role_template", "{role}"),
        ("batch", 0),
        ("max_seconds", 0),
    ],
)
def test_a_setting_out_of_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name} is "):
        ServeConfig(**{name: value})


def test_two_sources_of_a_key_are_one_too_many() -> None:
    with pytest.raises(ConfigError, match="both give a key"):
        ServeConfig(api_key=KEY, api_key_file="keys")


def test_sizes_are_in_powers_of_ten() -> None:
    assert parse_size("cache_size", "64MB") == 64_000_000
    assert parse_size("cache_size", " 0.5 gb ") == 500_000_000
    assert ServeConfig(cache_size="0").cache_bytes == 0
    assert ServeConfig().max_body_bytes == 4_000_000


def test_a_name_is_not_this_machine_because_it_looks_like_it() -> None:
    for host in ("localhost.evil.com", "127.0.0.1.evil.com", "2130706433", "0", "[::2]", ""):
        assert not is_loopback(host)
    for host in ("localhost.", "LOCALHOST", "[::1]", "127.0.0.1"):
        assert is_loopback(host)
