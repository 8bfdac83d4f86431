"""A labelled model with its labels fixed: a model without labels, as every label adds constants.

The embedding e of a record's labels is added to each layer's sums of gates by W e, and to its
initial state by U e, so both become part of the biases and of the initial state.

A = size of a label's embedding, H = hidden size, G = gates of the cell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import ModelFile, refuse_task
from charrnn.config import check_type
from charrnn.data.labels import Labels

AskedLabels = str | Sequence[str] | Mapping[str, str]
"""One label or several as `with_labels` takes them, or in Python also {"speaker": "ROMEO"}."""


def list_labels(asked: AskedLabels) -> list[str]:
    """Return labels that are asked for as `with_labels` takes them.

    >>> list_labels({"speaker": "ROMEO"}), list_labels("ROMEO")
    (['speaker=ROMEO'], ['ROMEO'])

    Raises:
        ConfigError: it is no label and no list of labels.
    """
    check_type("labels", asked, str | list | tuple | Mapping, "a list of labels")
    if isinstance(asked, Mapping):
        return [f"{column}={value}" for column, value in asked.items()]
    labels = [asked] if isinstance(asked, str) else [*asked]
    for label in labels:
        check_type("a label", label, str, "a str")
    return labels


def with_labels(file: ModelFile, asked: Sequence[str] = ()) -> ModelFile:
    """Return the model of texts with these labels; without any, of those of which nothing is known.

    asked: each as "COLUMN=VALUE:WEIGHT", where the column and the weight can mostly be left out. A
    model without labels comes back as it is.

    Raises:
        ConfigError: the model has no labels, or no such label; or it writes no text.
    """
    refuse_task(file)
    mixture = file.labels.mixture(asked)
    if not file.labels:
        return file
    config = replace(file.config, label_count=0, label_size=0)
    weights = {name: file.weights[name] for name in config.weight_shapes()}
    if mixture:
        embedding = embed_labels(file, mixture)
        for depth in range(config.num_layers):
            layer = f"layers.{depth}"
            added = file.weights[f"{layer}.weight_label"].astype(np.float64) @ embedding
            weights[f"{layer}.bias_ih"] = (weights[f"{layer}.bias_ih"] + added).astype(np.float32)
            initial = weights[f"{layer}.initial"].copy()  # of an LSTM (h, c): labels move h alone
            initial[0] = _initial_state(file, depth, embedding)
            weights[f"{layer}.initial"] = initial
    # Moments are those of other weights, so the result is no run that can go on.
    return replace(
        file, config=config, weights=weights, labels=Labels(), training={}, progress=None
    )


def embed_labels(file: ModelFile, mixture: dict[int, float]) -> NDArray[np.float64]:
    """Return the embedding (A,) of a mixture: the sum of its rows' embeddings by weight."""
    table = file.weights["labels.weight"]
    total = np.zeros(table.shape[1])
    for row, weight in mixture.items():
        total += weight * table[row - 1].astype(np.float64)
    return total


def label_states(file: ModelFile) -> dict[str, dict[str, list[list[float]]]]:
    """Return the initial state h (H,) of each layer for each label of each column, lowest first."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    for row in range(1, len(file.labels) + 1):
        column, value = file.labels.describe(row)
        embedding = embed_labels(file, {row: 1.0})
        states = (_initial_state(file, depth, embedding) for depth in range(file.config.num_layers))
        found.setdefault(column, {})[value] = [state.tolist() for state in states]
    return found


def _initial_state(
    file: ModelFile, depth: int, embedding: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return h0 (H,) of a layer: initial[0] + U e."""
    moved = file.weights[f"layers.{depth}.initial_label"].astype(np.float64) @ embedding
    state: NDArray[np.float32] = (file.weights[f"layers.{depth}.initial"][0] + moved).astype("f4")
    return state
