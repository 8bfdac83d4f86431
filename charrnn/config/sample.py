"""How characters are sampled: every control of the sampler, in the order in which they act."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from charrnn.config.fields import refuse_escapes, setting, unknown_setting, validate
from charrnn.errors import ConfigError

PRESETS: dict[str, dict[str, Any]] = {
    "careful": {"temperature": 0.5, "top_p": 0.95, "dry_penalty": 0.5},
    "plain": {"temperature": 1.0},
    "wild": {"temperature": 1.4, "dynamic_temperature": 0.4, "min_p": 0.02},
}
"""Settings of SampleConfig that go together."""

FORMS = ("regex", "choices", "template", "balanced")
"""Settings that say what a text must be; it is complete at the length."""
ENDS = ("seconds", "lines", "sentences", "documents", "stop", "stop_regex")
"""Settings by which a text ends before the length."""
_ONLY_SAMPLED = ("max_copy", "seconds")
_MAX_BIAS = 1000
_SWITCHES = {
    "dry_length": ("dry_penalty",),
    "penalty_window": (
        "repetition_penalty",
        "presence_penalty",
        "frequency_penalty",
        "dry_penalty",
    ),
    "xtc_threshold": ("xtc",),
    "mirostat_rate": ("mirostat",),
    "beam_diversity": ("beam_groups",),
    "length_penalty": ("beam",),
}
"""Settings that change nothing unless another one, which is off by default, is on."""
_ZERO_WIDTH = re.compile(r"\(\?<?[=!]|\\[bB]")  # needs characters, and matches none of them

# One constructor for each section of the help page.
_penalty = partial(setting, section="Penalties")
_chars = partial(setting, section="Characters")
_constraint = partial(setting, section="Constraint")
_filter = partial(setting, section="Filters")
_originality = partial(setting, section="Originality")
_search = partial(setting, section="Search")
_end = partial(setting, section="End")


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """How characters are sampled from a model, in the order in which the settings act."""

    repetition_penalty: float = _penalty(  # Keskar et al. 2019
        1.0, "divide the logits of recent characters by this; 1 turns it off", ge=1, le=10
    )
    presence_penalty: float = _penalty(
        0.0, "subtract this from the logit of each recent character", ge=-10, le=10
    )
    frequency_penalty: float = _penalty(
        0.0, "subtract this from a character's logit for each recent use of it", ge=-10, le=10
    )
    dry_penalty: float = _penalty(
        0.0,
        "subtract this from the logit of a character that continues a repetition of --dry-length "
        "characters, once more for each further one; 0 turns it off",
        ge=0,
        le=100,
    )
    dry_length: int = _penalty(
        12, "length of a repetition from which --dry-penalty applies", ge=1, le=10_000
    )
    penalty_window: int = _penalty(
        256,
        "how many recent tokens (characters, or bytes of rare ones) the penalties count, with the "
        "prompt",
        ge=1,
        le=10_000,
    )
    bias: tuple[str, ...] = _chars(
        (), "add to the logits of characters: e=-2 or digits=1.5; can be repeated"
    )
    only: tuple[str, ...] = _chars(
        (),
        "write only these: ascii, letters, digits, a Unicode category such as Lu, or the "
        "characters themselves; can be repeated",
    )
    ban: tuple[str, ...] = _chars((), "never write these, named as for --only; can be repeated")
    ban_word: tuple[str, ...] = _chars(
        (),
        "never write this as a whole word, or, in a script without blanks, anywhere; --stop, "
        "--stop-regex or --seconds may still cut a longer word down to it; can be repeated",
    )
    must: tuple[str, ...] = _constraint(
        (),
        "write this word somewhere in the text; in a script without blanks it is any part of it; "
        "can be repeated",
    )
    regex: str | None = _constraint(None, "write a full match of this Python regular expression")
    choices: tuple[str, ...] = _constraint(
        (), "write one of these texts: --choices yes --choices no"
    )
    template: str | None = _constraint(
        None, "write this text with its blanks filled: {} with part of a line, {REGEX} with a match"
    )
    balanced: bool = _constraint(
        False, "close every bracket and quote that is opened, within --length"
    )
    temperature: float = _filter(
        0.8,
        "divide the logits by this: below 1 less varied, above 1 more varied; 0 always takes the "
        "most likely character",
        ge=0,
        le=1000,
    )
    dynamic_temperature: float = _filter(
        0.0,
        "change the temperature by up to this: lower where the model is certain, higher where it "
        "is not; 0 turns it off",
        ge=0,
        le=1000,
    )
    word_temperature: float | None = _filter(
        None, "temperature for the first character of a word", gt=0, le=1000, unset="same as --temp"
    )
    top_n_sigma: float = _filter(  # Tang et al. 2024
        0.0, "keep logits within n standard deviations of the largest; 0 keeps all", ge=0, le=100
    )
    top_k: int = _filter(0, "keep only the k most likely characters; 0 keeps all", ge=0)
    typical: float = _filter(  # Meister et al. 2022
        1.0,
        "keep the characters nearest to the average surprisal until they reach this total "
        "probability; 1 keeps all",
        gt=0,
        le=1,
    )
    top_p: float = _filter(  # Holtzman et al. 2020
        1.0,
        "keep the most likely characters until they reach this total probability; 1 keeps all",
        gt=0,
        le=1,
    )
    min_p: float = _filter(  # Nguyen et al. 2024
        0.0,
        "drop characters less likely than this fraction of the most likely one; 0 keeps all",
        ge=0,
        le=1,
    )
    xtc: float = _filter(
        0.0,
        "with this probability, drop all top choices but the least likely (XTC); 0 turns it off",
        ge=0,
        le=1,
    )
    xtc_threshold: float = _filter(
        0.1, "probability from which a character is a top choice of --xtc", gt=0, le=0.5
    )
    mirostat: float = _filter(  # Basu et al. 2020
        0.0, "keep the surprisal near this many bits per character; 0 turns it off", ge=0, le=20
    )
    mirostat_rate: float = _filter(0.1, "how fast --mirostat adapts", gt=0, le=1)
    max_copy: int | None = _originality(
        None, "copy at most this many characters in a row from the training text", ge=1
    )
    beam: int = _search(
        0,
        "search for the most likely text with a beam of this many hypotheses; 0 samples instead",
        ge=0,
        le=10_000,
    )
    beam_groups: int = _search(  # Vijayakumar et al. 2018
        1, "with --beam: split the hypotheses into groups that differ from each other", ge=1
    )
    beam_diversity: float = _search(
        0.5,
        "with --beam-groups: subtract this from a character's ln p for each earlier group that "
        "chose it",
        gt=0,
        le=100,
    )
    length_penalty: float = _search(
        1.0,
        "with --beam: rank hypotheses by ln p / length to this power; 0 ignores the length",
        ge=0,
        le=10,
    )
    length: int = _end(500, "characters to write, not counting the prompt", ge=0)
    seconds: float | None = _end(None, "stop after this many seconds", gt=0)
    lines: int | None = _end(None, "stop after this many lines", ge=1)
    sentences: int | None = _end(None, "stop after this many sentences", ge=1)
    documents: int | None = _end(
        None,
        "stop after this many documents, or records; for a model trained with --document-end or on "
        "records",
        ge=1,
    )
    stop: tuple[str, ...] = _end((), "stop before this text; can be repeated")
    stop_regex: str | None = _end(None, "stop before a match of this Python regular expression")
    seed: int | None = setting(None, "the same seed gives the same text", ge=0, unset="random")
    unknown: str = unknown_setting("prompt")

    def __post_init__(self) -> None:
        validate(self)
        for name in ("stop", "only", "ban", "ban_word", "must", "choices"):
            if "" in getattr(self, name):
                raise ConfigError(f"{name} is empty; it must hold at least one character")
        for text in self.bias:
            parse_bias(text)
        for name in ("bias", "only", "ban", "ban_word", "must", "stop"):
            for text in getattr(self, name):
                refuse_escapes(name, text)
        if self.beam_groups > 1 and (not self.beam or self.beam % self.beam_groups):
            raise ConfigError(
                f"beam_groups is {self.beam_groups} and beam {self.beam}; each group must have the "
                f"same number of hypotheses: make beam {self.beam_groups * 2}, for example"
            )
        if self.stop_regex is not None:
            _compile("stop_regex", self.stop_regex)
            # Such a pattern would end every text before its first character. To search an empty
            # text for it could take for ever: (a?){60000} tries 60,000 times to match nothing.
            is_empty = _parser.parse(self.stop_regex).getwidth()[0] == 0
            if is_empty and not _ZERO_WIDTH.search(self.stop_regex):
                raise ConfigError(
                    f"stop_regex is {self.stop_regex!r}, which matches an empty text; make it need "
                    "at least one character"
                )
        for name in ("regex", "template"):
            if getattr(self, name) == "":
                raise ConfigError(f"{name} is empty; it must hold at least one character")
        if self.regex is not None:
            _compile("regex", self.regex)
        self._check_form()
        for name in idle_settings(vars(self)):
            if getattr(self, name) != getattr(SampleConfig, name):
                option, *switches = (f"--{n.replace('_', '-')}" for n in (name, *_SWITCHES[name]))
                needed = " or ".join(switches)
                raise ConfigError(
                    f"{name} works only with {needed}; add that, or leave {option} out"
                )

    def _check_form(self) -> None:
        """Refuse two forms of the text, and settings that could keep it from its form."""
        forms = self.used(*FORMS)
        ends = self.used(*ENDS)
        if len(forms) > 1:
            raise ConfigError(f"{' and '.join(forms)} each say what the text must be; keep one")
        goals = [*forms, *(["must"] if self.must else [])]
        if goals and ends:
            raise ConfigError(
                f"{ends[0]} could end the text before {goals[0]} is complete; leave one of them out"
            )
        others = [*forms, *(name for name in ("max_copy", "beam") if getattr(self, name))]
        if others and (self.must or self.ban_word):
            raise ConfigError(
                f"{'must' if self.must else 'ban_word'} and {others[0]} cannot be followed "
                "together; leave one of them out"
            )
        if forms and self.max_copy is not None:
            raise ConfigError(
                f"max_copy and {forms[0]} together may leave no character to write; leave one of "
                "them out"
            )
        # A beam search follows no constraint and no clock.
        sampled = [*forms, *(n for n in _ONLY_SAMPLED if getattr(self, n) is not None)]
        if self.beam and sampled:
            raise ConfigError(
                f"{sampled[0]} goes with sampling, not with a beam; leave one of them out"
            )

    def used(self, *names: str) -> list[str]:
        """Return those of these settings, which are off by default, that are on.

        >>> SampleConfig(sentences=3).used("lines", "sentences")
        ['sentences']
        """
        return [name for name in names if getattr(self, name) not in (None, False, ())]

    @classmethod
    def from_preset(cls, preset: str, **settings: Any) -> SampleConfig:
        """Return the settings of a preset; `settings` override it.

        Raises:
            ConfigError: there is no such preset, or a setting is out of range.

        >>> SampleConfig.from_preset("careful", top_k=9).temperature
        0.5
        """
        if preset not in PRESETS:
            raise ConfigError(f"preset is {preset!r}; choose from {', '.join(PRESETS)}")
        return cls(**PRESETS[preset] | settings)


def idle_settings(values: Mapping[str, Any]) -> list[str]:
    """Return the settings that change nothing, as none of their switches is on.

    >>> "xtc_threshold" in idle_settings(vars(SampleConfig(xtc=0.5)))
    False
    """
    return [
        name
        for name, switches in _SWITCHES.items()
        if all(values[switch] == getattr(SampleConfig, switch) for switch in switches)
    ]


def parse_bias(text: str) -> tuple[str, float]:
    """Return the characters' name and the number of a bias.

    Raises:
        ConfigError: the text is not a bias, or its number is too large.

    >>> parse_bias("digits=1.5")
    ('digits', 1.5)
    """
    name, _, number = text.rpartition("=")
    try:
        amount = float(number)
    except ValueError:
        amount = math.nan
    if not name or not abs(amount) <= _MAX_BIAS:  # NaN compares as False
        raise ConfigError(
            f"bias is {text!r}; write characters=number, such as e=-2 or digits=1.5, "
            f"from -{_MAX_BIAS} to {_MAX_BIAS}"
        )
    return name, amount


def _compile(name: str, pattern: str) -> re.Pattern[str]:
    """Compile a pattern, or raise the ConfigError that names the setting and what is wrong."""
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(
            f"{name} is {pattern!r}, which is not a valid regular expression: {error}"
        ) from error
