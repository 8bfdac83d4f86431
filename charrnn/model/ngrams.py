"""Embeddings of n-grams in torch: what the last tokens add to the embedding of the newest.

A recurrent network spends much of its training on finding out what two or five characters in a row
mean; a row for each frequent n-gram tells it at once (text/ngrams.py says how a row is found). The
last tokens are a part of the state, so windows may end anywhere.

T = window length, B = lanes, E = embedding size, R = rows, N = the longest n-gram, V = vocabulary.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from charrnn.config import ModelConfig
from charrnn.config.model import BUCKET, NGRAM_STD
from charrnn.text.ngrams import MASK, NO_CHECK, STEP, TO_BUCKET, TO_CHECK, find_rows


class NGrams(nn.Module):
    """The table of n-grams: `weight` (R, E) learns, `check` (R,) and `key` (V,) stay."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        rows = config.ngram_rows
        self.order = config.ngram_order
        self.is_sparse = False
        """Whether only the rows that a window reads get gradients; on a CPU alone."""
        self.is_async = False
        """Whether the device runs ahead of the host, so that nothing may be read back."""
        self._end = config.vocab_size - 1 if config.has_end else -1
        self.weight = nn.Parameter(torch.empty(rows, config.embedding_size).normal_(std=NGRAM_STD))
        self.check = nn.Parameter(torch.full((rows,), NO_CHECK), requires_grad=False)
        keys = torch.arange(1, config.vocab_size + 1, dtype=torch.float32)
        self.key = nn.Parameter(keys, requires_grad=False)

    @property
    def has_bags(self) -> bool:
        """Whether torch has `embedding_bag` on this device: older versions lack it on Apple's."""
        return self.weight.device.type != "mps"

    def initial_context(self, batch_size: int) -> Tensor:
        """Return the last tokens before any text: none, (B, N − 1)."""
        return self.key.new_zeros(batch_size, self.order - 1)

    def forward(self, ids: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of the rows of the n-grams that end at each token, and the next context.

        ids: (T, B) int64. context: keys of the tokens before, newest first, (B, N − 1) float32. →
        (T, B, E) and (B, N − 1).
        """
        recent, context = self._recent_keys(ids, context)
        is_on_host = self.weight.device.type == "cpu" and not self.is_async and self.has_bags
        summed = self._sum_on_host(recent) if is_on_host else self._sum(recent)
        return summed.view(*ids.shape, -1), context

    def _sum_on_host(self, recent: list[Tensor]) -> Tensor:
        """Return the sums (T·B, E); where numpy finds the rows, and what has none is left out."""
        rows, is_known = find_rows(self.check.numpy(), torch.stack(recent).numpy())
        is_known = is_known.reshape(len(rows), -1).T  # token by token, (T·B, N − 1)
        counts = is_known.sum(1)
        starts = torch.from_numpy(counts.cumsum() - counts)
        known = torch.from_numpy(rows.reshape(len(rows), -1).T[is_known])
        if self.is_sparse:
            summed: Tensor = _SparseBag.apply(self.weight, known, starts)  # type: ignore[no-untyped-call]
            return summed
        return F.embedding_bag(known, self.weight, starts, mode="sum")

    def _sum(self, recent: list[Tensor]) -> Tensor:
        """Return the sums (T·B, E) without asking the device for anything."""
        code = recent[0]
        codes = []
        for keys in recent[1:]:
            code = (code * STEP + keys) & MASK
            codes.append(code)
        code = torch.stack(codes, -1).flatten(0, 1)  # (T·B, N − 1)
        buckets = ((code * TO_BUCKET & MASK) * (len(self.check) // BUCKET)) >> 32
        is_own = self.check.view(-1, BUCKET)[buckets] == ((code * TO_CHECK & MASK) >> 8)[..., None]
        rows = BUCKET * buckets + is_own.to(torch.uint8).argmax(-1)
        share = is_own.any(-1).to(self.weight.dtype)
        if not self.has_bags:
            return (F.embedding(rows, self.weight) * share[..., None]).sum(-2)
        return F.embedding_bag(rows, self.weight, mode="sum", per_sample_weights=share)

    def _recent_keys(self, ids: Tensor, context: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the keys of each token and of the N − 1 before it, each (T, B); and the context.

        A record begins without any token before it.
        """
        before = context.t().flip(0)  # (N − 1, B), the oldest first
        whole = torch.cat((before, self.key[ids])).to(torch.int64)
        reach = len(before)
        length = len(ids)
        record = None
        if self._end >= 0:  # number the records: tokens of another one count as none
            is_end = F.pad(ids == self._end, (0, 0, reach + 1, 0))
            record = is_end.cumsum(0)  # of each place, and of the one after the window

        def shifted(by: int, start: int, count: int) -> Tensor:
            keys = whole[reach + start - by : reach + start - by + count]
            if record is None or not by:
                return keys
            own = record[reach + start : reach + start + count]
            return keys * (record[reach + start - by : reach + start - by + count] == own)

        recent = [shifted(by, 0, length) for by in range(self.order)]
        after = [shifted(by, length, 1)[0] for by in range(1, self.order)]
        return recent, torch.stack(after, 1).to(context.dtype)

    @torch.no_grad()
    def keep(self, check: NDArray[np.float32]) -> None:
        """Let the rows be of these n-grams, as `choose_ngrams` returns them (R,)."""
        self.check.copy_(torch.from_numpy(check))


class _SparseBag(torch.autograd.Function):
    """Sums rows of a table, as `embedding_bag` does, and has each row once in the gradient.

    torch's own gradient has an entry for each time that a row is read, and adding those up takes
    as long as the backward pass of a small network.

    K = rows read, with repetitions, M = tokens.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, rows: Tensor, starts: Tensor) -> Tensor:
        """Return (M, E). rows: (K,) of one token after the other; starts: (M,) of each in them."""
        ctx.save_for_backward(rows, starts)
        ctx.shape = weight.shape
        return F.embedding_bag(rows, weight, starts, mode="sum")

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the table as a coalesced sparse tensor."""
        rows, starts = (part.numpy() for part in ctx.saved_tensors)
        tokens = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(rows)))
        # Row and token in one number, as sorting one array is fast.
        shift = len(starts).bit_length()
        pairs = np.sort((rows << shift) | tokens)
        rows = pairs >> shift
        firsts = np.flatnonzero(np.diff(rows, prepend=-1))
        of_row = torch.from_numpy(pairs & ((1 << shift) - 1))
        # Of each row, add up the gradients of the tokens that read it.
        values = F.embedding_bag(of_row, gradients[0], torch.from_numpy(firsts), mode="sum")
        indices = torch.from_numpy(rows[firsts])[None]
        found = torch.sparse_coo_tensor(
            indices, values, ctx.shape, check_invariants=False, is_coalesced=True
        )
        return found, None, None
