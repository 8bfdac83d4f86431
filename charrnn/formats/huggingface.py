"""A model as a Hugging Face folder: config, weights, tokenizer, card, and our own file beside them.

charrnn reads its own file in it, so the folder is a MODEL wherever one is named. The others are for
programs that know nothing of charrnn: the weights by the names of docs/file-format.md, and a
tokenizer that gives our ids.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from charrnn._version import __version__
from charrnn.checkpoint.model_file import (
    ModelFile,
    model_digest,
    pack_model,
    read_model,
    refuse_task,
)
from charrnn.checkpoint.public import without_private
from charrnn.checkpoint.run_folder import SHARED, RunFolder
from charrnn.config import as_dict
from charrnn.config.export import ExportConfig
from charrnn.errors import ConfigError, ExportError, VocabError, missing_extra
from charrnn.formats.card import make_card
from charrnn.formats.tokenizer_json import make_tokenizer
from charrnn.formats.verified import Verified, check_greedy
from charrnn.generation.generator import Generator
from charrnn.generation.network import Network
from charrnn.generation.text_format import TextFormat, text_format_of
from charrnn.text.token_vocab import TokenVocab
from charrnn.text.vocab import END, Vocab

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
TARGET_TOKENIZER = "target_tokenizer.json"
CARD = "README.md"

_ARCHITECTURES = {
    "text": "CharRNNForCausalLM",
    "classification": "CharRNNForSequenceClassification",
    "tagging": "CharRNNForTokenClassification",
    "seq2seq": "CharRNNForConditionalGeneration",
}
_SAMPLE_CHARS = 300
_TRIED = "é ÿ ß 中文 한 ی ا\u0301 😀 👨\u200d👩\u200d👧 🏳\ufe0f\u200d🌈 \u0000 \ufeff \r\n\t"
"""Characters of many kinds, which every tokenizer with bytes must take."""


def make_huggingface(file: ModelFile, name: str, config: ExportConfig) -> dict[str, bytes]:
    """Return the files of a folder, by name; the card says no more than is asked for.

    name: of the model; on the hub, USER/NAME.

    Raises:
        ConfigError: other numbers than fp32 are asked for.
    """
    if config.dtype not in (None, "fp32"):
        raise ConfigError(
            f"a huggingface folder has the weights as they are, not as {config.dtype}; leave "
            "--dtype out"
        )
    public = without_private(file)
    name = name.encode("utf-8", "replace").decode()  # a folder's name may be no Unicode
    card = make_card(public, name, config, _sample(file, config.card_samples))
    vocabs = {TOKENIZER: file.vocab, TARGET_TOKENIZER: file.target_vocab}
    return {
        CONFIG: _to_json(_describe(public)),
        WEIGHTS: _pack_weights(public),
        **{
            key: _to_json(make_tokenizer(vocab, _form_of(file)), indent=None)
            for key, vocab in vocabs.items()
            if vocab is not None
        },
        "tokenizer_config.json": _to_json(_describe_tokenizer(file.vocab)),
        CARD: card.encode(),
        SHARED: bytes(pack_model(public)),
    }


def verify_huggingface(
    folder: Path, _: Sequence[str], file: ModelFile, config: ExportConfig
) -> Verified:
    """Read a folder as others do, and compare weights, ids and greedy text with the model's.

    Raises:
        ExportError: they are not the same.
        ConfigError: tokenizers is not installed.
    """
    weights = safetensors.numpy.load((folder / WEIGHTS).read_bytes())
    if weights.keys() != file.weights.keys() or any(
        not np.array_equal(weights[key], array) for key, array in file.weights.items()
    ):
        raise ExportError(f"{WEIGHTS} does not hold the model's weights")
    form = _form_of(file)
    chars = verify_tokenizer(folder / TOKENIZER, file.vocab, form)
    if file.target_vocab is not None:
        chars += verify_tokenizer(folder / TARGET_TOKENIZER, file.target_vocab, form)
    shared = read_model(RunFolder(folder).model)
    if model_digest(shared) != model_digest(file):
        raise ExportError(f"{SHARED} is not the model")
    if file.config.task == "text":
        network = Network(file.config, file.weights)
        for read in (shared.weights, weights):
            ids = _greedy_ids(Network(shared.config, read), config.verify_chars)
            check_greedy(network, file.vocab, ids)
        chars += config.verify_chars
    return Verified(chars)


def _form_of(file: ModelFile) -> TextFormat:
    return text_format_of(file.summary, has_end=file.vocab.has_end)


def _describe(file: ModelFile) -> dict[str, Any]:
    """Return config.json: what kind of network it is, and how its text is to be read."""
    form = _form_of(file)
    shape = as_dict(file.config)
    if not file.config.ngram_rows:
        del shape["ngram_order"], shape["ngram_rows"]
    about: dict[str, Any] = {
        "model_type": "charrnn",
        "architectures": [_ARCHITECTURES[file.config.task]],
        **shape,
        "dtype": "float32",
        "normalize": form.normalize,
        "lowercase": form.lowercase,
        "charrnn_version": __version__,
        "weights_sha256": model_digest(file).hex(),
    }
    if file.vocab.has_end:
        about["eos_token_id"] = file.vocab.end
    if file.config.class_count:
        names = dict(enumerate(file.labels.columns[0].values))
        about["id2label"] = {str(i): each for i, each in names.items()}
        about["label2id"] = {each: i for i, each in names.items()}
    elif file.labels:
        about["labels"] = {column.name: list(column.values) for column in file.labels.columns}
    return about


def _describe_tokenizer(vocab: Vocab) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **({"eos_token": END} if vocab.has_end else {}),
    }


def _pack_weights(file: ModelFile) -> bytes:
    """Return the weights as transformers reads them: it refuses a file without this format."""
    ordered = {name: np.asarray(array, order="C") for name, array in file.weights.items()}
    return safetensors.numpy.save(ordered, {"format": "pt"})


def verify_tokenizer(path: Path, vocab: Vocab, form: TextFormat) -> int:
    """Compare the ids that a tokenizer gives with ours; return of how many characters.

    form: of the model's text.

    Raises:
        ExportError: they differ, or do not give the text back.
        ConfigError: tokenizers is not installed.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise missing_extra("export --to huggingface", "tokenizers", "hub") from error
    tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    count = 0
    for text in _texts_to_try(vocab, form):
        try:
            ids = tokenizer.encode(text).ids
        except Exception as error:  # the library raises no narrower one
            raise ExportError(f"{path.name} cannot read the vocabulary's text ({error})") from error
        formed = form.normalized(text)
        expected = vocab.encode(formed).tolist()
        if ids != expected:
            place = next((i for i, (a, b) in enumerate(zip(ids, expected)) if a != b), len(ids))  # noqa: B905
            raise ExportError(f"{path.name} gives other ids, from token {place:,} of a text on")
        if tokenizer.decode(ids, skip_special_tokens=False) != formed:
            raise ExportError(f"{path.name} does not give back the text of its ids")
        count += len(text)
    return count


def _texts_to_try(vocab: Vocab, form: TextFormat) -> Iterator[str]:
    """Yield texts in which every token of a vocabulary occurs, in and out of order.

    Of a model of small letters or of a normal form, texts that have neither are among them.
    """
    if not form.lowercase and form.normalize == "none":
        yield from _texts_of_tokens(vocab)
        return
    has_spaces = isinstance(vocab, TokenVocab)
    tokens = vocab.tokens if isinstance(vocab, TokenVocab) else (*vocab.alphabet, *vocab.clusters)
    kinds = (str, str.upper, partial(unicodedata.normalize, "NFD"))
    alone = [kind(each) for kind in kinds for each in tokens]
    alone = [text for text in alone if _is_readable(vocab, form, text)]
    yield from alone
    # Neighbours may become one character, which the vocabulary need not have.
    together = [*_texts_of_tokens(vocab), (" " * has_spaces).join(alone)]
    yield from (text for text in together if _is_readable(vocab, form, text))


def _is_readable(vocab: Vocab, form: TextFormat, text: str) -> bool:
    """Return whether the vocabulary has all that the model's form of a text holds."""
    try:
        vocab.encode(form.normalized(text))
    except VocabError:
        return False
    return True


def _texts_of_tokens(vocab: Vocab) -> Iterator[str]:
    if isinstance(vocab, TokenVocab):
        yield " ".join([*vocab.tokens, *vocab.tokens[::-1]])
        return
    ends = END * vocab.has_end
    yield vocab.alphabet + ends + vocab.alphabet[::-1] + ends
    yield "".join(2 * each for each in vocab.alphabet)
    pieces = [*vocab.alphabet, *vocab.clusters, *ends]
    if vocab.has_bytes:
        pieces += _TRIED
        yield _TRIED
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(pieces))
        yield "".join(pieces[i] for i in order)


def _greedy_ids(network: Network, count: int) -> list[int]:
    """Return the ids of a text that always takes the likeliest token, from the initial state."""
    state = network.initial_state()
    ids = []
    for _ in range(count):
        ids.append(int(network.logits(state).argmax()))
        state = network.advance(ids[-1], state)
    return ids


def _sample(file: ModelFile, count: int) -> list[str]:
    """Return some texts of a model, the same each time."""
    if not count:
        return []
    refuse_task(file)
    form = _form_of(file)
    generator = Generator(Network(file.config, file.weights), file.vocab, form)
    found = generator.generate_many(count=count, length=_SAMPLE_CHARS, seed=1)
    return [each.text for each in found]


def _to_json(value: Any, indent: int | None = 2) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=indent) + "\n").encode()
