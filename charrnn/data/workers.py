"""Processes that do the jobs of `encode` side by side.

A worker is a bare Python that imports only what reading a text needs. It takes a job as a line of
JSON on its standard input, answers with one on its standard output, and ends when its input does,
so it never outlives the process that started it. concurrent.futures' processes do not work here: a
forked one may inherit a lock that a thread of torch's holds, a spawned one imports the caller's
script.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from queue import SimpleQueue

from charrnn.data.encode import Job, Result, run_job
from charrnn.errors import CharRNNError, ConfigError, CorpusError

MAX_WORKERS = 8  # more would read faster than one process can hash

# A worker imports the same modules as this process, in whatever folder that was started.
_START = (
    "import os, sys; sys.path[:] = sys.argv[1].split(os.pathsep); "
    "from charrnn.data.workers import run_worker; run_worker()"
)
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_ERRORS = {kind.__name__: kind for kind in CharRNNError.__subclasses__()}

_Worker = subprocess.Popen[bytes]


def allowed_workers() -> int:
    """Return how many processes to use: $CHARRNN_WORKERS, or one for each processor, up to 8."""
    if own := os.environ.get("CHARRNN_WORKERS"):
        if not own.isascii() or not own.isdigit() or int(own) < 1:
            raise ConfigError(f"CHARRNN_WORKERS is {own!r}; give a number of processes, 1 or more")
        return int(own)
    if not sys.executable or getattr(sys, "frozen", False):  # no Python to start
        return 1
    if hasattr(os, "sched_getaffinity"):  # Linux: the processors that this process may use
        return min(MAX_WORKERS, len(os.sched_getaffinity(0)))
    return min(MAX_WORKERS, os.cpu_count() or 1)


@contextmanager
def open_workers(number: int) -> Iterator[Callable[[Iterable[Job]], Iterator[Result]]]:
    """Yield a function that does jobs and yields their results in order, or raises their error.

    One worker is this process itself, which does each job when its result is asked for. More are
    processes, which start at once and are killed when the block ends. A process that cannot be
    started, or was ended from outside, is a CorpusError.
    """
    if number == 1:
        yield lambda jobs: map(run_job, jobs)
        return
    workers: list[_Worker] = []
    idle: SimpleQueue[_Worker] = SimpleQueue()
    pool = ThreadPoolExecutor(number)  # its threads only wait for answers
    try:
        for _ in range(number):
            workers.append(_start())
            idle.put(workers[-1])
        yield lambda jobs: pool.map(partial(_ask, idle), jobs)
    finally:
        for worker in workers:
            worker.kill()  # which also ends what its thread waits for
        pool.shutdown(cancel_futures=True)
        for worker in workers:
            with suppress(OSError), worker:
                pass


def _start() -> _Worker:
    """Start a worker, in a session of its own: a Ctrl-C reaches only this process."""
    try:
        return subprocess.Popen(
            [sys.executable, "-c", _START, os.pathsep.join(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | _ONE_THREAD,
            start_new_session=True,
        )
    except OSError as error:
        raise CorpusError(
            f"cannot start a process to read the text: {error.strerror or error}; "
            "set CHARRNN_WORKERS=1 to read it without"
        ) from error


def _ask(idle: SimpleQueue[_Worker], job: Job) -> Result:
    """Have an idle worker do a job, and return its result or raise its error."""
    worker = idle.get()
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        with suppress(BrokenPipeError):  # a dead worker shows below
            worker.stdin.write(json.dumps(job).encode() + b"\n")
            worker.stdin.flush()
        result: Result = json.loads(worker.stdout.readline())
    except ValueError as error:
        raise CorpusError(
            f"a process that read the text was ended from outside (code {worker.wait()}), perhaps "
            "because memory ran out; run the command again with CHARRNN_WORKERS=1"
        ) from error
    finally:
        idle.put(worker)
    if "error" in result:
        raise _ERRORS[result["error"]](result["message"])
    return result


def run_worker() -> None:
    """Do the jobs on standard input until it ends: all that a worker does."""
    for line in sys.stdin.buffer:
        try:
            result = run_job(json.loads(line))
        except CharRNNError as error:
            result = {"error": type(error).__name__, "message": error.message}
        except MemoryError:
            message = "no memory is left to read the text; CHARRNN_WORKERS=1 takes the least"
            result = {"error": "OutOfMemoryError", "message": message}
        try:
            sys.stdout.buffer.write(json.dumps(result).encode() + b"\n")
            sys.stdout.buffer.flush()
        except BrokenPipeError:  # nobody listens any more, and Python would try again as it ends
            os._exit(1)
