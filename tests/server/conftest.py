"""A server in this process, with tiny models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from charrnn.config.serve import ServeConfig
from charrnn.server.server import Server
from tests.server.asking import Asker
from tests.server.tiny_models import make_files, write_runs


@pytest.fixture(scope="session")
def tiny_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of checkpoints of the tiny models."""
    return write_runs(tmp_path_factory.mktemp("tiny") / "checkpoints")


@pytest.fixture(scope="module")
def tiny_server(tiny_runs: Path) -> Iterator[Server]:
    """A server of all of them; the first one is book."""
    config = ServeConfig(port=0, role_template="{role}: {content}\n", max_chars=100_000)
    with Server([*make_files()], config, tiny_runs) as server:
        yield server


@pytest.fixture
def ask(tiny_server: Server) -> Asker:
    """Return what asks it."""
    return Asker(tiny_server.url)
