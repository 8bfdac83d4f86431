"""Several processes train as one does: the same curves, one set of files, one end."""

from __future__ import annotations

import json
import os
import signal
import sys
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed import HashStore

import charrnn
from charrnn.checkpoint.model_file import read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.cli.main import main
from charrnn.config import TrainConfig
from charrnn.data.corpus import corpus_from_text
from charrnn.errors import ConfigError, CorpusError, ProcessLostError
from charrnn.tasks.recorder import RunFinished
from charrnn.tasks.train import start_run
from charrnn.training import distributed
from charrnn.training.calibration import check_same, check_shard, choose_plan
from charrnn.training.distributed import Processes
from charrnn.training.launch import init_world
from charrnn.training.plan import make_plan
from charrnn.training.reports import Evaluation
from charrnn.training.trainer import Trainer
from charrnn.training.world import SINGLE_PROCESS
from tests.training.processes import (
    Curve,
    Together,
    free_port,
    read_curve,
    start_together,
    wait_for,
)

SETTINGS: dict[str, Any] = {
    "hidden_size": 8,
    "embedding_size": 5,
    "batch_size": 7,  # in uneven shares
    "seq_len": 6,
    "steps": 200,
    "eval_every": 20,
    "learning_rate": 0.01,
    "precision": "fp32",
    "dropout": 0.0,
    "threads": 1,
    "patience": 0,
    "keep_checkpoints": 99,
}
WORDS = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
CLOSE = 1e-4


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a text of 3,000 characters."""
    path = tmp_path_factory.mktemp("text") / "book.txt"
    words = np.random.default_rng(3).choice(["a cat ", "the mat ", "sat on ", "and\n"], 600)
    path.write_text("".join(words)[:3000], encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def alone(text: Path) -> Curve:
    """Return the run of one process, uncut."""
    reports = charrnn.train(text, name="alone", checkpoints=text.parent / "runs", **SETTINGS)
    kept = list(reports)[-1]
    assert isinstance(kept, RunFinished)
    return read_curve(kept.run)


def assert_same(curve: Curve, expected: Curve) -> None:
    """Compare the evaluations, and what the last state holds by its shapes.

    Its numbers are left out: Muon makes much of little, so that far on the weights of equally good
    runs differ in the third decimal.
    """
    assert curve.val_nats == pytest.approx(expected.val_nats, abs=CLOSE)
    assert curve.train_nats == pytest.approx(expected.train_nats, abs=CLOSE)
    assert curve.run.step == expected.run.step == max(expected.val_nats)
    mine, theirs = (each.run.read_state()[0].training for each in (curve, expected))
    assert {n: a.shape for n, a in mine.items()} == {n: a.shape for n, a in theirs.items()}


def assert_same_state(run: RunFolder, expected: RunFolder, step: int) -> None:
    """Compare all numbers of an early state: weights, moments, average, and every lane's state."""
    mine, theirs = (read_model(each.path / f"step-{step}.safetensors") for each in (run, expected))
    assert "state.0.1" in mine.training
    for own, other in ((mine.weights, theirs.weights), (mine.training, theirs.training)):
        assert own.keys() == other.keys()
        for name in own:
            np.testing.assert_allclose(own[name], other[name], atol=CLOSE, err_msg=name)


def test_two_processes_train_as_one(text: Path, tmp_path: Path, alone: Curve) -> None:
    runs = tmp_path / "runs"
    two = start_together(2, tmp_path / "two", str(text), *WORDS, "--checkpoints", str(runs))

    assert two.wait() == [0, 0], two.complaints()
    run = RunFolder(runs / "book")
    assert_same(read_curve(run), alone)
    assert_same_state(run, alone.run, step=20)
    own, other = (read_model(each.best).summary["train_eval_nats"] for each in (run, alone.run))
    assert own == pytest.approx(other, abs=CLOSE)


def test_two_processes_train_on_labelled_records_as_one(tmp_path: Path) -> None:
    lines = [f"__label__{'ab'[i % 2]} {'xyz'[i % 3] * (i % 7)}{i}\n" for i in range(200)]
    names = tmp_path / "names.txt"
    names.write_text("".join(lines))
    settings = SETTINGS | {"steps": 40, "lines": True, "label": "prefix", "cell": "gru"}
    expected = read_curve(
        list(charrnn.train(names, checkpoints=tmp_path / "alone", **settings))[-1].run
    )
    words = [*WORDS, "--steps=40", "--lines", "--label=prefix", "--cell=gru"]
    runs = tmp_path / "runs"
    two = start_together(2, tmp_path / "two", str(names), *words, "--checkpoints", str(runs))

    assert two.wait() == [0, 0], two.complaints()
    run = RunFolder(runs / "names")
    assert_same(read_curve(run), expected)
    mine, theirs = (read_model(each.path / "step-20.safetensors") for each in (run, expected.run))
    for own, other in ((mine.weights, theirs.weights), (mine.training, theirs.training)):
        assert own.keys() == other.keys()
        for name in own:
            np.testing.assert_allclose(own[name], other[name], atol=CLOSE, err_msg=name)
    figures = ("val_end_nats", "val_unlabelled_nats", "train_eval_nats")
    found = [read_model(each.best).summary for each in (run, expected.run)]
    for name in figures:
        assert found[0][name] == pytest.approx(found[1][name], abs=CLOSE)


SEVERAL = """
import json, math, os, sys
from charrnn.cli.main import main
from charrnn.model.network import CharRNN
from charrnn.training import trainer

usual, honest = trainer.is_asynchronous, CharRNN.loss_sum

def train(words, port, is_deferred=False, wrong_step=None):
    windows = []

    def loss_sum(self, *args):
        windows.append(1)
        nats, state = honest(self, *args)
        is_wrong = os.environ["RANK"] == "1" and len(windows) - 1 == wrong_step
        return nats * (math.nan if is_wrong else 1), state

    os.environ["MASTER_PORT"] = str(port)
    trainer.is_asynchronous = (lambda device: True) if is_deferred else usual
    CharRNN.loss_sum = loss_sum
    try:
        main(["train", *words])
    except SystemExit as end:
        if end.code:
            raise

for command in json.loads(sys.argv[1]):
    train(**command)
"""
"""charrnn train, one command after the other: with steps whose results are read later, if asked,
and a step of the second process that goes wrong.
"""


@pytest.fixture(scope="module")
def several(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Together:
    """Return two processes that have made three runs, as most of a start is torch's."""
    folder = tmp_path_factory.mktemp("several")
    words = [str(text), *WORDS, "--checkpoints", str(folder / "runs")]
    commands: list[dict[str, Any]] = [
        {"words": [*words, "--name=adamw", "--optimizer=adamw", "--steps=20"]},
        {"words": [*words, "--name=deferred"], "is_deferred": True},
        {
            "words": [*words, "--name=wrong", "--steps=90", "--json"],
            "is_deferred": True,
            "wrong_step": 50,
        },
    ]
    ported = json.dumps([command | {"port": free_port()} for command in commands])
    two = start_together(2, folder / "two", ported, program=[sys.executable, "-c", SEVERAL])
    assert two.wait() == [0, 0], two.complaints()
    return two


def test_two_processes_whose_steps_are_read_later_train_as_one(
    several: Together, alone: Curve
) -> None:
    run = RunFolder(several.folder.parent / "runs" / "deferred")
    assert_same(read_curve(run), alone)
    assert_same_state(run, alone.run, step=20)


def test_a_window_gone_wrong_in_one_process_is_dropped_by_all_also_where_it_is_read_later(
    several: Together,
) -> None:
    reports = [json.loads(line) for line in (several.folder / "0.out").read_text().splitlines()]
    told = [(each["kind"], each["step"]) for each in reports if each["event"] == "incident"]
    assert told == [("dropped", 50)]
    assert reports[-1]["step"] == 90


def test_two_processes_train_by_adamw_alone(several: Together, text: Path, tmp_path: Path) -> None:
    settings = SETTINGS | {"optimizer": "adamw", "steps": 20}
    kept = list(charrnn.train(text, checkpoints=tmp_path / "alone", **settings))[-1]

    assert isinstance(kept, RunFinished)
    run = RunFolder(several.folder.parent / "runs" / "adamw")
    assert read_curve(run).val_nats == pytest.approx(read_curve(kept.run).val_nats, abs=CLOSE)


def test_three_processes_train_a_gru_as_one_to_the_last_bit_alike_and_the_first_alone_speaks(
    text: Path, tmp_path: Path
) -> None:
    runs, digests = tmp_path / "runs", tmp_path / "digests"
    cell = {"cell": "gru", "num_layers": 2, "initial_state": "learned", "tie_embeddings": True}
    cell |= {"ngram_order": 3, "ngram_rows": 64}
    settings = SETTINGS | cell | {"steps": 100}
    shape = [
        "--steps=100",
        "--cell=gru",
        "--num-layers=2",
        "--initial-state=learned",
        "--tie-embeddings",
        "--ngram-order=3",
        "--ngram-rows=64",
    ]
    words = [str(text), *WORDS, *shape, "--checkpoints", str(runs)]
    module = "tests.training.test_distributed"
    call = f"from {module} import train_and_tell; train_and_tell({str(digests)!r})"
    three = start_together(3, tmp_path / "three", *words, program=[sys.executable, "-c", call])
    kept = list(charrnn.train(text, checkpoints=tmp_path / "alone", **settings))[-1]

    assert three.wait() == [0, 0, 0], three.complaints()
    assert isinstance(kept, RunFinished)
    assert_same(read_curve(RunFolder(runs / "book")), read_curve(kept.run))
    assert [path.name for path in runs.iterdir()] == ["book"]
    said = {path.name for path in three.folder.iterdir() if path.stat().st_size}
    assert said == {"0.err"}
    for step in range(20, 101, 20):
        assert len({(digests / f"{step}.{rank}").read_text() for rank in range(3)}) == 1


def train_and_tell(folder: str) -> None:
    """Be `charrnn train`, and write down the weights' digest whenever they are saved."""
    Path(folder).mkdir(exist_ok=True)
    state_dict = Trainer.state_dict

    def tell(trainer: Trainer) -> Any:
        assert trainer.model.ngrams.is_sparse
        laid = state_dict(trainer)
        weights = b"".join(array.tobytes() for array in laid[0].values())
        place = Path(folder, f"{trainer.step}.{os.environ['RANK']}")
        place.write_text(sha256(weights).hexdigest())
        return laid

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "state_dict", tell)
        patch.setattr(distributed, "_SMALLEST_BUCKET", 1)  # each layer travels on its own
        main(["train", *sys.argv[1:]])


def test_a_run_cut_by_a_kill_and_by_a_signal_goes_on_in_any_number_of_processes(
    text: Path, tmp_path: Path, alone: Curve
) -> None:
    runs = tmp_path / "runs"
    run, where = RunFolder(runs / "book"), ["--checkpoints", str(runs)]

    two = start_together(2, tmp_path / "two", str(text), *WORDS, *where)
    wait_for(run.path / "step-40.safetensors", two)
    two.processes[1].kill()
    assert two.wait() == [ProcessLostError.exit_code, -signal.SIGKILL]
    (line,) = two.complaints()
    killed_at = run.step
    assert f"saved after step {killed_at} in {run.path}; the same command continues it" in line

    seen: list[Evaluation] = []
    one = charrnn.train(text, checkpoints=runs, should_stop=lambda: len(seen) > 0, **SETTINGS)
    seen.extend(report for report in one if isinstance(report, Evaluation))
    assert run.step is not None
    assert killed_at is not None
    assert killed_at < run.step < SETTINGS["steps"]

    three = start_together(3, tmp_path / "three", str(text), *WORDS, *where)
    wait_for(run.path / f"step-{run.step // 20 * 20 + 20}.safetensors", three)
    three.processes[1].terminate()
    assert three.wait() == [128 + signal.SIGTERM] * 3
    (line,) = three.complaints()
    assert f"stopped; saved after step {run.step} in {run.path}" in line

    list(charrnn.train(text, checkpoints=runs, **SETTINGS))
    assert_same(read_curve(run), alone)


def test_shares_are_contiguous_and_cover_every_row_once() -> None:
    for number in (1, 2, 3, 5):
        shares = [Processes(rank, number).shard(7) for rank in range(number)]

        assert (shares[0].start, shares[-1].stop) == (0, 7)
        assert all(before.stop == after.start for before, after in pairwise(shares))
        assert {share.stop - share.start for share in shares} <= {7 // number, 7 // number + 1}


@pytest.mark.parametrize("environment", [{}, {"RANK": "0", "WORLD_SIZE": "1"}, {"RANK": "3"}])
def test_without_others_a_process_is_alone(environment: dict[str, str]) -> None:
    with init_world(environment) as world:
        assert world is SINGLE_PROCESS


@pytest.mark.parametrize("rank", ["0", "first"])
def test_half_an_environment_is_refused_with_the_way_out(
    rank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "2")

    with pytest.raises(ConfigError, match="start with torchrun, or unset both"), init_world():
        pass


def test_a_process_that_loads_longer_is_waited_for_before_any_connection_is_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, seen = HashStore(), []
    store.set("1/loaded/1", "")  # of an attempt before

    def load_slowly() -> None:
        store.wait(["2/loaded/0"])
        store.set("2/loaded/1", "")

    def connect(*_: Any, **__: Any) -> None:
        seen.append(store.check(["2/loaded/0", "2/loaded/1"]))
        raise RuntimeError("unreachable")

    monkeypatch.setattr(distributed, "rendezvous", lambda *_, **__: iter([(store, 0, 2)]))
    monkeypatch.setattr(distributed.dist, "init_process_group", connect)
    other = Thread(target=load_slowly)
    other.start()
    with (
        pytest.raises(ProcessLostError, match=r"did not connect.*--local-addr.*GLOO_SOCKET_IFNAME"),
        init_world({"RANK": "0", "WORLD_SIZE": "2", "TORCHELASTIC_RESTART_COUNT": "2"}),
    ):
        pass
    other.join()
    assert seen == [True]


def test_more_processes_than_lanes_are_refused() -> None:
    plan = make_plan(TrainConfig(steps=1, batch_size=2), 5, 900)

    assert check_shard(plan, Processes(1, 2)) is plan
    with pytest.raises(ConfigError, match=r"2 lanes cannot .* 3 processes; give batch_size=3"):
        check_shard(plan, Processes(0, 3))


def test_a_process_with_another_text_or_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (corpus_from_text(letters * 50) for letters in ("ab", "cd"))
    told: list[Any] = []
    monkeypatch.setattr(Processes, "broadcast", lambda _, value: told.append(value) or told[0])
    check_same(first, TrainConfig(), None, Processes(0, 2))
    check_same(first, TrainConfig(), None, Processes(1, 2))

    with pytest.raises(ConfigError, match="the text of process 1 differs from process 0's"):
        check_same(second, TrainConfig(), None, Processes(1, 2))
    with pytest.raises(ConfigError, match="seed of process 1 differs from process 0's: 7 is not 1"):
        check_same(first, TrainConfig(seed=7), None, Processes(1, 2))


def test_several_processes_are_refused_an_apple_gpu() -> None:
    with pytest.raises(ConfigError, match=r"cannot train on mps together; give device=.cpu."):
        choose_plan(
            TrainConfig(steps=1),
            corpus_from_text("ab" * 50),
            torch.device("mps"),
            torch.float32,
            is_resumed=False,
            world=Processes(0, 2),
        )


def test_one_process_says_each_kind_of_error_and_a_lost_one_is_said_if_nothing_else_is() -> None:
    store = HashStore()
    first, second = (Processes(rank, 3, store=store) for rank in (1, 2))

    assert first.should_report(ConfigError("a"))
    assert not second.should_report(ConfigError("b"))
    assert second.should_report(CorpusError("c"))
    assert not second.should_report(ProcessLostError("d"))
    assert Processes(1, 2, store=HashStore()).should_report(ProcessLostError("d"))


def test_an_error_that_all_have_is_said_by_the_first_whoever_is_still_there() -> None:
    store = HashStore()
    asked = [
        Processes(rank, 3, store=store).should_report(ConfigError("a"), is_common=True)
        for rank in (2, 0)
    ]

    assert asked == [False, True]


def test_several_processes_do_not_read_standard_input() -> None:
    with pytest.raises(ConfigError, match="2 processes cannot all read standard input"):
        next(start_run(["-"], {"steps": 1}, world=Processes(0, 2)))
