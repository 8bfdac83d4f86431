"""Speed, start-up and memory, one after another, with no text to fetch: make bench

That is `charrnn bench`, then the scripts below. What a training reaches is not among it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPTS = ("startup.py", "sampling.py", "build_ids.py")


def main() -> None:
    """Run each benchmark alone, in a process of its own."""
    scripts = {name: [str(Path(__file__).with_name(name))] for name in SCRIPTS}
    for name, arguments in {"charrnn bench": ["-m", "charrnn", "bench"], **scripts}.items():
        print(f"\n{name}", flush=True)
        subprocess.run([sys.executable, *arguments], check=True)


if __name__ == "__main__":
    main()
