"""Starting from a model: what its weights become, what they still predict, and what is refused."""

from __future__ import annotations

import math
import shutil
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charrnn.checkpoint.model_file import Arrays, ModelFile, pack_model, read_model, unpack_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.config import ModelConfig, TrainConfig
from charrnn.config.model import BUCKET
from charrnn.data.labels import NO_LABELS
from charrnn.errors import CheckpointError, ConfigError, CorpusError
from charrnn.model.network import CharRNN, load_numpy_state_dict
from charrnn.tasks.eval_text import EvalTextRequest, NamedModel, read_eval_text
from charrnn.tasks.finetune import InitialModel, extend_weights, required_vocab, with_model_shape
from charrnn.tasks.train import Opened, RunReport, start_run
from charrnn.tasks.train_request import TrainRequest, read_request
from charrnn.text.ngrams import NO_CHECK
from charrnn.text.vocab import END, Vocab
from charrnn.training.plan import make_plan

MakeModel = Callable[..., ModelFile]

OLD = "\n abé"  # the alphabet of make_model's models
MORE = st.text(st.characters(codec="utf-8") | st.sampled_from("\0 ac\x7fé中"))
SHAPES = st.fixed_dictionaries(
    {"cell": st.sampled_from(["rnn", "lstm", "gru"]), "tie_embeddings": st.booleans()}
)
OTHER_SHAPE: dict[str, Any] = {
    "cell": "gru",
    "nonlinearity": "relu",
    "hidden_size": 9,
    "num_layers": 3,
    "embedding_size": 8,
    "ngram_order": 3,
    "ngram_rows": 16,
    "tie_embeddings": True,
    "residual": True,
    "initial_state": "learned",
}


def extend(model: ModelFile, vocab: Vocab) -> ModelFile:
    """Return the model with room for `vocab`; the rows of a fresh network are random."""
    config = replace(model.config, vocab_size=vocab.size)
    random = np.random.default_rng(5)
    fresh: Arrays = {
        name: random.normal(size=size).astype(np.float32)
        for name, size in config.weight_shapes().items()
    }
    return replace(
        model, config=config, vocab=vocab, weights=extend_weights(model, vocab, NO_LABELS, fresh)
    )


def logits(model: ModelFile, text: str) -> np.ndarray[Any, Any]:
    """Return what the model says after each character: (N, V) float64."""
    network = CharRNN(model.config)
    load_numpy_state_dict(network, model.weights)
    ids = torch.from_numpy(model.vocab.encode(text).astype(np.int64))[None]
    with torch.no_grad():
        return network(ids)[0][0].double().numpy()


def log_sum_exp(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return ln Σ exp over the last axis."""
    top = values.max(-1)
    return top + np.log(np.exp(values - top[..., None]).sum(-1))


# Weights with room for more


@given(SHAPES, st.booleans())
def test_with_nothing_new_the_weights_are_the_models_bit_for_bit(
    make_model: MakeModel, shape: dict[str, Any], has_bytes: bool
) -> None:
    vocab = Vocab(OLD, has_bytes)
    model = replace(make_model(vocab_size=vocab.size, **shape), vocab=vocab)
    extended = extend(model, vocab)

    assert list(extended.weights) == list(model.weights)
    for name, weight in model.weights.items():
        assert extended.weights[name].tobytes() == weight.tobytes()
        assert extended.weights[name] is not weight


@given(SHAPES, MORE, st.booleans(), st.text(st.sampled_from(OLD), min_size=1, max_size=9))
def test_old_tokens_keep_their_logits_on_old_text_and_new_ones_cost_it_little(
    make_model: MakeModel, shape: dict[str, Any], more: str, has_bytes: bool, text: str
) -> None:
    model = make_model(**shape)
    vocab = model.vocab.union(Vocab.from_text("a" + more)).union(Vocab("a", has_bytes))
    before, after = logits(model, text), logits(extend(model, vocab), text)
    extra_nats = log_sum_exp(after) - log_sum_exp(before)

    np.testing.assert_allclose(after[:, model.vocab.ids_in(vocab)], before, atol=2e-5)
    assert (extra_nats <= math.log(vocab.size / model.vocab.size) + 1e-4).all()


@given(SHAPES, MORE, st.booleans())
def test_a_extended_model_has_every_weight_of_a_network_of_its_size(
    make_model: MakeModel, shape: dict[str, Any], more: str, has_bytes: bool
) -> None:
    model = make_model(**shape)
    extended = extend(model, model.vocab.union(Vocab("".join(sorted({"a", *more})), has_bytes)))

    shapes = {name: weight.shape for name, weight in extended.weights.items()}
    assert shapes == extended.config.weight_shapes()
    assert {weight.dtype for weight in extended.weights.values()} == {np.dtype("f4")}


def test_rows_move_with_their_characters_and_their_bytes(make_model: MakeModel) -> None:
    old = Vocab(OLD, has_bytes=True)
    model = replace(make_model(vocab_size=old.size), vocab=old)
    extended = extend(model, Vocab("\0\n abcé中", has_bytes=True)).weights

    for name in ("embedding.weight", "output.weight", "output.bias"):
        assert np.array_equal(extended[name][[1, 2, 3, 4, 6]], model.weights[name][:5])
        assert np.array_equal(extended[name][8:], model.weights[name][5:])


def test_a_new_token_has_a_fresh_embedding_and_the_mean_of_the_output_rows(
    make_model: MakeModel,
) -> None:
    model, new = make_model(), [0, 3]
    fresh = {"embedding.weight": np.arange(21, dtype=np.float32).reshape(7, 3)}
    extended = extend_weights(model, Vocab("\0\n !abé"), NO_LABELS, fresh)

    assert np.array_equal(extended["embedding.weight"][new], fresh["embedding.weight"][new])
    for name in ("output.weight", "output.bias"):
        expected = np.broadcast_to(model.weights[name].mean(0), extended[name][new].shape)
        np.testing.assert_allclose(extended[name][new], expected, rtol=1e-6)


def test_a_new_token_of_a_tied_table_is_the_mean_of_the_old(make_model: MakeModel) -> None:
    model = make_model(tie_embeddings=True)
    extended = extend(model, Vocab("\n abcé")).weights["embedding.weight"]

    np.testing.assert_allclose(extended[4], model.weights["embedding.weight"].mean(0), rtol=1e-6)


# The shape


def test_a_shape_that_is_not_given_is_the_models(make_model: MakeModel) -> None:
    model = make_model(**OTHER_SHAPE | {"cell": "rnn"}).config
    settings = with_model_shape(
        model, "book", {"seq_len": 7, "dropout": 0.3, "hidden_size": None}, "text"
    )
    plan = make_plan(TrainConfig(steps=3, **settings), vocab_size=12, train_tokens=10_000)

    assert plan.model == replace(model, vocab_size=12, dropout=0.3)
    assert plan.seq_len == 7


@pytest.mark.parametrize(("name", "value"), OTHER_SHAPE.items())
def test_another_shape_is_refused_by_name(make_model: MakeModel, name: str, value: Any) -> None:
    model = make_model().config
    with pytest.raises(ConfigError) as caught:
        with_model_shape(model, "book", {name: value}, "text")

    assert caught.value.message == (
        f"{name} of model 'book' is {getattr(model, name)!r} and cannot become {value!r}; leave "
        f"--{name.replace('_', '-')} out, or train a new model without --init-from"
    )


def test_every_part_of_a_shape_but_vocabulary_and_dropout_is_held_to(make_model: MakeModel) -> None:
    taken = with_model_shape(make_model().config, "book", {}, "text")

    assert taken.keys() | {"initial_state"} == OTHER_SHAPE.keys()  # zero, as it would be anyway
    of_the_text = {"vocab_size", "dropout", "has_end", "label_count", "label_size"}
    of_other_tasks = {"task", "bidirectional", "pooling", "head_size", "class_count"}
    of_other_tasks |= {"transitions", "attention", "target_size"}
    assert OTHER_SHAPE.keys() | of_the_text | of_other_tasks == vars(ModelConfig()).keys()


# What is reported


def test_characters_that_the_model_never_saw_are_named(make_model: MakeModel) -> None:
    initial = InitialModel.of("book", make_model(step=7), Vocab("\n !abzé", has_bytes=True))

    assert (initial.new_characters, initial.has_new_bytes) == ("!z", True)
    assert initial.as_json() == {
        "name": "book",
        "step": 7,
        "corpus_sha256": "0" * 64,
        "new_characters": 2,
    }


@pytest.mark.parametrize("largest", [9, 2**24 - 1])
def test_old_tokens_keep_their_keys_in_n_grams_and_new_ones_get_the_smallest_unused(
    make_model: MakeModel, largest: int
) -> None:
    model = make_model(ngram_order=3, ngram_rows=16)
    model.weights["ngrams.key"][:] = [3, 1, largest, 4, 5]
    vocab = model.vocab.union(Vocab("Zc中"))
    extended = extend(model, vocab)
    keys = dict(zip(vocab.alphabet, extended.weights["ngrams.key"].tolist(), strict=True))

    assert {character: keys[character] for character in OLD} == dict(
        zip(OLD, [3, 1, largest, 4, 5], strict=True)
    )
    assert [keys[character] for character in "Zc中"] == [2, 6, 7]
    read_back = unpack_model(pack_model(extended), "book").weights["ngrams.key"]
    assert np.array_equal(read_back, extended.weights["ngrams.key"])
    for name in ("ngrams.weight", "ngrams.check"):
        assert np.array_equal(extended.weights[name], model.weights[name])
    np.testing.assert_allclose(
        logits(extended, "ab\nabé ab")[:, model.vocab.ids_in(vocab)],
        logits(model, "ab\nabé ab"),
        atol=2e-5,
    )


def test_a_task_without_n_grams_leaves_those_of_the_model_behind_and_says_so(
    make_model: MakeModel,
) -> None:
    model = make_model(ngram_order=3, ngram_rows=16)

    assert InitialModel.of("book", model, model.vocab, "tagging").are_ngrams_dropped
    assert not InitialModel.of("book", model, model.vocab, "text").are_ngrams_dropped
    assert not InitialModel.of("book", make_model(), model.vocab, "tagging").are_ngrams_dropped
    shape = with_model_shape(model.config, "book", {}, "tagging")
    assert not {"ngram_order", "ngram_rows"} & shape.keys()


def test_a_model_without_n_grams_gives_a_run_for_text_none(make_model: MakeModel) -> None:
    plain = make_model()
    model = make_model(ngram_order=3, ngram_rows=16)

    assert InitialModel.of("plain", plain, plain.vocab).lacks_ngrams
    assert not InitialModel.of("plain", plain, plain.vocab, "tagging").lacks_ngrams
    assert not InitialModel.of("book", model, model.vocab).lacks_ngrams
    shape = with_model_shape(plain.config, "plain", {}, "text")
    assert not make_plan(TrainConfig(steps=3, **shape), 5, train_tokens=10_000).model.ngram_rows


def test_a_run_takes_the_n_grams_of_its_model_and_may_ask_for_no_others(
    make_model: MakeModel,
) -> None:
    config = make_model(ngram_order=3, ngram_rows=16).config
    shape = with_model_shape(config, "book", {"ngram_order": None, "ngram_rows": 16}, "text")

    assert (shape["ngram_order"], shape["ngram_rows"]) == (3, 16)
    with pytest.raises(ConfigError, match="ngram_order of model 'book' is 3 and cannot become 5"):
        with_model_shape(config, "book", {"ngram_order": 5}, "text")
    with pytest.raises(ConfigError, match="ngram_order of model 'plain' is 1 and cannot become 5"):
        with_model_shape(make_model().config, "plain", {"ngram_order": 5}, "text")
    with pytest.raises(ConfigError, match="ngram_rows of model 'plain' is 0 and cannot become 8"):
        with_model_shape(make_model().config, "plain", {"ngram_rows": 8}, "text")


def test_a_decay_of_n_grams_is_refused_where_the_model_has_none(make_model: MakeModel) -> None:
    decay = {"weight_decay_ngrams": 0.5}
    with pytest.raises(ConfigError, match="'plain' has no n-grams, so weight_decay_ngrams"):
        with_model_shape(make_model().config, "plain", decay, "text")

    config = make_model(ngram_order=3, ngram_rows=16).config
    assert with_model_shape(config, "book", decay, "text")["weight_decay_ngrams"] == 0.5


def test_a_run_can_start_from_a_file_without_a_training_summary(
    make_model: MakeModel,
) -> None:
    model = replace(make_model(), summary={})
    initial = InitialModel.of("book", model, model.vocab)

    assert (initial.step, initial.corpus_sha256, initial.new_characters) == (None, None, "")


def test_only_a_run_that_started_from_a_model_may_know_more_than_its_text(
    make_model: MakeModel,
) -> None:
    model = make_model()

    assert required_vocab(model) is None
    assert required_vocab(replace(model, summary={"init_from": {}})) == model.vocab


# Whole runs

SMALL: dict[str, Any] = {
    "seq_len": 5,
    "batch_size": 2,
    "precision": "fp32",
    "threads": 1,
    "patience": 0,
    "dropout": 0.1,
}
STILL = {"steps": 1, "learning_rate": 1e-12}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two texts and the run `book`, trained on the first."""
    folder = tmp_path_factory.mktemp("trained")
    for name, alphabet in (("book", "abcdé \n"), ("song", "abcZ中 \n")):
        letters = np.random.default_rng(3).choice(list(alphabet), 1000)
        (folder / f"{name}.txt").write_text("".join(letters), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("CHARRNN_CACHE", str(folder / "cache"))
        run("book.txt", steps=20, hidden_size=6, embedding_size=3, ngram_rows=400)
    return folder


@pytest.fixture
def book(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelFile:
    """Go to a copy of that folder and give the run's model."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return model_of("book")


def run(*corpus: str, stop: int | None = None, **settings: Any) -> list[RunReport]:
    """Train to the end, or for `stop` steps."""
    calls: Iterator[int] = iter(range(1, 10**9))
    base = {"threads": 1} if "resume" in settings else SMALL
    should_stop = (lambda: next(calls) >= stop) if stop else (lambda: False)
    return list(start_run(corpus, {**base, **settings}, should_stop=should_stop))


def model_of(name: str) -> ModelFile:
    """Return a run's best model."""
    return read_model(RunFolder(Path("checkpoints", name)).best)


def request(**settings: Any) -> TrainRequest:
    """Return what a run on song.txt is asked for."""
    return read_request(["song.txt"], settings)


def test_a_run_that_hardly_moves_has_the_weights_and_the_loss_that_it_started_from(
    book: ModelFile,
) -> None:
    run("book.txt", name="still", init_from="book", **STILL)
    still = model_of("still")

    for name, weight in book.weights.items():
        np.testing.assert_allclose(still.weights[name], weight, atol=1e-7)
    assert still.summary["val_nats"] == pytest.approx(book.summary["val_nats"], rel=1e-6)


def test_a_run_on_another_text_has_the_tokens_of_both_and_the_old_rows(book: ModelFile) -> None:
    opened = run("song.txt", init_from="book", **STILL)[1]
    song = model_of("song")
    ids = book.vocab.ids_in(song.vocab)

    assert song.vocab.alphabet == "\n Zabcdé中"
    assert isinstance(opened, Opened)
    assert opened.initial_model is not None
    assert opened.initial_model.new_characters == "Z中"
    for name in ("embedding.weight", "output.weight", "output.bias", "ngrams.key"):
        np.testing.assert_allclose(song.weights[name][ids], book.weights[name], atol=1e-7)
    old = book.weights["ngrams.check"].reshape(-1, BUCKET)
    new = song.weights["ngrams.check"].reshape(-1, BUCKET)
    assert (old == NO_CHECK).any()
    assert np.array_equal(new[old != NO_CHECK], old[old != NO_CHECK])
    assert (new != NO_CHECK).sum() > (old != NO_CHECK).sum()


def test_the_file_names_the_model_that_it_started_from(book: ModelFile) -> None:
    run("song.txt", init_from="book", **STILL)

    assert model_of("song").summary["init_from"] == {
        "name": "book",
        "step": book.summary["step"],
        "corpus_sha256": book.summary["corpus"]["sha256"],
        "new_characters": 2,
    }
    assert "init_from" not in book.summary


def test_characters_rarer_than_min_count_become_bytes_unless_the_model_knows_them(
    book: ModelFile,
) -> None:
    Path("song.txt").write_text("ab" * 500 + "éZ" + "ab" * 100, encoding="utf-8")
    run("song.txt", init_from="book", min_count=2, **STILL)
    vocab = model_of("song").vocab

    assert vocab == Vocab(book.vocab.alphabet, has_bytes=True)


def test_a_run_cut_off_and_resumed_keeps_its_larger_vocabulary_and_origin(
    book: ModelFile,
) -> None:
    run("song.txt", init_from="book", name="uncut", steps=12, eval_every=4)
    run("song.txt", init_from="book", name="cut", steps=12, eval_every=4, stop=6)
    run(resume="cut")
    cut, uncut = model_of("cut"), model_of("uncut")

    assert cut.vocab == uncut.vocab
    assert cut.summary["init_from"] == uncut.summary["init_from"]
    for name, weight in uncut.weights.items():
        assert np.array_equal(cut.weights[name], weight)
    settings = tomllib.loads(Path("checkpoints/cut/config.toml").read_text("utf-8"))
    assert settings["init_from"] == "book"


def test_the_settings_of_a_run_make_it_again(book: ModelFile) -> None:
    run("song.txt", init_from="book", name="one", steps=4)
    settings = tomllib.loads(Path("checkpoints/one/config.toml").read_text("utf-8"))
    corpus = settings.pop("corpus")
    list(start_run(corpus, settings | {"name": "two", "on_unfinished": "new"}))

    one, two = model_of("one"), model_of("two")
    assert all(np.array_equal(one.weights[name], two.weights[name]) for name in one.weights)


@pytest.mark.parametrize("name", ["book", "checkpoints/book", "checkpoints/book/best.safetensors"])
def test_a_model_is_named_by_its_run_its_folder_or_its_file(book: ModelFile, name: str) -> None:
    initial = request(init_from=name).initial

    assert initial is not None
    assert all(np.array_equal(initial.weights[key], book.weights[key]) for key in book.weights)


def test_a_request_has_the_models_shape_among_its_settings(book: ModelFile) -> None:
    asked = request(init_from="book", hidden_size=6, learning_rate=0.5)

    assert (asked.train.hidden_size, asked.train.embedding_size) == (6, 3)
    assert (asked.train.learning_rate, asked.train.dropout) == (0.5, None)
    assert asked.known_vocab == book.vocab


def test_another_shape_is_refused_before_anything_is_made(book: ModelFile) -> None:
    with pytest.raises(ConfigError, match="hidden_size of model 'book' is 6 and cannot become 7"):
        run("song.txt", init_from="book", hidden_size=7, steps=1)

    assert not Path("checkpoints/song").exists()


@pytest.mark.parametrize(
    ("model_end", "asked", "end"),
    [(None, {}, None), ("b", {}, "b"), ("b", {"document_end": "a"}, "a")],
)
def test_documents_end_as_those_of_the_model_unless_given_another_end(
    book: ModelFile, model_end: str | None, asked: dict[str, str], end: str | None
) -> None:
    run("book.txt", name="base", init_from="book", document_end=model_end, **STILL)
    run("song.txt", init_from="base", **asked, **STILL)
    song = model_of("song")
    text_read = read_eval_text([NamedModel("song", song)], EvalTextRequest())

    assert song.summary["settings"]["document_end"] == end
    scored = song.vocab.decode(text_read.ids)
    if end is None:
        assert scored.endswith(Path("song.txt").read_text("utf-8")[-9:])
    else:
        assert scored.startswith(END)
        assert scored.endswith(END)
        assert end not in scored


@pytest.mark.parametrize("name", ["book", "song"])
def test_a_run_that_is_resumed_starts_from_no_other_model(book: ModelFile, name: str) -> None:
    with pytest.raises(ConfigError, match="init_from of run 'book' is not set and cannot change"):
        run(resume="book", init_from=name)


def test_a_model_that_is_not_there_is_refused_by_name(book: ModelFile) -> None:
    with pytest.raises(CheckpointError, match=r"no run or model file 'bok'.*did you mean 'book'"):
        request(init_from="bok")


def test_a_model_starts_no_run_without_a_text(book: ModelFile) -> None:
    with pytest.raises(ConfigError, match="no corpus is given"):
        read_request([], {"init_from": "book"})


def test_a_model_name_that_is_not_utf_8_is_refused(book: ModelFile) -> None:
    with pytest.raises(CorpusError, match="is not valid UTF-8"):
        request(init_from="b\udcff")


def test_the_text_of_a_run_that_started_from_a_model_is_found_again(book: ModelFile) -> None:
    run("song.txt", init_from="book", **STILL)
    song = model_of("song")
    text_read = read_eval_text([NamedModel("song", song)], EvalTextRequest())

    text = Path("song.txt").read_text("utf-8")
    assert song.vocab.decode(text_read.ids) == text[-song.summary["corpus"]["val_chars"] :]
