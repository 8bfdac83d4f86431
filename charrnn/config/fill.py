"""How the gaps of a text are marked, and how completions are searched for or sampled."""

from __future__ import annotations

from dataclasses import dataclass

from charrnn.config.fields import check_escapes, setting, validate
from charrnn.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class FillConfig:
    """Which signs of a text mark unknown characters, and how completions are found."""

    # What is unknown, and what may stand there.
    blank: str = setting("_", "sign for one unknown character; empty turns it off")
    gap: str = setting("*", "sign for any number of unknown characters; empty turns it off")
    max_gap: int = setting(20, "longest text that a gap stands for", ge=1, le=200)
    line: bool = setting(
        False, "TEXT is a whole line: the newline after it counts, and no blank becomes a newline"
    )
    only: tuple[str, ...] = setting(
        (),
        "fill with only these: ascii, letters, digits, a Unicode category such as Lu, or the "
        "characters themselves; can be repeated",
    )
    ban: tuple[str, ...] = setting(
        (), "never fill with these, named as for --only; can be repeated"
    )
    # The search: exact as far as the beam is wide, or random.
    count: int = setting(5, "number of completions", ge=1, le=10_000)
    beam_width: int = setting(
        500, "partial texts kept at each position; more find and prove more", ge=1, le=20_000
    )
    sample: bool = setting(False, "sample completions instead of finding the likeliest")
    temperature: float = setting(
        1.0,
        "with --sample: below 1 favours likely completions, above 1 unlikely ones",
        gt=0,
        le=1000,
    )
    seed: int | None = setting(
        None, "with --sample: the same seed gives the same completions", ge=0, unset="random"
    )

    def __post_init__(self) -> None:
        validate(self)
        for name in ("blank", "gap"):
            sign = getattr(self, name)
            if len(sign) > 1:
                raise ConfigError(f"{name} is {sign!r}; it must be one character, or empty")
        if self.blank == self.gap:  # both empty too: nothing would be left to fill
            raise ConfigError(f"blank and gap are both {self.gap!r}; they must differ")
        for name in ("only", "ban"):
            if "" in getattr(self, name):
                raise ConfigError(f"{name} is empty; it must hold at least one character")
            for text in getattr(self, name):
                check_escapes(name, text)
