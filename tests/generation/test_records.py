"""Records: the end that resets a network and ends a text, whatever reads or writes it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from charrnn.compression.exact_network import ExactNetwork
from charrnn.config import SampleConfig
from charrnn.errors import ConfigError, VocabError
from charrnn.generation.filters import log_softmax
from charrnn.generation.network import Network
from charrnn.generation.prefill import prefill
from charrnn.generation.stopping import StoppingCriteria
from charrnn.state import iter_arrays, repeat_state, select_row
from charrnn.tasks.model import Model, blend, with_negative_model
from charrnn.text.vocab import END
from tests.generation.random_models import NGRAMS
from tests.generation.record_models import make_records_file
from tests.generation.test_network import EACH_CELL

EACH_INPUT = pytest.mark.parametrize("shape", [{}, NGRAMS], ids=["characters", "n-grams"])


def make_model(kind: str = "line", **settings: Any) -> Model:
    return Model(make_records_file(kind, **settings))


def assert_same_state(found: Any, expected: Any) -> None:
    for a, b in zip(iter_arrays(found), iter_arrays(expected), strict=True):
        np.testing.assert_array_equal(a, b)


@EACH_CELL
@EACH_INPUT
def test_after_an_end_the_state_is_the_initial_one(
    cell: tuple[str, str], shape: dict[str, int]
) -> None:
    file = make_records_file(cell=cell[0], nonlinearity=cell[1], spread=0.5, **shape)
    for network in (Network(file.config, file.weights), ExactNetwork(file.config, file.weights)):
        read = network.advance(1, network.advance(0, network.initial_state()))

        assert_same_state(network.advance(file.vocab.end, read), network.initial_state())


@EACH_CELL
@EACH_INPUT
def test_in_a_batch_only_the_rows_that_end_start_anew(
    cell: tuple[str, str], shape: dict[str, int]
) -> None:
    file = make_records_file(cell=cell[0], nonlinearity=cell[1], spread=0.5, **shape)
    network = Network(file.config, file.weights)
    before = network.advance_all(np.array([0, 1, 2]), repeat_state(network.initial_state(), 3))
    after = network.advance_all(np.array([1, file.vocab.end, 1]), before)
    plain = network.advance_all(np.array([1, 1, 1]), before)

    assert_same_state(select_row(after, 1), network.initial_state())
    assert_same_state(select_row(after, 0), select_row(plain, 0))
    assert_same_state(select_row(after, 2), select_row(plain, 2))


@EACH_INPUT
def test_a_long_stream_of_records_is_read_as_one_by_one(shape: dict[str, int]) -> None:
    file = make_records_file(cell="gru", spread=0.5, **shape)
    network = Network(file.config, file.weights)
    ids = np.random.default_rng(2).integers(0, file.vocab.size, 40_000)
    ids[-5:] = 1

    state = prefill(network, ids, network.initial_state())

    last = int(np.flatnonzero(ids == file.vocab.end)[-1])
    expected = network.prefill(ids[last + 1 :].tolist(), network.initial_state())
    for a, b in zip(iter_arrays(state), iter_arrays(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_text_begins_at_the_initial_state_and_ends_by_itself() -> None:
    model = make_model(end_bias=2.0)
    stream = model.generate(seed=3)
    text = str(stream)

    assert stream.reason == "end"
    assert len(text) < 500
    assert END not in text


def test_a_text_of_no_character_is_possible() -> None:
    stream = make_model(end_bias=50.0).generate(seed=1)

    assert (str(stream), stream.reason) == ("", "end")


def test_the_length_stays_the_limit() -> None:
    stream = make_model(end_bias=-50.0).generate(seed=1, length=9)

    assert (len(str(stream)), stream.reason) == (9, "length")


@pytest.mark.parametrize(
    "settings", [{}, {"ban": ("é",)}, {"repetition_penalty": 1.3}, {"documents": 3}]
)
def test_samples_of_a_batch_are_those_sampled_alone(settings: dict[str, Any]) -> None:
    model = make_model(end_bias=1.0)
    config = SampleConfig(seed=5, length=40, **settings)

    batch = [each.text for each in model.generate_many(config=config, count=20)]

    assert batch == [str(model.generate(config=config, index=i)) for i in range(20)]
    assert len({len(text) for text in batch}) > 1


def test_a_prompt_continues_a_record_and_its_newline_begins_the_next() -> None:
    model = make_model()
    fresh = model.next_chars("", 5)

    assert model.next_chars("ab\n", 5) == fresh
    assert model.next_chars("ab", 5) != fresh


def test_the_end_is_named_among_the_next_characters() -> None:
    names = [name for name, _ in make_model().next_chars("a", 5)]

    assert sorted(names) == sorted([*" abé", "<end>"])


def test_a_typed_noncharacter_ends_no_record() -> None:
    model = make_model()

    assert model.fit(f"a{END}b\nb").text == "ab\nb"
    with pytest.raises(VocabError, match="U\\+10FFFF"):
        model.fit(END, "error")


def test_lines_count_the_records_of_a_list() -> None:
    model = make_model(end_bias=1.0)
    stream = model.generate(seed=4, lines=3)
    text = str(stream)

    assert stream.reason == "lines"
    assert text.count("\n") == 2


@pytest.mark.parametrize(
    ("kind", "mark", "separator"),
    [("line", None, "\n"), ("document", "a--", "\na--\n"), ("row", None, "\n\n")],
)
def test_documents_are_records_with_a_separator_between_them(
    kind: str, mark: str | None, separator: str
) -> None:
    model = make_model(kind, document_end=mark, alphabet=" bé", end_bias=1.0)
    sample = next(model.generate_many(seed=4, documents=3, alternatives=0))

    assert sample.text.count(separator) == 2
    assert sample.stopped_by == "documents"
    assert len(sample.costs) == len(sample.text) + 1


def test_the_nats_of_a_sample_count_its_end() -> None:
    model = make_model(end_bias=1.0)
    sample = next(model.generate_many(seed=4, alternatives=2))
    state = model.language_model.initial_state()
    nats = 0.0
    for token in model.vocab.encode(sample.text + END).tolist():
        nats -= log_softmax(model.language_model.logits(state))[token]
        state = model.language_model.advance(token, state)

    assert sample.has_end
    assert sample.nats == pytest.approx(nats, abs=1e-5)
    assert sample.bpc == pytest.approx(nats / math.log(2) / (len(sample.text) + 1), abs=1e-5)
    assert len(sample.costs) == len(sample.text) + 1


def test_a_beam_ends_its_texts_at_ends() -> None:
    model = make_model(end_bias=1.0)
    found = model.search(beam=60, length=4, count=3, length_penalty=0)

    assert found[0].stopped_by == "end"
    assert all(END not in each.text for each in found)
    assert found[0].nats <= found[1].nats <= found[2].nats


def test_bans_leave_the_end_possible() -> None:
    model = make_model(end_bias=-1.0)
    texts = {str(model.generate(seed=i, only=("a",), length=50)) for i in range(20)}

    assert any(len(text) < 50 for text in texts)
    assert set("".join(texts)) == {"a"}
    with pytest.raises(ConfigError, match="leaves no character"):
        model.generate(only=("a",), ban=("a",))


def test_no_penalty_touches_the_end() -> None:
    model = make_model(end_bias=1.0)
    settings: dict[str, Any] = {"presence_penalty": 5.0, "seed": 3, "documents": 9, "length": 200}

    assert str(model.generate(**settings)).count("\n") == 8


def test_a_separator_that_ends_nothing_is_shown() -> None:
    criteria = StoppingCriteria(SampleConfig(documents=2), separator="--")

    assert [criteria.feed(char) for char in ("a", END, "b", END)] == ["a", "--", "b", ""]
    assert (criteria.reason, criteria.is_at_end) == ("documents", True)


def test_records_and_running_text_do_not_blend(make_model: Any) -> None:
    records = Model(make_records_file(alphabet="\n ab"))
    running = Model(make_model())

    with pytest.raises(ConfigError, match="one of these models reads records"):
        with_negative_model(running, records, 1.0)
    with pytest.raises(ConfigError, match="one of these models reads records"):
        blend([(records, 1.0), (running, 1.0)])


def test_the_ends_of_blended_models_are_one() -> None:
    first = Model(make_records_file(alphabet=" ab"))
    second = Model(make_records_file(alphabet="abc", has_bytes=True, seed=4))
    both = blend([(first, 1.0), (second, 3.0)])

    def share(model: Any) -> float:
        return float(dict(model.next_chars("ab", model.vocab.size))["<end>"])

    assert share(both) == pytest.approx((share(first) + 3 * share(second)) / 4, rel=1e-5)
    assert both.next_chars("ab\n", 300) == both.next_chars("", 300)
    config = SampleConfig(seed=5, length=30, documents=2)
    batch = [each.text for each in both.generate_many(config=config, count=9)]
    assert batch == [str(both.generate(config=config, index=i)) for i in range(9)]
