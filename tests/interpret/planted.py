"""An LSTM whose weights were written by hand: it is known what each of its units follows.

Unit 0 is 1 inside ( ), unit 1 counts the brackets that are open, unit 2 grows by 1/80 with each
character of a line. A newline, which never comes inside, makes all three 0. The other units are
random: nothing that leads to the output reads them.
"""

from __future__ import annotations

from functools import cache
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import ModelConfig
from charrnn.config.inspect import InspectConfig
from charrnn.generation.network import Network
from charrnn.interpret.neuron import NeuronReport, inspect_neuron
from charrnn.interpret.neurons import NeuronsReport, inspect_neurons
from charrnn.interpret.subject import Subject, Texts
from charrnn.text.vocab import Vocab

ALPHABET = "\n ()abcde"
HIDDEN = 11
CUT_OFF = 7  # a unit that nothing reads
_ON, _OFF = 40.0, -40.0  # sums whose sigmoid is 1 and 0 in float32
_I, _F, _G, _O = range(4)


def make_planted(seed: int = 5) -> Network:
    """Return the network."""
    size = len(ALPHABET)
    config = ModelConfig(cell="lstm", vocab_size=size, embedding_size=size, hidden_size=HIDDEN)
    random = np.random.default_rng(seed)
    weights = {
        name: random.normal(size=shape).astype(np.float32)
        for name, shape in config.weight_shapes().items()
    }
    weights["embedding.weight"] = np.eye(size, dtype=np.float32)
    from_x = weights["layers.0.weight_ih"].reshape(4, HIDDEN, size)  # gate, unit, character
    from_h = weights["layers.0.weight_hh"].reshape(4, HIDDEN, HIDDEN)
    weights["layers.0.bias_ih"][:] = 0
    weights["layers.0.bias_hh"][:] = 0
    weights["layers.0.initial"][:, :3] = 0
    from_x[:, :3] = 0
    from_h[:, :3] = 0
    from_x[_O, :3] = _ON
    opens, closes, newline = map(ALPHABET.index, "()\n")
    # Unit 0: set to 1 by (; forgotten by ) where unit 1 showed tanh(1) = 0.76, not tanh(2) = 0.96.
    from_x[_F, 0] = 2000
    from_x[_F, 0, [opens, newline]] = -2000
    from_x[_F, 0, closes] = -863
    from_h[_F, 0, 1] = 1000
    from_x[_I, 0] = _OFF
    from_x[_I, 0, opens] = _ON
    from_x[_G, 0] = _ON
    # Unit 1: one more with (, one less with ).
    from_x[_F, 1] = _ON
    from_x[_F, 1, newline] = _OFF
    from_x[_I, 1] = _OFF
    from_x[_I, 1, [opens, closes]] = _ON
    from_x[_G, 1, opens] = _ON
    from_x[_G, 1, closes] = _OFF
    # Unit 2: 1/80 more with each character, 0 after a newline.
    from_x[_F, 2] = _ON
    from_x[_I, 2] = _ON
    from_x[[_F, _I], 2, newline] = _OFF
    from_x[_G, 2] = np.arctanh(1 / 80)
    output = weights["output.weight"]
    output[:] = 0
    output[closes, 0] = 4
    output[newline, 2] = 3
    return Network(config, weights)


def make_brackets(count: int, seed: int = 6) -> str:
    """Return `count` characters or more: lines with nested ( ), which close before the newline."""
    random = np.random.default_rng(seed)
    pieces: list[str] = []
    depth = 0
    while len(pieces) < count or depth:
        draw = random.random()
        if draw < 0.06 and depth < 3:
            pieces.append("(")
            depth += 1
        elif draw < 0.18 and depth:
            pieces.append(")")
            depth -= 1
        elif draw < 0.12 and not depth:
            pieces.append("\n")
        else:
            pieces.append(str(random.choice(list(" abcde"))))
    return "".join(pieces)


@cache
def make_planted_subject(count: int = 4_000, network: Network | None = None) -> Subject:
    """Return the planted network, or another one, as a model that reads nested brackets."""
    network = network or make_planted()
    vocab = Vocab(ALPHABET)
    ids: NDArray[np.int64] = vocab.encode(make_brackets(count)).astype(np.int64)
    file = ModelFile(network.config, vocab, network.weights, {})
    return Subject("planted", file, ids[:200], Texts(lambda: (ids, ids)))


@cache
def planted_neurons() -> NeuronsReport:
    """Return what the search finds in the planted network."""
    return inspect_neurons(make_planted_subject(), InspectConfig())


@cache
def planted_neuron(*units: str) -> NeuronReport:
    """Return the card of a unit of the planted network, or of its best one."""
    with patch("charrnn.interpret.clamp.CLAMP_CHARS", 600):  # a test needs no small error
        return inspect_neuron(
            make_planted_subject(), InspectConfig(neurons=units), planted_neurons()
        )
