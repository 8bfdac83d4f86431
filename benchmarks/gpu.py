"""What only an NVIDIA GPU can show, in under ten minutes: make gpu

python benchmarks/gpu.py [PART]... [--corpus FILE] [--rehearse]

Each part runs in a process of its own with a time limit: a kernel that hangs or breaks ends its
part, whose rows say so, and the others follow. The parts, all of them by default:

    tests          the tests that are skipped without a GPU
    training-1     an LSTM 1 × 512: characters per second of a step, of a step as one CUDA graph,
    training-2     … and of cuDNN alone, in turn; the same for 2 × 512. cuDNN alone is nn.LSTM
                   forward and backward in the same shapes and number format
    kernels        whether cuDNN takes its persistent kernel, by the names of the kernels
    sampling       4,096 texts at once: characters per second
    deterministic  two runs with --deterministic end with the same weights
    loss           time by the clock to 1.4697 nats on tiny-shakespeare, in windows of 256
                   characters, which is what nanoGPT's README gives for three minutes of an A100

It prints a line for each figure as it comes, and at the end all of it as JSON, on one line. The
exit code is 1 if a part failed. Without such a GPU it says so, and the exit code is 0. --corpus:
the text of the part `loss`, which otherwise is fetched. --rehearse: all on the processor in tiny
sizes, to see that the script works.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from runs import one_line_errors, train
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from charrnn.bench.speeds import median_ratio, time_alternating
from charrnn.bench.training import timed
from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.config import SampleConfig, TrainConfig
from charrnn.corpora.library import locate_texts
from charrnn.data.corpus import Corpus, corpus_from_text
from charrnn.errors import ConfigError
from charrnn.generation.gpu import GpuBackend, GpuSampler
from charrnn.model.cuda_graph import CudaGraphs
from charrnn.model.device import choose_precision
from charrnn.model.network import CharRNN, numpy_state_dict
from charrnn.state import map_state
from charrnn.tasks.model import Model
from charrnn.training.calibration import takes_persistent_kernel
from charrnn.training.plan import Plan, make_plan
from charrnn.training.trainer import Trainer, make_model

ROOT = Path(__file__).parents[1]
TARGET_NATS = 1.4697
_ALL_SECONDS = 580.0
_FIRST_BUDGET = 5.0  # seconds
_MOST_DOUBLINGS = 5
_STEPS_PER_ROUND = 40  # enough that both kinds of a Muon step are captured in the first
_ROUNDS = 5
_PROFILED_STEPS = 8  # one of them computes new directions
_BLOCK = 32  # characters that are sampled before the host looks
_CHARS = "".join(map(chr, range(32, 97)))  # 65, as tiny-shakespeare has


@dataclass(frozen=True)
class Setup:
    """What a part runs on and in what sizes; seconds: until it is stopped."""

    device: str
    corpus: str
    seconds: float
    hidden_size: int = 512
    embedding_size: int = 128
    batch_size: int = 128
    seq_len: int = 64
    texts: int = 4096
    text_chars: int = 512
    steps: int = 60
    rounds: int = _ROUNDS
    target_nats: float = TARGET_NATS

    @property
    def is_cuda(self) -> bool:
        """Whether this is no rehearsal."""
        return self.device == "cuda"


TINY = {
    "hidden_size": 8,
    "embedding_size": 4,
    "batch_size": 3,
    "seq_len": 5,
    "texts": 6,
    "text_chars": 64,
    "steps": 8,
    "rounds": 1,
    "target_nats": 9.0,
}
"""The sizes of a rehearsal."""


@dataclass(frozen=True)
class Row:
    """A figure: what it is of, how it is shown, and its value for JSON."""

    what: str
    shown: str
    value: Any = None
    has_failed: bool = False


Part = Callable[[Setup], Iterator[Row]]


# ── tests ──


def run_tests(setup: Setup) -> Iterator[Row]:
    """Run the tests that are marked `gpu`; yield how many passed, and each that did not."""
    # cuBLAS must be told before CUDA starts, which other tests may do first.
    environment = os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":16:8"}
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-v", "--tb=short", *find_tests()]
    printed = b""
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        # Shown as it comes: the last name is that of a test that hangs.
        while chunk := process.stdout.read1():
            sys.stderr.buffer.write(chunk)
            sys.stderr.flush()
            printed += chunk
    yield from read_test_report(printed.decode(errors="replace"), process.returncode)


def find_tests() -> list[str]:
    """Return the files with tests that need a GPU: to collect all others would take longer."""
    files = (ROOT / "tests").rglob("test_*.py")
    return sorted(str(each) for each in files if 'reason="needs a GPU"' in each.read_text("utf-8"))


def read_test_report(printed: str, code: int) -> Iterator[Row]:
    """Yield rows of what pytest printed."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    summary = lines[-1].strip("= ") if lines else "pytest printed nothing"
    yield Row("all", summary, code, has_failed=code != 0)
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind in ("FAILED", "ERROR"):
            yield Row(rest.partition(" - ")[0], rest.partition(" - ")[2] or kind, has_failed=True)
        elif kind == "SKIPPED":
            yield Row("skipped", rest)


# ── training ──


def make_text(chars: int = 300_000) -> Corpus:
    """Return a text of random characters: speed does not depend on what it says."""
    codes = np.random.default_rng(0).integers(0, len(_CHARS), chars)
    return corpus_from_text("".join(np.array(list(_CHARS))[codes]), name="random")


def make_trainer(setup: Setup, layers: int, **settings: Any) -> tuple[Trainer, Plan]:
    """Return a trainer of an LSTM, and its plan."""
    config = TrainConfig(
        **{
            "device": setup.device,
            "num_layers": layers,
            "hidden_size": setup.hidden_size,
            "embedding_size": setup.embedding_size,
            "batch_size": setup.batch_size,
            "seq_len": setup.seq_len,
            "dropout": 0.3,
            "steps": 1_000_000,
            **settings,
        }
    )
    corpus = make_text()
    device = torch.device(setup.device)
    plan = make_plan(config, corpus.vocab.size, len(corpus.train))
    precision = choose_precision(config.precision, device)
    return Trainer(plan, config, corpus, device, precision), plan


def measure_training(setup: Setup, layers: int) -> Iterator[Row]:
    """Yield characters per second of a step, of a step as a CUDA graph and of cuDNN alone."""
    device = torch.device(setup.device)
    trainer, plan = make_trainer(setup, layers)
    errors: set[str] = set()
    actions = {"a step": partial(make_steps, trainer, errors)}
    if setup.is_cuda:
        captured, _ = make_trainer(setup, layers, cuda_graph=True)
        actions["a step as a CUDA graph"] = partial(make_steps, captured, errors)
    bare = {"cuDNN alone": [bare_layer(plan, layers, trainer.update.precision, device)]}
    if layers > 1:  # cuDNN runs several layers in another kernel than one
        each = [bare_layer(plan, 1, trainer.update.precision, device, i) for i in range(layers)]
        bare["cuDNN alone, layer by layer"] = each
    for name, stack in bare.items():
        actions[name] = partial(pass_through, stack, plan, _STEPS_PER_ROUND)
    measurements = [timed(action, device) for action in actions.values()]
    time_alternating(measurements, rounds=1)  # warms up, and captures the graphs
    times = dict(zip(actions, time_alternating(measurements, rounds=setup.rounds), strict=True))
    for error in errors:
        yield Row("a step as a CUDA graph", f"was not captured: {error}", has_failed=True)
    chars = plan.batch_size * plan.seq_len * _STEPS_PER_ROUND
    for name, seconds in times.items():
        rate = chars / sorted(seconds)[len(seconds) // 2]
        yield Row(name, f"{rate:,.0f} characters/s", rate)
    fastest = min(bare, key=lambda name: sum(times[name]))
    for name in actions.keys() - bare.keys():
        share = median_ratio(times[fastest], times[name])
        yield Row(f"{name}, beside the faster bare calls", f"{share:.2f} of their rate", share)
    if setup.is_cuda:
        gain = median_ratio(times["a step"], times["a step as a CUDA graph"])
        yield Row("a CUDA graph makes a step", f"{gain:.2f} × as fast", gain)


def make_steps(trainer: Trainer, errors: set[str]) -> None:
    """Make the steps of a round; note why one was not captured."""
    for _ in range(_STEPS_PER_ROUND):
        errors.update(
            result.capture_error for result in trainer.advance(None) if result.capture_error
        )


def bare_layer(
    plan: Plan, layers: int, precision: torch.dtype, device: torch.device, depth: int = 0
) -> nn.LSTM:
    """Return torch's LSTM of the plan's sizes with all weights in `precision`.

    depth: of its first layer, which reads embeddings only at 0.
    """
    model = plan.model
    input_size = model.hidden_size if depth else model.embedding_size
    return nn.LSTM(input_size, model.hidden_size, layers).to(device, precision)


def pass_through(stack: Sequence[nn.LSTM], plan: Plan, times: int) -> None:
    """Run a window forward and backward through the layers, so many times."""
    weight: Tensor = stack[0].weight_ih_l0
    size = (plan.seq_len, plan.batch_size, plan.model.embedding_size)  # (T, B, E)
    inputs = torch.ones(size, device=weight.device, dtype=weight.dtype, requires_grad=True)
    weights = [weight for layer in stack for weight in layer.parameters()]
    for _ in range(times):
        outputs = inputs
        for layer in stack:
            outputs, _ = layer(outputs)
        torch.autograd.grad(outputs, [inputs, *weights], torch.ones_like(outputs))


# ── kernels ──


def find_kernels(setup: Setup) -> Iterator[Row]:
    """Yield whether steps of layers that should run in the persistent kernel do, and others.

    The second size is one that PyTorch does not choose the kernel for.
    """
    is_taken = takes_persistent_kernel(torch.device(setup.device))
    if setup.is_cuda:
        shown = "takes it" if is_taken else "never takes it: PyTorch leaves this GPU out"
        yield Row("the persistent kernel: this GPU", shown, is_taken)
    sizes = {setup.embedding_size: is_taken, setup.embedding_size // 2: False}
    for embedding, is_wanted in sizes.items():
        trainer, _ = make_trainer(setup, 1, embedding_size=embedding)
        advance = partial(make_steps, trainer, set())
        advance()

        def steps(trainer: Trainer = trainer) -> None:
            for _ in range(_PROFILED_STEPS):
                trainer.advance(None)

        seconds = timed(advance, torch.device(setup.device))() / _STEPS_PER_ROUND
        kernels = profile_kernels(steps, torch.device(setup.device))
        yield describe_kernels(
            f"1 × {setup.hidden_size}, embedding {embedding}, {setup.batch_size} lanes",
            kernels,
            seconds,
            is_wanted=is_wanted,
        )


def profile_kernels(action: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Return the microseconds that each kernel took on the GPU, by name, most first."""
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        timed(action, device)()
    kernels = {
        event.key: float(event.self_device_time_total)
        for event in profiler.key_averages()
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation
    }
    return dict(sorted(kernels.items(), key=lambda item: -item[1]))


def describe_kernels(
    what: str, kernels: Mapping[str, float], seconds: float, *, is_wanted: bool
) -> Row:
    """Return a row on whether a persistent kernel is among them; a failure if it should be."""
    persistent = [name for name in kernels if "persist" in name.lower()]
    total = sum(kernels.values())
    value = {
        "has_persistent": bool(persistent),
        "step_ms": seconds * 1e3,
        "kernels_us": dict(list(kernels.items())[:12]),
    }
    if not kernels:
        return Row(what, "the profiler saw no kernel", value, has_failed=is_wanted)
    if not persistent:
        shown = f"not persistent, {seconds * 1e3:.2f} ms a step; most time: {next(iter(kernels))}"
        return Row(what, shown, value, has_failed=is_wanted)
    share = sum(kernels[name] for name in persistent) / max(total, 1e-9)
    shown = f"persistent, {share:.0%} of the kernels' time, {seconds * 1e3:.2f} ms a step"
    return Row(what, f"{shown}: {persistent[0]}", value)


# ── sampling ──


def measure_sampling(setup: Setup) -> Iterator[Row]:
    """Yield characters per second of many texts at once: of the device, and as whole texts."""
    config = TrainConfig(
        hidden_size=setup.hidden_size, embedding_size=setup.embedding_size, steps=1
    )
    corpus = make_text()
    plan = make_plan(config, corpus.vocab.size, len(corpus.train))
    network = make_model(plan, seed=1)
    assert isinstance(network, CharRNN)
    file = ModelFile(plan.model, corpus.vocab, numpy_state_dict(network), {})
    device = torch.device(setup.device)
    settings = SampleConfig(length=setup.text_chars, seed=1)

    # Blocks alone, as the device makes them, with graphs and without.
    blocks = setup.text_chars // _BLOCK
    graphs = {"eager": None} | ({"CUDA graphs": CudaGraphs(device)} if setup.is_cuda else {})
    uniforms = np.random.default_rng(1).random((setup.texts, _BLOCK))
    measurements = []
    for each in graphs.values():
        sampler = GpuSampler(network, settings, None, device, each)
        measurements.append(
            timed(partial(sample_blocks, sampler, network, uniforms, blocks), device)
        )
    time_alternating(measurements, rounds=1)
    times = time_alternating(measurements, rounds=setup.rounds)
    for name, seconds in zip(graphs, times, strict=True):
        rate = setup.texts * blocks * _BLOCK / sorted(seconds)[len(seconds) // 2]
        yield Row(f"{setup.texts:,} texts, {name}", f"{rate:,.0f} characters/s", rate)

    # Whole texts, as `charrnn sample --device` makes them.
    backend = GpuBackend(file, settings, setup.device)
    model = Model(file)

    def sample(count: int) -> int:
        made = model.generate_many("", settings, count=count, backend=backend)
        return sum(len(each.text) for each in made)

    sample(setup.texts)
    began = time.perf_counter()
    chars = sample(setup.texts)
    rate = chars / (time.perf_counter() - began)
    yield Row(f"{setup.texts:,} whole texts", f"{rate:,.0f} characters/s", rate)


def sample_blocks(sampler: GpuSampler, network: CharRNN, uniforms: np.ndarray, blocks: int) -> None:
    """Sample blocks of all texts, one after another."""
    texts = len(uniforms)
    states = map_state(
        lambda part: part.detach().cpu().contiguous().numpy(), network.initial_state(texts)
    )
    current = sampler.start(np.zeros((texts, network.config.vocab_size), np.float32), states)
    for _ in range(blocks):
        _, current = sampler.sample(current, uniforms, 0)


# ── repeatable runs ──


def compare_runs(setup: Setup) -> Iterator[Row]:
    """Yield whether runs that are asked to repeat have the same weights; a graph's is compared."""
    settings = {
        "device": setup.device,
        "steps": setup.steps,
        "hidden_size": setup.hidden_size,
        "embedding_size": setup.embedding_size,
        "num_layers": 2,
        "batch_size": setup.batch_size,
        "seq_len": setup.seq_len,
        "dropout": 0.3,
        "seed": 3,
        "deterministic": True,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        text = make_text(30_000)
        path.write_text(text.vocab.decode(text.train), encoding="utf-8")
        first = train_weights(str(path), settings)
        again = train_weights(str(path), settings)
        differing = max_differences(first, again)
        yield Row(
            "--deterministic, two runs",
            describe_differences(differing),
            differing,
            has_failed=bool(differing),
        )
        if setup.is_cuda:
            differing = max_differences(
                first, train_weights(str(path), settings | {"cuda_graph": True})
            )
            shown = describe_differences(differing)
            yield Row("--deterministic, beside one with --cuda-graph", shown, differing)


def train_weights(path: str, settings: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Train in a process of its own; return the weights of the model that it keeps."""
    with tempfile.TemporaryDirectory() as folder:
        return read_model(Path(train(path, settings, folder=folder)["finished"]["model"])).weights


def max_differences(
    one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Return the largest difference of each array that is not equal, by its name."""
    return {
        name: float(np.abs(one[name] - other[name]).max())
        for name in one
        if not np.array_equal(one[name], other[name])
    }


def describe_differences(differing: Mapping[str, float]) -> str:
    """Return "equal weights", or which one differs most."""
    if not differing:
        return "equal weights"
    most = max(differing, key=differing.__getitem__)
    return f"{len(differing)} arrays differ, most {most}, by {differing[most]:.2g}"


# ── time to a loss ──


def reach_loss(setup: Setup) -> Iterator[Row]:
    """Yield the runs that look for the time to the loss, each a whole process, and the shortest.

    The budget is doubled until a run reaches it, then bisected while time is left.
    """
    ends = time.perf_counter() + setup.seconds - 5
    (path,) = locate_texts([setup.corpus])
    reached: list[tuple[float, float]] = []  # budget, seconds of the process
    missed = 0.0
    budget = _FIRST_BUDGET if setup.is_cuda else 1.0
    outside = 15.0  # start and end of a process: a guess until one has run
    runs = 0
    while runs < 2 * _MOST_DOUBLINGS and time.perf_counter() + budget + outside < ends:
        seconds, nats, row = run_for(setup, path, budget)
        yield row
        runs += 1
        outside = max(seconds - budget, 0.0)
        if nats <= setup.target_nats:
            reached.append((budget, seconds))
        else:
            missed = max(missed, budget)
        shortest = min((each for each, _ in reached), default=0.0)
        if shortest and (not missed or shortest < 1.2 * missed):
            break
        budget = (shortest * missed) ** 0.5 if shortest else 2 * budget
    if not reached:
        shown = "not reached in the time that there was"
        yield Row(f"to {setup.target_nats} nats", shown, has_failed=True)
        return
    budget, seconds = min(reached)
    yield Row(f"to {setup.target_nats} nats", f"{seconds:.1f} s, a whole process", seconds)
    if setup.is_cuda and time.perf_counter() + seconds < ends:
        yield run_for(setup, path, budget, cuda_graph=True)[2]


def run_for(setup: Setup, path: str, budget: float, **settings: Any) -> tuple[float, float, Row]:
    """Train for a budget; return the seconds of the process, the windowed loss, and a row."""
    asked = {"device": setup.device, "split": "tail", "budget": f"{budget:.2f}s", **settings}
    began = time.perf_counter()
    reports = train(path, asked)
    seconds = time.perf_counter() - began
    nats = reports["finished"]["best_val_windowed_nats"]
    if nats is None:
        raise ConfigError(f"{path} is no running text, so it has no windows; give another --corpus")
    model = reports["started"]["plan"]["model"]
    sizes = f"{model['num_layers']} × {model['hidden_size']}"
    what = f"budget {budget:.1f} s" + ", --cuda-graph" * ("cuda_graph" in settings)
    value = {
        "budget_seconds": budget,
        "seconds": seconds,
        "val_windowed_nats": nats,
        "val_nats": reports["finished"]["best_val_nats"],
        "steps": reports["finished"]["step"],
    }
    shown = f"{nats:.4f} nats after {seconds:.1f} s ({sizes}, {value['steps']:,} steps)"
    return seconds, nats, Row(what, shown, value)


# ── the parts ──

PARTS: dict[str, tuple[Part, float]] = {  # with the seconds until each is stopped
    "tests": (run_tests, 150),
    "training-1": (partial(measure_training, layers=1), 50),
    "training-2": (partial(measure_training, layers=2), 60),
    "kernels": (find_kernels, 40),
    "sampling": (measure_sampling, 50),
    "deterministic": (compare_runs, 80),
    "loss": (reach_loss, 150),
}


def run_part(name: str, seconds: float, options: Sequence[str]) -> Iterator[Row]:
    """Run a part in a process of its own; yield its rows, and why it ended early if it did."""
    command = [sys.executable, __file__, "--only", name, "--seconds", str(seconds), *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        reason = ""
        try:
            printed, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            printed = stop_group(process)
            reason = f"stopped after {seconds:.0f} s"
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    rows = list(read_rows(printed))
    yield from rows
    if not reason and process.returncode and not any(row.has_failed for row in rows):
        reason = f"its process ended with {process.returncode}"
    if reason:
        yield Row("all", reason, has_failed=True)


def stop_group(process: subprocess.Popen[str]) -> str:
    """Stop a process and those that it started; return what it printed.

    It may remove its files first; one that waits for a kernel that hangs cannot.
    """
    os.killpg(process.pid, signal.SIGTERM)
    try:
        printed, _ = process.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        printed, _ = process.communicate()
    return printed


def read_rows(printed: str) -> Iterator[Row]:
    """Yield the rows that a part has printed; a last one may be cut short."""
    for line in printed.splitlines():
        try:
            yield Row(**json.loads(line))
        except (TypeError, ValueError):
            continue


def run_only(name: str, setup: Setup) -> int:
    """Run a part in this process; print its rows as JSON, and return the exit code."""
    code = 0
    try:
        for row in PARTS[name][0](setup):
            print(json.dumps(asdict(row)), flush=True)
    except Exception as error:  # of whatever kind: it is what the part is there to find
        traceback.print_exc()
        first = str(error).partition("\n")[0]
        row = Row("all", f"{type(error).__name__}: {first}", has_failed=True)
        print(json.dumps(asdict(row)), flush=True)
        code = 1
    return code


def run_all(names: Sequence[str], options: Sequence[str], about: Mapping[str, Any]) -> int:
    """Run parts one after another; print their rows, then JSON; return the exit code."""
    print("  ".join(f"{key} {value}" for key, value in about.items()), flush=True)
    began = time.perf_counter()
    all_rows = []
    for name in names:
        left = _ALL_SECONDS - (time.perf_counter() - began)
        seconds = min(PARTS[name][1], left)
        is_late = seconds < 10
        rows = (
            [Row("all", "no time was left for it", has_failed=True)]
            if is_late
            else run_part(name, seconds, options)
        )
        for row in rows:
            mark = "FAILED " * row.has_failed
            print(f"{name:14} {row.what:48} {mark}{row.shown}", flush=True)
            all_rows.append({"part": name, **asdict(row)})
    seconds = time.perf_counter() - began
    print(json.dumps({**about, "seconds": seconds, "rows": all_rows}))
    return int(any(row["has_failed"] for row in all_rows))


def describe_machine(is_cuda: bool) -> dict[str, Any]:
    """Return what a figure depends on."""
    about: dict[str, Any] = {"torch": torch.__version__}
    if is_cuda:
        about["gpu"] = torch.cuda.get_device_name()
        about["cuda"] = torch.version.cuda
        about["cudnn"] = torch.backends.cudnn.version()
    return about


def main() -> None:
    """Run the parts that are asked for, or say that there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--corpus", default="tiny-shakespeare", help="a text, or its name")
    parser.add_argument("--rehearse", action="store_true", help="on the processor, tiny")
    parser.add_argument("--only", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=_ALL_SECONDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if strange := [name for name in options.parts if name not in PARTS]:
        parser.error(f"there is no part {strange[0]!r}; choose from {', '.join(PARTS)}")
    device = "cpu" if options.rehearse else "cuda"
    with one_line_errors():
        if options.only:
            sizes: dict[str, Any] = TINY if options.rehearse else {}
            setup = Setup(device, options.corpus, options.seconds, **sizes)
            sys.exit(run_only(options.only, setup))
        if not options.rehearse and not torch.cuda.is_available():
            print(
                f"PyTorch {torch.__version__} finds no NVIDIA GPU on this machine, so nothing was "
                "measured"
            )
            return
        own = ["--corpus", options.corpus, *["--rehearse"] * options.rehearse]
        about = describe_machine(not options.rehearse)
        sys.exit(run_all(options.parts or [*PARTS], own, about))


if __name__ == "__main__":
    main()
