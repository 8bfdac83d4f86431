"""Two machines of a test: network namespaces joined by a wire, or two addresses of this machine.

The first kind needs root and Linux. Each has its own network, host name and table of names, as
machines of one well-kept network do, and shares nothing with the other but the disk.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.training.processes import free_port

NAMES = ("first.example", "second.example")
_ADDRESSES = ("192.0.2.1", "192.0.2.2")
_WIRE = "eth0"
_MOVE_IN = 'mount --bind "$1" /etc/hosts; echo "$2" >/proc/sys/kernel/hostname; shift 2; exec "$@"'


@dataclass(frozen=True)
class Host:
    """A machine that runs commands.

    within: what is put before a command. words: what a word of it is replaced by, where the names
    of `NAMES` mean nothing. namespace: "" of one that is only an address.
    """

    within: Sequence[str] = ()
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    namespace: str = ""

    def start(self, command: Sequence[str], told: Path) -> subprocess.Popen[bytes]:
        """Start a command whose stderr goes into the file `told`."""
        words = [new for word in command for new in self.words.get(word, [word])]
        with told.open("wb") as err:
            return subprocess.Popen([*self.within, *words], stdout=subprocess.DEVNULL, stderr=err)

    def cut_off(self) -> None:
        """Take the machine off the network, so that nothing reaches it and nothing leaves it."""
        _ip("-n", self.namespace, "link", "set", _WIRE, "down")

    def plug_in(self) -> None:
        """Put it back."""
        _ip("-n", self.namespace, "link", "set", _WIRE, "up")


@contextmanager
def two_hosts(folder: Path) -> Iterator[list[Host]]:
    """Return two machines, the first of them the one that others can ask for by name."""
    with ExitStack() as held:
        try:
            hosts = _make_namespaces(folder, held)
        except (OSError, subprocess.CalledProcessError):
            hosts = _make_addresses()
        yield hosts


def _make_namespaces(folder: Path, held: ExitStack) -> list[Host]:
    table, hosts = folder / "hosts", []
    pairs = zip(_ADDRESSES, NAMES, strict=True)
    table.write_text("127.0.0.1 localhost\n" + "".join(f"{ip} {name}\n" for ip, name in pairs))
    spaces = [f"charrnn-{os.getpid()}-{number}" for number in range(2)]
    for space in spaces:
        _ip("netns", "add", space)
        held.callback(_ip, "netns", "del", space)
    near, far = spaces
    _ip("link", "add", _WIRE, "netns", near, "type", "veth", "peer", "name", _WIRE, "netns", far)
    for space, name, address in zip(spaces, NAMES, _ADDRESSES, strict=True):
        _ip("-n", space, "addr", "add", f"{address}/24", "dev", _WIRE)
        for device in ("lo", _WIRE):
            _ip("-n", space, "link", "set", device, "up")
        within = ["ip", "netns", "exec", space, "unshare", "--mount", "--uts"]
        within += ["sh", "-ec", _MOVE_IN, "sh", str(table), name]
        subprocess.run([*within, "true"], check=True, capture_output=True)
        hosts.append(Host(within, namespace=space))
    return hosts


def _make_addresses() -> list[Host]:
    meeting = [f"127.0.0.1:{free_port()}"]
    return [
        Host(words={f"{NAMES[0]}:29500": [*meeting, "--local-addr", f"127.0.0.{number}"]})
        for number in (1, 2)
    ]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def family_of(process: subprocess.Popen[bytes]) -> list[int]:
    """Return the number of a process and those of all that it started, itself first."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True)
    parents = dict(tuple(map(int, line.split())) for line in listed.stdout.splitlines())
    family = [process.pid]
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
    return family


def kill_whole(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that is still there, and all that it started."""
    if process.poll() is not None:
        return
    for member in family_of(process):
        os.kill(member, signal.SIGKILL)
    process.wait()
