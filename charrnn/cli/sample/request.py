"""The texts that charrnn sample is asked for: drawn, chosen among, and written to stdout.

What few texts need is imported where it is used: a text should begin at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import click

from charrnn.cli.sample.output import (
    make_writer,
    sample_record,
    show_sample,
    write_json,
    write_pieces,
)
from charrnn.config import SampleConfig
from charrnn.generation.samples import Sample
from charrnn.tasks.open_models import OpenModels


@dataclass(frozen=True)
class SampleRequest:
    """What is to be written, and how it is shown: the options that are no settings of drawing."""

    count: int
    best_of: int
    unique: bool
    sort: bool
    skip_known_lines: bool
    mark_copies: bool
    min_copy: int
    logprobs: int | None
    no_prompt: bool
    as_json: bool
    raw: bool
    device: str | None

    @property
    def is_plain(self) -> bool:
        """Whether a text can be shown while it is written."""
        is_chosen = self.best_of > 1 or self.unique or self.sort or self.skip_known_lines
        is_whole = is_chosen or self.mark_copies or self.as_json or self.device is not None
        return self.count == 1 and not is_whole


def write_samples_to_stdout(
    bench: OpenModels, prompt: str, config: SampleConfig, wanted: SampleRequest
) -> str:
    """Write all that is wanted to stdout; give the text of the last sample."""
    shown = "" if wanted.no_prompt else prompt
    if wanted.is_plain and not config.beam:
        pieces = bench.writer.generate(prompt, config, after=bench.start, guide=bench.guide(config))
        return write_pieces(make_writer(wanted.raw), shown, pieces)
    text, number = "", 0
    for number, sample in enumerate(_iter_samples(bench, prompt, config, wanted), 1):
        text = sample.text
        copied = bench.own_text.find_copied(text, wanted.min_copy) if wanted.mark_copies else None
        if wanted.as_json:
            record = {} if wanted.no_prompt else {"prompt": prompt}
            write_json(record | sample_record(sample, config, copied, wanted.logprobs is not None))
        else:
            parting = "\n" if number > 1 and config.lines != 1 else ""
            show_sample(sample, parting + shown, copied, raw=wanted.raw)
    if number < wanted.count:
        click.echo(_describe_shortage(number, wanted), err=True)
    return text


def _iter_samples(
    bench: OpenModels, prompt: str, config: SampleConfig, wanted: SampleRequest
) -> Iterator[Sample]:
    """Yield the samples that are asked for."""
    from charrnn.generation.samples import (
        iter_best,
        make_selector,
        sample_until,
        sort_by_likelihood,
    )

    if config.beam and wanted.device is None:
        yield from bench.writer.search(prompt, config, count=wanted.count, after=bench.start)
        return
    has_costs = wanted.as_json or wanted.sort or wanted.best_of > 1
    of, engine = wanted.best_of, bench.engine(config, wanted.device)
    guide = bench.guide(config)

    def draw(first: int, number: int) -> Iterator[Sample]:
        drawn = bench.writer.generate_many(
            prompt,
            config,
            first=first * of,
            count=number * of,
            alternatives=(wanted.logprobs or 0) if has_costs else None,
            after=bench.start,
            guide=guide,
            engine=engine,
        )
        return iter_best(drawn, of) if of > 1 else drawn

    is_known = bench.own_text.lines.__contains__ if wanted.skip_known_lines else None
    choose = make_selector(is_known, prompt, is_unique=wanted.unique)
    samples = sample_until(draw, wanted.count, choose)
    yield from sort_by_likelihood(samples) if wanted.sort else samples


def _describe_shortage(number: int, wanted: SampleRequest) -> str:
    reasons = {
        "--unique": wanted.unique,
        "--skip-known-lines": wanted.skip_known_lines,
        "--beam": True,
    }
    reason = next(option for option, is_given in reasons.items() if is_given)
    return f"charrnn: {number:,} of {wanted.count:,} texts: {reason} left no more to be found"
