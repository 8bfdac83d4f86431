"""The page's worker: what it answers to messages, from a file, offline, under a strict policy."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.generation.network import Network
from charrnn.interpret.trace import record
from charrnn.web.assets import read_asset
from charrnn.web.weights import pack_weights, without_empty_rows
from tests.interpret.networks import make_ids, make_network
from tests.web.browser import Browser, BrowserError, Page
from tests.web.ngrams import give_ngrams

POLICY = "default-src 'none'; script-src 'unsafe-inline'; worker-src blob:"

# ask(message) is a promise of the answer's result.
PAGE = """<!doctype html><meta charset=utf-8>
<meta http-equiv="Content-Security-Policy" content="{policy}">
<script type="text/plain" id="worker">{worker}</script>
<script>
  const text = document.getElementById("worker").textContent;
  const worker = new Worker(URL.createObjectURL(new Blob([text], {{ type: "text/javascript" }})));
  const waiting = new Map();
  const progress = [];
  worker.onmessage = ({{ data }}) => {{
    if ("progress" in data) return progress.push(data);
    const [resolve, reject] = waiting.get(data.id);
    "error" in data ? reject(new Error(data.error)) : resolve(data.result);
  }};
  const ask = (message) => new Promise((resolve, reject) => {{
    const id = waiting.size;
    waiting.set(id, [resolve, reject]);
    worker.postMessage({{ id, model: 0, ...message }});
  }});
  const plain = (value) => ArrayBuffer.isView(value) ? [...value]
    : Array.isArray(value) ? value.map(plain)
    : value && typeof value === "object" ? Object.fromEntries(
      Object.entries(value).map(([name, each]) => [name, plain(each)])) : value;
</script>
"""


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Page:
    path = tmp_path / "page.html"
    worker = "\n".join(map(read_asset, ("network.js", "gradients.js", "worker.js")))
    path.write_text(PAGE.format(policy=POLICY, worker=worker), encoding="utf-8")
    return browser.open(path)


@pytest.fixture(params=[1, 3], ids=["plain", "n-grams"])
def network(request: pytest.FixtureRequest) -> Network:
    if request.param == 1:
        return make_network(cell="lstm", num_layers=2)
    network = make_network(cell="lstm", num_layers=2, ngram_order=request.param, ngram_rows=80)
    give_ngrams(network.config, network.weights, np.tile(make_ids(30), 2), seed=3)
    return Network(network.config, network.weights)


def ask(page: Page, kind: str, **arguments: Any) -> Any:
    """Return the worker's answer to a message, as JSON has it."""
    return page.evaluate(f"ask({json.dumps({'kind': kind, **arguments})}).then(plain)")


def init(page: Page, network: Network, **arguments: Any) -> Any:
    """Give the worker a network."""
    packed = pack_weights(network.weights)
    assert packed is not None
    config = dataclasses.asdict(network.config)
    named = {"weights": packed.text, "index": packed.index, "dtype": packed.dtype}
    return ask(page, "init", config=config, **named, **arguments)


def test_a_text_is_read(page: Page, network: Network) -> None:
    ids = make_ids(9)
    trace = record(network, ids)

    made = init(page, network)
    found = ask(page, "read", ids=ids.tolist())

    stored = without_empty_rows(network.weights)
    assert made == {"parameters": sum(each.size for each in stored.values())}
    assert found["length"] == 9
    for depth, layer in enumerate(found["states"]):
        np.testing.assert_allclose(layer["h"], trace.hidden(depth).ravel(), 0, 1e-5)
        np.testing.assert_allclose(layer["c"], trace.memory(depth).ravel(), 0, 1e-5)
    assert not page.errors


def test_nothing_is_asked_of_a_network(page: Page, network: Network) -> None:
    init(page, network)

    kinds = [address.partition(":")[0] for address in page.requests]

    assert kinds == ["file", "blob"]


def test_an_edit_says_from_which_row_on_states_are_new(page: Page, network: Network) -> None:
    init(page, network)
    ask(page, "read", ids=[1, 2, 3, 4, 5])

    assert ask(page, "read", ids=[1, 2, 3, 0, 5])["first"] == 3
    assert ask(page, "read", ids=[1, 2, 3, 0, 5, 6])["first"] == 5
    assert ask(page, "read", ids=[1, 2, 3], text="pinned")["first"] == 0


def test_guesses_are_sorted_and_know_the_true_token(page: Page, network: Network) -> None:
    ids = make_ids(8)
    newline = 0
    trace = record(network, np.concatenate(([newline], ids)))
    p = np.exp(trace.log_probabilities[:-1])
    init(page, network, lineStart=newline)
    ask(page, "read", ids=ids.tolist())
    # What a newline before the text predicts is its first token; the text itself begins anew.
    rest = np.exp(record(network, ids).log_probabilities[:-1])
    p = np.concatenate((p[:1], rest))

    found = ask(page, "guesses", count=3)

    order = np.argsort(-p, axis=-1, kind="stable")
    places = np.arange(8)
    assert np.reshape(found["tokens"], (8, 3)).tolist() == order[:, :3].tolist()
    likely = np.take_along_axis(p, order[:, :3], -1)
    np.testing.assert_allclose(np.reshape(found["probabilities"], (8, 3)), likely, 1e-4)
    np.testing.assert_allclose(found["chosen"], p[places, ids], 1e-4)
    ranks = 1 + (order == ids[:, None]).argmax(-1)
    assert found["ranks"] == ranks.tolist()
    np.testing.assert_allclose(found["entropies"], -(p * np.log2(p)).sum(-1), 1e-4)
    part = ask(page, "guesses", count=3, start=2, stop=5)
    assert part["ranks"] == found["ranks"][2:5]


def test_probabilities_follow_the_temperature(page: Page, network: Network) -> None:
    ids = make_ids(6)
    logits = record(network, ids).logits[4].astype(float)
    init(page, network)
    ask(page, "read", ids=ids.tolist())

    found = ask(page, "probabilities", at=4, temperature=0.5)

    expected = np.exp(2 * logits)
    np.testing.assert_allclose(found, expected / expected.sum(), 1e-4)


def test_gates_can_be_asked_for_by_part(page: Page, network: Network) -> None:
    ids = make_ids(9)
    expected = record(network, ids).gates(1)
    init(page, network)
    ask(page, "read", ids=ids.tolist())

    found = ask(page, "gates", depth=1, start=2, stop=5)

    assert list(found) == ["i", "f", "g", "o"]
    for name, each in found.items():
        np.testing.assert_allclose(each, expected[name][2:5].ravel(), 0, 1e-5)


def test_it_writes_on_after_a_place(page: Page, network: Network) -> None:
    ids = make_ids(9)
    init(page, network)
    ask(page, "read", ids=ids.tolist())

    found = ask(page, "sample", at=5, count=12, temperature=0)

    state = network.prefill(ids[:6].tolist(), network.initial_state())
    expected = []
    for _ in range(12):
        expected.append(int(network.logits(state).argmax()))
        state = network.advance(expected[-1], state)
    assert found == expected


def test_a_clamped_unit_changes_what_it_writes(page: Page, network: Network) -> None:
    init(page, network)
    ask(page, "read", ids=[1, 2, 3])
    clamps = [{"unit": f"h2.{number}", "value": 9} for number in range(6)]

    free, clamped, again = (
        ask(page, "sample", at=2, count=30, seed=4, clamps=each) for each in ([], clamps, [])
    )

    assert free == again != clamped


def test_links_ledger_and_gradients_are_answered(page: Page, network: Network) -> None:
    init(page, network)
    ask(page, "read", ids=[1, 2, 3, 4])

    assert len(ask(page, "links", at=2, token=4)) == 3
    assert ask(page, "ledger", at=2, depth=0)["residual"] < 1e-6
    first, second = ask(page, "gradients", at=2, target=4)
    assert [len(first["c"]), len(second["h"])] == [3, 3]


def test_errors_come_back_as_messages(page: Page, network: Network) -> None:
    with pytest.raises(BrowserError, match=r"model 0 is not here yet; send an init message first"):
        ask(page, "read", ids=[1])
    init(page, network)
    with pytest.raises(BrowserError, match=r"text text was not read yet; send a read message"):
        ask(page, "links", at=0, token=1)
    with pytest.raises(BrowserError, match=r"dance is no kind of message; known are init, read,"):
        ask(page, "dance")

    assert ask(page, "read", ids=[1])["length"] == 1  # it lives on


def test_a_newer_read_ends_the_one_before(page: Page) -> None:
    network = make_network(cell="gru", hidden_size=128, num_layers=2)
    init(page, network)
    ids = make_ids(6_000).tolist()

    old, new, progress = page.evaluate(
        f"""(async () => {{
            const ids = {ids};
            const answers = [ask({{ kind: "read", ids }})];
            await new Promise((resolve) => setTimeout(resolve, 150));
            answers.push(ask({{ kind: "read", ids: ids.slice(0, 20) }}));
            return [...await Promise.all(answers), progress.length].map(plain);
        }})()"""
    )

    assert old == {"isStale": True}
    assert new["length"] == new["first"] == 20  # what the old one read is taken over
    assert progress > 0


def test_newer_guesses_end_older_ones(page: Page) -> None:
    network = make_network(cell="gru", vocab_size=4000)
    init(page, network)
    ask(page, "read", ids=make_ids(400, size=4000).tolist())
    found = page.evaluate(
        """Promise.all([
            ask({kind: "guesses"}),
            ask({kind: "guesses", start: 0, stop: 2}),
        ]).then(plain)"""
    )
    assert found[0] == {"isStale": True}
    assert len(found[1]["ranks"]) == 2
