"""How characters are drawn: every control of the sampler, in the order in which they act."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from charrnn.config.fields import setting, validate
from charrnn.errors import ConfigError

PRESETS: dict[str, dict[str, Any]] = {
    "careful": {"temperature": 0.5, "top_p": 0.95, "dry_penalty": 0.5},
    "plain": {"temperature": 1.0},
    "wild": {"temperature": 1.4, "dynamic_temperature": 0.4, "min_p": 0.02},
}
"""Settings of SampleConfig that go together."""


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """How characters are drawn from a model; settings stand in the order in which they act."""

    repetition_penalty: float = setting(
        1.0,
        "divides the logits of characters just written; 1 for none",
        minimum=1,
        maximum=10,
        section="Penalties",
    )
    presence_penalty: float = setting(
        0.0,
        "taken from the logits of characters just written",
        minimum=-10,
        maximum=10,
        section="Penalties",
    )
    frequency_penalty: float = setting(
        0.0,
        "taken from a character's logit for each time that it was just written",
        minimum=-10,
        maximum=10,
        section="Penalties",
    )
    dry_penalty: float = setting(
        0.0,
        "taken from what would go on with a repetition, for each character that it is too long",
        minimum=0,
        maximum=100,
        section="Penalties",
    )
    dry_length: int = setting(
        12,
        "a repetition is too long from so many characters on",
        minimum=1,
        maximum=10_000,
        section="Penalties",
    )
    penalty_window: int = setting(
        256,
        "characters that penalties look back on, those of the prompt too",
        minimum=1,
        maximum=10_000,
        section="Penalties",
    )
    bias: tuple[str, ...] = setting(
        (),
        "add to the logits of characters, as e=-2 or digits=1.5; may be given again",
        section="Characters",
    )
    only: tuple[str, ...] = setting(
        (),
        "write these alone: ascii, letters, digits, a Unicode category such as Lu, or the "
        "characters themselves; may be given again",
        section="Characters",
    )
    ban: tuple[str, ...] = setting(
        (), "never write these, named as for --only; may be given again", section="Characters"
    )
    regex: str | None = setting(
        None, "write a full match of this pattern, one of Python's re", section="Constraint"
    )
    choices: tuple[str, ...] = setting((), "write one of these texts", section="Constraint")
    template: str | None = setting(
        None,
        "write this text, each {} in it a piece of a line, each {...} a match of the pattern there",
        section="Constraint",
    )
    balanced: bool = setting(
        False, "close every bracket and quote that opens, within the length", section="Constraint"
    )
    temperature: float = setting(
        0.8,
        "divides the logits: below 1 safer, above 1 wilder, 0 greedy",
        minimum=0,
        maximum=1000,
        section="Filters",
    )
    dynamic_temperature: float = setting(
        0.0,
        "lower the temperature by up to this where the model is sure, raise it where it is not",
        minimum=0,
        maximum=1000,
        section="Filters",
    )
    word_temperature: float | None = setting(
        None,
        "the temperature where a word begins",
        above=0,
        maximum=1000,
        unset="that of all",
        section="Filters",
    )
    top_n_sigma: float = setting(
        0.0,
        "keep logits within so many standard deviations of the largest; 0 for all",
        minimum=0,
        maximum=100,
        section="Filters",
    )
    top_k: int = setting(
        0, "keep only the k most likely characters; 0 for all", minimum=0, section="Filters"
    )
    typical: float = setting(
        1.0,
        "keep the characters of most expected surprisal whose probabilities reach this sum",
        above=0,
        maximum=1,
        section="Filters",
    )
    top_p: float = setting(
        1.0,
        "keep the fewest characters whose probabilities reach this sum",
        above=0,
        maximum=1,
        section="Filters",
    )
    min_p: float = setting(
        0.0,
        "drop characters below this share of the likeliest one",
        minimum=0,
        maximum=1,
        section="Filters",
    )
    xtc: float = setting(
        0.0,
        "how often to exclude top choices: of those above the threshold only the last stays",
        minimum=0,
        maximum=1,
        section="Filters",
    )
    xtc_threshold: float = setting(
        0.1, "probability that makes a top choice", above=0, maximum=0.5, section="Filters"
    )
    mirostat: float = setting(
        0.0,
        "hold the surprisal at so many bits per character; 0 lets it go",
        minimum=0,
        maximum=20,
        section="Filters",
    )
    mirostat_rate: float = setting(
        0.1, "how fast --mirostat follows", above=0, maximum=1, section="Filters"
    )
    max_copy: int | None = setting(
        None,
        "copy no more than so many characters in a row from the text it was trained on",
        minimum=1,
        section="Originality",
    )
    beam: int = setting(
        0,
        "search for the likeliest text with so many hypotheses, instead of drawing; 0 draws",
        minimum=0,
        maximum=10_000,
        section="Search",
    )
    beam_groups: int = setting(
        1,
        "groups that the hypotheses are parted into, each kept from what those before it chose",
        minimum=1,
        section="Search",
    )
    beam_diversity: float = setting(
        0.5,
        "taken from ln p of a character for each time that the groups before chose it",
        above=0,
        maximum=100,
        section="Search",
    )
    length_penalty: float = setting(
        1.0,
        "hypotheses of different lengths compare by ln p / length to this power; 0 by ln p alone",
        minimum=0,
        maximum=10,
        section="Search",
    )
    length: int = setting(
        500, "characters to write, the prompt not counted", minimum=0, section="End"
    )
    seconds: float | None = setting(None, "write no longer than this", above=0, section="End")
    lines: int | None = setting(None, "end after so many lines", minimum=1, section="End")
    sentences: int | None = setting(None, "end after so many sentences", minimum=1, section="End")
    documents: int | None = setting(
        None,
        "end after so many documents, of a model that was trained with --document-end",
        minimum=1,
        section="End",
    )
    stop: tuple[str, ...] = setting((), "end before this text; may be given again", section="End")
    stop_regex: str | None = setting(
        None, "end before a match of this pattern, one of Python's re", section="End"
    )
    seed: int | None = setting(None, "same seed, same text", minimum=0, unset="a fresh one")

    def __post_init__(self) -> None:
        validate(self)
        for name in ("stop", "only", "ban", "choices"):
            if "" in getattr(self, name):
                raise ConfigError(f"{name} is empty; it must hold at least one character")
        for text in self.bias:
            parse_bias(text)
        if self.beam_groups > 1 and (not self.beam or self.beam % self.beam_groups):
            raise ConfigError(
                f"beam_groups is {self.beam_groups} and beam {self.beam}; each group must have the "
                f"same number of hypotheses: make beam {self.beam_groups * 2}, for example"
            )
        if self.stop_regex is not None:
            _check_pattern(self.stop_regex)
        check_constraint(self)

    @classmethod
    def from_preset(cls, preset: str, **settings: Any) -> SampleConfig:
        """Give the settings of a preset; those given go before its own.

        Raises:
            ConfigError: there is no such preset, or a setting is out of range.
        """
        if preset not in PRESETS:
            raise ConfigError(f"preset is {preset!r}; choose from {', '.join(PRESETS)}")
        return cls(**PRESETS[preset] | settings)


_LARGEST_BIAS = 1000


def parse_bias(text: str) -> tuple[str, float]:
    """Turn "e=-2" into the characters' name and the number.

    Raises:
        ConfigError: it is not such a text, or the number is too large.
    """
    name, _, number = text.rpartition("=")
    try:
        amount = float(number)
    except ValueError:
        amount = math.nan
    if not name or not abs(amount) <= _LARGEST_BIAS:
        raise ConfigError(
            f"bias is {text!r}; write characters=number, such as e=-2 or digits=1.5, "
            f"from -{_LARGEST_BIAS} to {_LARGEST_BIAS}"
        )
    return name, amount


def _check_pattern(pattern: str) -> None:
    """Refuse what is no pattern, and one that would end every text before it begins."""
    try:
        is_empty = re.compile(pattern).search("") is not None
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(f"stop_regex is {pattern!r}, which is no pattern: {error}") from error
    if is_empty:
        raise ConfigError(f"stop_regex is {pattern!r}, which matches an empty text; ask for more")


_FORMS = ("regex", "choices", "template", "balanced")
_ENDS = ("seconds", "lines", "sentences", "documents", "stop", "stop_regex")


def check_constraint(config: Any) -> None:
    """Hold the settings of a SampleConfig that constrain a text to one another.

    Raises:
        ConfigError: two say what the text must be, an end could cut it short, or one is empty or
            no pattern.
    """
    forms, ends = (
        [name for name in names if getattr(config, name) not in (None, False, ())]
        for names in (_FORMS, _ENDS)
    )
    if len(forms) > 1:
        raise ConfigError(f"{' and '.join(forms)} each say what the text must be; keep one")
    if forms and ends:
        raise ConfigError(
            f"{ends[0]} could end the text before {forms[0]} is complete; leave one of them out"
        )
    for name in ("regex", "template"):
        if getattr(config, name) == "":
            raise ConfigError(f"{name} is empty; it must hold at least one character")
    if config.regex is not None:
        try:
            re.compile(config.regex)
        except (re.error, RecursionError, OverflowError) as error:
            raise ConfigError(f"regex is {config.regex!r}, which is no pattern: {error}") from error
