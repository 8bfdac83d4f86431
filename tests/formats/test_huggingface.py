"""A Hugging Face folder: what other programs read in it, and what it must not tell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

import charrnn
from charrnn.checkpoint.model_file import ModelFile, model_digest, pack_model, read_model
from charrnn.checkpoint.public import without_private
from charrnn.checkpoint.run_folder import SHARED
from charrnn.config import ModelConfig
from charrnn.config.export import ExportConfig
from charrnn.errors import ConfigError, ExportError
from charrnn.formats.card import is_unedited
from charrnn.formats.huggingface import (
    CARD,
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    make_huggingface,
    verify_huggingface,
)
from charrnn.formats.tokenizer_json import make_tokenizer
from charrnn.generation.text_format import TextFormat
from charrnn.storage import write_atomically
from charrnn.tasks.export import export
from charrnn.text.vocab import END, Vocab
from tests.formats.models import with_ngrams
from tests.generation.random_models import random_weights
from tests.generation.record_models import WHO, make_records_file
from tests.generation.task_models import KINDS, make_task_file


def vocab_of(alphabet: str, **kinds: Any) -> Vocab:
    """Return a vocabulary; the characters and clusters may be given in any order."""
    clusters = tuple(sorted(kinds.pop("clusters", ())))
    return Vocab("".join(sorted(alphabet)), clusters=clusters, **kinds)


FAMILY = "👨\u200d👩\u200d👧"
VOCABS = {
    "letters": vocab_of("\n abc"),
    "bytes": vocab_of("\n aé中", has_bytes=True),
    "binary": Vocab.of_bytes(),
    "records": vocab_of("\n abcé", has_end=True),
    "signs": vocab_of("\t\n !\"#$%&'()*+,-./<>[\\]^_{|}"),
    "chinese": vocab_of("\n 。中国文詩", has_bytes=True, has_end=True),
    "emoji": vocab_of("\n 👍\u200d👧👨👩😀", has_bytes=True),
    "clusters": vocab_of("\n a\u0301e\u200d👧👨👩", clusters=("a\u0301", FAMILY, "e\u0301")),
    "both": vocab_of(
        "\n.a\u0301e\u0308", has_bytes=True, has_end=True, clusters=("a\u0301", "e\u0301\u0308")
    ),
}
SECRETS = ("/home/ada/secret", "C:\\Users\\ada", "/srv/held-out", "parents-run", "Dear Bob")


def make_file(vocab: Vocab | None = None, **shape: Any) -> ModelFile:
    """Return a model with random weights that was trained on files in private places."""
    vocab = vocab or Vocab("\n abé")
    sizes = {"embedding_size": 3, "hidden_size": 4, "num_layers": 2, "has_end": vocab.has_end}
    config = ModelConfig(vocab_size=vocab.size, **(sizes | shape))
    asked = {"val_file": "/srv/held-out/val.txt", "init_from": "/home/ada/secret/parents-run"}
    asked |= {"sample_prompt": "Dear Bob"}
    paths = ["/home/ada/secret/book.txt", "C:\\Users\\ada\\book.txt"]
    summary = {
        "step": 7,
        "val_nats": 1.5,
        "val_bpc": 2.164,
        "val_windowed_bpc": 2.25,
        "elapsed_seconds": 61.0,
        "val_by_source_nats": dict.fromkeys(paths, 1.5),
        "baselines_bpc": {"gzip": 3.5},
        "corpus": {
            "name": "book: a *tale*",
            "paths": paths,
            "sha256": "0" * 64,
            "held_out": "the file /srv/held-out/val.txt",
            "train_chars": 1234,
            "val_chars": 123,
        },
        "settings": asked | {"lowercase": True, "notes": "/home/ada/secret"},
        "resolved": asked | {"learning_rate": 0.004, "seed": 1},
        "init_from": {"name": "/home/ada/secret/parents-run", "step": 3},
        "created": "2031-02-03T04:05:06+00:00",
        "host": "/home/ada/secret",
    }
    progress = {"step": 7}
    training = {"moments": np.arange(6.0)}
    return ModelFile(config, vocab, random_weights(config, 5, 1.0), summary, training, progress)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a model, exported and verified."""
    path = tmp_path / "private" / "best.safetensors"
    write_atomically(path, pack_model(make_file()))
    export(str(path), "hf", str(tmp_path / "book"), checkpoints=tmp_path)
    return tmp_path / "book"


@pytest.mark.parametrize("vocab", VOCABS.values(), ids=VOCABS)
def test_the_tokenizer_gives_our_ids_and_their_text_back(vocab: Vocab, tmp_path: Path) -> None:
    file = make_file(vocab)
    for name, content in make_huggingface(file, "book", ExportConfig()).items():
        write_atomically(tmp_path / name, content)

    verified = verify_huggingface(tmp_path, [], file, ExportConfig(verify_chars=20))

    assert verified.chars > 20


@settings(max_examples=80)
@given(text=st.text(), name=st.sampled_from(["bytes", "chinese", "emoji", "both"]))
def test_any_text_has_the_same_ids(text: str, name: str) -> None:
    vocab = VOCABS[name]
    tokenizer = Tokenizer.from_str(json.dumps(make_tokenizer(vocab, TextFormat())))

    assert tokenizer.encode(text).ids == vocab.encode(text).tolist()


@pytest.mark.parametrize("normalize", ["none", "nfc", "nfkc"])
def test_the_tokenizer_reads_capitals_and_forms_as_the_model_does(normalize: str) -> None:
    form = TextFormat(normalize, lowercase=True)
    vocab = vocab_of("\n aeéfisοδσ", has_bytes=True)
    tokenizer = Tokenizer.from_str(json.dumps(make_tokenizer(vocab, form)))

    for text in ("A SAFE SEA", "E\u0301É", "ﬁſ ΟΔΟΣ Σ", "İK"):
        assert tokenizer.encode(text).ids == vocab.encode(form.normalized(text)).tolist()


@pytest.mark.parametrize("name", [TOKENIZER, "target_tokenizer.json"])
def test_a_tokenizer_that_leaves_capitals_is_refused(name: str, tmp_path: Path) -> None:
    file = make_task_file("seq2seq") if name != TOKENIZER else make_file()
    file = replace(file, summary=file.summary | {"settings": {"lowercase": True}})
    for each, content in make_huggingface(file, "book", ExportConfig()).items():
        write_atomically(tmp_path / each, content)
    tokenizer = json.loads((tmp_path / name).read_text(encoding="utf-8"))
    write_atomically(tmp_path / name, json.dumps(tokenizer | {"normalizer": None}))

    with pytest.raises(ExportError, match=name):
        verify_huggingface(tmp_path, [], file, ExportConfig(verify_chars=20))


def test_an_unknown_character_is_an_error_to_the_tokenizer_too() -> None:
    tokenizer = Tokenizer.from_str(json.dumps(make_tokenizer(Vocab("ab"), TextFormat())))

    with pytest.raises(Exception, match="Missing"):
        tokenizer.encode("abc")


def test_the_end_of_a_record_is_a_special_token() -> None:
    vocab = Vocab("<>den", has_end=True)
    tokenizer = Tokenizer.from_str(json.dumps(make_tokenizer(vocab, TextFormat())))

    assert tokenizer.encode(f"<end>{END}").ids[-2:] == [vocab.encode(">")[0], vocab.end]
    assert tokenizer.decode([vocab.end]) == ""


def test_a_foreign_reader_finds_the_weights(folder: Path) -> None:
    with safetensors.safe_open(folder / WEIGHTS, "numpy") as weights:  # type: ignore[no-untyped-call]
        assert weights.metadata() == {"format": "pt"}
        found = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118

    expected = make_file().weights
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], array) for name, array in expected.items())


def test_the_config_has_every_field_of_the_network(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())

    assert config["model_type"] == "charrnn"
    assert config["architectures"] == ["CharRNNForCausalLM"]
    assert {key: config[key] for key in ("hidden_size", "cell")} == {
        "hidden_size": 4,
        "cell": "lstm",
    }
    assert (config["lowercase"], config["charrnn_version"]) == (True, charrnn.__version__)
    assert config["weights_sha256"] == model_digest(make_file()).hex()


def test_ngrams_are_in_the_weights_the_config_and_the_card(tmp_path: Path) -> None:
    file = with_ngrams(make_file(), order=3)
    files = make_huggingface(file, "book", ExportConfig())
    for name, content in files.items():
        write_atomically(tmp_path / name, content)
    verify_huggingface(tmp_path, [], file, ExportConfig(verify_chars=20))

    config = json.loads(files[CONFIG])
    assert (config["ngram_order"], config["ngram_rows"]) == (3, 28)
    assert safetensors.numpy.load(files[WEIGHTS])["ngrams.weight"].shape == (28, 3)
    card = files[CARD].decode()
    assert "2 × 4 units, n-grams of up to 3," in card
    assert "must add them" in card


def test_a_folder_without_ngrams_does_not_mention_them(folder: Path) -> None:
    for name in (CONFIG, CARD):
        assert b"ngram" not in (folder / name).read_bytes(), name
        assert b"n-gram" not in (folder / name).read_bytes(), name


def test_charrnn_opens_the_folder_and_writes_the_same(folder: Path, tmp_path: Path) -> None:
    texts = [
        "".join(charrnn.load(each).generate(seed=3, length=50))
        for each in (folder, tmp_path / "private" / "best.safetensors")
    ]

    assert texts[0] == texts[1]
    assert charrnn.describe(folder)["can_resume"] is False


def files_in(folder: Path) -> Iterator[tuple[str, bytes]]:
    yield from ((path.name, path.read_bytes()) for path in sorted(folder.iterdir()))


def test_no_file_tells_a_path(folder: Path) -> None:
    whole = pack_model(make_file())
    for secret in SECRETS:
        assert json.dumps(json.dumps(secret)[1:-1])[1:-1].encode() in whole
    for name, content in files_in(folder):
        for secret in SECRETS:
            for spelled in (secret, json.dumps(secret)[1:-1], json.dumps(json.dumps(secret))[3:-3]):
                assert spelled.encode() not in content, name


def test_what_is_public_keeps_the_model_and_its_figures() -> None:
    file = make_file()
    public = without_private(file)

    assert model_digest(public) == model_digest(file)
    assert (public.training, public.progress) == ({}, None)
    assert public.summary["val_bpc"] == 2.164
    assert public.summary["corpus"]["held_out"] == "the file val.txt"
    assert public.summary["corpus"]["paths"] == []
    assert public.summary["val_by_source_nats"] == {"book.txt": 1.5, "book.txt (2)": 1.5}
    assert public.summary["resolved"] == {
        "val_file": None,
        "sample_prompt": None,
        "learning_rate": 0.004,
        "seed": 1,
    }
    assert public.summary["init_from"] == {"step": 3}
    assert without_private(public) == public


def test_how_a_text_is_read_is_public() -> None:
    asked = {"document_end": "--", "normalize": "nfc", "cell": "gru", "skip": True, "min_count": 3}
    file = replace(make_file(), summary={"settings": asked | {"target_file": "/srv/a.txt"}})

    assert without_private(file).summary["settings"] == asked | {"target_file": None}


def test_the_hub_reads_the_card(folder: Path) -> None:
    card = ModelCard.load(folder / CARD)

    assert card.data.library_name == "charrnn"
    assert card.data.pipeline_tag == "text-generation"
    assert (card.data.license, card.data.language) == (None, None)
    figures = [(each.dataset_name, each.metric_value) for each in card.data.eval_results]
    assert figures == [("book: a *tale*", 2.164), ("book: a *tale*", 2.25)]
    assert "the file val.txt (123 characters)" in card.text
    assert "7 steps in 61 seconds" in card.text
    assert "## Samples" not in card.text


def test_a_card_names_licence_language_and_samples_where_they_are_asked_for() -> None:
    config = ExportConfig(licence="MIT", language="en, zh", card_samples=2)
    content = make_huggingface(make_file(), "ada/book", config)[CARD].decode()
    card = ModelCard(content)

    assert (card.data.license, card.data.language) == ("mit", ["en", "zh"])
    assert 'charrnn.load("hf://ada/book")' in card.text
    samples = card.text.split("## Samples")[1]
    assert samples.count("    ") >= 2


def test_an_edited_card_is_told_from_ours() -> None:
    card = make_huggingface(make_file(), "book", ExportConfig())[CARD]

    assert is_unedited(card)
    assert not is_unedited(card.replace(b"# book", b"# My book"))
    assert not is_unedited(card + b"More.\n")
    assert not is_unedited(b"")


@pytest.mark.parametrize("kind", KINDS)
def test_other_tasks_have_a_folder_too(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    file = make_task_file(kind)
    write_atomically(path, pack_model(file))

    export(str(path), "huggingface", str(tmp_path / "hf"), checkpoints=tmp_path)

    config = json.loads((tmp_path / "hf" / CONFIG).read_text())
    assert config["task"] == file.config.task
    if file.config.class_count:
        assert config["id2label"]["0"] == file.labels.columns[0].values[0]
    assert model_digest(read_model(tmp_path / "hf" / SHARED)) == model_digest(file)
    ModelCard.load(tmp_path / "hf" / CARD)


def test_labels_are_named_in_the_config(tmp_path: Path) -> None:
    files = make_huggingface(make_records_file(labels=(WHO,)), "play", ExportConfig())

    assert json.loads(files[CONFIG])["labels"] == {"who": ["ROMEO", "JULIET"]}


@pytest.mark.parametrize("name", [WEIGHTS, TOKENIZER, SHARED])
def test_a_folder_that_is_not_the_model_is_refused(name: str, tmp_path: Path) -> None:
    file = make_file()
    other = replace(file, weights=random_weights(file.config, 6, 1.0), vocab=vocab_of("\n aâc"))
    files = make_huggingface(file, "book", ExportConfig())
    for each, content in files.items():
        write_atomically(tmp_path / each, content)
    write_atomically(tmp_path / name, make_huggingface(other, "book", ExportConfig())[name])

    with pytest.raises(ExportError):
        verify_huggingface(tmp_path, [], file, ExportConfig(verify_chars=20))


def test_weights_are_written_as_they_are_or_not_at_all() -> None:
    with pytest.raises(ConfigError, match="not as int8; leave dtype out"):
        make_huggingface(make_file(), "book", ExportConfig(dtype="int8"))
