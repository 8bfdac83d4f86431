"""The network of the page against numpy's, which is shipped, and torch's, which trained it.

200 random shapes are read in one page. What JavaScript finds comes back as numbers, so that pytest
compares and node is not needed.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from charrnn.config import SampleConfig
from charrnn.generation.chain import SamplerChain
from charrnn.generation.network import Network
from charrnn.interpret.clamp import ClampedNetwork
from charrnn.interpret.derivatives import Derivatives, grad_features, grad_of_nats
from charrnn.interpret.ledger import make_ledger
from charrnn.interpret.links import gradient_links
from charrnn.interpret.trace import Trace, record
from charrnn.interpret.units import Unit
from charrnn.model.network import CharRNN, load_numpy_state_dict
from charrnn.state import map_state, select_row
from charrnn.web.assets import read_asset
from charrnn.web.weights import pack_weights
from tests.interpret.networks import CELLS, make_ids, make_network
from tests.web.browser import Browser, BrowserError, Page
from tests.web.ngrams import give_ngrams

COUNT = 200
LONG = 5  # of them read 2,000 tokens
TOLERANCE = 1e-5
SAMPLED = 30
_EDGE = 1e-4  # no uniform number is so near to a sum of probabilities that rounding decides

# Of a case: everything that JavaScript finds, arrays as base64 of float32.
RUN = """
const pack = (array) => {
  const bytes = new Uint8Array(Float32Array.from(array).buffer);
  let text = "";
  for (const each of bytes) text += String.fromCharCode(each);
  return btoa(text);
};
const packAll = (states) => states.map((layer) => Object.values(layer).map(pack));
function run(test) {
  const weights = charrnn.decodeWeights(...test.weights);
  const network = charrnn.makeNetwork(test.config, weights);
  const trace = network.read(test.ids);
  const logits = test.ids.map((_, t) => trace.logits(t));
  const at = test.at;
  const { count, temperature, uniforms, clamps, groups, target } = test;
  const start = trace.state(trace.length);
  const last = trace.states.length - 1;
  return {
    states: packAll(trace.states),
    contexts: trace.contexts && pack(trace.contexts),
    clamped: packAll(network.read(test.ids, { clamps }).states),
    gates: trace.gates.map((layer) => Object.entries(layer).map(([name, a]) => [name, pack(a)])),
    logits: pack(logits.flatMap((each) => [...each])),
    sampled: [...charrnn.sample(network, start, { count, temperature, uniforms }).ids],
    links: pack(charrnn.links(trace, at, target)),
    gradients: charrnn.gradients(trace, at, target),
    ledger: [charrnn.ledger(trace, last, at), charrnn.ledger(trace, last, at, groups)].map(
      (each) => each && { ...each, norms: [...each.norms] },
    ),
  };
}
"""


@dataclass(frozen=True, eq=False)
class Case:
    """A network, the text that it reads, and what JavaScript is asked about it."""

    network: Network
    trace: Trace
    at: int
    target: int
    groups: NDArray[np.int64]
    temperature: float
    uniforms: list[float]
    sampled: list[int]
    clamps: list[tuple[int, str, int, float]]  # layer from 1, array, number, value

    def message(self) -> dict[str, Any]:
        """Return what the page gets."""
        return {
            "config": dataclasses.asdict(self.network.config),
            "weights": packed(self.network),
            "ids": self.trace.ids.tolist(),
            "at": self.at,
            "target": self.target,
            "groups": self.groups.tolist(),
            "count": SAMPLED,
            "temperature": self.temperature,
            "uniforms": self.uniforms,
            "clamps": [
                {"unit": f"{array}{layer}.{number}", "value": value}
                for layer, array, number, value in self.clamps
            ],
        }


def packed(network: Network) -> tuple[str, list[dict[str, Any]], str]:
    """Return the arguments of charrnn.decodeWeights."""
    weights = pack_weights(network.weights)
    assert weights is not None
    return weights.text, weights.index, weights.dtype


def make_case(seed: int) -> Case:
    """Return a random case, whose sizes all differ."""
    random = np.random.default_rng(seed)
    cell, nonlinearity = CELLS[seed % len(CELLS)]
    layers = int(random.integers(1, 4))
    vocab_size, embedding_size, hidden_size = random.permutation(np.arange(4, 20))[:3].tolist()
    is_tied = bool(random.integers(2))
    if is_tied and random.integers(2):
        embedding_size = hidden_size  # else a projection lies between them
    order = 1 + seed // len(CELLS) % 5  # the longest n-gram; 1 for none
    network = make_network(
        seed,
        cell=cell,
        nonlinearity=nonlinearity,
        num_layers=layers,
        vocab_size=vocab_size,
        embedding_size=embedding_size,
        hidden_size=hidden_size,
        residual=bool(random.integers(2)),
        tie_embeddings=is_tied,
        initial_state=("zero", "learned")[random.integers(2)],
        has_end=bool(random.integers(2)),
        ngram_order=order,
        ngram_rows=4 * int(random.integers(1, 50)) if order > 1 else 0,
    )
    if network.config.has_end and cell == "lstm":
        for depth in range(layers):  # training leaves c_0 at 0 where records reset the state
            network.weights[f"layers.{depth}.initial"][1] = 0
    length = 2_000 if seed < LONG else int(random.integers(21, 40))
    ids = make_ids(length, seed=seed, size=vocab_size)
    if order > 1:
        give_ngrams(network.config, network.weights, ids, seed)
        network = Network(network.config, network.weights)
    trace = record(network, ids)
    temperature = float(random.choice([0, 0.5, 1, 1.5]))
    uniforms, sampled = sample(network, trace, temperature, random)
    arrays = "hc" if cell == "lstm" else "h"
    clamps = [
        (layer, array, int(random.integers(hidden_size)), float(random.normal()))
        for layer in range(1, layers + 1)
        for array in arrays
    ]
    return Case(
        network,
        trace,
        at=length - 3,
        target=int(trace.ids[length - 2]),
        groups=np.arange(length) // 3,
        temperature=temperature,
        uniforms=uniforms,
        sampled=sampled,
        clamps=clamps,
    )


def sample(
    network: Network, trace: Trace, temperature: float, random: np.random.Generator
) -> tuple[list[float], list[int]]:
    """Return uniform numbers, and the ids that the sampler writes with them after a text."""
    chain = SamplerChain(SampleConfig(temperature=temperature), network.vocab_size)
    nothing = chain.initial_state(trace.ids[:0])
    state = select_row(trace.states, -1)
    uniforms: list[float] = []
    ids: list[int] = []
    for _ in range(SAMPLED):
        logits = network.logits(state).astype(np.float64)
        reached = np.exp((logits - logits.max()) / (temperature or 1)).cumsum()
        uniform = random.random()
        while np.abs(reached / reached[-1] - uniform).min() < _EDGE:
            uniform = random.random()
        token, _ = chain.sample(network.logits(state), nothing, uniform)
        uniforms.append(uniform)
        ids.append(token)
        state = network.advance(token, state)
    return uniforms, ids


def make_page(folder: Path, *scripts: str, name: str = "page.html") -> Path:
    """Write a page that runs scripts, and return its path."""
    path = folder / name
    body = "".join(f"<script>{script}</script>" for script in scripts)
    path.write_text(f"<!doctype html><meta charset=utf-8>{body}", encoding="utf-8")
    return path


def unpack(text: str, *shape: int) -> NDArray[np.float32]:
    """Return an array that the page packed."""
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(shape)


def assert_near(found: Any, expected: Any, seed: int, tolerance: float = TOLERANCE) -> None:
    """Hold `found` to `expected`, within a share of its largest number, or of 1."""
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(found, expected, 0, tolerance * scale, err_msg=f"case {seed}")


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [make_case(seed) for seed in range(COUNT)]


@pytest.fixture(scope="module")
def page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Return a page with the network's script and nothing else."""
    folder = tmp_path_factory.mktemp("network")
    return browser.open(
        make_page(folder, read_asset("network.js"), read_asset("gradients.js"), RUN)
    )


@pytest.fixture(scope="module")
def answers(page: Page, cases: list[Case]) -> list[dict[str, Any]]:
    """Return what JavaScript finds in each case."""
    messages = json.dumps([case.message() for case in cases])
    found: list[dict[str, Any]] = page.evaluate(f"{messages}.map(run)")
    return found


def test_the_states_are_those_of_numpy(cases: list[Case], answers: list[dict[str, Any]]) -> None:
    for seed, (case, answer) in enumerate(zip(cases, answers, strict=True)):
        layers = case.trace.states[: case.network.config.num_layers]
        for found, expected in zip(answer["states"], layers, strict=True):
            for each, array in zip(found, expected, strict=True):
                assert_near(unpack(each, *array.shape), array, seed)


def test_the_last_tokens_are_those_of_numpy(
    cases: list[Case], answers: list[dict[str, Any]]
) -> None:
    orders = set()
    for case, answer in zip(cases, answers, strict=True):
        order = case.network.config.ngram_order
        orders.add(order)
        if order == 1:
            assert answer["contexts"] is None
            continue
        expected = case.trace.states[-1][0]
        np.testing.assert_array_equal(unpack(answer["contexts"], *expected.shape), expected)
    assert orders == {1, 2, 3, 4, 5}


def test_the_states_with_clamped_units_are_those_of_numpy(
    cases: list[Case], answers: list[dict[str, Any]]
) -> None:
    for seed, (case, answer) in enumerate(zip(cases, answers, strict=True)):
        tokens = min(len(case.trace), 100)
        layers = clamped(case, tokens)[: case.network.config.num_layers]
        for found, expected in zip(answer["clamped"], layers, strict=True):
            for each, array in zip(found, expected, strict=True):
                size = array.shape[-1]
                assert_near(unpack(each, -1, size)[: tokens + 1], array, seed)


def clamped(case: Case, tokens: int) -> Any:
    """Return the states (tokens + 1, H) with units held."""
    held = {Unit(layer, array, number): value for layer, array, number, value in case.clamps}
    return record(ClampedNetwork(case.network, held), case.trace.ids[:tokens]).states


def test_the_states_and_logits_are_those_of_torch(
    cases: list[Case], answers: list[dict[str, Any]]
) -> None:
    for seed, (case, answer) in enumerate(zip(cases, answers, strict=True)):
        model = CharRNN(case.network.config)
        load_numpy_state_dict(model, case.network.weights)
        ids = torch.from_numpy(case.trace.ids)[None]
        with torch.no_grad():
            logits, state = model(ids)
        assert_near(unpack(answer["logits"], *logits[0].shape), logits[0].numpy(), seed)
        layers = state[: case.network.config.num_layers]
        for found, expected in zip(answer["states"], layers, strict=True):
            for each, part in zip(found, expected, strict=True):
                assert_near(unpack(each, -1, part.shape[-1])[-1], part[0].numpy(), seed)


def test_the_gates_are_those_of_numpy(cases: list[Case], answers: list[dict[str, Any]]) -> None:
    for seed, (case, answer) in enumerate(zip(cases, answers, strict=True)):
        computed = ~case.trace.is_end
        for depth, found in enumerate(answer["gates"]):
            expected = case.trace.gates(depth)
            assert [name for name, _ in found] == list(expected)
            for name, each in found:
                gate = unpack(each, *expected[name].shape)
                assert_near(gate[computed], expected[name][computed], seed)


def test_the_likeliest_tokens_are_those_of_numpy(
    cases: list[Case], answers: list[dict[str, Any]]
) -> None:
    tokens = 0
    for case, answer in zip(cases, answers, strict=True):
        logits = case.trace.logits
        likeliest = unpack(answer["logits"], *logits.shape).argmax(-1)
        # Where two logits are nearer than rounding, both are right.
        chosen = np.take_along_axis(logits, likeliest[:, None], -1)[:, 0]
        scale = max(1.0, float(np.abs(logits).max()))
        assert (chosen >= logits.max(-1) - TOLERANCE * scale).all()
        assert (likeliest == logits.argmax(-1)).mean() > 0.99
        tokens += len(likeliest)
    assert tokens > LONG * 2_000


def test_the_same_uniform_numbers_sample_the_same_text(
    cases: list[Case], answers: list[dict[str, Any]]
) -> None:
    for case, answer in zip(cases, answers, strict=True):
        assert answer["sampled"] == case.sampled


def test_links_are_those_of_numpy(cases: list[Case], answers: list[dict[str, Any]]) -> None:
    for seed, (case, answer) in enumerate(zip(cases, answers, strict=True)):
        expected = links(case)
        found = unpack(answer["links"], case.at + 1)
        assert_near(found, expected, seed, tolerance=1e-4)


def links(case: Case) -> NDArray[np.float64]:
    """Return ‖∂ z_at[target] / ∂ x_s‖₂ for each token s = 0 … at."""
    part = case.trace.part(0, case.at + 1)
    return gradient_links(part, np.array([case.at]), np.array([case.target]))[0]


def test_gradients_are_those_of_numpy(cases: list[Case], answers: list[dict[str, Any]]) -> None:
    for seed, (case, answer) in enumerate(zip(cases, answers, strict=True)):
        expected = gradients(case)
        for depth, found in enumerate(answer["gradients"]):
            for part, name in enumerate(found):
                norms = [np.linalg.norm(whole[depth][part]) for whole in expected]
                assert len(found[name]) == len(norms)
                assert_near(found[name], np.array(norms), seed, tolerance=1e-4)


def gradients(case: Case) -> list[Any]:
    """Return those of −ln p(target) by the state after token at, at − 1, … back to an end."""
    trace = case.trace
    derivatives = Derivatives(trace)
    grad = grad_of_nats(trace.log_probabilities[case.at], np.array(case.target))
    features: Any = grad_features(case.network, grad)
    state = map_state(lambda array: np.zeros_like(array[0]), trace.states)
    found = []
    for s in range(case.at, -1, -1):
        if trace.is_end[s]:
            break
        step = derivatives.back(s, state, features)
        found.append(step.whole)
        state = step.state
        features = None
    return found


def test_the_ledger_is_that_of_numpy(cases: list[Case], answers: list[dict[str, Any]]) -> None:
    for seed, (case, answer) in enumerate(zip(cases, answers, strict=True)):
        if case.network.config.cell == "rnn":
            assert answer["ledger"] == [None, None]
            continue
        singles = np.arange(case.at + 1)
        for found, groups in zip(answer["ledger"], (singles, case.groups), strict=True):
            norms, initial = ledger(case, groups)
            assert_near(found["norms"], norms, seed)
            assert_near(found["initial"], initial, seed)
            assert found["residual"] < TOLERANCE


def ledger(case: Case, groups: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
    """Return ‖m‖₁ of each group at its last token, and of the initial state, in the top layer."""
    parts = make_ledger(case.trace, case.trace.depths[-1], case.at).parts
    ends = np.flatnonzero(case.trace.is_end[: case.at + 1])
    first = int(ends[-1]) if len(ends) else 0  # what an end forgets has no part that is left
    norms = np.zeros(case.at + 1)
    for group in np.unique(groups[first : case.at + 1]):
        members = [s for s in range(first, case.at + 1) if groups[s] == group]
        norms[members[-1]] = np.abs(parts[[s + 1 for s in members]].sum(0)).sum()
    return norms, float(np.abs(parts[0]).sum())


def test_all_16_bit_numbers_are_decoded_exactly(page: Page) -> None:
    bits = np.arange(2**16, dtype="<u2")
    text = base64.b64encode(bits.tobytes()).decode()
    index = [{"name": "all", "shape": [2**16], "start": 0}]

    found = page.evaluate(
        f'pack(charrnn.decodeWeights("{text}", {json.dumps(index)}, "float16").all)'
    )

    np.testing.assert_array_equal(unpack(found, 2**16), bits.view("<f2").astype(np.float32))


def test_an_edit_reads_from_the_first_token_that_changed(page: Page, cases: list[Case]) -> None:
    case = cases[LONG + 3]
    script = f"""(() => {{
        const test = {json.dumps(case.message())};
        const network = charrnn.makeNetwork(test.config, charrnn.decodeWeights(...test.weights));
        const before = network.read(test.ids);
        const other = 1 - Math.min(1, test.ids[9]);
        const edited = [...test.ids.slice(0, 9), other, ...test.ids.slice(11)];
        const opened = network.open(edited, {{ from: before }});
        const first = opened.done;
        opened.readMore(edited.length);
        const again = network.read(edited);
        const texts = [opened, again].map((t) => JSON.stringify([t.states, t.gates]));
        return [first, texts[0] === texts[1], texts[0] !== JSON.stringify(before)];
    }})()"""

    assert page.evaluate(script) == [9, True, True]


def test_without_gates_a_trace_gives_the_same_links_and_ledger(
    page: Page, cases: list[Case]
) -> None:
    for case in (cases[LONG + 3], cases[LONG + 4]):  # an LSTM and a GRU
        script = f"""(() => {{
            const test = {json.dumps(case.message())};
            const weights = charrnn.decodeWeights(...test.weights);
            const network = charrnn.makeNetwork(test.config, weights);
            const found = [true, false].map((gates) => {{
                const trace = network.read(test.ids, {{ gates }});
                const {{ at, target }} = test;
                const links = charrnn.links(trace, at, target, 7);
                return JSON.stringify([links, charrnn.ledger(trace, 0, at)]);
            }});
            return found[0] === found[1];
        }})()"""

        assert page.evaluate(script)


def mulberry32(seed: int, count: int) -> list[float]:
    """Return the first numbers that charrnn.makeRandom gives."""
    state = seed
    found = []
    for _ in range(count):
        state = (state + 0x6D2B79F5) % 2**32
        mixed = (state ^ state >> 15) * (state | 1) % 2**32
        mixed ^= (mixed + (mixed ^ mixed >> 7) * (mixed | 61)) % 2**32
        found.append(((mixed ^ mixed >> 14) % 2**32) / 2**32)
    return found


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_a_seed_gives_the_random_numbers_that_are_documented(page: Page, seed: int) -> None:
    script = f"(() => {{ const r = charrnn.makeRandom({seed}); return [r(), r(), r()]; }})()"

    assert page.evaluate(script) == mulberry32(seed, 3)


def test_a_seed_writes_the_same_text_every_time(page: Page, cases: list[Case]) -> None:
    case = cases[LONG + 3]
    script = f"""(() => {{
        const test = {json.dumps(case.message())};
        const network = charrnn.makeNetwork(test.config, charrnn.decodeWeights(...test.weights));
        const options = [{{ seed: 5 }}, {{ uniforms: {mulberry32(5, 20)} }}, {{ seed: 6 }}];
        return options.map((each) => charrnn.sample(
            network, network.initialState(), {{ count: 20, ...each }}).ids.join());
    }})()"""

    first, same, other = page.evaluate(script)

    assert first == same != other


@pytest.mark.parametrize("unit", ["c1.0", "h2.0", "h1.9", "h0.0", "f1.0", "h1.-1", "h1.0 "])
def test_a_clamp_of_no_unit_is_an_error_that_says_which_there_are(page: Page, unit: str) -> None:
    network = make_network(cell="gru", hidden_size=9)
    weights = json.dumps(packed(network))
    config = json.dumps(dataclasses.asdict(network.config))
    script = f"""
        charrnn.makeNetwork({config}, charrnn.decodeWeights(...{weights}))
            .read([1], {{ clamps: [{{ unit: "{unit}", value: 1 }}] }})"""

    with pytest.raises(BrowserError, match=r"a layer from 1 to 1 and a number from 0 to 8"):
        page.evaluate(script)


def test_the_script_fits_into_a_page() -> None:
    sizes = [len(read_asset(name).encode()) for name in ("network.js", "gradients.js")]

    assert sum(sizes) <= 34 * 1024


def test_the_networks_of_a_page_are_fast(page: Page) -> None:
    network = make_network(cell="lstm", vocab_size=103, embedding_size=64, hidden_size=256)
    weights = json.dumps(packed(network))
    config = json.dumps(dataclasses.asdict(network.config))
    script = f"""charrnn.makeNetwork({config}, charrnn.decodeWeights(...{weights}))
        .read(Array.from({{ length: 300 }}, (_, k) => k % 103)).done"""

    start = time.perf_counter()

    assert page.evaluate(script) == 300
    assert time.perf_counter() - start < 6  # 0.3 s here alone
