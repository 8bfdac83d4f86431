"""One training process of one thread against two: python benchmarks/processes.py CORPUS

CORPUS is a file or a name of `charrnn corpus list`. LSTM 1×512, windows of 64 characters; both read
the same lanes, in turn, and a rate is the median of ROUNDS. Bound: two reach 1.6 times the
characters per second of one.
"""

from __future__ import annotations

import argparse
import statistics

from runs import one_line_errors, train

ROUNDS = 3
STEPS = 60
SETTINGS = {
    "hidden_size": 512,
    "seq_len": 64,
    "threads": 1,
    "steps": STEPS,
    "eval_every": STEPS,
    "eval_chars": 2000,
}


def rate(corpus: str, precision: str, lanes: int, processes: int) -> float:
    """Return the characters a second that the processes read together."""
    settings = SETTINGS | {"precision": precision, "batch_size": lanes}
    return float(train(corpus, settings, processes)["progress"]["chars_per_second"])


def main() -> None:
    """Print both rates and their ratio for each precision and number of lanes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus")
    parser.add_argument("--precisions", nargs="+", default=["bf16", "fp32"])
    parser.add_argument("--lanes", nargs="+", type=int, default=[64, 128])
    options = parser.parse_args()
    with one_line_errors():
        for precision in options.precisions:
            for lanes in options.lanes:
                rates: dict[int, list[float]] = {1: [], 2: []}
                for _ in range(ROUNDS):
                    for processes, seen in rates.items():
                        seen.append(rate(options.corpus, precision, lanes, processes))
                one, two = (statistics.median(seen) for seen in rates.values())
                print(
                    f"{precision} {lanes:4} lanes: one {one:7,.0f} /s, two {two:7,.0f} /s, "
                    f"{two / one:.2f} ×",
                    flush=True,
                )


if __name__ == "__main__":
    main()
