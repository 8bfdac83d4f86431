"""nanoGPT beside ours: its data, what it prints, the search for our budget, the runs in turn."""

from __future__ import annotations

import json
import math
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from charrnn.checkpoint.model_file import ModelFile, pack_model
from charrnn.data.corpus import corpus_from_text
from charrnn.errors import ConfigError
from charrnn.model.network import CharRNN, load_numpy_state_dict

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import peers
from peers import Ours, Theirs
from runs import RunFailedError

TEXT = "the cat sat on the mat. " * 40
PEER = """
import os, pickle, sys
import numpy as np
meta = pickle.load(open("data/shakespeare_char/meta.pkl", "rb"))
ids = np.fromfile("data/shakespeare_char/val.bin", np.uint16)
assert len(ids) == 96 and meta["itos"][int(ids[-1])] == " "
open("seen.txt", "w").write(" ".join(sys.argv[1:]))
for step, loss in ((0, 4.2), (250, 1.91), (500, 1.95)):
    print(f"step {step}: train loss 1.7000, val loss {loss:.4f}")
    print(f"iter {step}: loss 1.6000, time 9.00ms, mfu 0.10%")
"""


@pytest.fixture
def peer(tmp_path: Path) -> Path:
    """Return the folder of a program that prints what nanoGPT prints."""
    folder = tmp_path / "peer"
    (folder / "config").mkdir(parents=True)
    (folder / "data" / "shakespeare_char").mkdir(parents=True)
    (folder / "config" / "train_shakespeare_char.py").write_text("")
    (folder / "train.py").write_text(PEER)
    return folder


def falling(budget: float, seed: int) -> Ours:
    """Stand in for a run of ours: each doubling of the budget takes 0.1 nats off 2."""
    nats = 2 - math.log2(budget) / 10 + (seed - 1) / 100
    return Ours(budget, seed, budget + 3, nats, nats - 0.2, nats - 0.3)


def test_the_data_are_those_of_its_own_script(tmp_path: Path) -> None:
    peers.write_data("cabba\ncabb", tmp_path)

    train, val = (np.fromfile(tmp_path / name, np.uint16) for name in ("train.bin", "val.bin"))
    assert train.tolist() == [3, 1, 2, 2, 1, 0, 3, 1, 2]
    assert val.tolist() == [2]
    assert pickle.loads((tmp_path / "meta.pkl").read_bytes()) == {
        "vocab_size": 4,
        "itos": {0: "\n", 1: "a", 2: "b", 3: "c"},
        "stoi": {"\n": 0, "a": 1, "b": 2, "c": 3},
    }


def test_it_runs_its_recipe_in_a_copy_and_the_checkout_stays_as_it_is(
    peer: Path, tmp_path: Path
) -> None:
    before = sorted(peer.rglob("*"))
    copy = tmp_path / "copy"
    peers.copy_peer(peer, TEXT, copy)
    run = peers.run_peer(copy, ["--max_iters=20"])

    assert run.loss_nats == 1.91
    assert 0 < run.seconds < 600
    assert (copy / "seen.txt").read_text().split() == [*peers.RECIPE, "--max_iters=20"]
    assert sorted(peer.rglob("*")) == before


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no train\.py, so it is no checkout of nanoGPT"):
        peers.copy_peer(tmp_path, TEXT, tmp_path / "copy")


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("raise SystemExit('no torch')", "nanoGPT: exit 1: no torch"),
        ("print('step 0: loss 2')", "nanoGPT printed no validation loss"),
    ],
)
def test_a_peer_that_fails_is_said_to_fail(peer: Path, program: str, said: str) -> None:
    (peer / "train.py").write_text(program)

    with pytest.raises(RunFailedError, match=said):
        peers.run_peer(peer, [])


def test_windows_start_from_the_zero_state_and_every_character_of_them_counts(
    tmp_path: Path, make_model: Callable[..., ModelFile]
) -> None:
    file = make_model()
    path = tmp_path / "best.safetensors"
    path.write_bytes(pack_model(file))
    random = np.random.default_rng(2).choice(list("\n abé"), 400)
    corpus = corpus_from_text("".join(random))
    network = CharRNN(file.config)
    load_numpy_state_dict(network, file.weights)
    ids = torch.from_numpy(corpus.val.astype(np.int64))
    nats = []
    for start in range(0, len(ids) - 1, 7):
        part = ids[start : start + 8]
        logits, _ = network(part[None, :-1], None)
        nats += (-logits[0].log_softmax(-1)).gather(1, part[1:, None])[:, 0].tolist()

    assert len(nats) == len(ids) - 1 == 39
    assert peers.score_windows(path, corpus, window=7) == pytest.approx(np.mean(nats), abs=1e-5)


def test_a_real_run_of_ours_is_timed_and_scored(book: str) -> None:
    corpus = corpus_from_text(Path(book).read_text(encoding="utf-8"))
    run = peers.run_ours(book, corpus, 1.0, 3)

    assert (run.budget_seconds, run.seed) == (1.0, 3)
    assert run.seconds > 1
    for nats in (run.window_nats, run.windowed_nats, run.carried_nats):
        assert 1.5 < nats < 2.5  # 7 letters by chance: 1.95


def test_the_search_comes_near_the_shortest_budget() -> None:
    runs = peers.search_budget(falling, 1.7, 91.0, tries=6)
    budget = peers.shortest_budget(runs, 1.7)

    assert len(runs) == 6
    assert 8 <= budget < 8 * 91 ** (1 / 32)
    assert all(1 < run.budget_seconds < 91 for run in runs)


def test_a_search_that_never_reaches_the_result_says_what_it_reached() -> None:
    runs = peers.search_budget(falling, 1.0, 91.0, tries=2)

    with pytest.raises(RunFailedError, match=r"reached 1\.0000 nats; the best had 1\.5\d+"):
        peers.shortest_budget(runs, 1.0)


def test_both_run_in_turn_and_the_ratio_is_that_of_each_round() -> None:
    order = []
    seconds = iter([91.0, 110.0, 82.0])

    def theirs() -> Theirs:
        order.append("theirs")
        return Theirs(next(seconds), 1.73)

    def ours(budget: float, seed: int) -> Ours:
        order.append(f"ours {seed}")
        return falling(budget, seed)

    found = peers.compare(theirs, ours, rounds=3, tries=6)

    rounds = ["theirs", *["ours 1"] * 6, *["ours 1"] * 2]
    rounds += ["theirs", *["ours 2"] * 2, "theirs", *["ours 3"] * 2]
    assert order[: len(rounds)] == rounds
    assert [run.budget_seconds for run in found.in_time] == pytest.approx([88, 107, 79])
    ours_seconds = found.to_result[0].seconds
    assert found.time_ratio == pytest.approx(91 / ours_seconds)
    assert peers.median_of(found.to_result, "window_nats") <= 1.73


def test_the_budget_grows_until_the_median_seed_reaches_the_result() -> None:
    found = peers.compare(lambda: Theirs(91.0, 1.7), falling, rounds=3, tries=6)

    searched = peers.shortest_budget(found.search, 1.7)
    assert [run.seed for run in found.to_result] == [1, 2, 3]
    assert found.to_result[0].budget_seconds == pytest.approx(searched * 1.15)


@pytest.mark.parametrize("as_json", [False, True])
def test_the_script_prints_one_table_or_json(
    peer: Path,
    book: str,
    as_json: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path(book).write_text(TEXT)
    monkeypatch.setattr(peers, "run_ours", lambda path, corpus, *run: falling(*run))
    monkeypatch.setattr(peers, "run_peer", lambda folder, options: Theirs(91.0, 1.91))
    options = ["peers.py", str(peer), "--corpus", book, "--rounds", "1", "--tries", "5"]
    monkeypatch.setattr(sys, "argv", [*options, "--max_iters=20", *["--json"] * as_json])

    peers.main()
    out, err = capsys.readouterr()

    assert len(err.splitlines()) == 8
    if as_json:
        figures = json.loads(out)
        assert (figures["target_nats"], figures["window"]) == (1.91, 64)
        assert figures["time_ratio"] == pytest.approx(91 / figures["to_result"]["seconds"])
        assert len(figures["runs"]["search"]) == 5
        return
    head, theirs, to_result, in_time, _, ratio, gain = out.splitlines()
    assert head.split("  ")[-1] == "carried"
    assert theirs.split()[-2:] == ["91.0", "1.9100"]
    assert to_result.startswith("charrnn to that loss")
    assert in_time.split()[-3:] == ["1.3541", "1.1541", "1.0541"]
    assert ratio.startswith("time to nanoGPT's CPU result (1.9100): its seconds / ours = ")
    assert ratio.endswith("in windows of 64 as it counts")
    assert gain == "in nanoGPT's time: 0.5559 nats less in windows of 64"
