"""The figures of a run as TensorBoard reads them, from the objects of its metrics.jsonl.

A run that trains adds each object as it is logged; the curves of a past run are made of its file.
Records are framed as TFRecord has them: length, checksum, a protobuf message, checksum. The
messages come from tensorboardX, the files are written here, a whole record at a time: no thread
holds figures back, and a killed run has all that it logged.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

from charrnn.checkpoint.model_file import ModelFile
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.config import TextConfig, TrainConfig
from charrnn.config.export import ExportConfig
from charrnn.errors import CheckpointError, ConfigError, ExportError, missing_extra
from charrnn.formats.verified import Verified
from charrnn.metrics import bits_per_char
from charrnn.storage import append_text, write_atomically, write_errors

_PREFIX = "events.out.tfevents."  # by which TensorBoard knows such a file
_SUFFIX = ".charrnn"  # and by which we know ours
EXPORTED = f"{_PREFIX}0000000000{_SUFFIX}"

# The curves of each kind of object: its key, and the name of the curve.
_CURVES = {
    "progress": {
        "train_nats": "train/nats",
        "learning_rate": "train/learning_rate",
        "gradient_norm": "train/gradient_norm",
        "epoch": "run/epoch",
        "chars_per_second": "run/chars_per_second",
        "memory_bytes": "run/memory_bytes",
    },
    "evaluation": {
        "val_nats": "val/nats",
        "best_val_nats": "val/best_nats",
        "train_eval_nats": "train/eval_nats",
        "clipped": "train/clipped_fraction",
    },
    "finished": {
        "val_nats": "final/val_nats",
        "val_bpc": "final/val_bpc",
        "val_windowed_bpc": "final/val_windowed_bpc",
        "val_bits_per_byte": "final/val_bits_per_byte",
        "train_eval_nats": "final/train_eval_nats",
    },
}
_IN_BITS = {"train/nats": "train/bpc", "val/nats": "val/bpc"}
_METRICS = ("val/nats", "val/bpc", "final/val_bpc")  # of the table of settings
_PLUGIN = "hparams"
_TYPES = {"bool": "DATA_TYPE_BOOL", "int": "DATA_TYPE_FLOAT64", "float": "DATA_TYPE_FLOAT64"}
_SETTINGS = {item.name: str(item.type) for cls in (TextConfig, TrainConfig) for item in fields(cls)}


def import_tensorboard() -> None:
    """Load what writes the messages.

    Raises:
        ConfigError: tensorboardX is not installed.
    """
    try:
        import_module("tensorboardX")
    except ImportError as error:
        raise missing_extra("--tensorboard", "tensorboardX", "tensorboard") from error


class EventEncoder:
    """Turns objects of metrics.jsonl into records of an event file.

    start_seconds: when the run began, in seconds since 1970; times of events are counted from it,
    without the pauses of a run that was resumed. is_text: losses are of characters, so in bits too.
    """

    def __init__(self, start_seconds: float, *, is_text: bool) -> None:
        import_tensorboard()
        self._event: Any = import_module("tensorboardX.proto.event_pb2")
        self._summary: Any = import_module("tensorboardX.proto.summary_pb2")
        self._start_seconds = start_seconds
        self._elapsed_seconds = 0.0
        self._is_text = is_text

    def opening(self, settings: Mapping[str, Any]) -> bytes:
        """Return the first records: the version, a start, and the settings of the run.

        The start makes TensorBoard drop what an earlier file of the same run had.
        """
        version = self._record(0, file_version="brain.Event:2")
        return version + self._restart(0) + self._settings(settings)

    def encode(self, values: Mapping[str, Any]) -> bytes:
        """Return the records of an object; b"" if it has no figures.

        A rollback drops the figures of the steps that are made again.
        """
        if isinstance(elapsed := values.get("elapsed_seconds"), int | float):
            self._elapsed_seconds = float(elapsed)
        kind = values.get("event")
        step = values.get("step")
        if not isinstance(step, int):
            return b""
        if kind == "incident" and isinstance(back_to := values.get("back_to_step"), int):
            return self._restart(back_to + 1)
        scalars = dict(self._scalars(str(kind), values))
        if not scalars:
            return b""
        Value = self._summary.Summary.Value  # noqa: N806 (a class)
        rows = [Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        return self._record(step, summary=self._summary.Summary(value=rows))

    def _scalars(self, kind: str, values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
        """Yield the name and the value of each figure that is a finite number."""
        named = {tag: values.get(key) for key, tag in _CURVES.get(kind, {}).items()}
        if kind == "scored":
            named = {f"scores/{k}": v for k, v in values.items() if k not in ("event", "step")}
        if kind == "evaluation" and isinstance(groups := values.get("groups"), Mapping):
            # Names that TensorBoard sorts after those of train and val.
            named |= {
                f"weights.{'norm' if what == 'weight' else what}/{group}": value
                for group, norms in groups.items()
                for what, value in norms.items()
            }
        for tag, value in named.items():
            if not isinstance(value, int | float) or not math.isfinite(value):
                continue
            yield tag, float(value)
            if self._is_text and tag in _IN_BITS:
                yield _IN_BITS[tag], bits_per_char(value)

    def _restart(self, step: int) -> bytes:
        """Return a record that drops all figures of `step` and later ones that came before it."""
        log = self._event.SessionLog(status=self._event.SessionLog.START)
        return self._record(step, session_log=log)

    def _settings(self, settings: Mapping[str, Any]) -> bytes:
        """Return the records of the table of settings: the same names in every run.

        TensorBoard takes the names from one run for all. A setting that is None has no value.
        """
        api: Any = import_module("tensorboardX.proto.api_pb2")
        plugin: Any = import_module("tensorboardX.proto.plugin_hparams_pb2")
        infos = [
            api.HParamInfo(name=name, type=api.DataType.Value(_type_name(annotation)))
            for name, annotation in _SETTINGS.items()
        ]
        metrics = [api.MetricInfo(name=api.MetricName(tag=tag)) for tag in _METRICS]
        start = plugin.SessionStartInfo()
        for name in _SETTINGS:
            value = settings.get(name)
            if isinstance(value, bool):
                start.hparams[name].bool_value = value
            elif isinstance(value, int | float):
                start.hparams[name].number_value = value
            elif value is not None:
                start.hparams[name].string_value = str(value)
        experiment = api.Experiment(hparam_infos=infos, metric_infos=metrics)
        return b"".join(
            self._record(0, summary=self._plugin_summary(f"_hparams_/{tag}", data))
            for tag, data in {
                "experiment": plugin.HParamsPluginData(experiment=experiment, version=0),
                "session_start_info": plugin.HParamsPluginData(session_start_info=start, version=0),
            }.items()
        )

    def _plugin_summary(self, tag: str, data: Any) -> Any:
        metadata = self._summary.SummaryMetadata(
            plugin_data=self._summary.SummaryMetadata.PluginData(
                plugin_name=_PLUGIN, content=data.SerializeToString()
            )
        )
        value = self._summary.Summary.Value(tag=tag, metadata=metadata)
        return self._summary.Summary(value=[value])

    def _record(self, step: int, **content: Any) -> bytes:
        wall_time = self._start_seconds + self._elapsed_seconds
        event = self._event.Event(wall_time=wall_time, step=step, **content)
        return pack_record(event.SerializeToString())


def _type_name(annotation: str) -> str:
    """Return TensorBoard's name of a setting's type.

    >>> _type_name("int | None"), _type_name("str")
    ('DATA_TYPE_FLOAT64', 'DATA_TYPE_STRING')
    """
    return _TYPES.get(annotation.partition(" | ")[0], "DATA_TYPE_STRING")


def pack_record(message: bytes) -> bytes:
    """Return a message as a TFRecord."""
    length = struct.pack("<Q", len(message))
    return length + _checksum(length) + message + _checksum(message)


def unpack_records(data: bytes) -> Iterator[bytes]:
    """Yield the messages of a file of TFRecords.

    Raises:
        ExportError: it is cut short, or a checksum is wrong.
    """
    place = 0
    while place < len(data):
        length = data[place : place + 8]
        end = place + 12 + int.from_bytes(length, "little")
        message = data[place + 12 : end]
        is_whole = len(data) >= end + 4 and data[place + 8 : place + 12] == _checksum(length)
        if not is_whole or data[end : end + 4] != _checksum(message):
            raise ExportError(f"the event file is damaged at byte {place:,}")
        yield message
        place = end + 4


def _checksum(data: bytes) -> bytes:
    masked: Any = import_module("tensorboardX.record_writer").masked_crc32c
    return struct.pack("<I", masked(data))


class Board:
    """The event file of a run that trains, in a folder of the run's own within `folder`."""

    def __init__(
        self, run: RunFolder, folder: Path, settings: Mapping[str, Any], *, is_text: bool
    ) -> None:
        """Begin a file with all that the run has logged; it replaces those from before.

        Raises:
            StorageError: it cannot be written.
        """
        history = list(run.read_metrics())
        own = folder / run.name
        with write_errors(own):
            before = list(own.glob(f"{_PREFIX}*{_SUFFIX}")) if own.is_dir() else []
        self.path = own / f"{_PREFIX}{time.time():.6f}{_SUFFIX}"
        start_seconds = time.time() - _last_elapsed(history)
        self._encoder = EventEncoder(start_seconds, is_text=is_text)
        write_atomically(self.path, _encode_all(self._encoder, settings, history))
        for path in before:
            with suppress(OSError):  # a file left over takes space, its figures are dropped
                path.unlink()

    def add(self, values: Mapping[str, Any]) -> None:
        """Add the figures of an object that was just logged.

        Raises:
            StorageError: the disk is full.
        """
        if records := self._encoder.encode(values):
            append_text(self.path, records)


def make_tensorboard(run: RunFolder, file: ModelFile, config: ExportConfig) -> dict[str, bytes]:
    """Return the event file of a past run, by name.

    Raises:
        ConfigError: numbers of weights are asked for.
        CheckpointError: the run has no figures.
    """
    if config.dtype is not None:
        raise ConfigError("tensorboard shows curves, not weights; leave --dtype out")
    history = list(run.read_metrics())
    if not history:
        raise CheckpointError(
            f"{run.path} has no metrics.jsonl, from which curves are made; name a run that was "
            "trained here"
        )
    start_seconds = run.metrics.stat().st_mtime - _last_elapsed(history)
    encoder = EventEncoder(start_seconds, is_text=file.config.task == "text")
    settings = file.summary.get("resolved") or file.summary.get("settings") or {}
    return {EXPORTED: _encode_all(encoder, settings, history)}


def verify_tensorboard(folder: Path) -> Verified:
    """Read an event file back, every checksum too.

    Raises:
        ExportError: it is damaged, or has no figures.
    """
    event: Any = import_module("tensorboardX.proto.event_pb2").Event
    messages = unpack_records((folder / EXPORTED).read_bytes())
    values = [value for each in messages for value in event.FromString(each).summary.value]
    scalars = [value.tag for value in values if value.WhichOneof("value") == "simple_value"]
    if not scalars:
        raise ExportError("the event file has no figures: the run ended before it logged any")
    return Verified(0, notes=(f"{len(scalars):,} figures of {len(set(scalars)):,} curves",))


def _encode_all(
    encoder: EventEncoder, settings: Mapping[str, Any], history: Iterable[Mapping[str, Any]]
) -> bytes:
    return encoder.opening(settings) + b"".join(map(encoder.encode, history))


def _last_elapsed(history: Iterable[Mapping[str, Any]]) -> float:
    """Return how long the run had trained when it last logged that, in seconds; 0 at first."""
    found = [each["elapsed_seconds"] for each in history if "elapsed_seconds" in each]
    last = found[-1] if found else 0.0
    return float(last) if isinstance(last, int | float) else 0.0
