"""What a model in training writes at each evaluation, or decides, so that a person sees it learn.

It is always from the same random stream, by the same numpy code that `charrnn sample` uses. The
recorder calls this; a prompt is checked before anything is trained.
"""

from __future__ import annotations

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config.fields import refuse_escapes
from charrnn.data.corpus import Corpus
from charrnn.errors import VocabError
from charrnn.generation.text_format import text_format_of
from charrnn.tasks.model import Model
from charrnn.tasks.predict import iter_predictions
from charrnn.tasks.task_scores import TaskScores
from charrnn.tasks.train_request import TrainRequest
from charrnn.text.vocab import END, name_characters

_SAMPLE_CHARS = 240  # three lines of a terminal
_MOST_RECORDS = 20


def check_sample_prompt(request: TrainRequest, corpus: Corpus) -> None:
    """Refuse a prompt that a model of this text cannot read, before anything is trained.

    Raises:
        ConfigError: it has a backslash and an n where a newline was meant.
        VocabError: it has characters that are not in the text.
    """
    prompt = request.train.sample_prompt
    if not prompt or not request.train.samples:
        return
    vocab = corpus.vocab
    refuse_escapes("--sample-prompt", prompt, vocab.alphabet)
    if request.task != "text":
        return  # what it never saw is mapped, as charrnn predict does
    form = text_format_of({"settings": request.settings})
    text = form.normalized(prompt)
    unknown = [text[place] for place in vocab.find_unknown(text)]
    if unknown or (vocab.has_end and END in text):
        named = name_characters(unknown or END).removeprefix("the model never saw ")
        raise VocabError(
            f"--sample-prompt has {named}, which the text has not; give another prompt"
        )


def sample_text(model: Model, prompt: str = "") -> str:
    """Return what a model writes after a prompt, which comes first; of records, several."""
    if not model.config.has_end:
        return prompt + "".join(model.generate(prompt, length=_SAMPLE_CHARS, seed=1))
    records: list[str] = []
    room = _SAMPLE_CHARS
    for sample in model.generate_many(prompt, count=_MOST_RECORDS, length=_SAMPLE_CHARS, seed=1):
        if records and len(sample.text) >= room:
            break
        records.append(prompt + sample.text)
        room -= len(sample.text) + 1
    return "\n".join(records)


def describe_decisions(file: ModelFile, found: TaskScores, prompt: str = "") -> str:
    """Return what a network that decides says of a prompt, or else of some held-out records."""
    if not prompt:
        return "\n".join(map(_describe_example, found.examples))
    (prediction,) = iter_predictions(file, [prompt])
    return f"{prompt} → {prediction.label}"


def _describe_example(example: tuple[str, str, str]) -> str:
    """Return a held-out record with what was found, and what is right where that differs."""
    text, found, right = example
    return f"{text} → {found}" + ("" if found == right else f" (right: {right})")
