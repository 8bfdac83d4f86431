"""The view `training`: what is read from a run's record, and what its snapshots say."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn.checkpoint.model_file import Arrays
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.config.inspect import InspectConfig
from charrnn.errors import CheckpointError, ConfigError
from charrnn.interpret.pictures.training import draw_training
from charrnn.interpret.report import as_json
from charrnn.interpret.subject import Subject
from charrnn.interpret.trace import record
from charrnn.interpret.training import SnapshotFigures, TrainingReport, inspect_training, kept_lines
from charrnn.interpret.units import parse_unit, unit_values
from charrnn.tasks.inspect import InspectText, open_subjects
from tests.interpret.networks import WITH_NGRAMS, make_ids, make_network, make_subject
from tests.interpret.planted import make_planted_subject, planted_neurons
from tests.interpret.svg_checks import assert_is_picture

LN2 = math.log(2)


def progress(step: int, **more: Any) -> dict[str, Any]:
    line = {
        "event": "progress",
        "step": step,
        "chars_seen": 10 * step,
        "elapsed_seconds": step / 5,
        "train_nats": 3 * LN2,
        "learning_rate": 0.01,
        "gradient_norm": 0.5,
    }
    return line | more


def evaluation(step: int, **more: Any) -> dict[str, Any]:
    norms = {"weight": 9.0, "gradient": 0.2, "update": 0.03, "decay": 0.001}
    line = {
        "event": "evaluation",
        "step": step,
        "chars_seen": 10 * step,
        "elapsed_seconds": step / 5,
        "train_nats": 2 * LN2,
        "val_nats": 2.5 * LN2,
        "is_best": True,
        "learning_rate": 0.01,
        "clipped": 0.25,
        "groups": {"recurrent.f": norms},
    }
    return line | more


END = {"event": "finished", "step": 40, "baselines_bpc": {"gzip": 3.5, "5-gram": 2.25}}
LINES = (
    {"event": "started", "parameters": 5},
    progress(10),
    progress(20, train_nats=2.2 * LN2),
    evaluation(20),
    {"event": "incident", "kind": "spike", "step": 25, "train_nats": 4 * LN2, "back_to_step": None},
    progress(40),
    evaluation(40, val_nats=2.25 * LN2),
    END,
)


def subject_of(*lines: Any, snapshots: Any = (), **shape: Any) -> Subject:
    subject = make_subject(make_network(**shape), make_ids(30))
    file = replace(subject.file, summary={"settings": {"clip_grad_norm": 1.0}})
    return replace(subject, file=file, metrics=lines, read_snapshots=lambda: snapshots)


def report_of(*lines: Any, neurons: tuple[str, ...] = (), **more: Any) -> TrainingReport:
    return inspect_training(subject_of(*lines, **more), InspectConfig(neurons=neurons))


def test_losses_are_bits_per_character_by_step_characters_and_seconds() -> None:
    report = report_of(*LINES)

    assert report.milestones.step.tolist() == [10, 20, 40]
    assert report.milestones.train_bpc == pytest.approx([3, 2.2, 3])
    assert report.evaluations.val_bpc == pytest.approx([2.5, 2.25])
    assert report.evaluations.gap_bpc == pytest.approx([0.5, 0.25])
    assert report.evaluations.chars.tolist() == [200, 400]
    assert report.evaluations.seconds.tolist() == [4, 8]
    assert report.evaluations.clipped.tolist() == [0.25, 0.25]
    assert report.baselines_bpc == {"gzip": 3.5, "5-gram": 2.25}
    assert (report.best_step, report.clip_grad_norm) == (40, 1.0)
    assert [(each.step, each.kind) for each in report.incidents] == [(25, "spike")]
    assert report.groups["recurrent.f"]["update"].tolist() == [0.03, 0.03]


def test_a_model_without_a_run_says_what_is_missing() -> None:
    with pytest.raises(ConfigError, match=r"book has no record of its training.* name a run that"):
        report_of()
    with pytest.raises(ConfigError, match="no record"):
        report_of({"event": "started"})


def test_steps_that_a_rollback_undid_are_left_out() -> None:
    undone = {"event": "incident", "kind": "rollback", "step": 30, "back_to_step": 10}
    spike = {"event": "incident", "kind": "spike", "step": 25}
    lines = [
        progress(10),
        progress(20),
        evaluation(20),
        spike,
        undone,
        progress(20),
        evaluation(20),
    ]

    kept = kept_lines(lines)
    report = report_of(*lines)

    assert [line.get("step") for line in kept] == [10, 25, 30, 20, 20]
    assert report.milestones.step.tolist() == [10, 20]
    assert [(each.kind, each.back_to_step) for each in report.incidents] == [
        ("spike", None),
        ("rollback", 10),
    ]


def test_a_run_of_an_older_version_has_gaps_and_is_drawn_all_the_same() -> None:
    line = evaluation(20)
    for name in ("groups", "clipped", "learning_rate"):
        del line[name]
    report = report_of(progress(10), line, evaluation(40, val_nats=None))

    assert math.isnan(report.evaluations.clipped[0])
    assert math.isnan(report.evaluations.val_bpc[1])
    assert math.isnan(report.groups["recurrent.f"]["weight"][0])
    assert_is_picture(draw_training({"book": report}))


@pytest.mark.parametrize(
    "damage",
    [
        {"val_nats": "x"},
        {"step": None},
        {"step": "20"},
        {"groups": [1]},
        {"groups": {"recurrent.f": 1}},
        {"groups": {"recurrent.f": {"weight": "x"}}},
        {"elapsed_seconds": 10**400},
    ],
)
def test_a_damaged_line_is_left_out_and_said(damage: dict[str, Any]) -> None:
    report = report_of(progress(10), evaluation(20) | damage, evaluation(40))

    assert report.evaluations.step.tolist() == [40]
    assert report.notes == ["1 line of metrics.jsonl left out, whose values are damaged"]


def test_a_line_without_a_step_is_left_out() -> None:
    line = evaluation(20)
    del line["step"]

    assert report_of(progress(10), line).evaluations.step.tolist() == []


def test_the_table_has_units_in_its_columns_and_a_row_for_each_evaluation() -> None:
    columns, rows = report_of(*LINES).table()

    assert columns[:4] == ["step", "characters_read", "seconds", "train_bits_per_char"]
    assert columns[-4:] == [
        "recurrent.f_weight_norm",
        "recurrent.f_gradient_norm",
        "recurrent.f_update_norm",
        "recurrent.f_decay_norm",
    ]
    assert [row[0] for row in rows] == [20, 40]
    assert all(len(row) == len(columns) for row in rows)


# ── snapshots ──


def snapshots_of(**shape: Any) -> list[tuple[int, Arrays]]:
    return [(step, make_network(seed=step + 1, **shape).weights) for step in (0, 7, 40)]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_each_snapshot_reads_the_text_in_view(cell: str) -> None:
    snapshots = snapshots_of(cell=cell)
    subject = subject_of(*LINES, snapshots=snapshots, cell=cell)
    figures = inspect_training(subject, InspectConfig(neurons=("h1.2",))).snapshots
    assert figures is not None
    network = make_network(seed=8, cell=cell)
    trace = record(network, subject.ids)
    nats = [-trace.log_probabilities[t, subject.ids[t + 1]] for t in range(29)]
    unit = parse_unit("h1.2", network.config)

    assert figures.step.tolist() == [0, 7, 40]
    assert figures.loss_bpc[1] == pytest.approx(np.mean(nats) / LN2, rel=1e-5)
    np.testing.assert_array_equal(figures.units["h1.2"][1], unit_values(trace, unit))
    assert figures.units["h1.2"].shape == (3, 30)
    assert len(figures.symbols) == 30


def test_without_snapshots_there_are_no_figures_of_them() -> None:
    assert report_of(*LINES).snapshots is None


def test_a_unit_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"c1\.0"):
        report_of(*LINES, snapshots=snapshots_of(cell="rnn"), neurons=("c1.0",), cell="rnn")


def test_a_damaged_snapshot_is_said_and_the_rest_is_shown() -> None:
    def fail() -> Any:
        raise CheckpointError("step-0000007.safetensors is damaged")

    subject = replace(subject_of(*LINES), read_snapshots=fail)
    report = inspect_training(subject, InspectConfig())

    assert report.snapshots is None
    assert report.notes == ["step-0000007.safetensors is damaged"]
    assert len(report.evaluations.step) == 2


def test_snapshots_of_another_network_are_left_out_and_said() -> None:
    strange = [(3, make_network(num_layers=2).weights), (5, make_network(hidden_size=9).weights)]
    report = report_of(*LINES, snapshots=[*strange, *snapshots_of()], neurons=("h1.2",))

    assert report.snapshots is not None
    assert report.snapshots.step.tolist() == [0, 7, 40]
    assert report.notes == ["2 snapshots left out: of a network of another shape"]


def test_snapshots_of_a_network_with_ngrams_read_the_text() -> None:
    weights = make_network(**WITH_NGRAMS).weights
    early = weights | {"ngrams.weight": 0 * weights["ngrams.weight"]}
    snapshots = [(3, early), (40, weights)]
    subject = subject_of(*LINES, snapshots=snapshots, **WITH_NGRAMS)

    figures = inspect_training(subject, InspectConfig(neurons=("h1.2",))).snapshots

    assert figures is not None
    assert figures.step.tolist() == [3, 40]
    own = subject.trace.hidden(0)[1:, 2]
    assert np.allclose(figures.units["h1.2"][1], own)
    assert not np.allclose(figures.units["h1.2"][0], own, atol=0.1)


def test_a_snapshot_that_had_diverged_is_left_out_and_said() -> None:
    weights = {name: array * np.float32(np.inf) for name, array in make_network().weights.items()}
    report = report_of(*LINES, snapshots=[*snapshots_of(), (50, weights)], neurons=("h1.2",))

    assert report.snapshots is not None
    assert report.snapshots.step.tolist() == [0, 7, 40]
    assert report.snapshots.units["h1.2"].shape == (3, 30)
    assert report.notes == ["1 snapshot left out: the network had diverged"]


def test_the_last_snapshot_of_a_run_is_the_model_itself(book: str) -> None:
    # Of so short a text n-grams would be learnt by heart, and an early model be the best.
    charrnn.fit(book, steps=12, hidden_size=6, threads=1, snapshots=4, name="a", ngram_order=1)
    found = open_subjects(["a"], InspectText(), InspectConfig(), checkpoints="checkpoints")
    (subject,) = found.subjects
    figures = inspect_training(subject, InspectConfig(neurons=("c1.3",))).snapshots
    assert figures is not None
    unit = parse_unit("c1.3", subject.config)
    own = unit_values(subject.trace, unit)[: figures.units["c1.3"].shape[1]]

    assert figures.step[-1] == subject.file.summary["step"] == 12
    np.testing.assert_allclose(figures.units["c1.3"][-1], own, atol=5e-3)  # float16 against float32
    assert [step for step, _ in RunFolder(Path("checkpoints/a")).read_snapshots()][-1] == 12


# ── pictures ──


def test_a_picture_has_losses_groups_and_snapshots() -> None:
    report = report_of(*LINES, snapshots=snapshots_of(), neurons=("h1.2",))
    words = assert_is_picture(draw_training({"book": report}))

    for expected in (
        "Loss against steps",
        "Loss against characters read",
        "Loss against seconds",
        "book, held out",
        "5-gram",
        "Norms of groups of weights",
        "recurrent.f",
        "book h1.2, by step",
    ):
        assert expected in words


def test_several_models_are_drawn_on_one_scale_and_the_same_twice() -> None:
    first = report_of(*LINES)
    second = report_of(progress(10), evaluation(90, val_nats=4 * LN2))
    svg = draw_training({"a<b": first, "other": second})
    words = assert_is_picture(svg)

    assert svg == draw_training({"a<b": first, "other": second})
    assert {"a<b, held out", "other, held out", "a<b: recurrent.f", "other: recurrent.f"} <= {
        *words
    }


def test_a_report_is_json() -> None:
    values = as_json(report_of(*LINES, snapshots=snapshots_of(), neurons=("h1.2",)))

    assert values["evaluations"]["step"] == [20, 40]
    assert values["snapshots"]["step"] == [0, 7, 40]
    assert len(values["snapshots"]["units"]["h1.2"]) == 3


def test_a_found_neuron_is_followed_from_chance_to_certainty() -> None:
    planted = make_planted_subject()
    steps = [(0, planted.untrained.weights), (50, planted.network.weights)]
    subject = replace(planted, metrics=LINES, read_snapshots=lambda: steps)

    figures = inspect_training(subject, InspectConfig(), planted_neurons()).snapshots

    assert figures is not None
    births = {birth.feature: birth for birth in figures.births}
    inside = births["inside ( )"]
    assert inside.scores[1] == 1  # of h1.0, or of another that tells it alike
    assert inside.scores[0] < 0.9
    assert inside.unit in figures.units  # where none is named, what was found is shown
    assert "inside ( )" in draw_training({"book": replace_snapshots(subject, figures)})


def replace_snapshots(subject: Subject, figures: SnapshotFigures) -> TrainingReport:
    return replace(inspect_training(subject, InspectConfig()), snapshots=figures)
