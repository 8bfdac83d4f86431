"""Backpropagation through time by hand, for the cells that torch only loops over on a CPU.

One product serves the inputs of all times, one a step the recurrence, one each gradient of a
weight. What a step's derivative needs is computed for all times at once, so that the backward pass
is three operations a step. Products are made in autocast's number format where that is on, the rest
in the inputs' own. docs/equations.md has the derivation. The last part has the cells in plain
operations, which run on Apple's GPUs.

T = window length, B = lanes, I = input size, H = hidden size, G = gates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

Weights = tuple[Tensor, Tensor, Tensor, Tensor]
"""weight_ih (G·H, I), weight_hh (G·H, H), bias_ih (G·H,), bias_hh (G·H,), in torch's order."""
LayerState = tuple[Tensor, ...]
"""(h,) of a GRU or plain RNN, (h, c) of an LSTM: each (B, H)."""


class Resets(NamedTuple):
    """Where the state is reset in a window.

    is_reset: (T, B, 1), 1 where it is, else 0. states: (T, B, H), h there; 0 elsewhere.
    """

    is_reset: Tensor
    states: Tensor


_NO_RESETS = (None, None)


def run_rnn(
    inputs: Tensor,
    state: Tensor,
    weights: Weights,
    nonlinearity: str,
    resets: Resets | None = None,
) -> Tensor:
    """Return h_t = f(U x_t + W h_{t-1} + b) of all times: (T, B, I), (B, H) → (T, B, H)."""
    outputs: Tensor = _RNN.apply(  # type: ignore[no-untyped-call]
        inputs, state, *weights, *(resets or _NO_RESETS), nonlinearity
    )
    return outputs


def run_gru(
    inputs: Tensor, state: Tensor, weights: Weights, resets: Resets | None = None
) -> Tensor:
    """Return h_t of all times of a GRU, reset after the product: (T, B, I), (B, H) → (T, B, H)."""
    outputs: Tensor = _GRU.apply(  # type: ignore[no-untyped-call]
        inputs, state, *weights, *(resets or _NO_RESETS)
    )
    return outputs


_ACTIVATE: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh_,
    "relu": torch.relu_,
    "logistic": torch.sigmoid_,
}
_SLOPE: dict[str, Callable[[Tensor], Tensor]] = {  # f′(a), from h = f(a)
    "tanh": lambda h: 1 - h * h,
    "relu": lambda h: (h > 0).to(h.dtype),
    "logistic": lambda h: h * (1 - h),
}


class _RNN(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        state: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
        is_reset: Tensor | None,
        first_states: Tensor | None,
        nonlinearity: str,
    ) -> Tensor:
        dtype = product_dtype(inputs)
        activate = _ACTIVATE[nonlinearity]
        # The inputs of all times in one product, then the recurrence step by step, in place.
        states = _multiply(inputs, weight_ih.t(), dtype).add_(bias_ih + bias_hh)
        product = _Product(weight_hh.t(), dtype)
        before = state.new_empty(len(inputs) + 1, *state.shape, dtype=product.dtype)
        h_prev, *copies = before.unbind()  # in the products' number format
        h_prev.copy_(state)
        resets = _Resetting.of(is_reset, first_states)
        for t, (h, copy) in enumerate(zip(states, copies, strict=True)):
            activate(product.add_to(h, h_prev))
            if resets is not None:
                resets.apply(t, h)
            h_prev = copy.copy_(h)
        ctx.dtype = dtype
        ctx.nonlinearity = nonlinearity
        ctx.save_for_backward(inputs, weight_ih, weight_hh, states, before, is_reset)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight_ih, weight_hh, states, before, is_reset = ctx.saved_tensors
        grad_out = torch.cat((torch.zeros_like(grad[:1]), grad))  # of the first state: still zero
        product = _Product(weight_hh, ctx.dtype)
        slopes = _SLOPE[ctx.nonlinearity](states)
        if is_reset is not None:  # no earlier time has a part in a state that was reset
            slopes = slopes.mul_(1 - is_reset)
        deltas = torch.empty_like(states, dtype=product.dtype)  # ∂L/∂a_t
        # From the last time to the first: ∂L/∂a_t = ∂L/∂h_t f′, and W ᵀ takes it to h_{t-1}.
        grad_h = grad_out[-1]
        for grad_h_prev, slope, delta in _backwards(grad_out[:-1], slopes, deltas):
            torch.mul(grad_h, slope, out=delta)
            grad_h = product.add_to(grad_h_prev, delta)
        # The gradients of the weights: one product each, over all times.
        biases = deltas.sum((0, 1), dtype=grad.dtype)
        grad_hh = _multiply_over_time(deltas, before[:-1], ctx.dtype, grad.dtype)
        grad_ih = _multiply_over_time(deltas, inputs, ctx.dtype, grad.dtype)
        grad_inputs = _multiply(deltas, weight_ih, ctx.dtype).to(inputs.dtype)
        of_resets = (None, None if is_reset is None else grad_out[1:] * is_reset, None)
        return grad_inputs, grad_h, grad_ih, grad_hh, biases, biases, *of_resets


class _GRU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        state: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
        is_reset: Tensor | None,
        first_states: Tensor | None,
    ) -> Tensor:
        dtype = product_dtype(inputs)
        size = state.shape[1]
        sums = _multiply(inputs, weight_ih.t(), dtype).add_(bias_ih)  # becomes r, z, W_n h + b_n
        proposals = sums[..., 2 * size :].clone()  # becomes n
        sums[..., 2 * size :].zero_()
        sums += bias_hh
        product = _Product(weight_hh.t(), dtype)
        states = torch.cat((state[None], torch.empty_like(proposals)))
        before = torch.empty_like(states, dtype=product.dtype)  # in the products' number format
        row, *copies = before.unbind()
        row.copy_(state)
        h_prev, *futures = states.unbind()
        resets = _Resetting.of(is_reset, first_states)
        steps = zip(sums, proposals, futures, copies, strict=True)
        for t, (total, n, h, copy) in enumerate(steps):
            product.add_to(total, row)
            r, z = total[:, : 2 * size].sigmoid_().chunk(2, 1)
            n.addcmul_(r, total[:, 2 * size :]).tanh_()
            torch.lerp(n, h_prev, z, out=h)
            if resets is not None:
                resets.apply(t, h)
            row = copy.copy_(h)
            h_prev = h
        ctx.dtype = dtype
        ctx.save_for_backward(
            inputs, weight_ih, weight_hh, sums, proposals, states, before, is_reset
        )
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight_ih, weight_hh, sums, n, states, before, is_reset = ctx.saved_tensors
        slopes, to_n = _gru_slopes(sums, n, states[:-1])
        grad_out = torch.cat((torch.zeros_like(grad[:1]), grad))  # of the first state: still zero
        product = _Product(weight_hh, ctx.dtype)
        deltas = torch.empty_like(slopes, dtype=product.dtype)  # of the three products W h + b
        flat = deltas.flatten(2)
        z = sums.chunk(3, -1)[1]
        if is_reset is not None:  # no earlier time has a part in a state that was reset
            is_kept = 1 - is_reset
            slopes *= is_kept[..., None]
            to_n *= is_kept
            z = z * is_kept
        # From the last time to the first: through the three products, and straight through z.
        grad_h = grad_out[-1]
        for grad_h_prev, slope, delta, row, z_t in _backwards(
            grad_out[:-1], slopes, deltas, flat, z
        ):
            torch.mul(grad_h[:, None], slope, out=delta)
            grad_h = product.add_to(grad_h_prev.addcmul_(grad_h, z_t), row)
        bias_hh = flat.sum((0, 1), dtype=grad.dtype)
        grad_hh = _multiply_over_time(flat, before[:-1], ctx.dtype, grad.dtype)
        # The input's part of n has no reset gate before it.
        torch.mul(grad_out[1:], to_n, out=deltas[:, :, 2])
        bias_n = deltas[:, :, 2].sum((0, 1), dtype=grad.dtype)
        bias_ih = torch.cat((bias_hh[: -len(bias_n)], bias_n))
        grad_ih = _multiply_over_time(flat, inputs, ctx.dtype, grad.dtype)
        grad_inputs = _multiply(flat, weight_ih, ctx.dtype).to(inputs.dtype)
        of_resets = (None, None if is_reset is None else grad_out[1:] * is_reset)
        return grad_inputs, grad_h, grad_ih, grad_hh, bias_ih, bias_hh, *of_resets


def _gru_slopes(sums: Tensor, n: Tensor, h_prev: Tensor) -> tuple[Tensor, Tensor]:
    """Return what multiplies ∂L/∂h_t on its way to the three products and to n's sum.

    With h = (1 - z) n + z h′ and n = tanh(a + r p), where p = W_n h′ + b_n:
    r's sum gets (1 - z)(1 - n²) p r (1 - r), z's (h′ - n) z (1 - z), p gets (1 - z)(1 - n²) r,
    and n's own sum (1 - z)(1 - n²). The first result is (T, B, 3, H), the second (T, B, H).
    """
    r, z, product_n = sums.chunk(3, -1)
    slopes = sums.new_empty(*n.shape[:2], 3, n.shape[2])
    of_r, of_z, of_product = slopes.unbind(2)
    rest = 1 - z
    torch.sub(h_prev, n, out=of_z).mul_(z).mul_(rest)
    to_n = rest.addcmul_(rest * n, n, value=-1)  # (1 − z)(1 − n²)
    torch.mul(to_n, r, out=of_product)
    torch.mul(of_product, product_n, out=of_r)
    of_r.addcmul_(of_r, r, value=-1)
    return slopes, to_n


class _Resetting:
    """Resets states where records start.

    is_reset: (T, B, 1) of `Resets`. rows: (T, B, H), its states.
    """

    def __init__(self, is_reset: Tensor, rows: Tensor) -> None:
        self._is_at = is_reset.flatten(1).any(1).tolist()  # at many times no record starts
        self._is_reset = is_reset.unbind()
        self._rows = rows.unbind()

    @staticmethod
    def of(is_reset: Tensor | None, rows: Tensor | None) -> _Resetting | None:
        """Return what resets, or None where nothing does."""
        return None if is_reset is None or rows is None else _Resetting(is_reset, rows)

    def apply(self, t: int, h: Tensor) -> None:
        """Reset h_t (B, H), in place, in the lanes where a record starts."""
        if self._is_at[t]:
            h.lerp_(self._rows[t], self._is_reset[t])  # where that is 0 or 1, exactly one of both


class _Product:
    """Multiplies row by row with a matrix (M, N) that stays the same for a window.

    In bfloat16 oneDNN would reorder the matrix for every product: here it is packed once, where
    this torch has the call for that.
    """

    def __init__(self, matrix: Tensor, dtype: torch.dtype) -> None:
        # A small matrix is not worth another number format.
        self.dtype = dtype if matrix.numel() >= _LARGE_MATRIX else matrix.dtype
        self._matrix = matrix.to(self.dtype).contiguous()
        self._packed = None
        if self.dtype == torch.bfloat16 and _CAN_PACK:
            transposed = self._matrix.t().contiguous()
            self._packed = torch.ops.mkldnn._reorder_linear_weight(transposed, None)

    def add_to(self, sums: Tensor, rows: Tensor) -> Tensor:
        """Add rows (B, M) times the matrix to `sums` (B, N) in place, and return them."""
        if self._packed is not None:
            made = torch.ops.mkldnn._linear_pointwise(rows, self._packed, None, "none", [], "")
            return sums.add_(made)
        if rows.dtype == sums.dtype:
            return sums.addmm_(rows, self._matrix)
        return sums.add_(torch.mm(rows, self._matrix))


def _can_pack() -> bool:
    """Return whether this torch has oneDNN's bfloat16 products with a packed matrix."""
    names = ("_linear_pointwise", "_reorder_linear_weight", "_is_mkldnn_bf16_supported")
    return (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and all(hasattr(torch.ops.mkldnn, name) for name in names)
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


_LARGE_MATRIX = 1 << 18
_CAN_PACK = _can_pack()


def product_dtype(inputs: Tensor) -> torch.dtype:
    """Return the number format of products with `inputs`: autocast's where that is on."""
    kind = inputs.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else inputs.dtype


def _multiply(rows: Tensor, matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """Multiply (T, B, M) by (M, N) in `dtype`; the result has the number format of a weight."""
    made = torch.mm(rows.flatten(0, 1).to(dtype), matrix.to(dtype)).to(matrix.dtype)
    return made.view(*rows.shape[:2], -1)


def _multiply_over_time(
    left: Tensor, right: Tensor, dtype: torch.dtype, result: torch.dtype
) -> Tensor:
    """Sum the outer products of (T, B, M) and (T, B, N) over times and lanes: (M, N)."""
    rows = left.flatten(0, 1).to(dtype)
    columns = right.flatten(0, 1).to(dtype)
    return torch.mm(rows.t(), columns).to(result)


def _backwards(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Iterate over tensors (T, ...) together, from the last time to the first."""
    return zip(*(reversed(tensor.unbind()) for tensor in tensors), strict=True)


# ── the cells in plain operations ──
# torch differentiates them itself: slow, and right anywhere. On Apple's GPUs torch's own layers
# have been wrong more than once: an LSTM's gradients, a GRU that returned NaN. Nothing here writes
# into a part of a tensor, which has been wrong there too.


def run_plain(
    kind: str,
    inputs: Tensor,
    state: LayerState,
    weights: Weights,
    resets: Resets | None = None,
) -> tuple[Tensor, LayerState]:
    """Run over T characters: (T, B, I) → (T, B, H) and the state after the last.

    kind: lstm, gru, or the nonlinearity of a plain RNN.
    """
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    step = _STEPS[kind]
    outputs = []
    for t, from_input in enumerate(F.linear(inputs, weight_ih, bias_ih).unbind()):
        state = step(from_input, F.linear(state[0], weight_hh, bias_hh), state)
        if resets is not None:
            h, *cell = (part * (1 - resets.is_reset[t]) for part in state)
            state = (h + resets.states[t], *cell)
        outputs.append(state[0])
    return torch.stack(outputs), state


def _step_lstm(from_input: Tensor, from_state: Tensor, state: LayerState) -> LayerState:
    i, f, g, o = (from_input + from_state).chunk(4, -1)
    cell = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


def _step_gru(from_input: Tensor, from_state: Tensor, state: LayerState) -> LayerState:
    input_r, input_z, input_n = from_input.chunk(3, -1)
    state_r, state_z, state_n = from_state.chunk(3, -1)
    z = (input_z + state_z).sigmoid()
    n = (input_n + (input_r + state_r).sigmoid() * state_n).tanh()
    return ((1 - z) * n + z * state[0],)


_STEPS: dict[str, Callable[[Tensor, Tensor, LayerState], LayerState]] = {
    "lstm": _step_lstm,
    "gru": _step_gru,
    "tanh": lambda from_input, from_state, _: ((from_input + from_state).tanh(),),
    "relu": lambda from_input, from_state, _: ((from_input + from_state).relu(),),
    "logistic": lambda from_input, from_state, _: ((from_input + from_state).sigmoid(),),
}
"""Each takes Ux + b and Wh + c, both (B, G·H), and the state; torch's order of gates."""
