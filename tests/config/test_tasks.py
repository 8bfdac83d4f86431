"""Settings of pairs and tags: what task they ask for, and which of them do not go together."""

from __future__ import annotations

from typing import Any

import pytest

from charrnn.config import TextConfig
from charrnn.config.text import RESTORED
from charrnn.errors import ConfigError

PARALLEL = {"target_file": "b.tgt"}


def error_of(**settings: Any) -> str:
    """Return the message of the ConfigError that these settings raise."""
    with pytest.raises(ConfigError) as caught:
        TextConfig(**settings)
    return caught.value.message


@pytest.mark.parametrize(
    ("settings", "task", "kind"),
    [
        ({}, "text", None),
        ({"lines": True}, "text", "line"),
        ({"pairs": True}, "seq2seq", "pair"),
        (PARALLEL, "seq2seq", "pair"),
        ({"tags": "spaces"}, "tagging", "line"),
        ({"tags": "slash"}, "tagging", "line"),
        ({"tags": "columns"}, "tagging", "block"),
        ({"restore": "case"}, "tagging", "line"),
        ({"restore": "case", "lines": True}, "tagging", "line"),
    ],
)
def test_settings_say_what_the_task_is_and_what_a_record_is(
    settings: dict[str, Any], task: str, kind: str | None
) -> None:
    config = TextConfig(**settings)

    assert (config.task, config.record_kind) == (task, kind)


@pytest.mark.parametrize("targets", [{"pairs": True}, PARALLEL], ids=["pairs", "target_file"])
@pytest.mark.parametrize(
    "other",
    [
        {"text_column": "1"},
        {"lines": True},
        {"files": True},
        {"document_end": "--"},
        {"label_regex": "(?P<who>A)"},
        {"tags": "spaces"},
        {"restore": "case"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_pairs_are_the_only_records(targets: dict[str, Any], other: dict[str, Any]) -> None:
    message = error_of(**targets, **other)

    assert f"--{next(iter(other)).replace('_', '-')}" in message
    assert message.endswith("both say what a record is; give one")


def test_pairs_and_parallel_files_are_two_things() -> None:
    assert error_of(pairs=True, **PARALLEL) == (
        "--pairs and --target-file both say what a record is; give one"
    )


TASKS = [{"pairs": True}, PARALLEL, {"tags": "spaces"}, {"restore": "case"}]


@pytest.mark.parametrize(
    "name", ["label", "label_prefix", "label_column", "min_label_count", "group_column"]
)
@pytest.mark.parametrize("task", TASKS)
def test_examples_have_no_labels_and_groups(task: dict[str, Any], name: str) -> None:
    value = {"label": "file", "min_label_count": 2}.get(name, "x")
    flags = f"--{name.replace('_', '-')} and --{next(iter(task)).replace('_', '-')}"

    assert error_of(**task, **{name: value}) == f"{flags} do not go together; give one"


@pytest.mark.parametrize("task", TASKS)
def test_examples_are_always_records(task: dict[str, Any]) -> None:
    flag = f"--{next(iter(task)).replace('_', '-')}"
    kind = TextConfig(**task).record_kind

    assert error_of(**task, lines=False) == (
        f"--no-lines and {flag} do not go together: each {kind} is a record; leave --no-lines out"
    )


def test_targets_are_held_out_with_their_sources() -> None:
    words = (
        "is missing: with --target-file, both --val-file and --val-target-file are given, or none"
    )

    assert error_of(val_target_file="v.tgt") == (
        "--val-target-file has the targets of --val-file; give --target-file too"
    )
    assert error_of(**PARALLEL, val_target_file="v.tgt") == f"--val-file {words}"
    assert error_of(**PARALLEL, val_file="v.src") == f"--val-target-file {words}"
    assert TextConfig(**PARALLEL, val_file="v.src", val_target_file="v.tgt").task == "seq2seq"


@pytest.mark.parametrize("name", ["source_unit", "target_unit"])
def test_units_of_sides_need_sides(name: str) -> None:
    flag = f"--{name.replace('_', '-')}"

    assert error_of(**{name: "space"}) == (
        f"{flag} is for sources and targets; give --pairs or --target-file too"
    )


@pytest.mark.parametrize("settings", [{}, PARALLEL], ids=["text", "parallel"])
@pytest.mark.parametrize("name", ["source_column", "target_column"])
def test_columns_of_sides_need_a_table(name: str, settings: dict[str, Any]) -> None:
    flag = f"--{name.replace('_', '-')}"

    assert error_of(**settings, **{name: "7"}) == (
        f"{flag} is for the rows of a table; give --pairs too"
    )


def test_a_source_is_not_its_own_target() -> None:
    assert error_of(pairs=True, source_column="en", target_column="en ").startswith(
        "--source-column and --target-column are both 'en'"
    )


@pytest.mark.parametrize("unit", ["byte", "grapheme"])
def test_the_unit_of_a_text_is_not_that_of_its_sides(unit: str) -> None:
    assert error_of(pairs=True, unit=unit) == (
        f"--unit {unit} does not go with --pairs; use --source-unit and --target-unit"
    )
    assert error_of(tags="slash", unit=unit) == (
        f"--unit {unit} does not go with --tags; leave it out, as each character has a tag"
    )


def test_tokens_between_spaces_are_not_spelled() -> None:
    units = {"source_unit": "space", "target_unit": "space"}

    assert error_of(pairs=True, min_count=2, **units).startswith("min_count 2 is for characters")
    assert TextConfig(pairs=True, min_count=2, target_unit="space").min_count == 2


def test_tags_are_given_or_made() -> None:
    assert error_of(tags="spaces", restore="case") == (
        "--tags and --restore both say what the tags are; give one"
    )


def test_an_unknown_thing_to_restore_names_the_nearest() -> None:
    assert error_of(restore="case,punktuation") == (
        "restore has no 'punktuation'; the nearest is 'punctuation' of case, punctuation, "
        "diacritics, spaces"
    )


def test_a_thing_is_restored_once() -> None:
    assert error_of(restore="case, case") == "restore has 'case' twice; give it once"
    assert error_of(restore=" ,").startswith("restore is ' ,', which names nothing")


def test_all_that_is_known_can_be_restored_together() -> None:
    assert TextConfig(restore=" , ".join(RESTORED)).restored == RESTORED


@pytest.mark.parametrize("layout", ["csv", "tsv", "jsonl"])
def test_pairs_are_those_of_a_table(layout: str) -> None:
    config = TextConfig(pairs=True, format=layout, header=False, skip_bad=True)

    assert config.format == layout
    assert error_of(pairs=True, format="text") == (
        "format text has no columns; leave --pairs out, or --format"
    )


def test_parallel_files_have_rows_to_skip_and_no_columns() -> None:
    assert TextConfig(**PARALLEL, skip_bad=True).skip_bad
    assert error_of(**PARALLEL, header=True).startswith("--header is for the rows of a table")
    assert error_of(**PARALLEL, format="csv").startswith("format csv is that of a table")
