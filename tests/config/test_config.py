"""Holds every setting to its default, its range and its words."""

from __future__ import annotations

import json
import math
from dataclasses import Field, FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from charrnn.config import (
    CELLS,
    GATES,
    PRESETS,
    FillConfig,
    ModelConfig,
    RunConfig,
    SampleConfig,
    TextConfig,
    TrainConfig,
    as_dict,
    did_you_mean,
    parse_bias,
    with_settings,
)
from charrnn.config.train import parse_duration
from charrnn.errors import ConfigError

CLASSES = (TextConfig, ModelConfig, TrainConfig, RunConfig, SampleConfig, FillConfig)
FIELDS = [(cls, item) for cls in CLASSES for item in fields(cls)]


def field_name(value: object) -> str | None:
    """Name a field in a test's id; pytest names the rest."""
    return value.name if isinstance(value, Field) else None


def bounded(*rules: str) -> list[tuple[type, Field[Any], float]]:
    """Return each field that has one of these bounds, with the bound."""
    found = [(cls, item, item.metadata[rule]) for cls, item in FIELDS for rule in rules]
    return [(cls, item, bound) for cls, item, bound in found if bound is not None]


def error_of(cls: type, **settings: Any) -> str:
    """Return the message of the ConfigError that these settings raise."""
    with pytest.raises(ConfigError) as caught:
        cls(**settings)
    return caught.value.message


# Defaults and words


@pytest.mark.parametrize("cls", CLASSES)
def test_the_defaults_are_valid_together(cls: type) -> None:
    assert as_dict(cls()).keys() == {item.name for item in fields(cls)}


@pytest.mark.parametrize(("cls", "item"), FIELDS, ids=field_name)
def test_every_setting_says_what_it_means(cls: type, item: Field[Any]) -> None:
    assert item.metadata["help"].strip()


@pytest.mark.parametrize("item", fields(TrainConfig), ids=field_name)
def test_every_training_setting_has_a_section(item: Field[Any]) -> None:
    assert item.metadata["section"] in {"Model", "Length", "Optimization", "Machine"}


@pytest.mark.parametrize("cls", CLASSES)
def test_settings_cannot_be_changed_once_checked(cls: type) -> None:
    name = fields(cls)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(cls(), name, "other")


@pytest.mark.parametrize("item", fields(ModelConfig), ids=field_name)
def test_a_setting_of_training_and_model_has_the_same_range_in_both(item: Field[Any]) -> None:
    asked = {other.name: other.metadata for other in fields(TrainConfig)}
    rules = ("choices", "ge", "gt", "le")
    for rule in rules if item.name in asked else ():
        assert asked[item.name][rule] == item.metadata[rule]


def test_tuples_become_lists_as_plain_values() -> None:
    assert as_dict(SampleConfig(stop=("a", "b")))["stop"] == ["a", "b"]


def test_every_cell_has_its_gates() -> None:
    assert {cell: GATES[cell] for cell in CELLS} == {"rnn": 1, "lstm": 4, "gru": 3}


@pytest.mark.parametrize(
    ("cls", "settings", "said"),
    [
        (ModelConfig, {"ngram_order": 3}, "ngram_order 3 and ngram_rows 0 do not go together"),
        (ModelConfig, {"ngram_rows": 8}, "ngram_order 1 and ngram_rows 8 do not go together"),
        (ModelConfig, {"ngram_order": 3, "ngram_rows": 6}, "a multiple of 4, such as 4 or 8"),
        (TrainConfig, {"ngram_rows": 4_095}, "a multiple of 4, such as 4092 or 4096"),
        (TrainConfig, {"ngram_order": 1, "ngram_rows": 8}, "works only with ngram_order 2 or more"),
    ],
)
def test_n_grams_without_rows_and_rows_without_n_grams_are_refused(
    cls: type, settings: dict[str, int], said: str
) -> None:
    assert said in error_of(cls, **settings)


@pytest.mark.parametrize(
    ("name", "none", "flag"),
    [("ngram_order", 1, "--ngram-order"), ("ngram_rows", 0, "--ngram-rows")],
)
def test_a_decay_of_n_grams_that_there_are_not_is_refused(name: str, none: int, flag: str) -> None:
    assert error_of(TrainConfig, weight_decay_ngrams=0.5, **{name: none}) == (
        f"weight_decay_ngrams 0.5 does nothing with {name} {none}; leave --weight-decay-ngrams or "
        f"{flag} out"
    )
    assert TrainConfig(weight_decay_ngrams=1.0, **{name: none})  # as older files have it


# Ranges

SWITCHES: dict[str, dict[str, Any]] = {
    "decay_rate": {"lr_schedule": "exponential"},
    "dry_length": {"dry_penalty": 1},
    "penalty_window": {"presence_penalty": 1},
    "xtc_threshold": {"xtc": 0.5},
    "mirostat_rate": {"mirostat": 3},
    "beam_diversity": {"beam": 4, "beam_groups": 2},
    "length_penalty": {"beam": 4},
}
"""Settings with what they need to change anything."""

FELLOWS = {"ngram_order": {"ngram_rows": 16}, "ngram_rows": {"ngram_order": 2}}
"""Settings of which neither goes without the other."""


@pytest.mark.parametrize(("cls", "item", "bound"), bounded("ge", "le"), ids=field_name)
def test_the_ends_of_a_range_belong_to_it(cls: type, item: Field[Any], bound: float) -> None:
    others = SWITCHES.get(item.name, {}) | (FELLOWS.get(item.name, {}) if bound > 1 else {})

    assert getattr(cls(**{item.name: bound}, **others), item.name) == bound


@pytest.mark.parametrize(("cls", "item", "bound"), bounded("ge"), ids=field_name)
def test_less_than_the_minimum_is_refused_by_name_value_and_range(
    cls: type, item: Field[Any], bound: float
) -> None:
    expected = f"{item.name} is {bound - 1}; it must be at least {bound:g}"
    assert error_of(cls, **{item.name: bound - 1}) == expected


@pytest.mark.parametrize(("cls", "item", "bound"), bounded("gt"), ids=field_name)
def test_the_open_end_of_a_range_is_refused_by_name_value_and_range(
    cls: type, item: Field[Any], bound: float
) -> None:
    expected = f"{item.name} is {bound}; it must be above {bound:g}"
    assert error_of(cls, **{item.name: bound}) == expected


@pytest.mark.parametrize(("cls", "item", "bound"), bounded("le"), ids=field_name)
def test_more_than_the_maximum_is_refused_by_name_value_and_range(
    cls: type, item: Field[Any], bound: float
) -> None:
    expected = f"{item.name} is {bound + 1}; it must be at most {bound:g}"
    assert error_of(cls, **{item.name: bound + 1}) == expected


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("cls", "item", "bound"), bounded("ge", "gt", "le"), ids=field_name)
def test_a_number_that_is_not_finite_is_refused_by_name(
    cls: type, item: Field[Any], bound: float, value: float
) -> None:
    expected = f"{item.name} is {value}; it must be a finite number"
    assert error_of(cls, **{item.name: value}) == expected


@pytest.mark.parametrize(
    ("cls", "item"),
    [(cls, item) for cls, item in FIELDS if item.metadata["choices"]],
    ids=field_name,
)
def test_a_value_outside_the_choices_is_refused_with_all_of_them(
    cls: type, item: Field[Any]
) -> None:
    choices = ", ".join(item.metadata["choices"])
    expected = f"{item.name} is 'klingon'; choose from {choices}"
    assert error_of(cls, **{item.name: "klingon"}) == expected


def test_an_empty_stop_text_is_refused() -> None:
    assert "at least one character" in error_of(SampleConfig, stop=("end", ""))


@pytest.mark.parametrize("name", ["only", "ban"])
def test_an_empty_set_of_characters_is_refused(name: str) -> None:
    assert error_of(SampleConfig, **{name: ("a", "")}).startswith(f"{name} is empty")


@pytest.mark.parametrize(
    ("cls", "name", "text"),
    [
        *((SampleConfig, name, r"a\n") for name in ("stop", "only", "ban")),
        (SampleConfig, "bias", r"\t=2"),
        (FillConfig, "ban", r"\r"),
    ],
)
def test_an_escape_that_no_shell_has_read_is_refused_with_advice(
    cls: type, name: str, text: str
) -> None:
    message = error_of(cls, **{name: (r"\newpage=1", text)})

    assert message.startswith(f"{name} is {text} with backslashes, which are taken literally")
    assert r"write $'\n' in bash" in message


def test_texts_must_be_texts() -> None:
    assert error_of(SampleConfig, stop=(1,)) == "stop is (1,); it must be texts"


@pytest.mark.parametrize("bias", ["e", "=1", "e=", "e=much", "e=nan", "e=1001", "e=-inf", ""])
def test_an_invalid_bias_is_refused_with_an_example(bias: str) -> None:
    assert error_of(SampleConfig, bias=(bias,)).startswith(
        f"bias is {bias!r}; write characters=number, such as e=-2"
    )


def test_a_bias_is_split_at_its_last_equals_sign() -> None:
    assert parse_bias("==-1.5") == ("=", -1.5)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("a(", "not a valid regular expression: missing )"),
        ("x*", "matches an empty text"),
        ("$", "an empty text"),
        ("((a?){60000}){60000}", "an empty text"),  # which re would try 3.6 billion times to match
    ],
)
def test_an_invalid_stop_pattern_or_one_that_matches_empty_text_is_refused(
    pattern: str, reason: str
) -> None:
    message = error_of(SampleConfig, stop_regex=pattern)

    assert message.startswith(f"stop_regex is {pattern!r}, which ")
    assert reason in message


@pytest.mark.parametrize("pattern", ["(?<=[.!?])", "(?=bb)", r"\b", "x"])
def test_a_stop_pattern_may_match_between_characters(pattern: str) -> None:
    assert SampleConfig(stop_regex=pattern).stop_regex == pattern


@pytest.mark.parametrize(
    ("end", "form", "reason"),
    [
        ("", "none", "document_end has 0 characters; it must have 1 to 1,000"),
        ("-" * 1001, "none", "document_end has 1,001 characters; it must have 1 to 1,000"),
        (
            "\udcff",
            "none",
            r"document_end is '\udcff', which is not valid UTF-8; write it in UTF-8",
        ),
        ("\r\n", "none", r"is '\r\n', which becomes '\n' when a text is read; give that instead"),
        ("\r", "nfc", r"is '\r', which becomes '\n' when a text is read; give that instead"),
        (
            "e\u0301",
            "nfc",
            r"is 'e\u0301', which becomes '\xe9' when a text is read; give that instead",
        ),
        (
            "\uff0a",
            "nfkc",
            r"is '\uff0a', which becomes '*' when a text is read; give that instead",
        ),
    ],
)
def test_a_document_end_that_no_text_can_contain_is_refused(
    end: str, form: str, reason: str
) -> None:
    assert error_of(TextConfig, document_end=end, normalize=form).endswith(reason)


@pytest.mark.parametrize("end", [r"\n\n", r"\n---\n", r"\t", r"end\nEND"])
def test_backslash_escapes_in_a_document_end_are_refused_with_a_hint(
    end: str,
) -> None:
    message = error_of(TextConfig, document_end=end)

    assert message.startswith(f"document_end is {end} with backslashes")
    assert "$'\\n' in bash or zsh" in message


@pytest.mark.parametrize("end", ["\n\n", r"\newpage", r"\end{document}", "e\u0301", "-" * 1000])
def test_any_other_text_can_be_a_document_end(end: str) -> None:
    assert TextConfig(document_end=end).document_end == end


# Presets


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_its_settings_and_the_defaults(preset: str) -> None:
    config = SampleConfig.from_preset(preset)

    assert as_dict(config) == as_dict(SampleConfig()) | PRESETS[preset]
    assert config != SampleConfig()


def test_given_settings_override_the_preset() -> None:
    config = SampleConfig.from_preset("careful", temperature=0.8, top_k=9)

    assert (config.temperature, config.top_k, config.top_p) == (0.8, 9, PRESETS["careful"]["top_p"])


def test_an_unknown_preset_is_refused_with_all_of_them() -> None:
    with pytest.raises(ConfigError, match="preset is 'mad'; choose from careful, plain, wild"):
        SampleConfig.from_preset("mad")


# Clashes


def test_a_decay_rate_needs_the_exponential_schedule() -> None:
    assert "works only with lr_schedule exponential" in error_of(TrainConfig, decay_rate=0.9)
    assert TrainConfig(decay_rate=0.9, lr_schedule="exponential").decay_rate == 0.9


@pytest.mark.parametrize("name", sorted(SWITCHES.keys() - {"decay_rate"}))
def test_a_setting_that_would_change_nothing_is_refused_with_what_it_needs(name: str) -> None:
    value = {"xtc_threshold": 0.2, "length_penalty": 2}.get(name, 1)
    *_, switch = SWITCHES[name]
    option = f"--{switch.replace('_', '-')}"

    message = error_of(SampleConfig, **{name: value})

    assert message.startswith(f"{name} works only with ")
    assert option in message
    assert getattr(SampleConfig(**{name: value}, **SWITCHES[name]), name) == value
    assert SampleConfig(**{name: getattr(SampleConfig(), name)}) == SampleConfig()


FORMS = [{"regex": "a+"}, {"choices": ("a", "b")}, {"template": "{}"}, {"balanced": True}]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: next(iter(form)))
def test_a_text_of_a_given_form_cannot_also_be_kept_from_copying(form: dict[str, Any]) -> None:
    message = error_of(SampleConfig, max_copy=20, **form)

    assert message.startswith(f"max_copy and {next(iter(form))} together")


@pytest.mark.parametrize(
    "setting",
    [*FORMS, {"max_copy": 20}, {"seconds": 1.5}],
    ids=lambda setting: next(iter(setting)),
)
def test_what_only_sampling_can_follow_does_not_go_with_a_beam(setting: dict[str, Any]) -> None:
    message = error_of(SampleConfig, beam=4, **setting)

    assert message.startswith(f"{next(iter(setting))} goes with sampling, not with a beam")


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("nonlinearity", ["relu", "logistic"])
def test_a_nonlinearity_needs_cell_rnn(cell: str, nonlinearity: str) -> None:
    assert "works only with cell rnn" in error_of(ModelConfig, cell=cell, nonlinearity=nonlinearity)
    assert ModelConfig(cell="rnn", nonlinearity=nonlinearity).nonlinearity == nonlinearity


@pytest.mark.parametrize(
    ("tie_embeddings", "embedding_size", "has_projection", "scale"),
    [(True, 9, True, 3.0), (True, 4, False, 2.0), (False, 9, False, 1.0), (False, 4, False, 1.0)],
)
def test_a_tied_table_is_scaled_and_one_of_another_width_than_the_state_projected(
    tie_embeddings: bool, embedding_size: int, has_projection: bool, scale: float
) -> None:
    config = ModelConfig(
        tie_embeddings=tie_embeddings, embedding_size=embedding_size, hidden_size=4
    )

    assert (config.has_projection, config.embedding_scale) == (has_projection, scale)


@pytest.mark.parametrize(
    ("lengths", "named"),
    [
        ({"budget": "1m", "epochs": 2}, "budget and epochs"),
        ({"budget": "1m", "steps": 3}, "budget and steps"),
        ({"epochs": 2, "steps": 3}, "epochs and steps"),
        ({"budget": "1m", "epochs": 2, "steps": 3}, "budget and epochs and steps"),
    ],
)
def test_only_one_setting_may_say_how_long_to_train(lengths: dict[str, Any], named: str) -> None:
    assert error_of(TrainConfig, **lengths).startswith(f"{named} both say how long")


# Length


@pytest.mark.parametrize(
    ("lengths", "seconds"),
    [({}, 300), ({"budget": "90s"}, 90), ({"epochs": 2.5}, None), ({"steps": 3}, None)],
)
def test_the_budget_is_five_minutes_by_default(
    lengths: dict[str, Any], seconds: float | None
) -> None:
    assert TrainConfig(**lengths).budget_seconds == seconds


def test_a_bad_budget_is_refused_before_training() -> None:
    assert "'soon'" in error_of(TrainConfig, budget="soon")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0.5", 0.5),
        ("90s", 90),
        ("10m", 600),
        ("1.5h", 5400),
        ("2d", 172_800),
        ("1h30m", 5400),
        ("1h 30m 5s", 5405),
        (" 10M ", 600),
        ("30min", 1800),
        ("2 hours", 7200),
        ("90 sec", 90),
        ("1 Hour 30 Minutes", 5400),
        ("1d", 86400),
    ],
)
def test_a_length_of_time_is_read_in_any_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "0", "0m", "-5", "5x", "m", "m5", "1.5.5", ".", "1.", ".5", "1e3", "1,5h"),
        *(
            "1 2",
            "1h30",
            "inf",
            "nan",
            "10 mins ago",
            "10 minx",
            "5 m 2",
            "٣m",
            "5m!",
            "1e9",
            "1000000000",
            "9" * 400,
            "0x10",
            "5m\0",
        ),
    ],
)
def test_an_invalid_length_of_time_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_duration(text)
    assert str(caught.value) == f"{text!r} is not a length of time; write 90s, 10 min or 1h30m"


@pytest.mark.parametrize("budget", [90, np.int64(90), 90.0, np.float32(90)])
def test_a_budget_may_be_a_number_of_seconds(budget: Any) -> None:
    assert TrainConfig(budget=budget).budget_seconds == 90


def test_numbers_of_numpy_paths_and_lists_become_plain_values() -> None:
    train = TrainConfig(hidden_size=np.int64(8), dropout=np.float32(0.5), residual=np.bool_(True))
    run = RunConfig(checkpoints=Path("runs"))  # type: ignore[arg-type]
    sample = SampleConfig(stop=["a"], length=np.uint8(3))  # type: ignore[arg-type]

    json.dumps([as_dict(train), as_dict(run), as_dict(sample)])
    assert (train.hidden_size, train.dropout, train.residual) == (8, 0.5, True)
    assert (run.checkpoints, sample.stop, sample.length) == ("runs", ("a",), 3)
    with pytest.raises(ConfigError, match="it must be a whole number"):
        TrainConfig(hidden_size=np.float64(8))  # type: ignore[arg-type]


def test_an_unknown_setting_names_the_nearest_one_or_its_new_name() -> None:
    assert did_you_mean("hiden_size", ["cell", "hidden_size"]) == "; did you mean 'hidden_size'?"
    assert did_you_mean("skip", ["residual"]) == "; it is 'residual' now"
    assert did_you_mean("skip", ["cell"]) == did_you_mean("qqq", ["cell"]) == ""
    with pytest.raises(ConfigError, match="'temprature'; did you mean 'temperature'"):
        with_settings(SampleConfig(), {"temprature": 1})


def test_overwriting_needs_a_name_and_is_no_resuming() -> None:
    with pytest.raises(ConfigError, match="give name too"):
        RunConfig(overwrite=True)
    with pytest.raises(ConfigError, match="resume continues a run"):
        RunConfig(overwrite=True, name="a", resume="a")


def test_a_long_number_with_a_wrong_end_is_refused_at_once() -> None:
    for text in ("1" * 5000 + "x", "1h" * 5000 + "!", "1h " * 5000 + "!"):
        with pytest.raises(ConfigError, match="is not a length of time"):
            parse_duration(text)


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_the_parts_of_a_length_of_time_add_up(hours: int, minutes: int, seconds: int) -> None:
    assume(hours + minutes + seconds)
    expected = hours * 3600 + minutes * 60 + seconds
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == expected


@pytest.mark.parametrize(
    ("name", "value"), [("hidden_size", 2.5), ("num_layers", True), ("steps", "3"), ("residual", 1)]
)
def test_a_value_of_the_wrong_type_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{name} is {value!r}"):
        TrainConfig(**{name: value})
