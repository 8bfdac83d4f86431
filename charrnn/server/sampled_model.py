"""A model as the engine samples from it: with labels fixed, and settings resolved once.

`Engine.prepare` asks for both from any thread. Texts with the same settings share a chain, so that
a batch samples them as rows of one array.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import Generic, TypeVar

from charrnn.config import SampleConfig
from charrnn.config.sample import FORMS
from charrnn.errors import ConfigError
from charrnn.generation.chain import SamplerChain
from charrnn.generation.constraints.constraint import Constraint
from charrnn.generation.generator import Generator
from charrnn.generation.pattern_search import check_regular
from charrnn.state import State
from charrnn.tasks.open_models import OpenModels

_MOST_SETTINGS = 256  # that are kept for each model
_MOST_CONSTRAINTS = 8  # among them: an automaton may take a hundred megabytes
_MOST_LABELS = 8  # models with labels fixed: each has weights of its own
_CHAIN_SECTIONS = ("Penalties", "Characters", "Filters")
_CHAIN_SETTINGS = [
    item.name for item in fields(SampleConfig) if item.metadata["section"] in _CHAIN_SECTIONS
]
_CONSTRAINTS = (*FORMS, "must", "ban_word", "max_copy")
_NO_SETTINGS = ("seed", "unknown")  # that change nothing between logits and the end of a text

Value = TypeVar("Value")


@dataclass(frozen=True)
class Resolved:
    """The settings of a text in the form of the model's text, and what was made of them."""

    config: SampleConfig
    chain: SamplerChain
    constraint: Constraint | None


class SampledModel:
    """A model, or several as one, whose texts are sampled side by side.

    root: tells its states from another's. is_exact: no two of its texts may be read side by side.
    """

    def __init__(self, models: OpenModels, root: bytes) -> None:
        self.models = models
        self.root = root
        self.is_exact = False
        self._chains: _Recent[SamplerChain] = _Recent(_MOST_SETTINGS)
        self._resolved: _Recent[Resolved] = _Recent(_MOST_SETTINGS)
        self._constrained: _Recent[Resolved] = _Recent(_MOST_CONSTRAINTS)

    @property
    def generator(self) -> Generator:
        """What reads and samples."""
        return self.models.generator

    @property
    def start(self) -> State:
        """The state before any prompt."""
        start = self.models.start
        return start.state if start else self.generator.language_model.initial_state()

    def resolve(self, config: SampleConfig) -> Resolved:
        """Return what the settings come to.

        Raises:
            ConfigError: this model cannot follow a setting, or they leave no character to write.
            CorpusError: they need the text that the model was trained on, which is not there.
        """
        key = tuple(value for name, value in vars(config).items() if name not in _NO_SETTINGS)
        kept = self._constrained if config.used(*_CONSTRAINTS) else self._resolved
        return kept.get(key, lambda: self._resolve(config))

    def _resolve(self, config: SampleConfig) -> Resolved:
        if config.beam:
            raise ConfigError(
                f"beam is {config.beam}, which searches and does not sample; leave it 0"
            )
        constraint = self.models.make_constraint(config)
        chain, constraint = self.generator.resolve(config, constraint)
        key = tuple(getattr(config, name) for name in _CHAIN_SETTINGS)
        chain = self._chains.get(key, lambda: chain)
        normalized = self.generator.normalized_config(config)
        if normalized.stop_regex is not None:
            check_regular(normalized.stop_regex)
        return Resolved(normalized, chain, constraint)


class SampledModels:
    """Served models by name, and by the labels of their texts."""

    def __init__(self, models: Mapping[str, OpenModels]) -> None:
        self._served = {name: SampledModel(each, _root(name)) for name, each in models.items()}
        self._labelled: _Recent[SampledModel] = _Recent(_MOST_LABELS)

    def get(self, name: str, labels: tuple[str, ...] = (), strength: float = 1.0) -> SampledModel:
        """Return a model for texts with these labels.

        Raises:
            ConfigError: there is no such model, or it has no such label.
        """
        if name not in self._served:
            raise ConfigError(f"there is no model {name!r}; there are {', '.join(self._served)}")
        served = self._served[name]
        if not labels and strength == 1:
            return served

        def make() -> SampledModel:
            models = served.models.with_labels(labels, strength)
            return SampledModel(models, _root(name, *labels, f"{strength!r}"))

        return self._labelled.get((name, labels, strength), make)


class _Recent(Generic[Value]):
    """The values that were asked for last, by key; for use from several threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of a key, which is made where it is not known."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        made = make()  # may take long, and must not keep others waiting
        with self._lock:
            value = self._values.setdefault(key, made)  # one for all
            while len(self._values) > self._most:
                self._values.popitem(last=False)
        return value


def _root(*parts: str) -> bytes:
    """Return a digest of texts, each told from the next."""
    joined = b"".join(len(each).to_bytes(8, "big") + each.encode() for each in parts)
    return blake2b(joined, digest_size=16).digest()
