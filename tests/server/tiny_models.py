"""Tiny models with random weights, written as runs that a server can open by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from charrnn.checkpoint.model_file import ModelFile
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.config import ModelConfig
from charrnn.text.vocab import Vocab
from tests.generation.random_models import NGRAMS, random_weights
from tests.generation.record_models import WHO, make_records_file

SHAPE: dict[str, Any] = {"embedding_size": 3, "hidden_size": 7, "num_layers": 2}
VOCABS = {
    "book": Vocab("\n !,.ABabcdefghé"),
    "tang": Vocab("\nab月", has_bytes=True),
    "marks": Vocab("\nabñ\u0301", clusters=("a\u0301", "b\u0301")),
    "bytes": Vocab.of_bytes(),
    "small": Vocab("\n abcé"),  # of a text in small letters, in its composed form
}


def make_files() -> dict[str, ModelFile]:
    """Return models by name: of running text, of lines, and of speeches with labels."""
    files = {}
    for seed, (name, vocab) in enumerate(VOCABS.items()):
        # One with n-grams is asked everything that the others are.
        more = NGRAMS if name == "book" else {}
        config = ModelConfig(vocab_size=vocab.size, **SHAPE, **more)
        summary: dict[str, Any] = {"step": 7, "corpus": {"name": name, "sha256": "0" * 64}}
        if name == "small":
            summary["settings"] = {"normalize": "nfc", "lowercase": True}
        files[name] = ModelFile(config, vocab, random_weights(config, seed, 0.7), summary)
    files["names"] = make_records_file(hidden_size=7, alphabet=" abcdé")
    files["ends"] = make_records_file("document", alphabet="\n abé", document_end="<<>>")
    files["play"] = make_records_file("speech", labels=(WHO,), alphabet="\n abé")
    return files


def write_runs(folder: Path) -> Path:
    """Write all of these models as runs into a folder of checkpoints."""
    for name, file in make_files().items():
        RunFolder(folder / name).save_state(file, step=7, kept=1)
    return folder
