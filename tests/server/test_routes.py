from __future__ import annotations

import base64
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.server.routes import embed, fill, predict, score, tokens
from charrnn.server.service import Watch
from charrnn.tasks.model import Model
from charrnn.tasks.predict import iter_predictions
from charrnn.tasks.predictions import PredictRequest
from charrnn.tasks.score import ScoredText
from tests.generation.record_models import WHO, YEAR, make_records_file
from tests.generation.task_models import make_task_file
from tests.server.asgi import Client, serving


@pytest.fixture(scope="module")
def files(make_model: Callable[..., ModelFile]) -> dict[str, ModelFile]:
    return {
        "book": make_model(),
        "names": make_records_file(),
        "play": make_records_file(labels=(WHO,)),
        "two": make_records_file(labels=(WHO, YEAR)),
        "kinds": make_task_file("classification"),
        "cases": make_task_file("tagging"),
        "xyz": make_task_file("seq2seq"),
    }


@pytest.fixture(scope="module")
def client(files: dict[str, ModelFile]) -> Iterator[Client]:
    with serving(files, max_prompt=5000, max_chars=2000) as found:
        yield found


def ok(client: Client, path: str, **body: Any) -> Any:
    answer = client.post(path, body)
    assert answer.status == 200, answer.body
    return answer.json


def refused(client: Client, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(path, body)
    assert answer.status == 400, answer.body
    return answer.error


# Models


def test_a_model_that_cannot_answer_is_named_with_those_that_can(client: Client) -> None:
    can = "name one of these as model"
    for model in ({}, {"model": "book"}):  # the first one
        error = refused(client, "/v1/classify", input="ab", **model)
        assert error["param"] == "model"
        assert error["message"] == (
            f"book writes text, and was trained without labels; {can}: play, two, kinds; or use "
            "POST /v1/completions"
        )
    assert refused(client, "/v1/convert", input="ab", model="play")["message"] == (
        f"play is a model for text; {can}: cases, xyz; or use POST /v1/classify"
    )


def test_without_another_model_only_the_route_is_named(files: dict[str, ModelFile]) -> None:
    with serving({"xyz": files["xyz"]}) as client:
        error = refused(client, "/v1/classify", input="ab")
    assert error["message"] == "xyz is a model for seq2seq; use POST /v1/convert"


# Fields


@pytest.mark.parametrize(
    ("path", "model", "given", "meant"),
    [
        ("/v1/completions", "book", "max_completion_tokens", "max_tokens"),
        ("/v1/completions", "book", "messages", "prompt"),
        ("/v1/convert", "xyz", "text", "input"),
        ("/v1/classify", "kinds", "text", "input"),
        ("/v1/score", "book", "input", "text"),
        ("/v1/fill", "book", "prompt", "text"),
        ("/v1/embeddings", "book", "prompt", "input"),
        ("/tokenize", "book", "text", "prompt"),
    ],
)
def test_a_field_of_another_route_is_told_the_name_that_it_has_here(
    client: Client, path: str, model: str, given: str, meant: str
) -> None:
    error = refused(client, path, model=model, **{given: "ab"})

    assert error["message"] == f'there is no field "{given}"; it is {meant!r} here'
    assert error["param"] == given


# Scores


@pytest.mark.parametrize("name", ["book", "names", "play"])
@pytest.mark.parametrize("text", ["ab\nba é ab\n", "a" * 3000, "bba\n\nab", "axbyé"])
def test_a_score_is_that_of_the_library(
    client: Client, files: dict[str, ModelFile], name: str, text: str, tmp_path: Any
) -> None:
    found = ok(client, "/v1/score", model=name, text=text)
    if "x" not in text:
        scores = Model(files[name]).score(text)
        assert found["bpc"] == pytest.approx(scores.bpc, abs=1e-12)
        assert found["costs"] == pytest.approx(scores.bits.tolist(), abs=1e-6)
        assert found["bits_per_byte"] == pytest.approx(scores.bits_per_byte, abs=1e-12)
    assert len(found["characters"]) == len(found["costs"])
    assert found["bits"] == pytest.approx(found["bpc"] * found["chars"])


def test_a_score_has_the_figures_of_the_command(
    client: Client, files: dict[str, ModelFile], tmp_path: Any
) -> None:
    from charrnn.checkpoint.model_file import pack_model

    path = tmp_path / "book.safetensors"
    path.write_bytes(pack_model(files["book"]))
    scored = ScoredText(path, "ab x éa\nbyb")
    for _ in scored.lines():
        pass
    figures = scored.figures()
    found = ok(client, "/v1/score", model="book", text="ab x éa\nbyb")

    for name in ("chars", "bits", "bpc", "bits_per_byte", "perplexity", "unseen_chars"):
        assert found[name] == pytest.approx(figures[name], abs=1e-12), name
    for name in ("unseen_bits", "bpc_with_unseen"):
        assert found[name] == pytest.approx(figures[name], abs=1e-9), name
    assert found["unseen"] == [3, 9]


def test_a_score_counts_the_ends_of_records(client: Client) -> None:
    found = ok(client, "/v1/score", model="names", text="ab")

    assert found["given"] == 0
    assert found["characters"] == ["a", "b", "\n"]  # which ends the record
    assert found["chars"] == len(found["costs"]) == 3


def test_a_label_changes_the_score(client: Client, files: dict[str, ModelFile]) -> None:
    plain = ok(client, "/v1/score", model="play", text="abba")
    romeo = ok(client, "/v1/score", model="play", text="abba", label="who=ROMEO")

    assert romeo["bpc"] == pytest.approx(Model(files["play"], ["who=ROMEO"]).score("abba").bpc)
    assert romeo["bpc"] != pytest.approx(plain["bpc"], abs=1e-6)
    assert (
        "NOBODY"
        in refused(client, "/v1/score", model="play", text="ab", label="who=NOBODY")["message"]
    )


@pytest.mark.parametrize("name", ["book", "play"])
def test_a_score_names_the_likeliest_in_each_place(client: Client, name: str) -> None:
    found = ok(client, "/v1/score", model=name, text="abx\né ab", top=3)

    assert len(found["top"]) == len(found["characters"])
    pairs = zip(found["characters"], found["costs"], found["top"], strict=True)
    for place, (char, bits, top) in enumerate(pairs):
        if char == "x" or (place == 0 and name == "book"):
            assert top is None
            continue
        assert [each["bits"] for each in top] == sorted(each["bits"] for each in top)
        name_of = {"\n": "<end>"} if name == "play" else {}
        named = {each["text"]: each["bits"] for each in top}
        assert len(named) == 3
        own = named.get(name_of.get(char, char))
        assert own is None or own == pytest.approx(bits, abs=1e-5)
    assert refused(client, "/v1/score", model=name, text="ab", top=101)["param"] == "top"


def test_labels_are_given_in_all_forms_that_completions_take(client: Client) -> None:
    for path, body in (("/v1/score", {"text": "abba"}), ("/v1/fill", {"text": "a_b"})):
        given = {"model": "play", **body}
        expected = ok(client, path, **given, label="who=ROMEO")
        for labels in (["who=ROMEO"], {"who": "ROMEO"}, "ROMEO"):
            assert ok(client, path, **given, labels=labels) == expected
        for value in (5, [5], True):
            assert refused(client, path, **given, labels=value)["param"] == "labels"
        error = refused(client, path, **given, label="ROMEO", labels="JULIET")
        assert "the same" in error["message"]


def test_the_likeliest_are_those_of_the_label(client: Client) -> None:
    given = {"model": "play", "text": "abba", "top": 1}
    romeo = ok(client, "/v1/score", **given, label="who=ROMEO")
    assert romeo["top"] != ok(client, "/v1/score", **given)["top"]


def test_what_cannot_be_scored_is_refused(client: Client) -> None:
    assert refused(client, "/v1/score", model="book")["param"] == "text"
    assert refused(client, "/v1/score", model="book", text=5)["param"] == "text"
    assert refused(client, "/v1/score", model="book", text=["ab"])["param"] == "text"
    assert "2 are needed" in refused(client, "/v1/score", model="book", text="a")["message"]
    assert "2 are needed" in refused(client, "/v1/score", model="book", text="xyz")["message"]
    assert refused(client, "/v1/score", model="book", text="ab", unknown="?")["param"] == "unknown"
    end = refused(client, "/v1/score", model="names", text="a\U0010ffff")
    assert "U+10FFFF" in end["message"]
    assert "2 are needed" in refused(client, "/v1/score", text="\U0010ffff")["message"]
    unseen = refused(client, "/v1/score", model="book", text="abx", unknown="error")
    assert "U+0078" in unseen["message"]
    long = refused(client, "/v1/score", model="book", text="a" * 5001)
    assert long["code"] == "context_length_exceeded"
    assert refused(client, "/v1/score", model="book", txt="ab")["param"] == "txt"
    wrong = refused(client, "/v1/score", model="kinds", text="ab")
    assert "/v1/classify" in wrong["message"]


# Fillings


def test_a_filling_is_that_of_the_library(client: Client, files: dict[str, ModelFile]) -> None:
    filling = Model(files["book"]).fill("a_b*a", max_gap=2, count=3)
    found = ok(client, "/v1/fill", model="book", text="a_b*a", max_gap=2, count=3)

    assert [each["text"] for each in found["completions"]] == [e.text for e in filling.completions]
    assert [each["bits"] for each in found["completions"]] == pytest.approx(
        [each.bits for each in filling.completions]
    )
    assert found["exact"] == filling.is_exact
    assert all(each["filled"][0] == each["text"][1] for each in found["completions"])


def test_a_sampled_filling_is_told_its_seed(client: Client) -> None:
    given = {"model": "book", "text": "a__b", "sample": True, "beam_width": 9}
    first = ok(client, "/v1/fill", **given)
    again = ok(client, "/v1/fill", **given, seed=first["seed"])

    assert again["completions"] == first["completions"]


def test_what_cannot_be_filled_is_refused(client: Client) -> None:
    for name, value in (("beam_width", 501), ("count", 101), ("max_gap", 201), ("blank", "ab")):
        body = {"model": "book", "text": "a_b", name: value}
        assert refused(client, "/v1/fill", **body)["param"] == name
    assert "only" in refused(client, "/v1/fill", model="book", text="a_b", only=["x"])["message"]
    assert refused(client, "/v1/fill", model="book", text="_" * 2001)["param"] == "text"
    assert refused(client, "/v1/fill", model="book", text="ab")["message"]
    clash = refused(client, "/v1/fill", model="book", text="a_b", seed=-1)
    assert (clash["param"], clash["message"][:5]) == ("seed", "seed ")


# Predictions


def test_labels_are_those_of_the_library(client: Client, files: dict[str, ModelFile]) -> None:
    texts = ["ab", "bb a", "", "é" * 50]
    for name in ("kinds", "play"):
        wanted = PredictRequest(top=2, threshold=0.5)
        predictions = [*iter_predictions(files[name], texts, wanted)]
        found = ok(client, "/v1/classify", model=name, input=texts, top=2, threshold=0.5)["data"]
        assert [each["label"] for each in found] == [each.label for each in predictions]
        assert [each["index"] for each in found] == [0, 1, 2, 3]
        for one, other in zip(found, predictions, strict=True):
            assert one["probability"] == pytest.approx(other.probability)
            assert [each["label"] for each in one["top"]] == [label for label, _ in other.top]


def test_one_text_or_many_may_be_given(client: Client) -> None:
    one = ok(client, "/v1/classify", model="kinds", input="ab")["data"]
    many = ok(client, "/v1/classify", model="kinds", input=["ab"] * 40)["data"]

    assert len(many) == 40
    assert many[39]["label"] == one[0]["label"]


def test_a_column_of_several_must_be_named(client: Client) -> None:
    message = refused(client, "/v1/classify", model="two", input="ab")["message"]
    assert "'who'" in message
    assert "'year'" in message
    found = ok(client, "/v1/classify", model="two", input="ab", column="year")["data"]
    assert found[0]["label"] in YEAR.values


@pytest.mark.parametrize("name", ["cases", "xyz"])
def test_conversions_are_those_of_the_library(
    client: Client, files: dict[str, ModelFile], name: str
) -> None:
    texts = ["ab", "b a b", "éé"]
    predictions = [*iter_predictions(files[name], texts)]
    found = ok(client, "/v1/convert", model=name, input=texts)["data"]

    assert [each["text"] for each in found] == [each.label for each in predictions]
    if name == "cases":
        assert [each["tags"] for each in found] == [[*each.tags] for each in predictions]
    else:
        assert found[0]["top"][0]["text"] == found[0]["text"]


def test_each_task_has_its_own_route(client: Client) -> None:
    wrong = [
        ("/v1/classify", "cases", "/v1/convert"),
        ("/v1/classify", "xyz", "/v1/convert"),
        ("/v1/convert", "kinds", "/v1/classify"),
        ("/v1/convert", "play", "/v1/classify"),
    ]
    for path, name, right in wrong:
        error = refused(client, path, model=name, input="ab")
        assert error["param"] == "model"
        assert right in error["message"]
    for name, right in (("kinds", "/v1/classify"), ("cases", "/v1/convert"), ("xyz", "convert")):
        error = refused(client, "/v1/completions", model=name, prompt="ab")
        assert right in error["message"]
    assert "without labels" in refused(client, "/v1/classify", model="book", input="a")["message"]


def test_what_cannot_be_predicted_is_refused(client: Client) -> None:
    for value in (None, [], 5, {}, [5], ["a", None], [["a"]]):
        body = {"model": "kinds", "input": value}
        assert refused(client, "/v1/classify", **body)["param"].startswith("input")
    many = ["a"] * 2049
    assert "2,048" in refused(client, "/v1/classify", model="kinds", input=many)["message"]
    assert refused(client, "/v1/classify", model="kinds", input="a", top=0)["param"] == "top"
    assert refused(client, "/v1/convert", model="xyz", input="a", beam=65)["param"] == "beam"
    assert refused(client, "/v1/convert", model="xyz", input="a", top=9, beam=3)["message"]
    assert refused(client, "/v1/convert", model="cases", input="a", top=3)["message"]
    assert refused(client, "/v1/convert", model="xyz", input="a", prior="train")["param"] == "prior"


# Embeddings and tokens


def test_an_embedding_is_the_state_after_the_text(
    client: Client, files: dict[str, ModelFile]
) -> None:
    found = ok(client, "/v1/embeddings", model="book", input=["ab\n", "é"])["data"]
    state = Model(files["book"]).read("ab\n").state
    layers = state[: files["book"].config.num_layers]  # without the last tokens
    vector = np.concatenate([layer[0] for layer in layers])

    assert [each["index"] for each in found] == [0, 1]
    assert found[0]["embedding"] == pytest.approx(vector / np.linalg.norm(vector), abs=1e-6)
    assert np.linalg.norm(found[1]["embedding"]) == pytest.approx(1, abs=1e-6)


def test_an_embedding_can_come_as_bytes_and_a_text_as_ids(
    client: Client, files: dict[str, ModelFile]
) -> None:
    plain = ok(client, "/v1/embeddings", model="book", input="ab")["data"][0]["embedding"]
    ids = Model(files["book"]).encode("ab").tolist()
    for value in (ids, [ids], "ab"):
        found = ok(client, "/v1/embeddings", model="book", input=value, encoding_format="base64")
        raw = base64.b64decode(found["data"][0]["embedding"])
        assert np.frombuffer(raw, "<f4") == pytest.approx(plain, abs=1e-6)
        assert found["usage"]["prompt_tokens"] == 2


def test_a_text_without_characters_has_the_embedding_of_the_start(
    client: Client, files: dict[str, ModelFile]
) -> None:
    start = Model(files["book"]).language_model.initial_state()
    vector = np.concatenate([layer[0] for layer in start[: files["book"].config.num_layers]])
    for value in ("", [""], [[]]):
        (found,) = ok(client, "/v1/embeddings", model="book", input=value)["data"]
        assert found["embedding"] == pytest.approx(vector / np.linalg.norm(vector), abs=1e-6)


def test_what_has_no_embedding_is_refused(client: Client) -> None:
    path = "/v1/embeddings"
    many = refused(client, path, model="book", input=[[0]] * 2049)
    assert "2,049 texts" in many["message"]
    long = refused(client, path, model="book", input=[[0] * 3000] * 2)
    assert (long["code"], long["param"]) == ("context_length_exceeded", "input")
    assert refused(client, path, model="book", input="a", dimensions=5)["param"] == "dimensions"
    assert refused(client, path, model="book", input=[99])["param"] == "input"
    assert refused(client, path, model="book", input=[[0], "a"])["param"] == "input[1]"
    assert refused(client, path, model="book", input="a", encoding_format="f")["param"]
    assert refused(client, path, model="kinds", input="a")["param"] == "model"


@pytest.mark.parametrize("name", ["book", "names"])
def test_ids_and_texts_are_each_others(client: Client, name: str) -> None:
    text = "ab é\nb"
    found = ok(client, "/tokenize", model=name, prompt=text, return_token_strs=True)

    assert found["count"] == len(found["tokens"]) == 6
    assert found["max_model_len"] == 5000
    assert found["token_strs"][0] == "a"
    back = ok(client, "/detokenize", model=name, tokens=found["tokens"])
    assert back == {"prompt": text}


def test_ids_that_are_none_are_refused(client: Client) -> None:
    for value in ("ab", [1.5], [True], ["a"], None, {"a": 1}):
        assert refused(client, "/detokenize", model="book", tokens=value)["param"] == "tokens"
    assert refused(client, "/detokenize", model="book", tokens=[5])["message"]
    assert refused(client, "/detokenize", model="book", tokens=[-1])["message"]
    assert "U+0078" in refused(client, "/tokenize", model="book", prompt="abx")["message"]


def test_programs_that_evaluate_are_told_what_begins_a_text(client: Client) -> None:
    book = client.get("/tokenizer_info?model=book").json
    names = client.get("/tokenizer_info?model=names").json

    assert book["eos_token"] == names["eos_token"] == "\n"
    assert book["vocab_size"] == 5
    end = ok(client, "/tokenize", model="names", prompt=names["eos_token"])["tokens"]
    assert end == [names["vocab_size"] - 1]


# What is served, and how it goes


def test_models_are_listed_with_what_they_are_and_no_path(client: Client) -> None:
    listed = client.get("/v1/models").json
    kinds = {each["id"]: each["task"] for each in listed["data"]}

    assert listed["object"] == "list"
    assert kinds["book"] == "text"
    assert kinds["kinds"] == "classification"
    one = client.get("/v1/models/play").json
    assert one["labels"] == {"who": {"ROMEO": 163, "JULIET": 118}}
    assert one["max_chars"] == 2000
    assert one.items() >= next(each for each in listed["data"] if each["id"] == "play").items()
    assert "sha256" not in client.get("/v1/models/book").body.decode()


@pytest.mark.parametrize(
    "name", ["nothing", "../../etc/passwd", "/etc/passwd", "book/", "hf://a/b", "BOOK", "%00"]
)
def test_a_name_that_is_not_served_is_only_looked_up(client: Client, name: str) -> None:
    answer = client.post("/v1/completions", {"model": name, "prompt": "a"})
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    assert client.get(f"/v1/models/{name}").status == 404


def test_a_model_that_is_no_text_is_refused(client: Client) -> None:
    for value in (5, [], {}, True, ["book"]):
        assert refused(client, "/v1/score", model=value, text="ab")["param"] == "model"


def test_without_a_model_it_is_the_first(client: Client) -> None:
    assert ok(client, "/v1/score", text="ab")["model"] == "book"
    assert ok(client, "/v1/score", text="ab", model=None)["model"] == "book"


def test_figures_grow_with_what_was_asked(client: Client) -> None:
    def figures() -> dict[str, float]:
        text = client.get("/metrics").body.decode()
        pairs = [line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#"]
        return {name: float(value) for name, value in pairs}

    counted = 'charrnn_requests_total{route="/tokenize",status="200"}'
    before = figures()
    ok(client, "/tokenize", prompt="a")
    client.post("/v1/completions", {"prompt": "a", "max_tokens": 9})
    client.get("/v1/models/nothing")
    client.get("/made/up/path")
    after = figures()

    assert after[counted] == before.get(counted, 0) + 1
    assert after['charrnn_requests_total{route="/v1/models/{id}",status="404"}'] >= 1
    assert after['charrnn_requests_total{route="other",status="404"}'] >= 1
    name = "charrnn_first_character_seconds_count"
    assert after[name] == before[name] + 1
    assert not any("made" in name for name in after)
    assert all(math.isfinite(value) for value in after.values())


def test_figures_can_be_turned_off(make_model: Callable[..., ModelFile]) -> None:
    with serving({"book": make_model()}, metrics=False) as client:
        assert client.get("/metrics").status == 404


@pytest.mark.parametrize(
    ("path", "body", "module", "work"),
    [
        ("/v1/score", {"text": "a" * 5000}, score, "_score"),
        ("/v1/score", {"model": "play", "text": "ab", "label": "who=ROMEO"}, score, "labelled"),
        ("/v1/fill", {"model": "play", "text": "a_", "label": "who=ROMEO"}, fill, "labelled"),
        ("/v1/embeddings", {"input": "a" * 5000}, embed, "_embed"),
        ("/v1/embeddings", {"input": [[0] * 100] * 50}, embed, "spell"),
        ("/tokenize", {"prompt": "ab" * 2000, "return_token_strs": True}, tokens, "_encode"),
        ("/detokenize", {"tokens": [0] * 5000}, tokens, "spell"),
    ],
)
def test_what_takes_time_is_left_to_a_thread(
    client: Client, monkeypatch: pytest.MonkeyPatch, path: str, body: Any, module: Any, work: str
) -> None:
    threads: set[int] = set()
    before = getattr(module, work)

    def seen(*arguments: Any, **settings: Any) -> Any:
        threads.add(threading.get_ident())
        return before(*arguments, **settings)

    monkeypatch.setattr(module, work, seen)
    ok(client, path, **body)

    assert threads
    assert threading.get_ident() not in threads  # where the event loop is


def test_work_stops_soon_after_its_client_is_gone(client: Client) -> None:
    class GoneError(Exception):
        pass

    def watch_of(looks: int) -> Callable[..., None]:
        left = [looks]

        def watch(*_: object) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise GoneError

        return watch

    served = client.service.served
    kinds = predict._predict_all
    for looks in (0, 3):
        with pytest.raises(GoneError):
            embed._embed(watch_of(looks), served["book"], ["a" * 5000], "float")  # type: ignore[arg-type]
        with pytest.raises(GoneError):
            kinds(watch_of(looks), served["kinds"], ["a" * 3000] * 5, PredictRequest())  # type: ignore[arg-type]


def test_a_watch_ends_work_that_nobody_waits_for(client: Client) -> None:
    ended: list[float] = []

    def work(watch: Watch) -> None:
        try:
            while True:
                watch()
                time.sleep(0.001)
        except Exception:
            ended.append(time.monotonic())
            raise

    async def ask() -> None:
        import asyncio

        task = asyncio.ensure_future(client.service.watched(work))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0.1)

    client.run(ask())
    assert ended


def test_work_that_takes_too_long_is_ended(make_model: Callable[..., ModelFile]) -> None:
    with serving({"book": make_model()}, max_seconds=0.2) as client:
        body = {"text": "*" + "a_" * 900, "beam_width": 500, "max_gap": 200}
        began = time.monotonic()
        answer = client.post("/v1/fill", body)
        assert (answer.status, answer.error["code"]) == (408, "max_seconds")
        assert time.monotonic() - began < 5


def test_a_server_that_ends_says_so(make_model: Callable[..., ModelFile]) -> None:
    with serving({"book": make_model()}) as client:
        client.run(client.service.stop())
        for answer in (
            client.get("/health"),
            client.post("/v1/completions", {"prompt": "a"}),
            client.post("/v1/score", {"text": "ab"}),
        ):
            assert (answer.status, answer.error["code"]) == (503, "server_closing")
            assert answer.headers["retry-after"]
