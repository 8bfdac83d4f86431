"""The model card of a Hugging Face folder: README.md with YAML in front.

It says what a run measured and how it was trained, never what a text holds or where a file lies. A
card ends with a line that knows its own digest, so that one which somebody edited can be told from
one that charrnn wrote.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from charrnn._version import __version__
from charrnn.checkpoint.model_file import ModelFile
from charrnn.config.export import ExportConfig

PIPELINES = {
    "text": "text-generation",
    "classification": "text-classification",
    "tagging": "token-classification",
}
"""What the hub calls our tasks; it has no name for learned rewriting."""

_MARK = re.compile(rb"<!-- charrnn [0-9A-Za-z.+-]{1,40} ([0-9a-f]{64}) -->\n\Z")
_PROTOCOLS = {
    "val_bpc": "held-out text read from its start, the state carried",
    "val_windowed_bpc": "held-out text in windows of 256 characters, each from the initial state",
}
_OF_RECORDS = "held-out records, each from the initial state; its end counts as a character"
_SETTINGS = {
    "optimizer": "optimizer",
    "learning_rate": "learning rate",
    "batch_size": "lanes",
    "seq_len": "window",
    "dropout": "dropout",
    "seed": "seed",
}
# YAML reads JSON's texts; what it forbids in them, and marks that turn the order, are escaped.
_ESCAPED = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029, 0xFEFF)}
_SPECIAL = re.compile(r"([\\`*_\[\]<>#|&])")


def make_card(file: ModelFile, name: str, config: ExportConfig, samples: Sequence[str]) -> str:
    """Return the card of a model, which ends with its own digest.

    file: without what is private. name: of the model, on the hub USER/NAME. samples: of its texts,
    if they are to be shown.
    """
    parts = [
        "---",
        *_front_matter(file, name, config),
        "---",
        "",
        f"# {_plain(name)}",
        "",
        *_describe(file),
        "",
        *_usage(file, name),
        "",
        *_figures(file),
        *_training(file),
        *_show_samples(samples),
    ]
    text = "\n".join(parts).rstrip("\n") + "\n\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{text}<!-- charrnn {__version__} {digest} -->\n"


def is_unedited(card: bytes) -> bool:
    """Return whether a card is as `make_card`, of any version, wrote it.

    >>> is_unedited(b"# My model")
    False
    """
    found = _MARK.search(card)
    return found is not None and hashlib.sha256(card[: found.start()]).hexdigest() == (
        found[1].decode()
    )


def _front_matter(file: ModelFile, name: str, config: ExportConfig) -> Iterator[str]:
    """Yield lines of YAML: what the hub reads."""
    task = file.config.task
    yield "library_name: charrnn"
    if config.licence:
        yield f"license: {_quoted(config.licence.lower())}"  # as the hub spells them all
    if config.language:
        yield "language:"
        yield from (f"- {_quoted(each.strip())}" for each in config.language.split(","))
    if task in PIPELINES:
        yield f"pipeline_tag: {PIPELINES[task]}"
    yield "tags:"
    yield from (f"- {_quoted(tag)}" for tag in ("charrnn", "character-level", file.config.cell))
    metrics = list(_metrics(file))
    corpus = (file.summary.get("corpus") or {}).get("name")
    if not metrics or not corpus:
        return
    yield "model-index:"
    yield f"- name: {_quoted(name)}"
    yield "  results:"
    yield "  - task:"
    yield f"      type: {PIPELINES.get(task, 'other')}"
    yield "    dataset:"
    yield f"      name: {_quoted(corpus)}"
    yield f"      type: {_quoted(re.sub(r'[^a-z0-9]+', '-', corpus.lower()).strip('-') or 'text')}"
    yield "    metrics:"
    for key, words, value in metrics:
        yield f"    - type: {_quoted(key)}"
        yield f"      name: {_quoted(words)}"
        yield f"      value: {value:.4f}"


def _metrics(file: ModelFile) -> Iterator[tuple[str, str, float]]:
    """Yield each figure of the run: the kind of metric, its protocol in words, its value."""
    if file.config.task == "text":
        for key, protocol in _PROTOCOLS.items():
            if _is_number(value := file.summary.get(key)):
                words = _OF_RECORDS if file.vocab.has_end else protocol
                yield "bits-per-character", f"bits per character ({words})", value
        return
    for key, value in (file.summary.get("scores") or {}).items():
        if _is_number(value):
            yield key.replace("_", "-"), f"{key.replace('_', ' ')} on held-out records", value


def _describe(file: ModelFile) -> Iterator[str]:
    """Yield what the model is."""
    config = file.config
    layers = f"{config.num_layers} × {config.hidden_size} units"
    kind = "bidirectional " * config.bidirectional + config.cell.upper()
    ngrams = f", n-grams of up to {config.ngram_order}" if config.ngram_rows else ""
    what = {
        "text": "writes text, character by character",
        "classification": "says which class a text is of",
        "tagging": "gives each character or token of a text a tag",
        "seq2seq": "rewrites a text",
    }[config.task]
    yield (
        f"A character-level recurrent network ({kind}, {layers}{ngrams}, {config.num_parameters:,} "
        f"parameters) that {what}. Made with charrnn {__version__}."
    )
    forms = file.summary.get("settings") or {}
    if forms.get("lowercase") is True:
        yield ""
        yield "It learned from small letters alone: charrnn lowers what it reads."
    if columns := file.labels.columns:
        noun = "labels" if config.task == "text" else "answers"
        yield ""
        yield f"Its {noun}: " + "; ".join(
            f"{_plain(each.name)} ({len(each.values):,})" for each in columns
        )


def _usage(file: ModelFile, name: str) -> Iterator[str]:
    """Yield five lines of Python that use it."""
    place = f'"hf://{name}")' if "/" in name else '"the path of this folder")'
    yield "## How to use it"
    yield ""
    yield "```python"
    yield "import charrnn  # and pip install huggingface_hub"
    yield f"model = charrnn.load({place}"
    if file.config.task == "text":
        yield 'print(model.generate("", length=400, temperature=0.8))'
        yield 'print(model.score("Some text.").bpc)'
    else:
        yield 'print(model.predict("Some text."))'
    yield "```"
    yield ""
    yield (
        "`charrnn.safetensors` is all that charrnn reads. `model.safetensors`, `config.json` and "
        "`tokenizer.json` hold the same weights, shape and vocabulary for other programs."
    )
    if file.config.ngram_rows:
        yield ""
        yield (
            "The first layer reads the embedding of a token and those of the n-grams that end with "
            "it, the `ngrams` of `model.safetensors`: a plain recurrent network with these weights "
            "must add them. docs/file-format.md of charrnn says how an n-gram finds its row."
        )


def _figures(file: ModelFile) -> Iterator[str]:
    """Yield a table of the figures, and how they were measured."""
    metrics = list(_metrics(file))
    if not metrics:
        return
    corpus: Mapping[str, Any] = file.summary.get("corpus") or {}
    yield "## Figures"
    yield ""
    if held_out := corpus.get("held_out"):
        chars = corpus.get("val_chars")
        size = f" ({chars:,} characters)" if _is_number(chars) else ""
        yield f"On text that it never saw: {_plain(str(held_out))}{size}."
        yield ""
    yield "| measure | value |"
    yield "|---|---|"
    yield from (f"| {_plain(words)} | {value:.3f} |" for _, words, value in metrics)
    baselines = file.summary.get("baselines_bpc") or {}
    if baselines:
        named = ", ".join(
            f"{_plain(str(key))} {value:.3f}" for key, value in baselines.items() if value
        )
        yield ""
        yield f"Simpler models of the same text, in bits per character: {named}."
    yield ""


def _training(file: ModelFile) -> Iterator[str]:
    """Yield on what it was trained, for how long, and by which settings."""
    summary = file.summary
    corpus: Mapping[str, Any] = summary.get("corpus") or {}
    yield "## Training"
    yield ""
    if corpus.get("name"):
        chars = corpus.get("train_chars")
        size = f", {chars:,} characters" if _is_number(chars) else ""
        yield f"- text: {_plain(str(corpus['name']))}{size}; it is not part of this folder"
    if _is_number(step := summary.get("step")):
        seconds = summary.get("elapsed_seconds")
        time = f" in {seconds:,.0f} seconds" if _is_number(seconds) else ""
        where = f" on {summary['device']}" if isinstance(summary.get("device"), str) else ""
        yield f"- {step:,} steps{time}{where}"
    settings = summary.get("resolved") or {}
    named = [f"{words} {settings[key]}" for key, words in _SETTINGS.items() if settings.get(key)]
    if named:
        yield f"- {_plain(', '.join(named))}"
    yield ""


def _show_samples(samples: Sequence[str]) -> Iterator[str]:
    if not samples:
        return
    yield "## Samples"
    yield ""
    for each in samples:
        yield from (f"    {line}" for line in each.splitlines())
        yield ""


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).translate(_ESCAPED)


def _plain(text: str) -> str:
    """Return a text of one line without what Markdown or HTML would take as a sign."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
