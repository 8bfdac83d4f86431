"""Scores, completions and compressed files of models of records."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.checkpoint.model_file import ModelFile
from charrnn.compression.codec import compress, decompress
from charrnn.errors import CorpusError
from charrnn.generation.labels import with_labels
from charrnn.generation.scoring import iter_lines
from charrnn.tasks.model import Model
from charrnn.text.vocab import END
from tests.generation.record_models import WHO, make_records_file

LINES = Model(make_records_file("line"))
DOCUMENTS = Model(make_records_file("document", document_end="--"))
FILES = Model(make_records_file("file", alphabet="\n ab"))


def bits_of(model: Model, text: str) -> float:
    """Return the bits of a whole text, ends and all."""
    scores = model.score(text)
    return float(scores.bits.sum()) + sum(bits for _, bits in scores.ends)


def test_records_cost_what_each_costs_alone() -> None:
    records = ["ab", "é a", "bb"]
    alone = sum(bits_of(LINES, record) for record in records)

    assert bits_of(LINES, "\n".join(records)) == pytest.approx(alone, abs=1e-6)
    assert bits_of(DOCUMENTS, "--".join(records)) == pytest.approx(alone, abs=1e-6)


def test_blank_records_and_newlines_around_records_are_none() -> None:
    assert LINES.score("\nab\n \n\né").text == "ab\né\n"
    assert DOCUMENTS.score("\nab\n--\n--\né\n").text == "abé"
    assert FILES.score("\n\nab\na\n").text == "ab\na"
    assert len(FILES.score("").bits) == 0


def test_the_end_of_a_line_costs_as_its_newline() -> None:
    scores = LINES.score("ab\né")

    assert scores.text == "ab\né\n"
    assert len(scores.bits) == 5
    assert (scores.ends, scores.given) == ((), 0)
    assert scores.bpc == pytest.approx(scores.bits.mean())
    assert [line.text for line in iter_lines([scores])] == ["ab\n", "é\n"]


def test_a_newline_at_the_end_begins_no_record() -> None:
    assert LINES.score("ab\n").text == LINES.score("ab").text


def test_the_ends_of_documents_are_told_apart() -> None:
    scores = DOCUMENTS.score("ab--a--é")
    lines = [*iter_lines([scores])]

    assert scores.text == "abaé"
    assert [at for at, _ in scores.ends] == [2, 3, 4]
    assert [(line.text, line.end_bits is None) for line in lines] == [
        ("ab", False),
        ("a", False),
        ("é", False),
    ]
    assert sum(line.all_bits.sum() for line in lines) == pytest.approx(
        bits_of(DOCUMENTS, "ab--a--é")
    )
    assert scores.bpc == pytest.approx(bits_of(DOCUMENTS, "ab--a--é") / 7)
    assert scores.bits_per_byte == pytest.approx(bits_of(DOCUMENTS, "ab--a--é") / 8)


def test_a_mark_may_come_in_two_pieces() -> None:
    form = DOCUMENTS.text_format

    assert "".join(form.iter_with_ends(["a-", "-b", "", "---", "c-"])) == f"a{END}b{END}-c-{END}"
    assert form.with_ends("a\n--\nb") == f"a{END}b"


def test_a_model_of_uniform_logits_charges_the_end_as_any_character() -> None:
    file = make_records_file("file", alphabet="ab", spread=0.0)

    assert bits_of(Model(file), "abba") == pytest.approx(5 * math.log2(3))


def test_a_text_is_refused_that_holds_what_stands_for_an_end() -> None:
    with pytest.raises(CorpusError, match="U\\+10FFFF"):
        LINES.score(f"a{END}b")


def test_unseen_characters_keep_their_places_beside_ends() -> None:
    scores = DOCUMENTS.score("aß--ßb")

    assert scores.text == "aßßb"
    assert scores.unseen == (1, 2)


def test_a_completion_is_a_whole_record() -> None:
    filling = LINES.fill("a_", count=4)
    best = filling.completions[0]

    assert filling.is_exact
    assert {each.text for each in filling.completions} == {"aa", "ab", "aé", "a "}
    for each in filling.completions:
        assert each.bits == pytest.approx(bits_of(LINES, each.text), abs=1e-4)
    assert best.bpc == pytest.approx(best.bits / 3)
    assert best.text[slice(*best.filled[0])] == best.text[1]


def test_a_gap_may_end_a_record() -> None:
    filling = LINES.fill("a*", max_gap=2, count=3)

    assert all(
        each.bits == pytest.approx(bits_of(LINES, each.text)) for each in filling.completions
    )
    assert END not in "".join(each.text for each in filling.completions)


FILLED = [
    make_records_file("line"),
    make_records_file("line", has_bytes=True),
    make_records_file("file", alphabet="\n ab"),
    make_records_file("document", document_end="--", has_bytes=True),
]


@pytest.mark.parametrize("file", FILLED, ids=["lines", "bytes", "files", "documents"])
@given(st.one_of(st.binary(max_size=40), st.text("ab é\n\x00-", max_size=40).map(str.encode)))
def test_any_bytes_come_back(file: ModelFile, original: bytes) -> None:
    packed = compress(original, file)

    assert decompress(packed.data, file, "x", "model") == original


def test_a_newline_is_coded_as_an_end() -> None:
    text = b"ab\nab\n\nab\n" * 20
    file = make_records_file("line", end_bias=1.0)

    assert compress(text, file).escaped_bytes == 0
    assert compress(text, make_records_file("file")).escaped_bytes == text.count(b"\n")


def test_a_compressed_file_is_bound_to_its_labels() -> None:
    file = make_records_file(labels=(WHO,), alphabet=" ab")
    texts = {who: compress(b"ab ab\n" * 30, with_labels(file, [who])) for who in WHO.values}

    assert texts["ROMEO"].model_bits != texts["JULIET"].model_bits
    assert np.isfinite(texts["ROMEO"].model_bits)


@given(st.lists(st.text("ab é", min_size=1, max_size=9).filter(str.strip), max_size=6))
def test_any_records_cost_the_sum_of_what_they_cost_alone(records: list[str]) -> None:
    whole = bits_of(LINES, "\n".join(records))

    assert whole == pytest.approx(sum(bits_of(LINES, each) for each in records), abs=1e-6)
