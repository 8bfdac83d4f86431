"""The network against its slow twin: same logits, same gradients, for every cell and option.

The twin itself is held to finite differences. Sizes are tiny and differ, so that a swapped axis
fails: V = 5, E = 3 (H where the output is tied without a projection), H = 4, B = 2, T = 6.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from charrnn.config import ModelConfig
from charrnn.model import heads
from charrnn.model.network import CharRNN, RecurrentLayer, numpy_state_dict, public_name
from tests.generation.random_models import NGRAMS, ngram_choice
from tests.reference import recurrent as twin

V, E, H, B, T = 5, 3, 4, 2, 6
CELLS = {
    "tanh": {"cell": "rnn"},
    "relu": {"cell": "rnn", "nonlinearity": "relu"},
    "logistic": {"cell": "rnn", "nonlinearity": "logistic"},
    "lstm": {"cell": "lstm"},
    "gru": {"cell": "gru"},
}
SHAPES = {  # every pair of depth, skip, tie and initial state stands in one of them
    "1-plain": (1, False, "untied", "zero"),
    "1-tied-learned": (1, False, "tied", "learned"),
    "1-projected": (1, False, "projected", "zero"),
    "2-skip-learned": (2, True, "untied", "learned"),
    "2-tied": (2, False, "tied", "zero"),
    "2-skip-projected-learned": (2, True, "projected", "learned"),
    "3-skip-tied": (3, True, "tied", "zero"),
    "3-learned": (3, False, "untied", "learned"),
    "3-projected": (3, False, "projected", "zero"),
}


def make_config(cell: str, shape: str = "2-skip-learned", dropout: float = 0.0) -> ModelConfig:
    """Return the settings of one cell in one shape."""
    depth, skip, tie, initial = SHAPES[shape]
    return ModelConfig(
        **CELLS[cell],
        vocab_size=V,
        embedding_size=H if tie == "tied" else E,
        hidden_size=H,
        num_layers=depth,
        residual=skip,
        tie_embeddings=tie != "untied",
        dropout=dropout,
        initial_state=initial,
    )


def make_model(config: ModelConfig, dtype: torch.dtype = torch.float64) -> CharRNN:
    """Return a model whose every weight is random, biases too: float32 values, so exact in both."""
    torch.manual_seed(7)
    model = CharRNN(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.normal_(mean=0.1, std=0.5)  # above 0, so that few ReLUs are dead
    return model.to(dtype)


def weights_of(model: CharRNN) -> twin.Weights:
    """Return the weights as the twin takes them."""
    return {name: weight.astype(np.float64) for name, weight in numpy_state_dict(model).items()}


def gradients_of(model: CharRNN) -> dict[str, np.ndarray]:
    """Return what backward() left, by public name; a weight that is not trained has none."""
    learned = {n: weight for n, weight in model.named_parameters() if weight.requires_grad}
    return {public_name(name): weight.grad.numpy() for name, weight in learned.items()}


def make_text(lanes: int = B, length: int = T) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and targets (B, T) int64: the target is the next id."""
    text = np.random.default_rng(3).integers(0, V, (lanes, length + 1))
    return torch.from_numpy(text[:, :-1].copy()), torch.from_numpy(text[:, 1:].copy())


def nats(logits: torch.Tensor, targets: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    """Return the loss in the logits' own precision."""
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction)


def make_state(model: CharRNN, dtype: torch.dtype = torch.float64) -> list[list[torch.Tensor]]:
    """Return a random state that wants a gradient: a list a layer, (B, H) for each part."""
    draw = torch.Generator().manual_seed(11)
    shapes = [[part.shape for part in parts] for parts in model.initial_state(B)]
    return [
        [torch.randn(shape, generator=draw, dtype=dtype).requires_grad_() for shape in parts]
        for parts in shapes
    ]


def as_arrays(state: Any) -> twin.State:
    """Return a torch state as the twin takes it."""
    return tuple(tuple(part.detach().numpy() for part in parts) for parts in state)


def assert_same(found: dict, expected: dict, tolerance: float, relative: float = 0) -> None:
    """Hold every array of `found` to its namesake."""
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], relative, tolerance, err_msg=name)


@pytest.mark.parametrize("tie", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("cell", CELLS)
def test_with_n_grams_logits_and_gradients_are_the_twins(cell, tie):
    shape = NGRAMS | {"num_layers": 2, "tie_embeddings": tie, "embedding_size": E, "hidden_size": H}
    model = make_model(ModelConfig(**CELLS[cell], vocab_size=V, **shape))
    model.ngrams.keep(ngram_choice(model.config)["ngrams.check"])
    ids, targets = make_text(length=9)

    logits, state = model(ids)
    nats(logits, targets).backward()

    trace = twin.forward(model.config, weights_of(model), ids.numpy())
    _, expected, _ = twin.bptt(model.config, weights_of(model), ids.numpy(), targets.numpy())
    np.testing.assert_allclose(logits.detach(), trace.logits, rtol=0, atol=1e-10)
    assert np.array_equal(state[-1][0], trace.state[-1][0])
    assert_same(gradients_of(model), expected.weights, 1e-9)
    assert expected.weights["ngrams.weight"].any(axis=1).sum() > 5


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", CELLS)
class TestEveryCellInEveryShape:
    def test_the_logits_are_the_twins(self, cell, shape):
        model = make_model(make_config(cell, shape))
        ids, _ = make_text()
        expected = twin.forward(model.config, weights_of(model), ids.numpy()).logits
        np.testing.assert_allclose(model(ids)[0].detach(), expected, rtol=0, atol=1e-10)

    def test_every_gradient_is_the_twins(self, cell, shape):
        model = make_model(make_config(cell, shape))
        ids, targets = make_text()
        nats(model(ids)[0], targets).backward()
        _, expected, _ = twin.bptt(model.config, weights_of(model), ids.numpy(), targets.numpy())
        assert_same(gradients_of(model), expected.weights, 1e-9)

    def test_float32_logits_and_gradients_are_the_twins_to_five_digits(self, cell, shape):
        model = make_model(make_config(cell, shape), torch.float32)
        ids, targets = make_text()
        logits, _ = model(ids)
        nats(logits, targets).backward()
        weights = weights_of(model)
        _, expected, _ = twin.bptt(model.config, weights, ids.numpy(), targets.numpy())
        trace = twin.forward(model.config, weights, ids.numpy())
        np.testing.assert_allclose(logits.detach(), trace.logits, rtol=1e-5, atol=1e-5)
        assert_same(gradients_of(model), expected.weights, 1e-5, relative=1e-5)


@pytest.mark.parametrize("large_alphabet", [0, V + 1])
@pytest.mark.parametrize("shape", ["2-skip-learned", "3-skip-tied", "2-skip-projected-learned"])
class TestTheLossWithoutLogits:
    def test_its_sum_and_gradients_are_the_twins(self, shape, large_alphabet, monkeypatch):
        monkeypatch.setattr(heads, "LARGE_ALPHABET", large_alphabet)
        model = make_model(make_config("gru", shape), torch.float32)
        ids, targets = make_text()
        total, _ = model.loss_sum(ids, targets, None, None)
        total.backward()
        arrays = ids.numpy(), targets.numpy()
        expected_nats, expected, _ = twin.bptt(
            model.config, weights_of(model), *arrays, reduction="sum"
        )
        assert float(total.detach()) == pytest.approx(expected_nats, rel=1e-5)
        assert_same(gradients_of(model), expected.weights, 1e-4, relative=1e-5)

    def test_each_targets_nats_are_the_twins(self, shape, large_alphabet, monkeypatch):
        monkeypatch.setattr(heads, "LARGE_ALPHABET", large_alphabet)
        model = make_model(make_config("gru", shape), torch.float32)
        ids, targets = make_text()
        with torch.inference_mode():
            found, _ = model.token_losses(ids, targets)
        logits = twin.forward(model.config, weights_of(model), ids.numpy()).logits
        each = nats(torch.from_numpy(logits), targets, "none").reshape(B, T).t().flatten()
        torch.testing.assert_close(found, each.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
class TestEveryCell:
    def test_the_state_after_a_window_is_the_twins(self, cell):
        model = make_model(make_config(cell))
        ids, _ = make_text()
        state = make_state(model)
        _, after = model(ids, state)
        expected = twin.forward(model.config, weights_of(model), ids.numpy(), as_arrays(state))
        np.testing.assert_allclose(as_arrays(after), expected.state, rtol=0, atol=1e-10)

    def test_the_gradient_of_the_state_that_came_in_is_the_twins(self, cell):
        model = make_model(make_config(cell))
        ids, targets = make_text()
        state = make_state(model)
        nats(model(ids, state)[0], targets).backward()
        arrays = ids.numpy(), targets.numpy(), as_arrays(state)
        _, expected, _ = twin.bptt(model.config, weights_of(model), *arrays)
        found = [[part.grad.numpy() for part in parts] for parts in state]
        np.testing.assert_allclose(found, expected.state, rtol=0, atol=1e-9)

    def test_two_half_windows_give_the_logits_of_one_whole(self, cell):
        model = make_model(make_config(cell))
        ids, _ = make_text()
        whole, _ = model(ids)
        first, state = model(ids[:, : T // 2])
        second, _ = model(ids[:, T // 2 :], state)
        torch.testing.assert_close(torch.cat([first, second], dim=1), whole, rtol=0, atol=1e-12)

    def test_two_half_windows_give_the_twins_whole_gradient(self, cell):
        model = make_model(make_config(cell))
        ids, targets = make_text()
        first, state = model(ids[:, : T // 2])
        second, _ = model(ids[:, T // 2 :], state)
        nats(torch.cat([first, second], dim=1), targets).backward()
        _, expected, _ = twin.bptt(model.config, weights_of(model), ids.numpy(), targets.numpy())
        assert_same(gradients_of(model), expected.weights, 1e-9)

    def test_a_detached_state_gives_the_twins_truncated_gradient(self, cell):
        model = make_model(make_config(cell))
        ids, targets = make_text()
        state = None
        for part in (slice(0, T // 2), slice(T // 2, T)):
            logits, state = model(ids[:, part], state)
            nats(logits, targets[:, part], "sum").backward()
            state = [[part.detach() for part in parts] for parts in state]
        arrays = ids.numpy(), targets.numpy()
        _, expected = twin.truncated_bptt(model.config, weights_of(model), *arrays, T // 2)
        assert_same(gradients_of(model), expected, 1e-9)

    def test_the_twins_gradients_are_the_slopes_of_its_loss(self, cell):
        for shape in ("2-skip-learned", "3-skip-tied", "2-skip-projected-learned"):
            config = make_config(cell, shape)
            weights = weights_of(make_model(config))
            ids, targets = (part.numpy() for part in make_text())
            loss = partial(twin.bptt, config, weights, ids, targets)
            _, gradients, _ = loss()
            for name, weight in weights.items():
                slopes, places = measured_slopes(loss, weight)
                assert relative_error(gradients.weights[name][places], slopes) < 1e-6, name

    def test_the_twins_gradient_of_an_incoming_state_is_the_slope_of_its_loss(self, cell):
        model = make_model(make_config(cell))
        state = as_arrays(make_state(model))
        ids, targets = (part.numpy() for part in make_text())
        loss = partial(twin.bptt, model.config, weights_of(model), ids, targets, state)
        _, gradients, _ = loss()
        for parts, found in zip(state, gradients.state, strict=True):
            for part, gradient in zip(parts, found, strict=True):
                slopes, places = measured_slopes(loss, part)
                assert relative_error(gradient[places], slopes) < 1e-6

    def test_the_twins_windows_chained_by_their_states_gradient_are_one_whole(self, cell):
        model = make_model(make_config(cell))
        ids, targets = (part.numpy() for part in make_text())
        weights, early, late = weights_of(model), slice(0, T // 2), slice(T // 2, T)
        first = twin.forward(model.config, weights, ids[:, early])
        _, after, _ = twin.bptt(
            model.config, weights, ids[:, late], targets[:, late], first.state, "sum"
        )
        _, grad_logits = twin.cross_entropy(first.logits, targets[:, early], "sum")
        before = twin.backward(
            model.config, weights, ids[:, early], first, grad_logits, after.state
        )
        twin.add_initial_gradient(before)
        _, whole, _ = twin.bptt(model.config, weights, ids, targets, reduction="sum")
        chained = {name: before.weights[name] + after.weights[name] for name in weights}
        assert_same(chained, whole.weights, 1e-12)

    def test_truncation_leaves_part_of_the_recurrent_gradient_out(self, cell):
        model = make_model(make_config(cell))
        ids, targets = (part.numpy() for part in make_text())
        weights = weights_of(model)
        _, whole, _ = twin.bptt(model.config, weights, ids, targets, reduction="sum")
        _, halves = twin.truncated_bptt(model.config, weights, ids, targets, T // 2)
        gap = halves["layers.0.weight_hh"] - whole.weights["layers.0.weight_hh"]
        assert np.abs(gap).max() > 1e-3

    def test_one_window_over_everything_truncates_nothing(self, cell):
        model = make_model(make_config(cell))
        ids, targets = (part.numpy() for part in make_text())
        weights = weights_of(model)
        _, whole, _ = twin.bptt(model.config, weights, ids, targets, reduction="sum")
        _, one = twin.truncated_bptt(model.config, weights, ids, targets, T)
        assert_same(one, whole.weights, 0)


class TestInitialisation:
    @pytest.mark.parametrize(("cell", "gates"), [("tanh", 1), ("relu", 1), ("lstm", 4), ("gru", 3)])
    def test_every_gates_recurrent_block_is_orthogonal(self, cell, gates):
        weights = numpy_state_dict(CharRNN(make_config(cell, "3-learned")))
        for depth in range(3):
            for block in np.split(weights[f"layers.{depth}.weight_hh"], gates):
                np.testing.assert_allclose(block @ block.T, np.eye(H), rtol=0, atol=1e-5)

    @pytest.mark.parametrize("width", [E, H + 1])
    def test_a_projection_starts_orthogonal_whichever_size_is_larger(self, width):
        config = replace(make_config("lstm", "1-projected"), embedding_size=width)
        projection = numpy_state_dict(CharRNN(config))["projection.weight"]
        assert projection.shape == (width, H)
        gram = projection @ projection.T if width < H else projection.T @ projection
        np.testing.assert_allclose(gram, np.eye(min(width, H)), rtol=0, atol=1e-5)

    @pytest.mark.parametrize("shape", ["1-plain", "1-projected"])
    def test_what_the_first_layer_reads_starts_with_unit_variance(self, shape):
        model = CharRNN(replace(make_config("gru", shape), vocab_size=5000))
        read = []
        model.layers[0].register_forward_pre_hook(lambda _, given: read.append(given[0]))
        model(torch.arange(5000)[None])
        assert read[0].shape == (5000, 1, E)
        assert float(read[0].detach().square().mean()) == pytest.approx(1, abs=0.05)

    @pytest.mark.parametrize("shape", ["1-plain", "1-tied-learned", "1-projected"])
    def test_rows_of_output_weights_start_with_unit_length(self, shape):
        model = CharRNN(replace(make_config("gru", shape), vocab_size=5000))
        lengths = model.output.weight.detach().square().sum(1)
        assert float(lengths.mean()) == pytest.approx(1, abs=0.05)

    @pytest.mark.parametrize("cell", ["tanh", "relu", "gru"])
    def test_every_bias_starts_at_zero(self, cell):
        weights = numpy_state_dict(CharRNN(make_config(cell)))
        assert all(not weight.any() for name, weight in weights.items() if "bias" in name)

    def test_the_forget_gates_bias_starts_at_one_and_an_lstms_others_at_zero(self):
        weights = numpy_state_dict(CharRNN(make_config("lstm")))
        for depth in range(2):
            bias = weights[f"layers.{depth}.bias_ih"] + weights[f"layers.{depth}.bias_hh"]
            expected = np.repeat([0.0, 1.0, 0.0, 0.0], H)  # input, forget, cell, output
            np.testing.assert_array_equal(bias, expected)

    @pytest.mark.parametrize("cell", CELLS)
    def test_the_initial_state_starts_at_zero(self, cell):
        state = CharRNN(make_config(cell)).initial_state(B)
        assert not any(part.any() for parts in state for part in parts)

    def test_a_logistic_layer_starts_as_its_tanh_twin_in_other_coordinates(self):
        layers = []
        for nonlinearity in ("tanh", "logistic"):
            torch.manual_seed(5)
            config = ModelConfig(cell="rnn", nonlinearity=nonlinearity, hidden_size=H)
            layers.append(RecurrentLayer(config, E).double())
        draw = torch.Generator().manual_seed(2)
        inputs = torch.randn(T, B, E, generator=draw, dtype=torch.float64)
        middle = torch.zeros(B, H, dtype=torch.float64)  # tanh's; the logistic's is one half
        (g, _), (h, _) = layers[0](inputs, (middle,)), layers[1](inputs, (middle + 0.5,))
        torch.testing.assert_close(h, (g + 1) / 2, rtol=0, atol=1e-6)


class TestDropout:
    def test_one_mask_holds_for_the_whole_window(self):
        mask = draw_mask(dropout=0.4, lanes=B)
        torch.testing.assert_close(mask, mask[:, :1].expand(-1, T, -1), rtol=0, atol=1e-6)

    def test_a_feature_is_dropped_or_scaled_up_by_the_share_that_is_kept(self):
        mask = draw_mask(dropout=0.4, lanes=50)
        is_dropped, is_scaled = mask == 0, (mask - 1 / 0.6).abs() < 1e-6
        assert bool((is_dropped ^ is_scaled).all())
        assert is_dropped.any()
        assert is_scaled.any()

    def test_the_expected_scale_is_kept(self):
        mask = draw_mask(dropout=0.4, lanes=5000)
        assert mask[:, 0].mean() == pytest.approx(1, abs=0.03)

    def test_each_lane_has_a_mask_of_its_own(self):
        mask = draw_mask(dropout=0.4, lanes=50)[:, 0]
        assert len({tuple(lane.tolist()) for lane in mask > 0}) > 1

    def test_the_same_generator_draws_the_same_masks(self):
        first, second = (draw_mask(dropout=0.4, lanes=B) for _ in range(2))
        assert torch.equal(first, second)

    def test_no_generator_means_no_dropout(self):
        model = make_model(make_config("gru", "3-skip-tied", dropout=0.4))
        ids, _ = make_text()
        expected = twin.forward(model.config, weights_of(model), ids.numpy()).logits
        np.testing.assert_allclose(model(ids)[0].detach(), expected, rtol=0, atol=1e-10)

    def test_a_generator_without_dropout_drops_nothing(self):
        model = make_model(make_config("gru"))
        ids, _ = make_text()
        assert torch.equal(model(ids, dropout=torch.Generator())[0], model(ids)[0])


def test_weights_of_zero_cost_the_log_of_the_vocabulary():
    config = make_config("lstm")
    weights = {name: 0 * weight for name, weight in weights_of(make_model(config)).items()}
    loss_nats, _, _ = twin.bptt(config, weights, *(part.numpy() for part in make_text()))
    assert loss_nats == pytest.approx(math.log(V))


def test_the_mean_loss_is_the_sum_over_the_number_of_targets():
    config = make_config("gru")
    weights, text = weights_of(make_model(config)), [part.numpy() for part in make_text()]
    mean, gradients, _ = twin.bptt(config, weights, *text)
    total, summed, _ = twin.bptt(config, weights, *text, reduction="sum")
    assert mean == pytest.approx(total / (B * T))
    assert_same(gradients.weights, {k: v / (B * T) for k, v in summed.weights.items()}, 1e-12)


def draw_mask(dropout: float, lanes: int) -> torch.Tensor:
    """Return one layer's mask (lanes, T, V), read off logits whose output weights are the identity.

    The lowest V of H features are seen; a mask is what dropout multiplies them by.
    """
    model = make_model(make_config("tanh", "1-plain", dropout))
    with torch.no_grad():
        model.output.weight.copy_(torch.eye(V, H))
        model.output.bias.zero_()
        ids, _ = make_text(lanes)
        dropped, _ = model(ids, dropout=torch.Generator().manual_seed(13))
        return (dropped / model(ids)[0])[..., :H]


def measured_slopes(loss, array: np.ndarray, places: int = 8, nudge: float = 1e-5):
    """Return central differences of `loss` at a sample of an array's places, and the places."""
    drawn = np.random.default_rng(17).permutation(array.size)[:places]
    flat, slopes = array.reshape(-1), []
    for place in drawn:
        kept = flat[place]
        sides = []
        for side in (kept + nudge, kept - nudge):
            flat[place] = side
            sides.append(loss()[0])
        flat[place] = kept
        slopes.append((sides[0] - sides[1]) / (2 * nudge))
    return np.array(slopes), np.unravel_index(drawn, array.shape)


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the length of the difference as a share of the length of both."""
    return np.linalg.norm(found - expected) / (np.linalg.norm(found) + np.linalg.norm(expected))
