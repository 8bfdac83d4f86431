"""Every figure of the README that needs no download, one after another: make bench"""

from __future__ import annotations

import build_ids
import sampling
import startup


def main() -> None:
    """Run the benchmarks in turn, each alone."""
    for module in (startup, sampling, build_ids):
        print(f"\n{(module.__doc__ or '').splitlines()[0]}", flush=True)
        module.main()


if __name__ == "__main__":
    main()
