"""How a process joins those that torchrun started beside it; alone, it loads no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from charrnn.errors import ConfigError, ProcessLostError
from charrnn.training.world import SINGLE_PROCESS, World


@contextmanager
def init_world(environment: Mapping[str, str] = os.environ) -> Iterator[World]:
    """Yield the processes that were started together, connected; alone without torchrun.

    Raises:
        ConfigError: a variable of the environment is missing.
        ProcessLostError: the others did not connect.
    """
    if not {"RANK", "WORLD_SIZE"} <= environment.keys() or environment["WORLD_SIZE"] == "1":
        yield SINGLE_PROCESS
        return
    from charrnn.training.distributed import connect, disconnect

    try:
        world = connect(
            int(environment.get("LOCAL_RANK", environment["RANK"])),
            int(environment.get("LOCAL_WORLD_SIZE", "1")),
            environment.get("TORCHELASTIC_RESTART_COUNT", "0"),
        )
    except ValueError as error:
        raise ConfigError(
            f"RANK and WORLD_SIZE are set, as by torchrun, but not all that goes with them "
            f"({error}); start with torchrun, or unset both"
        ) from error
    except ProcessLostError as error:
        raise ProcessLostError(
            "the other processes of this training did not connect; if they are on other machines, "
            "give torchrun --local-addr with this one's address in their network, and set "
            "GLOO_SOCKET_IFNAME to the device that has it"
        ) from error
    try:
        yield world
    finally:
        disconnect()
