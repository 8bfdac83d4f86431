"""Features of a text: what a unit may have learned to follow, each a function of the text alone.

A feature is a number for each token, which is read together with the state after that token. So
what is in brackets begins at the opening sign, and ends before the closing one. Yes-or-no features
are 1 and 0.

S = tokens, N = characters, F = features.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config.inspect import InspectConfig
from charrnn.errors import ConfigError
from charrnn.text.vocab import END, Ids, StreamDecoder, Vocab

Values = NDArray[np.float32]
Spans = Iterable[tuple[int, int]]

MIN_COUNT = 50  # places of either kind that each half of the text must have
MIN_RUNS = 5  # separate stretches of yes in each half: fewer are an accident
_SURPRISE = "surprise"  # the name of the one feature that a model's own predictions make
_LONGEST_PAIR = 5_000  # characters from an opening bracket to its closing one
_BREAK = f"\n{END}"  # ends a line
_BRACKETS = ("(（", ")）"), ("[【", "]】"), ("{", "}")
# Quotes end with their paragraph, so that one lost sign does not turn all that follows.
_QUOTED = rf'"(?:[^"\n{END}]|\n(?![ \t]*\n))*"'
_SINGLE = rf"(?<!\w)'(?=\S)(?:[^'\n{END}]|'(?=\w)|\n(?![ \t]*\n))*'(?!\w)"
_TAG = rf"<[^<>\s=][^<>{END}]{{0,500}}>"
_CODE = re.compile(
    r'(?P<string>"""[\s\S]*?"""|\'\'\'[\s\S]*?\'\'\'|"(?:\\.|[^"\\\n])*"|'
    r"(?:(?<!\w)|(?<=\b[rbfuRBFU]))'(?:\\.|[^'\\\n])*'(?!\w))|"
    r"(?P<comment>(?:(?<=\s)|(?<![\s\S]))#[^\n]*|(?<!:)//[^\n]*|/\*[\s\S]*?\*/|<!--[\s\S]*?-->)"
)
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = rf"([{_IDEOGRAPHS}]|[^\W{_IDEOGRAPHS}]+)"  # without spaces between words, one character
_SENTENCE = rf"(?:[.!?][\"'”’)\]]*\s+|[。！？][」』”）]*\s*|\n\s*\n|{END})[\"'“‘「『(（]*{_WORD}"
_FIRST_LINE = rf"(?:(?<![\s\S])|(?<=\n\n)|(?<={END}))[^\n{END}]+"
_SPEAKER = rf"(?:(?<![\s\S])|(?<=\n\n)|(?<={END}))[A-Z][^\n:]{{0,40}}:(?=\n)"


@dataclass(frozen=True, eq=False)
class Feature:
    """values: (S,) float32. closing: the signs that end what is inside, if there are any."""

    name: str
    meaning: str
    values: Values
    is_yes_no: bool = True
    closing: str = ""


@dataclass(frozen=True, eq=False)
class Text:
    """The characters of ids, and the place (S,) of the last one that each token completes."""

    chars: str
    last: NDArray[np.int64]

    @classmethod
    def from_ids(cls, vocab: Vocab, ids: Ids) -> Text:
        """Return the text of ids (S,); the end of a record is the character END."""
        decoder = StreamDecoder(vocab)
        pieces = [decoder.feed(token) for token in ids.tolist()]
        last = np.cumsum([len(piece) for piece in pieces], dtype=np.int64) - 1
        return cls("".join(pieces), np.maximum(last, 0))

    def __len__(self) -> int:
        return len(self.chars)

    @cached_property
    def codes(self) -> NDArray[np.uint32]:
        """The code points (N,)."""
        return np.frombuffer(self.chars.encode("utf-32-le", "surrogatepass"), "<u4")

    @cached_property
    def is_break(self) -> NDArray[np.bool_]:
        """Whether each character ends a line (N,)."""
        return self.where(lambda char: char in _BREAK)

    @cached_property
    def line_start(self) -> NDArray[np.int64]:
        """Where each character's line begins (N,); a break belongs to the next line."""
        places = np.arange(len(self))
        starts: NDArray[np.int64] = np.maximum.accumulate(np.where(self.is_break, places + 1, 0))
        return starts

    def where(self, holds: Callable[[str], bool]) -> NDArray[np.bool_]:
        """Return whether a test holds of each character (N,)."""
        kinds, index = np.unique(self.codes, return_inverse=True)
        return np.array([holds(chr(code)) for code in kinds], np.bool_)[index]

    def inside(self, spans: Spans) -> Values:
        """Return in how many spans, from start to before stop, each character lies (N,)."""
        steps = np.zeros(len(self) + 1, np.float32)
        for start, stop in spans:
            steps[start] += 1
            steps[stop] -= 1
        depths: Values = steps.cumsum(dtype=np.float32)[:-1]
        return depths


def make_features(
    vocab: Vocab, ids: Ids, config: InspectConfig, surprise_bits: Values | None = None
) -> list[Feature]:
    """Return all features of ids (S,), also those that the text does not have.

    surprise_bits: (S,) −log2 p of each token before it was read.

    Raises:
        ConfigError: a regex or a file of labels cannot be read, or a name is taken.
    """
    _check_names(config)
    text = Text.from_ids(vocab, ids)
    if not len(text):
        return []
    features = [
        Feature(name, meaning, _by_token(function(text), text), is_yes_no, closing)
        for name, meaning, function, is_yes_no, closing in _BUILT_IN
    ]
    if surprise_bits is not None:
        meaning = "the bits that the character just read cost"
        features.append(Feature(_SURPRISE, meaning, surprise_bits.astype(np.float32), False))
    features += [_regex_feature(text, each) for each in config.features]
    if config.labels_file:
        features.append(_labels_feature(text, Path(config.labels_file)))
    return features


def _check_names(config: InspectConfig) -> None:
    """Refuse features of the user whose name another one has.

    Raises:
        ConfigError: there is one.
    """
    taken = {name for name, *_ in _BUILT_IN} | {_SURPRISE}
    sources = {f"--feature {each}": each.partition("=")[0] for each in config.features}
    if len(sources) < len(config.features):
        twice = next(each for each in config.features if config.features.count(each) > 1)
        raise ConfigError(f"--feature {twice} is given twice; give it once")
    if config.labels_file:
        sources[f"--labels-file {config.labels_file}"] = Path(config.labels_file).stem
    for source, name in sources.items():
        if name in taken:
            way_out = "rename the file" if source.startswith("--labels") else "choose another name"
            raise ConfigError(
                f"{source}: there is a feature with the name {name!r} already; {way_out}"
            )
        taken.add(name)


def lacking(feature: Feature, places: NDArray[np.int64]) -> str:
    """Return why a feature cannot be looked for at these places of one half, or nothing."""
    values = feature.values[places]
    if not feature.is_yes_no:
        _, counts = np.unique(values, return_counts=True)
        other = len(values) - counts.max(initial=0)
        return "" if other >= MIN_COUNT else f"only {other} characters differ from the rest"
    yes = int(values.sum())
    no = len(values) - yes
    runs = int((np.diff(values, prepend=0) > 0).sum())
    if min(yes, no) < MIN_COUNT:
        return f"only {min(yes, no)} characters are {'inside' if yes < no else 'outside'}"
    return "" if runs >= MIN_RUNS else f"stretches inside: only {runs}"


def inside_pairs(text: Text, opening: str, closing: str) -> Values:
    """Return how many pairs of brackets are open at each character (N,).

    An opening bracket without a closing one opens nothing, nor does one whose partner is more than
    5,000 characters away.
    """
    return text.inside(_pairs(text.chars, opening, closing))


def depth(text: Text) -> Values:
    """Return how many ( [ { are open (N,)."""
    return _float32(np.sum([inside_pairs(text, *signs) for signs in _BRACKETS], 0))


def inside_if(text: Text) -> Values:
    """Return whether each character is between "if (" and its ")" (N,)."""
    pairs = _pairs(text.chars, "(", ")")
    spans = ((a, b) for a, b in pairs if re.search(r"\bif\s*$", text.chars[max(a - 12, 0) : a]))
    return np.minimum(text.inside(spans), np.float32(1))


def column(text: Text) -> Values:
    """Return how many characters of the line have been read (N,): 0 at its break."""
    return _float32(np.arange(len(text)) + 1 - text.line_start)


def to_line_end(text: Text) -> Values:
    """Return how many characters are still to come before the line's break (N,)."""
    breaks = np.append(np.flatnonzero(text.is_break), len(text))
    places = np.arange(len(text))
    following = breaks[np.searchsorted(breaks, places, side="right").clip(max=len(breaks) - 1)]
    return _float32((following - places - 1).clip(0))


def indentation(text: Text) -> Values:
    """Return the spaces and tabs at the line's start, as far as they have been read (N,)."""
    places = np.arange(len(text))
    is_ink = text.where(lambda char: char not in " \t" + _BREAK)
    # The last place of ink in the line, before or at each place, tells that the margin has ended.
    first_ink = np.full(len(text) + 1, len(text))
    inked = places[is_ink][::-1]
    first_ink[text.line_start[is_ink][::-1]] = inked
    margin = first_ink[text.line_start] - text.line_start
    return _float32(np.minimum(margin, places + 1 - text.line_start))


def position_in_word(text: Text) -> Values:
    """Return how many letters of the word have been read (N,); 0 between words."""
    is_letter = text.where(str.isalpha)
    places = np.arange(len(text))
    before = np.maximum.accumulate(np.where(is_letter, -1, places))
    return _float32(places - before)


def word_start(text: Text) -> Values:
    """Return whether each character is the first letter of a word (N,)."""
    return _float32(position_in_word(text) == 1)


def is_vowel(char: str) -> bool:
    """Return whether a Latin, Greek or Cyrillic letter is a vowel, with or without accents.

    >>> is_vowel("É"), is_vowel("y")
    (True, False)
    """
    base = unicodedata.normalize("NFD", char)[:1].lower()
    return base in set("aeiouαεηιουωаеиоуыэюя")


def document_position(text: Text) -> Values:
    """Return how many characters of the record have been read (N,): 0 at its end, or throughout."""
    if END not in text.chars:
        return np.zeros(len(text), np.float32)
    places = np.arange(len(text))
    start = np.maximum.accumulate(np.where(text.where(END.__eq__), places, -1))
    return _float32(places - start)


def _pairs(chars: str, opening: str, closing: str) -> Iterator[tuple[int, int]]:
    """Yield the places of the brackets that belong together."""
    open_at: list[int] = []
    for match in re.finditer(f"[{re.escape(opening + closing)}{END}]", chars):
        at = match.start()
        if match[0] == END:
            open_at.clear()
        elif match[0] in opening:
            open_at.append(at)
        elif open_at and at - open_at[-1] <= _LONGEST_PAIR:
            yield open_at.pop(), at
        elif open_at:
            open_at.pop()


def _matches(text: Text, pattern: re.Pattern[str], group: int | str = 0) -> Spans:
    """Yield where a group of each match begins and ends; a part of no match is left out."""
    return (match.span(group) for match in pattern.finditer(text.chars) if match[group])


def _enclosed(pattern: str) -> Callable[[Text], Values]:
    """Return a function that says what is inside matches, whose last character closes them."""
    compiled = re.compile(pattern)
    return lambda text: text.inside((a, b - 1) for a, b in _matches(text, compiled))


def _covered(pattern: str, group: int | str = 0) -> Callable[[Text], Values]:
    """Return a function that says which characters belong to matches."""
    compiled = re.compile(pattern)
    return lambda text: text.inside(_matches(text, compiled, group))


def _is_inside(opening: str, closing: str) -> Callable[[Text], Values]:
    return lambda text: np.minimum(inside_pairs(text, opening, closing), 1)


def _is(holds: Callable[[str], bool]) -> Callable[[Text], Values]:
    return lambda text: _float32(text.where(holds))


def _string(text: Text) -> Values:
    return text.inside((a, b - 1) for a, b in _matches(text, _CODE, "string"))


def _comment(text: Text) -> Values:
    return text.inside(_matches(text, _CODE, "comment"))


# Name, meaning, function, whether it is yes or no, and the signs that close it.
_BUILT_IN: tuple[tuple[str, str, Callable[[Text], Values], bool, str], ...] = (
    ('inside " "', "between double quotes", _enclosed(_QUOTED), True, '"'),
    ("inside ' '", "between single quotes", _enclosed(_SINGLE), True, "'"),
    ("inside “ ”", "between curved double quotes", _is_inside("“", "”"), True, "”"),
    (
        "inside 「 」",
        "between East Asian quotes",
        _is_inside("「『", "」』"),
        True,
        "」』",
    ),
    ("inside 《 》", "in an East Asian title", _is_inside("《〈", "》〉"), True, "》〉"),
    ("inside ( )", "between round brackets", _is_inside("(（", ")）"), True, ")）"),
    ("inside [ ]", "between square brackets", _is_inside("[【", "]】"), True, "]】"),
    ("inside { }", "between curly brackets", _is_inside("{", "}"), True, "}"),
    ("inside < >", "in a tag", _enclosed(_TAG), True, ">"),
    ("inside if ( )", 'after "if (" until its bracket closes', inside_if, True, ")"),
    ("comment", "in a comment of code", _comment, True, "\n"),
    ("string", "in a string of code", _string, True, "\"'"),
    (
        "speaker line",
        "in a line with the name of a speaker",
        _covered(_SPEAKER),
        True,
        ":",
    ),
    ("first line", "in the first line of a paragraph", _covered(_FIRST_LINE), True, "\n"),
    ("sentence start", "in the first word of a sentence", _covered(_SENTENCE, 1), True, ""),
    ("word start", "at the first letter of a word", word_start, True, ""),
    ("upper case", "at a capital", _is(str.isupper), True, ""),
    ("digit", "at a digit", _is(str.isdigit), True, ""),
    ("vowel", "at a vowel", _is(is_vowel), True, ""),
    ("depth", "the number of open ( [ {", depth, False, ")]}"),
    ("column", "the characters of the line that were read", column, False, "\n"),
    ("to line end", "the characters of the line still to come", to_line_end, False, "\n"),
    ("indentation", "the spaces at the line's start", indentation, False, ""),
    ("place in word", "the letters of the word that were read", position_in_word, False, ""),
    (
        "place in record",
        "the characters of the record that were read",
        document_position,
        False,
        "",
    ),
)


def _by_token(values: Values, text: Text) -> Values:
    """Return the values (S,) of tokens from those of characters (N,)."""
    return _float32(values[text.last])


def _float32(values: NDArray[Any]) -> Values:
    found: Values = values.astype(np.float32)
    return found


def _regex_feature(text: Text, setting: str) -> Feature:
    """Return a feature from NAME=REGEX."""
    name, _, pattern = setting.partition("=")
    if not name or not pattern:
        raise ConfigError(
            f"the feature {setting!r} has no name or no regex; write it as NAME=REGEX, for example "
            "'date=[0-9]{4}-[0-9]{2}'"
        )
    try:
        covered = _covered(pattern)(text)
    except re.error as error:
        raise ConfigError(f"the regex of feature {name!r} is not valid: {error}") from error
    return Feature(name, f"in a match of {pattern}", _by_token(covered, text))


def _labels_feature(text: Text, path: Path) -> Feature:
    """Return a feature from a file of one label per character, in numbers between white space."""
    try:
        words = path.read_text(encoding="utf-8").split()
        if len(words) == 1 and len(words[0]) > 1:  # 0 and 1 without spaces
            words = list(words[0])
        labels = np.array(words, np.float32)
    except OSError as error:
        raise ConfigError(f"cannot read the labels of {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(
            f"{path} holds something else than numbers ({error}); write one number per character "
            "of the held-out text, with white space between them"
        ) from error
    if len(labels) < len(text) or not np.isfinite(labels).all():
        raise ConfigError(
            f"{path} holds {len(labels):,} labels, and the held-out text that is measured has "
            f"{len(text):,} characters; write one finite number for each, or lower --chars"
        )
    is_yes_no = bool(np.isin(labels, (0, 1)).all())
    return Feature(
        path.stem,
        f"{'where it is 1 in' if is_yes_no else 'the labels of'} {path.name}",
        _by_token(labels, text),
        is_yes_no,
    )
