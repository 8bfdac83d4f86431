"""POST /v1/completions, over real sockets: OpenAI's objects, and the texts that sample writes."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest

from charrnn.config import SampleConfig
from charrnn.config.serve import ServeConfig
from charrnn.generation.samples import Sample, sort_by_likelihood
from charrnn.server.server import Server
from charrnn.tasks.model import Model
from tests.server.asking import Asker
from tests.server.tiny_models import make_files

MODELS = {name: Model(file) for name, file in make_files().items()}
PATH = "/v1/completions"


def samples(
    name: str, prompt: str, *, count: int = 1, stream: int = 0, **settings: Any
) -> list[Sample]:
    """Return what the command line writes."""
    return [*MODELS[name].generate_many(prompt, count=count, stream=stream, **settings)]


def texts(answer: Any) -> list[str]:
    return [choice["text"] for choice in answer["choices"]]


def test_an_answer_is_openais_object(ask: Asker) -> None:
    before = int(time.time())
    answer = ask.complete(model="book", prompt="abc", max_tokens=5, seed=3)
    again = ask.complete(model="book", prompt="abc", max_tokens=5, seed=3)

    assert answer["id"].startswith("cmpl-")
    assert answer["id"] != again["id"]
    assert answer["object"] == "text_completion"
    assert before <= answer["created"] <= time.time()
    assert answer["model"] == "book"
    assert answer["system_fingerprint"].startswith("fp_")
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    [choice] = answer["choices"]
    assert choice == {
        "text": choice["text"],
        "index": 0,
        "logprobs": None,
        "finish_reason": "length",
        "stop_reason": "length",
    }
    assert len(choice["text"]) == 5
    assert again["choices"] == answer["choices"]


def test_an_empty_request_writes_sixteen_characters_of_the_first_model(ask: Asker) -> None:
    answer = ask.complete()

    assert answer["model"] == "book"
    assert len(answer["choices"][0]["text"]) == 16


def test_a_seed_that_was_chosen_repeats_the_texts(ask: Asker) -> None:
    answer = ask.complete(prompt="ab", n=3)
    again = ask.complete(prompt="ab", n=3, seed=answer["seed"])

    assert texts(again) == texts(answer)
    assert len(set(texts(answer))) == 3


SETTINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 0},
    {"temperature": 0.5, "top_p": 0.9, "top_k": 5},
    {"presence_penalty": 1.5, "frequency_penalty": 0.5},
    {"dry_penalty": 2.0, "dry_length": 2, "penalty_window": 20},
    {"stop": ["b", "cc"]},
    {"stop_regex": "[ab] "},
    {"lines": 2},
    {"sentences": 1},
    {"regex": "[a-d]{3}( [a-d]+)*"},
    {"choices": ["abc", "bad", "cab"]},
    {"template": "a {} b"},
    {"only": "abc", "ban": ["b"]},
    {"ban_word": ["a"], "word_temperature": 0.3},
    {"min_p": 0.1, "typical": 0.9},
    {"mirostat": 2.0},
    {"xtc": 0.5, "dynamic_temperature": 0.2},
    {"bias": ["a=2", "digits=1"][:1]},
    {"balanced": True},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_choice_i_is_the_text_that_sample_writes_as_its_ith(
    ask: Asker, settings: dict[str, Any]
) -> None:
    answer = ask.complete(prompt="abc", max_tokens=25, seed=9, n=3, **settings)
    own = {name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}
    own |= {name: (v,) for name, v in own.items() if name in ("only",)}
    config = SampleConfig(**{"temperature": 1.0, **own, "length": 25, "seed": 9})
    expected = samples("book", "abc", count=3, config=config)

    assert texts(answer) == [sample.text for sample in expected]
    assert [c["finish_reason"] == "length" for c in answer["choices"]] == [
        sample.stopped_by == "length" for sample in expected
    ]


def test_prompt_j_has_the_random_streams_of_prompt_j(ask: Asker) -> None:
    prompts = ["abc", "", "b", "abc"]
    answer = ask.complete(prompt=prompts, max_tokens=9, seed=4, n=2)
    settings = {"length": 9, "seed": 4, "temperature": 1.0}
    expected = [
        sample.text
        for stream, prompt in enumerate(prompts)
        for sample in samples("book", prompt, count=2, stream=stream, **settings)
    ]

    assert texts(answer) == expected
    assert [choice["index"] for choice in answer["choices"]] == [*range(8)]
    assert answer["usage"]["prompt_tokens"] == 7
    assert answer["usage"]["completion_tokens"] == 72


def test_a_prompt_of_ids_is_the_text_that_they_spell(ask: Asker) -> None:
    ids = MODELS["tang"].vocab.encode("a中b").tolist()
    asked = {"model": "tang", "max_tokens": 6, "seed": 1}

    one = ask.complete(prompt=ids, **asked)
    many = ask.complete(prompt=[ids, ids], **asked)
    assert texts(one) == texts(ask.complete(prompt="a中b", **asked))
    assert texts(many)[0] == texts(one)[0]
    assert one["usage"]["prompt_tokens"] == 3


def test_a_character_can_have_a_bias_by_its_id(ask: Asker) -> None:
    token = str(MODELS["book"].vocab.encode("B")[0])

    assert texts(ask.complete(max_tokens=7, logit_bias={token: 100})) == ["B" * 7]
    assert texts(ask.complete(max_tokens=7, logit_bias={"B": 100})) == ["B" * 7]


def test_a_text_with_labels_is_that_of_the_labelled_model(ask: Asker) -> None:
    models = open_models_with(["who=JULIET"])
    expected = str(models.generate("", length=30, seed=5, temperature=1.0))
    for labels in ("who=JULIET", ["JULIET"], {"who": "JULIET"}):
        answer = ask.complete(model="play", labels=labels, max_tokens=30, seed=5)
        assert texts(answer) == [expected]


def open_models_with(labels: list[str]) -> Model:
    return Model(make_files()["play"], labels)


# Ends


def test_a_stop_text_is_named_and_not_shown(ask: Asker) -> None:
    [choice] = ask.complete(prompt="abc", max_tokens=500, seed=1, stop=["a", "e"])["choices"]

    assert choice["finish_reason"] == "stop"
    assert choice["stop_reason"] in ("a", "e")
    assert not {"a", "e"} & {*choice["text"]}


def test_a_record_ends_by_itself(ask: Asker) -> None:
    answer = ask.complete(model="names", max_tokens=500, seed=2, n=4)
    expected = samples("names", "", count=4, length=500, seed=2, temperature=1.0)

    assert texts(answer) == [sample.text for sample in expected]
    assert {c["finish_reason"] for c in answer["choices"]} == {"stop"}
    assert {c["stop_reason"] for c in answer["choices"]} == {"end"}


# Candidates


def test_the_likeliest_of_the_candidates_are_returned(ask: Asker) -> None:
    settings = {"length": 12, "seed": 6, "temperature": 1.0}
    answer = ask.complete(prompt="ab", max_tokens=12, seed=6, best_of=8, n=3)
    ranked = sort_by_likelihood(samples("book", "ab", count=8, alternatives=0, **settings))

    assert texts(answer) == [sample.text for sample in ranked[:3]]
    assert answer["choices"][0]["logprobs"] is None
    assert answer["usage"]["completion_tokens"] == 8 * 12


def test_candidates_of_records_are_compared_with_their_ends(ask: Asker) -> None:
    settings = {"length": 30, "seed": 6, "temperature": 1.0}
    answer = ask.complete(model="names", max_tokens=30, seed=6, best_of=9, n=9 - 4)
    ranked = sort_by_likelihood(samples("names", "", count=9, alternatives=0, **settings))

    assert texts(answer) == [sample.text for sample in ranked[:5]]


# Log-probabilities


@pytest.mark.parametrize("name", ["book", "tang", "marks", "names", "play", "bytes"])
def test_logprobs_are_the_costs_of_sample_with_the_likeliest_characters(
    ask: Asker, name: str
) -> None:
    asked = {"prompt": "ab", "max_tokens": 20, "seed": 8, "logprobs": 3, "n": 2}
    answer = ask.complete(model=name, **asked)
    settings = {"length": 20, "seed": 8, "temperature": 1.0}
    expected = samples(name, "ab", count=2, alternatives=3, **settings)

    for choice, sample in zip(answer["choices"], expected, strict=True):
        logprobs = choice["logprobs"]
        assert choice["text"] == sample.text
        assert logprobs["tokens"] == [*sample.text, *["<end>"] * sample.has_end]
        assert logprobs["token_logprobs"] == pytest.approx([-c.nats for c in sample.costs])
        assert logprobs["text_offset"] == [*range(2, 2 + len(sample.costs))]
        for own, cost, token in zip(
            logprobs["top_logprobs"], sample.costs, logprobs["tokens"], strict=True
        ):
            top = {name: -nats for name, nats in cost.top} | {token: -cost.nats}
            assert own == pytest.approx(top)
            assert len(own) <= 4


def test_no_alternatives_are_asked_for_by_zero(ask: Asker) -> None:
    [choice] = ask.complete(prompt="a", max_tokens=3, logprobs=0)["choices"]
    logprobs = choice["logprobs"]

    assert logprobs["top_logprobs"] == [
        {token: nats}
        for token, nats in zip(logprobs["tokens"], logprobs["token_logprobs"], strict=True)
    ]


TEXTS = {
    "book": "bad cab, head.\nAB face!",
    "tang": "a月中b\n中é月",
    "marks": "aba\u0301b\nb\u0301\u0301ña",
    "names": "abba\ncé d\nab\n",
    "ends": "ab\n<<>>\nbé a\n<<>>\n",
    "bytes": "ab é\n中",
    "small": "abé\ncab",
}


@pytest.mark.parametrize("name", TEXTS)
def test_the_logprobs_of_an_echoed_prompt_are_what_score_says(ask: Asker, name: str) -> None:
    text = TEXTS[name]
    asked = {"model": name, "prompt": text, "max_tokens": 0, "echo": True, "logprobs": 2}
    [choice] = ask.complete(**asked)["choices"]
    logprobs = choice["logprobs"]
    scores = MODELS[name].score(MODELS[name].vocab.spell(text))
    bits = float(scores.known_bits[scores.given :].sum()) + sum(each for _, each in scores.ends)

    assert choice["text"] == text == "".join(logprobs["tokens"])
    assert choice["finish_reason"] == "length"
    assert logprobs["text_offset"] == [*range(len(text))]
    costs = logprobs["token_logprobs"]
    assert (costs[0] is None) == (logprobs["top_logprobs"][0] is None) == bool(scores.given)
    assert sum(cost for cost in costs if cost is not None) == pytest.approx(
        -math.log(2) * bits, abs=1e-6
    )


def test_an_echo_is_what_the_model_read(ask: Asker) -> None:
    asked = {"model": "small", "prompt": "ABE\u0301\nCab", "max_tokens": 3, "echo": True, "seed": 1}
    [choice] = ask.complete(**asked, logprobs=1, unknown="map")["choices"]

    assert choice["text"].startswith("abé\ncab")
    assert choice["logprobs"]["tokens"] == [*choice["text"]]


def test_what_is_written_has_the_costs_of_an_echo(ask: Asker) -> None:
    written = ask.complete(prompt="bad", max_tokens=9, seed=1, logprobs=4, echo=True, n=2)
    for choice in written["choices"]:
        logprobs = choice["logprobs"]
        assert choice["text"].startswith("bad")
        assert len(choice["text"]) == len(logprobs["tokens"]) == 12
        [again] = ask.complete(prompt=choice["text"], max_tokens=0, logprobs=4, echo=True)[
            "choices"
        ]
        assert again["logprobs"]["token_logprobs"][1:] == pytest.approx(
            logprobs["token_logprobs"][1:], abs=1e-5
        )
    assert written["usage"] == {"prompt_tokens": 3, "completion_tokens": 18, "total_tokens": 21}


def test_the_likeliest_character_has_exactly_the_largest_logprob(ask: Asker) -> None:
    # Evaluation programs compare them with ==.
    [choice] = ask.complete(prompt="bad", max_tokens=40, temperature=0, logprobs=1)["choices"]
    logprobs = choice["logprobs"]

    for token, own, top in zip(
        logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True
    ):
        assert own == max(top.values()) == top[token]


def test_an_echo_may_not_be_without_measure(ask: Asker) -> None:
    error = ask.refuse(prompt="a" * 100_000, n=101, max_tokens=1, echo=True)

    assert error["param"] == "echo"


def test_an_answer_of_too_many_logprobs_is_refused(ask: Asker) -> None:
    error = ask.refuse(prompt=["a"] * 100, max_tokens=10_000, logprobs=1000)

    assert error["param"] == "logprobs"
    assert "lower" in error["message"]


# Streams


def read_stream(ask: Asker, **body: Any) -> tuple[dict[int, str], list[Any]]:
    answer = ask.post(PATH, {**body, "stream": True})
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    events = answer.events
    found: dict[int, str] = defaultdict(str)
    for event in events:
        for choice in event["choices"]:
            found[choice["index"]] += choice["text"]
    return found, events


@pytest.mark.parametrize("name", ["book", "tang", "names", "bytes"])
def test_the_pieces_of_a_stream_are_the_whole_texts(ask: Asker, name: str) -> None:
    asked = {"model": name, "prompt": ["ab", ""], "max_tokens": 60, "seed": 3, "n": 2}
    found, events = read_stream(ask, **asked)
    whole = ask.complete(**asked)

    assert [found[index] for index in range(4)] == texts(whole)
    assert len({event["id"] for event in events}) == 1
    for event in events:
        assert event.keys() == whole.keys() - {"usage"}
        assert event["object"] == "text_completion"
        assert [*event["choices"][0]] == [*whole["choices"][0]]
    ends = [c for event in events for c in event["choices"] if c["finish_reason"] is not None]
    assert {c["index"]: c["stop_reason"] for c in ends} == {
        c["index"]: c["stop_reason"] for c in whole["choices"]
    }
    assert len(ends) == 4


def test_a_stream_ends_with_its_usage_in_a_chunk_without_choices(ask: Asker) -> None:
    found, events = read_stream(
        ask, prompt="abc", max_tokens=7, echo=True, stream_options={"include_usage": True}
    )

    assert found[0].startswith("abc")
    assert events[-1]["choices"] == []
    assert events[-1]["usage"] == {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10}
    assert all(event["usage"] is None for event in events[:-1])


def test_the_logprobs_of_a_stream_are_those_of_the_whole(ask: Asker) -> None:
    asked = {"model": "names", "prompt": "ab", "max_tokens": 40, "seed": 2, "logprobs": 2}
    _, events = read_stream(ask, **asked, echo=True)
    [choice] = ask.complete(**asked, echo=True)["choices"]

    for key, values in choice["logprobs"].items():
        parts = [v for event in events for c in event["choices"] for v in c["logprobs"][key]]
        assert parts == values


def test_a_client_that_goes_frees_its_texts(tiny_server: Server, ask: Asker) -> None:
    connection = ask.connect()
    ask.send(connection, PATH, {"max_tokens": 100_000, "n": 4, "stream": True})
    response = connection.getresponse()
    assert response.readline().startswith(b"data: ")
    assert tiny_server.service.engine.stats().running == 4
    response.close()
    connection.close()

    assert wait_for(lambda: tiny_server.service.engine.stats().running == 0)


def test_a_client_that_waits_for_a_whole_text_frees_it_too(tiny_server: Server, ask: Asker) -> None:
    connection = ask.connect()
    ask.send(connection, PATH, {"max_tokens": 100_000, "n": 3})
    assert wait_for(lambda: tiny_server.service.engine.stats().running == 3)
    connection.close()

    assert wait_for(lambda: tiny_server.service.engine.stats().running == 0)


def wait_for(holds: Any, seconds: float = 5.0) -> bool:
    """Return whether something comes true in time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


# Many texts


def test_a_request_of_more_texts_than_the_engine_takes_waits_for_its_own(tiny_runs: Any) -> None:
    config = ServeConfig(port=0, batch=3, queue=1)
    with Server(["book"], config, tiny_runs) as server:
        prompts = ["a", "b", "", "c"] * 10
        answer = Asker(server.url).complete(prompt=prompts, n=2, max_tokens=5, seed=1)

    assert [choice["index"] for choice in answer["choices"]] == [*range(80)]
    settings = {"length": 5, "seed": 1, "temperature": 1.0}
    last = samples("book", "c", count=2, stream=39, **settings)
    assert texts(answer)[78:] == [sample.text for sample in last]


def test_a_request_of_many_texts_leaves_room_for_others(tiny_server: Server, ask: Asker) -> None:
    connection = ask.connect()
    ask.send(connection, PATH, {"max_tokens": 100_000, "n": 128})
    stats = tiny_server.service.engine.stats
    assert wait_for(lambda: stats().running == tiny_server.config.batch // 2)
    assert texts(ask.complete(max_tokens=3, seed=1))
    connection.close()
    assert wait_for(lambda: stats().running == 0)


def test_a_request_of_many_texts_has_the_time_of_one(tiny_runs: Any) -> None:
    config = ServeConfig(port=0, batch=1, max_seconds=0.3, max_chars=1_000_000)
    with Server(["book"], config, tiny_runs) as server:
        body = {"prompt": ["a"] * 9, "max_tokens": 1_000_000}
        began = time.monotonic()
        answer = Asker(server.url).post(PATH, body)

    assert time.monotonic() - began < 3
    assert answer.status == 408
    assert answer.error["code"] == "max_seconds"


def test_a_full_queue_sends_a_request_away_for_a_while(tiny_runs: Any) -> None:
    config = ServeConfig(port=0, batch=1, queue=1, max_chars=1_000_000)
    with Server(["book"], config, tiny_runs) as server:
        ask = Asker(server.url)
        open_connections = []
        for _ in range(2):
            connection = ask.connect()
            ask.send(connection, PATH, {"max_tokens": 1_000_000, "stream": True})
            open_connections.append(connection)
        stats = server.service.engine.stats
        assert wait_for(lambda: stats().running == 1 and stats().waiting == 1)
        answer = ask.post(PATH, {"max_tokens": 5})
        for connection in open_connections:
            connection.close()

    assert answer.status == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.error["type"] == "rate_limit_error"


def test_work_that_takes_long_keeps_no_text_waiting(tiny_server: Server, ask: Asker) -> None:
    is_over = threading.Event()
    for _ in range(8):
        tiny_server.service._workers.submit(is_over.wait, 20)
    try:
        assert texts(ask.complete(max_tokens=3, seed=1))
    finally:
        is_over.set()


# Fillings and searches


def test_a_suffix_lets_the_blank_before_it_be_filled(ask: Asker) -> None:
    asked = {"prompt": "bad ", "suffix": " cab", "max_tokens": 5, "seed": 7, "n": 3}
    answer = ask.complete(**asked)
    filling = MODELS["book"].fill(
        "bad * cab", blank="", max_gap=5, count=3, seed=7, sample=True, beam_width=200
    )

    assert texts(answer) == [f.text[slice(*f.filled[0])] for f in filling.completions]
    assert {choice["finish_reason"] for choice in answer["choices"]} == {"stop"}
    echoed = ask.complete(**asked, echo=True)
    assert texts(echoed) == ["bad " + text for text in texts(answer)]
    found, _ = read_stream(ask, **asked)
    assert [*found.values()] == texts(answer)


def test_at_temperature_zero_the_likeliest_filling_is_found(ask: Asker) -> None:
    answer = ask.complete(prompt="b", suffix="d", max_tokens=3, temperature=0)
    best = MODELS["book"].fill("b*d", blank="", max_gap=3, count=1, beam_width=200).completions[0]

    assert texts(answer) == [best.text[slice(*best.filled[0])]]


def test_a_blank_that_is_too_long_is_refused(ask: Asker) -> None:
    assert ask.refuse(prompt="a", suffix="b", max_tokens=201)["param"] == "max_tokens"


def test_a_beam_finds_the_likeliest_texts(ask: Asker) -> None:
    answer = ask.complete(prompt="ab", beam=6, n=3, max_tokens=8)
    expected = MODELS["book"].search("ab", count=3, beam=6, length=8)

    assert texts(answer) == [sample.text for sample in expected]
    assert ask.refuse(beam=10_000, max_tokens=10_000)["param"] == "beam"


# Refusals


def test_a_model_that_is_not_served_is_not_found(ask: Asker) -> None:
    answer = ask.post(PATH, {"model": "gpt-4", "prompt": "a"})

    assert answer.status == 404
    assert answer.error["code"] == "model_not_found"
    assert answer.error["param"] == "model"


def test_a_prompt_that_the_model_cannot_read_is_named(ask: Asker) -> None:
    assert ask.refuse(prompt="a☃")["param"] == "prompt"
    assert ask.refuse(prompt=["a", "☃"])["param"] == "prompt[1]"
    assert texts(ask.complete(prompt="a☃", unknown="skip", seed=1)) == texts(
        ask.complete(prompt="a", seed=1)
    )


def test_a_setting_that_the_model_cannot_follow_is_named(ask: Asker) -> None:
    assert ask.refuse(documents=1)["message"].startswith("this model does not know")
    assert ask.refuse(bias="☃=1")["param"] == "bias"
    assert ask.refuse(max_copy=5)["message"]
    assert ask.refuse(labels="who=JULIET")["message"]


def test_options_of_the_command_line_are_not_named(ask: Asker) -> None:
    for body in (
        {"prompt": "☃"},
        {"documents": 1},
        {"beam": 2, "regex": "a"},
        {"xtc_threshold": 0.2},
    ):
        assert "--" not in ask.refuse(**body)["message"]


def test_the_costs_of_pieces_add_up_in_order(ask: Asker) -> None:
    _, events = read_stream(ask, prompt="a", max_tokens=200, logprobs=0)
    offsets = [o for e in events for c in e["choices"] for o in c["logprobs"]["text_offset"]]

    assert all(second == first + 1 for first, second in pairwise(offsets))
    assert offsets[0] == 1
