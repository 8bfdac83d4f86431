"""What counts as prose, and that nothing of it is said twice."""

from __future__ import annotations

import pytest

from charrnn.corpora.prose import iter_passages, iter_remarks, shuffled

LOCK = "Wait until the lock is released by the thread that holds it."


@pytest.mark.parametrize(
    "text",
    [
        "Syntax of a statement that is given by a grammar:",
        "The value of sys.flags tells what the interpreter was started with.",
        "Call __exit__ of each context manager, the newest one of them first.",
        "| Operator | Description of what it does with the two operands. |",
        'try_statement ::= "try" ":" suite and whatever else may come after it.',
        "Too short to learn from.",
        "and this goes on with something that stands above it, in another place.",
        ">>> That is what a person types at the prompt, and what the answer is.",
    ],
)
def test_what_is_not_whole_sentences_of_plain_words_is_left_out(text):
    assert list(iter_passages([text])) == []


@pytest.mark.parametrize(
    "text",
    [
        LOCK,
        'It\'s (nearly always) a "well-known" word of HTTP, or even 12 of them!',
        "Does a question of several words count as well? It does, as does 3.",
    ],
)
def test_sentences_stay_as_they_are(text):
    assert list(iter_passages([text])) == [text + "\n\n"]


def test_lines_are_filled_anew_and_signs_of_code_are_dropped():
    text = "  Return the ``value``,\n  which the `name` of\n\tthe argument says, and not any other."
    assert list(iter_passages([text])) == [
        "Return the value, which the name of the argument says, and not any\nother.\n\n"
    ]


def test_a_passage_that_stands_before_is_left_out_though_some_of_its_words_differ():
    said = LOCK.replace("thread", "process")
    new = "Release the lock, which lets another thread go on that waits for it."
    assert list(iter_passages([LOCK, said, f"{LOCK}\n \n{new}"])) == [LOCK + "\n\n", new + "\n\n"]


def test_paragraphs_of_one_text_stay_together():
    other = "This is about a different matter and has nothing to do with locks."
    assert list(iter_passages([f"{LOCK}\n\n    x = 1\n\n{other}"])) == [f"{LOCK}\n\n{other}\n\n"]


def test_remarks_are_the_docstrings_and_the_comments_of_a_module():
    source = (
        '"""What it is for."""\n\nimport re  # no remark\n\n'
        "    # Why it is\n    #\n    # so.\n"
        'def f():\n    r"""Return\n\n    a thing.\n    """\n    return """no remark"""\n'
    )
    assert list(iter_remarks(source)) == [
        "What it is for.",
        "Return\n\n    a thing.\n    ",
        " Why it is\n\n so.\n",
    ]


def test_the_order_depends_on_the_content_alone():
    passages = [f"passage {number}" for number in range(99)]
    assert shuffled(passages) == shuffled(passages[::-1])
    assert shuffled(passages) != sorted(passages)
    assert [each for each in shuffled(passages) if each in passages[:9]] == shuffled(passages[:9])
