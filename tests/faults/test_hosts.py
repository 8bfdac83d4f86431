"""What docs/distributed.md says of torchrun: two machines, the loss of one, another try."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.cli.main import main
from tests.faults.hosts import Host, family_of, kill_whole, two_hosts
from tests.training.processes import free_port, read_curve

ROOT = Path(__file__).parents[2]
PROMPT_SECONDS, PATIENCE_SECONDS = 30, 180
STEPS, SPACING, CLOSE = 200, 20, 1e-4
SETTINGS = {"hidden_size": 8, "num_layers": 2, "batch_size": 6, "seq_len": 8, "steps": STEPS}
SETTINGS |= {"eval_every": SPACING, "threads": 1, "patience": 0}
EXACT = {"precision": "fp32", "dropout": 0.0, "learning_rate": 0.01}
OPTIONS = [f"--{k.replace('_', '-')}={value}" for k, value in (SETTINGS | EXACT).items()]

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL"),
    pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps, to find what torchrun starts"),
]


def documented_command(text: Path, runs: Path) -> list[str]:
    """Return the command for two machines that the page shows, for one small process on each."""
    page = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")
    section = page.partition("## Two machines\n")[2].partition("\n## ")[0]
    shown = re.search(r"(?:^ {4}.+\n)+", section, re.M)
    assert shown is not None
    own = {"4": "1", "book.txt": str(text), "/shared/runs": str(runs)}
    torchrun, *words = shlex.split(shown[0].replace("\\\n", " "))
    assert torchrun == "torchrun"
    assert own.keys() <= set(words)
    program = [sys.executable, "-m", "torch.distributed.run"]
    return [*program, *(own.get(word, word) for word in words), *OPTIONS]


def wait_for_save(run: RunFolder, step: int, agents: Sequence[subprocess.Popen[bytes]]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while (run.step or 0) < step:
        assert {agent.poll() for agent in agents} == {None}
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_documented_command_is_one_that_torchrun_and_train_understand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, launcher, *words = documented_command(tmp_path / "book.txt", tmp_path / "runs")
    parsed = import_module(launcher).get_args_parser().parse_args(words)

    assert (parsed.nnodes, parsed.nproc_per_node, parsed.rdzv_backend) == ("2", "1", "c10d")
    assert (parsed.module, parsed.training_script) == (True, "charrnn")
    with pytest.raises(SystemExit, match=r"^0$"):
        main([*parsed.training_script_args, "--print-config"])
    assert f'checkpoints = "{tmp_path / "runs"}"' in capsys.readouterr().out


def test_torchrun_starts_all_again_after_one_died_and_they_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_whole: bool
) -> None:
    if not is_whole:
        pytest.skip("make faults runs it")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run, text, told = RunFolder(tmp_path / "book"), tmp_path / "book.txt", tmp_path / "err"
    text.write_text("to be or not to be\n" * 100)
    launcher = ["--nproc-per-node", "2", "--max-restarts", "1", "--master-port", str(free_port())]
    words = [*launcher, "-m", "charrnn", "train", str(text), "--checkpoints", str(tmp_path)]
    words += [*OPTIONS, "--steps=2000", "--eval-every=500"]
    agent = Host().start([sys.executable, "-m", "torch.distributed.run", *words], told)
    try:
        wait_for_save(run, 500, [agent])
        os.kill(family_of(agent)[-1], signal.SIGKILL)
        assert agent.wait(PATIENCE_SECONDS) == 0
    finally:
        kill_whole(agent)
    assert run.step == 2000
    assert "continuing 'book' from step" in told.read_text()


def test_two_machines_train_as_one_process_does_and_outlive_the_loss_of_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_whole: bool,
    figure: Callable[[str], None],
) -> None:
    if not is_whole:
        pytest.skip("make faults runs it")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    runs, text = tmp_path / "runs", tmp_path / "book.txt"
    words = np.random.default_rng(3).choice(["a cat ", "the mat ", "sat on ", "and\n"], 600)
    text.write_text("".join(words)[:3000], encoding="utf-8")
    run, command = RunFolder(runs / "book"), documented_command(text, runs)
    told = [tmp_path / "first.err", tmp_path / "second.err"]

    def start(hosts: Sequence[Host]) -> list[subprocess.Popen[bytes]]:
        agents = [host.start(command, err) for host, err in zip(hosts, told, strict=True)]
        for agent in agents:
            held.callback(kill_whole, agent)
        return agents

    with two_hosts(tmp_path) as hosts, ExitStack() as held:
        seconds = {}
        for loss in ("killed", "cut off") if hosts[1].namespace else ("killed",):
            first, second = start(hosts)
            wait_for_save(run, (run.step or 0) + SPACING, [first, second])
            began = time.monotonic()
            if loss == "cut off":
                hosts[1].cut_off()
            kill_whole(second)
            assert first.wait(PATIENCE_SECONDS) == 1
            seconds[loss] = time.monotonic() - began
            (line,) = re.findall("^.*charrnn: .*$", told[0].read_text(), re.M)
            assert (
                f"saved after step {run.step} in {run.path}; the same command continues it" in line
            )
            if loss == "cut off":
                hosts[1].plug_in()
        assert [agent.wait(PATIENCE_SECONDS) for agent in start(hosts)] == [0, 0], told
    assert seconds["killed"] < PROMPT_SECONDS

    list(charrnn.train(text, name="alone", checkpoints=runs, **SETTINGS, **EXACT))
    assert {path.name for path in runs.iterdir()} == {"book", "alone"}
    curve, expected = read_curve(run), read_curve(RunFolder(runs / "alone"))
    assert len(curve.val_nats) == STEPS // SPACING
    assert curve.val_nats == pytest.approx(expected.val_nats, abs=CLOSE)
    assert curve.train_nats == pytest.approx(expected.train_nats, abs=CLOSE)
    kind = "network namespaces" if hosts[1].namespace else "addresses of one machine"
    ends = ", ".join(f"{each:.1f} s after it was {loss}" for loss, each in seconds.items())
    figure(f"two {kind}; without the other one the first ended {ends}")
