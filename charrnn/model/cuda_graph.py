"""Steps as CUDA graphs: recorded once of each kind, then done again in a single launch.

A recording is a list of kernels with the addresses and numbers that they were given. So what is
recorded takes nothing and gives nothing: what differs from call to call lies in tensors that stay,
and the random generator is seeded before each call. It knows nothing of networks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Protocol

import torch

Action = Callable[[], None]

_FIRST_CALLS = 3  # of each kind, in which torch and cuDNN make what they make once


class CaptureError(Exception):
    """An action could not be recorded, and was not done."""


class GraphBackend(Protocol):
    """What records on a device."""

    def do_aside(self, action: Action) -> None:
        """Do it as it is, where recordings are made."""

    def record(self, action: Action) -> Action:
        """Give what does it again; it is not done by that."""


class GraphRunner:
    """Does actions, by a recording where there is one; without a tape, as they are."""

    def __init__(self, tape: GraphBackend | None) -> None:
        self._tape = tape
        self._calls: Counter[Hashable] = Counter()
        self._recorded: dict[Hashable, Action] = {}
        self.is_recording = False

    def do(self, kind: Hashable, action: Action) -> None:
        """Do an action that comes to the same calls as all others of its kind; None is no kind.

        Raises:
            RecordingError: it was not done; from here on, actions are done as they are.
        """
        if self._tape is None or kind is None:
            action()
        elif kind in self._recorded:
            self._recorded[kind]()
        elif self._calls[kind] < _FIRST_CALLS:
            self._calls[kind] += 1
            self._tape.do_aside(action)
        else:
            self._recorded[kind] = self._record(self._tape, action)
            self._recorded[kind]()

    def _record(self, tape: GraphBackend, action: Action) -> Action:
        self.is_recording = True
        try:
            return tape.record(action)
        except (MemoryError, RuntimeError) as error:
            self._tape = None
            self.forget()
            reason = str(error).partition("\n")[0] or "not enough memory"
            raise CaptureError(reason) from error
        finally:
            self.is_recording = False

    def forget(self) -> None:
        """Drop the recordings: what they did is done otherwise from here on."""
        self._recorded.clear()


class CudaGraphs:
    """Records CUDA graphs, as PyTorch's notes on them ask (docs.pytorch.org, CUDA semantics).

    generator: the one that the actions draw from, if they do. A replay takes the seed that it has
    then.
    """

    def __init__(self, device: torch.device, generator: torch.Generator | None = None) -> None:
        self._device, self._generator = device, generator
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def do_aside(self, action: Action) -> None:
        """Do it on the stream that records, between what came before and what comes after."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            action()
        current.wait_stream(self._stream)

    def record(self, action: Action) -> Action:
        """Give what launches the graph of an action.

        Graphs share a pool of memory, as nothing that one leaves there is read afterwards. The
        outer block leaves the stream also where torch's own, after an error, does not.
        """
        graph = torch.cuda.CUDAGraph()
        if self._generator is not None:
            graph.register_generator_state(self._generator)
        with (
            torch.cuda.stream(self._stream),
            torch.cuda.graph(graph, pool=self._pool, stream=self._stream),
        ):
            action()
        return graph.replay
