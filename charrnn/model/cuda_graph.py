"""Steps as CUDA graphs: captured once of each kind, then replayed in a single launch.

A graph is a list of kernels with the addresses and numbers that they were given. So what is
captured takes no arguments and returns nothing: what differs from call to call is in static
buffers, and the random generator is seeded before each call.
"""

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Protocol

import torch

Action = Callable[[], None]

_WARM_UPS = 3  # of each kind, in which torch and cuDNN allocate what they keep


class CaptureError(Exception):
    """An action could not be captured, and did not run."""


class GraphBackend(Protocol):
    """What captures on a device: CUDA, or the tests' stand-in for a CPU."""

    def warm_up(self, action: Action) -> None:
        """Run an action on the stream that captures."""

    def capture(self, action: Action) -> Action:
        """Return what replays an action, without running it."""


class GraphRunner:
    """Runs actions, by a captured graph where there is one; without a backend, eagerly."""

    def __init__(self, backend: GraphBackend | None) -> None:
        self.backend = backend
        self.is_capturing = False
        self._warm_ups: Counter[Hashable] = Counter()
        self._replays: dict[Hashable, Action] = {}

    def run(self, kind: Hashable, action: Action) -> None:
        """Run an action that makes the same calls as all others of its kind; None means no kind.

        Raises:
            CaptureError: it did not run; from here on, actions run eagerly.
        """
        if self.backend is None or kind is None:
            action()
        elif kind in self._replays:
            self._replays[kind]()
        elif self._warm_ups[kind] < _WARM_UPS:
            self._warm_ups[kind] += 1
            self.backend.warm_up(action)
        else:
            self._replays[kind] = self._capture(self.backend, action)
            self._replays[kind]()

    def _capture(self, backend: GraphBackend, action: Action) -> Action:
        self.is_capturing = True
        try:
            return backend.capture(action)
        except (MemoryError, RuntimeError) as error:
            self.backend = None
            self.clear()
            reason = str(error).partition("\n")[0] or "not enough memory"
            raise CaptureError(reason) from error
        finally:
            self.is_capturing = False

    def clear(self) -> None:
        """Drop the graphs: they no longer match the step."""
        self._replays.clear()


class CudaGraphs:
    """Captures CUDA graphs, as PyTorch's notes on them ask (docs.pytorch.org, CUDA semantics).

    generator: the one that the actions sample from, if they do; a replay takes the seed that it has
    then.
    """

    def __init__(self, device: torch.device, generator: torch.Generator | None = None) -> None:
        self._device = device
        self._generator = generator
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def warm_up(self, action: Action) -> None:
        """Run an action on the stream that captures, between what came before and what follows."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            action()
        current.wait_stream(self._stream)

    def capture(self, action: Action) -> Action:
        """Return what launches the graph of an action.

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
