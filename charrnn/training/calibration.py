"""What this machine can do, measured in a moment, and the plan that follows from it.

`plan.py` has the rules, which were measured on two processor cores. Here are the two figures that
they need: how many times as fast this machine trains, and how long a step of this run takes. A GPU
gets sizes of its own. A resumed run keeps its plan.

V = tokens of the vocabulary, H = hidden size, B = lanes, T = window length.
"""

import math
import time
from collections.abc import MutableMapping
from dataclasses import asdict, dataclass, replace
from itertools import count, pairwise, takewhile
from typing import Any

import torch

from charrnn.config import GATES, LENGTHS, ModelConfig, TrainConfig
from charrnn.data.corpus import Corpus
from charrnn.errors import ConfigError, counted
from charrnn.model.device import (
    PRECISIONS,
    autocast,
    check_cuda_graph,
    choose_device,
    choose_precision,
    configure_torch,
    deterministic_algorithms,
    lacks_kernel,
)
from charrnn.model.network import RecurrentLayer
from charrnn.training.batches import free_bytes
from charrnn.training.memory import training_bytes
from charrnn.training.plan import (
    EVALUATIONS,
    Plan,
    kind_of_run,
    make_plan,
    size_for_parameters,
    size_for_text,
)
from charrnn.training.reports import Snapshot
from charrnn.training.task_plan import TaskSizes, find_task, make_task_plan
from charrnn.training.trainer import Trainer, shard_of
from charrnn.training.world import World

# A pass of a small layer, and what it takes on the cores that the rules were measured on.
_SEQ_LEN = 16
_BATCH_SIZE = 16
_INPUT_SIZE = 64
_HIDDEN_SIZE = 256
_REFERENCE_SECONDS = 0.0021
_ROUNDS = 5
_MOST_PASSES = 50
_MEASURING_SECONDS = 0.03  # after the first passes: of many, one may go undisturbed
_LEAST = 1 / 16
_MOST = 256.0

# Steps of the run itself: the first two build the kernels, and of four one computes directions.
_SKIPPED_STEPS = 2
_STEPS = 4
_MOST_STEP_ROUNDS = 4
_STEPS_SHARE = 0.01  # of the budget
_WRITING = 1.2  # times what a step takes alone, with teachers that write
_NGRAM_TOKENS = 200_000  # of the text, that n-grams are chosen from for these steps

# A GPU takes as long for a small product as for one that fills it.
_LARGE = 4096  # rows and columns of a product that fills a GPU
_LAUNCH_SECONDS = 1e-5  # about what a time step of a layer takes, however small its product
_USED_SHARE = 0.1  # of the rate of large products, as on the cores of plan.py's rules, where
_FLOP = 9e13  # five minutes are this many operations,
_UNITS = 512  # enough for this many units
_UNIT_STEP = 128
_MOST_UNITS = 4096
_MOST_LANES = 256
# cuDNN's persistent kernel keeps the recurrent weights on the chip from one time step to the next.
# PyTorch takes it in fp16 for one layer whose input and hidden sizes are multiples of 128, with at
# most 1,024 units and 128 lanes (a multiple of 8), and not for a GRU (native/cudnn/RNN.cpp). An RNN
# of 896 units or more with 96 lanes or more is left out there too, as it is faster without.
_PERSISTENT_STEP = 128
_PERSISTENT_UNITS = 1024
_PERSISTENT_LANES = 128
_WINDOWS_WANTED = 64  # in an epoch: more lanes would leave too few updates
_MEMORY_SHARE = 0.5


def choose_plan(
    config: TrainConfig,
    corpus: Corpus,
    device: torch.device,
    precision: torch.dtype,
    is_resumed: bool,
    world: World,
    speeds: MutableMapping[str, float] | None = None,
    *,
    has_teachers: bool = False,
) -> Plan:
    """Return a plan with all that `config` leaves open, by measured speed if a time is the limit.

    If there are several processes, the main one measures, and N count as N times as fast. speeds:
    the highest measured on this machine so far, by what was measured; updated. A busy machine
    measures less than it can do, and the same command must not choose other sizes then.
    has_teachers: as for `make_plan`.

    Raises:
        ConfigError: there are more processes than lanes, or the device does not support a setting.
    """
    if device.type == "mps" and world.world_size > 1:
        raise ConfigError("several processes cannot train on mps together; give --device cpu")
    check_cuda_graph(config, device, world.world_size)
    vocab_size = corpus.vocab.size
    tokens = len(corpus.train)
    task = find_task(config, corpus)
    sizes = None if task == "text" else TaskSizes.of(corpus, task, config.longest_tokens)
    if sizes is not None and config.cuda_graph:
        raise ConfigError(
            f"--cuda-graph captures windows of one size, and those of task {task} differ; leave it "
            "out"
        )
    speeds = {} if speeds is None else speeds

    def highest(what: str, measured: float) -> float:
        key = _name_speed(what, device, precision)
        speeds[key] = max(measured, speeds.get(key, 0.0))
        return speeds[key]

    def plan_of(config: TrainConfig, speed: float = 1.0, seconds: float | None = None) -> Plan:
        if sizes is not None:
            return make_task_plan(config, sizes, speed, seconds)
        records = len(corpus.train_records or ())
        return make_plan(
            config,
            vocab_size,
            tokens,
            speed,
            seconds,
            corpus.label_count,
            records,
            has_teachers=has_teachers,
        )

    if (count := config.parameter_count) is not None:  # the size is given, in other words

        def sized(units: int) -> TrainConfig:
            return replace(config, parameters=None, hidden_size=units)

        def parameters_of(units: int) -> int:  # a table of n-grams would leave no room for units
            return plan_of(sized(units)).model.num_dense_parameters

        config = sized(size_for_parameters(count, parameters_of))
    elif device.type == "cuda" and sizes is None and config.budget_seconds is None:
        config = embed_for_gpu(config, plan_of(config).model)

    plan = plan_of(config)
    if config.length_changes and not is_resumed:  # as in the run that is repeated, they come later
        plan = replace(plan, total_steps=None, eval_every=config.eval_every)
    if not is_resumed and config.budget_seconds is not None:
        if device.type == "cuda" and sizes is None:
            gpu = measure_gpu(device, precision)
            rate = highest("products", gpu.flop_per_second)
            together = replace(gpu, flop_per_second=rate * world.world_size)
            config = size_for_gpu(config, together, vocab_size, tokens, has_teachers=has_teachers)
        is_sized = config.hidden_size is not None
        speed = 1.0
        if not is_sized:
            # The file of speeds may hold anything: clamped like a measured one.
            known = min(highest("layer", measure_speed(device, precision)), _MOST)
            speed = known * world.world_size
        plan = plan_of(config, speed)
        # Dropout, and the lanes that read the text, depend on how often it will be read.
        if config.dropout is None or (has_teachers and config.written_lanes is None):
            seconds = measure_step(shard_of(plan, world), config, corpus, device, precision)
            seconds *= _WRITING if has_teachers else 1.0
            plan = plan_of(config, speed, seconds)
    return check_shard(plan_from_json(world.broadcast(asdict(plan))), world)


def plan_from_json(values: dict[str, Any]) -> Plan:
    """Return the plan that `asdict` made plain values of."""
    return Plan(**values | {"model": ModelConfig(**values["model"])})


def check_shard(plan: Plan, world: World) -> Plan:
    """Return the plan if each process has a lane.

    Raises:
        ConfigError: one has none.
    """
    if plan.batch_size < world.world_size:
        raise ConfigError(
            f"{counted(plan.batch_size, 'lane')} cannot be shared out among {world.world_size} "
            f"processes; give --batch-size {world.world_size} or more, or start fewer"
        )
    return plan


def check_same(corpus: Corpus, config: TrainConfig, resume: Snapshot | None, world: World) -> None:
    """Refuse processes that were given different things.

    Raises:
        ConfigError: text, a setting or the state to continue from is not the main process's.
    """
    step = None if resume is None else resume.step
    own = {"the text": corpus.sha256, "the step to continue from": step} | asdict(config)
    del own["threads"]  # machines may have more or fewer
    for what, value in world.broadcast(own).items():
        if value != own[what]:
            raise ConfigError(
                f"{what} of process {world.rank} differs from process 0's: {own[what]!r} is not "
                f"{value!r}; give all the same command, and folders with the same files"
            )


def length_of(config: TrainConfig) -> list[float | str | None]:
    """Return the settings that say how long to train, for comparison."""
    return [getattr(config, name) for name in LENGTHS]


def resumed_plan(snapshot: Snapshot, fresh: Plan, config: TrainConfig) -> Plan:
    """Return a resumed run's plan: its own, or with a new length where another is asked for."""
    progress = snapshot.progress
    plan = Plan(model=snapshot.model, **progress["plan"])
    plan = replace(plan, learning_rate=config.learning_rate or plan.learning_rate)
    if progress["length"] == length_of(config):
        return replace(plan, eval_every=config.eval_every or plan.eval_every)
    if config.budget_seconds is None:
        return replace(plan, total_steps=fresh.total_steps, eval_every=fresh.eval_every)
    if plan.eval_every is None:  # stopped before its speed was known
        return replace(plan, total_steps=None, eval_every=config.eval_every)
    share = config.budget_seconds / max(progress["elapsed_seconds"], 1e-9)
    total = max(snapshot.step + 1, round(snapshot.step * share))  # corrected on the way
    spacing = max(plan.eval_every, -(-total // EVALUATIONS))
    return replace(plan, total_steps=total, eval_every=config.eval_every or spacing)


# ── measurements ──


def machine_speed(config: TrainConfig, speeds: MutableMapping[str, float]) -> float:
    """Return how many times as fast as the reference machine this one trains, by this config.

    speeds: as for `choose_plan`; what is known is not measured again.

    Raises:
        ConfigError: the device is missing, or does not support the precision.
    """
    with deterministic_algorithms(config):  # which CUDA is told of before it starts
        configure_torch(config)
        device = choose_device(config.device)
        precision = choose_precision(config.precision, device)
        key = _name_speed("layer", device, precision)
        if key not in speeds:
            speeds[key] = measure_speed(device, precision)
    return min(speeds[key], _MOST)


def _name_speed(what: str, device: torch.device, precision: torch.dtype) -> str:
    """Return the name of a speed in the file of speeds."""
    is_gpu = device.type == "cuda" and torch.cuda.is_available()
    place = torch.cuda.get_device_name(device) if is_gpu else device.type
    return f"{what}, {place}, {PRECISIONS[precision]}, {torch.get_num_threads()} threads"


def measure_speed(device: torch.device, precision: torch.dtype) -> float:
    """Return how many times as fast as the reference machine `device` trains: 1/16 to 256.

    The quickest of many passes counts, by one thread too: beside other work on the machine, threads
    that wait for each other seldom run at the same time.
    """
    with torch.random.fork_rng(devices=[]):
        layer = RecurrentLayer(ModelConfig(hidden_size=_HIDDEN_SIZE), _INPUT_SIZE).to(device)
    inputs = torch.ones(_SEQ_LEN, _BATCH_SIZE, _INPUT_SIZE, device=device)
    threads = torch.get_num_threads()
    seconds = _quickest_pass(layer, inputs, precision)
    if device.type == "cpu" and threads > 1:
        try:
            torch.set_num_threads(1)
            seconds = min(seconds, _quickest_pass(layer, inputs, precision))
        finally:
            torch.set_num_threads(threads)
    return min(max(_REFERENCE_SECONDS / seconds, _LEAST), _MOST)


def _quickest_pass(layer: RecurrentLayer, inputs: torch.Tensor, precision: torch.dtype) -> float:
    ends = time.perf_counter() + _MEASURING_SECONDS
    seconds = math.inf
    for number in range(_MOST_PASSES):
        if number > _ROUNDS and time.perf_counter() > ends:
            break
        seconds = min(seconds, _pass_seconds(layer, inputs, precision))
    return seconds


def _pass_seconds(layer: RecurrentLayer, inputs: torch.Tensor, precision: torch.dtype) -> float:
    began = time.perf_counter()
    try:
        with autocast(inputs.device, precision):
            outputs, _ = layer(inputs, layer.initial_state(_BATCH_SIZE))
    except RuntimeError as error:  # as in a run, which then continues in float32
        if not lacks_kernel(error):
            raise
        outputs, _ = layer(inputs, layer.initial_state(_BATCH_SIZE))
    outputs.float().sum().backward()
    _wait_for(inputs.device)
    return time.perf_counter() - began


def measure_step(
    plan: Plan, config: TrainConfig, corpus: Corpus, device: torch.device, precision: torch.dtype
) -> float:
    """Return the mean seconds of a step of this run, by a trainer that is thrown away.

    It takes about a hundredth of the time allowed, so a large network makes fewer steps. Of several
    rounds the fastest counts: other work on the machine comes and goes.
    """
    assert config.budget_seconds is not None
    # A part of the text has fewer n-grams, so the step is a little cheaper; but they are chosen
    # sooner.
    part = corpus.train[:_NGRAM_TOKENS]
    plan = replace(plan, written_lanes=0)  # writing would begin with a whole block
    trainer = Trainer(plan, config, corpus, device, precision, ngram_text=part)
    began = time.perf_counter()
    ends: list[float] = []
    while len(ends) < _SKIPPED_STEPS + _MOST_STEP_ROUNDS * _STEPS:
        trainer.advance(None)
        _wait_for(device)
        ends.append(time.perf_counter())
        if len(ends) > 1 and ends[-1] - began > _STEPS_SHARE * config.budget_seconds:
            break
    skipped = min(_SKIPPED_STEPS, len(ends) - 1)
    ends = ends[skipped - 1 :]
    if len(ends) <= _STEPS:
        return (ends[-1] - ends[0]) / (len(ends) - 1)
    rounds = ends[::_STEPS]
    return min(after - before for before, after in pairwise(rounds)) / _STEPS


def _wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


# ── sizes for a GPU ──


@dataclass(frozen=True)
class Gpu:
    """What one GPU, or several that train together, can do.

    flop_per_second: in large products of the number format that trains. memory_bytes: free on each.
    has_persistent_kernel: PyTorch takes cuDNN's persistent kernel there.
    """

    flop_per_second: float
    memory_bytes: int
    has_persistent_kernel: bool = True


def measure_gpu(device: torch.device, precision: torch.dtype) -> Gpu:
    """Return the rate of large products on a GPU, the best of a few, and its free memory."""
    square = torch.ones(_LARGE, _LARGE, device=device).to(precision)
    seconds = []
    for _ in range(1 + _ROUNDS):  # the first one loads the kernel
        began = time.perf_counter()
        torch.mm(square, square)
        _wait_for(device)
        seconds.append(time.perf_counter() - began)
    rate = 2 * _LARGE**3 / min(seconds[1:])
    return Gpu(rate, free_bytes(device), takes_persistent_kernel(device))


def takes_persistent_kernel(device: torch.device) -> bool:
    """Return whether PyTorch takes cuDNN's persistent kernel on this GPU, for any sizes."""
    if device.type != "cuda":
        return False
    found = torch.cuda.get_device_properties(device)
    if found.major == 7:  # Volta has it, Turing not
        return bool(found.minor != 5)
    return bool(found.major >= 8 and found.minor != 6 and found.multi_processor_count >= 98)


def suits_persistent_kernel(config: TrainConfig) -> bool:
    """Return whether layers of this cell and number format run in it, if their sizes allow."""
    return config.cell != "gru" and config.precision in ("auto", "fp16")


def embed_for_gpu(config: TrainConfig, model: ModelConfig) -> TrainConfig:
    """Return `config` with the embedding size of `model`, rounded up to what the kernel takes.

    It stays open where the hidden size alone rules the persistent kernel out.
    """
    is_excluded = model.hidden_size % _PERSISTENT_STEP or model.hidden_size > _PERSISTENT_UNITS
    if config.embedding_size is not None or is_excluded or not suits_persistent_kernel(config):
        return config
    steps = -(-model.embedding_size // _PERSISTENT_STEP)
    return replace(config, embedding_size=steps * _PERSISTENT_STEP)


def size_for_gpu(
    config: TrainConfig,
    gpu: Gpu,
    vocab_size: int,
    train_tokens: int,
    *,
    has_teachers: bool = False,
) -> TrainConfig:
    """Return `config` with units, lanes and an embedding for a GPU, where it leaves them open.

    A recurrent layer makes one product after another. So it gets as many lanes as go into a product
    for nothing, and a network that grows with the fourth root of the operations that the time
    allows: the curve that plan.py's rules follow on a CPU. Beyond those it is not measured. Where
    there is a persistent kernel, sizes stay within it.
    """
    is_persistent = gpu.has_persistent_kernel and suits_persistent_kernel(config)

    def sized(hidden_size: int, batch_size: int | None) -> TrainConfig:
        open_embedding = replace(config, hidden_size=hidden_size, batch_size=batch_size)
        plan = make_plan(open_embedding, vocab_size, train_tokens)
        return embed_for_gpu(open_embedding, plan.model)

    def is_fitting(hidden_size: int, batch_size: int) -> bool:
        plan = make_plan(sized(hidden_size, batch_size), vocab_size, train_tokens)
        return training_bytes(plan, is_dense=True) <= _MEMORY_SHARE * gpu.memory_bytes

    usual = make_plan(config, vocab_size, train_tokens)
    most_units = _PERSISTENT_UNITS if is_persistent else _MOST_UNITS
    kind = "teachers" if has_teachers else kind_of_run(config, train_tokens)
    by_text = size_for_text(train_tokens, most_units, kind)
    units = config.hidden_size or min(_units_for(config, gpu), by_text)
    sizes = range(_UNIT_STEP, int(units) + 1, _UNIT_STEP) or [int(units)]
    fitting = [size for size in sizes if is_fitting(size, usual.batch_size)]
    hidden = config.hidden_size or max(fitting, default=sizes[0])

    # Lanes: doubled while their product costs no more than its launch, and the text has enough.
    flop_per_lane = 2 * GATES[config.cell] * units**2
    in_a_launch = gpu.flop_per_second * _LAUNCH_SECONDS / flop_per_lane
    in_text = train_tokens / (usual.seq_len * _WINDOWS_WANTED)
    most_lanes = _PERSISTENT_LANES if is_persistent and hidden <= most_units else _MOST_LANES
    most = min(in_a_launch, in_text, most_lanes)
    doublings = takewhile(lambda n: n <= most, (usual.batch_size << n for n in count()))
    lanes = max((n for n in doublings if is_fitting(hidden, n)), default=None)
    return sized(hidden, config.batch_size or lanes)


def _units_for(config: TrainConfig, gpu: Gpu) -> float:
    """Return the units that the time is for, at least one step of them."""
    assert config.budget_seconds is not None
    flop = _USED_SHARE * gpu.flop_per_second * config.budget_seconds
    units: float = _UNITS * (flop / _FLOP) ** 0.25
    return min(max(units, _UNIT_STEP), _MOST_UNITS)
