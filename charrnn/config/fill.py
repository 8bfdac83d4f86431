"""How the blanks of a text are marked, and how completions are found or sampled."""

from __future__ import annotations

from dataclasses import dataclass

from charrnn.config.fields import refuse_escapes, setting, unknown_setting, validate
from charrnn.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class FillConfig:
    """Which symbols of a text mark unknown characters, and how completions are found."""

    # What is unknown, and what may fill it.
    blank: str = setting("_", "symbol for one unknown character; empty turns it off")
    gap: str = setting("*", "symbol for any number of unknown characters; empty turns it off")
    max_gap: int = setting(20, "maximum length of a gap, in characters", ge=1, le=200)
    line: bool = setting(
        False, "TEXT is a whole line: it ends with a newline, and no blank becomes one"
    )
    only: tuple[str, ...] = setting(
        (),
        "fill with only these: ascii, letters, digits, a Unicode category such as Lu, or the "
        "characters themselves; can be repeated",
    )
    ban: tuple[str, ...] = setting(
        (), "never fill with these, named as for --only; can be repeated"
    )
    # The search, exact if the beam is wide enough, or random samples.
    count: int = setting(5, "number of completions", ge=1, le=10_000)
    beam_width: int = setting(
        500,
        "partial texts kept at each position; more is slower and more thorough",
        ge=1,
        le=20_000,
    )
    sample: bool = setting(False, "sample completions instead of finding the most likely ones")
    temperature: float = setting(
        1.0,
        "with --sample: below 1 favours likely completions, above 1 unlikely ones",
        gt=0,
        le=1000,
    )
    seed: int | None = setting(
        None, "with --sample: the same seed gives the same completions", ge=0, unset="random"
    )

    unknown: str = unknown_setting("text")

    def __post_init__(self) -> None:
        validate(self)
        for name in ("blank", "gap"):
            sign = getattr(self, name)
            if len(sign) > 1:
                raise ConfigError(f"{name} is {sign!r}; it must be one character, or empty")
        if self.blank == self.gap:  # both empty too: then nothing marks a blank
            raise ConfigError(f"blank and gap are both {self.gap!r}; they must differ")
        for name in ("only", "ban"):
            if "" in getattr(self, name):
                raise ConfigError(f"{name} is empty; it must hold at least one character")
            for text in getattr(self, name):
                refuse_escapes(name, text)
