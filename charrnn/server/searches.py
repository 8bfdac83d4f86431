"""Texts that are not sampled: those that a beam finds, and those that fill a blank.

Such work cannot be cut into slices, so it is done in a worker's thread; `texts.py` calls this. It
takes a Watch, by which it ends soon after nobody waits for it any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from charrnn.server.errors import bad_request
from charrnn.server.jobs import Ended, PreparedJob
from charrnn.server.protocol import CompletionRequest
from charrnn.tasks.model import Model

if TYPE_CHECKING:
    from charrnn.server.service import Watch

_FILL_WIDTH = 200  # partial texts of a filling
_MAX_GAP = 200  # characters that a filling may have
_FIRST_SIGN = 0xE000  # private use: a sign for the blank that no text holds


def search(watch: Watch, job: PreparedJob, request: CompletionRequest) -> list[tuple[str, Ended]]:
    """Return the likeliest texts that a beam finds.

    Raises:
        RequestError: nobody waits for them any more, and the work ends.
    """
    models = job.served.models
    found = models.generator.search(
        job.prompt, request.config, count=request.n, after=models.start, on_progress=watch
    )
    return [(each.text, Ended(each.stopped_by, None, each.has_end)) for each in found]


def fill(watch: Watch, job: PreparedJob, request: CompletionRequest) -> list[tuple[str, Ended]]:
    """Return what stands between a prompt and the suffix: samples, the likeliest at temperature 0.

    Raises:
        RequestError: the blank may be too long; or the client is gone, and the work ends.
    """
    model = job.served.generator
    if not isinstance(model, Model):
        raise bad_request("suffix does not go with label_strength; leave one of them out", "suffix")
    config = request.config
    suffix = request.suffix or ""
    if config.length > _MAX_GAP:
        raise bad_request(
            f"max_tokens is {config.length}; with suffix it is the longest that the blank may be, "
            f"at most {_MAX_GAP}",
            "max_tokens",
        )
    taken = {*job.prompt, *suffix}
    sign = next(chr(code) for code in range(_FIRST_SIGN, 0xF8FF) if chr(code) not in taken)
    filling = model.fill(
        job.prompt + sign + suffix,
        blank="",
        gap=sign,
        max_gap=config.length,
        only=config.only,
        ban=config.ban,
        count=request.n,
        beam_width=max(_FILL_WIDTH, request.n),
        sample=config.temperature > 0,
        temperature=config.temperature or 1.0,
        seed=config.seed,
        unknown=config.unknown,
        on_progress=watch,
    )
    return [(each.text[slice(*each.filled[0])], Ended("suffix")) for each in filling.completions]
