"""Kill one of several training processes at any moment: the others end, and the run goes on."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from charrnn.checkpoint.run_folder import RunFolder
from charrnn.errors import ProcessLostError
from tests.training.processes import start_together, wait_for

LONGEST_LIFE_SECONDS = 0.5
PROMPT_SECONDS = 30
SMALL = "--threads 1 --hidden-size 8 --batch-size 6 --seq-len 8"
SMALL += " --steps 1000000 --eval-every 50 --patience 0"

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")


def test_any_of_several_processes_killed_at_any_moment_ends_the_others_and_loses_no_save(
    tmp_path: Path, times: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    random, run, text = Random(5), RunFolder(tmp_path / "runs" / "mine"), tmp_path / "text.txt"
    text.write_text("to be or not to be\n" * 100)
    words = [str(text), "--name", "mine", "--checkpoints", str(run.path.parent), *SMALL.split()]
    step, seconds = 0, []
    for kill in range(times(1, 30)):
        number = random.choice([2, 3])
        together = start_together(number, tmp_path / str(kill), *words)
        wait_for(run.path / f"step-{step // 50 * 50 + 50}.safetensors", together)
        time.sleep(random.uniform(0, LONGEST_LIFE_SECONDS))
        seen, killed = run.step or 0, random.randrange(number)
        began = time.monotonic()
        together.processes[killed].kill()
        codes = together.wait()
        seconds.append(time.monotonic() - began)

        assert codes.pop(killed) == -signal.SIGKILL
        assert codes == [ProcessLostError.exit_code] * (number - 1)
        assert 1 <= len(together.complaints()) < number  # one, unless the store was gone by then
        model, damaged = run.read_state()
        assert model.progress is not None
        step = model.progress["step"]
        assert step >= seen
        assert damaged == []
    assert max(seconds) < PROMPT_SECONDS
    figure(f"{len(seconds)} kills in {step} steps; the others ended within {max(seconds):.2f} s")
