"""Tagger: the features of each position → one hidden layer → tags, alone or as a linear chain.

With transitions it is a conditional random field (Lafferty et al. 2001; on top of a recurrent
network Lample et al. 2016): a pair of tags that follow one another has a score of its own, and the
network chooses among whole rows of tags. Without them each position is decided alone.

What decides on a position also reads the embedding of its own token: much of a tag is that of the
token alone, whatever stands around it, and need not go through the recurrence.

B = records side by side, T = tokens of the longest, D = features of a position, E = embedding size,
K = tags.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charrnn.config import ModelConfig
from charrnn.model.encoder import Encoder, initialise, is_inside
from charrnn.model.network import State, drop

PADDING = -1  # the tag of what comes after a record's end
# A pair of tags that is e^69 times less likely than the best one counts as if it were this likely:
# sums stay above 0 in float32, and the loss is never below the true one.
_LEAST_FACTOR = 1e-30


class Tagger(Encoder):
    """A recurrent network that reads a record and decides on the tag of each position."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        width = config.features + config.embedding_size
        self.hidden = nn.Linear(width, config.head_size) if config.head_size else None
        self.output = nn.Linear(config.head_size or width, config.class_count)
        for linear in (self.hidden, self.output):
            if linear is not None:
                initialise(linear)
        self.transitions = Transitions(config.class_count) if config.transitions else None

    def forward(
        self, ids: Tensor, lengths: Tensor, dropout: torch.Generator | None = None
    ) -> Tensor:
        """Return logits (T, B, K) of the tags of positions, as `encode` takes records."""
        own = drop(self.embedding(ids.t()), self.config.dropout, dropout)
        features = torch.cat((self.encode(ids, lengths, dropout), own), 2)
        if self.hidden is not None:
            features = drop(torch.tanh(self.hidden(features)), self.config.dropout, dropout)
        logits: Tensor = self.output(features)
        return logits

    def loss_sum(
        self,
        ids: Tensor,
        targets: Tensor,
        state: State | None,
        dropout: torch.Generator | None,
        labels: Tensor,
    ) -> tuple[Tensor, State]:
        """Return the nats of all tags together, a scalar to train on, and no state.

        targets: (B, T) int64, PADDING after a record's end. labels: (B,) int64, how many of the ids
        (B, T) belong to each record.
        """
        del state
        logits = self(ids, labels, dropout)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        tags = targets.t()
        if self.transitions is None:
            rows = logits.flatten(0, 1)
            nats = F.cross_entropy(rows, tags.flatten(), ignore_index=PADDING, reduction="sum")
            return nats, ()
        # Sums of exponentials are too coarse in bfloat16.
        with torch.autocast(logits.device.type, enabled=False):
            return self.transitions.losses(logits, tags, labels).sum(), ()


class Transitions(nn.Module):
    """The scores of a linear chain: of the first tag, of each pair of tags, and of the last."""

    def __init__(self, tag_count: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(tag_count))
        self.weight = nn.Parameter(torch.zeros(tag_count, tag_count))  # (from, to)
        self.end = nn.Parameter(torch.zeros(tag_count))

    def losses(self, logits: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """Return −ln p(tags | text) (B,) = ln Z − the score of the tags.

        logits: (T, B, K). tags: (T, B) int64, PADDING after a record's end. lengths: (B,), at
        least 1.
        """
        return self.log_partition(logits, lengths) - self.score(logits, tags, lengths)

    def score(self, logits: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """Return the scores (B,) of rows of tags (T, B)."""
        inside = is_inside(lengths, len(logits))
        known = tags.clamp_min(0)
        own = logits.gather(2, known[:, :, None])[:, :, 0]
        pairs = self.weight[known[:-1], known[1:]]
        last = known.gather(0, lengths[None] - 1)[0]
        ends = self.start[known[0]] + self.end[last]
        return ends + (own * inside).sum(0) + (pairs * inside[1:]).sum(0)

    def log_partition(self, logits: Tensor, lengths: Tensor) -> Tensor:
        """Return ln Z (B,), the logarithm of the sum over all rows of tags, by forward recursion.

        The sums are scaled to 1 at each step, as Rabiner 1989 does, so that none overflows. The
        scales count as constants: they cancel, and so do their slopes.
        """
        start, start_most = _scale(self.start)
        pairs, pairs_most = _scale(self.weight)
        end, end_most = _scale(self.end)
        logits_most = logits.detach().amax(2)
        reached = start.expand(logits.shape[1:])
        forward = []
        scales = []
        for factors in (logits - logits_most[:, :, None]).exp():
            ways = reached * factors
            scales.append(ways.detach().sum(1, keepdim=True))
            forward.append(ways / scales[-1])
            reached = forward[-1] @ pairs
        last = torch.stack(forward)[lengths - 1, torch.arange(len(lengths), device=lengths.device)]
        steps = torch.stack(scales)[:, :, 0].log() + logits_most + pairs_most
        taken_out = (steps * is_inside(lengths, len(logits))).sum(0) - pairs_most
        return (last * end).sum(1).log() + taken_out + start_most + end_most


def _scale(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return exp(scores − the largest one), and that one as a constant."""
    most = scores.detach().amax()
    return (scores - most).exp().clamp_min(_LEAST_FACTOR), most
