"""A network in training, and its place in the text: one `advance` reads a window and updates it.

`step.py` makes the update; here are the windows, the lane states between them, the results that
were not read from a GPU yet, and all that a checkpoint needs to continue exactly here.

B = lanes, T = window length, H = hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from charrnn.config import ModelConfig, TrainConfig
from charrnn.data.corpus import Corpus
from charrnn.model.classifier import Classifier
from charrnn.model.cuda_graph import CaptureError, CudaGraphs, GraphRunner
from charrnn.model.device import is_asynchronous
from charrnn.model.encoder import Network
from charrnn.model.network import (
    CharRNN,
    State,
    load_numpy_state_dict,
    numpy_state_dict,
    public_name,
)
from charrnn.model.ngrams import NGrams
from charrnn.model.seq2seq import Seq2Seq
from charrnn.model.tagger import Tagger
from charrnn.state import Arrays, iter_arrays, map_state, select_rows
from charrnn.text.ngrams import (
    NO_CHECK,
    RowCounts,
    add_ngrams,
    count_known,
    find_ngrams,
    place_ngrams,
)
from charrnn.text.vocab import Ids
from charrnn.training.batches import Batches, Cursor, Lanes, Window
from charrnn.training.distillation import WrittenText, join
from charrnn.training.groups import Groups
from charrnn.training.memory import choose_micro_batches
from charrnn.training.optimizer import Schedule, ema_weight_at
from charrnn.training.plan import Plan
from charrnn.training.record_batches import RecordBatches, records_of
from charrnn.training.record_lanes import RecordLanes
from charrnn.training.step import TrainStep
from charrnn.training.world import SINGLE_PROCESS, World

_SEED_STRIDE = 1_000_003  # keeps the dropout seeds of neighbouring run seeds apart
_RANK_STRIDE = 1_000_000_007_000_003  # and those of a run's processes
_MOST_PENDING = 32  # steps


@dataclass(frozen=True)
class StepResult:
    """The result of one step: the window at `cursor`, its loss in nats and its characters.

    is_finite: false where loss or gradient were not finite, so that no weight moved. is_split:
    memory ran short in this step, which raised micro_batches. capture_error: why steps are no
    longer captured as CUDA graphs, if this one could not be.
    """

    step: int
    cursor: Cursor
    loss_sum: float
    grad_norm: float
    chars: int
    is_finite: bool
    micro_batches: int
    is_split: bool = False
    capture_error: str = ""


@dataclass(frozen=True)
class StaticBuffers:
    """Preallocated inputs and outputs of a step, as CUDA graphs need them.

    window: as a step reads it. state: (B, H) for each layer and part. figures: TrainStep's (5,).
    """

    window: Window
    learning_rate: Tensor
    ema_weight: Tensor
    state: State
    figures: Tensor

    @staticmethod
    def like(state: State, window: Window) -> StaticBuffers:
        """Return buffers for a state and windows like these."""
        first: Tensor = next(iter_arrays(state))
        parts = window.map(torch.zeros_like)
        own = map_state(lambda part: part.detach().clone(), state)
        rates = (first.new_zeros(()), first.new_zeros(()))
        return StaticBuffers(parts, *rates, own, first.new_zeros(5))

    def fill(self, window: Window, learning_rate: float, ema: float) -> None:
        """Write the arguments of the next step."""
        for buffer, part in zip(self.window, window, strict=True):
            if buffer is not None:
                buffer.copy_(part)
        self.learning_rate.fill_(learning_rate)
        self.ema_weight.fill_(ema)


class PendingResults:
    """Results that are not read from the device yet.

    Reading one waits for the device, so 32 are read together. At the beginning, and after a step
    that changed no weight, fewer are, so that problems are seen early. On a device that is not
    asynchronous each result is read at once.
    """

    def __init__(self, *, is_async: bool) -> None:
        self._limit = _MOST_PENDING if is_async else 1
        self._most = 1
        self._figures: list[Tensor] = []
        self._known: list[StepResult] = []

    def add(self, figures: Tensor, known: StepResult) -> bool:
        """Keep a step's figures (5,) and what the host knows of it; return whether to read."""
        self._figures.append(figures.clone())
        self._known.append(known)
        return len(self._figures) >= self._most

    def read(self) -> tuple[list[StepResult], int]:
        """Return the results, oldest first, and how many of them moved no weight; clear them."""
        if not self._figures:
            return [], 0
        rows = torch.stack(self._figures).tolist()  # waits for the device
        results = []
        unmoved = 0
        for known, (loss, norm, is_finite, is_applied, _) in zip(self._known, rows, strict=True):
            known = replace(known, loss_sum=loss, grad_norm=norm, is_finite=bool(is_finite))
            results.append(known)
            unmoved += not is_applied
        self._figures = []
        self._known = []
        self._most = 1 if unmoved else min(2 * self._most, self._limit)
        return results, unmoved

    def clear(self) -> None:
        """Drop what was not read: the run goes back to before it."""
        self._figures = []
        self._known = []
        self._most = 1


class Trainer:
    """Trains one network on one text; `step` counts the windows read, `cursor` is the next one.

    rate_factor: multiplies every learning rate. row_counts: how n-grams of the text found rows;
    None without n-grams.
    """

    def __init__(
        self,
        plan: Plan,
        config: TrainConfig,
        corpus: Corpus,
        device: torch.device,
        precision: torch.dtype,
        initial: Callable[[Arrays], Arrays] | None = None,
        world: World = SINGLE_PROCESS,
        ngram_text: Ids | None = None,
        teachers: Sequence[CharRNN] = (),
    ) -> None:
        """Make the network and try one window, to find what fits into memory.

        initial: turns the random weights of a new network into those to start from. ngram_text: the
        tokens that n-grams are chosen from, none where weights with their own n-grams are loaded
        next; None is the training text. teachers: on this device; part of the lanes read what they
        write.
        """
        micro_batches = choose_micro_batches(shard_of(plan, world), device, world.local_size)
        self.model = make_model(plan, config.seed)
        if initial is not None:
            load_numpy_state_dict(self.model, initial(numpy_state_dict(self.model)))
        self.row_counts: RowCounts | None = None
        if isinstance(self.model, CharRNN) and self.model.ngrams is not None:
            text = corpus.train if ngram_text is None else ngram_text
            end = plan.model.vocab_size - 1 if plan.model.has_end else None
            self.row_counts = fill_ngrams(self.model.ngrams, text, end)
            decay = plan.ngram_decay(config, len(corpus.train))
            config = replace(config, weight_decay_ngrams=decay)
        self.step = 0
        self.learning_rate = 0.0
        self.rate_factor = 1.0
        self._config = config
        self._peak = plan.learning_rate
        self._schedule = Schedule(self._peak, config)
        self._world = world
        self._own = world.shard(plan.batch_size)
        written = plan.written_lanes
        self._lanes = make_lanes(
            corpus, replace(plan, batch_size=plan.batch_size - written), config
        )
        self._batch_size = plan.batch_size
        self._written: WrittenText | None = None
        if written:
            self._written = WrittenText(
                teachers, corpus.train, written, plan.seq_len, config.seed, precision
            )
        self._batches = Batches(self._lanes, corpus.vocab, device)
        self.cursor = Cursor()
        # Batches of whole records differ in size, and buffers do not.
        is_async = is_asynchronous(device) and not self._lanes.has_whole_records
        self._graphs = GraphRunner(None)
        self.update = TrainStep(
            self.model.to(device),
            config,
            precision,
            targets_per_step(self._lanes) + written * plan.seq_len,
            self._graphs,
            world,
            is_async=is_async,
        )
        if config.cuda_graph:
            self._graphs.backend = CudaGraphs(device, self.update.dropout)
        self._pending = PendingResults(is_async=is_async)
        self._state: State | None = None
        self.update.set_micro_batches(micro_batches)
        window, _ = self._batches.read(self.cursor)
        if self._written is not None:
            window = join(window, self._written.blank())
        window = window.select(self._own)
        # Only a device that runs ahead needs them: a CPU takes a step's arguments as they are.
        self._buffers: StaticBuffers | None = None
        if is_async:
            self._buffers = StaticBuffers.like(self._initial_state(), window)
        self.update.dry_run(window)
        if self._written is not None:  # the kernels that there are
            self._written.precision = self.update.precision

    def advance(self, total_steps: int | None, *, is_measured: bool = False) -> list[StepResult]:
        """Read a window and make one update; return the results that are known by now.

        is_measured: measure the norms of groups of weights at this update, for `read_groups`.

        That is this step's; where the device runs ahead of the host, none until several are
        pending. After a step that is not finite the next window starts from the initial state, as
        the one it left may be what went wrong.
        """
        # The window, and the rates of this step.
        window, chars = self._batches.read(self.cursor)
        if self._written is not None:
            written = self._written.read(self.step)
            window = join(window, written)
            chars += self._batches.count_characters(written.targets)
        if self._world.world_size > 1:
            window = window.select(self._own)
        if total_steps != self._schedule.total_steps:
            self._schedule.change_length(self.step, total_steps)
        self.learning_rate = self.rate_factor * self._schedule.rate_at(self.step)
        ema_weight = ema_weight_at(self._config.ema_decay, self.step + 1)
        self._seed_dropout()

        # The update: at once, or into the buffers, from where it is read later.
        micro_batches = self.update.micro_batches
        error = ""
        after: State | None
        if self._buffers is None:
            figures, after = self.update(
                window, self._state, self.learning_rate, ema_weight, is_measured=is_measured
            )
            after = after if figures[4] else None
        else:
            self._buffers.fill(window, self.learning_rate, ema_weight)
            error = self._update_buffers(self._state, is_measured=is_measured)
            figures, after = self._buffers.figures, self._buffers.state
        is_split = self.update.micro_batches != micro_batches
        micro_batches = self.update.micro_batches
        known = StepResult(
            self.step + 1, self.cursor, 0.0, 0.0, chars, True, micro_batches, is_split, error
        )
        must_read = self._pending.add(figures, known)

        # On to the next window; a new epoch of a running text starts from the initial state.
        before = self.cursor
        self.cursor = self._lanes.next(before)
        is_carried = self._lanes.is_endless or self.cursor.epoch == before.epoch
        self._state = after if is_carried else None
        self.step += 1
        return self.flush() if must_read else []

    def flush(self) -> list[StepResult]:
        """Wait for the device; return the results of every step not reported yet."""
        results, unmoved = self._pending.read()
        if self._buffers is not None:  # the host counted on them
            self.update.optimizer.count_updates(-unmoved)
        return results

    def read_groups(self) -> Groups:
        """Return the norms of groups of weights at the step measured last; {} if none was."""
        return self.update.group_norms.read()

    def _update_buffers(self, state: State | None, *, is_measured: bool) -> str:
        """Make the step that the buffers describe; return why it was not captured, if it failed.

        A step from the initial state, which may be learned, is too rare to be captured, and so is
        one that is measured.
        """
        is_rare = state is None or is_measured
        kind = None if is_rare else self.update.optimizer.is_muon_due
        error = ""
        try:
            self._graphs.run(kind, lambda: self._step_in_place(state, is_measured=is_measured))
        except CaptureError as failure:
            error = str(failure)
            self.update.abandon()
            self._seed_dropout()
            self._step_in_place(state, is_measured=is_measured)
        self.update.optimizer.count_updates(1)
        return error

    def _step_in_place(self, state: State | None, *, is_measured: bool) -> None:
        """Update from the buffers, and leave figures and next state there.

        The host is not asked for anything in here, so a captured graph stays true. A learned
        initial state learns nothing from a window that starts from it after a failed one.
        """
        buffers = self._buffers
        assert buffers is not None
        rates = (buffers.learning_rate, buffers.ema_weight)
        figures, after = self.update(buffers.window, state, *rates, is_measured=is_measured)
        is_carried = figures[4] > 0
        with torch.no_grad():
            initial = self._initial_state()
            carried = map_state(lambda a, b: torch.where(is_carried, a, b), after, initial)
            map_state(lambda own, part: own.copy_(part), buffers.state, carried)
            buffers.figures.copy_(figures)

    def _seed_dropout(self) -> None:
        """Let the masks of a step depend on its number and on nothing before it."""
        seed = self._config.seed * _SEED_STRIDE + self._world.rank * _RANK_STRIDE + self.step
        self.update.dropout.manual_seed(seed % 2**63)

    def _initial_state(self) -> State:
        return self.model.initial_state(self._own.stop - self._own.start)

    # ── properties ──

    @property
    def micro_batches(self) -> int:
        """The parts in which the lanes of a window are read, to need less memory."""
        return self.update.micro_batches

    @property
    def averaged(self) -> Network:
        """The network with averaged weights: the one to evaluate and to keep."""
        return self.update.averaged

    @property
    def epoch(self) -> float:
        """How many times the text was read, with its fraction."""
        return self.epoch_at(self.cursor)

    def epoch_at(self, cursor: Cursor) -> float:
        """Return the epoch of a window, with its fraction."""
        return cursor.epoch + cursor.window / self._lanes.windows_in(cursor.epoch)

    def position_of(self, cursor: Cursor) -> tuple[int, int]:
        """Return where the window starts in the first lane, and how many tokens a lane has."""
        return self._lanes.position(cursor)

    @property
    def state_bytes(self) -> int:
        """The size of `state_dict`'s arrays without the lane states."""
        moving = sum(tensor.numel() for tensor in self._moving_tensors().values())
        return 4 * (moving + sum(parameter.numel() for parameter in self.model.parameters()))

    # ── checkpoints ──

    def state_dict(self) -> tuple[Arrays, Arrays, dict[str, Any]]:
        """Return copies of the weights, of the other arrays, and of the rest as JSON values."""
        arrays = {
            name: tensor.detach().cpu().numpy().copy()
            for name, tensor in self._moving_tensors().items()
        }
        for depth, layer in enumerate(self._state or ()):
            for part, tensor in enumerate(layer):
                lanes = self._world.all_gather(tensor, self._batch_size)
                arrays[f"state.{depth}.{part}"] = lanes.cpu().numpy().copy()
        if isinstance(self._lanes, RecordLanes):
            arrays |= self._lanes.state_dict()
        rest = {
            "step": self.step,
            "updates": self.update.optimizer.updates,
            "cursor": [self.cursor.epoch, self.cursor.window],
            "schedule": self._schedule.state_dict(),
            "scaler": self.update.scaler.state_dict(),
            "slices": self.micro_batches,  # the key of file format 1
        }
        return numpy_state_dict(self.model), arrays, rest

    @torch.no_grad()
    def load_state_dict(self, weights: Arrays, arrays: Arrays, rest: dict[str, Any]) -> None:
        """Become what `state_dict` returned.

        Raises:
            CheckpointError: a weight is missing or has another shape.
            LookupError, TypeError, ValueError, RuntimeError: the same of anything else.
        """
        load_numpy_state_dict(self.model, weights)
        for name, tensor in self._moving_tensors().items():
            found = arrays[name]
            if found.shape != tensor.shape:  # torch would repeat a smaller one
                raise ValueError(f"{name} is {found.shape}, not {tuple(tensor.shape)}")
            tensor.copy_(torch.from_numpy(found))
        self._pending.clear()
        self.step = int(rest["step"])
        self.update.optimizer.updates = int(rest["updates"])
        self.cursor = self._lanes.check(Cursor(*map(int, rest["cursor"])))
        if isinstance(self._lanes, RecordLanes):
            self._lanes.load_state_dict(self.cursor, arrays)
        if "schedule" in rest:
            self._schedule.load_state_dict(rest["schedule"])
        else:  # an older version let the rate jump
            total_steps = rest["plan"]["total_steps"]
            self._schedule = Schedule(self._peak, self._config, total_steps)
        self.update.set_micro_batches(max(self.micro_batches, int(rest["slices"])))
        if rest["scaler"]:  # empty where the run was not on a GPU before
            self.update.scaler.load_state_dict(rest["scaler"])
        self._state = self._load_lane_states(arrays)

    def _load_lane_states(self, arrays: Arrays) -> State | None:
        if "state.0.0" not in arrays:
            return None
        whole = self.model.initial_state(self._batch_size)
        for depth, layer in enumerate(whole):
            for part, expected in enumerate(layer):
                found = arrays[f"state.{depth}.{part}"]
                if found.shape != expected.shape or found.dtype != np.float32:
                    raise ValueError(f"a lane state is {found.shape}, not {tuple(expected.shape)}")
        names = iter(f"state.{d}.{p}" for d, layer in enumerate(whole) for p in range(len(layer)))
        own = map_state(lambda part: torch.from_numpy(arrays[next(names)]).to(part.device), whole)
        own = map_state(lambda part: part.clone(), select_rows(own, self._own))
        if self._buffers is None:
            return own
        map_state(lambda buffer, part: buffer.copy_(part), self._buffers.state, own)
        return self._buffers.state

    def _moving_tensors(self) -> dict[str, Tensor]:
        """Return what moves besides the weights, by its name in a file."""
        kinds = self.update.optimizer.state_dict()
        if self._config.ema_decay:
            names = self.update.optimizer.names
            kinds["average"] = dict(zip(names, self.update.averages, strict=True))
        return {f"{k}.{public_name(n)}": t for k, each in kinds.items() for n, t in each.items()}


def make_lanes(
    corpus: Corpus, plan: Plan, config: TrainConfig
) -> Lanes | RecordLanes | RecordBatches:
    """Return what reads the corpus in windows."""
    size = (plan.batch_size, plan.seq_len, config.seed)
    if plan.model.task != "text":
        whole = records_of(corpus, "train", plan.model.task, plan.seq_len)
        return RecordBatches(whole, plan.batch_size, config.seed)
    records = corpus.train_records
    if records is None:
        return Lanes(corpus.train, *size)
    return RecordLanes(corpus.train, records.ends, records.labels, *size, config.label_dropout)


def targets_per_step(lanes: Lanes | RecordLanes | RecordBatches) -> float:
    """Return how many targets a window has, on average."""
    if isinstance(lanes, RecordBatches):
        return lanes.targets_per_batch
    return lanes.batch_size * lanes.seq_len


def make_model(plan: Plan, seed: int) -> Network:
    """Return a network whose random weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # a GPU's generator stays as it is
        return NETWORKS[plan.model.task](plan.model)


def load_teachers(
    models: Sequence[tuple[ModelConfig, Arrays]], device: torch.device
) -> list[CharRNN]:
    """Return networks of text that only read, from their shapes and weights by public name."""
    teachers = []
    for config, weights in models:
        teacher = CharRNN(config)
        load_numpy_state_dict(teacher, weights)
        teachers.append(teacher.to(device).requires_grad_(False))
    return teachers


def fill_ngrams(ngrams: NGrams, ids: Ids, end: int | None) -> RowCounts:
    """Fill the rows without an n-gram with the frequent ones of a text; others keep their own.

    A new table is filled so. One that came with a model has learned its rows. end: the token that
    ends a record, None without records.
    """
    before = ngrams.check.detach().numpy().copy()
    keys = ngrams.key.detach().numpy().astype(np.int64)
    codes = find_ngrams(ids, ngrams.order, keys, end)
    after = add_ngrams(before, place_ngrams(codes, len(before)))
    ngrams.keep(after)
    return RowCounts(
        frequent=len(codes),
        taken=int((before != NO_CHECK).sum()),
        known=count_known(before, codes),
        added=int((after != before).sum()),
    )


NETWORKS: dict[str, type[Network]] = {
    "text": CharRNN,
    "classification": Classifier,
    "tagging": Tagger,
    "seq2seq": Seq2Seq,
}


def shard_of(plan: Plan, world: World) -> Plan:
    """Return the plan of what one process reads: as many lanes as the first has, or one more."""
    return replace(plan, batch_size=-(-plan.batch_size // world.world_size))
