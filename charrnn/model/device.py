"""Which device trains, in which number format, with how many threads."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from charrnn.config import TrainConfig
from charrnn.errors import ConfigError

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
_DETERMINISTIC = (":16:8", ":4096:8")
"""With these, cuBLAS's products repeat; torch asks for the first where layers are recurrent."""
PRECISIONS = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def choose_device(name: str) -> torch.device:
    """Return the device that was asked for; "auto" is a GPU where there is one.

    Raises:
        ConfigError: it is not in this machine.
    """
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next((kind for kind, is_there in found.items() if is_there), "cpu"))
    if not found.get(name, True):
        raise ConfigError(f"this machine has no {name} device; leave --device out, or give cpu")
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the number format of matrix products; weights are always float32.

    On a CPU, bfloat16 pays where there is hardware for it. On CUDA the recurrent kernels run in
    float16. On mps only float32 is offered.

    Raises:
        ConfigError: the device cannot compute in the format that was asked for.
    """
    if name == "fp16" and device.type == "cpu":
        raise ConfigError("precision fp16 needs a GPU; on a CPU choose bf16 or fp32")
    if name in ("fp16", "bf16") and device.type == "mps":
        raise ConfigError(
            f"mps does not support precision {name}; leave --precision out, or give fp32"
        )
    if name == "bf16" and device.type == "cuda":
        raise ConfigError("recurrent kernels run in fp16 on CUDA; choose precision fp16 or fp32")
    if name != "auto":
        return next(dtype for dtype, each in PRECISIONS.items() if each == name)
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if has_bf16(device) else torch.float32


def has_bf16(device: torch.device) -> bool:
    """Return whether the hardware multiplies bfloat16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Return the context in which products are computed in `dtype`; it can be entered again."""
    if dtype == torch.float32:
        return nullcontext()
    # Without the cache: weights change at every step, and a graph must not keep old copies.
    return torch.autocast(device.type, dtype=dtype, cache_enabled=False)


def is_asynchronous(device: torch.device) -> bool:
    """Return whether `device` runs ahead of the host, so that reading a number waits for it."""
    return device.type == "cuda"


def check_cuda_graph(config: TrainConfig, device: torch.device, processes: int) -> None:
    """Refuse --cuda-graph where steps cannot be captured.

    Raises:
        ConfigError: it is on, and the device or the number of processes does not support it.
    """
    if not config.cuda_graph:
        return
    if device.type != "cuda":
        raise ConfigError(
            f"--cuda-graph captures steps on a CUDA GPU, and this run is on {device.type}; leave "
            "it out, or give --no-cuda-graph where a run was begun with it"
        )
    if processes > 1:
        raise ConfigError(
            f"--cuda-graph captures the steps of one process, and {processes} train together; "
            "leave it out, or give --no-cuda-graph where a run was begun with it"
        )


def configure_torch(config: TrainConfig, has_tf32: bool = True) -> int:
    """Set torch's threads for this process and return their number.

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
    """Allow only operations that repeat bit for bit, if `config` asks for it; torch refuses others.

    Raises:
        ConfigError: the device has none, or CUDA has started before cuBLAS was configured.
    """
    if not config.deterministic:
        yield
        return
    _check_repeats(choose_device(config.device))
    cudnn = torch.backends.cudnn
    filling: Any = torch.utils.deterministic
    mode = torch.get_deterministic_debug_mode()
    before = (cudnn.deterministic, cudnn.benchmark, filling.fill_uninitialized_memory)
    torch.set_deterministic_debug_mode("error")
    cudnn.deterministic = True
    cudnn.benchmark = False
    filling.fill_uninitialized_memory = (
        False  # unnecessary: everything is written before it is read
    )
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        cudnn.deterministic, cudnn.benchmark, filling.fill_uninitialized_memory = before


def _check_repeats(device: torch.device) -> None:
    """Make cuBLAS repeat, which it decides when CUDA starts."""
    if device.type == "mps":
        raise ConfigError(
            "torch does not guarantee repeatable operations on mps; leave --deterministic out, or "
            "give --device cpu"
        )
    if device.type != "cuda":
        return
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        os.environ.setdefault(_WORKSPACE, _DETERMINISTIC[0])
    found = os.environ.get(_WORKSPACE, "")
    if found not in _DETERMINISTIC:
        raise ConfigError(
            f"--deterministic needs {_WORKSPACE} to be {' or '.join(_DETERMINISTIC)} before CUDA "
            f"starts, and it is {found!r}; set it before charrnn is started"
        )


def lacks_kernel(error: RuntimeError) -> bool:
    """Return whether oneDNN has no kernel for these shapes in this number format."""
    return "primitive" in str(error)


def _usable_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
