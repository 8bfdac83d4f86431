"""What goes into an engine and what comes out: jobs, tickets and events; `engine.py` takes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from charrnn.config import SampleConfig
from charrnn.errors import CharRNNError
from charrnn.generation.samples import Cost
from charrnn.server.sampled_model import Resolved, SampledModel
from charrnn.server.state_cache import TextKeys
from charrnn.text.vocab import Ids


class QueueFullError(CharRNNError):
    """So many texts wait for their turn that no further one is taken."""


class ServerClosingError(CharRNNError):
    """The server ends, and with it the text."""


@dataclass(frozen=True)
class TextJob:
    """A text to sample: what `Generator.generate` takes.

    prompt: "" is the start of a record or a line. config: with its seed set. index: which sample of
    the seed. stream: which prompt of the request, from 0. logprobs: how many alternatives are named
    with each character's cost; None leaves the costs out. labels, label_strength: as `open_models`
    takes them.
    """

    prompt: str
    config: SampleConfig
    index: int = 0
    stream: int = 0
    logprobs: int | None = None
    labels: tuple[str, ...] = ()
    label_strength: float = 1.0


@dataclass(frozen=True)
class PreparedJob:
    """A job that was checked and resolved. prompt: as the model reads it."""

    model: str
    job: TextJob
    prompt: str
    served: SampledModel = field(repr=False)
    settings: Resolved = field(repr=False)
    read: Ids | None = field(repr=False)  # the ids before the text; None: nothing is known of them
    keys: TextKeys | None = field(repr=False)  # of the beginnings of these ids
    prompt_ids: Ids = field(repr=False)  # those that penalties and constraints see

    @property
    def prompt_chars(self) -> int:
        """The characters of the prompt."""
        return len(self.prompt)


@dataclass(frozen=True)
class Piece:
    """The next characters of a text, at least one; costs: of each, () where none are asked for."""

    text: str
    costs: tuple[Cost, ...] = ()


@dataclass(frozen=True)
class Ended:
    """The last event of a text.

    reason: as `StoppingCriteria` names it; "done" of other work. stop: the text of `config.stop`
    that ended it. has_end: the model ended the record; end_cost: what that cost, where costs are
    asked for.
    """

    reason: str
    stop: str | None = None
    has_end: bool = False
    end_cost: Cost | None = None


@dataclass(frozen=True)
class Failed:
    """The last event of what cannot go on."""

    error: Exception


@dataclass(frozen=True)
class Slice:
    """What other work of the engine's thread has yielded."""

    value: Any


Event = Piece | Slice | Ended | Failed


@dataclass(eq=False)
class Ticket:
    """Stands for what was submitted.

    is_ended: its last event was delivered, or none will be. is_cancelled: nobody waits for it.
    """

    id: int
    is_ended: bool = False
    is_cancelled: bool = False


News = tuple[Ticket, Event]


@dataclass(frozen=True)
class EngineStats:
    """What an engine holds now, and what it has done since it began.

    waiting: texts that have not begun; reading: whose prompt is being read; running: that are
    sampled, or other work that is done in slices. cache: of states.
    """

    waiting: int = 0
    reading: int = 0
    running: int = 0
    chars_total: int = 0
    steps_total: int = 0
    prompt_chars_total: int = 0
    ended_total: int = 0
    failed_total: int = 0
    cancelled_total: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    cache_bytes: int = 0
    cache_states: int = 0
    uptime_seconds: float = 0.0
