"""train(...): what it yields, that it learns, and that it goes on as if nothing had happened."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, pairwise, repeat
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.config import TextConfig, TrainConfig
from charrnn.data.corpus import Corpus, corpus_from_text
from charrnn.errors import ConfigError, CorpusError, DivergedError, OutOfMemoryError
from charrnn.model.network import CharRNN, load_numpy_state_dict
from charrnn.training import evaluation
from charrnn.training.batches import Cursor, Lanes
from charrnn.training.evaluation import HeldOut, Score
from charrnn.training.loop import train
from charrnn.training.reports import (
    Evaluation,
    Finished,
    Incident,
    Progress,
    Report,
    Snapshot,
    Started,
)
from charrnn.training.stats import Best
from tests.training.small_runs import SMALL, STEPS, stop_after

pytestmark = pytest.mark.usefixtures("counted_steps")
CELLS = [
    {"cell": "rnn"},
    {"cell": "rnn", "nonlinearity": "relu"},
    {"cell": "rnn", "nonlinearity": "logistic"},
    {"cell": "lstm"},
    {"cell": "gru"},
]


def make_corpus(length: int = 400, **settings: Any) -> Corpus:
    letters = np.random.default_rng(3).choice(list("abcdé "), length)
    return corpus_from_text("".join(letters), TextConfig(**settings))


def make_config(**settings: Any) -> TrainConfig:
    length = {} if settings.keys() & {"budget", "epochs"} else {"steps": 8}
    return TrainConfig(**{**SMALL, **length, "patience": 0, **settings})


def reports_of(kind: type, reports: list[Report]) -> list[Any]:
    return [report for report in reports if isinstance(report, kind)]


def test_the_reports_begin_with_started_and_end_with_finished() -> None:
    reports = list(train(make_corpus(), make_config()))

    assert isinstance(reports[0], Started)
    assert [isinstance(r, Finished) for r in reports].index(True) == len(reports) - 1


def test_an_alternating_text_is_learned_to_near_nothing() -> None:
    corpus = corpus_from_text("ab" * 400)
    config = make_config(steps=150, learning_rate=0.03, hidden_size=12)

    finished = reports_of(Finished, list(train(corpus, config)))[0]

    assert finished.best_val_nats < 0.01


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: "-".join(c.values()))
def test_every_cell_learns(cell: dict[str, str]) -> None:
    corpus = corpus_from_text("the cat sat on the mat. " * 40)
    config = make_config(steps=120, learning_rate=0.02, hidden_size=16, **cell)

    evaluations = reports_of(Evaluation, list(train(corpus, config)))

    assert evaluations[-1].val_nats < 0.5 * evaluations[0].val_nats


def test_the_same_seed_trains_the_same_network() -> None:
    first, second = (list(train(make_corpus(), make_config(dropout=0.3)))[-1] for _ in range(2))

    assert_same_arrays(first.best_weights, second.best_weights)


def test_another_seed_trains_another_network() -> None:
    first, second = (list(train(make_corpus(), make_config(seed=s)))[-1] for s in (1, 2))

    assert not np.array_equal(
        first.best_weights["output.weight"], second.best_weights["output.weight"]
    )


def test_training_leaves_torchs_random_state_as_it_was() -> None:
    before = torch.get_rng_state()
    list(train(make_corpus(), make_config(dropout=0.5)))

    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS, ids=lambda c: "-".join(c.values()))
def test_n_steps_a_stop_and_n_more_equal_2n_steps(cell: dict[str, str], num_layers: int) -> None:
    corpus = make_corpus()
    settings = {"steps": 90, "dropout": 0.3, "num_layers": num_layers, "eval_every": 30, **cell}
    config = make_config(**settings)
    uncut = list(train(corpus, config))
    cut = list(train(corpus, config, should_stop=stop_after(43)))
    snapshot = reports_of(Snapshot, cut)[-1]
    resumed = list(train(corpus, config, resume=snapshot))

    assert snapshot.step == 43
    last, expected = reports_of(Snapshot, resumed)[-1], reports_of(Snapshot, uncut)[-1]
    assert_same_arrays(last.weights, expected.weights)
    assert_same_arrays(last.arrays, expected.arrays)
    assert figures_of(resumed) == figures_of([r for r in uncut if getattr(r, "step", 99) > 43])


def test_a_projection_is_trained_saved_and_taken_up_again() -> None:
    corpus, config = make_corpus(), make_config(steps=20, tie_embeddings=True)
    uncut = reports_of(Snapshot, list(train(corpus, config)))[-1]
    cut = reports_of(Snapshot, list(train(corpus, config, should_stop=stop_after(9))))[-1]
    resumed = reports_of(Snapshot, list(train(corpus, config, resume=cut)))[-1]

    assert uncut.weights["projection.weight"].shape == (3, 6)
    assert not np.array_equal(cut.weights["projection.weight"], uncut.weights["projection.weight"])
    assert_same_arrays(resumed.weights, uncut.weights)
    assert_same_arrays(resumed.arrays, uncut.arrays)


def figures_of(reports: list[Report]) -> list[tuple[Any, ...]]:
    return [(r.step, r.train_nats, r.val_nats) for r in reports_of(Evaluation, reports)]


def assert_same_arrays(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert np.array_equal(a[name], b[name]), name


def test_a_resumed_run_can_be_made_longer() -> None:
    corpus = make_corpus()
    snapshot = reports_of(Snapshot, list(train(corpus, make_config(steps=8))))[-1]

    finished = list(train(corpus, make_config(steps=20), resume=snapshot))[-1]

    assert finished.step == 20


@pytest.mark.parametrize(
    ("length", "doubled"),
    [
        ({"steps": 8}, "steps=16"),
        ({"epochs": 0.5}, r"epochs=(1|1\.1)"),
        ({"budget": "0.3s"}, r'budget="\ds"'),
    ],
)
def test_a_finished_run_says_how_to_train_it_further(length: dict[str, Any], doubled: str) -> None:
    corpus = make_corpus()
    snapshot = list(train(corpus, make_config(**length)))[-1].snapshot
    message = rf"^this run is finished \([\d,]+ steps, \d s\)\. To continue: {doubled}$"

    with pytest.raises(ConfigError, match=message):
        next(train(corpus, make_config(**length), resume=snapshot))


@pytest.mark.parametrize(
    ("seconds", "doubled"),
    [(29.2, "58s"), (29.8, "1m"), (59.4, "2m"), (76.0, "3m"), (3605.0, "2h"), (5401.0, "3h")],
)
def test_a_finished_run_names_a_time_in_a_handy_unit(seconds: float, doubled: str) -> None:
    corpus = make_corpus()
    snapshot = list(train(corpus, make_config(budget="0.3s")))[-1].snapshot
    progress = snapshot.progress | {"elapsed_seconds": seconds}

    with pytest.raises(ConfigError, match=rf'budget="{doubled}"$'):
        next(train(corpus, make_config(budget="0.3s"), resume=replace(snapshot, progress=progress)))


def test_a_stopped_run_saves_where_it_stopped_and_says_so() -> None:
    reports = list(train(make_corpus(), make_config(steps=50), should_stop=stop_after(7)))

    assert isinstance(reports[-2], Snapshot)
    assert (reports[-2].step, reports[-1].reason) == (7, "stopped")


@pytest.mark.parametrize("cut", [30, 60])
def test_a_stop_at_an_evaluation_does_not_lose_it(cut: int) -> None:
    corpus, config = make_corpus(), make_config(steps=90, eval_every=30)
    uncut = list(train(corpus, config))
    stopped = list(train(corpus, config, should_stop=stop_after(cut)))
    resumed = list(train(corpus, config, resume=reports_of(Snapshot, stopped)[-1]))

    assert stopped[-1].reason == "stopped"
    assert figures_of(stopped) + figures_of(resumed) == figures_of(uncut)


def test_a_run_stopped_in_its_last_step_finishes_when_it_is_resumed() -> None:
    corpus, config = make_corpus(), make_config(steps=4, eval_every=4)
    uncut = list(train(corpus, config))[-1]
    stopped = list(train(corpus, config, should_stop=stop_after(4)))[-1]
    finished = list(train(corpus, config, resume=stopped.snapshot))[-1]

    assert (stopped.reason, finished.reason) == ("stopped", "length")
    assert finished.best_val_windowed_nats == uncut.best_val_windowed_nats
    assert not stopped.snapshot.progress["is_finished"]
    assert finished.snapshot.progress["is_finished"]


def test_a_stop_while_evaluating_is_answered_at_once_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    corpus, config = make_corpus(9000), make_config(steps=60, eval_every=30)
    uncut = list(train(corpus, config))
    asked: list[int] = []

    def once_in_the_evaluation() -> bool:
        asked.append(len(STEPS) - before)
        return asked.count(30) > 1  # the second time after that step is from within

    before = len(STEPS)
    stopped = list(train(corpus, config, should_stop=once_in_the_evaluation))
    resumed = list(train(corpus, config, resume=stopped[-1].snapshot))

    assert (stopped[-1].reason, figures_of(stopped)) == ("stopped", [])
    assert figures_of(resumed) == figures_of(uncut)
    assert_same_arrays(resumed[-1].snapshot.arrays, uncut[-1].snapshot.arrays)


def test_a_stop_while_the_end_is_measured_can_be_made_good() -> None:
    corpus, config = make_corpus(9000), make_config(steps=3, eval_every=3)
    uncut = list(train(corpus, config))[-1]
    reports: list[Report] = []
    for report in train(
        corpus, config, should_stop=lambda: any(isinstance(r, Snapshot) for r in reports)
    ):
        reports.append(report)
    resumed = list(train(corpus, config, resume=reports[-1].snapshot, best=best_of(reports)))

    assert reports[-1].reason == "stopped"
    assert [r for r in resumed if isinstance(r, Evaluation)] == []
    assert resumed[-1].best_val_windowed_nats == uncut.best_val_windowed_nats


def best_of(reports: list[Report]) -> Best:
    evaluation = min(reports_of(Evaluation, reports), key=lambda report: report.val_nats)
    return Best(
        evaluation.val_nats, evaluation.train_nats, evaluation.step, weights=evaluation.weights
    )


def test_another_length_on_resuming_spaces_the_evaluations_anew() -> None:
    corpus = make_corpus()
    snapshot = reports_of(Snapshot, list(train(corpus, make_config(steps=8))))[-1]

    longer = list(train(corpus, make_config(steps=400), resume=snapshot))
    timed = list(train(corpus, make_config(budget="1s"), resume=snapshot))

    assert len(reports_of(Evaluation, longer)) == 20
    assert len(reports_of(Evaluation, timed)) < 40


def test_a_run_stopped_before_its_speed_was_known_takes_the_time_of_its_resume() -> None:
    corpus = make_corpus(5000)
    cut = list(train(corpus, make_config(budget="1h"), should_stop=stop_after(3)))
    resumed = list(train(corpus, make_config(budget="2s"), resume=reports_of(Snapshot, cut)[-1]))

    assert resumed[-1].step > 10
    # Seconds: a busy machine overshoots, or keeps more for its slow evaluations.
    assert 0.2 < resumed[-1].elapsed_seconds < 20


def test_what_simpler_models_are_compared_with_is_scored_on_their_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    corpus = corpus_from_text("ab" * 300 + "aabbbabaab" * 10)
    whole = list(train(corpus, make_config(steps=60)))[-1]
    monkeypatch.setattr(evaluation, "HELD_OUT_TOKENS", 20)
    begun = list(train(corpus, make_config(steps=60)))[-1]

    assert whole.best_val_compared_nats == whole.best_val_nats
    assert begun.best_val_nats == whole.best_val_nats
    assert begun.best_val_compared_nats != whole.best_val_nats


def test_the_best_evaluation_is_kept_not_the_last() -> None:
    config = make_config(steps=400, eval_every=20, learning_rate=0.05, hidden_size=24)
    reports = list(train(make_corpus(300), config))
    evaluations, finished = reports_of(Evaluation, reports), reports[-1]

    best = min(evaluations, key=lambda e: e.val_nats)
    assert finished.best_val_nats == best.val_nats < evaluations[-1].val_nats
    assert finished.got_worse
    assert_same_arrays(finished.best_weights, best.weights)


@pytest.mark.parametrize(("loss", "reason"), [(1.015, "length"), (1.03, "patience")])
def test_patience_waits_out_what_a_high_learning_rate_makes(
    loss: float, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = chain([1.0], repeat(loss))
    monkeypatch.setattr(evaluation, "compare_carried", lambda *_: [Score(next(losses), 1)])
    config = make_config(steps=12, eval_every=2, patience=3)

    assert list(train(make_corpus(), config))[-1].reason == reason


def test_patience_ends_a_run_that_gets_worse() -> None:
    config = make_config(steps=4000, eval_every=20, patience=3, learning_rate=0.05, hidden_size=24)
    reports = list(train(make_corpus(300), config))
    evaluations, finished = reports_of(Evaluation, reports), reports[-1]

    assert finished.reason == "patience"
    assert finished.got_worse
    assert [e.is_best for e in evaluations[-3:]] == [False, False, False]
    assert finished.step < 4000


def test_a_time_budget_is_kept() -> None:
    reports = list(train(make_corpus(5000), make_config(budget="2s")))

    assert 0.5 < reports[-1].elapsed_seconds < 20  # seconds; a busy machine overshoots
    assert reports_of(Progress, reports)[-1].total_steps == reports[-1].step


def test_the_initial_state_is_learned_when_asked_for() -> None:
    finished = list(train(make_corpus(), make_config(initial_state="learned")))[-1]

    assert np.abs(finished.best_weights["layers.0.initial"]).max() > 0


def test_the_zero_initial_state_stays_zero() -> None:
    finished = list(train(make_corpus(), make_config(weight_decay_bias=0.1)))[-1]

    assert not finished.best_weights["layers.0.initial"].any()


def test_losses_are_per_character_under_byte_fallback() -> None:
    corpus = make_corpus(400, min_count=200)  # every character is written as bytes
    started, *_, finished = train(corpus, make_config(steps=1))

    assert started.val_chars == corpus.val_chars < len(corpus.val)
    assert finished.best_val_nats > math.log(corpus.vocab.size)  # é takes two tokens


def test_a_text_too_short_for_a_window_is_refused_with_the_numbers() -> None:
    with pytest.raises(CorpusError, match=r"has 8 tokens, but 2 lanes of 5 take 11"):
        next(train(corpus_from_text("abcdefghij", TextConfig(val_fraction=0.2)), make_config()))


def poison(monkeypatch: pytest.MonkeyPatch, is_poisoned: Callable[[int], bool]) -> None:
    """Make the loss of some windows no number; a window is known by how many steps came before."""
    honest = CharRNN.loss_sum
    first = len(STEPS)

    def poisoned(self: CharRNN, *args: Any) -> Any:
        nats, state = honest(self, *args)
        return nats * (math.nan if is_poisoned(len(STEPS) - first) else 1.0), state

    monkeypatch.setattr(CharRNN, "loss_sum", poisoned)


def collect(reports: Iterator[Report], seen: list[Report]) -> None:
    for report in reports:
        seen.append(report)  # one by one: they are wanted of a run that fails, too


def incidents_of(reports: list[Report]) -> list[tuple[str, int]]:
    return [(report.kind, report.step) for report in reports_of(Incident, reports)]


def test_a_step_whose_loss_is_no_number_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, config = make_corpus(), make_config(steps=20)
    honest = list(train(corpus, config))[-1]
    poison(monkeypatch, lambda step: step in (5, 9))
    reports = list(train(corpus, config))

    assert incidents_of(reports) == [("dropped", 5), ("dropped", 9)]
    assert reports[-1].step == honest.step
    assert reports[-1].snapshot.progress["updates"] == 18
    assert all(math.isfinite(report.train_nats) for report in reports_of(Progress, reports))


def test_an_incident_tells_where_in_the_text_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, lambda step: step == 3)
    (incident,) = reports_of(Incident, list(train(make_corpus(), make_config())))
    lanes = Lanes(make_corpus().train, 2, 5, seed=1)

    assert (incident.position, incident.lane_length) == lanes.position(Cursor(0, 2))


def test_after_three_dropped_steps_it_goes_back_and_on_at_half_the_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poison(monkeypatch, lambda step: step in (25, 26, 27))
    config = make_config(steps=40, eval_every=20, lr_schedule="constant", warmup_steps=0)
    reports = list(train(make_corpus(), config))

    (rollback,) = (each for each in reports_of(Incident, reports) if each.kind == "rollback")
    assert (rollback.step, rollback.back_to_step, rollback.rate_factor) == (27, 20, 0.5)
    rates = [report.learning_rate for report in reports_of(Progress, reports)]
    assert rates[-1] == 0.5 * rates[0]
    assert [e.step for e in reports_of(Evaluation, reports)] == [20, 40]


def test_a_half_rate_outlives_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, config = make_corpus(), make_config(steps=40, eval_every=20)
    poison(monkeypatch, lambda step: step in (25, 26, 27))
    stopped = list(train(corpus, config, should_stop=stop_after(30)))[-1]

    assert stopped.snapshot.step == 23  # 27 steps, back to 20, and 3 more
    resumed = list(train(corpus, config, resume=stopped.snapshot))
    assert resumed[-1].snapshot.progress["rollbacks"] == 1


def test_a_loss_that_stays_no_number_ends_the_run_after_three_returns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poison(monkeypatch, lambda step: step > 12)
    seen: list[Report] = []

    with pytest.raises(DivergedError, match=r"lower learning_rate than .* or a smaller clip"):
        collect(train(make_corpus(), make_config(steps=40, eval_every=10)), seen)
    rollbacks = [each for each in reports_of(Incident, seen) if each.kind == "rollback"]
    assert [each.rate_factor for each in rollbacks] == [0.5, 0.25, 0.125]
    assert {each.back_to_step for each in rollbacks} == {10}


def test_held_out_text_whose_loss_is_no_number_sends_the_run_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses = chain([1.0, math.nan], repeat(0.9))
    monkeypatch.setattr(evaluation, "compare_carried", lambda *_: [Score(next(losses), 1)])
    reports = list(train(make_corpus(), make_config(steps=8, eval_every=4)))

    assert incidents_of(reports) == [("rollback", 8)]
    assert [e.val_nats for e in reports_of(Evaluation, reports)] == [1.0, 0.9]


def test_weights_that_are_no_numbers_are_never_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.training.trainer.Schedule.rate_at", lambda *_: math.nan)
    kept: list[Report] = []

    with pytest.raises(DivergedError):
        collect(train(make_corpus(), make_config(eval_every=1)), kept)
    assert reports_of(Snapshot, kept) == reports_of(Evaluation, kept) == []


def test_a_loss_far_above_its_level_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    strange = corpus_from_text("ab" * 500 + "baabbbabaa" * 4 + "ab" * 600)
    config = make_config(steps=200, learning_rate=0.03, hidden_size=12, batch_size=1)
    spikes = [r for r in reports_of(Incident, list(train(strange, config))) if r.kind == "spike"]

    assert spikes
    assert all(990 <= spike.position <= 1045 for spike in spikes)
    assert all(spike.train_nats > 1.5 * spike.level_nats for spike in spikes)


# The same measure for both texts


def test_the_end_scores_training_text_as_held_out_text_is_scored() -> None:
    corpus, config = make_corpus(), make_config(steps=200, dropout=0.5, hidden_size=24)
    finished = list(train(corpus, config))[-1]
    model = CharRNN(finished.snapshot.model)
    load_numpy_state_dict(model, finished.best_weights)
    part = corpus.train[-len(corpus.val) :]

    own = evaluation.evaluate_carried(model, part, corpus.vocab).loss_nats
    assert finished.best_train_eval_nats == pytest.approx(own, rel=1e-6)
    assert finished.best_train_eval_nats < finished.best_train_nats  # dropout costs much


@pytest.mark.parametrize(
    ("text", "steps", "times"), [("the cat sat on the mat. " * 12, 40, 1), ("", 400, 2)]
)
def test_training_text_is_scored_in_the_last_evaluation_and_for_an_earlier_best_model(
    text: str, steps: int, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[int] = []
    honest = HeldOut.score_train
    first = len(STEPS)

    def counted(self: HeldOut, *rest: Any) -> float:
        scored.append(len(STEPS) - first)
        return honest(self, *rest)

    monkeypatch.setattr(HeldOut, "score_train", counted)
    corpus = corpus_from_text(text) if text else make_corpus(300)  # which it soon overfits
    config = make_config(steps=steps, eval_every=20, hidden_size=24, learning_rate=0.05)
    reports = list(train(corpus, config))
    evaluations, finished = reports_of(Evaluation, reports), reports[-1]

    assert scored == [steps] * times
    assert [e.step for e in evaluations if e.train_eval_nats is not None] == [steps]
    if times == 1:
        assert finished.best_train_eval_nats == evaluations[-1].train_eval_nats


def test_a_resumed_run_that_has_no_steps_left_is_scored_on_both_texts() -> None:
    corpus, config = make_corpus(), make_config(steps=4, eval_every=4)
    uncut = list(train(corpus, config))[-1]
    reports = list(train(corpus, config, should_stop=stop_after(4)))
    resumed = list(train(corpus, config, resume=reports[-1].snapshot, best=best_of_stopped(uncut)))

    assert resumed[-1].best_train_eval_nats == uncut.best_train_eval_nats


def best_of_stopped(finished: Finished) -> Best:
    assert finished.best_val_nats is not None
    return Best(finished.best_val_nats, 1.0, finished.best_step, weights=finished.best_weights)


# A run that becomes shorter or longer


def rates_of(reports: list[Report]) -> list[float]:
    return [report.learning_rate for report in reports_of(Progress, reports)]


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize(("before", "after"), [(100, 300), (300, 160)])
def test_the_rate_makes_no_jump_at_a_resume(schedule: str, before: int, after: int) -> None:
    corpus = make_corpus()
    settings = {"lr_schedule": schedule, "learning_rate": 0.01, "eval_every": 19}
    cut = list(train(corpus, make_config(steps=before, **settings), should_stop=stop_after(99)))
    config = make_config(steps=after, **settings)
    twice = list(train(corpus, config, resume=cut[-1].snapshot, should_stop=stop_after(5)))
    rest = list(train(corpus, config, resume=twice[-1].snapshot))
    whole = list(train(corpus, config, resume=cut[-1].snapshot))

    rates = rates_of(cut) + rates_of(whole)
    assert len(rates) == after
    assert max(abs(b - a) for a, b in pairwise(rates)) <= 0.01 / 5
    assert 0 <= min(rates) <= max(rates) <= 0.01
    assert rates_of(twice) + rates_of(rest) == rates_of(whole)


def test_a_state_of_an_older_version_goes_on_at_the_rate_of_its_length() -> None:
    corpus, config = make_corpus(), make_config(steps=60, learning_rate=0.01, eval_every=1)
    uncut = list(train(corpus, config))
    snapshot = list(train(corpus, config, should_stop=stop_after(30)))[-1].snapshot
    progress = {key: value for key, value in snapshot.progress.items() if key != "schedule"}
    resumed = list(train(corpus, config, resume=replace(snapshot, progress=progress)))

    assert rates_of(resumed) == rates_of(uncut)[30:]


# Nothing held out


def without_held_out(corpus: Corpus) -> Corpus:
    return replace(corpus, val=corpus.val[:0], val_chars=0)


def test_without_a_held_out_text_the_last_averaged_weights_are_kept() -> None:
    corpus = without_held_out(make_corpus())
    reports = list(train(corpus, make_config(steps=40, patience=1)))
    evaluations, finished = reports_of(Evaluation, reports), reports[-1]

    assert (finished.reason, finished.step, finished.best_step) == ("length", 40, 40)
    assert_same_arrays(finished.best_weights, evaluations[-1].weights)
    average = finished.snapshot.arrays["average.output.weight"]
    assert np.array_equal(finished.best_weights["output.weight"], average)
    assert {(e.val_nats, e.best_val_nats, e.train_eval_nats) for e in evaluations} == {
        (None, None, None)
    }
    assert all(evaluation.is_best for evaluation in evaluations)
    assert finished.best_val_nats is finished.best_val_windowed_nats is None
    assert finished.best_train_eval_nats is finished.trouble is None
    assert not finished.got_worse
    assert finished.snapshot.progress["is_finished"]


def test_without_a_held_out_text_a_stop_keeps_the_model_and_a_resume_repeats_the_rest() -> None:
    corpus, config = without_held_out(make_corpus()), make_config(steps=90, eval_every=30)
    uncut = list(train(corpus, config))[-1]
    stopped = list(train(corpus, config, should_stop=stop_after(43)))
    resumed = list(train(corpus, config, resume=stopped[-1].snapshot))[-1]

    assert [e.step for e in reports_of(Evaluation, stopped)] == [30, 43]
    assert stopped[-1].best_step == 43
    assert_same_arrays(resumed.best_weights, uncut.best_weights)
    assert_same_arrays(resumed.snapshot.arrays, uncut.snapshot.arrays)


def test_without_a_held_out_text_every_save_keeps_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("charrnn.training.loop._SNAPSHOT_SECONDS", 0.0)
    reports = list(train(without_held_out(make_corpus()), make_config(steps=5, eval_every=5)))

    saved = [type(r).__name__ for r in reports if isinstance(r, Evaluation | Snapshot)]
    assert saved == ["Evaluation", "Snapshot"] * 5


def test_without_a_held_out_text_weights_that_are_no_numbers_are_never_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("charrnn.training.trainer.Schedule.rate_at", lambda *_: math.nan)
    kept: list[Report] = []

    with pytest.raises(DivergedError):
        collect(train(without_held_out(make_corpus()), make_config(eval_every=1)), kept)
    assert reports_of(Snapshot, kept) == reports_of(Evaluation, kept) == []


@pytest.mark.parametrize("length", [{"budget": "0.3s"}, {"epochs": 1.0}])
def test_without_a_held_out_text_any_length_is_kept(length: dict[str, Any]) -> None:
    finished = list(train(without_held_out(make_corpus()), make_config(**length)))[-1]

    assert finished.reason == "length"
    assert finished.best_step == finished.step


# Memory


@pytest.mark.parametrize("kind", [Started, Evaluation, Snapshot, Finished])
def test_memory_that_runs_out_while_a_report_is_written_is_not_blamed_on_the_sizes(
    kind: type,
) -> None:
    def record(report: Report) -> list[Report]:
        if isinstance(report, kind):
            raise MemoryError
        return [report]

    with pytest.raises(OutOfMemoryError, match=f"write the {kind.__name__.lower()} ") as caught:
        list(train(make_corpus(), make_config(), record=record))
    assert "hidden_size" not in str(caught.value)


def test_lanes_in_slices_learn_what_all_lanes_at_once_learn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    corpus, config = make_corpus(), make_config(steps=12, batch_size=5, clip_grad_norm=0.1)
    whole = list(train(corpus, config))
    monkeypatch.setattr("charrnn.training.trainer.choose_micro_batches", lambda *_: 2)
    sliced = list(train(corpus, config))

    assert (whole[0].micro_batches, sliced[0].micro_batches) == (1, 2)
    for name, weight in whole[-1].snapshot.weights.items():
        assert np.allclose(weight, sliced[-1].snapshot.weights[name], atol=1e-5), name


def fail_above(monkeypatch: pytest.MonkeyPatch, lanes: int, first_step: int = 0) -> None:
    """Let windows of more lanes run out of memory, from a step on."""
    honest, first = CharRNN.loss_sum, len(STEPS)

    def greedy(self: CharRNN, ids: Any, *rest: Any) -> Any:
        if len(ids) > lanes and len(STEPS) - first >= first_step:
            raise MemoryError
        return honest(self, ids, *rest)

    monkeypatch.setattr(CharRNN, "loss_sum", greedy)


def test_too_little_memory_at_the_start_cuts_the_lanes_into_slices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail_above(monkeypatch, lanes=2)
    started, *_, finished = train(make_corpus(), make_config(batch_size=8))

    assert (started.micro_batches, finished.reason) == (4, "length")


def test_too_little_memory_on_the_way_is_told_and_survived(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    corpus, config = make_corpus(), make_config(steps=12, batch_size=4)
    whole = list(train(corpus, config))[-1]
    fail_above(monkeypatch, lanes=1, first_step=7)
    reports = list(train(corpus, config))

    (incident,) = reports_of(Incident, reports)
    assert (incident.kind, incident.step, incident.micro_batches) == ("memory", 7, 4)
    assert reports[-1].snapshot.progress["slices"] == 4
    for name, weight in whole.snapshot.weights.items():
        assert np.allclose(weight, reports[-1].snapshot.weights[name], atol=1e-5), name


def test_too_little_memory_for_one_lane_names_the_settings_to_lower(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail_above(monkeypatch, lanes=0)

    with pytest.raises(OutOfMemoryError, match=r"lower hidden_size, num_layers or seq_len"):
        next(train(make_corpus(), make_config()))


def test_a_snapshot_of_another_shape_is_refused() -> None:
    corpus = make_corpus()
    snapshot = reports_of(Snapshot, list(train(corpus, make_config(steps=8))))[-1]
    arrays = {k: v for k, v in snapshot.arrays.items() if "second_moment" not in k}

    with pytest.raises(Exception, match=r"saved training state does not fit"):
        next(train(corpus, make_config(steps=20), resume=replace(snapshot, arrays=arrays)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("cell", CELLS, ids=lambda c: "-".join(c.values()))
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.filterwarnings("ignore:RNN module weights:UserWarning")
def test_every_cell_learns_on_a_gpu(cell: dict[str, str], precision: str) -> None:
    corpus = corpus_from_text("the cat sat on the mat. " * 40)
    settings = {"device": "cuda", "precision": precision, "hidden_size": 16, **cell}
    config = make_config(steps=120, learning_rate=0.02, **settings)

    evaluations = reports_of(Evaluation, list(train(corpus, config)))

    assert evaluations[-1].val_nats < 0.5 * evaluations[0].val_nats


def test_training_leaves_the_callers_floating_point_as_it_was() -> None:
    config = TrainConfig(steps=2, hidden_size=4, seq_len=3, batch_size=2)
    list(train(corpus_from_text("abc" * 99), config))
    assert float(np.float64(1e-310) * 0.5) != 0
