"""Which processor trains, in which number format, with how many threads.

It asks torch what there is; it knows nothing of networks or data.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from charrnn.config import TrainConfig
from charrnn.errors import ConfigError

_WORKSPACE, _REPEATING = "CUBLAS_WORKSPACE_CONFIG", (":16:8", ":4096:8")
"""What cuBLAS is told by, and what makes its products repeat; the first is also what torch asks of
recurrent layers."""
PRECISIONS = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def choose_device(wanted: str) -> torch.device:
    """Give the device that was asked for; "auto" is a GPU where there is one.

    Raises:
        ConfigError: it is not in this machine.
    """
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return torch.device(next((kind for kind, is_there in found.items() if is_there), "cpu"))
    if not found.get(wanted, True):
        raise ConfigError(f"this machine has no {wanted} device; leave --device out, or give cpu")
    return torch.device(wanted)


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """Give the number format of matrix products; weights stay float32 whatever it is.

    On a CPU, bfloat16 pays where there is hardware for it. On CUDA the recurrent kernels run in
    float16. On mps only float32 is offered.

    Raises:
        ConfigError: the device cannot compute in the format that was asked for.
    """
    if wanted == "fp16" and device.type == "cpu":
        raise ConfigError("precision fp16 needs a GPU; on a CPU choose bf16 or fp32")
    if wanted in ("fp16", "bf16") and device.type == "mps":
        raise ConfigError(f"precision {wanted} is not for mps; leave --precision out, or give fp32")
    if wanted == "bf16" and device.type == "cuda":
        raise ConfigError("recurrent kernels run in fp16 on CUDA; choose precision fp16 or fp32")
    if wanted != "auto":
        return next(dtype for dtype, name in PRECISIONS.items() if name == wanted)
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if has_bf16(device) else torch.float32


def has_bf16(device: torch.device) -> bool:
    """Tell whether products in bfloat16 are made in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Give the context in which products are computed in `dtype`."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype, cache_enabled=False)


def is_asynchronous(device: torch.device) -> bool:
    """Tell whether `device` goes on by itself, so that to read a number back is to wait for it."""
    return device.type == "cuda"


def check_cuda_graph(config: TrainConfig, device: torch.device, processes: int) -> None:
    """Refuse to record steps where that cannot be done.

    Raises:
        ConfigError: it is asked for, and the device or the number of processes is not for it.
    """
    if not config.cuda_graph:
        return
    if device.type != "cuda":
        raise ConfigError(
            f"--cuda-graph records steps on a CUDA GPU, and this run is on {device.type}; leave it "
            "out, or give --no-cuda-graph where a run was begun with it"
        )
    if processes > 1:
        raise ConfigError(
            f"--cuda-graph records the steps of one process, and {processes} train together; leave "
            "it out, or give --no-cuda-graph where a run was begun with it"
        )


def configure_torch(config: TrainConfig, has_tf32: bool = True) -> int:
    """Set torch's threads for this process and give their number.

    has_tf32: whether a GPU may round the factors of float32 products to a thousandth.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(_usable_processors())
    torch.backends.cuda.matmul.allow_tf32 = has_tf32
    torch.backends.cudnn.allow_tf32 = has_tf32
    return torch.get_num_threads()


@contextmanager
def deterministic_algorithms(config: TrainConfig) -> Iterator[None]:
    """Take only operations that repeat bit by bit, where that is asked for; torch refuses others.

    Raises:
        ConfigError: the device has none, or CUDA has started without cuBLAS being told.
    """
    if not config.deterministic:
        yield
        return
    _check_repeats(choose_device(config.device))
    cudnn, filling = torch.backends.cudnn, torch.utils.deterministic
    before = cudnn.deterministic, cudnn.benchmark, filling.fill_uninitialized_memory  # type: ignore[attr-defined]
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")
    cudnn.deterministic, cudnn.benchmark = True, False
    filling.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # all is written first
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        cudnn.deterministic, cudnn.benchmark, filling.fill_uninitialized_memory = before  # type: ignore[attr-defined]


def _check_repeats(device: torch.device) -> None:
    """Tell cuBLAS to repeat, which it hears only before CUDA starts."""
    if device.type == "mps":
        raise ConfigError(
            "torch has no operations that surely repeat on mps; leave --deterministic out, or give "
            "--device cpu"
        )
    if device.type != "cuda":
        return
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        os.environ.setdefault(_WORKSPACE, _REPEATING[0])
    found = os.environ.get(_WORKSPACE, "")
    if found not in _REPEATING:
        raise ConfigError(
            f"--deterministic needs {_WORKSPACE} to be {' or '.join(_REPEATING)} before CUDA "
            f"starts, and it is {found!r}; set it before charrnn is started"
        )


def lacks_kernel(error: RuntimeError) -> bool:
    """Tell oneDNN's way to say that it has no kernel for these shapes in this number format."""
    return "primitive" in str(error)


def _usable_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
