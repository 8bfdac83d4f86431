"""What was taken out of a text, given back: python benchmarks/restore.py FILE KIND

KIND is case or diacritics. FILE is a text, or a folder with man pages *.gz, whose distinct lines
are the text. The last tenth is tested. Words: those that are right, of what stands between spaces
and has a letter; F1: of the characters that the damage changes. Further options go to the training.

    python benchmarks/restore.py tinyshakespeare.txt case          (charrnn corpus get)
    python benchmarks/restore.py usr/share/man/pl diacritics       (Debian: manpages-pl, a free
        licence for each page; apt-get download manpages-pl; dpkg-deb -x manpages-pl*.deb .)

Beside it stands for each word the form that it has most often in the text before.
"""

from __future__ import annotations

import gzip
import re
import sys
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from runs import one_line_errors
from task_scores import (
    Figure,
    f1_of,
    make_parser,
    print_header,
    print_row,
    ratio_of,
    read_options,
    train,
)

from charrnn.errors import CorpusError

TRAIN_SHARE = 0.9
KINDS = ("case", "diacritics")

_WORD = re.compile(r"\w+")
_STROKES = str.maketrans("łŁ", "lL")  # Unicode takes no stroke apart
_FONT = re.compile(r"\\f(\[[^]]*\]|\(..|.)|\\[,/&|^]|\\s[-+]?\d")
_SIGNS = {r"\-": "-", r"\(aq": "'", r"\(bu": "•", r"\e": "\\", r"\ ": " ", r"\~": " "}


def read_text(path: Path) -> str:
    """Return a text, composed (NFC)."""
    if path.is_dir():
        lines: dict[str, None] = {}
        for page in sorted(path.rglob("*.gz")):
            source = gzip.decompress(page.read_bytes()).decode("utf-8", "replace")
            lines |= dict.fromkeys(plain_lines(source))
        text = "".join(f"{line}\n" for line in lines)
    else:
        text = path.read_text(encoding="utf-8")
    if not text:
        raise CorpusError(f"{path} is empty, or a folder without man pages *.gz")
    return unicodedata.normalize("NFC", text)


def plain_lines(source: str) -> list[str]:
    """Return the lines of a man page that are text, without signs of fonts."""
    lines = []
    for line in source.splitlines():
        if line.startswith((".", "'", '\\"')):
            continue
        text = _FONT.sub("", line)
        for sign, char in _SIGNS.items():
            text = text.replace(sign, char)
        if text.strip():
            lines.append(text.strip())
    return lines


def damage(text: str, kind: str) -> str:
    """Return a text without capitals, or without diacritics; as long as it was.

    >>> damage("Żółw", "case"), damage("Żółw", "diacritics")
    ('żółw', 'Zolw')
    """
    if kind == "case":
        return "".join(char.lower() if len(char.lower()) == 1 else char for char in text)
    taken_apart = (unicodedata.normalize("NFD", char.translate(_STROKES)) for char in text)
    return "".join(chars[0] for chars in taken_apart)


def most_frequent(text: str, kind: str) -> dict[str, str]:
    """Return the most frequent form of each damaged word."""
    counts: dict[str, Counter[str]] = {}
    for word, number in Counter(_WORD.findall(text)).items():
        counts.setdefault(damage(word, kind), Counter())[word] = number
    return {word: own.most_common(1)[0][0] for word, own in counts.items()}


def measure(found: Sequence[str], lines: Sequence[str], kind: str) -> list[Figure]:
    """Return the share of right words, and F1 of what the damage changes."""
    counts = []
    for answer, line in zip(found, lines, strict=True):
        words = list(zip(answer.split(), line.split(), strict=False))
        tested = [any(map(str.isalpha, word)) for word in line.split()]
        right = sum(a == b for (a, b), is_word in zip(words, tested, strict=False) if is_word)
        counts.append((right, sum(tested), *_changes(answer, line, damage(line, kind))))
    table = np.array(counts)
    return [ratio_of(table[:, :2]), f1_of(table[:, 2:])]


def _changes(answer: str, line: str, damaged: str) -> tuple[int, int, int]:
    """Return how many changed characters are right, found and true."""
    true = sum(a != b for a, b in zip(line, damaged, strict=True))
    if len(answer) != len(line):
        return 0, 0, true
    found = [i for i in range(len(line)) if answer[i] != damaged[i]]
    return sum(answer[i] == line[i] for i in found), len(found), true


@one_line_errors()
def main() -> None:
    """Print how much each gives back."""
    parser = make_parser(__doc__, "10m", "FILE")
    parser.add_argument("kind", choices=KINDS)
    options, settings = read_options(parser)
    text = read_text(options.file)
    cut = text.index("\n", int(TRAIN_SHARE * len(text)) - 1) + 1
    own = text[:cut]
    lines = [line for line in text[cut:].splitlines() if line.strip()]
    damaged = [damage(line, options.kind) for line in lines]
    print(f"{len(own):,} characters to train on, {len(lines):,} lines to test on")
    print_header("words", "F1")
    form_of = most_frequent(own, options.kind)
    guessed = [_WORD.sub(lambda match: form_of.get(match[0], match[0]), line) for line in damaged]
    print_row("left as it is", measure(damaged, lines, options.kind))
    print_row("most frequent form", measure(guessed, lines, options.kind))
    if options.anchors_only:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "text.txt")
        path.write_text(own, encoding="utf-8")
        model, seconds = train(path, Path(folder), {"restore": options.kind} | settings)
        found = model.predict(damaged)
    print_row("charrnn", measure(found, lines, options.kind), seconds)


if __name__ == "__main__":
    sys.exit(main())
