"""Backpropagation through time written out, for the cells that torch only loops over on a CPU.

One product serves the inputs of all times, one a step the recurrence, one each gradient of a
weight. What a step's derivative needs is worked out for all times at once, so that the way back is
three operations a step. Products are made in autocast's number format where that is on, all else
in the inputs' own. It knows nothing of modules; docs/equations.md has the derivation.

T = window length, B = lanes, I = input size, H = hidden size, G = gates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Weights = tuple[Tensor, Tensor, Tensor, Tensor]
"""weight_ih (G·H, I), weight_hh (G·H, H), bias_ih (G·H,), bias_hh (G·H,), in torch's order."""


def run_rnn(inputs: Tensor, state: Tensor, weights: Weights, nonlinearity: str) -> Tensor:
    """Give h_t = f(U x_t + W h_{t-1} + b) of all times: (T, B, I), (B, H) → (T, B, H)."""
    outputs: Tensor = _RNN.apply(inputs, state, *weights, nonlinearity)  # type: ignore[no-untyped-call]
    return outputs


def run_gru(inputs: Tensor, state: Tensor, weights: Weights) -> Tensor:
    """Give h_t of all times of a GRU, reset after the product: (T, B, I), (B, H) → (T, B, H)."""
    outputs: Tensor = _GRU.apply(inputs, state, *weights)  # type: ignore[no-untyped-call]
    return outputs


_ACTIVATE: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh_,
    "relu": torch.relu_,
    "logistic": torch.sigmoid_,
}
_SLOPE: dict[str, Callable[[Tensor], Tensor]] = {  # f′(a), told by h = f(a)
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
        nonlinearity: str,
    ) -> Tensor:
        dtype, activate = product_dtype(inputs), _ACTIVATE[nonlinearity]
        states = _multiply(inputs, weight_ih.t(), dtype).add_(bias_ih + bias_hh)
        product = _Product(weight_hh.t(), dtype)
        before = _Operands(state, len(inputs), product.dtype)
        for step, h in enumerate(states.unbind()):
            before.keep(step + 1, activate(product.add_to(h, before[step])))
        ctx.dtype, ctx.nonlinearity = dtype, nonlinearity
        ctx.save_for_backward(inputs, weight_ih, weight_hh, states, before.tensor)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight_ih, weight_hh, states, before = ctx.saved_tensors
        arriving, product = _before_and_after(grad), _Product(weight_hh, ctx.dtype)
        slopes = _SLOPE[ctx.nonlinearity](states)
        deltas = torch.empty_like(states, dtype=product.dtype)  # ∂L/∂a_t
        here = arriving[-1]
        for past, slope, delta in _backwards(arriving[:-1], slopes, deltas):
            torch.mul(here, slope, out=delta)
            here = product.add_to(past, delta)
        biases = deltas.sum((0, 1), dtype=grad.dtype)
        recurrent = _multiply_over_time(deltas, before[:-1], ctx.dtype, grad.dtype)
        from_inputs = _multiply_over_time(deltas, inputs, ctx.dtype, grad.dtype)
        to_inputs = _multiply(deltas, weight_ih, ctx.dtype).to(inputs.dtype)
        return to_inputs, here, from_inputs, recurrent, biases, biases, None


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
    ) -> Tensor:
        dtype, size = product_dtype(inputs), state.shape[1]
        sums = _multiply(inputs, weight_ih.t(), dtype).add_(bias_ih)  # becomes r, z, W_n h + b_n
        proposals = sums[..., 2 * size :].clone()  # becomes n
        sums[..., 2 * size :].zero_()
        sums += bias_hh
        product = _Product(weight_hh.t(), dtype)
        before = _Operands(state, len(inputs), product.dtype)
        states = torch.cat((state[None], torch.empty_like(proposals)))
        past, *futures = states.unbind()
        for step, (total, n, h) in enumerate(zip(sums, proposals, futures, strict=True)):
            product.add_to(total, before[step])
            r, z = total[:, : 2 * size].sigmoid_().chunk(2, 1)
            n.addcmul_(r, total[:, 2 * size :]).tanh_()
            before.keep(step + 1, torch.lerp(n, past, z, out=h))
            past = h
        ctx.dtype = dtype
        ctx.save_for_backward(inputs, weight_ih, weight_hh, sums, proposals, states, before.tensor)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        inputs, weight_ih, weight_hh, sums, n, states, before = ctx.saved_tensors
        slopes, to_n = _gru_slopes(sums, n, states[:-1])
        arriving, product = _before_and_after(grad), _Product(weight_hh, ctx.dtype)
        deltas = torch.empty_like(slopes, dtype=product.dtype)
        flat, z = deltas.flatten(2), sums.chunk(3, -1)[1]
        here = arriving[-1]
        for past, slope, delta, row, kept in _backwards(arriving[:-1], slopes, deltas, flat, z):
            torch.mul(here[:, None], slope, out=delta)
            here = product.add_to(past.addcmul_(here, kept), row)
        bias_hh = flat.sum((0, 1), dtype=grad.dtype)
        recurrent = _multiply_over_time(flat, before[:-1], ctx.dtype, grad.dtype)
        torch.mul(arriving[1:], to_n, out=deltas[:, :, 2])
        bias_n = deltas[:, :, 2].sum((0, 1), dtype=grad.dtype)
        bias_ih = torch.cat((bias_hh[: -len(bias_n)], bias_n))
        from_inputs = _multiply_over_time(flat, inputs, ctx.dtype, grad.dtype)
        to_inputs = _multiply(flat, weight_ih, ctx.dtype).to(inputs.dtype)
        return to_inputs, here, from_inputs, recurrent, bias_ih, bias_hh


def _gru_slopes(sums: Tensor, n: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    """Give what ∂L/∂h_t is multiplied by on its way to the three products and to n's sum.

    With h = (1 - z) n + z h′ and n = tanh(a + r p), where p = W_n h′ + b_n:
    r's sum gets (1 - z)(1 - n²) p r (1 - r), z's (h′ - n) z (1 - z), p gets (1 - z)(1 - n²) r,
    and n's own sum (1 - z)(1 - n²). The first result is (T, B, 3, H), the second (T, B, H).
    """
    r, z, product_n = sums.chunk(3, -1)
    slopes = sums.new_empty(*n.shape[:2], 3, n.shape[2])
    of_r, of_z, of_product = slopes.unbind(2)
    fresh = 1 - z
    torch.sub(past, n, out=of_z).mul_(z).mul_(fresh)
    to_n = fresh.addcmul_(fresh * n, n, value=-1)
    torch.mul(to_n, r, out=of_product)
    torch.mul(of_product, product_n, out=of_r)
    of_r.addcmul_(of_r, r, value=-1)
    return slopes, to_n


class _Product:
    """Multiplies row by row with a matrix (M, N) that stays the same for a window.

    A small matrix is not worth another number format. In bfloat16 oneDNN would lay the matrix out
    anew for every product: it is laid out once, where this torch has the call for that.
    """

    def __init__(self, matrix: Tensor, dtype: torch.dtype) -> None:
        self.dtype = dtype if matrix.numel() >= _LARGE_MATRIX else matrix.dtype
        self._matrix, self._packed = matrix.to(self.dtype).contiguous(), None
        if self.dtype == torch.bfloat16 and _CAN_PACK:
            turned = self._matrix.t().contiguous()
            self._packed = torch.ops.mkldnn._reorder_linear_weight(turned, None)

    def add_to(self, sums: Tensor, rows: Tensor) -> Tensor:
        """Add rows (B, M) times the matrix to `sums` (B, N), in place, and give them."""
        if self._packed is not None:
            made = torch.ops.mkldnn._linear_pointwise(rows, self._packed, None, "none", [], "")
            return sums.add_(made)
        if rows.dtype == sums.dtype:
            return sums.addmm_(rows, self._matrix)
        return sums.add_(torch.mm(rows, self._matrix))


def _can_pack() -> bool:
    """Tell whether this torch has oneDNN's products with a matrix laid out before, for bfloat16."""
    names = ("_linear_pointwise", "_reorder_linear_weight", "_is_mkldnn_bf16_supported")
    return (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and all(hasattr(torch.ops.mkldnn, name) for name in names)
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


_LARGE_MATRIX = 1 << 18
_CAN_PACK = _can_pack()


class _Operands:
    """The states before each step (T + 1, B, H) in the products' number format."""

    def __init__(self, state: Tensor, steps: int, dtype: torch.dtype) -> None:
        self.tensor = state.new_empty(steps + 1, *state.shape, dtype=dtype)
        self._rows = self.tensor.unbind()
        self.keep(0, state)

    def __getitem__(self, step: int) -> Tensor:
        return self._rows[step]

    def keep(self, step: int, state: Tensor) -> None:
        """Write down the state that step number `step` starts from."""
        self._rows[step].copy_(state)


def product_dtype(inputs: Tensor) -> torch.dtype:
    """Give the number format of products with `inputs`: autocast's where that is on."""
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
    rows, columns = left.flatten(0, 1).to(dtype), right.flatten(0, 1).to(dtype)
    return torch.mm(rows.t(), columns).to(result)


def _before_and_after(grad: Tensor) -> Tensor:
    """Give room for ∂L/∂h of the state before the window and of all in it: (T + 1, B, H)."""
    return torch.cat((torch.zeros_like(grad[:1]), grad))


def _backwards(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Walk through tensors (T, ...) side by side, from the last time to the first."""
    return zip(*(reversed(tensor.unbind()) for tensor in tensors), strict=True)
