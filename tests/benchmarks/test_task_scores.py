"""Scores of tasks: closed forms, intervals that hold them, and how options become settings."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from anchors import crf_features, cut_by_tags, majority, segment_tags
from task_scores import (
    Figure,
    as_settings,
    class_figures,
    edit_distance,
    f1_of,
    make_parser,
    mean_of,
    place,
    print_header,
    print_row,
    pronunciation_errors,
    ratio_of,
    read_options,
    word_counts,
    write_classes,
    write_table,
)


def test_a_mean_lies_in_its_interval_as_wide_as_chance_makes_it() -> None:
    figure = mean_of(np.arange(400) < 300)

    assert figure.value == 0.75
    half = 1.96 * (0.75 * 0.25 / 400) ** 0.5
    assert figure.low == pytest.approx(0.75 - half, abs=0.01)
    assert figure.high == pytest.approx(0.75 + half, abs=0.01)
    assert mean_of(np.arange(400) < 300) == figure  # the same at every call


def test_a_ratio_weighs_rows_by_their_units() -> None:
    assert ratio_of(np.array([[1, 2], [0, 8]])).value == 0.1


def test_f1_is_that_of_precision_and_recall() -> None:
    figure = f1_of(np.array([[3, 4, 5], [1, 2, 1]]))
    precision = 4 / 6
    recall = 4 / 6
    assert figure.value == pytest.approx(2 * precision * recall / (precision + recall))


def test_figures_of_classes_are_means_over_runs() -> None:
    sure = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]
    wrong = [[0.1, 0.9], [0.8, 0.2], [0.4, 0.6]]
    accuracy, macro_f1, nats = class_figures(np.array([sure, wrong]), np.array([0, 1, 0]))

    assert accuracy.value == 0.5
    assert macro_f1.value == 0.5
    own = [[0.9, 0.8, 0.6], [0.1, 0.2, 0.4]]
    assert nats.value == pytest.approx(-np.log(own).mean())
    assert not nats.is_share


@pytest.mark.parametrize(
    ("found", "true", "distance"),
    [
        ("", "abc", 3),
        ("abc", "", 3),
        ("kitten", "sitting", 3),
        ("abcd", "acbd", 2),
        ("ab", "ab", 0),
    ],
)
def test_the_edit_distance_counts_insertions_deletions_and_replacements(
    found: str, true: str, distance: int
) -> None:
    assert edit_distance(found, true) == distance


def test_any_listed_pronunciation_is_right_and_the_nearest_one_counts() -> None:
    listed = [["a b c", "x y"], ["aː b"]]

    assert pronunciation_errors(["x y", "a b b"], listed).tolist() == [[0, 2], [2, 2]]


def test_a_word_is_right_where_both_its_ends_are() -> None:
    assert word_counts(["ab", "c", "def"], ["a", "b", "c", "def"]) == (2, 3, 4)
    assert word_counts([], ["ab"]) == (0, 0, 1)


def test_places_are_spread_and_stay() -> None:
    places = np.array([place(f"row {i}") for i in range(2000)])

    assert np.histogram(places, 4, (0, 1))[0] == pytest.approx([500] * 4, abs=80)
    assert place("a") == pytest.approx(0.2537936)  # on any machine


def test_further_options_go_to_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    given = "x.py data --budget 5s --hidden-size 64 --dropout 0.2 --cell gru --no-tie --lowercase"
    monkeypatch.setattr(sys, "argv", given.split())
    options, settings = read_options(make_parser("A script.", "60s", "FOLDER"))

    assert options.folder == Path("data")
    numbers = {"budget": "5s", "seed": 1, "hidden_size": 64, "dropout": 0.2}
    assert settings == numbers | {"cell": "gru", "tie": False, "lowercase": True}
    assert as_settings(["--val-file", "a.tsv"]) == {"val_file": "a.tsv"}


def test_files_have_a_row_a_line_and_a_class_a_file(tmp_path: Path) -> None:
    table = write_table(tmp_path / "rows.tsv", [("é", "e"), ("b", "c d")])
    texts = write_classes(tmp_path, [("one", 1), ("two", 0), ("three", 1)], ["x", "y"])

    assert table.read_text(encoding="utf-8") == "é\te\nb\tc d\n"
    assert [(texts / f"{name}.txt").read_text() for name in "xy"] == ["two\n", "one\nthree\n"]


def test_the_table_says_what_is_not_installed(capsys: pytest.CaptureFixture[str]) -> None:
    print_header("accuracy", "log loss")
    print_row("one", [Figure(0.5, 0.25, 0.75), Figure(1.5, 1, 2, is_share=False)], 2.5)
    print_row("other", None)

    header, one, other = capsys.readouterr().out.splitlines()
    assert header.split() == ["accuracy", "log", "loss", "seconds"]
    assert one.split() == [
        *("one", "50.00%", "[25.00%,", "75.00%]"),
        *("1.500", "[1.000,", "2.000]", "2.5"),
    ]
    assert one.index("50.00%") == header.index("accuracy")
    assert other.split() == ["other", "not", "installed"]


def test_the_majority_gives_the_shares() -> None:
    assert majority([("a", 0), ("b", 2), ("c", 2)], ["d"], 3).tolist() == [[1 / 3, 0, 2 / 3]]


def test_tags_of_segments_give_the_words_back() -> None:
    words = ["我", "喜欢", "图书馆"]
    tags = [tag for word in words for tag in segment_tags(word)]

    assert tags == list("SBEBME")
    assert cut_by_tags("".join(words), tags) == words
    assert cut_by_tags("ab", "ME") == ["ab"]  # no grammar is asked of the tags


def test_features_of_a_character_are_its_neighbours_and_their_pairs() -> None:
    first, second, _ = crf_features("xyz")

    assert first[:5] == ["0\ue000", "1\ue000", "2x", "3y", "4z"]
    assert second[5:] == ["p0\ue000x", "p1xy", "p2yz", "p3z\ue000", "jxz"]
