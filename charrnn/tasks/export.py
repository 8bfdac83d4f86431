"""A model written in another format: made, run and compared with the model, then put in its place.

`charrnn export` and `charrnn.export` call `export`. A failure at any point, Ctrl-C too, leaves
nothing behind, and what was to be replaced stays.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.checkpoint.hub import name_of_run
from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_folder import RunFolder, is_model_name
from charrnn.checkpoint.run_store import find_model, name_after
from charrnn.config import did_you_mean
from charrnn.config.export import ALIASES, FORMATS, ExportConfig
from charrnn.errors import ConfigError, StorageError
from charrnn.formats.verified import Verified
from charrnn.generation.labels import AskedLabels, list_labels, with_labels
from charrnn.storage import is_reserved, move_into_place, staged, write_atomically

Make = Callable[[ModelFile, str, ExportConfig], dict[str, bytes]]
Verify = Callable[[Path, Sequence[str], ModelFile, ExportConfig], Verified]
OnMade = Callable[[Mapping[Path, int]], None]
"""Called with the size in bytes of each file, by its path, before they are verified."""


@dataclass(frozen=True)
class Format:
    """How a format is made and verified.

    make: from a model, the name of the export and the settings to the content of each file by its
    name. verify: runs files of a folder, by name. suffix: of the main file; "" of a folder.
    """

    make: Make
    verify: Verify
    suffix: str = ""

    @property
    def is_folder(self) -> bool:
        """Whether an export is a folder of files."""
        return not self.suffix


@dataclass(frozen=True)
class ExportReport:
    """What was written and how it was verified.

    path: of the main file, or of the folder. files: the size in bytes of each, by its path.
    verified: None if that was not asked for.
    """

    to: str
    path: Path
    files: Mapping[Path, int]
    verified: Verified | None
    seconds: float

    @property
    def size_bytes(self) -> int:
        """The size of all files."""
        return sum(self.files.values())

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        verified = self.verified
        return {
            "to": self.to,
            "path": str(self.path),
            "files": {str(path): size for path, size in self.files.items()},
            "bytes": self.size_bytes,
            "is_verified": verified is not None,
            "verified_chars": verified.chars if verified else 0,
            "max_logit_error": verified.max_logit_error if verified else None,
            "notes": list(verified.notes) if verified else [],
            "seconds": self.seconds,
        }


def export(
    model: str | None,
    to: str,
    output: str | None = None,
    config: ExportConfig | None = None,
    *,
    labels: AskedLabels = (),
    overwrite: bool = False,
    checkpoints: str | Path,
    on_made: OnMade = lambda sizes: None,
) -> ExportReport:
    """Export a model, named as everywhere, to a format; output: the file or folder to write.

    A file of C is called NAME.c, also where NAME alone is asked for. labels: fixed in what is
    exported.

    Raises:
        ConfigError: there is no such format, the model cannot be exported to it, or the target
            exists and is not to be replaced.
        CheckpointError: the model is missing or damaged.
        ExportError: what was made does not do what the model does.
        StorageError: it cannot be written.
    """
    start_seconds = time.perf_counter()
    config = config or ExportConfig()
    to = find_format(to)
    config.check_format(to)
    path = find_model(model, Path(checkpoints))
    form = _format_of(to, path)
    file = read_model(path)
    asked = list_labels(labels)
    if asked:
        file = with_labels(file, asked)
    target = Path(output) if output else Path(_usual_name(path, form.suffix, to))
    _check_target(target, form.suffix)
    if form.suffix == ".c" and target.suffix != ".c":  # a compiler goes by the suffix
        target = target.with_name(f"{target.name}.c")
    name = target.name.removesuffix(form.suffix)
    contents = form.make(file, name, config)
    # The main file is called as asked; others stand beside it, or all in the folder.
    places = {each: target / each if form.is_folder else target.parent / each for each in contents}
    if not form.is_folder:
        places[name + form.suffix] = target
    _check_places(target, places.values(), is_folder=form.is_folder, overwrite=overwrite)
    sizes = {places[each]: len(content) for each, content in contents.items()}
    with staged(target) as folder:
        made = folder / "made"
        for each, content in contents.items():
            _write(made / each, content, places[each])
        verified = None
        if config.verify:
            on_made(sizes)
            verified = form.verify(made, list(contents), file, config)
        moves = {made: target}
        if not form.is_folder:
            moves = {made / each: place for each, place in places.items()}
        move_into_place(moves)
    return ExportReport(to, target, sizes, verified, time.perf_counter() - start_seconds)


def find_format(to: str) -> str:
    """Return the name of a format; it may be given by another name.

    >>> find_format("hf")
    'huggingface'

    Raises:
        ConfigError: there is none of that name; says which was probably meant.
    """
    name = ALIASES.get(to.lower(), to.lower())
    if name not in FORMATS:
        near = did_you_mean(name, (*FORMATS, *ALIASES))
        raise ConfigError(
            f"there is no format {to!r}{near or '; choose from ' + ', '.join(FORMATS)}"
        )
    return name


def _format_of(to: str, path: Path) -> Format:
    """Return a format; path: of the model's file."""
    if to == "onnx":
        from charrnn.formats.onnx_graph import make_onnx, verify_onnx

        return Format(make_onnx, verify_onnx, ".onnx")
    if to == "huggingface":
        from charrnn.formats.huggingface import make_huggingface, verify_huggingface

        return Format(make_huggingface, verify_huggingface)
    if to == "html":
        from charrnn.formats.html_page import make_html, verify_html

        return Format(make_html, verify_html, ".html")
    if to == "c":
        from charrnn.formats.c import make_c, verify_c

        return Format(make_c, verify_c, ".c")
    from charrnn.tasks import tensorboard

    assert to == "tensorboard", to
    run = RunFolder(path.parent)
    return Format(
        lambda file, _, config: tensorboard.make_tensorboard(run, file, config),
        lambda folder, *_: tensorboard.verify_tensorboard(folder),
    )


def _usual_name(path: Path, suffix: str, to: str) -> str:
    """Return what an export is called where no name was given: as the run, or as the file."""
    stem = name_after(name_of_run(path) if is_model_name(path.name) else path.stem)
    return f"{stem}{suffix}" if suffix else f"{stem}-{to}"


def _check_target(target: Path, suffix: str) -> None:
    """Refuse a target whose name cannot be that of such a file or folder."""
    if not target.name:
        raise ConfigError(f"--out {target} names no file; give a name, such as book{suffix}")
    if is_reserved(target.name) and target.name != "..":
        raise ConfigError(
            f"--out {target} has a name that Windows keeps for itself; give another, such as "
            f"book{suffix}"
        )
    if target.suffix == ".safetensors":
        raise ConfigError(f"--out {target} is the name of a model file; give another name")
    with suppress(OSError):
        if suffix and target.is_dir():
            raise ConfigError(
                f"{target} is a folder, and a file is written; name it, such as "
                f"--out {target / ('book' + suffix)}"
            )


def _check_places(
    target: Path, places: Collection[Path], *, is_folder: bool, overwrite: bool
) -> None:
    """Refuse to write over what is there: anything, or with `overwrite` what is no such export."""
    there = [path for path in ([target] if is_folder else places) if os.path.lexists(path)]
    if there and not overwrite:
        raise ConfigError(
            f"{there[0]} is there already; replace it with --overwrite, or name another with --out"
        )
    for path in there:
        if path.is_symlink() or not (path.is_dir() if is_folder else path.is_file()):
            kind = "a folder" if is_folder else "a file"
            raise ConfigError(f"{path} is not {kind}; name another with --out")
    if there and is_folder:
        own = {path.relative_to(target).parts[0] for path in places}
        foreign = sorted(path.name for path in target.iterdir() if path.name not in own)
        if foreign:
            raise ConfigError(
                f"{target} holds {foreign[0]!r}, which this export does not write; name another "
                "folder with --out"
            )


def _write(path: Path, content: bytes, target: Path) -> None:
    """Write a file of an export in the making; messages name its target."""
    try:
        write_atomically(path, content)
    except StorageError as error:
        raise StorageError(error.message.replace(str(path), str(target))) from error
