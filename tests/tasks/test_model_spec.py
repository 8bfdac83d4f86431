"""NAME:WEIGHT as a person writes it: the number after the last colon, names with colons too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import ConfigError
from charrnn.tasks.open_models import ModelSpec, parse_model_specs, parse_negative_model


@pytest.mark.parametrize(
    ("text", "name", "weight"),
    [
        ("book", "book", 1),
        ("book:2", "book", 2),
        ("book:0.25", "book", 0.25),
        ("book:.5", "book", 0.5),
        ("book:1e-3", "book", 0.001),
        ("book:3.", "book", 3),
        ("runs/book/best.safetensors:2", "runs/book/best.safetensors", 2),
        ("C:\\runs\\book", "C:\\runs\\book", 1),
        ("C:\\runs\\book:0.5", "C:\\runs\\book", 0.5),
        ("C:/runs/2", "C:/runs/2", 1),
        ("draft:two", "draft:two", 1),
        ("draft:2:1", "draft:2", 1),
        ("draft:nan", "draft:nan", 1),
        ("draft:inf", "draft:inf", 1),
        ("draft:1_0", "draft:1_0", 1),
        ("draft:٣", "draft:٣", 1),
    ],
)
def test_a_weight_is_the_number_after_the_last_colon(text: str, name: str, weight: float) -> None:
    assert parse_model_specs(None, [text]) == [ModelSpec(name, weight)]


@pytest.mark.parametrize("text", ["", ":", ":2", "book:", "book:0", "book:-1", "book:1001"])
def test_what_names_no_model_or_no_weight_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_model_specs(None, ["a:1", text])
    assert str(caught.value) == (
        f"-m is {text!r}; write a model's name, a colon and its weight, above 0 and at most 1000, "
        "such as book:1"
    )


def test_a_weight_too_large_for_a_float_is_refused() -> None:
    with pytest.raises(ConfigError, match="at most 1000"):
        parse_model_specs(None, ["book:1e999"])


@given(st.text(min_size=1), st.floats(min_value=1e-300, max_value=1000))
def test_any_name_with_a_weight_comes_back(name: str, weight: float) -> None:
    assert parse_model_specs(None, [f"{name}:{weight!r}"]) == [ModelSpec(name, weight)]


def test_without_m_the_model_stands_alone() -> None:
    assert parse_model_specs("book", []) == [ModelSpec("book", 1)]
    assert parse_model_specs(None, []) == [ModelSpec(None, 1)]


def test_models_keep_the_order_in_which_they_were_given() -> None:
    assert parse_model_specs(None, ["b:2", "a", "b:1"]) == [
        ModelSpec("b", 2),
        ModelSpec("a", 1),
        ModelSpec("b", 1),
    ]


def test_a_model_by_both_ways_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_model_specs("book", ["tale:2"])
    assert str(caught.value) == (
        "MODEL 'book' and -m 'tale:2' both name a model; give each one by -m"
    )


def test_a_guide_has_a_strength_and_a_usual_one() -> None:
    assert parse_negative_model("book") == ModelSpec("book", 0.5)
    assert parse_negative_model("book:1.5") == ModelSpec("book", 1.5)
    with pytest.raises(
        ConfigError, match=r"^--negative-model is 'book:0'; .* its strength, .*book:0\.5$"
    ):
        parse_negative_model("book:0")
