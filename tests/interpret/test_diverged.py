"""A network whose states or logits grow beyond numbers is refused, without a warning."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest

from charrnn.config.inspect import InspectConfig
from charrnn.errors import DivergedError
from charrnn.generation.network import Network
from charrnn.interpret.subject import Subject
from tests.interpret.networks import make_ids, make_network, make_subject

VIEWS = (
    *("text", "guesses", "gates", "memory", "gradients", "links"),
    *("neurons", "neuron", "step", "unrolled", "errors"),
)


def scaled_subject(name: str, factor: float, **shape: Any) -> Subject:
    """Return a network with one of its weights multiplied."""
    network = make_network(**shape)
    weights = {**network.weights, name: network.weights[name] * np.float32(factor)}
    ids = make_ids(600)
    return make_subject(Network(network.config, weights), ids[:60], ids)


def inspect(view: str, subject: Subject) -> Any:
    module = import_module(f"charrnn.interpret.{view}")
    return getattr(module, f"inspect_{view}")(subject, InspectConfig())


@pytest.mark.parametrize("view", VIEWS)
def test_a_relu_that_grows_without_end_is_refused_by_each_view(view: str) -> None:
    subject = scaled_subject("layers.0.weight_hh", 1e9, cell="rnn", nonlinearity="relu")

    with pytest.raises(DivergedError, match="not a finite number"):
        inspect(view, subject)


@pytest.mark.parametrize("view", ["guesses", "gradients", "links", "neurons", "neuron", "unrolled"])
def test_logits_that_are_no_numbers_are_refused(view: str) -> None:
    subject = scaled_subject("output.weight", np.inf, cell="lstm")

    with pytest.raises(DivergedError, match="not a finite number"):
        inspect(view, subject)
