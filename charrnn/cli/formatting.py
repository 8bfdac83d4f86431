"""Text and numbers as a person reads them; no rich, so that every command can afford it.

Text from a model, a corpus or a file name is made safe to look at first: a terminal obeys control
characters, so each becomes a visible symbol. Generated text cannot move the cursor, recolour the
screen or hide any of its characters.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from charrnn.errors import counted
from charrnn.metrics import bits_per_char, perplexity

_KEPT = "\n\t"
_BIDIRECTIONAL = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_SIGNS = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in _KEPT}
_SIGNS |= {0x7F: "\u2421"}
_SIGNS |= {code: f"<{code:02X}>" for code in range(0x80, 0xA0)}
_SIGNS |= {ord(char): f"<{ord(char):04X}>" for char in _BIDIRECTIONAL + "\u2028\u2029"}
_SIGNS |= dict.fromkeys(range(0xD800, 0xE000), "\ufffd")  # halves of surrogate pairs
_KEPT_SIGNS = {ord("\n"): "\u2424", ord("\t"): "\u2409"}  # which sanitize keeps
_SHOWN_SOURCES = 20
_BARS = "▁▂▃▄▅▆▇█"
# What a model of English has learned at so many bits per character; docs/tutorial.md explains it.
_ENGLISH_SCALE = "English prose: letters at 3, words 2.3, grammar 1.6"


def sanitize(text: str) -> str:
    r"""Replace C0 and C1 controls, DEL, bidirectional controls and surrogates by visible symbols.

    Newline and tab stay. ESC becomes U+241B, CSI becomes <9B>, and so on.

    >>> sanitize("\x1b[31mred")
    '␛[31mred'
    """
    return text.translate(_SIGNS)


def one_line(text: str) -> str:
    r"""Return `text` made safe and on one line, for messages and table cells.

    >>> one_line("two\nlines")
    'two␤lines'
    """
    return sanitize(text).replace("\n", "\u2424").replace("\t", " ")


def format_character(char: str) -> str:
    r"""Return a symbol for a control character, also for newline and tab; others unchanged.

    >>> format_character("\n"), format_character("a")
    ('␤', 'a')
    """
    return sanitize(char).translate(_KEPT_SIGNS)


def format_count(number: float) -> str:
    """Return a number with three digits and a unit.

    >>> format_count(999), format_count(12_345), format_count(4_500_000)
    ('999', '12.3k', '4.5M')
    """
    for limit, divisor, unit in ((1e3, 1, ""), (1e6, 1e3, "k"), (1e9, 1e6, "M")):
        if abs(number) < limit * 0.9995:  # what rounds up to the limit has the next unit
            return f"{number / divisor:.3g}{unit}" if unit else f"{number:.0f}"
    return f"{number / 1e9:.3g}G"


def describe_network(model: Any, *, is_short: bool = False) -> str:
    """Return the cell, the layers and the n-grams of a network, for messages and table cells.

    model: a ModelConfig, or another object that has these fields of it. is_short: for a table.

    >>> from charrnn.config import ModelConfig
    >>> describe_network(ModelConfig(hidden_size=256, ngram_order=5, ngram_rows=90_908))
    'lstm 1×256 + n-grams up to 5 (90,908 rows)'
    """
    network = f"{model.cell} {model.num_layers}×{model.hidden_size}"
    if getattr(model, "ngram_order", 1) == 1:
        return network
    rows = "" if is_short else f" up to {model.ngram_order} ({model.ngram_rows:,} rows)"
    return f"{network} + n-grams{rows}"


def format_parameters(
    count: int, in_ngrams: int, *, noun: str = " parameters", is_short: bool = False
) -> str:
    """Return a number of parameters, those in the table of n-grams apart.

    noun: what stands after the first number. is_short: give three digits of both.

    >>> format_parameters(5_859_132, 5_818_112), format_parameters(1234, 0)
    ('41,020 parameters + 5.82M in n-grams', '1,234 parameters')
    """
    dense = count - in_ngrams
    shown = f"{format_count(dense) if is_short else f'{dense:,}'}{noun}"
    return f"{shown} + {format_count(in_ngrams)} in n-grams" if in_ngrams else shown


def format_duration(seconds: float) -> str:
    """Return a length of time as a clock shows it.

    >>> format_duration(7), format_duration(13_506)
    ('0:07', '3:45:06')
    """
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def format_date(iso: str) -> str:
    """Return a time in ISO 8601 as the local date and minute; anything else as it is.

    >>> format_date("2031-02-03 04:05:06"), format_date("someday")
    ('2031-02-03 04:05', 'someday')
    """
    try:
        return f"{datetime.fromisoformat(iso).astimezone():%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):
        return one_line(iso)


def format_threads(threads: int, processes: int = 1) -> str:
    """Return the threads in words, and the processes where there are several.

    >>> format_threads(2), format_threads(1, processes=2)
    ('2 threads', '2 processes of 1 thread')
    """
    each = counted(threads, "thread")
    return f"{processes} processes of {each}" if processes > 1 else each


@dataclass(frozen=True)
class LossUnit:
    """What a loss is told in: name in words, short in tables, per_nat how many make one nat."""

    name: str
    short: str
    per_nat: float = 1.0

    def of(self, nats: float) -> float:
        """Return a loss in this unit."""
        return nats * self.per_nat


UNITS = {
    "text": LossUnit("bits per character", "bpc", bits_per_char(1.0)),
    "classification": LossUnit("nats per text", "nats"),
    "tagging": LossUnit("nats per character", "nats"),
    "seq2seq": LossUnit("nats per target token", "nats"),
}
"""The unit of a loss, by task."""

_SCORES = {"macro_f1": "macro-F1", "f1": "F1", "edit_distance": "edit distance"}
_NO_SHARES = ("macro_f1", "f1", "edit_distance")


def describe_scores(scores: Mapping[str, float]) -> str:
    """Return a task's own figures.

    >>> describe_scores({"accuracy": 0.8471, "macro_f1": 0.5512})
    'accuracy 84.7%, macro-F1 0.551'
    """
    named = {_SCORES.get(key, key.replace("_", " ")): key for key in scores}
    return ", ".join(
        f"{name} {scores[key]:.3f}" if key in _NO_SHARES else f"{name} {scores[key]:.1%}"
        for name, key in named.items()
    )


def format_loss(loss_nats: float, bits_per_byte: float | None) -> str:
    """Return a loss in the other units. bits_per_byte: None or NaN where it is not known.

    >>> format_loss(1.386, 1.5)
    '1.386 nats per character, 1.500 bits per byte'
    """
    is_known = bits_per_byte is not None and math.isfinite(bits_per_byte)
    of_bytes = f", {bits_per_byte:.3f} bits per byte" if is_known else ""
    return f"{loss_nats:.3f} nats per character{of_bytes}"


def describe_loss(loss_nats: float, alphabet: str) -> str:
    """Return among how many equally likely characters a model of this loss chooses.

    Beside an alphabet with capital and small letters stands a scale in bits. Other scripts have
    other scales: an ideograph carries more than a letter.

    >>> describe_loss(1.44, "abc")
    'a choice of 4.2 characters (English prose: letters at 3, words 2.3, grammar 1.6)'
    >>> describe_loss(4.8, "山水")
    'a choice of 122 characters'
    """
    choices = perplexity(loss_nats)
    number = f"{choices:.1f}" if choices < 100 else format_count(choices)
    letters = [char for char in alphabet if char.isalpha()]
    cased = sum(char.upper() != char.lower() for char in letters)
    scale = f" ({_ENGLISH_SCALE})" if 2 * cased > len(letters) else ""
    return f"a choice of {number} characters{scale}"


def describe_classification(
    column: str, figures: Mapping[str, Any], *, is_bayes: bool = True
) -> str:
    """Return how well a model names the labels of a column. is_bayes: a model of text does it.

    >>> describe_classification("speaker", {"accuracy": 0.8123, "error": 0.012})
    'names the speaker of 81.2% of held-out records (by Bayes; expected calibration error 0.012)'
    """
    accuracy, error = (figures.get(name, math.nan) for name in ("accuracy", "error"))
    measured = "by Bayes; " * is_bayes + f"expected calibration error {error:.3f}"
    return f"names the {column} of {accuracy:.1%} of held-out records ({measured})"


def describe_sources(nats: Mapping[str, float]) -> str:
    """Return the bits per character of the text of each path, the worst first if they are many.

    >>> describe_sources({"book.txt": 1.46, "letters.txt": 1.25})
    'book.txt 2.11, letters.txt 1.80 bits per character'
    """
    scores = list(nats.items())
    more = len(scores) - _SHOWN_SOURCES
    if more > 0:
        scores.sort(key=lambda score: -score[1])
    named = [f"{path} {bits_per_char(each):.2f}" for path, each in scores[:_SHOWN_SOURCES]]
    rest = f"; {counted(more, 'text')} with less" if more > 0 else ""
    return f"{', '.join(named)} bits per character{rest}"


def describe_end(bits: Sequence[float], digits: int) -> str:
    """Return what the end of a record costs each of several models.

    >>> describe_end([1.25, 3], digits=1)
    'the end of a record, which counts as a character, costs 1.2, 3.0 bits'
    """
    costs = ", ".join(f"{each:.{digits}f}" for each in bits)
    return f"the end of a record, which counts as a character, costs {costs} bits"


def describe_unseen(chars: int, bits: Sequence[float]) -> str:
    """Return what the characters cost, to each model, that none of them saw.

    >>> describe_unseen(3, [120.25])
    '3 characters the model never saw: 120 bits, counted apart'
    """
    costs = ", ".join(f"{each:,.0f}" for each in bits)
    models = "model" if len(bits) == 1 else "models"
    return f"{counted(chars, 'character')} the {models} never saw: {costs} bits, counted apart"


def format_curve(values: Sequence[float], width: int) -> str:
    """Return `values` from left to right as bars of eight heights, at most `width` of them.

    >>> format_curve([0, 2, 6, 8], width=2)
    '▁█'
    """
    if not values:
        return ""
    # Each bar is the mean of an equal share of the values.
    count = min(width, len(values))
    edges = [i * len(values) // count for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low = min(means)
    span = max(means) - low or 1.0
    return "".join(_BARS[round((mean - low) / span * (len(_BARS) - 1))] for mean in means)
