"""What a server counts, as Prometheus reads it: requests, seconds, characters, waiting texts."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

_BOUNDS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Histogram:
    """How many of a kind took how long, in seconds.

    >>> some = Histogram()
    >>> some.add(0.3)
    >>> some.count, some.total_seconds
    (1, 0.3)
    """

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS_SECONDS) + 1)
        self.total_seconds = 0.0

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(_BOUNDS_SECONDS, seconds)] += 1
        self.total_seconds += seconds

    def lines(self, name: str) -> Iterator[str]:
        """Yield its lines."""
        yield f"# TYPE {name} histogram"
        running = 0
        for bound, count in zip((*_BOUNDS_SECONDS, "+Inf"), self.counts, strict=True):
            running += count
            yield f'{name}_bucket{{le="{bound}"}} {running}'
        yield f"{name}_sum {self.total_seconds:.6f}"
        yield f"{name}_count {running}"


class Metrics:
    """Counts of one server; only its event loop adds to them."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self.request_seconds = Histogram()
        self.first_char_seconds = Histogram()

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count an answer; route: one of few names, not a path, of which there is no end."""
        self._requests[route, status] += 1
        self.request_seconds.add(seconds)

    def render(self, figures: Mapping[str, float], models: Iterable[str]) -> str:
        """Return the text of GET /metrics.

        figures: further ones by name; those that only grow end in "_total".
        """
        lines = ["# TYPE charrnn_requests_total counter"]
        for (route, status), count in sorted(self._requests.items()):
            lines.append(f'charrnn_requests_total{{route="{route}",status="{status}"}} {count}')
        lines += self.request_seconds.lines("charrnn_request_seconds")
        lines += self.first_char_seconds.lines("charrnn_first_character_seconds")
        lines.append("# TYPE charrnn_model_info gauge")
        lines += [f'charrnn_model_info{{model="{_quoted(name)}"}} 1' for name in models]
        for name, value in figures.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# TYPE charrnn_{name} {kind}", f"charrnn_{name} {value:.12g}"]
        return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
