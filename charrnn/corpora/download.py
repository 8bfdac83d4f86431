"""Fetch one file over HTTP: whole and checked, or not at all, and resumable in between.

Bytes stream into NAME.part beside the destination; NAME.part.json remembers which version of the
file they belong to, so that the next call asks only for the rest (RFC 9110, 13.1.5 and 14). Of
our dependencies only torch.hub downloads too; it cannot resume, and importing it takes a second.
"""

import hashlib
import http.client
import json
import math
import os
import re
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO, Any, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from charrnn.errors import DownloadError
from charrnn.storage import flush_folder, open_plain, read_note, write_atomically, write_errors

# Called with the bytes on the disk and, where known, the bytes of the whole file.
Progress = Callable[[int, int | None], None]

MAX_BYTES = 16 << 20  # of a file of unknown size: a single book
BACKOFF_SECONDS = 0.5  # before the first retry; doubles with each further one
_BLOCK_BYTES = 1 << 16
_PASSING_STATUS = {408, 429, 500, 502, 503, 504}  # errors that another attempt may not meet


class _TransferError(Exception):
    """The transfer failed in a way that another attempt may repair."""


@dataclass(frozen=True)
class _Job:
    """What to fetch, and the file that its bytes go into."""

    url: str
    part: Path
    sha256: str | None
    size_bytes: int | None
    limit_bytes: int
    timeout_seconds: float
    retries: int
    deadline: float  # by time.monotonic()
    on_progress: Progress | None

    @property
    def note(self) -> Path:
        return self.part.with_name(self.part.name + ".json")

    @property
    def is_late(self) -> bool:
        return time.monotonic() > self.deadline

    def failure(self, what: str) -> DownloadError:
        """Return the error that ends a download for good."""
        hint = "try again later, or download it yourself and train on that file"
        return DownloadError(f"cannot download {self.url}: {what}; {hint}", what)

    def discard(self) -> None:
        """Remove what has arrived: it is useless."""
        with write_errors(self.part):
            self.part.unlink(missing_ok=True)
            self.note.unlink(missing_ok=True)


def download(
    url: str,
    destination: Path,
    *,
    sha256: str | None,
    size_bytes: int | None,
    max_bytes: int = MAX_BYTES,
    timeout_seconds: float = 30,
    retries: int = 3,
    limit_seconds: float | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Put the content of `url` at `destination` once it is complete and checked.

    An interrupted download leaves NAME.part, which the next call continues.

    sha256: the right digest in hex; None leaves the content unchecked.
    size_bytes: the right size; None where it may vary, up to max_bytes.
    timeout_seconds: how long the server may stay silent, not the length of the whole.
    retries: further attempts after a stall, a lost connection or a passing server error.
    limit_seconds: how long the whole may take; None for as long as it needs.

    Raises:
        DownloadError: no network, an HTTP error, or content that is not the expected one.
        StorageError: the disk is full or the folder may not be written.
    """
    part = destination.with_name(destination.name + ".part")
    limit_bytes = max_bytes if size_bytes is None else size_bytes
    deadline = math.inf if limit_seconds is None else time.monotonic() + limit_seconds
    job = _Job(
        url,
        part,
        sha256,
        size_bytes,
        limit_bytes,
        timeout_seconds,
        retries,
        deadline,
        on_progress,
    )
    if limit_seconds is None:
        _complete(job)
    else:
        _complete_within(limit_seconds, job)
    with write_errors(destination):
        part.replace(destination)
        flush_folder(destination.parent)
    job.discard()
    return destination


def _complete(job: _Job) -> None:
    """Complete the .part and check it, in as many attempts as the job may take."""
    for attempt in range(job.retries + 1):
        try:
            _fetch(job)
            return
        except _TransferError as error:
            if attempt == job.retries or job.is_late:
                raise job.failure(str(error)) from error
            time.sleep(BACKOFF_SECONDS * 2**attempt)


def _complete_within(seconds: float, job: _Job) -> None:
    """Complete the .part, or give up after `seconds`."""
    # In a thread, as nothing interrupts the look-up of a host's name, which may take a minute.
    outcome: Future[None] = Future()

    def work() -> None:
        try:
            _complete(job)
            outcome.set_result(None)
        except BaseException as error:
            outcome.set_exception(error)

    Thread(target=work, daemon=True).start()
    try:
        outcome.result(seconds)
    except (TimeoutError, DownloadError) as error:  # the thread may be the first to see it
        if isinstance(error, DownloadError) and not job.is_late:
            raise
        raise job.failure(f"it did not arrive within {seconds:g} s") from error


def _fetch(job: _Job) -> None:
    """Complete the .part and check it, in one attempt."""
    offset, validator = _resume_point(job)
    with _open(job, offset, validator) as response:
        offset = _accepted_offset(job, response, offset)
        # Refuse a file of the wrong size before its bytes are sent, and keep what has arrived.
        total = None if response.length is None else offset + response.length
        if total is not None and (total > job.limit_bytes or job.size_bytes not in (None, total)):
            limit = f"at most {job.limit_bytes}" if job.size_bytes is None else job.size_bytes
            raise job.failure(f"it has {total} bytes, but {limit} were expected")
        size = _stream(job, response, offset, total)
    expected = job.size_bytes if total is None else total
    if size == 0 or (expected is not None and size != expected):
        raise _TransferError(f"{size} bytes arrived, but {expected or 'more'} were expected")
    with write_errors(job.part), open_plain(job.part) as file:
        seen = hashlib.file_digest(file, "sha256").hexdigest()
    if job.sha256 not in (None, seen):
        job.discard()
        what = f"its SHA-256 is {seen}, but {job.sha256} was expected"
        # A resumed file may mix two versions, so it is tried once more from its start.
        raise _TransferError(what) if offset else job.failure(what)


def _resume_point(job: _Job) -> tuple[int, str | None]:
    """Return the bytes to continue from and the validator of their version; (0, None) to start."""
    try:
        note = json.loads(read_note(job.note))
        validator = note["validator"]
        size = job.part.lstat().st_size
        is_same = note["url"] == job.url
    except (OSError, ValueError, KeyError, TypeError):
        return 0, None
    # Without a validator only the final digest can tell two versions of the file apart.
    if not is_same or (validator is None and job.sha256 is None):
        return 0, None
    return size, validator if isinstance(validator, str) else None


def _open(job: _Job, offset: int, validator: str | None) -> http.client.HTTPResponse:
    """Ask for the file from byte `offset` on; from its start if the server has no such byte."""
    if not job.url.startswith(("http://", "https://")):
        raise job.failure("only http and https addresses can be downloaded")
    headers = {"User-Agent": "charrnn"}
    if offset:
        headers |= {"Range": f"bytes={offset}-"} | ({"If-Range": validator} if validator else {})
    try:
        request = Request(job.url, headers=headers)
        answer = build_opener(_Redirects).open(request, timeout=job.timeout_seconds)
        return cast(http.client.HTTPResponse, answer)
    except HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            return _open(job, 0, None)
        what = f"the server answered {error.code} {error.reason}"
        raise (_TransferError if error.code in _PASSING_STATUS else job.failure)(what) from error
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, URLError) and isinstance(error.reason, socket.gaierror):
            host = urlsplit(job.url).hostname
            raise job.failure(f"{host} was not found; is this machine online?") from error
        raise _TransferError(str(error) or repr(error)) from error
    except ValueError as error:
        raise job.failure(f"the address is not valid ({error})") from error


def _accepted_offset(job: _Job, response: http.client.HTTPResponse, offset: int) -> int:
    """Return the byte at which the response starts: `offset`, or 0 if Range was ignored."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise job.failure("the server sent it compressed, although it was not asked to")
    if response.status == http.HTTPStatus.OK:
        return 0
    start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if response.status == http.HTTPStatus.PARTIAL_CONTENT and start and int(start[1]) == offset:
        return offset
    job.discard()
    raise _TransferError(f"the server answered {response.status} to a request from byte {offset}")


def _stream(job: _Job, response: http.client.HTTPResponse, offset: int, total: int | None) -> int:
    """Append the response to the .part and return the size that it has then."""
    with write_errors(job.part):
        job.part.parent.mkdir(parents=True, exist_ok=True)
        with open_plain(job.part, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as file:
            if not offset:
                file.truncate(0)  # the old bytes are gone, so the note can name the new version
                etag = response.headers.get("ETag", "")
                strong = etag if etag.startswith('"') else None  # If-Range takes no weak W/"..."
                validator = strong or response.headers.get("Last-Modified")
                note = {"url": job.url, "validator": validator}
                write_atomically(job.note, json.dumps(note) + "\n")
            file.seek(0, os.SEEK_END)
            while block := _read(response):
                if job.is_late:  # nobody waits for it, and another download may have begun
                    raise _TransferError("the time for it is up")
                file.write(block)
                if file.tell() > job.limit_bytes:
                    break
                if job.on_progress is not None:
                    job.on_progress(file.tell(), total or job.size_bytes)
            file.flush()
            os.fsync(file.fileno())
        size = job.part.stat().st_size
    if size > job.limit_bytes:
        job.discard()
        raise job.failure(f"it has more than the {job.limit_bytes} bytes expected")
    return size


def _read(response: http.client.HTTPResponse) -> bytes:
    """Return what has arrived, so that a later stall loses nothing; empty at the end."""
    try:
        return response.read1(_BLOCK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _TransferError(str(error) or repr(error)) from error


class _Redirects(HTTPRedirectHandler):
    """Follow redirects to http and https, but never from https down to http."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        fp.close()  # the body of a redirect would be read whole, however long it is
        old = urlsplit(req.full_url).scheme
        new = urlsplit(newurl).scheme
        if new not in ("http", "https") or (old == "https" and new == "http"):
            raise HTTPError(req.full_url, code, f"redirect to {newurl} is not allowed", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
