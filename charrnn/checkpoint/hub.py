"""Model files on the Hugging Face hub: fetch one into the hub's own cache, push a folder of files.

Only files of ours are read back: the model file and the card. A name in a listing of the hub is
never made a path here. The token is the hub library's own affair: it reads HF_TOKEN or its store,
and no message of ours holds it. huggingface_hub is imported when something is fetched or pushed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from charrnn._version import __version__
from charrnn.checkpoint.public import HUB_SCHEME
from charrnn.checkpoint.run_folder import ORIGIN, SHARED
from charrnn.checkpoint.strict_json import check_types, parse_json, shown
from charrnn.errors import (
    CharRNNError,
    CheckpointError,
    ConfigError,
    StorageError,
    missing_extra,
)
from charrnn.storage import read_note

CARD = "README.md"
MAX_MODEL_BYTES = 8 << 30  # of a model file; the largest network of ours has a tenth of it
MAX_CARD_BYTES = 1 << 20
TIMEOUT_SECONDS = 10.0  # for the hub's first answer

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_NAME = re.compile(rf"({_PART}/{_PART})(?:@([^@\s\x00-\x20\x7f]{{1,200}}))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TOKEN = re.compile(r"hf_[A-Za-z0-9_]+|Bearer\s+\S+", re.IGNORECASE)
_CACHED = re.compile(r"models--([A-Za-z0-9._-]+)--([A-Za-z0-9._-]+)")
_MAX_REASON_CHARS = 160
_NOT_THERE = (401, 404)  # the hub answers 401 for what is not there, or not for everybody
_NOTE = {"repo": str, "commit": str, "revision": str | None, "sha256": str}
_TOO_MUCH = (402, 413, 507)


@dataclass(frozen=True)
class HubName:
    """A repository of models, such as "ada/plays"; revision: a branch, tag or commit."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.repo + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True)
class Origin:
    """Where a model on this machine comes from: a commit of a repository on the hub.

    revision: what was asked for; None for the main branch.
    """

    repo: str
    commit: str
    revision: str | None = None


@dataclass(frozen=True)
class Pushed:
    """What a push led to. has_kept_card: somebody edited the card there, so it was left alone."""

    repo: str
    branch: str
    commit: str
    url: str
    is_private: bool
    is_new: bool
    has_kept_card: bool


def parse_hub_name(text: str) -> HubName:
    """Return the repository in "USER/NAME", "USER/NAME@REVISION", or either after "hf://".

    >>> parse_hub_name("hf://ada/plays@v2")
    HubName(repo='ada/plays', revision='v2')

    Raises:
        ConfigError: it is no such name.
    """
    match = _NAME.fullmatch(text.removeprefix(HUB_SCHEME))
    repo, revision = match.groups() if match else ("", None)
    if not repo or "--" in repo or ".." in f"{repo}{revision}" or repo.endswith(".git"):
        raise ConfigError(
            f"{shown(text)} is no name on the hub; write USER/NAME or USER/NAME@REVISION, of "
            "letters, digits, -, _ and ."
        )
    return HubName(repo, revision)


def fetch_model(name: HubName, *, is_forced: bool = False) -> tuple[Path, Origin]:
    """Return a model file in the hub's own cache, fetched unless it is there, and its commit.

    Without a network the cached file of that revision is used. Its content is not yet verified.
    is_forced: fetch it again, as what is cached is damaged.

    Raises:
        ConfigError: huggingface_hub is not installed.
        CheckpointError: there is no such repository, revision or file, it is too long, or the hub
            cannot be reached and the file is not cached.
    """
    hub = _import_hub()
    revision = name.revision or "main"
    place = {"repo_id": name.repo, "filename": SHARED, "revision": revision}
    is_fixed = _COMMIT.fullmatch(revision) is not None  # a commit never changes
    if is_fixed and not is_forced:
        path = hub.try_to_load_from_cache(**place)
        if isinstance(path, str):
            return Path(path), _origin_of(path, name)
    with _saying_what_failed(hub, f"fetch {HUB_SCHEME}{name}"):
        try:
            url = hub.hf_hub_url(**place)
            found = hub.get_hf_file_metadata(url, timeout=TIMEOUT_SECONDS, **_about_us())
        except hub.errors.HfHubHTTPError as error:
            if error.response.status_code < 500 and error.response.status_code != 429:
                raise
            path = _cached_or_raise(hub, place, error, is_forced=is_forced)
        except (_transport_error(hub), OSError) as error:
            path = _cached_or_raise(hub, place, error, is_forced=is_forced)
        else:
            _checked_commit(found.commit_hash)
            _check_size(found.size, MAX_MODEL_BYTES, f"{name}/{SHARED}")
            path = hub.hf_hub_download(**place, **_about_us(), force_download=is_forced)
    return Path(path), _origin_of(path, name)


def push_files(
    repo: str,
    files: Mapping[str, bytes],
    *,
    message: str,
    may_replace: Callable[[bytes], bool],
    is_public: bool = False,
    branch: str | None = None,
) -> Pushed:
    """Commit files to a repository, which is made if it is not there: private, unless is_public.

    No other file there is touched. may_replace: called with the card there, if it is not ours to
    be committed; False keeps that one.

    Raises:
        ConfigError: huggingface_hub is not installed, there is no token, or the repository is
            public and that was not asked for.
        CheckpointError: the hub does not take them, or cannot be reached.
    """
    hub = _import_hub()
    with _saying_what_failed(hub, f"push to {HUB_SCHEME}{repo}"):
        if hub.get_token() is None:
            raise ConfigError(
                "no token of the hub is known here; run hf auth login, or set HF_TOKEN"
            )
        api = hub.HfApi(**_about_us())
        is_new = not api.repo_exists(repo)
        if is_new:
            api.create_repo(repo, private=not is_public, exist_ok=True)
    made = ", which this made and left empty" * is_new
    with _saying_what_failed(hub, f"push to {HUB_SCHEME}{repo}{made}"):
        # Asked for whatever was just made: an organization may have rules of its own.
        is_private = bool(api.model_info(repo, timeout=TIMEOUT_SECONDS).private)
        if not (is_private or is_public):
            raise ConfigError(
                f"{repo} is public on the hub; pass --public to push to it, or give another name"
            )
        if branch is not None:
            api.create_branch(repo, branch=branch, exist_ok=True)
        target = branch or "main"
        info = api.model_info(repo, revision=target, files_metadata=True, timeout=TIMEOUT_SECONDS)
        head = _checked_commit(info.sha)
        sizes = {each.rfilename: each.size for each in info.siblings or ()}
        has_kept_card = False
        if CARD in files and CARD in sizes:
            card = _read_card(hub, repo, head, sizes[CARD])
            has_kept_card = card != files[CARD] and (card is None or not may_replace(card))
        operations = [
            hub.CommitOperationAdd(path_in_repo=path, path_or_fileobj=data)
            for path, data in files.items()
            if not (path == CARD and has_kept_card)
        ]
        # parent_commit: a card that is edited meanwhile is not overwritten either.
        commit_info = api.create_commit(
            repo, operations, commit_message=message, revision=target, parent_commit=head
        )
        commit = _checked_commit(commit_info.oid)
    url = f"{hub.constants.ENDPOINT}/{repo}" + (f"/tree/{branch}" if branch else "")
    return Pushed(repo, target, commit, url, is_private, is_new, has_kept_card)


def pack_origin(origin: Origin, model: bytes) -> str:
    """Return the content of the note beside a pulled model, whose file has these bytes."""
    note = asdict(origin) | {"sha256": hashlib.sha256(model).hexdigest()}
    return json.dumps(note, indent=2) + "\n"


def read_origin(path: Path) -> Origin | None:
    """Return where a model file comes from; None where that is not known.

    A pulled one has a note beside it, which knows its digest: a note of another file says nothing.
    One in the hub's cache is in the folder of its commit.
    """
    note = path.parent / ORIGIN
    with suppress(OSError, ValueError, KeyError, ConfigError):
        values = parse_json(read_note(note).decode())
        check_types(values, _NOTE, ORIGIN)
        name = parse_hub_name(values["repo"])
        if _COMMIT.fullmatch(values["commit"]) and values["sha256"] == _digest_of(path):
            return Origin(name.repo, values["commit"], values.get("revision"))
    folder = path.parent
    cached = _CACHED.fullmatch(folder.parent.parent.name)
    if cached and folder.parent.name == "snapshots" and _COMMIT.fullmatch(folder.name):
        return Origin(f"{cached[1]}/{cached[2]}", folder.name)
    return None


def _digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def name_of_run(path: Path) -> str:
    """Return what the run of a model file is called: as its folder, or its repository on the hub.

    >>> name_of_run(Path("checkpoints/book/best.safetensors"))
    'book'
    """
    origin = read_origin(path) if path.name == SHARED else None
    return origin.repo.split("/")[1] if origin else path.absolute().parent.name


def describe_origin(origin: Origin) -> str:
    """Return where a model comes from, in words.

    >>> describe_origin(Origin("ada/plays", "0123456789abcdef" + "0" * 24, "v2"))
    'hf://ada/plays@v2, commit 0123456789ab'
    """
    return f"{HUB_SCHEME}{HubName(origin.repo, origin.revision)}, commit {origin.commit[:12]}"


def _import_hub() -> Any:
    """Return huggingface_hub, with what is used of it loaded."""
    try:
        hub = import_module("huggingface_hub")
        for part in ("constants", "errors", "utils"):
            import_module(f"huggingface_hub.{part}")
    except ImportError as error:
        raise missing_extra("the hub", "huggingface_hub", "hub") from error
    return hub


def _about_us() -> dict[str, str]:
    return {"library_name": "charrnn", "library_version": __version__}


def _transport_error(hub: Any) -> type[Exception]:
    """Return the class of errors without an answer: of httpx, or httpx2 in later versions."""
    base: type[Exception] = hub.errors.HfHubHTTPError.__bases__[0]
    return base


def _cached_or_raise(
    hub: Any, place: Mapping[str, str], error: Exception, *, is_forced: bool
) -> str:
    """Return the path of what is cached; raise the error of the network where nothing is."""
    path = None if is_forced else hub.try_to_load_from_cache(**place)
    if not isinstance(path, str):
        raise error
    return path


def _check_size(size: int | None, limit: int, what: str) -> None:
    if size is None or size > limit:
        found = "does not say its size" if size is None else f"has {size:,} bytes"
        raise CheckpointError(f"{what} {found} on the hub; at most {limit:,} are fetched")


def _read_card(hub: Any, repo: str, commit: str, size: int | None) -> bytes | None:
    """Return the card there; None if it is longer than any of ours."""
    if size is None or size > MAX_CARD_BYTES:
        return None
    path = Path(hub.hf_hub_download(repo, CARD, revision=commit, **_about_us()))
    return read_note(path)


def _origin_of(path: str, name: HubName) -> Origin:
    """Return the commit of a cached file: its folder's name."""
    return Origin(name.repo, _checked_commit(Path(path).parent.name), name.revision)


def _checked_commit(commit: object) -> str:
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise CheckpointError(
            f"what answered is not a hub: its commit is {shown(commit)}; check HF_ENDPOINT"
        )
    return commit


@contextmanager
def _saying_what_failed(hub: Any, what: str) -> Iterator[None]:
    """Turn what goes wrong with the hub into an error of one line, without the token."""
    with _quiet(hub):
        try:
            yield
        # ValueError: such as a card whose front matter the hub refuses. RuntimeError: of a thread
        # that uploads a large file.
        except (_transport_error(hub), OSError, ValueError, RuntimeError) as error:
            raise _as_ours(hub, what, error) from None


def _as_ours(hub: Any, what: str, error: BaseException) -> CharRNNError:
    """Return an error of the hub library, or of what it stands on, as one of ours."""
    errors = hub.errors
    if isinstance(error, errors.HfHubHTTPError):
        return CheckpointError(f"cannot {what}: {_explain(hub, error)}")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return CheckpointError(
            f"cannot {what}: HF_HUB_OFFLINE is set, and it is not in the hub's cache"
        )
    if isinstance(error, (_transport_error(hub), ConnectionError, TimeoutError)):
        return CheckpointError(
            f"cannot {what}: {hub.constants.ENDPOINT} cannot be reached ({_plain(hub, error)}); is "
            "this machine online?"
        )
    if isinstance(error, RuntimeError) and error.__cause__ is not None:
        return _as_ours(hub, what, error.__cause__)
    if isinstance(error, OSError) and error.errno is not None:
        return StorageError(
            f"cannot {what}: cannot write {hub.constants.HF_HUB_CACHE}: "
            f"{error.strerror or error}; set HF_HOME to another place"
        )
    return CheckpointError(f"cannot {what}: {_plain(hub, error)}")


@contextmanager
def _quiet(hub: Any) -> Iterator[None]:
    """Let the hub library neither log nor draw progress bars within the block."""
    logging = hub.utils.logging
    verbosity = logging.get_verbosity()
    had_bars = not hub.utils.are_progress_bars_disabled()
    logging.set_verbosity_error()
    if had_bars:
        hub.utils.disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            hub.utils.enable_progress_bars()


def _explain(hub: Any, error: Any) -> str:
    """Return why the hub refused, and what to do."""
    status = error.response.status_code
    if isinstance(error, hub.errors.RevisionNotFoundError):
        return "it has no such revision; leave @REVISION out, or look at its page"
    if isinstance(error, hub.errors.EntryNotFoundError):
        return f"it has no {SHARED}, so it is not a model of charrnn push or export"
    if isinstance(error, hub.errors.GatedRepoError):
        return "its owner decides who may read it; ask for access on its page"
    if status in _NOT_THERE:
        return (
            "it is not there, or it is private; check the name, and log in by hf auth login or "
            "HF_TOKEN"
        )
    answer = f"the hub answered {status}"
    if said := _plain(hub, getattr(error, "server_message", None) or ""):
        answer += f" ({said})"
    hint = {403: "; your token may not do this", 412: "; it changed meanwhile: try again"}
    if status in _TOO_MUCH:
        return answer + "; there is no room for it in your account"
    if status == 429 or status >= 500:
        return answer + "; try again later"
    return answer + hint.get(status, "")


def _plain(hub: Any, said: object) -> str:
    """Return what a server or a library said in one short line, without any token."""
    text = " ".join(str(said).split())
    with suppress(Exception):
        if token := hub.get_token():
            text = text.replace(token, "…")
    return _TOKEN.sub("…", text)[:_MAX_REASON_CHARS]
