"""What a request of POST /v1/completions may hold, and what is refused with which field."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import SampleConfig
from charrnn.generation.text_format import TextFormat
from charrnn.server.errors import RequestError
from charrnn.server.protocol import (
    COMPLETION_FIELDS,
    IGNORED,
    CompletionRequest,
    ModelInfo,
    parse_completion,
)
from charrnn.text.vocab import Vocab

INFO = ModelInfo("book", Vocab("\n abcdef"), max_chars=1000, max_prompt=50)
BYTES = ModelInfo("tang", Vocab("ab", has_bytes=True))
LINES = ModelInfo("names", Vocab("ab", has_end=True), TextFormat(record_kind="line"))


def parse(info: ModelInfo = INFO, /, **body: Any) -> CompletionRequest:
    return parse_completion(body, info)


def refusal(info: ModelInfo = INFO, /, **body: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parse_completion(body, info)
    assert caught.value.status == 400
    assert caught.value.type == "invalid_request_error"
    return caught.value


def test_an_empty_request_has_the_defaults_that_openai_documents() -> None:
    request = parse()

    assert request.prompts == ("",)
    assert (request.n, request.best_of, request.echo, request.stream) == (1, 1, False, False)
    assert (request.logprobs, request.suffix, request.include_usage) == (None, None, False)
    assert (request.config.length, request.config.temperature, request.config.top_p) == (16, 1, 1)


def test_a_seed_is_chosen_where_none_is_given() -> None:
    first, second = (parse().config.seed for _ in range(2))

    assert isinstance(first, int)
    assert first != second


def test_null_is_a_field_that_is_not_there() -> None:
    nulls = parse(**dict.fromkeys(COMPLETION_FIELDS - {"seed"}), seed=1)

    assert nulls == parse(seed=1)


def test_every_setting_of_the_sampler_is_a_field() -> None:
    assert {item.name for item in fields(SampleConfig)} <= COMPLETION_FIELDS


def test_settings_reach_the_sampler_as_they_were_given() -> None:
    given = {
        "temperature": 0.5,
        "top_k": 3,
        "dry_penalty": 0.25,
        "presence_penalty": -1,
        "lines": 2,
        "ban": ["d", "e"],
        "only": "abcde",
        "stop": "ab",
        "seed": 7,
        "length": 30,
    }

    assert parse(**given).config == SampleConfig(
        **{**given, "ban": ("d", "e"), "only": ("abcde",), "stop": ("ab",)}
    )


@pytest.mark.parametrize("name", sorted(IGNORED))
@pytest.mark.parametrize("value", [None, True, {"a": [1]}, "x"])
def test_fields_that_change_no_text_are_accepted_whatever_they_are(name: str, value: Any) -> None:
    assert parse(seed=1, **{name: value}) == parse(seed=1)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("temprature", "temperature"), ("max_token", "max_tokens"), ("loop_penalty", "dry_penalty")],
)
def test_an_unknown_field_is_refused_with_the_nearest_one(name: str, meant: str) -> None:
    error = refusal(**{name: 1})

    assert (error.param, error.code) == (name, "unknown_parameter")
    assert meant in error.message


WRONG: list[tuple[str, Any]] = [
    *(("n", value) for value in (0, 129, -1, 1.5, True, "2", [1], math.nan, 10**400)),
    *(("best_of", value) for value in (0, 129, False, "x")),
    *(("max_tokens", value) for value in (-1, 1001, 2.0, True, "16", {})),
    *(("length", value) for value in (-1, 1001, 2.0, True)),
    *(("logprobs", value) for value in (-1, 1001, True, 1.0)),
    *(("echo", value) for value in (1, 0, "true", [])),
    *(("stream", value) for value in (1, "false")),
    *(("suffix", value) for value in (1, ["a"], True)),
    *(("temperature", value) for value in (-0.1, 1e300, math.inf, math.nan, True, "1", [1])),
    *(("top_p", value) for value in (-0.1, 1.1, True, "0")),
    *(("presence_penalty", value) for value in (11, -11, True)),
    *(("frequency_penalty", value) for value in (11, -11, "1")),
    *(("seed", value) for value in (-1, 1.0, True, 1 << 64)),
    *(("stop", value) for value in (1, [1], ["a", None], {}, "", ["a", ""])),
    *(("regex", value) for value in (1, "", "(", ["a"])),
    *(("choices", value) for value in ([""], 1, [1])),
    *(("lines", value) for value in (0, True, 1.5)),
    *(("top_k", value) for value in (-1, 1.5, True)),
    *(("balanced", value) for value in (1, "yes")),
    *(("unknown", value) for value in ("ignore", 1)),
    *(("label_strength", value) for value in (0, -1, 1001, True)),
    *(("labels", value) for value in (1, [1])),
    *(("preset", value) for value in ("tame", 1)),
    *(("beam", value) for value in (-1, 10_001, True)),
    *(
        ("structured_outputs", value)
        for value in ("a", {}, {"json": {}}, {"regex": "a", "choice": ["b"]})
    ),
    *(
        ("prompt", value)
        for value in (1, True, {}, [], ["a", 1], [1, "a"], [True], [[1.0]], [None])
    ),
    *(("stream_options", value) for value in ({}, {"include_usage": True})),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=repr)
def test_a_field_of_another_type_or_out_of_range_is_named(name: str, value: Any) -> None:
    error = refusal(**{name: value})

    assert error.param is not None
    assert error.param.split("[")[0] == name
    assert len(error.message) <= 501


def test_a_message_does_not_repeat_all_that_was_sent() -> None:
    assert len(refusal(n="x" * 1_000_000).message) <= 501


def test_max_tokens_and_our_own_name_for_it_go_not_together() -> None:
    assert refusal(max_tokens=5, length=5).param == "length"


def test_nothing_may_be_written() -> None:
    assert parse(max_tokens=0, echo=True, logprobs=0).config.length == 0


def test_a_preset_is_the_ground_that_other_settings_change() -> None:
    config = parse(preset="careful", top_p=0.5).config

    assert (config.temperature, config.dry_penalty, config.top_p) == (0.5, 0.5, 0.5)
    assert parse(preset="careful", temperature=0.9).config.temperature == 0.9


def test_a_top_p_of_zero_keeps_one_character_as_openai_allows() -> None:
    assert 0 < parse(top_p=0).config.top_p < 1e-6


def test_vllms_structured_outputs_are_our_settings() -> None:
    assert parse(structured_outputs={"regex": "a+"}).config.regex == "a+"
    assert parse(structured_outputs={"choice": ["a", "b"]}).config.choices == ("a", "b")
    assert refusal(structured_outputs={"regex": "a"}, regex="b").param == "structured_outputs"


def test_settings_that_clash_are_refused() -> None:
    assert refusal(regex="a", choices=["b"]).param == "regex"
    assert "goes with sampling" in refusal(beam=4, regex="a").message


# Prompts


def test_prompts_are_a_text_or_several_or_ids_of_one_or_of_several() -> None:
    assert parse(prompt="ab").prompts == ("ab",)
    assert parse(prompt=["ab", "", "c"]).prompts == ("ab", "", "c")
    assert parse(prompt=[2, 3]).prompts == ("ab",)
    assert parse(prompt=[[2], [3, 4], []]).prompts == ("a", "bc", "")


def test_ids_of_bytes_spell_whole_characters() -> None:
    ids = BYTES.vocab.encode("a中").tolist()

    assert parse(BYTES, prompt=ids).prompts == ("a中",)
    assert "no UTF-8" in refusal(BYTES, prompt=ids[:-1]).message


@pytest.mark.parametrize("wrong", [-1, 8, 10**30])
def test_an_id_that_the_model_has_not_is_refused(wrong: int) -> None:
    error = refusal(prompt=[[1], [2, wrong]])

    assert error.param == "prompt[1]"
    assert "0 to 7" in error.message


def test_the_id_of_a_records_end_is_its_mark() -> None:
    blocks = ModelInfo("blocks", Vocab("ab", has_end=True), TextFormat(record_kind="file"))

    assert parse(LINES, prompt=[0, 2, 1]).prompts == ("a\nb",)
    assert "one by one" in refusal(blocks, prompt=[0, 2, 1]).message


def test_a_prompt_that_is_too_long_has_the_code_that_clients_look_for() -> None:
    for prompt in ("a" * 51, [2] * 51, [2] * 1000, ["a", "a" * 51]):
        assert refusal(prompt=prompt).code == "context_length_exceeded"
    assert len(parse(prompt="a" * 50).prompts[0]) == 50


def test_the_texts_of_a_request_are_limited() -> None:
    assert refusal(prompt=["a"] * 2049).param == "prompt"
    assert refusal(prompt=["a"] * 17, n=128).param == "prompt"
    assert len(parse(prompt=["a"] * 16, n=128).prompts) == 16


def test_best_of_is_n_or_more_and_is_not_streamed_above() -> None:
    assert parse(n=3).best_of == 3
    assert parse(n=2, best_of=5).best_of == 5
    assert refusal(n=3, best_of=2).param == "best_of"
    assert refusal(best_of=2, stream=True).param == "best_of"
    assert parse(n=2, best_of=2, stream=True).stream


# Stops, biases, labels, streams


def test_a_stop_that_the_model_never_writes_is_left_out() -> None:
    assert parse(stop=["ab", "<|endoftext|>"]).config.stop == ("ab",)
    assert parse(BYTES, stop=["中"]).config.stop == ("中",)


def test_a_bias_is_by_id_or_by_character() -> None:
    config = parse(logit_bias={"2": 1, "b": -2.5, " ": 3}, bias="c=4").config

    assert config.bias == ("c=4", "a=1.0", "b=-2.5", " =3.0")


def test_a_bias_is_cut_to_the_range_of_openai() -> None:
    assert parse(logit_bias={"a": 1e9, "b": -1e9}).config.bias == ("a=100.0", "b=-100.0")


def test_our_own_bias_may_be_an_object() -> None:
    assert parse(bias={"a": -200, "digits": 1}).config.bias == ("a=-200.0", "digits=1.0")


@pytest.mark.parametrize(
    "bias",
    [
        {"8": 1},
        {"99999999999999": 1},
        {"z": 1},
        {"ab": 1},
        {"": 1},
        {"a": True},
        {"a": "1"},
        [1],
        5,
    ],
)
def test_a_bias_of_nothing_is_refused(bias: Any) -> None:
    error = refusal(logit_bias=bias)

    assert error.param is not None
    assert error.param.startswith("logit_bias")


def test_the_id_of_a_byte_has_no_bias() -> None:
    assert "<03>" in refusal(BYTES, logit_bias={"5": 1}).message


@pytest.mark.parametrize(
    "labels", ["who=ROMEO", ["who=ROMEO"], {"who": "ROMEO"}], ids=["text", "list", "object"]
)
@pytest.mark.parametrize("name", ["label", "labels"])
def test_labels_are_a_text_a_list_or_an_object(name: str, labels: Any) -> None:
    assert parse(**{name: labels}).labels == ("who=ROMEO",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stop", ["a"] * 65),
        ("stop", "a" * 501),
        ("ban", ["a"] * 301),
        ("only", "a" * 100_001),
        ("choices", ["a"] * 10_001),
        ("bias", {chr(code): 1 for code in range(400)}),
        ("logit_bias", {chr(code): 1 for code in range(0x100, 0x300)}),
        ("structured_outputs", {"choice": ["a"] * 10_001}),
    ],
)
def test_what_costs_time_at_every_character_is_limited(name: str, value: Any) -> None:
    assert refusal(**{name: value}).param == name


def test_labels_are_given_by_one_name() -> None:
    assert refusal(label="a", labels="b").param == "labels"


def test_a_stream_says_whether_it_ends_with_its_usage() -> None:
    options = {"include_usage": True, "include_obfuscation": False}

    assert parse(stream=True, stream_options=options).include_usage
    assert not parse(stream=True, stream_options={}).include_usage
    error = refusal(stream=True, stream_options={"include_usages": True})
    assert error.param == "stream_options.include_usages"
    assert "include_usage'" in error.message
    error = refusal(stream=True, stream_options={"include_usage": 1})
    assert error.param == "stream_options.include_usage"


# What a beam and a filling cannot give


@pytest.mark.parametrize("more", [{"logprobs": 1}, {"best_of": 2}, {"n": 5}])
def test_a_beam_gives_no_more_than_it_finds(more: dict[str, Any]) -> None:
    refusal(beam=4, **more)
    assert parse(beam=4, n=4).config.beam == 4


@pytest.mark.parametrize(
    "more",
    [
        *({"logprobs": 1}, {"top_k": 2}, {"stop": "a"}, {"logit_bias": {"a": 1}}, {"beam": 2}),
        {"best_of": 2},
    ],
)
def test_what_a_filling_cannot_follow_is_refused(more: dict[str, Any]) -> None:
    assert refusal(suffix="b", **more).param == next(iter(more))


def test_a_filling_follows_its_own_settings() -> None:
    request = parse(suffix="b", temperature=0.5, only="ab", max_tokens=9, seed=3)

    assert (request.suffix, request.config.length) == ("b", 9)
    assert parse(suffix="").suffix is None


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(COMPLETION_FIELDS)), values, max_size=4))
def test_no_request_breaks_the_parser(body: dict[str, Any]) -> None:
    with suppress(RequestError):
        parse_completion(body, INFO)
