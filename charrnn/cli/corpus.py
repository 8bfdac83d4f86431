"""charrnn corpus: texts to train on, and what is in a text."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn.analysis.baselines import MIN_CHARS, WHOLE_BYTES
from charrnn.cli import console
from charrnn.cli.formatting import describe_network, one_line
from charrnn.cli.options import Command, settings_options
from charrnn.config import DEFAULT_BUDGET, LIBRARY_FOLDER, TextConfig
from charrnn.config.train import parse_duration
from charrnn.corpora.library import LIBRARY, build_corpus, describe_check, find_corpus, get_corpus
from charrnn.data.lists import MIN_LIST_LINES
from charrnn.data.split import NOUNS, SORTED_SHARE
from charrnn.errors import DownloadError, counted
from charrnn.storage import format_bytes
from charrnn.text.kinds import MAX_NAMED
from charrnn.text.trouble import describe_trouble
from charrnn.text.vocab import MAX_ALPHABET

if TYPE_CHECKING:
    from charrnn.analysis.differences import UnlikeFile
    from charrnn.analysis.record_stats import RecordStats
    from charrnn.analysis.statistics import CorpusStats
    from charrnn.tasks.corpus_stats import CorpusSummary, ReadFile

_STATS_EXAMPLES = (
    "charrnn corpus stats book.txt\n"
    "charrnn corpus stats poems/ --encoding gb18030\n"
    "charrnn corpus stats reviews.csv --text-column text --label-column label"
)
_STATS_COMMON = (  # what --help shows; --help-all shows every option
    *("encoding", "unit", "min_count", "lines", "files", "document_end", "text_column"),
    *("label", "label_column", "label_regex", "as_json"),
)
_GET_EXAMPLES = (
    "charrnn corpus get tiny-shakespeare --dir texts\n"
    "charrnn corpus get tiny-shakespeare --timeout 8s --else python-docs"
)
_SHOWN_RAREST = 12
_SHOWN_FILES = 10
_SHOWN_LABELS = 12
_FEW = 5  # a character that occurs less often is worth a --min-count

_folder_option = click.option(
    "--dir",
    "folder",
    default=LIBRARY_FOLDER,
    show_default=True,
    help="folder that holds the named texts",
)


@click.group("corpus")
def command() -> None:
    """List, download, build and measure texts."""


@command.command("list", cls=Command, examples="charrnn corpus list")
@_folder_option
@click.option("--json", "as_json", is_flag=True, help="print one JSON object per text")
def list_corpora(folder: str, as_json: bool) -> None:
    """List the texts that train knows by name."""
    # path: None where the text is not on this machine yet
    rows = [(corpus, find_corpus(name, Path(folder))) for name, corpus in LIBRARY.items()]
    if as_json:
        for corpus, path in rows:
            click.echo(json.dumps({**vars(corpus), "path": None if path is None else str(path)}))
        return
    table = console.make_table("name", ">characters", "", "description")
    for corpus, path in rows:
        source = {"built": "from this Python", "download": "to download"}[corpus.kind]
        where = "here" if path else source
        table.add_row(corpus.name, f"{corpus.characters:,}", where, corpus.description)
    console.print_table(table)


@command.command("build", cls=Command, examples="charrnn corpus build python-docs")
@click.argument("name")
@_folder_option
def build(name: str, folder: str) -> None:
    """Build the text NAME from the files of this Python.

    It needs no network. A file of that name in the folder is replaced.
    """
    _report_file(name, build_corpus(name, Path(folder)))


@command.command("get", cls=Command, examples=_GET_EXAMPLES)
@click.argument("name")
@_folder_option
@click.option("--timeout", metavar="TIME", help="give up after this long, such as 8s")
@click.option(
    "--else", "fallback", metavar="OTHER", help="the text to get if NAME cannot be downloaded"
)
def get(name: str, folder: str, timeout: str | None, fallback: str | None) -> None:
    """Download the text NAME and check it.

    A download that was interrupted is continued.
    """
    limit_seconds = None if timeout is None else parse_duration(timeout)
    if fallback is not None:
        find_corpus(fallback, Path(folder))  # refuses an unknown name before anything is fetched
    try:
        with console.progress_bar(name, is_bytes=True) as show:
            path = get_corpus(name, Path(folder), show, limit_seconds)
    except DownloadError as error:
        if fallback is None:
            raise
        console.print_note(f"{fallback} instead of {name}: {error.reason}")
        name = fallback
        path = get_corpus(name, Path(folder))
    _report_file(name, path)


def _report_file(name: str, path: Path) -> None:
    """Print the file's path on stdout, and what is known of the file on stderr."""
    click.echo(f"{name}: {describe_check(name, path)}", err=True)
    # A pipe gets the exact bytes of the path; a terminal could obey some of them.
    click.echo(one_line(str(path)) if sys.stdout.isatty() else os.fsencode(path))


@command.command("stats", cls=Command, examples=_STATS_EXAMPLES, common=_STATS_COMMON)
@click.argument("paths", nargs=-1, required=True, type=click.Path(), metavar="CORPUS...")
@settings_options(TextConfig, section="Text", skipped=("val_file",))
@click.option("--json", "as_json", is_flag=True, help="print the figures as one JSON object")
def stats(paths: tuple[str, ...], as_json: bool, **settings: Any) -> None:
    """Measure a text.

    CORPUS: files, folders, globs, - for stdin, or a name from `charrnn corpus list`. Shows size,
    alphabet, lines, records and labels, encoding problems, entropy, the settings that train would
    choose, and how well gzip, xz and a 5-gram predict the part that train holds out: a model has to
    beat their scores.
    """
    from charrnn.tasks.corpus_stats import summarise_corpus  # torch, by way of the plan

    summary = summarise_corpus(paths, TextConfig(**settings))
    if as_json:
        click.echo(json.dumps(summary.as_json()))
    else:
        show_corpus_summary(summary, _SHOWN_RAREST)


def show_corpus_summary(summary: CorpusSummary, rarest: int) -> None:
    """Print a text's figures, then its `rarest` characters, if some of them occur twice."""
    stats = summary.stats
    # Of a very large text only the beginning is measured and compressed.
    part = f" (first {stats.entropy_chars:,})" if stats.entropy_chars < stats.characters else ""
    mib = f" (first {WHOLE_BYTES >> 20} MiB)" if stats.utf8_bytes > WHOLE_BYTES else ""
    to_beat = f"the held-out part has fewer than {MIN_CHARS:,} characters, too few to compare"
    if summary.baselines_bpc:
        to_beat = f"{_list_bpc(summary.baselines_bpc)} on the held-out part"
    figures = {
        "size": f"{format_bytes(stats.utf8_bytes)} as UTF-8, {stats.characters:,} characters",
        "alphabet": f"{len(stats.alphabet):,} characters; the vocabulary {summary.vocab_size:,}",
        "rare characters": _describe_rare(stats),
        "lines": f"{stats.lines:,}, the longest of {stats.longest_line:,} characters",
        "records": _describe_records(summary.records),
        **{f"label {name}": text for name, text in _describe_labels(summary.records)},
        "duplicate lines": f"{stats.duplicate_line_share:.1%} of those that are not empty",
        "order of lines": _describe_order(stats),
        "encoding problems": describe_trouble(asdict(stats)) or "none found",
        "how it was read": "; ".join(summary.notes) or None,
        "unlike the other files": _describe_unlike(summary.unlike_files),
        "entropy": (
            f"guessing by frequency costs {stats.order0_bpc:.3f} bits per character; knowing the "
            f"one before, {stats.order1_bpc:.3f}; the two before, {stats.order2_bpc:.3f}{part}"
        ),
        "compressed": _list_bpc(summary.compressors_bpc) + mib,
        "held out": _describe_held_out(summary),
        "to beat": to_beat,
        "train would use": _describe_plan(summary),
    }
    # records: None for running text
    console.print_values(
        [
            *_list_files(summary.files),
            *((name, value) for name, value in figures.items() if value is not None),
        ]
    )
    shown = stats.rarest(rarest)
    if not shown or shown[-1].count == 1:  # the first of many that occur once
        return
    click.echo()
    characters = console.make_table("rarest", "code point", "name", ">count")
    for rare in shown:
        row = (rare.character, rare.code_point, rare.name, rare.count)
        characters.add_row(*map(console.format_cell, row))
    console.print_table(characters)


def _list_files(files: Sequence[ReadFile]) -> Iterator[tuple[str, str]]:
    """Yield a row for each of the files, and one for those that are too many."""
    heading = "files"
    for file in files[:_SHOWN_FILES]:
        encoding = "" if file.encoding in ("utf-8", None) else f", {file.encoding}"
        yield heading, f"{file.name}: {counted(file.characters, 'character')}{encoding}"
        heading = ""
    if len(files) > _SHOWN_FILES:
        yield "", f"… and {len(files) - _SHOWN_FILES:,} more"


def _describe_rare(stats: CorpusStats) -> str:
    """Return how many characters occur once or a few times, as --min-count sees them."""
    counts = [count for _, count in stats.alphabet]
    few = sum(count < _FEW for count in counts)
    if not few:
        return f"none: each occurs {_FEW} times or more"
    return f"{counts.count(1):,} occur once, {few:,} fewer than {_FEW} times (see --min-count)"


def _describe_plan(summary: CorpusSummary) -> str:
    plan = summary.plan  # None where train would refuse the text
    if plan is None and summary.vocab_size > MAX_ALPHABET:
        return f"nothing: {summary.vocab_size:,} different characters are too many; see --min-count"
    if plan is None:
        return "nothing: the text is too short to train on"
    model = plan.model
    return (
        f"{describe_network(model)}, dropout {model.dropout:g}, "
        f"{counted(plan.batch_size, 'lane')} × {plan.seq_len} characters, for {DEFAULT_BUDGET} on "
        "a machine as fast as that of docs/figures.md; a faster one gets a larger network"
    )


def _list_bpc(bpc_by_name: dict[str, float]) -> str:
    named = ", ".join(f"{name} {bpc:.3f}" for name, bpc in bpc_by_name.items())
    return f"{named} bits per character"


def _describe_records(records: RecordStats | None) -> str | None:
    """Return how many records there are, how long, and how many are the same."""
    if records is None:
        return None
    return (
        f"{records.number:,} ({NOUNS[records.kind]}); half have {records.p50_chars:,} characters "
        f"or fewer, 95% {records.p95_chars:,}, the longest {records.max_chars:,}; "
        f"{records.duplicates:,} ({records.duplicate_share:.1%}) stand there before"
    )


def _describe_labels(records: RecordStats | None) -> Iterator[tuple[str, str]]:
    """Yield each column of labels: how many records have each, and how even that is."""
    for name, balance in ({} if records is None else records.labels).items():
        counts = sorted(balance.counts.items(), key=lambda item: -item[1])
        shown = ", ".join(f"{count:,} {label}" for label, count in counts[:_SHOWN_LABELS])
        more = len(counts) - _SHOWN_LABELS
        others = f" and {more:,} more" if more > 0 else ""
        yield (
            name,
            f"{shown}{others}; guessing the commonest is right in {balance.majority_share:.1%}, "
            f"and a label tells {balance.entropy_bits:.2f} bits",
        )


def _describe_order(stats: CorpusStats) -> str | None:
    """Return that the lines are sorted, if most of them are."""
    share = stats.ordered_line_share
    if stats.compared_lines < MIN_LIST_LINES or share < SORTED_SHARE:
        return None
    return f"sorted: {share:.0%} of the lines do not sort before the line above"


def _describe_unlike(files: Sequence[UnlikeFile]) -> str | None:
    """Name the files that are most unlike the others, if there are any."""
    named = [
        f"{file.name} ({file.bits:.1f} bits per character, {file.unknown_share:.0%} of its "
        "characters in no other file)"
        for file in files[:MAX_NAMED]
    ]
    more = len(files) - len(named)
    return ", ".join(named) + (f" and {more:,} more" if more else "") or None


def _describe_held_out(summary: CorpusSummary) -> str:
    share = summary.known_line_share
    known = f"; {share:.1%} of its lines stand in the training part too" if share else ""
    return summary.held_out + known
