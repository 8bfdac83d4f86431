"""States that are kept are those that reading gives, and the longest one is found."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.config import ModelConfig
from charrnn.generation import prefill as prefill_module
from charrnn.generation.network import Network
from charrnn.generation.prefill import prefill
from charrnn.server.state_cache import CHUNK_IDS, StateCache, TextKeys, iter_read
from charrnn.state import State, iter_arrays
from tests.generation.random_models import NGRAMS, random_weights

V, H = 7, 6
ROOT = b"root"


def make_ids(count: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, V, count)


def state_of(number: float) -> State:
    return ((np.full(H, number, np.float32), np.zeros(H, np.float32)),)


def make_network() -> Network:
    config = ModelConfig(vocab_size=V, embedding_size=5, hidden_size=H, num_layers=2, **NGRAMS)
    return Network(config, random_weights(config, 6, 0.4))


def read(network: Network, ids: np.ndarray, cache: StateCache) -> tuple[State, int]:
    """Return the state after ids, and how many of them had to be read."""
    keys = TextKeys(ROOT, ids)
    steps = [*iter_read(network, keys, ids, network.initial_state(), cache)]
    assert steps[-1][0] == len(ids)
    assert steps[-1][1] is not None
    return steps[-1][1], len(ids) - steps[0][0]


def same(state: State, other: State) -> bool:
    return all(map(np.array_equal, iter_arrays(state), iter_arrays(other)))


def test_the_longest_beginning_of_a_text_is_found() -> None:
    ids = make_ids(3 * CHUNK_IDS)
    cache = StateCache(10**6)
    for count in (5, 900, CHUNK_IDS, CHUNK_IDS + 17, 3 * CHUNK_IDS):
        cache.put(TextKeys(ROOT, ids), count, state_of(count))

    def found(count: int) -> int:
        result = cache.find(TextKeys(ROOT, ids[:count]))
        return 0 if result is None else result[0]

    lengths = (4, 5, 899, 900, 1023, 1024, 1040, 1041, 3071, 3072)
    assert [*map(found, lengths)] == [0, 5, 5, 900, 900, 1024, 1024, 1041, 1041, 3072]
    assert (cache.hits, cache.misses) == (9, 1)


def test_another_text_or_another_model_has_no_part_in_it() -> None:
    ids = make_ids(2000)
    cache = StateCache(10**6)
    cache.put(TextKeys(ROOT, ids), 1500, state_of(1))
    other = ids.copy()
    other[3] = (other[3] + 1) % V

    assert cache.find(TextKeys(ROOT, other)) is None
    assert cache.find(TextKeys(b"other", ids)) is None
    assert cache.find(TextKeys(ROOT, ids)) is not None


def test_what_was_not_used_for_longest_goes_first() -> None:
    cache = StateCache(3 * 700)
    texts = [TextKeys(ROOT, make_ids(9, seed)) for seed in range(4)]
    for number, keys in enumerate(texts[:3]):
        cache.put(keys, 9, state_of(number))
    cache.find(texts[0])
    cache.put(texts[3], 9, state_of(3))

    assert [cache.find(keys) is not None for keys in texts] == [True, False, True, True]
    assert cache.bytes <= 3 * 700
    assert len(cache) == 3


def test_a_cache_without_room_keeps_nothing() -> None:
    cache = StateCache(0)
    cache.put(TextKeys(ROOT, make_ids(9)), 9, state_of(1))

    assert (len(cache), cache.bytes) == (0, 0)


def test_a_kept_state_is_a_copy() -> None:
    cache = StateCache(10**6)
    keys = TextKeys(ROOT, make_ids(9))
    rows = np.ones((3, H), np.float32)
    cache.put(keys, 9, ((rows[1], rows[2]),))
    rows[:] = 2

    found = cache.find(keys)
    assert found is not None
    assert found[1][0][0].tolist() == [1] * H
    assert found[1][0][0].base is None


@pytest.mark.parametrize("seed", range(3))
def test_a_text_has_the_state_of_reading_whatever_was_read_before(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit, and with blocks: texts of 0 to 4,500 ids that begin alike, in any order."""
    sizes = {"_MIN_CHUNKS": 5, "_MAX_CHUNKS": 11, "_CHUNK_TOKENS": 128, "_AT_ONCE": 32}
    for name, size in sizes.items():
        monkeypatch.setattr(prefill_module, name, size)
    random = np.random.default_rng(seed)
    network = make_network()
    text = make_ids(4500)
    cache = StateCache(10**6)
    saved = 0
    for _ in range(25):
        ids = text[: random.integers(0, 4500)].copy()
        if len(ids) and random.random() < 0.3:  # another text from somewhere on
            ids[random.integers(len(ids)) :] = 0
        state, count = read(network, ids, cache)
        saved += len(ids) - count
        assert same(state, prefill(network, ids, network.initial_state()))
    assert saved > 10_000


def test_a_text_that_goes_on_reads_only_what_is_new() -> None:
    network = make_network()
    cache = StateCache(10**6)
    ids = make_ids(5_000)
    read(network, ids[:4_000], cache)

    assert read(network, ids[:4_100], cache)[1] == 100
    assert read(network, ids[:3_000], cache)[1] == 3_000 - 2 * CHUNK_IDS
    assert read(network, ids, cache)[1] == 900
