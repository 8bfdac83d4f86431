"""Share a model on the Hugging Face hub, and get one from it, as a run beside one's own.

A push is the folder of `charrnn export --to huggingface`, so it holds no text and no path. A pull
takes the model file alone, verifies it, and notes the commit that it came from.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from charrnn.checkpoint.hub import (
    HubName,
    Origin,
    Pushed,
    fetch_model,
    pack_origin,
    parse_hub_name,
    push_files,
    read_origin,
)
from charrnn.checkpoint.model_file import ModelFile, read_model, unpack_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.checkpoint.run_store import check_name, claim_run, find_model, name_after, named_run
from charrnn.config.export import ExportConfig
from charrnn.errors import CheckpointError, ConfigError


@dataclass(frozen=True)
class Pulled:
    """A run that holds a model of the hub. is_update: the run was there, pulled before."""

    run: RunFolder
    origin: Origin
    is_update: bool


def push(
    model: str,
    name: str,
    config: ExportConfig | None = None,
    *,
    is_public: bool = False,
    branch: str | None = None,
    checkpoints: str | Path,
) -> Pushed:
    """Push a model to the repository USER/NAME, which is private unless `is_public`.

    config: licence, language and card_samples say what the card has. The text that the model
    learned from is never pushed. A card that somebody edited on the hub stays as it is.

    Raises:
        ConfigError: the name is none, there is no token, or the repository is public and that was
            not asked for.
        CheckpointError: the model is missing or damaged, or the hub does not take it.
    """
    from charrnn.formats.card import is_unedited
    from charrnn.formats.huggingface import make_huggingface

    target = parse_hub_name(name)
    if target.revision is not None:
        raise ConfigError(f"{name!r} names a revision; push to one by --branch {target.revision}")
    if branch is not None:
        parse_hub_name(f"{target.repo}@{branch}")  # refuses what is no branch
    file = read_model(find_model(model, Path(checkpoints)))
    files = make_huggingface(file, target.repo, config or ExportConfig())
    return push_files(
        target.repo,
        files,
        message=_message(file),
        may_replace=is_unedited,
        is_public=is_public,
        branch=branch,
    )


def pull(
    name: str,
    run_name: str | None = None,
    *,
    overwrite: bool = False,
    checkpoints: str | Path,
) -> Pulled:
    """Fetch the model of USER/NAME[@REVISION] into a run named NAME, or as run_name says.

    A run that was pulled from the same repository, and not trained since, is brought up to date.
    overwrite: replace any other run of that name.

    Raises:
        ConfigError: the name is none, cannot be a run's, or a run has it.
        CheckpointError: there is no such model on the hub, it is damaged, or the hub cannot be
            reached.
        RunLockedError: another process trains the run of that name.
        StorageError: it cannot be written.
    """
    source = parse_hub_name(name)
    folder = Path(checkpoints)
    called = run_name or name_after(source.repo.split("/")[1])
    check_name(called)
    known = named_run(called, folder)
    before = read_origin(known.best) if known.best.exists() else None
    is_copy = before is not None and before.repo == source.repo and not known.states
    is_update = is_copy and not known.path.is_symlink()  # it would lead out of the folder
    if known.has_model and not (is_update or overwrite):
        raise ConfigError(
            f"there is a run {called!r} in {folder} already, which is not just a copy of "
            f"{source.repo}; give another --name, or replace it with --overwrite"
        )
    data, origin = _fetch_verified(source)
    with ExitStack() as held:
        if is_update:
            held.enter_context(known.lock())
            run = known
        else:
            run = held.enter_context(claim_run(folder, called, called, overwrite=overwrite))
        run.save_pulled(data, pack_origin(origin, data))
    return Pulled(run, origin, is_update)


def _fetch_verified(source: HubName) -> tuple[bytes, Origin]:
    """Return a model file's bytes and where they come from; a damaged copy is fetched again."""
    for is_forced in (False, True):
        path, origin = fetch_model(source, is_forced=is_forced)
        try:
            data = path.read_bytes()
            unpack_model(bytearray(data), f"{source}/{path.name}")
        except OSError as error:
            raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
        except CheckpointError:
            if is_forced:
                raise
        else:
            return data, origin
    raise AssertionError("the second attempt returns or raises")


def _message(file: ModelFile) -> str:
    """Return the message of a commit."""
    bpc = file.summary.get("val_bpc")
    figure = f": {bpc:.3f} bits per character" if isinstance(bpc, float) else ""
    return f"Add a {file.config.cell} of {file.config.num_parameters:,} parameters{figure}"
