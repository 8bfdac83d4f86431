"""Let every system call of a save and of a resume fail in turn: the run keeps what it had.

A few by standing in for functions of the os module; all of them, in the whole suite, by strace,
which makes the kernel's answer to a chosen call an error. The process that fails is forked by one
that has imported everything, so that only the calls of the save or the resume are counted.
"""

from __future__ import annotations

import ctypes
import errno
import io
import itertools
import json
import mmap
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_folder import RunFolder

CODES = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EACCES": errno.EACCES}
SIGNAL = {"EINTR": errno.EINTR}
INTERRUPTED = {"open", "openat", "read", "write", "fsync", "ftruncate"}  # by signals, says POSIX
NO_FILES = {"mmap", "munmap"}
UNSEEKABLE = "|File or stream is not seekable"  # Python's word for any error of lseek
PR_SET_PTRACER, PR_SET_PTRACER_ANY = 0x59616D61, ctypes.c_ulong(-1)
NO_TRACING = 77  # an exit code
OLD, NEW = 7, 8
WAYS = ("save", "resume")

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX system calls fail here")


@dataclass(frozen=True)
class Outcome:
    """The step that was saved or found, with what was found damaged; or the error."""

    step: int | None
    damaged: tuple[str, ...] = ()
    error: str = ""


@pytest.fixture
def template(tmp_path: Path, make_model: Callable[..., ModelFile]) -> Path:
    """Make the folder of a run with two states and a line in the log after each, and one more."""
    run = RunFolder(tmp_path / "template")
    for step in (OLD, NEW):
        run.log_metrics({"step": step})
        progress = {"step": step, "logs": run.log_positions()}
        run.save_state(replace(make_model(step=step), progress=progress), step, kept=2)
    run.log_metrics({"step": 9})
    return run.path


def log_of(step: int) -> bytes:
    return b"".join(b'{"step": %d}\n' % each for each in range(OLD, step + 1))


def prepare(way: str, template: Path) -> RunFolder:
    """Copy the template; a run that is about to save has the old state alone."""
    run = RunFolder(template.parent / "mine")
    shutil.rmtree(run.path, ignore_errors=True)
    shutil.copytree(template, run.path)
    if way == "save":
        run.states[0].unlink()
    return run


def make_action(way: str, template: Path, run: RunFolder) -> Callable[[], Outcome]:
    """Return what a run does to save the new state, or to take up the newest."""
    model = read_model(template / f"step-{NEW}.safetensors")

    def save() -> Outcome:
        progress = {"step": NEW, "logs": run.log_positions()}
        run.save_state(replace(model, progress=progress), NEW, kept=1)
        return Outcome(NEW)

    def resume() -> Outcome:
        found, damaged = run.read_state()
        assert found.progress is not None
        run.rewind_logs(found.progress["logs"])
        return Outcome(found.progress["step"], tuple(each.reason for each in damaged))

    return {"save": save, "resume": resume}[way]


def attempt(action: Callable[[], Outcome]) -> Outcome:
    try:
        return action()
    except Exception as error:
        return Outcome(None, error=f"{type(error).__name__}: {error}")


def judge(way: str, template: Path, run: RunFolder, outcome: Outcome, reason: str) -> None:
    """Hold the run's folder and words to what they promise after a call failed for `reason`."""
    if reason == os.strerror(errno.EINTR):
        assert outcome == Outcome(NEW), outcome
    (judge_save if way == "save" else judge_resume)(template, run, outcome, reason)
    assert list(run.path.glob(".*")) == []
    assert make_action(way, template, run)().step == NEW  # the next time, nothing fails


def judge_save(template: Path, run: RunFolder, outcome: Outcome, reason: str) -> None:
    state, damaged = run.read_state()
    assert state.progress is not None
    assert damaged == []
    if outcome.step == NEW:
        assert state.progress["step"] == NEW
    else:
        words = rf"StorageError: cannot write {re.escape(str(run.path))}/\S+: ({reason})"
        assert re.fullmatch(words, outcome.error), outcome
        assert state.progress["step"] in (OLD, NEW)
        assert is_same(f"step-{OLD}.safetensors", template, run)


def judge_resume(template: Path, run: RunFolder, outcome: Outcome, reason: str) -> None:
    if outcome.step is None:
        words = rf"(CheckpointError|StorageError): cannot (read|write) .*: ({reason})[^\n]*"
        assert re.fullmatch(words, outcome.error), outcome
    elif outcome.step == OLD:
        assert [bool(re.search(reason, each)) for each in outcome.damaged] == [True], outcome
    else:
        assert outcome == Outcome(NEW)
    assert is_same(f"step-{OLD}.safetensors", template, run)
    assert is_same(f"step-{NEW}.safetensors", template, run)
    assert run.metrics.read_bytes().startswith(log_of(outcome.step or NEW))


def is_same(name: str, template: Path, run: RunFolder) -> bool:
    return (template / name).read_bytes() == (run.path / name).read_bytes()


# Standing in for the os module


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "name", ["open", "fsync", "close", "replace", "unlink", "listdir", "stat", "fstat"]
)
def test_a_call_that_fails_costs_nothing_that_was_saved(
    template: Path, is_whole: bool, way: str, name: str
) -> None:
    codes = CODES if is_whole else {"EIO": errno.EIO}
    codes = codes | (SIGNAL if name == "close" else {})  # Python itself repeats the others
    failures = 0
    for code in codes.values():
        for n in itertools.count(1):
            run = prepare(way, template)
            action = make_action(way, template, run)
            with pytest.MonkeyPatch.context() as patch:
                has_failed = fail_call(patch, name, n, code)
                outcome = attempt(action)
            if not has_failed:
                break
            failures += 1
            judge(way, template, run, outcome, os.strerror(code))
    makes_none = way == "resume" and name in {"replace", "unlink", "stat"}
    assert failures == 0 if makes_none else failures >= len(codes)


def fail_call(patch: pytest.MonkeyPatch, name: str, n: int, code: int) -> list[int]:
    """Let the n-th call of os.`name` fail; give a list that is empty until then."""
    call, calls, failed = getattr(os, name), itertools.count(1), []

    def perhaps_fail(*words: Any, **more: Any) -> Any:
        if next(calls) != n:
            return call(*words, **more)
        failed.append(n)
        if name == "close":  # Linux closes it all the same
            call(*words)
        raise OSError(code, os.strerror(code))

    patch.setattr(os, name, perhaps_fail)
    return failed


class Trickle(io.FileIO):
    """A file that takes a thousand bytes at a time, and none at the write number `bad`."""

    bad, code, writes = 0, 0, 0

    def write(self, data: Any) -> int:
        self.writes += 1
        if self.writes == self.bad:
            raise OSError(self.code, os.strerror(self.code))
        return super().write(memoryview(data)[:1000])


def trickle(patch: pytest.MonkeyPatch, bad: int, code: int) -> list[Trickle]:
    """Let files that are written take little at a time; give a list that collects them."""
    files = []

    def open_trickle(descriptor: int, mode: str, closefd: bool) -> io.BufferedWriter:
        files.append(Trickle(descriptor, mode, closefd))
        files[-1].bad, files[-1].code = bad, code
        return io.BufferedWriter(files[-1])

    patch.setattr(os, "fdopen", open_trickle)
    return files


@pytest.mark.parametrize("code", [0, *CODES.values()])
def test_a_write_that_takes_a_part_is_gone_on_with(template: Path, code: int) -> None:
    run = prepare("save", template)
    action = make_action("save", template, run)
    with pytest.MonkeyPatch.context() as patch:
        files = trickle(patch, bad=3 if code else 0, code=code)
        outcome = attempt(action)

    assert len(files) == 1
    assert files[0].writes == 3 if code else files[0].writes > 3
    assert (outcome.step == NEW) == (code == 0)
    judge("save", template, run, outcome, os.strerror(code))


# strace


def test_every_system_call_that_fails_costs_nothing_that_was_saved(
    template: Path, is_whole: bool, figure: Callable[[str], None]
) -> None:
    if not is_whole:
        pytest.skip("make faults runs it")
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    command = [sys.executable, __file__, str(template)]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == NO_TRACING:
        pytest.skip(f"strace may not trace here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    failed = Counter(tuple(line.split()) for line in done.stdout.splitlines())
    calls = {(way, call) for way, call, _ in failed}

    for call in ("openat", "write", "fsync", "close", "rename", "unlink"):
        assert ("save", call) in calls
    for call in ("openat", "read", "ftruncate", "fsync", "close"):
        assert ("resume", call) in calls
    figure(f"{failed.total()} failures of {len(calls)} kinds of calls, the saved state in all")


def fail_all(template: Path) -> None:
    """Let each call of a save and of a resume fail for each reason; write what failed."""
    run = RunFolder(template.parent / "mine")
    for way, code in itertools.product(WAYS, CODES | SIGNAL):
        _, log = trace(way, template, [])
        for call, n in number_calls(way, log, code):
            fault = f"inject={call}:error={code}:when={n}"
            outcome, log = trace(way, template, ["-e", fault])
            assert log.count("(INJECTED)") == 1, (fault, log)
            sys.stdout.write(f"{way} {call} {code}\n")
            reason = os.strerror(getattr(errno, code)) + (UNSEEKABLE if call == "lseek" else "")
            try:
                judge(way, template, run, outcome, reason)
            except AssertionError as error:
                raise AssertionError(f"{way} {fault}: {outcome}\n{log}") from error


def number_calls(way: str, log: str, code: str) -> Iterator[tuple[str, int]]:
    """Yield each call in strace's log that may fail for this reason, with its number."""
    counts: Counter[str] = Counter()
    for line in log.splitlines():
        if match := re.match(r"(\w+)\(", line):
            counts[match[1]] += 1
            if match[1] not in NO_FILES and (code not in SIGNAL or can_wait(way, match[1], line)):
                yield match[1], counts[match[1]]


def can_wait(way: str, call: str, line: str) -> bool:
    """Return whether a signal may interrupt a call: none of opendir, closing only after writes."""
    return "O_DIRECTORY" not in line and (call in INTERRUPTED or (way, call) == ("save", "close"))


def trace(way: str, template: Path, words: list[str]) -> tuple[Outcome, str]:
    """Save or resume in a process of its own below strace; give what came of it, and the calls."""
    run, answer = prepare(way, template), mmap.mmap(-1, 1 << 16)
    action = make_action(way, template, run)
    process = os.fork()
    if not process:
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        data = json.dumps(asdict(attempt(action))).encode()
        answer[: len(data)] = data  # no system call, which might fail
        os._exit(0)
    os.waitpid(process, os.WUNTRACED)
    log = template.parent / "calls.txt"
    command = ["strace", "-p", str(process), "-o", str(log), "-e", "trace=%file,%desc", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        said = strace.stderr.readline()
        os.kill(process, signal.SIGCONT if "attached" in said else signal.SIGKILL)
        os.waitpid(process, 0)
    if "attached" not in said:
        sys.stderr.write(said)
        sys.exit(NO_TRACING)
    outcome = json.loads(answer[:].rstrip(b"\0"))
    return Outcome(outcome["step"], tuple(outcome["damaged"]), outcome["error"]), log.read_text()


if __name__ == "__main__":
    fail_all(Path(sys.argv[1]))
