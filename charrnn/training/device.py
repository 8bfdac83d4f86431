"""Which processor trains, in which number format, with how many threads.

It asks torch what there is; it knows nothing of networks or data.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import torch

from charrnn.config import TrainConfig
from charrnn.errors import ConfigError

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
    float16.

    Raises:
        ConfigError: the device cannot compute in the format that was asked for.
    """
    if wanted == "fp16" and device.type == "cpu":
        raise ConfigError("precision fp16 needs a GPU; on a CPU choose bf16 or fp32")
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


def set_up_machine(config: TrainConfig) -> int:
    """Set torch's threads for this process and give their number."""
    if config.threads:
        torch.set_num_threads(config.threads)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(_usable_processors())
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    return torch.get_num_threads()


def lacks_kernel(error: RuntimeError) -> bool:
    """Tell oneDNN's way to say that it has no kernel for these shapes in this number format."""
    return "primitive" in str(error)


def _usable_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
