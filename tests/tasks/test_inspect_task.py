"""A model of another task looks at a text, of which something must be left once it is read."""

from __future__ import annotations

import pytest

from charrnn.errors import ConfigError
from charrnn.tasks.inspect_task import inspect_task
from tests.generation.task_models import make_task_file


@pytest.mark.parametrize("text", ["", " ", "\t "])
@pytest.mark.parametrize("kind", ["classification", "tagging", "transitions", "seq2seq"])
def test_a_text_of_which_nothing_is_read_is_refused(kind: str, text: str) -> None:
    with pytest.raises(ConfigError, match="the model reads nothing of the text"):
        inspect_task(make_task_file(kind, alphabet="abé"), text)
