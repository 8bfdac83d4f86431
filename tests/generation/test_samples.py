"""Whole samples from a batch: what ends them, and what each of their characters costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.generation import generator
from charrnn.generation.samples import Sample
from charrnn.tasks.model import Model
from charrnn.text.vocab import Vocab
from tests.generation.random_models import NGRAMS


@pytest.fixture(params=[{}, NGRAMS], ids=["characters", "n-grams"])
def model(make_model: Callable[..., ModelFile], request: pytest.FixtureRequest) -> Model:
    return Model(make_model(**request.param))


def texts_of(samples: Any) -> list[str]:
    return [sample.text for sample in samples]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"lines": 2},
        {"stop": ("ab", "é")},
        {"stop_regex": "b+a"},
        {"length": 0},
        {"temperature": 1.5, "top_k": 3, "dry_penalty": 1.0, "dry_length": 2},
    ],
)
def test_each_of_many_texts_is_the_one_of_its_index(model: Model, settings: dict[str, Any]) -> None:
    settings = {"length": 40, "seed": 3} | settings

    many = list(model.generate_many("ab", count=11, **settings))

    alone = [model.generate("ab", index=index, **settings) for index in range(11)]
    assert texts_of(many) == ["".join(stream) for stream in alone]
    assert [sample.stopped_by for sample in many] == [stream.reason for stream in alone]
    assert [sample.index for sample in many] == list(range(11))


def test_texts_do_not_depend_on_how_many_are_sampled_at_once(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = texts_of(model.generate_many(count=20, length=30, seed=1))
    monkeypatch.setattr(generator, "_LARGEST_BATCH", 8)

    assert texts_of(model.generate_many(count=20, length=30, seed=1)) == whole
    assert texts_of(model.generate_many(count=3, first=9, length=30, seed=1)) == whole[9:12]


def test_without_a_newline_each_text_begins_somewhere_else(
    make_model: Callable[..., ModelFile],
) -> None:
    file = make_model()
    model = Model(ModelFile(file.config, Vocab("abcde"), file.weights, {}))

    many = texts_of(model.generate_many(count=9, length=9, seed=2, temperature=0))

    assert many == [
        "".join(model.generate(index=i, length=9, seed=2, temperature=0)) for i in range(9)
    ]
    assert len(set(many)) > 1


def test_characters_cost_what_score_says(model: Model) -> None:
    samples = model.generate_many(
        "ab", count=9, length=20, seed=4, alternatives=2, top_k=3, stop=("bb",)
    )

    for sample in samples:
        bits = model.score("ab" + sample.text).bits[2:]
        assert [cost.nats for cost in sample.costs] == pytest.approx(bits * math.log(2), rel=1e-3)
        assert sample.bpc == pytest.approx(bits.mean(), rel=1e-3) or not sample.text


def test_alternatives_are_the_likeliest_in_order(model: Model) -> None:
    (sample,) = model.generate_many(count=1, length=5, seed=1, alternatives=3)

    for index, cost in enumerate(sample.costs):
        named = model.next_chars("\n" + sample.text[:index], 3)
        assert [name for name, _ in cost.top] == [name for name, _ in named]
        assert [math.exp(-nats) for _, nats in cost.top] == pytest.approx(
            [share for _, share in named], rel=1e-3
        )


def test_a_character_of_several_bytes_costs_their_sum(make_model: Callable[..., ModelFile]) -> None:
    """Of a model whose only likely ids are the bytes of é, in turn or not."""
    file = make_model(vocab_size=257, num_layers=1)
    bias = np.full(257, -30, np.float32)
    bias[[1 + 0xC3, 1 + 0xA9]] = 0
    weights = file.weights | {"output.bias": bias}
    weights["output.weight"] = np.zeros_like(weights["output.weight"])
    model = Model(ModelFile(file.config, Vocab("x", has_bytes=True), weights, {}))

    (sample,) = model.generate_many(count=1, length=30, seed=1, alternatives=1, temperature=1.0)

    assert len(sample.costs) == len(sample.text) == 30
    for char, cost in zip(sample.text, sample.costs, strict=True):
        if char == "é":
            assert cost.nats == pytest.approx(2 * math.log(2), rel=1e-3)
        else:
            assert cost.nats == pytest.approx(math.log(2), rel=1e-3)
    assert {"é", "\ufffd"} == set(sample.text)


def test_a_text_without_costs_has_no_bits_per_character() -> None:
    assert math.isnan(Sample(0, "ab", "length").bpc)


def test_a_context_can_be_continued_again_and_again(model: Model) -> None:
    context = model.read("ab é")

    forked = ["".join(model.generate("a", after=context, seed=s, length=9)) for s in (1, 2)]

    assert forked == ["".join(model.generate("ab éa", seed=s, length=9)) for s in (1, 2)]
    assert "".join(
        model.generate(after=context, seed=1, length=9, presence_penalty=1.0)
    ) == "".join(model.generate("ab é", seed=1, length=9, presence_penalty=1.0))
