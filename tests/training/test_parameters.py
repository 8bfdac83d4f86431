"""--parameters: how a number of weights becomes a number of units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.config import TrainConfig
from charrnn.config.train import parse_count
from charrnn.errors import ConfigError
from charrnn.training.plan import size_for_parameters

SMALL: dict[str, Any] = {"steps": 2, "threads": 1, "batch_size": 2, "seq_len": 5}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        *[("250k", 250_000), ("1M", 1_000_000), ("1.5m", 1_500_000), ("7", 7)],
        *[("1_000_000", 10**6), ("12,345", 12_345), ("1,250.5k", 1_250_500), ("1000000", 10**6)],
    ],
)
def test_a_count_may_have_a_unit(text: str, count: int) -> None:
    assert parse_count(text) == count
    assert TrainConfig(parameters=text).parameter_count == count


def test_a_count_may_be_a_number() -> None:
    assert TrainConfig(parameters=1_000_000).parameter_count == 1_000_000  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        *["", "0", "k", "1T", "-5", "1e6", "1 000", "many", "9" * 30],
        *["1,5M", "1,", "1_", "1_5", "12,34", "1,0000", "1000,000", "1,000_000"],
    ],
)
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a number of parameters; write 250k"):
        TrainConfig(parameters=text)


def test_a_size_cannot_be_given_twice() -> None:
    with pytest.raises(ConfigError, match="leave hidden_size or parameters out"):
        TrainConfig(parameters="1M", hidden_size=6)


@pytest.mark.parametrize("count", [4, 5, 84, 103, 104, 10**6])
def test_the_most_units_that_fit_are_chosen(count: int) -> None:
    def parameters_of(units: int) -> int:
        return units * units + 3

    units = size_for_parameters(count, parameters_of)

    assert parameters_of(units) <= count < parameters_of(units + 1)


def counted_in(run: str) -> int:
    """Return the weights of a run that --parameters counts: all but the table of n-grams."""
    about = charrnn.describe(run)
    weights: int = about["parameters"] - about["ngram_rows"] * about["embedding_size"]
    return weights


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize(
    "shape", [{}, {"num_layers": 2}, {"tie_embeddings": True}, {"embedding_size": 3}], ids=str
)
def test_a_run_has_as_many_weights_as_asked_for(book: str, cell: str, shape: Any) -> None:
    sizes = {**SMALL, **shape, "ngram_rows": 1_000}
    charrnn.fit(book, cell=cell, parameters="2k", name="a", **sizes)
    about = charrnn.describe("a")
    more = {**sizes, "cell": cell, "name": "b", "hidden_size": about["hidden_size"] + 1}
    charrnn.fit(book, **more)

    assert counted_in("a") <= 2_000 < counted_in("b")
    assert about["parameters"] > 2_000  # with those of n-grams


def test_too_few_weights_are_refused_with_the_fewest(book: str) -> None:
    with pytest.raises(ConfigError, match=r"more than 10; give parameters=\d+ or") as caught:
        charrnn.fit(book, parameters=10, **SMALL)
    assert not Path("checkpoints").exists()
    fewest = int(str(caught.value).partition("give parameters=")[2].split()[0])

    charrnn.fit(book, parameters=fewest, name="a", **SMALL)
    assert counted_in("a") == fewest


def test_such_a_run_resumes_and_its_settings_repeat_it(book: str) -> None:
    settings = {**SMALL, "steps": 4, "parameters": "2k"}
    charrnn.fit(book, name="whole", **settings)
    charrnn.fit(book, name="cut", should_stop=lambda: True, **settings)
    charrnn.fit(resume="cut")
    resolved = (Path("checkpoints") / "whole" / "resolved.toml").read_text(encoding="utf-8")

    assert charrnn.describe("cut")["val_nats"] == charrnn.describe("whole")["val_nats"]
    assert "hidden_size = " in resolved
    assert "parameters" not in resolved


def test_a_model_to_start_from_keeps_its_size(book: str) -> None:
    charrnn.fit(book, name="first", hidden_size=4, **SMALL)
    with pytest.raises(ConfigError, match="leave parameters out, or train a new model"):
        charrnn.fit(book, init_from="first", parameters="2k", **SMALL)
