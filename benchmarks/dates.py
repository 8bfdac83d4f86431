"""Dates as people write them, in 12 languages, to ISO: python benchmarks/dates.py

The dates are written by babel (pip install babel; BSD-3-Clause; its forms are Unicode's CLDR),
full, long and medium, as «Sonntag, 7. Juni 1998», of days from 1900 to 2099. --days 2000 are drawn.
By the hash of the day 10 % are for validation and 10 % are tested, in all languages. A text that
is one day in one language and another in another is left out. --unseen pt: a language that is
never trained on, in a row of its own. Further options go to the training. There is no anchor.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from runs import one_line_errors
from task_scores import (
    make_parser,
    mean_of,
    place,
    print_header,
    print_row,
    read_options,
    train,
    write_table,
)

from charrnn.errors import CorpusError

LANGUAGES = ("de", "en", "es", "fr", "it", "ja", "ko", "nl", "pl", "ru", "tr", "zh")
FORMS = ("full", "long", "medium")
FIRST = date(1900, 1, 1)
LAST = date(2099, 12, 31)
SHARE = 0.1  # of validation and of testing, each

Pairs = list[tuple[str, str]]  # a date as it is written, and in ISO


def load_format() -> Callable[[date, str, str], str]:
    """Return what writes a day by form and language."""
    try:
        from babel.dates import format_date
    except ImportError as error:
        raise CorpusError("babel, which writes the dates, is missing: pip install babel") from error
    write: Callable[[date, str, str], str] = format_date
    return write


def draw_days(count: int, seed: int) -> list[date]:
    """Return so many distinct days."""
    span = (LAST - FIRST).days + 1
    drawn = np.random.default_rng(seed).choice(span, count, replace=False)
    return [FIRST + timedelta(int(number)) for number in drawn]


def write_pairs(
    days: Iterable[date], languages: Iterable[str], write: Callable[[date, str, str], str]
) -> Pairs:
    """Return each day as each language writes it once; what may be two days is left out."""
    meant: dict[str, set[str]] = {}
    places = [(language, form) for language in languages for form in FORMS]
    for day in days:
        for language, form in places:
            text = " ".join(write(day, form, language).split())
            meant.setdefault(text, set()).add(day.isoformat())
    return [(text, days.pop()) for text, days in meant.items() if len(days) == 1]


def split(pairs: Pairs) -> tuple[Pairs, Pairs, Pairs]:
    """Return the pairs to train on, to validate on and to test on; a day is in one of them."""
    parts: tuple[Pairs, Pairs, Pairs] = ([], [], [])
    for pair in pairs:
        at = place(pair[1])
        parts[2 if at < SHARE else 1 if at < 2 * SHARE else 0].append(pair)
    return parts


@one_line_errors()
def main() -> None:
    """Print how many dates come out exactly."""
    parser = make_parser(__doc__, "5m")
    parser.add_argument("--days", type=int, default=2000)
    parser.add_argument("--unseen", default="pt")
    options, settings = read_options(parser)
    write = load_format()
    days = draw_days(options.days, options.seed)
    own, held_out, tested = split(write_pairs(days, LANGUAGES, write))
    unseen = split(write_pairs(days, [options.unseen], write))[2]
    sizes = f"{len(own):,} to train on, {len(held_out):,} to validate on"
    print(f"dates of {len(LANGUAGES)} languages: {sizes}, {len(tested):,} to test on")
    if options.anchors_only:
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_table(folder / "train.tsv", own)
        val_file = str(write_table(folder / "val.tsv", held_out))
        model, seconds = train(path, folder, {"pairs": True, "val_file": val_file} | settings)
        print_header("exact")
        for label, rows in (("charrnn", tested), (f"unseen: {options.unseen}", unseen)):
            found = model.predict([text for text, _ in rows])
            right = [a == b for a, (_, b) in zip(found, rows, strict=True)]
            print_row(label, [mean_of(np.array(right))], seconds)


if __name__ == "__main__":
    sys.exit(main())
