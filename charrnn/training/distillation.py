"""Distillation: teachers write text, and a network learns how likely they find each token there.

Networks that were trained alike err differently, so that the mean of their probabilities is better
than those of any of them. One network can learn most of that mean (Hinton et al. 2015,
arXiv:1503.02531). What it reads for that the teachers write together: of such text there is always
more, and what is new cannot be learned by heart (Kim et al. 2025, arXiv:2509.14786). Some lanes of
each window read the text itself as before.

The teachers write in blocks of many streams, since a product for all of them costs little more than
for one. While a block is read, the next one is written, some tokens at each step. Writing takes as
long as training, and text that is read a few times teaches as much as text that is always new, so
groups of lanes read the last few blocks, each another. What a block holds follows from the seed and
its number: there is nothing to save. A lane that goes on to another stream keeps its state, as at
the seam of two texts.

W = lanes that read written text, T = window length, N = streams, L = tokens of a stream,
K = likely tokens, V = vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn.model.device import autocast, is_asynchronous
from charrnn.model.network import CharRNN
from charrnn.text.vocab import Ids
from charrnn.training.batches import Window

_STREAM_TOKENS = 512
_BLOCK_TOKENS = 1 << 16  # 128 streams: half as many would take as long
_PROMPT_TOKENS = 64  # of the training text, after which a stream begins
_MOST_READINGS = 5  # of each block, by a group of lanes each
_MOST_LIKELY = 32  # tokens whose probabilities are kept where the alphabet is large
_SMALL_ALPHABET = 128  # tokens, of which all are kept
_BLOCK_STRIDE = 1_000_003  # keeps the blocks of neighbouring seeds apart


class WrittenText:
    """What teachers write, in windows (W, T) with their probabilities.

    prompts: the training text (S,), from random places of which the streams go on. precision: of
    the teachers' products; it may be set before anything is written.
    """

    def __init__(
        self,
        teachers: Sequence[CharRNN],
        prompts: Ids,
        lanes: int,
        seq_len: int,
        seed: int,
        precision: torch.dtype,
    ) -> None:
        self._teachers = teachers
        self._prompts = prompts
        self._lanes = lanes
        self._seq_len = seq_len
        self._seed = seed
        self.precision = precision
        self._device = teachers[0].output.weight.device
        for teacher in teachers:
            if teacher.ngrams is not None:
                teacher.ngrams.is_async = is_asynchronous(self._device)
        self._readings = max(n for n in range(1, _MOST_READINGS + 1) if lanes % n == 0)
        self._group = lanes // self._readings  # lanes that read the same block
        self._windows = max(1, _STREAM_TOKENS // seq_len)
        streams = _BLOCK_TOKENS // (self._windows * seq_len)
        self._rounds = max(1, streams // self._group)
        self._steps = self._rounds * self._windows  # in which a group reads a block
        self._shape = (self._rounds * self._group, self._windows * seq_len)
        self._blocks: dict[int, _Block] = {}  # those that are read, and the next

    def read(self, step: int) -> Window:
        """Return the window of a step, without labels; write a part of the block after it."""
        number, place = divmod(step, self._steps)
        # Of the first blocks there are no older ones, so all groups read the same.
        read = [max(0, number - k) for k in range(self._readings)]
        kept = {*read, number + 1}
        self._blocks = {each: self._blocks.get(each) or self._begin(each) for each in kept}
        length = self._shape[1]
        for each in read:
            self._blocks[each].write_up_to(length)
        self._blocks[number + 1].write_up_to(-(-(place + 1) * length // self._steps))
        # Each group at another place.
        turn, window = divmod(place, self._windows)
        parts = []
        for k, each in enumerate(read):
            first = (turn + k * self._rounds // self._readings) % self._rounds * self._group
            streams = slice(first, first + self._group)
            parts.append(self._blocks[each].cut(streams, window * self._seq_len, self._seq_len))
        return Window(*map(torch.cat, zip(*parts, strict=True)))

    def blank(self) -> Window:
        """Return a window of the same shape in which nothing is written."""
        size = (self._lanes, self._seq_len)
        return _Block(size, self._teachers[0].config.vocab_size, self._device).cut(
            slice(None), 0, self._seq_len
        )

    def _begin(self, number: int) -> _Block:
        block = _Block(self._shape, self._teachers[0].config.vocab_size, self._device, number)
        block.writing = self._write(block)
        return block

    @torch.no_grad()
    def _write(self, block: _Block) -> Iterator[None]:
        """Write the streams of a block, a token each at a time."""
        count, length = self._shape
        draws = np.random.default_rng([self._seed, block.number])
        generator = torch.Generator(self._device)
        generator.manual_seed((self._seed * _BLOCK_STRIDE + block.number) % 2**63)
        # Read the prompts.
        prompts = torch.from_numpy(self._draw_prompts(count, draws)).to(self._device)
        with autocast(self._device, self.precision):
            states = [teacher(prompts[:, :-1])[1] for teacher in self._teachers]
        newest = prompts[:, -1:]
        for place in range(length):
            # The mean of the teachers' probabilities, from which the next token is drawn.
            probabilities: Tensor | None = None
            for k, teacher in enumerate(self._teachers):
                with autocast(self._device, self.precision):
                    logits, states[k] = teacher(newest, states[k])
                own = logits[:, -1].float().softmax(-1)
                probabilities = own if probabilities is None else probabilities + own
            assert probabilities is not None
            probabilities /= len(self._teachers)
            drawn = torch.multinomial(probabilities, 1, generator=generator)
            block.keep(place, newest[:, 0], drawn[:, 0], probabilities)
            newest = drawn
            yield

    def _draw_prompts(self, count: int, draws: np.random.Generator) -> NDArray[np.int64]:
        """Return (N, P) tokens of the training text, from places drawn at random."""
        length = min(_PROMPT_TOKENS, len(self._prompts))
        starts = draws.integers(len(self._prompts) - length + 1, size=count)
        return np.asarray(self._prompts[starts[:, None] + np.arange(length)], np.int64)


class _Block:
    """N streams of L tokens, and for each the K likely tokens after it."""

    def __init__(
        self, shape: tuple[int, int], vocab_size: int, device: torch.device, number: int = -1
    ) -> None:
        self.number = number
        self.writing: Iterator[None] = iter(())
        self._written = 0
        self._is_whole = vocab_size <= _SMALL_ALPHABET
        kept = vocab_size if self._is_whole else _MOST_LIKELY
        self._inputs = torch.zeros(shape, dtype=torch.int64, device=device)
        self._targets = torch.zeros_like(self._inputs)
        self._shares = torch.zeros(*shape, kept, dtype=torch.float16, device=device)
        self._likely = torch.arange(kept, device=device).expand(*shape, kept)
        if not self._is_whole:
            self._likely = self._likely.to(torch.int32).clone()

    def write_up_to(self, count: int) -> None:
        """Let each stream have `count` tokens at least."""
        while self._written < count:
            next(self.writing)
            self._written += 1

    def keep(self, place: int, tokens: Tensor, drawn: Tensor, probabilities: Tensor) -> None:
        """Keep what was written at a place (N,), the tokens drawn after it, and from what (N, V).

        Of a large alphabet the most likely tokens are kept: they share out all of the probability,
        unless a token was drawn that is none of them, which then has all of it. On average that is
        the whole distribution.
        """
        self._inputs[:, place] = tokens
        self._targets[:, place] = drawn
        if self._is_whole:
            self._shares[:, place] = probabilities
            return
        shares, likely = probabilities.topk(_MOST_LIKELY)
        shares = shares / shares.sum(1, keepdim=True)
        is_there = (likely == drawn[:, None]).any(1, keepdim=True)
        alone = torch.zeros_like(shares)
        alone[:, 0] = 1
        likely[:, 0] = torch.where(is_there[:, 0], likely[:, 0], drawn)
        self._shares[:, place] = torch.where(is_there, shares, alone)
        self._likely[:, place] = likely

    def cut(self, streams: slice, start: int, length: int) -> Window:
        """Return a window of some streams."""
        part = (streams, slice(start, start + length))
        inputs = self._inputs[part]
        no_labels = inputs.new_empty(*inputs.shape, 0)
        likely, shares = self._likely[part].to(torch.int64), self._shares[part].float()
        return Window(inputs, self._targets[part], no_labels, likely, shares)


def join(text: Window, written: Window) -> Window:
    """Return both windows as one, the text's lanes first; its targets have all of the probability.

    The text has no labels.
    """
    shares = written.shares.new_zeros(*text.targets.shape, written.shares.shape[-1])
    shares[..., 0] = 1
    likely = written.likely.new_zeros(shares.shape)
    likely[..., 0] = text.targets
    own = text._replace(likely=likely, shares=shares)
    return Window(*(torch.cat(parts) for parts in zip(own, written, strict=True)))
