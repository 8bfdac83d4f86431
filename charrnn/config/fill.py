"""How the gaps of a text are marked, and how what fills them is searched for or drawn."""

from __future__ import annotations

from dataclasses import dataclass

from charrnn.config.fields import setting, validate
from charrnn.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class FillConfig:
    """Which signs of a text stand for what is unknown, and how completions are found."""

    blank: str = setting("_", "sign of one unknown character; empty for no such sign")
    gap: str = setting(
        "*", "sign of any number of unknown characters, none too; empty for no such sign"
    )
    max_gap: int = setting(20, "characters that a gap takes at most", minimum=1, maximum=200)
    line: bool = setting(
        False, "TEXT is a whole line: a newline follows and counts, and no blank takes one"
    )
    only: tuple[str, ...] = setting(
        (),
        "fill with these alone: ascii, letters, digits, a Unicode category such as Lu, or the "
        "characters themselves; may be given again",
    )
    ban: tuple[str, ...] = setting(
        (), "never fill with these, named as for --only; may be given again"
    )
    count: int = setting(5, "how many completions", minimum=1, maximum=10_000)
    beam_width: int = setting(
        500,
        "beginnings kept at each place of TEXT; more find and prove more",
        minimum=1,
        maximum=20_000,
    )
    sample: bool = setting(False, "draw completions by their probability, not the likeliest")
    temperature: float = setting(
        1.0,
        "with --sample: 1 draws by p, below 1 the likely more often: by p to the power 1 / this",
        above=0,
        maximum=1000,
    )
    seed: int | None = setting(
        None, "with --sample: same seed, same completions", minimum=0, unset="a fresh one"
    )

    def __post_init__(self) -> None:
        validate(self)
        for name in ("blank", "gap"):
            sign = getattr(self, name)
            if len(sign) > 1:
                raise ConfigError(f"{name} is {sign!r}; it must be one character, or empty")
        if self.blank == self.gap:
            raise ConfigError(f"blank and gap are both {self.gap!r}; they must differ")
        for name in ("only", "ban"):
            if "" in getattr(self, name):
                raise ConfigError(f"{name} is empty; it must hold at least one character")
