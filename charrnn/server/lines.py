"""Which samples are the texts of a prompt: with `lines`, those that are not blank.

`charrnn sample` makes a further sample for each blank one, and so does `texts.py`, which calls
this. Text i of a prompt is then the i-th sample that is not blank, and which one that is can only
be told once it is known of all samples before it, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable

from charrnn.config import SampleConfig
from charrnn.generation.samples import MOST_TRIES, is_blank
from charrnn.server.jobs import Ended, Event, Piece


class LineSamples:
    """The samples of one prompt, of which `count` are wanted; used in one event loop."""

    def __init__(self, prompt: str, config: SampleConfig, count: int) -> None:
        self._may_be_blank = config.lines is not None and is_blank(prompt, "")
        self._most = (MOST_TRIES if self._may_be_blank else 1) * count
        self._are_blank: list[asyncio.Future[bool]] = []  # of those that were begun
        self._left = 0  # texts that were given up

    def begin(self) -> int | None:
        """Return the index of the sample to make next; None: too many were blank."""
        index = len(self._are_blank)
        if index >= self._most:
            return None
        self._are_blank.append(asyncio.get_running_loop().create_future())
        return index

    async def settle(
        self, index: int, events: AsyncIterable[Event]
    ) -> tuple[int | None, list[Event]]:
        """Read a sample's events until it is known whether it is blank; return those.

        With them comes which text of the prompt it is; None if it is blank.
        """
        if not self._may_be_blank:
            return index, []
        read = []
        blank = False
        async for event in events:
            read.append(event)
            blank = isinstance(event, Ended) and event.reason == "lines"
            if isinstance(event, Piece) and event.text.strip():
                break
        self._are_blank[index].set_result(blank)
        return (None if blank else await self._count_before(index)), read

    async def next_left(self) -> int:
        """Return which text of the prompt is left empty, as all samples for it were blank."""
        self._left += 1
        return self._left - 1 + await self._count_before(len(self._are_blank))

    async def _count_before(self, index: int) -> int:
        """Return how many of the first samples are not blank, once that is known."""
        return (await asyncio.gather(*self._are_blank[:index])).count(False)
