"""GET /generate, as rnn-writer and other clients of torch-rnn-server ask for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from charrnn.config.serve import ServeConfig
from charrnn.server.protocol import ModelInfo
from charrnn.server.routes.legacy import parse_query, read_query
from charrnn.server.server import Server
from charrnn.text.vocab import Vocab
from tests.server.asking import Asker

INFO = ModelInfo("book", Vocab("\n !.abc"))
NAMES = ModelInfo("names", Vocab("ab", has_end=True))


def config_of(query: str, info: ModelInfo = INFO) -> Any:
    return parse_query(read_query(query), info).config


def test_an_answer_has_the_three_fields_of_torch_rnn_server(ask: Asker) -> None:
    answer = ask.get("/generate?start_text=bad%20cab&n=3")

    assert answer.status == 200
    assert answer.json.keys() == {"start_text", "completions", "time"}
    assert len(answer.json["completions"]) == 3
    assert float(answer.json["time"]) >= 0


@pytest.mark.parametrize("text", ["bad cab", "100% a&b=c", "é\n!", ""])
def test_the_start_text_comes_back_so_that_rnn_writer_knows_it(ask: Asker, text: str) -> None:
    answer = ask.get(f"/generate?start_text={quote(text, safe='')}&n=1").json

    # rnn-writer decodes it, and drops completions of another text than the one on its screen.
    assert unquote(answer["start_text"]).replace("+", " ") == text


def test_completions_are_sentences_and_nothing_of_the_start_text(ask: Asker) -> None:
    answer = ask.get("/generate?start_text=bad&n=2&seed=5").json
    expected = ask.complete(prompt="bad", n=2, seed=5, sentences=1, max_tokens=500)

    assert answer["completions"] == [choice["text"] for choice in expected["choices"]]


def test_what_ends_a_text_may_be_asked_for() -> None:
    assert config_of("start_text=a").sentences == 1
    assert config_of("start_text=a&lines=2").sentences is None
    assert config_of("start_text=a&stop=5").stop == ()
    assert config_of("start_text=a&stop=!").stop == ("!",)
    assert config_of("start_text=a", NAMES).sentences is None


def test_settings_may_stand_in_the_query() -> None:
    config = config_of('start_text=a&temperature=0.5&top_k=3&ban=["a","b"]&length=40&seed=9')

    assert (config.temperature, config.top_k, config.length, config.seed) == (0.5, 3, 40, 9)
    assert config.ban == ("a", "b")


def test_there_are_ten_completions_at_most(ask: Asker) -> None:
    assert len(ask.get("/generate?start_text=a&n=999&length=2").json["completions"]) == 10
    assert len(ask.get("/generate?start_text=a").json["completions"]) == 1


def test_what_the_model_never_saw_is_read_as_the_nearest(ask: Asker) -> None:
    answer = ask.get("/generate?start_text=" + quote("“bàd” ☃"))

    assert answer.status == 200


@pytest.mark.parametrize(
    "query",
    ["n=x", "n=0", "n=1&n=2", "temprature=1", "model=gpt-4", "stream=true", "start_text=%ff"],
)
def test_an_error_has_its_message_where_rnn_writer_shows_it(ask: Asker, query: str) -> None:
    answer = ask.get("/generate?" + query)

    assert answer.status in (400, 404)
    assert answer.json["message"] == answer.error["message"]


def test_another_model_may_be_asked(tiny_runs: Path) -> None:
    with Server(["book", "names"], ServeConfig(port=0), tiny_runs) as server:
        answer = Asker(server.url).get("/generate?start_text=ab&model=names&seed=1").json

    assert set("".join(answer["completions"])) <= set(" abcdé")
