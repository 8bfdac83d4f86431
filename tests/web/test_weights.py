"""The weights of a network as a text in a page."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from charrnn.web import weights as module
from charrnn.web.assets import read_asset
from charrnn.web.weights import pack_weights, read_whole_numbers
from tests.web.browser import Browser
from tests.web.test_network_js import make_page


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


NGRAMS = {
    "embedding.weight": np.float32([[1, 2], [3, 4], [5, 6]]),
    "ngrams.weight": np.float32([[11, 12], [0, 0], [0.5, 0.25], [9e9, 9]]),
    "ngrams.check": np.float32([2**24 - 1, -1, 0, -1]),
    "ngrams.key": np.float32([1, 300, 2**24 - 2]),
    "output.bias": np.float32([7, 8, 9]),
}


@pytest.mark.parametrize(
    ("limits", "dtype", "table"),
    [((80, 0), "float32", 16), ((79, 40), "float16", 8), ((79, 36), "float16", 12)],
)
def test_rows_without_an_n_gram_are_left_out_and_checks_are_whole(
    limits: tuple[int, int],
    dtype: str,
    table: int,
    monkeypatch: pytest.MonkeyPatch,
    browser: Browser,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(module, "MAX_FLOAT32_BYTES", limits[0])
    monkeypatch.setattr(module, "MAX_FLOAT16_BYTES", limits[1])

    packed = pack_weights(NGRAMS)

    assert packed is not None
    assert packed.dtype == dtype
    data = base64.b64decode(packed.text)
    # The last of the table's sizes is of two scales and four numbers of 8 bits.
    assert len(data) == 9 * int(dtype[5:]) // 8 + table + (1 + 2 * 3) + (1 + 3 * 3)
    starts = {each["name"]: each["whole"] for each in packed.index if "whole" in each}
    for name, start in starts.items():
        expected = NGRAMS[name]
        np.testing.assert_array_equal(read_whole_numbers(data, start, len(expected)), expected)
    page = browser.open(make_page(tmp_path, read_asset("network.js")))
    arguments = json.dumps([packed.text, packed.index, packed.dtype])
    found = page.evaluate(
        f"Object.entries(charrnn.decodeWeights(...{arguments})).map(([k, a]) => [k, [...a]])"
    )
    kept = NGRAMS | {"ngrams.weight": NGRAMS["ngrams.weight"][[0, 2]]}
    assert dict(found).keys() == kept.keys()
    for name, array in kept.items():
        tolerance = 0.5 / 127 if table == 12 and name == "ngrams.weight" else 0
        np.testing.assert_allclose(dict(found)[name], array.ravel(), rtol=2 * tolerance)


def test_a_network_that_is_too_large_even_with_8_bits_does_not_run_in_a_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_FLOAT32_BYTES", 4)
    monkeypatch.setattr(module, "MAX_FLOAT16_BYTES", 35)

    assert pack_weights(NGRAMS) is None


def test_whole_numbers_of_every_count_come_back() -> None:
    for count in range(20):
        numbers = np.float32([-1 if k % 3 == 2 else 70_000 * k for k in range(count)])
        data = bytearray(b"abc")
        module.append_whole_numbers({"ngrams.key": numbers}, data, [])
        np.testing.assert_array_equal(read_whole_numbers(bytes(data), 3, count), numbers)
