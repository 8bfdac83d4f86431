"""The Makefile: which build of torch an install asks for, and how the demo begins and ends."""

from __future__ import annotations

import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments: str, **environment: str) -> str:
    """Return what make prints."""
    command = ["make", "--no-print-directory", "-C", str(ROOT), f"PYTHON={sys.executable}"]
    settings = os.environ | {"no_proxy": "*"} | environment
    done = subprocess.run([*command, *arguments], env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


# ── the build of torch ──


class Index(http.server.BaseHTTPRequestHandler):
    """Answers everything."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def index() -> Iterator[str]:
    """Yield the address of an index that answers."""
    with http.server.HTTPServer(("127.0.0.1", 0), Index) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def asks_pip_for(tmp_path: Path) -> object:
    """Return a function that gives the command which installs charrnn, and does not run it."""
    if Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has an NVIDIA GPU")

    def commands(*variables: str, has_gpu: bool = False, system: str = "Linux") -> str:
        program(tmp_path / "nvidia-smi", f"exit {0 if has_gpu else 9}")
        program(tmp_path / "uname", f"echo {system}")
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        return make("-n", "-B", ".venv/.installed", *variables, PATH=path)

    return commands


def test_without_a_gpu_linux_asks_for_the_cpu_build(asks_pip_for, index):
    assert (
        f"--extra-index-url {index} --config-settings editable_mode=compat -e .\n"
        in asks_pip_for(f"CPU_TORCH={index}")
    )


@pytest.mark.parametrize("machine", [{"has_gpu": True}, {"system": "Darwin"}])
def test_a_gpu_and_other_systems_leave_it_to_pip(asks_pip_for, index, machine):
    assert "index-url" not in asks_pip_for(f"CPU_TORCH={index}", **machine)


def test_an_index_that_does_not_answer_is_not_asked(asks_pip_for):
    assert "index-url" not in asks_pip_for("CPU_TORCH=http://127.0.0.1:1")


@pytest.mark.parametrize("machine", [{}, {"has_gpu": True}])
def test_a_person_may_choose_the_index_or_none(asks_pip_for, index, machine):
    assert "index-url" not in asks_pip_for("TORCH_INDEX=", f"CPU_TORCH={index}", **machine)
    command = asks_pip_for("TORCH_INDEX=http://mine", **machine)
    assert "--extra-index-url http://mine --config-settings editable_mode=compat -e .\n" in command


# ── the demo ──


@pytest.mark.parametrize(
    ("shell", "activate"),
    [
        ("/bin/bash", ". {}/bin/activate"),
        ("/bin/zsh", ". {}/bin/activate"),
        ("/usr/bin/fish", "source {}/bin/activate.fish"),
        ("/bin/tcsh", "source {}/bin/activate.csh"),
    ],
)
def test_the_demo_trains_on_the_text_it_got_and_ends_with_what_to_type(tmp_path, shell, activate):
    venv = tmp_path / "venv"
    calls = tmp_path / "calls"
    script = f'echo "$@" >> {calls}; case "$2" in get) echo "corpora/a text.txt";; esac'
    program(venv / "bin" / "charrnn", script)
    program(venv / "bin" / "python", "exit 9")
    (venv / ".installed").touch()

    shown = make("demo", f"VENV={venv}", SHELL=shell)

    assert calls.read_text().splitlines() == [
        "corpus get tiny-shakespeare --timeout 8s --else python-docs",
        "train corpora/a text.txt --budget 2m",
        "sample --temp 0.8 --length 600",
    ]
    assert [line.strip() for line in shown.splitlines()[-4:]] == [
        "To go on, type:",
        activate.format(venv),
        "charrnn sample --temp 0.8",
        "charrnn write",
    ]


def test_a_demo_without_a_text_does_not_go_on(tmp_path):
    venv = tmp_path / "venv"
    program(venv / "bin" / "charrnn", 'test "$1" != corpus')
    program(venv / "bin" / "python", "exit 9")
    (venv / ".installed").touch()
    with pytest.raises(AssertionError, match="demo"):
        make("demo", f"VENV={venv}")


# ── what a GPU shows ──


def test_the_gpu_target_runs_its_script_with_the_arguments_that_are_given(tmp_path):
    venv = tmp_path / "venv"
    program(venv / "bin" / "python", 'echo "ran $@"')
    for name in (".installed", ".installed-dev"):
        (venv / name).touch()

    shown = make("gpu", f"VENV={venv}", "ARGS=kernels --rehearse")

    assert shown.splitlines()[-1] == "ran benchmarks/gpu.py kernels --rehearse"
