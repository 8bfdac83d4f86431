"""From what a GPU can do to the sizes that a time budget is for: units in a layer, and lanes.

A GPU takes as long for a small product as for one that fills it, and a recurrent layer makes one
after another. So it gets as many lanes as go into a product for nothing, and a network that grows
with the fourth root of the operations that the time allows: the curve that `budget.py`'s rules
follow on a CPU, where they were measured. Beyond those it is drawn out, not measured. It knows
nothing of torch.

V = symbols of the vocabulary, H = hidden size, B = lanes, T = window length.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count, takewhile

from charrnn.config import GATES, TrainConfig
from charrnn.training.budget import make_plan, size_filled_by
from charrnn.training.memory import training_bytes

_LAUNCH_SECONDS = 1e-5  # about what a time step of a layer takes, however small its product
_USED_SHARE = 0.1  # of the rate of large products, as on the cores of budget.py's rules,
_UNITS, _FLOP = 512, 9e13  # ... where five minutes are so many operations, enough for so many units
_STEP, _MOST_UNITS = 128, 4096
_MOST_LANES = 256
_WINDOWS_WANTED = 64  # in an epoch, lest more lanes leave too few updates
_MEMORY_SHARE = 0.5


@dataclass(frozen=True)
class Gpu:
    """What one GPU, or several that train together, can do.

    flop_per_second: in large products of the number format that trains. memory_bytes: free on each.
    """

    flop_per_second: float
    memory_bytes: int


def size_for_gpu(config: TrainConfig, gpu: Gpu, vocab_size: int, train_symbols: int) -> TrainConfig:
    """Fill in the units, and more lanes than the usual ones, where `config` leaves them open.

    vocab_size: V. train_symbols: symbols of the training text.
    """
    usual = make_plan(config, vocab_size, train_symbols)

    def is_fitting(hidden_size: int, batch_size: int) -> bool:
        sized = replace(config, hidden_size=hidden_size, batch_size=batch_size)
        needed = training_bytes(make_plan(sized, vocab_size, train_symbols))
        return needed <= _MEMORY_SHARE * gpu.memory_bytes

    by_text = size_filled_by(train_symbols, _MOST_UNITS)
    units = config.hidden_size or min(_units_for(config, gpu), by_text)
    sizes = range(_STEP, int(units) + 1, _STEP) or [int(units)]
    fitting = [size for size in sizes if is_fitting(size, usual.batch_size)]
    hidden = config.hidden_size or max(fitting, default=sizes[0])
    in_text = train_symbols / (usual.seq_len * _WINDOWS_WANTED)
    most = min(_lanes_for(config, gpu, units), in_text, _MOST_LANES)
    doublings = takewhile(lambda n: n <= most, (usual.batch_size << n for n in count()))
    lanes = max((n for n in doublings if is_fitting(hidden, n)), default=None)
    return replace(config, hidden_size=hidden, batch_size=config.batch_size or lanes)


def _units_for(config: TrainConfig, gpu: Gpu) -> float:
    """Give the units that the time is for, at least one step of them."""
    assert config.budget_seconds is not None
    flop = _USED_SHARE * gpu.flop_per_second * config.budget_seconds
    units: float = _UNITS * (flop / _FLOP) ** 0.25
    return min(max(units, _STEP), _MOST_UNITS)


def _lanes_for(config: TrainConfig, gpu: Gpu, units: float) -> float:
    """Give the lanes whose product takes as long as its launch."""
    flop_per_lane = 2 * GATES[config.cell] * units**2
    return gpu.flop_per_second * _LAUNCH_SECONDS / flop_per_lane
