"""The Python calls: everything that the command line can do, each a thin function over tasks/.

    load          a Model: generate, generate_many, search, fill, score, fit, next_chars
    open_models   OpenModels for `sample`: several blended, one pushed away, a saved state
    sample        an iterator of Sample: text, stopped_by, bpc, costs
    score         Scores: the bits of each character, bpc
    train         an iterator of reports; the last is a RunFinished
    evaluate      an EvalResult: nats, bpc and perplexity of each model by each protocol
    corpus_stats  a CorpusSummary: counts, encoding problems, baselines, what train would choose
    benchmark     an iterator of speeds: the machine, training, evaluation, sampling
    compress      Compressed: data, bits_per_char, bits_per_byte; decompress: the original bytes
    describe      a dict: shape, vocabulary and training of a model
    list_runs     a list of dicts, one a run, the newest first

A model is named by its run, its folder or its file; None is the newest run. `checkpoints` is the
folder of all runs; None is checkpoints/. Errors are kinds of charrnn.errors.CharRNNError.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from charrnn.checkpoint import run_store
from charrnn.checkpoint.model_file import describe_model, read_model
from charrnn.config import DynamicConfig, RunConfig, TextConfig, check_names, with_settings
from charrnn.errors import ConfigError, CorpusError
from charrnn.generation.generator import Generator, check_text
from charrnn.generation.model import Model

# Each function imports its task when it is called: `load` must not wait for torch (1 s).
if TYPE_CHECKING:
    from charrnn.bench.speeds import Speed
    from charrnn.compression.codec import Compressed
    from charrnn.generation.samples import Sample
    from charrnn.generation.scoring import Scores
    from charrnn.tasks.corpus_stats import CorpusSummary
    from charrnn.tasks.evaluate import EvalResult
    from charrnn.tasks.open_models import OpenModels
    from charrnn.tasks.train import RunReport

Name = str | Path | None
Names = str | Path | Sequence[str | Path]
Corpus = str | Path | IO[Any]
_MAX_SHOWN = 60  # characters of a text in the place of a path


def load(model: Name = None, *, checkpoints: Name = None) -> Model:
    """Open a model.

    >>> charrnn.load("book").fill("The q___k brown f_x")  # doctest: +SKIP
    """
    return Model(read_model(_find(model, checkpoints)))


def sample(
    prompt: str = "",
    model: Name | OpenModels = None,
    *,
    checkpoints: Name = None,
    **settings: Any,
) -> Iterator[Sample]:
    """Yield texts that continue `prompt`; sample i depends only on the seed and i.

    settings: fields of tasks/sample.py's SampleRequest, such as count, best_of and unique, and of
    SampleConfig, such as temperature, length and max_copy.

    >>> names = charrnn.sample("A", "names", count=9, unique=True, lines=1)  # doctest: +SKIP
    >>> both = charrnn.open_models(models=["book:0.7", "tale:0.3"])  # doctest: +SKIP
    >>> story = next(charrnn.sample("It was", both, best_of=5, length=200))  # doctest: +SKIP
    """
    from charrnn.tasks.open_models import OpenModels, open_models
    from charrnn.tasks.sample import SampleRequest, iter_samples

    if isinstance(model, Generator):
        raise ConfigError("sample takes a model's name, or open_models(...); a model has generate")
    check_text(prompt)
    if not isinstance(model, OpenModels):
        model = open_models(None if model is None else str(model), checkpoints=checkpoints)
    names = {item.name for item in fields(SampleRequest)} & settings.keys()
    request = SampleRequest(**{name: settings.pop(name) for name in names})
    return iter_samples(model, prompt, request=request, **settings)  # the rest is SampleConfig's


def score(text: str, model: Name = None, *, checkpoints: Name = None) -> Scores:
    """Return what each character of `text` costs a model, in bits.

    >>> charrnn.score("It was the best of times", "book").bpc  # doctest: +SKIP
    1.93
    """
    return load(model, checkpoints=checkpoints).score(text)


def train(
    corpus: Corpus | Sequence[Corpus] = (),
    *,
    texts: str | Sequence[str] = (),
    should_stop: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> Iterator[RunReport]:
    """Train a model and keep the run's files; yield a report of each thing that happens.

    Nothing happens before the first report is taken. Leave the loop whenever you like: from the
    first step on, that saves the run as a stop does, and resume="book" continues it bit for bit.
    Before that there is nothing to save. Ctrl-C inside a step costs what was not saved yet.

    corpus: files, folders, globs, a library name, or open files, which are read at once. texts: a
    text, or several that are documents, instead of a corpus; they are not kept, so give them again
    to resume. settings: fields of TrainConfig, TextConfig and RunConfig; budget_seconds=90 is
    budget="90s". should_stop: called after every step; True saves the run and ends it.

    >>> *_, last = charrnn.train("book.txt", budget="5m", name="book")  # doctest: +SKIP
    >>> last.finished.best_val_nats  # doctest: +SKIP
    1.439
    >>> for report in charrnn.train(texts=["It was …", "Once …"]):  # doctest: +SKIP
    ...     print(report)
    """
    from charrnn.tasks.train import start_run

    if "budget_seconds" in settings:
        settings["budget"] = settings.pop("budget_seconds")
    is_one = isinstance(corpus, str | bytes | Path) or not isinstance(corpus, Sequence)
    given: list[Any] = [corpus] if is_one else list(corpus)  # type: ignore[arg-type]
    encoding = settings.get("encoding", TextConfig().encoding)
    paths = _as_strings([each for each in given if not hasattr(each, "read")])
    texts = [texts] if isinstance(texts, str) else list(texts)
    texts += [_read_file(each, encoding) for each in given if hasattr(each, "read")]
    reports = start_run(paths, settings, texts=texts, should_stop=should_stop)
    # Python closes a generator that nothing refers to any more, but none at its own end.
    weakref.finalize(reports, _close, weakref.ref(reports))
    return reports


def evaluate(
    models: Names,
    files: Names = (),
    *,
    dynamic_rate: float | None = None,
    checkpoints: Name = None,
    **text: Any,
) -> EvalResult:
    """Score models on files, or on the part of their own text that training held out.

    dynamic_rate: adds dynamic evaluation. text: fields of tasks/eval_text.py's EvalTextRequest,
    such as split="all", or text="…" instead of files.

    >>> charrnn.evaluate("book").models[0].carried.bpc  # doctest: +SKIP
    2.077
    """
    from charrnn.tasks.eval_text import EvalTextRequest
    from charrnn.tasks.evaluate import evaluate_models

    check_names(text, [item.name for item in fields(EvalTextRequest)])
    paths = [(name, _find(name, checkpoints)) for name in _as_strings(models)]
    dynamic = None if dynamic_rate is None else DynamicConfig(dynamic_rate=dynamic_rate)
    return evaluate_models(paths, EvalTextRequest(_as_strings(files), **text), dynamic)


def corpus_stats(corpus: Names, **settings: Any) -> CorpusSummary:
    """Measure a text; settings: fields of TextConfig.

    >>> charrnn.corpus_stats("book.txt").baselines_bpc  # doctest: +SKIP
    {'gzip': 3.31, 'xz': 3.05, '5-gram': 2.61}
    """
    from charrnn.tasks.corpus_stats import summarise_corpus

    return summarise_corpus(_as_strings(corpus), with_settings(TextConfig(), settings))


def benchmark(
    cells: Sequence[str] = ("lstm",),
    hidden_sizes: Sequence[int] = (256,),
    *,
    quick: bool = False,
    **settings: Any,
) -> Iterator[Speed]:
    """Yield speeds of this machine; settings: fields of TrainConfig for all networks.

    >>> machine, training, *_ = charrnn.benchmark(quick=True)  # doctest: +SKIP
    """
    from charrnn.bench.speeds import Measuring
    from charrnn.tasks.benchmark import QUICK, THOROUGH, measure_speeds

    for result in measure_speeds(cells, hidden_sizes, settings, QUICK if quick else THOROUGH):
        if not isinstance(result, Measuring):  # that announces the next figure on a terminal
            yield result


def compress(original: bytes, model: Name = None, *, checkpoints: Name = None) -> Compressed:
    """Compress bytes, with a model predicting each character; the same one decompresses them.

    >>> packed = charrnn.compress(b"It was the best of times", "book")  # doctest: +SKIP
    >>> charrnn.decompress(packed.data, "book")  # doctest: +SKIP
    b'It was the best of times'
    """
    from charrnn.compression import codec

    return codec.compress(original, read_model(_find(model, checkpoints)))


def decompress(data: bytes, model: Name = None, *, checkpoints: Name = None) -> bytes:
    """Return the bytes that `compress` made `data` from.

    >>> charrnn.decompress(Path("play.txt.crnn").read_bytes(), "book")  # doctest: +SKIP
    """
    from charrnn.compression import codec

    path = _find(model, checkpoints)
    return codec.decompress(data, read_model(path), "the data", str(path))


def describe(model: Name = None, *, checkpoints: Name = None) -> dict[str, Any]:
    """Describe a model, with the fields that `charrnn info --json` prints.

    >>> charrnn.describe("book")["val_bpc"]  # doctest: +SKIP
    2.077
    """
    return describe_model(read_model(_find(model, checkpoints)))


def list_runs(*, checkpoints: Name = None) -> list[dict[str, Any]]:
    """Return name, corpus, model and held-out loss of each run; "error" for a damaged one.

    >>> list_runs(checkpoints="no such folder")
    []
    """
    runs = run_store.list_runs(Path(checkpoints or RunConfig().checkpoints))
    return [run_store.summarise_run(run) for run in runs]


def _find(model: Name, checkpoints: Name) -> Path:
    """Return the path of a model's file."""
    folder = Path(checkpoints or RunConfig().checkpoints)
    return run_store.find_model(None if model is None else str(model), folder)


def _as_strings(paths: Names) -> list[str]:
    """Return paths as texts; refuse what is no path, and a text in the place of one."""
    names: Sequence[Any] = [paths] if isinstance(paths, str | bytes | Path) else paths
    for name in names:
        if not isinstance(name, str | Path):
            raise ConfigError(f"a path is of type {type(name).__name__}; give a str or a Path")
        is_prose = "\n" in str(name) or (len(str(name)) > _MAX_SHOWN and " " in str(name))
        if is_prose and not os.path.exists(name):  # noqa: PTH110 (Path's fails on a long name)
            raise CorpusError(
                f"there is no file {str(name)[:_MAX_SHOWN]!r}…; to train on a text itself: "
                "charrnn.train(texts=...)"
            )
    return [str(name) for name in names]


def _close(reports: weakref.ref[Any]) -> None:
    """Leave a run's loop, if it is still there."""
    left = reports()
    if left is not None:
        left.close()


def _read_file(file: IO[Any], encoding: str) -> str:
    """Return the text of an open file, from where it stands."""
    try:
        data = file.read()
        return data if isinstance(data, str) else data.decode(encoding)
    except (OSError, ValueError, LookupError) as error:  # closed, or in another encoding
        raise CorpusError(f"cannot read {getattr(file, 'name', file)!r}: {error}") from error
