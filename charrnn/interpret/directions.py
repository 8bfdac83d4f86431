"""What each direction of a tagger knows: its tags with only what is on the left, or on the right.

T = tokens, K = tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.errors import ConfigError
from charrnn.generation.filters import Floats
from charrnn.generation.tagger import Tagger
from charrnn.text.vocab import Ids

MAX_TOKENS = 400
"""Each place is read twice, with all before it and with all after it: T² tokens."""


@dataclass(frozen=True, eq=False)
class DirectionsReport:
    """The tags of one text.

    symbols: (T,). tags: the best tag of each token. whole: p of that tag given the whole text.
    left: its p where the text ends after the token. right: its p where the text begins with it.
    """

    symbols: list[str]
    tags: list[str]
    whole: Floats
    left: Floats
    right: Floats

    def table(self) -> tuple[list[str], list[list[object]]]:
        """Return the columns and rows of a CSV file: a row for each token."""
        figures = np.stack((self.whole, self.left, self.right), 1).tolist()
        rows = zip(self.symbols, self.tags, figures, strict=True)
        columns = ["symbol", "tag", "p_whole", "p_left", "p_right"]
        return columns, [[symbol, tag, *each] for symbol, tag, each in rows]


def inspect_directions(
    tagger: Tagger, ids: Ids, symbols: Sequence[str], names: Sequence[str]
) -> DirectionsReport:
    """Return what each side of the text (T,) says of each token's tag; names: of the tags.

    Raises:
        ConfigError: the text is longer than MAX_TOKENS.
    """
    if len(ids) > MAX_TOKENS:
        raise ConfigError(
            f"the text has {len(ids):,} characters, and a tagger is looked at with {MAX_TOKENS} at "
            "most; give a shorter one by --text"
        )
    count = len(ids)
    ends = [ids[: t + 1] for t in range(count)]
    starts = [ids[t:] for t in range(count)]
    (tags, whole), *others = tagger.probable_tags([ids, *ends, *starts])
    places = np.arange(count)
    left = np.array([p[-1, tag] for (_, p), tag in zip(others[:count], tags, strict=True)])
    right = np.array([p[0, tag] for (_, p), tag in zip(others[count:], tags, strict=True)])
    return DirectionsReport(
        list(symbols), [names[tag] for tag in tags.tolist()], whole[places, tags], left, right
    )
