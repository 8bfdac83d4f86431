"""How much memory a run takes, how much there is, and what to do when it is not enough.

Linux grants memory that it does not have, and kills a process that then uses it, without a message.
So sizes that cannot fit are refused before anything is allocated.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from charrnn.config import GATES, TrainConfig
from charrnn.data.corpus import Corpus
from charrnn.errors import OutOfMemoryError
from charrnn.model.heads import LARGEST_BLOCK
from charrnn.training.plan import Plan, has_ngrams

_SIZES = "--hidden-size, --num-layers or --seq-len"
_COPIES = 8  # weights, gradients, moments and average; and once more where they were last saved
_TABLE_COPIES = 3  # of the n-grams: no moments of that size and no average; saved last, and best
_DENSE_TABLE_COPIES = _TABLE_COPIES + 1  # and where they have one, a gradient of all rows
_OWN_GROUPS = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")
_LIMIT_FILES = {"": "memory.max", "memory": "memory.limit_in_bytes"}
"""By controller: version 2 has one hierarchy without a name, version 1 one for memory."""


def choose_micro_batches(plan: Plan, device: torch.device, processes: int = 1) -> int:
    """Return the micro-batches in which a window fits into memory: a power of two.

    processes: how many of the same sizes share the machine's memory.

    Raises:
        OutOfMemoryError: not even one lane would fit.
    """
    room = machine_memory_bytes() if device.type == "cpu" else None
    if room is None:
        return 1
    room //= processes
    micro_batches = 1
    while (needed := training_bytes(plan, micro_batches)) > room:
        if micro_batches >= plan.batch_size:
            raise OutOfMemoryError(
                f"these sizes take at least {needed / 1e9:.1f} GB of memory, and this process may "
                f"have {room / 1e9:.1f} GB; {_hint(plan.model.ngram_rows > 0)}"
            )
        micro_batches *= 2
    return micro_batches


def say_short(config: TrainConfig, corpus: Corpus) -> str:
    """Return the message of a run that finds too little memory, whatever its sizes are."""
    is_text = corpus.train_targets is None and corpus.target_vocab is None
    is_text = is_text and config.task in (None, "text")
    has_table = is_text and has_ngrams(config, len(corpus.train))
    return f"there is not enough memory for these sizes; {_hint(has_table)}"


def _hint(has_table: bool) -> str:
    return f"lower {'--ngram-rows, ' * has_table}{_SIZES}"


def training_bytes(plan: Plan, micro_batches: int = 1, *, is_dense: bool = False) -> int:
    """Return the least that training takes, with this many micro-batches.

    is_dense: the table of n-grams has a gradient of all rows, as on a GPU.
    """
    copies = _DENSE_TABLE_COPIES if is_dense else _TABLE_COPIES
    numbers = _COPIES * plan.model.num_dense_parameters + copies * plan.model.num_ngram_parameters
    return 4 * numbers + _window_bytes(plan) // micro_batches


def _window_bytes(plan: Plan) -> int:
    """Return the least that a window's forward pass holds until its gradients are there."""
    model = plan.model
    positions = plan.batch_size * plan.seq_len
    # Each layer keeps its gates before the activation, and its output.
    layers = model.num_layers * (GATES[model.cell] + 1) * model.features
    logits = min(positions * (model.target_size or model.vocab_size), LARGEST_BLOCK)
    if model.task in ("classification", "tagging"):
        logits = 0  # a few
    return 4 * (positions * (model.embedding_size + layers) + logits)


def machine_memory_bytes() -> int | None:
    """Return the memory that this process may have: the machine's, its group's or its own limit.

    None where the system does not tell.
    """
    limits = [*_physical_bytes(), *_group_limits(), *_own_limit()]
    return min(limits, default=None)


def _physical_bytes() -> Iterator[int]:
    with suppress(ValueError, OSError, AttributeError):  # Windows has no sysconf
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _group_limits() -> Iterator[int]:
    """Yield the limits of the control groups that this process is in (Linux, both versions)."""
    with suppress(OSError):
        for line in _OWN_GROUPS.read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers in _LIMIT_FILES:
                base = _CGROUPS / controllers
                file = _LIMIT_FILES[controllers]
                group_folder = base / group.lstrip("/")
                # The limit of any group above counts too.
                for folder in (group_folder, *group_folder.parents):
                    if folder.is_relative_to(base):
                        yield from _read_limit(folder / file)


def _read_limit(path: Path) -> Iterator[int]:
    with suppress(OSError, ValueError):  # "max" is not a number
        yield int(path.read_text())


def _own_limit() -> Iterator[int]:
    with suppress(ImportError):  # Windows has none
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            yield limit


@contextmanager
def within_memory(message: str) -> Iterator[None]:
    """Turn every way to run out of memory into one OutOfMemoryError that says `message`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(message) from error


def is_out_of_memory(error: Exception) -> bool:
    """Return whether memory ran out: Python's error, torch's on a GPU, torch's words on a CPU."""
    is_own = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return is_own or "DefaultCPUAllocator" in str(error)


def used_memory_bytes(device: torch.device) -> int:
    """Return the most memory used so far: the GPU's, else this process's; 0 if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows has none
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes on Linux
