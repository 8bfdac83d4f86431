"""Event files: every figure of a run's log once, at its step, and settings that all runs share."""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

import charrnn
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.config import TextConfig, TrainConfig, as_dict
from charrnn.errors import CheckpointError, ConfigError, ExportError
from charrnn.tasks.tensorboard import EventEncoder, pack_record, unpack_records
from charrnn.tasks.train import start_run
from tests.training.small_runs import SMALL, stop_after

pytestmark = pytest.mark.usefixtures("counted_steps")

BOARDS = Path("boards")


def run(corpus: str | None, stop: int | None = None, **settings: Any) -> RunFolder:
    """Train to the end, or for `stop` steps; return the folder."""
    resumed = {"threads": 1} if "resume" in settings else SMALL
    should_stop = stop_after(stop) if stop else lambda: False
    paths = [] if corpus is None else [corpus]
    list(start_run(paths, {**resumed, **settings}, should_stop=should_stop))
    return RunFolder(Path("checkpoints", str(settings.get("resume") or settings["name"])))


def events_in(folder: Path) -> list[Any]:
    """Return the events of the only file in a folder."""
    (path,) = folder.iterdir()
    return [Event.FromString(each) for each in unpack_records(path.read_bytes())]


def curves_of(events: list[Any]) -> dict[str, list[tuple[int, float]]]:
    """Return each curve as TensorBoard shows it: a start drops what came before from its step on.

    Written anew, so that a fault in our own reading cannot hide one in our own writing.
    """
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for event in events:
        if event.session_log.status == SessionLog.START:
            for tag, points in curves.items():
                curves[tag] = [point for point in points if point[0] < event.step]
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                curves[value.tag].append((event.step, value.simple_value))
    return dict(curves)


def settings_of(events: list[Any]) -> tuple[dict[str, int], dict[str, Any]]:
    """Return the type of each setting, and the values that there are."""
    found = {}
    for event in events:
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "hparams":
                data = HParamsPluginData.FromString(value.metadata.plugin_data.content)
                found[value.tag] = data
    infos = found["_hparams_/experiment"].experiment.hparam_infos
    values = found["_hparams_/session_start_info"].session_start_info.hparams
    plain = {key: getattr(each, each.WhichOneof("kind")) for key, each in values.items()}
    return {info.name: info.type for info in infos}, plain


def logged(run: RunFolder, event: str, key: str) -> list[tuple[int, float]]:
    return [
        (each["step"], pytest.approx(each[key], rel=1e-6))
        for each in run.read_metrics()
        if each["event"] == event and each[key] is not None
    ]


def check_against_the_log(curves: Mapping[str, list[tuple[int, float]]], run: RunFolder) -> None:
    assert curves["train/nats"] == logged(run, "progress", "train_nats")
    assert curves["train/learning_rate"] == logged(run, "progress", "learning_rate")
    assert curves["train/gradient_norm"] == logged(run, "progress", "gradient_norm")
    assert curves["run/chars_per_second"] == logged(run, "progress", "chars_per_second")
    assert curves["val/nats"] == logged(run, "evaluation", "val_nats")
    assert curves["final/val_bpc"] == logged(run, "finished", "val_bpc")
    (step, nats), *_ = curves["val/nats"]
    assert curves["val/bpc"][0] == (step, pytest.approx(nats / math.log(2), rel=1e-6))
    assert "weights.gradient/output" in curves


def test_each_figure_of_a_run_is_there_once(book: str) -> None:
    folder = run(book, name="one", steps=12, eval_every=4, tensorboard="boards")
    events = events_in(BOARDS / "one")

    check_against_the_log(curves_of(events), folder)
    assert events[0].file_version == "brain.Event:2"
    times = [event.wall_time for event in events]
    assert times == sorted(times)


def test_a_resumed_run_has_no_figure_twice(book: str) -> None:
    run(book, name="one", steps=12, eval_every=4, tensorboard="boards", stop=5)
    folder = run(None, resume="one", tensorboard="boards")
    curves = curves_of(events_in(BOARDS / "one"))

    check_against_the_log(curves, folder)
    steps = [step for step, _ in curves["val/nats"]]
    assert steps == sorted(set(steps))
    assert steps[-1] == 12


def test_a_run_that_had_no_event_file_has_all_of_it_once_resumed(book: str) -> None:
    run(book, name="one", steps=12, eval_every=4, stop=9)
    folder = run(None, resume="one", tensorboard="boards")

    check_against_the_log(curves_of(events_in(BOARDS / "one")), folder)


def test_a_past_run_gives_the_same_curves(book: str) -> None:
    run(book, name="one", steps=12, eval_every=4, tensorboard="boards")
    report = charrnn.export("one", "tensorboard", "past")

    live, past = (events_in(folder) for folder in (BOARDS / "one", Path("past")))
    assert curves_of(past) == curves_of(live)
    assert settings_of(past)[0] == settings_of(live)[0]
    assert report.verified is not None
    assert "figures of" in report.verified.notes[0]
    charrnn.export("one", "tensorboard", "past", overwrite=True)


def test_every_run_names_every_setting_and_none_is_a_text(book: str) -> None:
    run(book, name="one", steps=4, tensorboard="boards")
    run(book, name="two", steps=4, tensorboard="boards", dropout=0.5, lowercase=True)
    (names, values), (other_names, others) = (
        settings_of(events_in(BOARDS / n)) for n in ("one", "two")
    )

    assert names == other_names
    assert names.keys() == as_dict(TextConfig()).keys() | as_dict(TrainConfig()).keys()
    assert (values["lowercase"], others["lowercase"]) == (False, True)
    assert (values["hidden_size"], others["dropout"]) == (6, 0.5)
    for found in (values, others):
        assert not {"None", ""} & set(map(str, found.values()))
        assert "max_norm_input" not in found


def test_a_rollback_drops_what_is_made_again() -> None:
    encoder = EventEncoder(1000.0, is_text=True)
    log = [
        {"event": "evaluation", "step": step, "val_nats": nats}
        for step, nats in ((2, 3.0), (4, 2.5), (6, 9.0))
    ]
    log += [{"event": "incident", "kind": "rollback", "step": 7, "back_to_step": 4}]
    log += [{"event": "evaluation", "step": 6, "val_nats": 2.25}]
    records = encoder.opening({}) + b"".join(map(encoder.encode, log))
    events = [Event.FromString(each) for each in unpack_records(records)]

    assert curves_of(events)["val/nats"] == [(2, 3.0), (4, 2.5), (6, 2.25)]


def test_what_is_no_number_is_left_out() -> None:
    encoder = EventEncoder(0.0, is_text=False)
    values = {"event": "evaluation", "step": 3, "val_nats": None, "best_val_nats": math.nan}

    assert encoder.encode(values) == b""
    assert encoder.encode({"event": "started"}) == b""
    (record,) = unpack_records(encoder.encode(values | {"val_nats": 1.5}))
    event = Event.FromString(record)
    assert [value.tag for value in event.summary.value] == ["val/nats"]  # no bits: no characters


def test_figures_of_a_task_are_curves() -> None:
    encoder = EventEncoder(0.0, is_text=False)
    (record,) = unpack_records(encoder.encode({"event": "scored", "step": 8, "accuracy": 0.75}))
    event = Event.FromString(record)

    assert (event.step, event.summary.value[0].tag) == (8, "scores/accuracy")
    assert event.summary.value[0].simple_value == 0.75


def test_a_record_is_framed_as_tensorflow_frames_it() -> None:
    # CRC-32C of a length of 0 and of an empty message, masked as TensorFlow masks it.
    assert pack_record(b"").hex() == "0000000000000000" + "29039807" + "d8ea82a2"
    assert list(unpack_records(pack_record(b"ab") + pack_record(b""))) == [b"ab", b""]


@pytest.mark.parametrize("place", [0, 9, 13, 17])
def test_a_damaged_file_is_seen(place: int) -> None:
    data = bytearray(pack_record(b"abc"))
    data[place] ^= 1

    with pytest.raises(ExportError, match="damaged at byte 0"):
        list(unpack_records(bytes(data)))
    with pytest.raises(ExportError, match="damaged at byte 0"):
        list(unpack_records(pack_record(b"abc")[:-1]))


def test_a_model_without_a_log_has_no_curves(book: str) -> None:
    folder = run(book, name="one", steps=4)
    folder.metrics.unlink()

    with pytest.raises(CheckpointError, match=r"has no metrics\.jsonl"):
        charrnn.export("one", "tensorboard", "past")
    assert not Path("past").exists()


def test_without_the_extra_nothing_is_trained(book: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)

    with pytest.raises(ConfigError, match="pip install tensorboardX"):
        run(book, name="one", steps=4, tensorboard="boards")
    assert not Path("checkpoints").exists()
    run(book, name="one", steps=4)
