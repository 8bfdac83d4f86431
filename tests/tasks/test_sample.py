"""What charrnn sample does, from Python: blends, states, choosing and sorting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import charrnn
from charrnn.checkpoint.model_file import ModelFile
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.config import SampleConfig
from charrnn.errors import ConfigError
from charrnn.tasks.open_models import OpenModels, open_models
from charrnn.tasks.sample import SampleRequest, iter_samples, stream_text
from charrnn.text.vocab import Vocab
from tests.generation.random_models import NGRAMS

CONFIG = SampleConfig(seed=1, length=9)


@pytest.fixture(params=[{}, NGRAMS], ids=["characters", "n-grams"])
def models(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_model: Callable[..., ModelFile],
    request: pytest.FixtureRequest,
) -> OpenModels:
    """Stand in a folder with the runs tiny and other; return tiny, opened."""
    monkeypatch.chdir(tmp_path)
    other = replace(make_model(vocab_size=3), vocab=Vocab("\nxy"))
    RunFolder(Path("checkpoints/other")).save_best(other)
    RunFolder(Path("checkpoints/tiny")).save_best(make_model(**request.param))
    return open_models("tiny")


def texts(models: OpenModels, **request: int | bool) -> list[str]:
    return [each.text for each in iter_samples(models, "ab", CONFIG, SampleRequest(**request))]


def test_the_stream_is_the_first_sample(models: OpenModels) -> None:
    assert ["".join(stream_text(models, "ab", CONFIG))] == texts(models)


def test_sample_i_does_not_depend_on_how_many_there_are(models: OpenModels) -> None:
    assert texts(models, count=3) == texts(models, count=12)[:3]


def test_without_a_seed_all_batches_share_a_random_one(
    models: OpenModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    monkeypatch.setattr("os.urandom", lambda size: seeds.append(size) or b"\x01")
    config = replace(CONFIG, only=("ab",), length=2)
    request = SampleRequest(count=4, unique=True)

    unseeded = list(iter_samples(models, "", replace(config, seed=None), request))

    assert unseeded == list(iter_samples(models, "", config, request))
    assert unseeded[-1].index > 3  # so there was a second batch
    assert len(seeds) == 1


def test_the_best_of_each_group_comes_with_its_cost(models: OpenModels) -> None:
    request = SampleRequest(count=6, logprobs=0)
    groups = list(iter_samples(models, "ab", CONFIG, request))

    best = list(iter_samples(models, "ab", CONFIG, SampleRequest(count=2, best_of=3)))

    assert [each.bpc for each in best] == [
        min(each.bpc for each in groups[start : start + 3]) for start in (0, 3)
    ]


def test_a_blend_knows_the_characters_of_all_its_models(models: OpenModels) -> None:
    blended = open_models(models=["tiny:0.5", "other"])

    assert set("".join(stream_text(blended, "", replace(CONFIG, length=200)))) >= {"a", "x"}
    with pytest.raises(ConfigError, match="with one model"):
        blended.save_state("here", "", "a", CONFIG)


def test_a_model_pushed_away_from_itself_writes_what_it_writes(models: OpenModels) -> None:
    negative = open_models("tiny", negative_model="tiny:2")

    assert texts(negative, count=2) == texts(models, count=2)


def test_a_state_is_saved_and_continued(models: OpenModels) -> None:
    models.save_state("here", "ab", "b", CONFIG)
    continued = models.with_state("here")

    assert continued.chars_read == 3
    assert "".join(stream_text(continued, "", CONFIG)) == "".join(
        charrnn.load("tiny").generate("abb", CONFIG)
    )


def test_models_of_another_folder_are_found(models: OpenModels) -> None:
    Path("checkpoints").rename("elsewhere")

    assert texts(open_models("tiny", checkpoints=Path("elsewhere"))) == texts(models)


@pytest.mark.parametrize("request_", [{"best_of": 2}, {"unique": True}, {"logprobs": 0}])
def test_a_beam_is_not_chosen_among(models: OpenModels, request_: dict[str, int]) -> None:
    beam = replace(CONFIG, beam=4)

    with pytest.raises(ConfigError, match="leave best_of"):
        list(iter_samples(models, "ab", beam, SampleRequest(**request_)))
