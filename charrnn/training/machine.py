"""What this machine can do at best: large matrix products and a large copy.

It knows nothing of networks.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from charrnn.timing import Measurement, time_in_turn
from charrnn.training.device import PRECISIONS, choose_device, has_bf16
from charrnn.training.products import Product, make_bare

_COPIED_NUMBERS = 1 << 26  # 256 MiB of float32: more than most caches hold
_FEWEST_ROUNDS = 3


@dataclass(frozen=True)
class MachineSpeed:
    """What the machine can do: the best of several rounds.

    products_gflop_per_second: of square products of `product_size`, by number format.
    memory_gb_per_second: bytes read and written while an array is copied.
    """

    processor: str
    device: str
    threads: int
    torch_version: str
    product_size: int
    products_gflop_per_second: dict[str, float]
    memory_gb_per_second: float


def measure_machine(wanted: str, threads: int, product_size: int, seconds: float) -> MachineSpeed:
    """Measure large products and a large copy on the device `wanted`, `seconds` for each.

    Raises:
        ConfigError: it is not in this machine.
    """
    device = choose_device(wanted)
    square = Product(product_size, product_size, product_size)
    rates = {}
    for dtype in _hardware_formats(device):
        fastest = _best_seconds(make_bare([square], device, dtype), device, seconds)
        rates[PRECISIONS[dtype]] = square.flop / fastest / 1e9
    source = torch.ones(_COPIED_NUMBERS, device=device)
    target = torch.zeros_like(source)
    copying = _best_seconds(lambda: target.copy_(source), device, seconds)
    return MachineSpeed(
        processor=_processor_name(device),
        device=str(device),
        threads=threads,
        torch_version=torch.__version__,
        product_size=product_size,
        products_gflop_per_second=rates,
        memory_gb_per_second=2 * source.nbytes / copying / 1e9,
    )


def timed(action: Callable[[], object], device: torch.device) -> Measurement:
    """Give a measurement of the seconds that `action` takes, its work on a GPU included."""

    def measure() -> float:
        began = time.perf_counter()
        action()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        return time.perf_counter() - began

    return measure


def _best_seconds(action: Callable[[], object], device: torch.device, seconds: float) -> float:
    measurement = [timed(action, device)]
    time_in_turn(measurement, rounds=1)
    return min(time_in_turn(measurement, rounds=_FEWEST_ROUNDS, seconds=seconds)[0])


def _hardware_formats(device: torch.device) -> list[torch.dtype]:
    """Give the number formats that training chooses from on `device`."""
    if device.type == "cuda":
        return [torch.float32, torch.float16]
    return [torch.float32, torch.bfloat16] if has_bf16(device) else [torch.float32]


def _processor_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # only Linux has it
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
