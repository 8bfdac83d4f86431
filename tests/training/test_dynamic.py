"""Dynamic evaluation: learning only from what was scored, on a copy, and to some purpose."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from charrnn.config import DynamicConfig, ModelConfig
from charrnn.errors import ConfigError, DivergedError
from charrnn.model.network import CharRNN, negative_log_likelihood
from charrnn.text.ngrams import choose_ngrams
from charrnn.text.vocab import Vocab
from charrnn.training import dynamic
from charrnn.training.dynamic import WINDOW, compare_dynamic
from charrnn.training.evaluation import Stretch, with_average

VOCAB = Vocab("abcde")
FAST = DynamicConfig(dynamic_rate=0.01)
STILL = DynamicConfig(dynamic_rate=0.0)


def make_network(cell: str = "gru", seed: int = 1, initial_state: str = "zero") -> CharRNN:
    torch.manual_seed(seed)
    sizes = {"vocab_size": VOCAB.size, "embedding_size": 3, "hidden_size": 4}
    return CharRNN(ModelConfig(cell=cell, num_layers=2, initial_state=initial_state, **sizes))


def make_ids(length: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, VOCAB.size, length).astype(np.uint8)


def nats_of(model: CharRNN, ids: np.ndarray, config: DynamicConfig = FAST) -> float:
    """Return the nats of the whole text."""
    score = compare_dynamic([model], Stretch(ids), VOCAB, config)[0]
    return score.loss_nats * score.chars


@torch.no_grad()
def static_nats(model: CharRNN, ids: np.ndarray) -> float:
    """One lane, the whole text at once, with the weights as they are."""
    tokens = torch.from_numpy(ids.astype(np.int64))[None]
    logits, _ = model(tokens[:, :-1])
    return float(negative_log_likelihood(logits, tokens[:, 1:]).double().sum())


@pytest.mark.parametrize("initial_state", ["zero", "learned"])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_at_rate_0_it_is_the_static_loss_of_a_single_lane(cell: str, initial_state: str) -> None:
    model, ids = make_network(cell, initial_state=initial_state), make_ids(217)

    assert nats_of(model, ids, STILL) == pytest.approx(static_nats(model, ids), rel=1e-6)


def test_the_first_window_is_scored_by_the_weights_as_they_were_trained() -> None:
    model, ids = make_network(), make_ids(WINDOW + 1)

    assert nats_of(model, ids) == pytest.approx(static_nats(model, ids), rel=1e-6)


@pytest.mark.parametrize("changed", [1, 19, 20, 21, 40, 41, 57])
def test_a_later_character_changes_no_earlier_score(
    changed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, ids = make_network(), make_ids(58)
    other = ids.copy()
    other[changed] = (ids[changed] + 1) % VOCAB.size

    first, second = (nats_by_character(monkeypatch, model, text) for text in (ids, other))

    assert first.sum() == pytest.approx(nats_of(model, ids), rel=1e-6)
    assert np.flatnonzero(first != second)[0] == changed - 1  # the first character is given


def nats_by_character(
    monkeypatch: pytest.MonkeyPatch, model: CharRNN, ids: np.ndarray
) -> np.ndarray:
    """Return the nats of every character but the first, as they are handed on to be added up."""
    seen: list[torch.Tensor] = []
    with monkeypatch.context() as patch:
        patch.setattr(dynamic, "with_average", lambda n: seen.append(n[0]) or with_average(n))
        compare_dynamic([model], Stretch(ids), VOCAB, FAST)
    return torch.cat(seen).numpy()


def test_a_text_that_repeats_itself_is_learned_on_the_way() -> None:
    model, ids = make_network("lstm"), np.tile(make_ids(7), 200)

    assert nats_of(model, ids) < 0.7 * static_nats(model, ids)


def learned_nats(model: CharRNN, ids: np.ndarray, rate: float, decay: float) -> float:
    """The slow twin, with the paper's signs: moves `model` itself, keeps every gradient."""
    tokens = torch.from_numpy(ids.astype(np.int64))[None]
    weights = [p for p in model.parameters() if p.requires_grad]
    trained = [weight.detach().clone() for weight in weights]
    history: list[tuple[torch.Tensor, ...]] = []
    total, state = 0.0, None
    for start in range(0, len(ids) - 1, WINDOW):
        window = tokens[:, start : start + WINDOW + 1]
        logits, state = model(window[:, :-1], state)
        state = tuple(tuple(part.detach() for part in layer) for layer in state)
        nats = negative_log_likelihood(logits, window[:, 1:])
        total += float(nats.detach().sum())
        history.append(torch.autograd.grad(nats.mean(), weights))
        for i, weight in enumerate(weights):
            rms = torch.stack([gradients[i] for gradients in history]).square().mean(0).sqrt()
            step = -rate * torch.nan_to_num(history[-1][i] / rms)
            pull = torch.clamp(decay * rms / rms.mean(), max=1) * (trained[i] - weight)
            weight.data += step + pull
    return total


@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_the_weights_move_as_the_paper_says(decay: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamic, "_DECAY", decay)
    ids = make_ids(4 * WINDOW + 8)

    expected = learned_nats(make_network(), ids, 0.01, decay)

    assert nats_of(make_network(), ids) == pytest.approx(expected, rel=1e-6)
    assert expected != pytest.approx(static_nats(make_network(), ids), rel=1e-4)


def test_the_model_and_the_random_state_stay_as_they_were() -> None:
    model, ids = make_network("lstm", initial_state="learned"), make_ids(100)
    weights = [p.detach().clone() for p in model.parameters()]
    random, mode = torch.get_rng_state(), model.training

    first = nats_of(model, ids)

    assert nats_of(model, ids) == first != static_nats(model, ids)
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(random, torch.get_rng_state())
    assert model.training == mode


def test_n_grams_stay_as_they_were_trained_while_the_rest_learns() -> None:
    torch.manual_seed(1)
    sizes = {"vocab_size": VOCAB.size, "embedding_size": 3, "hidden_size": 4}
    model = CharRNN(ModelConfig(**sizes, ngram_order=3, ngram_rows=16))
    ids = make_ids(217)
    assert model.ngrams is not None
    model.ngrams.keep(choose_ngrams(ids, 3, 16, np.arange(1, VOCAB.size + 1)))
    torch.nn.init.normal_(model.ngrams.weight)
    before = model.ngrams.weight.detach().clone()
    still = nats_of(model, ids, STILL)

    assert still == pytest.approx(static_nats(model, ids), rel=1e-6)
    assert nats_of(model, ids, FAST) != still
    assert torch.equal(model.ngrams.weight, before)


def test_each_model_learns_by_itself_and_the_average_beats_their_mean() -> None:
    models, ids = [make_network("lstm", 1), make_network("gru", 2)], make_ids(300)

    *single, average = [s.loss_nats for s in compare_dynamic(models, Stretch(ids), VOCAB, FAST)]

    assert single == [compare_dynamic([m], Stretch(ids), VOCAB, FAST)[0].loss_nats for m in models]
    assert average < sum(single) / 2


def test_the_loss_is_per_character_where_a_character_takes_several_tokens() -> None:
    vocab = Vocab("ab", has_bytes=True)
    model = CharRNN(ModelConfig(cell="rnn", vocab_size=vocab.size, embedding_size=3, hidden_size=4))
    ids = vocab.encode("a漢b字" * 9)

    score = compare_dynamic([model], Stretch(ids), vocab, STILL)[0]

    assert score.chars == 35
    assert score.loss_nats == pytest.approx(static_nats(model, ids) / 35, rel=1e-6)


def test_every_token_that_was_scored_is_told_once() -> None:
    told: list[int] = []

    compare_dynamic([make_network()], Stretch(make_ids(48)), VOCAB, FAST, told.append)

    assert told == [20, 20, 7]


def test_a_loss_that_is_no_number_is_an_error_that_names_the_rate() -> None:
    model = make_network()
    with torch.no_grad():
        model.output.bias.fill_(torch.inf)

    with pytest.raises(DivergedError, match=r"at character 0 .* lower dynamic_rate than 0\.01"):
        compare_dynamic([model], Stretch(make_ids(30)), VOCAB, FAST)


@pytest.mark.parametrize("rate", [-0.1, 1.5])
def test_a_rate_out_of_range_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="dynamic_rate"):
        DynamicConfig(dynamic_rate=rate)
