"""What None becomes: sizes, windows and steps from the text and the time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from charrnn.config import TrainConfig
from charrnn.training.clock import Clock
from charrnn.training.plan import Plan, choose_teachers, make_plan


def plan_for(train_tokens: int, **settings: object) -> Plan:
    return make_plan(TrainConfig(**settings), vocab_size=65, train_tokens=train_tokens)  # type: ignore[arg-type]


def test_more_work_in_a_step_reads_the_text_fewer_times_so_less_is_dropped() -> None:
    wide, deep = {"batch_size": 64}, {"num_layers": 4}
    plain, *others = (
        plan_for(1_000_000, budget="5m", hidden_size=256, **settings).model.dropout
        for settings in ({}, wide, deep)
    )

    assert others[0] == plain
    assert others[1] < plain


def test_steps_that_are_slow_here_read_the_text_fewer_times_so_less_is_dropped() -> None:
    config = TrainConfig(budget="5m")
    slow, fast = (
        make_plan(config, 65, 1_000_000, step_seconds=seconds).model for seconds in (0.2, 0.02)
    )

    assert slow.dropout < fast.dropout
    assert slow.hidden_size == fast.hidden_size


def test_what_is_asked_for_is_not_chosen() -> None:
    plan = plan_for(
        1_000_000,
        hidden_size=7,
        embedding_size=5,
        seq_len=11,
        batch_size=3,
        learning_rate=0.5,
        dropout=0.3,
        eval_every=13,
    )

    assert (plan.model.hidden_size, plan.model.embedding_size, plan.model.dropout) == (7, 5, 0.3)
    assert (plan.seq_len, plan.batch_size, plan.learning_rate, plan.eval_every) == (11, 3, 0.5, 13)


def test_more_time_takes_a_larger_network() -> None:
    sizes = [
        plan_for(9_000_000, budget=b).model.hidden_size for b in ("2s", "20s", "1m", "3m", "1h")
    ]

    assert sizes == sorted(set(sizes))


def test_n_grams_do_in_a_short_run_what_units_do_without_them() -> None:
    for budget, alone, with_ngrams in (("5s", 128, 64), ("15s", 256, 128), ("1h", 512, 256)):
        sizes = [
            plan_for(1_000_000, budget=budget, ngram_order=order).model.hidden_size
            for order in (1, None)
        ]
        assert sizes == [alone, with_ngrams]


def test_a_long_time_on_a_short_text_goes_into_teachers() -> None:
    def teachers(budget: str, tokens: int, speed: float = 1.0) -> int:
        return choose_teachers(TrainConfig(budget=budget), 65, tokens, speed)

    counts = [teachers(budget, 1_000_000) for budget in ("1m", "10m", "30m", "4h")]
    assert counts == [0, 2, 4, 8]
    assert teachers("30m", 20_000_000) == 0
    assert teachers("5m", 100_000) == 4
    assert teachers("30s", 100_000) == 0  # too short for even two
    assert teachers("10m", 1_000_000, speed=4.0) >= teachers("10m", 1_000_000)


def test_a_length_in_steps_has_no_teachers_by_itself() -> None:
    assert choose_teachers(TrainConfig(steps=10**6), 65, 100_000) == 0


def test_with_teachers_a_network_is_larger_and_reads_its_text_in_fewer_lanes() -> None:
    config = TrainConfig(budget="1h")
    alone = make_plan(config, 65, 1_000_000)
    taught = make_plan(config, 65, 1_000_000, has_teachers=True)

    assert alone.model.hidden_size < taught.model.hidden_size
    assert (alone.written_lanes, taught.written_lanes) == (0, 15)


def test_a_faster_machine_takes_the_network_of_more_time() -> None:
    faster = make_plan(TrainConfig(budget="15s"), 65, 1_000_000, speed=4.0)

    assert faster.model == plan_for(1_000_000, budget="60s").model


def test_more_steps_take_a_larger_network() -> None:
    sizes = [
        plan_for(9_000_000, steps=n).model.hidden_size for n in (400, 4_000, 9_000, 13_000, 90_000)
    ]

    assert sizes == sorted(set(sizes))


def test_a_large_alphabet_reads_its_text_fewer_times_so_less_is_dropped() -> None:
    few, many = (make_plan(TrainConfig(budget="1m"), v, 500_000).model for v in (65, 6_000))

    assert many.dropout < few.dropout


def test_a_short_text_takes_a_small_network_whatever_the_time() -> None:
    assert plan_for(2_000, budget="1d").model.hidden_size == 64


@pytest.mark.parametrize(("record_count", "share"), [(4_000, 0.75), (1_000, 1.0)])
def test_where_a_window_holds_several_records_there_is_less_dropout(
    record_count: int, share: float
) -> None:
    running = plan_for(200_000, budget="1m").model.dropout
    config = TrainConfig(budget="1m")
    plan = make_plan(config, 65, 200_000, label_count=0, record_count=record_count)

    assert plan.model.dropout == pytest.approx(share * running, abs=0.01)
    given = make_plan(replace(config, dropout=0.3), 65, 200_000, label_count=0, record_count=9_999)
    assert given.model.dropout == 0.3


def test_a_text_read_many_times_is_held_back_by_dropout() -> None:
    dropouts = [plan_for(n, budget="1m").model.dropout for n in (10_000_000, 1_000_000, 50_000)]

    assert dropouts == sorted(set(dropouts))


def test_a_tied_output_takes_an_embedding_as_wide_as_the_state() -> None:
    model = plan_for(1_000_000, tie_embeddings=True).model

    assert model.embedding_size == model.hidden_size


def test_a_tied_output_takes_an_embedding_of_the_size_that_is_asked_for() -> None:
    model = plan_for(1_000_000, tie_embeddings=True, embedding_size=96).model

    assert (model.embedding_size, model.has_projection) == (96, True)


def test_a_large_alphabet_is_tied_to_a_wider_embedding_unless_it_is_asked_not_to_be() -> None:
    large = make_plan(TrainConfig(budget="10m"), 6_000, 700_000).model
    untied = make_plan(TrainConfig(budget="10m", tie_embeddings=False), 6_000, 700_000).model

    assert (large.tie_embeddings, untied.tie_embeddings) == (True, False)
    assert large.embedding_size == untied.embedding_size == 256
    assert not plan_for(1_000_000).model.tie_embeddings


@pytest.mark.parametrize("train_tokens", [9, 20, 100, 270, 1000, 4000, 10_000])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_windows_are_made_to_fit_a_short_text(train_tokens: int, cell: str) -> None:
    plan = plan_for(train_tokens, cell=cell)

    assert train_tokens - 1 >= plan.batch_size * plan.seq_len >= min(8, train_tokens - 1)


def test_a_size_that_is_asked_for_is_not_made_to_fit() -> None:
    plan = plan_for(100, seq_len=50)

    assert plan.seq_len == 50
    assert plan.batch_size == 1


def test_epochs_are_counted_in_whole_windows() -> None:
    plan = plan_for(10_001, epochs=3, seq_len=10, batch_size=4)

    assert plan.total_steps == 3 * (10_000 // (4 * 10) - 1)  # epochs begin up to a window late


def test_steps_are_taken_as_they_are() -> None:
    assert plan_for(10_000, steps=123).total_steps == 123


def test_a_run_of_steps_is_evaluated_twenty_times() -> None:
    assert plan_for(10_000, steps=1000).eval_every == 50


def test_under_a_time_budget_the_steps_are_open() -> None:
    assert plan_for(10_000, budget="10s").total_steps is None


class FakeTime:
    """Stands in for the time module; a step or evaluation moves it on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 100.0
        monkeypatch.setattr("charrnn.training.clock.time", self)

    def perf_counter(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    return FakeTime(monkeypatch)


def run_steps(pace: Clock, clock: FakeTime, count: int, seconds: float) -> None:
    for _ in range(count):
        clock.seconds += seconds
        pace.end_steps(1)


def test_the_steps_that_fit_are_told_from_the_first_ones(clock: FakeTime) -> None:
    config, pace = TrainConfig(budget="100s"), Clock(100.0)
    plan = make_plan(config, 65, 1_000_000)
    step = 0
    while plan.total_steps is None:
        step += 1
        run_steps(pace, clock, 1, 0.1)
        plan = pace.fix_steps(step, plan, config, val_tokens=0)

    assert step < config.warmup_steps
    assert plan.total_steps == pytest.approx(1000, rel=0.01)


def test_slow_first_steps_do_not_count(clock: FakeTime) -> None:
    config, pace = TrainConfig(budget="100s"), Clock(100.0)
    run_steps(pace, clock, 4, 1.0)
    run_steps(pace, clock, 60, 0.1)
    plan = pace.fix_steps(64, make_plan(config, 65, 1_000_000), config, val_tokens=0)

    assert plan.total_steps == pytest.approx(64 + 90 / 0.1, rel=0.01)


def test_costly_evaluations_are_made_less_often(clock: FakeTime) -> None:
    config, pace = TrainConfig(budget="100s"), Clock(100.0)
    run_steps(pace, clock, 90, 0.1)
    plan = make_plan(config, 65, 1_000_000)
    cheap = pace.fix_steps(90, plan, config, val_tokens=1000)
    costly = Clock(100.0)
    costly.end_evaluation()
    run_steps(costly, clock, 90, 0.1)
    costly_plan = costly.fix_steps(90, plan, config, val_tokens=100_000)

    assert cheap.eval_every is not None
    assert costly_plan.eval_every is not None
    assert costly_plan.eval_every >= cheap.eval_every


def test_a_machine_that_slows_down_gets_fewer_steps(clock: FakeTime) -> None:
    config, pace = TrainConfig(budget="100s"), Clock(100.0)
    run_steps(pace, clock, 90, 0.1)
    plan = pace.fix_steps(90, make_plan(config, 65, 1_000_000), config, val_tokens=0)
    run_steps(pace, clock, 90, 0.3)
    slower = pace.adjust(180, plan, config)

    assert plan.total_steps is not None
    assert slower.total_steps is not None
    assert slower.total_steps < plan.total_steps


def test_a_machine_that_keeps_its_speed_keeps_its_steps(clock: FakeTime) -> None:
    config, pace = TrainConfig(budget="100s"), Clock(100.0)
    run_steps(pace, clock, 90, 0.1)
    plan = pace.fix_steps(90, make_plan(config, 65, 1_000_000), config, val_tokens=0)
    run_steps(pace, clock, 90, 0.101)

    assert pace.adjust(180, plan, config) is plan


@pytest.mark.parametrize("eval_every", [None, 3, 50, 5000])
@pytest.mark.parametrize(
    ("budget", "step_seconds", "evaluation_seconds"),
    [(300, 0.009, 0.3), (60, 0.009, 0.5), (60, 0.009, 20.0), (4, 0.005, 0.05), (1, 0.003, 0.1)],
)
def test_a_run_takes_its_time_whatever_an_evaluation_takes(
    clock: FakeTime,
    budget: float,
    step_seconds: float,
    evaluation_seconds: float,
    eval_every: int | None,
) -> None:
    config = TrainConfig(budget=f"{budget}s", eval_every=eval_every)
    pace, plan, step = Clock(budget), make_plan(config, 65, 1_000_000), 0
    while plan.total_steps is None or step < plan.total_steps:
        step += 1
        run_steps(pace, clock, 1, step_seconds)
        plan = pace.fix_steps(step, plan, config, val_tokens=1000)
        if plan.eval_every and (step % plan.eval_every == 0 or step == plan.total_steps):
            clock.seconds += evaluation_seconds
            pace.end_evaluation()
            plan = pace.adjust(step, plan, config)

    longest_wait = evaluation_seconds + (eval_every or 0) * step_seconds
    assert 0.85 * budget - longest_wait <= pace.elapsed_seconds <= 1.05 * budget + longest_wait


def test_time_before_a_resume_counts(clock: FakeTime) -> None:
    pace = Clock(100.0, elapsed_before=40.0)
    clock.seconds += 5

    assert pace.elapsed_seconds == pytest.approx(45)


@pytest.mark.parametrize(
    ("tokens", "settings", "order", "rows"),
    [
        (4_999, {}, 1, 0),
        (5_500, {}, 5, 1_916),
        (4_999, {"ngram_rows": 4_096}, 5, 4_096),
        (5_500, {"ngram_rows": 0}, 1, 0),
        (4_999, {"ngram_order": 3}, 3, 1_784),
        (5_500, {"ngram_order": 1, "ngram_rows": 0}, 1, 0),
    ],
)
def test_n_grams_follow_from_the_text_or_from_either_setting(
    tokens: int, settings: dict[str, int], order: int, rows: int
) -> None:
    model = plan_for(tokens, steps=3, **settings).model

    assert (model.ngram_order, model.ngram_rows) == (order, rows)
