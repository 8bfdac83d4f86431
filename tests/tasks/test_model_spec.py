"""NAME:WEIGHT as a person writes it: the number after the last colon, names with colons too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import ConfigError
from charrnn.tasks.open_models import open_models, parse_model_spec


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
    assert parse_model_spec(text) == (name, weight)


@pytest.mark.parametrize("text", ["", ":", ":2", "book:", "book:0", "book:-1", "book:1001"])
def test_a_missing_name_or_weight_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_models(models=["a:1", text])
    assert caught.value.message == (
        f"-m is {text!r}; write a model's name, a colon and its weight, above 0 and at most 1000, "
        "such as book:1"
    )


def test_a_weight_too_large_for_a_float_is_refused() -> None:
    with pytest.raises(ConfigError, match="at most 1000"):
        parse_model_spec("book:1e999")


@given(st.text(min_size=1), st.floats(min_value=1e-300, max_value=1000))
def test_any_name_with_a_weight_comes_back(name: str, weight: float) -> None:
    assert parse_model_spec(f"{name}:{weight!r}") == (name, weight)


def test_a_model_named_twice_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        open_models("book", ["tale:2"])
    assert caught.value.message == (
        "MODEL 'book' and -m 'tale:2' both name a model; give each one by -m"
    )


def test_a_negative_model_has_a_strength_and_a_default_one() -> None:
    assert parse_model_spec("book", is_negative=True) == ("book", 0.5)
    assert parse_model_spec("book:1.5", is_negative=True) == ("book", 1.5)
    with pytest.raises(
        ConfigError, match=r"^negative_model is 'book:0'; .* its strength, .*book:0\.5$"
    ):
        parse_model_spec("book:0", is_negative=True)
