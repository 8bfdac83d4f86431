"""The Python calls: everything that the command line can do, each a thin function over tasks/.

    load          a Model: generate, generate_many, search, fill, score, fit, next_chars
    open_models   OpenModels for `sample`: several blended, one pushed away, a saved state
    sample        an iterator of Sample: text, stopped_by, bpc, costs
    score         Scores: the bits of each character, bpc
    inspect       an Inspection: reports of what happens inside models, pictures, a page
    predict       a list of Prediction: label, probability, top
    fit           trains to the end; a Result: model, bpc, steps
    fit_seeds     the same for each seed, with mean and spread; fit_cells: for each cell
    sweep         tries settings as trials; a SweepFinished: best, trials
    train         the same as an iterator of reports; the last is a RunFinished
    evaluate      an EvalResult: nats, bpc and perplexity of each model by each protocol
    corpus_stats  a CorpusSummary: counts, encoding problems, baselines, what train would choose
    benchmark     an iterator of speeds: the machine, training, evaluation, sampling
    compress      Compressed: data, bits_per_char, bits_per_byte; decompress: the original bytes
    export        writes a model as ONNX, a web page, …, and checks it; an ExportReport
    serve         answers requests over HTTP; start_server: in a thread, a Server
    push, pull    share a model on the Hugging Face hub; get one from it as a run
    describe      a dict: shape, vocabulary and training of a model
    list_runs     a list of dicts, one a run, the newest first
    remove        nothing: a run's folder is gone
    compare       a Comparison of runs: settings that differ, curves, which predicts better

A model is named by its run, its folder or its file; None is the newest run. `checkpoints` is the
folder of all runs; None is checkpoints/. Errors are kinds of charrnn.errors.CharRNNError.
docs/api.md has every parameter, report and error.
"""

from __future__ import annotations

import os
import signal
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from charrnn.checkpoint import run_store
from charrnn.checkpoint.model_file import describe_model, read_model, read_model_header
from charrnn.config import (
    DynamicConfig,
    RunConfig,
    TextConfig,
    check_names,
    check_type,
    with_settings,
)
from charrnn.errors import ConfigError, CorpusError
from charrnn.generation.generator import Generator
from charrnn.generation.labels import AskedLabels, list_labels, with_labels
from charrnn.generation.text_format import check_text, describe_record
from charrnn.tasks.model import Model
from charrnn.wording import in_python

# Each function imports its task when it is called: `load` must not wait for torch (1 s).
if TYPE_CHECKING:
    from charrnn.bench.speeds import Speed
    from charrnn.checkpoint.hub import Pushed
    from charrnn.compression.codec import Compressed
    from charrnn.generation.samples import Sample
    from charrnn.generation.scoring import Scores
    from charrnn.server.server import Server
    from charrnn.tasks.compare import Comparison
    from charrnn.tasks.corpus_stats import CorpusSummary
    from charrnn.tasks.distill import StudentStarted, TeacherStarted
    from charrnn.tasks.evaluate import EvalResult
    from charrnn.tasks.export import ExportReport
    from charrnn.tasks.fit import CellsFinished, CellStarted, Result, SeedsFinished, SeedStarted
    from charrnn.tasks.hub import Pulled
    from charrnn.tasks.inspect import Inspection
    from charrnn.tasks.open_models import OpenModels
    from charrnn.tasks.predictions import Prediction
    from charrnn.tasks.sweep import SweepFinished, SweepReport
    from charrnn.tasks.task_model import TaskModel
    from charrnn.tasks.task_result import TaskEvalResult
    from charrnn.tasks.train import RunReport
    from charrnn.tasks.train_request import FileContent

Name = str | Path | None
Names = str | Path | Sequence[str | Path]
Corpus = str | Path | IO[Any]
_MAX_SHOWN = 60  # characters of a text in the place of a path
_NEVER_STARTED = "the run never started: iterate over charrnn.train(...), or call charrnn.fit(...)"


def load(
    model: Name = None, *, labels: AskedLabels = (), checkpoints: Name = None
) -> Model | TaskModel:
    """Open a model; labels: of its texts, as {"speaker": "ROMEO"}, or as a list of what --label is.

    A model of another task than text is a TaskModel, which has predict, predict_proba and score.

    >>> charrnn.load("play", labels={"speaker": "ROMEO"}).generate()  # doctest: +SKIP
    >>> charrnn.load("book").fill("The q___k brown f_x")  # doctest: +SKIP
    """
    from charrnn.tasks.task_model import open_model

    return open_model(read_model(_find(model, checkpoints)), labels)


def sample(
    prompt: str = "",
    model: Name | OpenModels = None,
    *,
    labels: AskedLabels = (),
    label_strength: float = 1.0,
    checkpoints: Name = None,
    **settings: Any,
) -> Iterator[Sample]:
    """Yield texts that continue `prompt`; sample i depends only on the seed and i.

    labels: as for `load`; with a label_strength above 1 they count more than in training.
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
        check_type("the model", model, str | Path | None, "its name or path")
        model = open_models(
            None if model is None else str(model),
            labels=labels,
            label_strength=label_strength,
            checkpoints=checkpoints,
        )
    elif labels or label_strength != 1:
        raise ConfigError("give labels and label_strength to open_models(...), not to sample(...)")
    names = {item.name for item in fields(SampleRequest)} & settings.keys()
    request = SampleRequest(**{name: settings.pop(name) for name in names})
    return iter_samples(model, prompt, request=request, **settings)  # the rest is SampleConfig's


def score(
    text: str, model: Name = None, *, labels: AskedLabels = (), checkpoints: Name = None
) -> Scores:
    """Return what each character of `text` costs a model, in bits; labels: as for `load`.

    >>> charrnn.score("It was the best of times", "book").bpc  # doctest: +SKIP
    1.93
    """
    return Model(read_model(_find(model, checkpoints)), labels).score(text)


def inspect(
    models: Name | Sequence[str | Path] = None,
    *,
    text: str | None = None,
    file: str | Path | None = None,
    views: Sequence[str] = (),
    encoding: str | None = None,
    errors: str | None = None,
    unknown: str = "map",
    labels: AskedLabels = (),
    checkpoints: Name = None,
    **settings: Any,
) -> Inspection:
    """Return what happens inside a model, or several, while they read a text.

    text, file: what they read; None is the beginning of what was held out in training. views: some
    of "text", "guesses", "gates", …; none means all. encoding, errors: of the file, as TextConfig
    has them. unknown: what becomes of characters that the models never saw: "map" takes the nearest
    that they know, "skip" leaves them out, "error" refuses them. labels: of the text, as for
    `load`. settings: fields of InspectConfig, such as at, neurons and chars.

    >>> found = charrnn.inspect(["book-rnn", "book-lstm"], views=["gradients"])  # doctest: +SKIP
    >>> found.reports["gradients"]["book-lstm"].reaches[0].half_life_chars  # doctest: +SKIP
    17.3
    >>> charrnn.inspect("book").save("book.html")  # doctest: +SKIP
    """
    from charrnn.config.fields import UNKNOWN, checked
    from charrnn.config.inspect import InspectConfig, InspectText
    from charrnn.tasks.inspect import VIEWS, open_subjects
    from charrnn.tasks.inspect import inspect as inspect_views

    if text is not None:
        check_text(text)
    names = [models] if models is None or isinstance(models, str | Path) else [*models]
    for name in names:
        check_type("a model", name, str | Path | None, "its name or path")
    checked("unknown", unknown, "str", choices=UNKNOWN)
    config = with_settings(InspectConfig(), settings)
    files = () if file is None else (str(file),)
    found = open_subjects(
        [None if name is None else str(name) for name in names],
        InspectText(files, text, encoding=encoding, errors=errors, unknown=unknown),
        config,
        labels=labels,
        checkpoints=_folder(checkpoints),
    )
    return inspect_views(found.subjects, config, views or VIEWS, command="charrnn.inspect")


def predict(
    texts: Iterable[str],
    model: Name = None,
    *,
    column: str | None = None,
    top: int = 1,
    checkpoints: Name = None,
    **settings: Any,
) -> list[Prediction]:
    """Return what label each text has, by a model that was trained on records with labels.

    column: which labels, where the model has several columns. top: how many to name. settings:
    fields of tasks/predictions.py's PredictRequest, such as threshold=0.8 and prior="uniform".

    >>> charrnn.predict(["Yamamoto"], "languages", top=2)[0].top  # doctest: +SKIP
    (('Japanese', 0.97), ('Italian', 0.01))
    """
    from charrnn.tasks.predict import iter_predictions
    from charrnn.tasks.predictions import PredictRequest

    texts = _listed("texts", texts, str)
    request = with_settings(PredictRequest(), {"column": column, "top": top} | settings)
    return list(iter_predictions(read_model(_find(model, checkpoints)), texts, request))


def fit(
    corpus: Corpus | Iterable[Corpus] = (),
    *,
    texts: str | bytes | Iterable[str | bytes] = (),
    should_stop: Callable[[], bool] | None = None,
    on_report: Callable[[RunReport | TeacherStarted | StudentStarted], object] | None = None,
    **settings: Any,
) -> Result:
    """Train a model to the end, and return what came of it.

    The arguments are those of `train`, which says what they are. docs/api.md and `charrnn train
    --help-all` list the settings. on_report: called with each report. Ctrl-C saves the run and then
    raises KeyboardInterrupt.

    >>> result = charrnn.fit("book.txt", budget="5m", name="book")  # doctest: +SKIP
    >>> result.bpc, result.baselines_bpc["xz"]  # doctest: +SKIP
    (2.077, 3.05)
    >>> print(result.model.generate("The ", length=200))  # doctest: +SKIP
    """
    from charrnn.tasks.distill import train_with_teachers
    from charrnn.tasks.fit import result_of, run_to_end

    check_type("on_report", on_report, Callable | None, "a function")
    check_type("should_stop", should_stop, Callable | None, "a function")
    paths, contents = _read_given(corpus, texts, settings)
    start = partial(train_with_teachers, paths, settings, texts=contents)
    return result_of(run_to_end(start, on_report, should_stop))


def fit_seeds(
    corpus: Corpus | Iterable[Corpus] = (),
    seeds: Sequence[int] = (1, 2, 3),
    *,
    texts: str | bytes | Iterable[str | bytes] = (),
    on_report: Callable[[RunReport | SeedStarted | SeedsFinished], object] | None = None,
    **settings: Any,
) -> SeedsFinished:
    """Train a run for each seed, NAME-seed1 and so on; return their results, mean and spread.

    The sizes and rates that the first run chooses, the others keep. The same call given again
    continues: runs of the same settings and text that are finished are not trained again.

    >>> three = charrnn.fit_seeds("book.txt", [1, 2, 3], steps=2000)  # doctest: +SKIP
    >>> three.mean_bpc, three.sd_bpc  # doctest: +SKIP
    (2.166, 0.004)
    """
    from charrnn.tasks.fit import run_to_end, train_seeds

    check_type("on_report", on_report, Callable | None, "a function")
    paths, contents = _read_given(corpus, texts, settings)
    start = partial(train_seeds, _listed("seeds", seeds, int), paths, settings, texts=contents)
    finished: SeedsFinished = run_to_end(start, on_report)
    return finished


def fit_cells(
    corpus: Corpus | Iterable[Corpus] = (),
    cells: Sequence[str] = ("rnn", "lstm", "gru"),
    *,
    texts: str | bytes | Iterable[str | bytes] = (),
    on_report: Callable[[RunReport | CellStarted | CellsFinished], object] | None = None,
    **settings: Any,
) -> CellsFinished:
    """Train a run for each cell, NAME-rnn and so on; return their results.

    The runs are alike in all but the cell and its learning rate; parameters="1M" gives each the
    units that make as many weights. The same call given again continues.

    >>> three = charrnn.fit_cells("book.txt", parameters="1M", budget="60s")  # doctest: +SKIP
    >>> [(each.run, each.parameters, each.bpc) for each in three.results]  # doctest: +SKIP
    [('book-rnn', 999426, 2.31), ('book-lstm', 998201, 2.16), ('book-gru', 999027, 2.19)]
    """
    from charrnn.tasks.fit import run_to_end, train_cells

    check_type("on_report", on_report, Callable | None, "a function")
    paths, contents = _read_given(corpus, texts, settings)
    start = partial(train_cells, _listed("cells", cells, str), paths, settings, texts=contents)
    finished: CellsFinished = run_to_end(start, on_report)
    return finished


def sweep(
    corpus: Corpus | Iterable[Corpus] = (),
    over: Mapping[str, Any] | Sequence[str] = (),
    *,
    texts: str | bytes | Iterable[str | bytes] = (),
    should_stop: Callable[[], bool] | None = None,
    on_report: Callable[[SweepReport], object] | None = None,
    **settings: Any,
) -> SweepFinished:
    """Try settings as trials, train on with those that do best, and return all of them.

    over: what to try, by name: values, or a range such as "1e-3..1e-2:log". settings: fields of
    SweepConfig, such as budget="1h" and strategy="random", and of TrainConfig, TextConfig and
    RunConfig, which hold for all trials. Each trial is a run, which `load` opens by its name. The
    same call given again continues a sweep that was stopped.

    >>> tried = {"hidden_size": [128, 256, 512], "learning_rate": "1e-3..1e-2:log"}
    >>> found = charrnn.sweep("book.txt", tried, budget="1h")  # doctest: +SKIP
    >>> found.best.settings, charrnn.load(found.best.name)  # doctest: +SKIP
    """
    from charrnn.config.sweep import SweepConfig, as_over
    from charrnn.tasks.fit import run_to_end
    from charrnn.tasks.sweep import run_sweep

    check_type("on_report", on_report, Callable | None, "a function")
    check_type("should_stop", should_stop, Callable | None, "a function")
    paths, contents = _read_given(corpus, texts, settings)
    names = {item.name for item in fields(SweepConfig)} & settings.keys()
    config = SweepConfig(over=as_over(over), **{name: settings.pop(name) for name in names})
    start = partial(run_sweep, config, paths, settings, texts=contents)
    finished = run_to_end(start, on_report, should_stop)
    if getattr(finished, "best", None) is None:
        raise ConfigError("the sweep was stopped; the same call continues it")
    result: SweepFinished = finished
    return result


def train(
    corpus: Corpus | Iterable[Corpus] = (),
    *,
    texts: str | bytes | Iterable[str | bytes] = (),
    should_stop: Callable[[], bool] | None = None,
    **settings: Any,
) -> Iterator[RunReport | TeacherStarted | StudentStarted]:
    """Train a model and keep the run's files; yield a report of each thing that happens.

    Nothing happens before the first report is taken; `fit` trains without a loop. Leave the loop
    whenever you like: from the first step on, that saves the run as a stop does, and resume="book"
    continues it bit for bit. Before that there is nothing to save. Ctrl-C inside a step costs what
    was not saved yet.

    corpus: files, folders, globs, a library name, or open files, which are read at once; what is
    opened as "rb" is decoded as a file is; "letters.txt:5" is read five times an epoch. texts: a
    text, or several that are documents, instead of a corpus; bytes are read as a file of them. They
    are not kept, so give them again to resume.
    settings: fields of TrainConfig, TextConfig and RunConfig, which docs/api.md and `charrnn train
    --help-all` list; budget_seconds=90 is budget="90s".
    should_stop: called after every step; True saves the run and ends it.
    With teachers=4, the reports of four runs come first, each after a TeacherStarted; the last
    report is of the run that learns from them. The same call given again continues.

    >>> *_, last = charrnn.train("book.txt", budget="5m", name="book")  # doctest: +SKIP
    >>> last.finished.best_val_nats  # doctest: +SKIP
    1.439
    >>> for report in charrnn.train(texts=["It was …", "Once …"]):  # doctest: +SKIP
    ...     print(report)
    """
    from charrnn.tasks.distill import train_with_teachers

    check_type("should_stop", should_stop, Callable | None, "a function")
    paths, contents = _read_given(corpus, texts, settings)
    never = should_stop or (lambda: False)
    is_started = []

    def run() -> Iterator[RunReport | TeacherStarted | StudentStarted]:
        is_started.append(True)
        yield from train_with_teachers(paths, settings, texts=contents, should_stop=never)

    reports = run()
    # Python closes a generator that nothing refers to any more, but none at its own end.
    weakref.finalize(reports, _leave, weakref.ref(reports), is_started)
    return reports


def evaluate(
    models: Names | None = None,
    files: Names = (),
    *,
    dynamic_rate: float | None = None,
    checkpoints: Name = None,
    **text: Any,
) -> EvalResult | TaskEvalResult:
    """Score models on files, or on the part of their own text that training held out.

    One model for another task than text is scored by how it decides: the result has its figures.

    dynamic_rate: adds dynamic evaluation. text: fields of tasks/eval_text.py's EvalTextRequest,
    such as split="all", or text="…" instead of files.

    >>> charrnn.evaluate("book").models[0].carried.bpc  # doctest: +SKIP
    2.077
    """
    from charrnn.tasks.eval_task import evaluate_task
    from charrnn.tasks.eval_text import EvalTextRequest

    check_names(text, [item.name for item in fields(EvalTextRequest)])
    names = [None] if models is None else _as_paths(models)
    paths = [(name or "the newest run", _find(name, checkpoints)) for name in names]
    request = EvalTextRequest(tuple(_as_paths(files)), **text)
    if len(paths) == 1 and dynamic_rate is None:
        name, path = paths[0]
        if read_model_header(path).config.task != "text":
            return evaluate_task(name, read_model(path), request)
    from charrnn.tasks.evaluate import evaluate_models  # torch

    dynamic = None if dynamic_rate is None else DynamicConfig(dynamic_rate=dynamic_rate)
    return evaluate_models(paths, request, dynamic)


def corpus_stats(corpus: Names, **settings: Any) -> CorpusSummary:
    """Measure a text; settings: fields of TextConfig.

    >>> charrnn.corpus_stats("book.txt").baselines_bpc  # doctest: +SKIP
    {'gzip': 3.31, 'xz': 3.05, '5-gram': 2.61}
    """
    from charrnn.tasks.corpus_stats import summarise_corpus

    return summarise_corpus(_as_paths(corpus), with_settings(TextConfig(), settings))


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

    cells = _listed("cells", cells, str)
    hidden_sizes = _listed("hidden_sizes", hidden_sizes, int)
    for result in measure_speeds(cells, hidden_sizes, settings, QUICK if quick else THOROUGH):
        if not isinstance(result, Measuring):  # that announces the next figure on a terminal
            yield result


def compress(
    original: bytes, model: Name = None, *, labels: AskedLabels = (), checkpoints: Name = None
) -> Compressed:
    """Compress bytes, with a model predicting each character; the same one decompresses them.

    labels: as for `load`; to decompress, give the same.

    >>> packed = charrnn.compress(b"It was the best of times", "book")  # doctest: +SKIP
    >>> charrnn.decompress(packed.data, "book")  # doctest: +SKIP
    b'It was the best of times'
    """
    from charrnn.compression import codec

    check_type("the original", original, bytes, "bytes, such as text.encode()")
    file = with_labels(read_model(_find(model, checkpoints)), list_labels(labels))
    return codec.compress(original, file)


def decompress(
    data: bytes, model: Name = None, *, labels: AskedLabels = (), checkpoints: Name = None
) -> bytes:
    """Return the bytes that `compress` made `data` from, with the same model and labels.

    >>> charrnn.decompress(Path("play.txt.crnn").read_bytes(), "book")  # doctest: +SKIP
    """
    from charrnn.compression import codec

    check_type("the data", data, bytes, "the bytes that compress made")
    path = _find(model, checkpoints)
    file = with_labels(read_model(path), list_labels(labels))
    return codec.decompress(data, file, "the data", str(path))


def export(
    model: Name = None,
    to: str = "html",
    output: Name = None,
    *,
    labels: AskedLabels = (),
    overwrite: bool = False,
    checkpoints: Name = None,
    **settings: Any,
) -> ExportReport:
    """Write a model in another format, run that, and compare it with the model.

    to: "onnx", "html", "c", "huggingface" or "tensorboard". output: the file or folder to write;
    None is the model's name. labels: to be fixed, as for `load`. overwrite: replace what is there.
    settings: fields of ExportConfig, such as dtype="int8" and verify=False.

    >>> charrnn.export("book", "onnx").verified.max_logit_error  # doctest: +SKIP
    5.2e-07
    """
    from charrnn.config.export import ExportConfig
    from charrnn.tasks.export import export as export_model

    check_type("the format", to, str, 'its name, such as "onnx"')
    for name in (model, output):
        check_type("a path", name, str | Path | None, "a str or a Path")
    return export_model(
        None if model is None else str(model),
        to,
        None if output is None else str(output),
        with_settings(ExportConfig(), settings),
        labels=labels,
        overwrite=overwrite,
        checkpoints=_folder(checkpoints),
    )


def serve(
    models: Names | None = None,
    *,
    on_ready: Callable[[str], object] = lambda url: None,
    checkpoints: Name = None,
    **settings: Any,
) -> None:
    """Answer requests over HTTP until Ctrl-C or SIGTERM; models: served by their runs' names.

    on_ready: called with the address once requests are answered. settings: fields of ServeConfig,
    such as port, api_key and max_chars. Ctrl-C ends in KeyboardInterrupt, SIGTERM in SystemExit.

    >>> charrnn.serve("book", port=0, on_ready=print)  # doctest: +SKIP
    http://127.0.0.1:43127
    """
    check_type("on_ready", on_ready, Callable, "a function")
    server = _make_server(models, checkpoints, settings)
    with server.stopped_by_signals() as came:
        server.run(lambda: on_ready(server.url))
    if came:
        raise KeyboardInterrupt if came[0] == signal.SIGINT else SystemExit(128 + came[0])


def start_server(
    models: Names | None = None, *, checkpoints: Name = None, **settings: Any
) -> Server:
    """Answer requests over HTTP in a thread of this program; the arguments are those of `serve`.

    The server has its address as `url`; `close` ends it, as leaving a `with` block does.

    >>> with charrnn.start_server("book", port=0) as server:  # doctest: +SKIP
    ...     print(server.url)
    http://127.0.0.1:43127
    """
    server = _make_server(models, checkpoints, settings)
    server.start()
    return server


def push(
    model: str | Path,
    name: str,
    *,
    public: bool = False,
    branch: str | None = None,
    checkpoints: Name = None,
    **settings: Any,
) -> Pushed:
    """Share a model in the repository USER/NAME of the Hugging Face hub, private unless `public`.

    settings: fields of ExportConfig that are of the card: licence, language and card_samples.

    >>> charrnn.push("book", "ada/book", language="en").commit  # doctest: +SKIP
    '8d1f…'
    """
    from charrnn.config.export import ExportConfig
    from charrnn.tasks.hub import push as push_model

    check_type("the model", model, str | Path, "its name or path")
    check_type("the name", name, str, '"USER/NAME"')
    return push_model(
        str(model),
        name,
        with_settings(ExportConfig(), settings),
        is_public=public,
        branch=branch,
        checkpoints=_folder(checkpoints),
    )


def pull(
    name: str,
    run_name: str | None = None,
    *,
    overwrite: bool = False,
    checkpoints: Name = None,
) -> Pulled:
    """Get the model of USER/NAME[@REVISION] from the Hugging Face hub as a run.

    run_name: of the run; None is NAME. Without a run: charrnn.load("hf://USER/NAME").

    >>> charrnn.pull("ada/book@v2").run.name  # doctest: +SKIP
    'book'
    """
    from charrnn.tasks.hub import pull as pull_model

    check_type("the name", name, str, '"USER/NAME"')
    return pull_model(name, run_name, overwrite=overwrite, checkpoints=_folder(checkpoints))


def describe(model: Name = None, *, checkpoints: Name = None) -> dict[str, Any]:
    """Describe a model, with the fields that `charrnn info --json` prints.

    >>> charrnn.describe("book")["val_bpc"]  # doctest: +SKIP
    2.077
    """
    from charrnn.checkpoint.hub import read_origin

    path = _find(model, checkpoints)
    file = read_model(path)
    described = describe_model(file) | describe_record(file.summary, has_end=file.config.has_end)
    origin = read_origin(path)
    return described if origin is None else described | {"hub": asdict(origin)}


def list_runs(*, checkpoints: Name = None) -> list[dict[str, Any]]:
    """Return name, corpus, model and held-out loss of each run; "error" for a damaged one.

    >>> list_runs(checkpoints="no such folder")
    []
    """
    runs = map(run_store.summarise_run, run_store.list_runs(_folder(checkpoints)))
    return [run | {"error": in_python(run["error"])} if "error" in run else run for run in runs]


def remove(run: Name, *, checkpoints: Name = None) -> None:
    """Remove a run's folder with all its files: models, training states, logs.

    run: of a sweep, all of its trials are removed with it.

    Raises:
        CheckpointError: there is no such run.
        ConfigError: it is a file of a run, or a link, or holds files that no run writes.
        RunLockedError: a process trains the run.

    >>> charrnn.remove("book-try")  # doctest: +SKIP
    """
    check_type("the run", run, str | Path, "its name or path")
    from charrnn.tasks.remove import find_removable

    find_removable(str(run), _folder(checkpoints)).remove()


def compare(
    runs: Sequence[str | Path], *, is_scored: bool = True, checkpoints: Name = None
) -> Comparison:
    """Return the settings in which runs differ, their curves, and which of them predicts better.

    is_scored: whether the models read the held-out text, of which the corpus must be at hand. Where
    it is not, or the models do not read texts alike, `notes` says so.

    Raises:
        ConfigError: fewer than two runs are named, or one twice.
        CheckpointError: a run is missing, or its file damaged.

    >>> found = charrnn.compare(["book-small", "book-large"])  # doctest: +SKIP
    >>> best = found.differences[0]  # doctest: +SKIP
    >>> best.better, best.nats.value, best.margin_nats, best.is_clear  # doctest: +SKIP
    ('book-large', 0.0121, 0.0036, True)
    """
    from charrnn.tasks.compare import compare_runs

    names = [str(name) for name in _listed("runs", runs, str | Path)]
    return compare_runs(names, _folder(checkpoints), is_scored=is_scored)


def _make_server(models: Names | None, checkpoints: Name, settings: Mapping[str, Any]) -> Server:
    """Return a server that is bound to its address."""
    from charrnn.config.serve import ServeConfig
    from charrnn.server.start import import_server

    names = [] if models is None else _as_paths(models)
    config = with_settings(ServeConfig(), settings)
    return import_server()(names, config, _folder(checkpoints))


def _find(model: Name, checkpoints: Name) -> Path:
    """Return the path of a model's file."""
    check_type("the model", model, str | Path | None, "its name or path")
    return run_store.find_model(None if model is None else str(model), _folder(checkpoints))


def _folder(checkpoints: Name) -> Path:
    """Return the folder of all runs."""
    check_type("checkpoints", checkpoints, str | Path | None, "the path of a folder")
    return Path(checkpoints or RunConfig().checkpoints)


def _listed(what: str, given: Any, one: Any) -> list[Any]:
    """Return one value or several as a list; refuse what is neither, or has no order."""
    if isinstance(given, one) or hasattr(given, "read"):
        return [given]
    if not isinstance(given, Iterable) or isinstance(given, Mapping | Set):
        raise ConfigError(f"{what} is of type {type(given).__name__}; give one, or a list")
    return list(given)


def _as_paths(given: Names) -> list[str]:
    """Return paths as texts; refuse what is not a path, and a text in the place of one."""
    names = _listed("a path", given, str | bytes | Path)
    for name in names:
        check_type("a path", name, str | Path, "a str or a Path")
        is_prose = "\n" in str(name) or (len(str(name)) > _MAX_SHOWN and " " in str(name))
        if is_prose and not os.path.exists(name):  # noqa: PTH110 (Path's fails on a long name)
            raise CorpusError(
                f"there is no file {str(name)[:_MAX_SHOWN]!r}…; to train on a text itself: "
                "charrnn.train(texts=...)"
            )
    return [str(name) for name in names]


def _read_given(
    corpus: Corpus | Iterable[Corpus],
    texts: str | bytes | Iterable[str | bytes],
    settings: dict[str, Any],
) -> tuple[list[str], list[str | bytes | FileContent]]:
    """Return the paths and the texts to train on; `settings` get the names that tasks/ knows."""
    if "budget_seconds" in settings:
        settings["budget"] = settings.pop("budget_seconds")
    given = _listed("a path", corpus, str | bytes | Path)
    files = [each for each in given if hasattr(each, "read")]
    paths = _as_paths([each for each in given if not hasattr(each, "read")])
    return paths, [*_listed("texts", texts, str | bytes), *map(_read_file, files)]


def _leave(reports: weakref.ref[Any], is_started: list[bool]) -> None:
    """Leave a run's loop, if it is still there; warn of a run that nobody has started."""
    left = reports()
    if left is not None:
        left.close()
    if not is_started:
        warnings.warn(_NEVER_STARTED, RuntimeWarning, stacklevel=3)  # the line that drops it


def _read_file(file: IO[Any]) -> FileContent:
    """Return what an open file holds, from where it stands."""
    from charrnn.tasks.train_request import FileContent

    name = str(getattr(file, "name", type(file).__name__))
    try:
        return FileContent(name, file.read())
    except (OSError, ValueError) as error:  # closed, or in another encoding than it was opened by
        is_text = isinstance(error, UnicodeError)
        way_out = '; open it as "rb", for encoding and errors to be as the settings say'
        raise CorpusError(f"cannot read {name!r}: {error}{way_out * is_text}") from error
