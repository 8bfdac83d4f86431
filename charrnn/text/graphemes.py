r"""User-perceived characters (Unicode's UAX #29): which of a text have several code points.

Training counts them once, by the `\X` of the package regex, and keeps those that it finds in the
vocabulary. From then on the longest one that fits is taken, by `clusters`, without the package.
"""

from collections import Counter
from importlib import import_module
from typing import Any

from charrnn.errors import CorpusError, missing_extra
from charrnn.text.vocab import END

MAX_KINDS = 100_000  # of clusters that are counted: about 20 MB

# All but one character of a cluster are of these classes, or the first is.
_JOINING = "[" + "".join(rf"\p{{GCB={name}}}" for name in ("EX", "SM", "ZWJ", "PP", "RI")) + "]"
_JAMO = "[" + "".join(rf"\p{{GCB={name}}}" for name in "LVT") + "]"  # a syllable in pieces


class ClusterCounter:
    r"""Counts the clusters of a text that comes in pieces, however it is cut.

    >>> counter = ClusterCounter()
    >>> for piece in ("nai", "\u0308ve"):
    ...     counter.feed(piece)
    >>> dict(counter.finish()) == {"i\u0308": 1}
    True
    """

    def __init__(self) -> None:
        """Load the package.

        Raises:
            ConfigError: it is not installed.
        """
        regex = _load_regex()
        self._cluster = regex.compile(r"\X")
        self._joining = regex.compile(f"{_JOINING}|{_JAMO}")
        self._counts: Counter[str] = Counter()
        self._held = ""  # the last cluster, which may continue

    def feed(self, text: str) -> None:
        """Count the clusters that end in the next piece.

        Raises:
            CorpusError: there are more than MAX_KINDS different ones.
        """
        text = self._held + text.replace(END, "\n")  # nothing joins over a newline
        if not self._joining.search(text):
            self._held = text[-1:]
            return
        *ended, self._held = self._cluster.findall(text)
        self._add(ended)

    def finish(self) -> Counter[str]:
        """Return how often each cluster of several characters occurs in the whole text."""
        self._add([self._held])
        self._held = ""
        return self._counts

    def _add(self, clusters: list[str]) -> None:
        self._counts.update(each for each in clusters if len(each) > 1)
        check_kinds(self._counts)


def count_clusters(text: str) -> Counter[str]:
    """Return how often each cluster of several characters occurs in a text."""
    counter = ClusterCounter()
    counter.feed(text)
    return counter.finish()


def check_kinds(counts: Counter[str]) -> None:
    """Refuse more kinds of clusters than are kept.

    Raises:
        CorpusError: there are more than MAX_KINDS.
    """
    if len(counts) > MAX_KINDS:
        raise CorpusError(
            f"the text has more than {MAX_KINDS:,} different clusters of characters; pass --unit "
            "char, or --normalize nfc, which makes one character of a letter and its marks"
        )


def _load_regex() -> Any:
    try:
        return import_module("regex")  # which has no types
    except ImportError as error:
        raise missing_extra("unit grapheme", "the package regex", "grapheme") from error
