"""How fast this machine trains and evaluates, beside the bare matrix products of the same shapes.

Each figure is a median of rounds in which the work, its products alone and torch's own layer take
turns. `charrnn bench` shows them.

B = lanes, T = window length, I = input size, H = hidden size.
"""

import math
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from charrnn.bench.speeds import (
    MIN_ROUNDS,
    EvaluationSpeed,
    MachineSpeed,
    Measurement,
    TrainingSpeed,
    median_ratio,
    time_alternating,
)
from charrnn.config import GATES, ModelConfig, TrainConfig
from charrnn.data.corpus import Corpus
from charrnn.model.device import PRECISIONS, autocast, choose_device, choose_precision, has_bf16
from charrnn.model.network import CharRNN, RecurrentLayer
from charrnn.training.evaluation import LANES, WINDOW, evaluate_carried
from charrnn.training.optimizer import MUON_EVERY
from charrnn.training.plan import Plan, make_plan
from charrnn.training.trainer import Trainer, make_model

_STEPS_PER_ROUND = math.lcm(*MUON_EVERY.values())  # so that all rounds cost the same
_COPIED_NUMBERS = 1 << 26  # 256 MiB of float32: more than most caches hold


def measure_machine(device_name: str, threads: int, size: int, seconds: float) -> MachineSpeed:
    """Measure square products of `size` and a large copy on a device, `seconds` for each.

    Raises:
        ConfigError: the device is not in this machine.
    """
    device = choose_device(device_name)
    # The number formats that training chooses from on this device.
    formats = [torch.float32]
    if device.type == "cuda":
        formats.append(torch.float16)
    elif has_bf16(device):
        formats.append(torch.bfloat16)
    square = Product(size, size, size)
    rates = {}
    for dtype in formats:
        fastest = _best_seconds(multiply([square], device, dtype), device, seconds)
        rates[PRECISIONS[dtype]] = square.flop / fastest / 1e9
    source = torch.ones(_COPIED_NUMBERS, device=device)
    target = torch.zeros_like(source)
    copy_seconds = _best_seconds(lambda: target.copy_(source), device, seconds)
    return MachineSpeed(
        processor=_processor_name(device),
        device=str(device),
        threads=threads,
        torch_version=torch.__version__,
        product_size=size,
        products_gflop_per_second=rates,
        memory_gb_per_second=2 * source.nbytes / copy_seconds / 1e9,
    )


def _best_seconds(action: Callable[[], object], device: torch.device, seconds: float) -> float:
    measurement = [timed(action, device)]
    time_alternating(measurement, rounds=1)  # warms up
    return min(time_alternating(measurement, rounds=MIN_ROUNDS, seconds=seconds)[0])


def _processor_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # only Linux has it
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def measure_training(config: TrainConfig, corpus: Corpus, seconds: float) -> TrainingSpeed:
    """Time the steps of a run on `corpus`, for about `seconds`.

    Raises:
        ConfigError: the device is not in this machine, or lacks the precision asked for.
        CorpusError: the text is too short for one window.
    """
    device = choose_device(config.device)
    plan = make_plan(config, corpus.vocab.size, len(corpus.train))
    model = plan.model
    trainer = Trainer(plan, config, corpus, device, choose_precision(config.precision, device))
    precision = trainer.update.precision  # float32 where the one asked for has no kernel
    products = step_products(model, plan.batch_size, plan.seq_len)
    actions = [
        lambda: [trainer.advance(None) for _ in range(_STEPS_PER_ROUND)],
        multiply(products, device, precision),
        *_layer_passes(plan, device, precision),
    ]
    measurements = [timed(action, device) for action in actions]
    time_alternating(measurements, rounds=1)  # warms up
    times = time_alternating(measurements, rounds=MIN_ROUNDS, seconds=seconds)
    times[0] = [together / _STEPS_PER_ROUND for together in times[0]]
    step, bare, ours, theirs = (statistics.median(each) for each in times)
    return TrainingSpeed(
        cell=model.cell,
        num_layers=model.num_layers,
        hidden_size=model.hidden_size,
        batch_size=plan.batch_size,
        seq_len=plan.seq_len,
        precision=PRECISIONS[precision],
        step_ms=step * 1e3,
        chars_per_second=plan.batch_size * plan.seq_len / step,
        gflop_per_second=total_flop(products) / step / 1e9,
        products_ms=bare * 1e3,
        products_share=median_ratio(times[1], times[0]),
        layer_ms=ours * 1e3,
        torch_layer_ms=theirs * 1e3,
        layer_speedup=median_ratio(times[3], times[2]),
    )


def _layer_passes(
    plan: Plan, device: torch.device, precision: torch.dtype
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return actions that run a window forward and backward: through our layer, and torch's."""
    model = plan.model
    sizes = (model.embedding_size, model.hidden_size)
    ours = RecurrentLayer(replace(model, initial_state="zero"), model.embedding_size)
    theirs = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[model.cell](*sizes)
    ours.to(device)
    theirs.to(device)
    size = (plan.seq_len, plan.batch_size, model.embedding_size)
    inputs = torch.randn(size, device=device, requires_grad=True)  # (T, B, I)

    def pass_through(layer: nn.Module, *state: object) -> None:
        learned = [weight for weight in layer.parameters() if weight.requires_grad]
        with autocast(device, precision):
            outputs, _ = layer(inputs, *state)
        torch.autograd.grad(outputs, [inputs, *learned], torch.ones_like(outputs))

    state = ours.initial_state(plan.batch_size)
    return lambda: pass_through(ours, state), lambda: pass_through(theirs)


def measure_evaluation(config: TrainConfig, corpus: Corpus, seconds: float) -> EvaluationSpeed:
    """Time the scoring of the held-out part of `corpus`, for about `seconds`.

    Raises:
        ConfigError: the device is not in this machine.
    """
    device = choose_device(config.device)
    plan = make_plan(config, corpus.vocab.size, len(corpus.train))
    model = make_model(plan, config.seed).to(device)
    assert isinstance(model, CharRNN)
    products = forward_products(plan.model, LANES, WINDOW)
    chars = len(corpus.val) - 1
    blocks = chars / (LANES * WINDOW)  # the products are timed for one block
    measurements = [
        timed(lambda: evaluate_carried(model, corpus.val, corpus.vocab), device),
        timed(multiply(products, device, torch.float32), device),
    ]
    whole, block = time_alternating(measurements, rounds=MIN_ROUNDS, seconds=seconds)
    eval_seconds = statistics.median(whole)
    return EvaluationSpeed(
        cell=plan.model.cell,
        num_layers=plan.model.num_layers,
        hidden_size=plan.model.hidden_size,
        chars_per_second=chars / eval_seconds,
        gflop_per_second=total_flop(products) * blocks / eval_seconds / 1e9,
        products_share=median_ratio(block, whole) * blocks,
    )


def timed(action: Callable[[], object], device: torch.device) -> Measurement:
    """Return a measurement of the seconds that `action` takes, its work on a GPU included."""

    def measure() -> float:
        start_seconds = time.perf_counter()
        action()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        return time.perf_counter() - start_seconds

    return measure


@dataclass(frozen=True)
class Product:
    """(rows × inner)·(inner × columns), done `times` times, each waiting for the one before."""

    rows: int
    inner: int
    columns: int
    times: int = 1

    @property
    def flop(self) -> int:
        """Multiplications and additions, all times together."""
        return 2 * self.rows * self.inner * self.columns * self.times


def forward_products(model: ModelConfig, batch_size: int, seq_len: int) -> list[Product]:
    """Return those of one window forward."""
    rows = seq_len * batch_size
    gates = GATES[model.cell] * model.hidden_size
    input_size = model.embedding_size
    products = []
    for _ in range(model.num_layers):
        products.append(Product(rows, input_size, gates))  # the inputs of all times at once
        products.append(Product(batch_size, model.hidden_size, gates, seq_len))  # a state at a time
        input_size = model.hidden_size
    if model.has_projection:
        products.append(Product(rows, input_size, model.embedding_size))
        input_size = model.embedding_size
    return [*products, Product(rows, input_size, model.vocab_size)]


def backward_products(product: Product) -> list[Product]:
    """Return the two that take a gradient back through `product`."""
    return [
        # The left factor's gradient at each time, then the weights', summed over all times at once.
        Product(product.rows, product.columns, product.inner, product.times),
        Product(product.columns, product.rows * product.times, product.inner),
    ]


def step_products(model: ModelConfig, batch_size: int, seq_len: int) -> list[Product]:
    """Return those of one training step, forward and backward."""
    forward = forward_products(model, batch_size, seq_len)
    return forward + [each for product in reversed(forward) for each in backward_products(product)]


def total_flop(products: Iterable[Product]) -> int:
    """Return their multiplications and additions."""
    return sum(product.flop for product in products)


def multiply(
    products: Iterable[Product], device: torch.device, dtype: torch.dtype
) -> Callable[[], None]:
    """Return an action that computes the products one after another, into memory taken before."""
    calls: list[tuple[Tensor, Tensor, Tensor]] = []
    for each in products:
        left = torch.randn(each.times, each.rows, each.inner, device=device).to(dtype)
        right = torch.randn(each.inner, each.columns, device=device).to(dtype)
        out = torch.empty(each.times, each.rows, each.columns, device=device, dtype=dtype)
        calls += [(a, right, b) for a, b in zip(left.unbind(), out.unbind(), strict=True)]

    def run() -> None:
        for left, right, out in calls:
            torch.mm(left, right, out=out)

    return run
