"""What a sweep tries: lists, ranges, their types, and which combinations become trials."""

from __future__ import annotations

import math
from typing import Any

import pytest

from charrnn.config.sweep import Axis, SweepConfig, as_over, draw_trials, parse_axis
from charrnn.errors import ConfigError


def drawn(*over: str, seed: int = 1, **settings: Any) -> list[dict[str, Any]]:
    return draw_trials(SweepConfig(over=over, **settings), seed)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("hidden_size=128,256,512", (128, 256, 512)),
        ("hidden-size = 128 , 256", (128, 256)),
        ("--dropout=0,.25", (0.0, 0.25)),
        ("residual=on,false", (True, False)),
        ("cell=gru,lstm", ("gru", "lstm")),
        ("parameters=250k,1M", ("250k", "1M")),
        ("min_count=1,2", (1, 2)),
        ("learning_rate=1e-3..1e-1:log:3", (0.001, 0.01, 0.1)),
        ("hidden_size=64..512:log:4", (64, 128, 256, 512)),
        ("num_layers=1..3:5", (1, 2, 3)),  # whole numbers come once
        ("dropout=0..0.5:3", (0.0, 0.25, 0.5)),
    ],
)
def test_lists_have_the_type_of_their_setting(text: str, values: tuple[Any, ...]) -> None:
    axis = parse_axis(text)

    assert axis.values == values
    assert list(map(type, axis.values)) == list(map(type, values))


def test_a_range_has_every_value_between_its_ends() -> None:
    rates = parse_axis("learning_rate=0.001..0.01:log")

    assert rates == Axis("learning_rate", (), 0.001, 0.01, is_log=True)
    assert [rates.at(place) for place in (0, 0.5, 1)] == [0.001, 0.00316, 0.01]
    assert parse_axis("dropout=0..0.5").at(0.5) == 0.25
    units = parse_axis("hidden_size=100..200")
    assert units.is_whole
    assert units.at(0.503) == 150
    assert parse_axis("clip_grad_norm=1..4:int").at(0.6) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hiden_size=128", "there is no setting 'hiden_size'; did you mean 'hidden_size'?"),
        ("skip=true", "there is no setting 'skip'; it is 'residual' now"),
        ("hidden_size", "'hidden_size' has no values; write it as"),
        ("hidden_size=", "has no values"),
        ("hidden_size=128,big", "has 'big'; each value must be a whole number"),
        ("hidden_size=128.5", "must be a whole number"),
        ("learning_rate=fast", "must be a number"),
        ("residual=maybe", "must be true or false"),
        ("hidden_size=8,8", "has 8 twice"),
        ("learning_rate=0.1..0.01", "does not rise"),
        ("learning_rate=0..1:log", "begins at 0; with :log it must be above 0"),
        ("learning_rate=0.1..0.2:lin", "ends with 'lin'; it may end with :log, :int, or"),
        ("learning_rate=0.1..0.2:1", "ends with '1'"),
        ("learning_rate=a..b", "'a..b' is no range"),
        ("hidden_size=1.2..1.8", "has no whole number in it"),
        ("learning_rate=1..1e999", "does not rise"),
        ("cell=1..3", "cell is no number, so it has no range"),
        ("steps=10,20", "steps cannot be tried: all trials have the same length"),
        ("eval_every=10", "the sweep chooses when trials are compared"),
        ("lowercase=true,false", "it changes the held-out text"),
        ("name=a,b", "it is the same for all"),
        ("sample_prompt=a,b", "it changes no model"),
    ],
)
def test_what_cannot_be_tried_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_axis(text)
    assert words in refused.value.message


def test_lists_make_every_combination_in_order() -> None:
    trials = drawn("cell=gru,lstm", "num_layers=1,2")

    assert [(each["cell"], each["num_layers"]) for each in trials] == [
        *(("gru", 1), ("gru", 2), ("lstm", 1), ("lstm", 2)),
    ]
    assert drawn("cell=gru,lstm", "num_layers=1,2", strategy="grid") == trials
    assert drawn("cell=gru,lstm", "num_layers=1,2", trials=9) == trials


def test_draws_are_seeded_all_different_and_cover_each_setting_evenly() -> None:
    over = ("learning_rate=0.001..0.1:log", "cell=gru,lstm,rnn")
    trials = drawn(*over, trials=12, seed=5)

    assert trials == drawn(*over, trials=12, seed=5)
    assert trials != drawn(*over, trials=12, seed=6)
    assert len({tuple(each.items()) for each in trials}) == 12
    cells = [each["cell"] for each in trials]
    assert {cell: cells.count(cell) for cell in cells} == {"gru": 4, "lstm": 4, "rnn": 4}
    thirds = [math.floor(6 * math.log10(each["learning_rate"] / 0.001)) for each in trials]
    assert sorted(min(each, 11) for each in thirds) == list(range(12))
    assert all(0.001 <= each["learning_rate"] <= 0.1 for each in trials)


def test_some_of_the_combinations_are_all_different() -> None:
    trials = drawn("hidden_size=1,2,3", "num_layers=1,2,3", trials=7)

    assert len({tuple(each.items()) for each in trials}) == 7
    assert len(drawn("learning_rate=0.1..0.2")) == 9
    assert len(drawn("hidden_size=1..3", trials=50)) == 3  # there are no more


@pytest.mark.parametrize(
    ("over", "settings", "words"),
    [
        ((), {}, "there is nothing to try; say what, as in: --over hidden_size=128,256"),
        (("cell=gru",), {}, "make 1 combinations, too few"),
        (("seed=1..40:40", "hidden_size=1..40:40"), {}, "1,600 combinations, more than 1,000"),
        (("learning_rate=0.1..0.2",), {"strategy": "grid"}, "needs a list of values of learn"),
        (("cell=gru,rnn",), {"strategy": "grid", "trials": 2}, "leave --trials out"),
        (("cell=gru,rnn",), {"strategy": "grid", "rungs": 2}, "leave --rungs out"),
        (("cell=gru,rnn", "cell=lstm"), {}, "--over has cell twice"),
        (("cell=gru,rnn",), {"budget": "soon"}, "is not a length of time"),
        (("cell=gru,rnn",), {"then_train": "0s"}, "is not a length of time"),
        (("cell=gru,rnn",), {"trials": 1}, "trials is 1; it must be at least 2"),
        (("cell=gru,rnn",), {"strategy": "tpe"}, "choose from halving, random, grid"),
    ],
)
def test_what_makes_no_sweep_is_refused_in_words(
    over: tuple[str, ...], settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        drawn(*over, **settings)
    assert words in refused.value.message


def test_python_gives_values_by_name() -> None:
    over = as_over({"hidden_size": [8, 9], "residual": [True, False], "learning_rate": "1..2:log"})

    assert over == ("hidden_size=8,9", "residual=True,False", "learning_rate=1..2:log")
    assert SweepConfig(over=over, budget=90).axes[1].values == (True, False)
    assert as_over("cell=gru,lstm") == ("cell=gru,lstm",)
