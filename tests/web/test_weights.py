"""The weights of a network as a text in a page."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from charrnn.web import weights as module
from charrnn.web.weights import pack_weights


def test_small_networks_keep_all_their_digits() -> None:
    a = np.float32([[1 / 3, -2], [0, 4], [5, 1e-30]])
    b = np.float32([7])

    packed = pack_weights({"a": a, "b": b})

    assert packed is not None
    assert packed.dtype == "float32"
    assert packed.index == [
        {"name": "a", "shape": [3, 2], "start": 0},
        {"name": "b", "shape": [1], "start": 6},
    ]
    numbers = np.frombuffer(base64.b64decode(packed.text), "<f4")
    assert numbers.tolist() == [*a.ravel().tolist(), 7.0]


def test_larger_networks_take_two_bytes_a_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FLOAT32_BYTES", 11)
    a = np.float32([1 / 3, -2, 4])

    packed = pack_weights({"a": a})

    assert packed is not None
    assert packed.dtype == "float16"
    assert base64.b64decode(packed.text) == a.astype("<f2").tobytes()


def test_weights_of_just_the_limit_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FLOAT32_BYTES", 12)

    packed = pack_weights({"a": np.ones(3, np.float32)})

    assert packed is not None
    assert packed.dtype == "float32"


def test_the_largest_networks_do_not_run_in_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FLOAT32_BYTES", 11)
    monkeypatch.setattr(module, "MAX_FLOAT16_BYTES", 5)

    assert pack_weights({"a": np.ones(3, np.float32)}) is None


def test_a_weight_that_16_bits_cannot_hold_keeps_a_network_out_of_a_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = {"a": np.float32([1, 70_000])}

    assert pack_weights(large) is not None

    monkeypatch.setattr(module, "MAX_FLOAT32_BYTES", 7)

    assert pack_weights(large) is None
