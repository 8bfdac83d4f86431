"""Processes that do jobs side by side: started, fed and ended.

A worker is a bare Python that imports no more than the text room. It takes a job as a line of JSON
on its standard input, answers with one on its standard output, and ends when its input does, so
that none outlives the process that started it. It is not forked, since torch's threads may run in
this process, and not one of multiprocessing's, which import the caller's script again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from queue import SimpleQueue

from charrnn.errors import (
    CharRNNError,
    ConfigError,
    CorpusError,
    OutOfMemoryError,
    StorageError,
    VocabError,
)
from charrnn.text.encode import Job, Result, run_job

MAX_WORKERS = 8  # more read faster than one process can hash

# Its modules are this process's own, wherever it was started from.
_START = (
    "import os, sys; sys.path[:] = sys.argv[1].split(os.pathsep); "
    "from charrnn.text.workers import serve; serve()"
)
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

_ERRORS = {
    kind.__name__: kind
    for kind in (ConfigError, CorpusError, OutOfMemoryError, StorageError, VocabError)
}

_Worker = subprocess.Popen[bytes]


def allowed_workers() -> int:
    """Give how many processes may be used: $CHARRNN_WORKERS, or one for each processor, up to 8.

    Raises:
        ConfigError: the variable is no such number.
    """
    if own := os.environ.get("CHARRNN_WORKERS"):
        if not own.isascii() or not own.isdigit() or int(own) < 1:
            raise ConfigError(f"CHARRNN_WORKERS is {own!r}; give a number of processes, 1 or more")
        return int(own)
    if not sys.executable or getattr(sys, "frozen", False):  # there is no Python to start
        return 1
    has_affinity = hasattr(os, "sched_getaffinity")
    cpus = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return min(MAX_WORKERS, cpus)


@contextmanager
def open_workers(number: int) -> Iterator[Callable[[Iterable[Job]], Iterator[Result]]]:
    """Yield a function that does jobs and gives their results in order, or the first's error.

    One worker is this process itself, which does each job when its result is asked for. More are
    processes, which begin at once and are killed when the block ends.

    Raises:
        CorpusError: a process cannot be started; later, it was ended from outside.
    """
    if number == 1:
        yield lambda jobs: map(run_job, jobs)
        return
    workers: list[_Worker] = []
    idle: SimpleQueue[_Worker] = SimpleQueue()

    def ask(job: Job) -> Result:
        worker = idle.get()
        try:
            return _ask(worker, job)
        finally:
            idle.put(worker)

    pool = ThreadPoolExecutor(number)
    try:
        for _ in range(number):
            workers.append(_start())
            idle.put(workers[-1])
        yield lambda jobs: pool.map(ask, jobs)
    finally:
        for worker in workers:
            worker.kill()  # which also ends what its thread waits for
        pool.shutdown(cancel_futures=True)
        for worker in workers:
            with suppress(OSError), worker:
                pass


def _start() -> _Worker:
    # In a session of its own it hears no Ctrl-C; what becomes of it is decided here.
    command = [sys.executable, "-c", _START, os.pathsep.join(sys.path)]
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | _ONE_THREAD,
            start_new_session=True,
        )
    except OSError as error:
        raise CorpusError(
            f"cannot start a process to read the text: {error.strerror or error}; "
            "CHARRNN_WORKERS=1 reads it in this one"
        ) from error


def _ask(worker: _Worker, job: Job) -> Result:
    assert worker.stdin is not None
    assert worker.stdout is not None
    with suppress(BrokenPipeError):
        worker.stdin.write(json.dumps(job).encode() + b"\n")
        worker.stdin.flush()
    try:
        result: Result = json.loads(worker.stdout.readline())
    except ValueError as error:
        raise CorpusError(
            f"a process that read the text was ended from outside (code {worker.wait()}), perhaps "
            "for want of memory; run the command again, with CHARRNN_WORKERS=1 in one process"
        ) from error
    if "error" in result:
        raise _ERRORS[result["error"]](result["message"])
    return result


def serve() -> None:
    """Do jobs until there are no more: the whole life of a worker."""
    for line in sys.stdin.buffer:
        try:
            result = run_job(json.loads(line))
        except CharRNNError as error:
            result = {"error": type(error).__name__, "message": str(error)}
        except MemoryError:
            message = "no memory is left to read the text; CHARRNN_WORKERS=1 takes the least"
            result = {"error": "OutOfMemoryError", "message": message}
        try:
            sys.stdout.buffer.write(json.dumps(result).encode() + b"\n")
            sys.stdout.buffer.flush()
        except BrokenPipeError:  # who asked is gone, and Python would try again as it ends
            os._exit(1)
