"""What is captured and when, and that CUDA is asked for a graph as PyTorch's notes have it.

Stand-ins note what they are asked: on a GPU nothing of this has run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from charrnn.model.cuda_graph import CaptureError, CudaGraphs, GraphRunner
from tests.training.cpu_graphs import CpuGraphs

CPU = torch.device("cpu")


def test_without_a_backend_or_a_kind_an_action_runs_eagerly() -> None:
    graphs, done = CpuGraphs(CPU, torch.Generator()), []
    for runner, kind in ((GraphRunner(None), 1), (GraphRunner(graphs), None)):
        for _ in range(9):
            runner.run(kind, lambda: done.append(1))

    assert (len(done), graphs.replays) == (18, 0)


def test_after_one_capture_failed_no_other_is_tried() -> None:
    runner, done = GraphRunner(CpuGraphs(CPU, torch.Generator())), []

    def fail() -> None:
        done.append(1)
        torch.ones(1).item()

    for _ in range(3):
        runner.run("a", fail)
    with pytest.raises(CaptureError, match="_local_scalar_dense is not permitted"):
        runner.run("a", fail)
    runner.run("b", fail)
    assert len(done) == 5


class CudaCalls:
    """Stands in for what torch.cuda has: notes what is called, in order; has the stream `now`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.noted: list[str] = []
        self.now, self.is_refusing = "usual", False
        stand_ins = {
            "Stream": lambda _: self._make_stream("aside"),
            "current_stream": lambda _: self._make_stream(self.now),
            "graph_pool_handle": lambda: "pool",
            "stream": self._stream,
            "CUDAGraph": self._make_graph,
            "graph": self._graph,
        }
        for name, stand_in in stand_ins.items():
            monkeypatch.setattr(torch.cuda, name, stand_in)

    def _make_stream(self, name: str) -> SimpleNamespace:
        note = self.noted.append
        return SimpleNamespace(
            name=name, wait_stream=lambda other: note(f"{name} waits for {other.name}")
        )

    @contextmanager
    def _stream(self, stream: SimpleNamespace) -> Iterator[None]:
        before, self.now = self.now, stream.name
        try:
            yield
        finally:
            self.now = before

    def _make_graph(self) -> SimpleNamespace:
        return SimpleNamespace(
            register_generator_state=lambda generator: self.noted.append(f"registers {generator}"),
            replay=lambda: self.noted.append(f"replays on {self.now}"),
        )

    @contextmanager
    def _graph(self, _: object, pool: str, stream: SimpleNamespace) -> Iterator[None]:
        self.now = stream.name  # as torch's own, which leaves it there after an error
        yield
        self.noted.append(f"recorded with {pool}")
        if self.is_refusing:
            raise RuntimeError("operation not permitted\nwhen stream is capturing")
        self.now = "usual"


def test_a_cuda_graph_is_made_as_torch_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = CudaCalls(monkeypatch)
    runner: Any = GraphRunner(CudaGraphs(torch.device("cuda"), "generator"))  # type: ignore[arg-type]
    for _ in range(5):
        runner.run("step", lambda: calls.noted.append(f"does it on {calls.now}"))

    aside = ["aside waits for usual", "does it on aside", "usual waits for aside"]
    recording = ["registers generator", "does it on aside", "recorded with pool"]
    assert calls.noted == [*(aside * 3), *recording, "replays on usual", "replays on usual"]


def test_a_graph_that_is_refused_leaves_the_stream_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = CudaCalls(monkeypatch)
    calls.is_refusing = True
    runner = GraphRunner(CudaGraphs(torch.device("cuda"), torch.Generator()))
    for _ in range(3):
        runner.run("step", lambda: None)

    with pytest.raises(CaptureError, match=r"^operation not permitted$"):
        runner.run("step", lambda: None)
    assert calls.now == "usual"
