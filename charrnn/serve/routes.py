"""The routes that sample no text: models, scores, labels, tokens, embeddings, health, figures.

Each handler reads a JSON object, checks its fields, and lets a worker thread do what a command of
the same name does. Work that may take long is given a `Watch`, by which it ends soon after its
client is gone. completions.py and chat.py have the routes that sample.

V = vocabulary, L = layers, H = hidden size.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from charrnn._version import __version__
from charrnn.config import COST, UNKNOWN, FillConfig, with_seed
from charrnn.errors import ConfigError, CorpusError, DivergedError, counted
from charrnn.generation.prefill import iter_prefill
from charrnn.generation.samples import Cost
from charrnn.generation.scoring import Scores, join_scores, without
from charrnn.metrics import perplexity
from charrnn.serve.errors import bad_request, closing, refused
from charrnn.serve.fields import Fields, check_known, is_int, shown
from charrnn.serve.incoming import read_json, service_of
from charrnn.serve.protocol import IGNORED, ModelInfo, blamed, parse_labels, spell
from charrnn.serve.scoring import iter_prompt_costs
from charrnn.serve.service import Served, Service, Watch
from charrnn.serve.texts import info_of
from charrnn.serve.wire import JSON
from charrnn.tasks.model import Model
from charrnn.tasks.predict import make_predictor
from charrnn.tasks.predictions import Prediction, PredictRequest
from charrnn.text.substitutions import fit_piece
from charrnn.text.vocab import END

if TYPE_CHECKING:
    from charrnn.generation.infill.fill import Filling

T = TypeVar("T")

_MOST_TEXTS = 2048  # of one request
_MOST_BEAM = 500  # partial texts of a filling: 2,000 take half a gigabyte
_MOST_COMPLETIONS = 100
_MOST_TOP = 100  # likeliest characters
_MOST_NAMED = 500_000  # of them in one answer, which is then 20 MB
_MOST_TARGETS = 64  # and the beam of a conversion
_AT_ONCE = 16  # texts that are predicted before the next look at the client
_GROUP_CHARS = 4096  # of them together, unless one alone is longer
_DECIMALS = 6  # of bits
_LABELS = ("label", "labels")
_CONVERTING = ("tagging", "seq2seq")


async def health(request: Request) -> Response:
    """GET /health: whether the server takes requests."""
    if service_of(request).is_closing:
        raise closing()
    return JSON({"status": "ok", "version": __version__})


async def show_page(request: Request) -> Response:
    """GET /: the page where one writes with a model; whoever has no key sees no model's name.

    rnn-writer asks here too, whether there is a server, and can read only JSON.
    """
    accepted = request.headers.get("accept", "")
    if "application/json" in accepted and "text/html" not in accepted:
        return JSON({"message": "charrnn answers GET /generate?start_text=…&n=3"})
    from charrnn.serve.page import PageModel, make_page, policy

    state = request.app.state
    if not hasattr(state, "page"):  # always the same
        models = [
            PageModel(each.name, {k: tuple(v) for k, v in each.file.labels.counts.items()})
            for each in service_of(request).served.values()
            if each.models is not None and not state.has_keys
        ]
        state.page = make_page(models).encode()
    headers = {
        "content-security-policy": policy(is_header=True),
        "cache-control": "no-cache",
    }
    return Response(state.page, media_type="text/html", headers=headers)


async def show_metrics(request: Request) -> Response:
    """GET /metrics: figures for Prometheus."""
    service = service_of(request)
    text = service.metrics.render(service.figures(), service.served)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


async def list_models(request: Request) -> Response:
    """GET /v1/models."""
    models = [_describe(each) for each in service_of(request).served.values()]
    return JSON({"object": "list", "data": models})


async def show_model(request: Request) -> Response:
    """GET /v1/models/{id}: the same of one model, and what its form of text is."""
    service = service_of(request)
    served = service.find(request.path_params["id"])
    file = served.file
    more: dict[str, Any] = {
        "labels": file.labels.counts,
        "alphabet": file.vocab.alphabet,
        "has_bytes": file.vocab.has_bytes,
        "has_end": file.vocab.has_end,
        "max_chars": service.config.max_chars,
        "max_prompt": service.config.max_prompt,
    }
    if served.models is not None:
        more["record_kind"] = served.generator.text_format.record_kind
    return JSON(_describe(served) | more)


def _describe(served: Served) -> dict[str, Any]:
    """Return OpenAI's object of a model, and what it is; nothing of files or of the machine."""
    config = served.file.config
    bpc = served.file.summary.get("val_bpc")
    is_figure = isinstance(bpc, int | float) and math.isfinite(bpc)
    return {
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": "charrnn",
        "task": served.task,
        "cell": config.cell,
        "num_layers": config.num_layers,
        "hidden_size": config.hidden_size,
        "vocab_size": config.vocab_size,
        "parameters": config.num_parameters,
        "val_bpc": bpc if is_figure else None,
    }


# Scores


async def score(request: Request) -> Response:
    """POST /v1/score: the bits of each character of a text."""
    service = service_of(request)
    body = await read_json(request)
    check_known(body, {"model", "text", "top", "unknown", *_LABELS, *IGNORED})
    served = service.find_text(body.get("model"))
    given = Fields(body)
    text = _text_of(given, "text", service)
    unknown = given.text("unknown") or COST
    if unknown not in (COST, *UNKNOWN):
        choices = ", ".join((COST, *UNKNOWN))
        raise bad_request(f"unknown is {shown(unknown)}; choose from {choices}", "unknown")
    top = given.integer("top", 0, ge=0, le=_MOST_TOP)
    if top * len(text) > _MOST_NAMED:
        raise bad_request(
            f"top times the characters of the text is {top * len(text):,}; this server names at "
            f"most {_MOST_NAMED:,} characters",
            "top",
        )
    form = served.generator.text_format
    if top and form.record_kind and not form.has_lines:
        message = "top goes with running text, and with records that are lines; leave it out"
        raise bad_request(message, "top")
    labels = parse_labels(given)
    return JSON(await service.watched(_score, served, labels, text, unknown, top))


def _labelled(served: Served, labels: Sequence[str]) -> Model:
    """Return a model with labels fixed."""
    model = Model(served.file, labels) if labels else served.generator
    assert isinstance(model, Model)
    return model


def _score(
    watch: Watch, served: Served, labels: Sequence[str], text: str, unknown: str, top: int
) -> dict[str, Any]:
    """Return the figures of a text, and the likeliest in each place if top is not 0."""
    model = _labelled(served, labels)
    scores, changes = _read_scores(watch, model, text, unknown)
    answer = _describe_scores(served, scores, changes)
    if top:
        answer["top"] = _likeliest(watch, model, scores, top)
    return answer


def _likeliest(
    watch: Watch, model: Model, scores: Scores, top: int
) -> list[list[dict[str, Any]] | None]:
    """Return the likeliest in the place of each character; None where nothing predicts it."""
    costs: list[Cost | None] = []
    for found in iter_prompt_costs(model, without(scores.text, scores.unseen), top):
        watch()
        costs += found
    for place in scores.unseen:  # ascending
        costs.insert(place, None)
    return [None if cost is None else _name_all(cost) for cost in costs]


def _name_all(cost: Cost) -> list[dict[str, Any]]:
    """Return the likeliest characters in a place, each with its bits."""
    return [{"text": name, "bits": round(nats / math.log(2), _DECIMALS)} for name, nats in cost.top]


def _read_scores(
    watch: Watch, model: Model, text: str, unknown: str
) -> tuple[Scores, dict[str, int]]:
    """Return what each character costs, and how many were read as another one."""
    form = model.text_format
    if END in text and model.vocab.has_end:
        message = "the text holds U+10FFFF, which stands for the end of a record; remove it"
        raise bad_request(message, "text")
    pieces = form.iter_with_ends([model.vocab.spell(form.normalized(text))])
    fitted = [fit_piece(piece, model.vocab, unknown) for piece in pieces]
    blocks = []
    for block in model.iter_scores(each.text for each in fitted):
        watch()
        blocks.append(block)
    scores = join_scores(blocks)
    known = len(scores.known_bits) + len(scores.ends)
    if known < 1 + scores.given:
        needed = "2 are needed, as the first is given" if scores.given else "1 is needed"
        raise CorpusError(f"the text has {counted(known, 'character')}; at least {needed}")
    if not np.isfinite(scores.bits).all():
        raise DivergedError("the cost of a character is not a finite number")
    changes: dict[str, int] = {}
    for each in fitted:
        for name, count in each.changes.items():
            changes[name] = changes.get(name, 0) + count
    return scores, changes


def _describe_scores(served: Served, scores: Scores, changes: dict[str, int]) -> dict[str, Any]:
    """Return the figures of a text by the names that `charrnn score --json` has for them."""
    ends = sum(bits for _, bits in scores.ends)
    chars = len(scores.known_bits) - scores.given + len(scores.ends)
    return {
        "object": "score",
        "model": served.name,
        "chars": chars,
        "bits": float(scores.known_bits[scores.given :].sum() + ends),
        "bpc": scores.bpc,
        "bits_per_byte": scores.bits_per_byte,
        "perplexity": perplexity(scores.bpc * math.log(2)),
        "unseen_chars": len(scores.unseen),
        "unseen_bits": scores.unseen_bits,
        "bpc_with_unseen": scores.bpc_with_unseen,
        "characters": [*scores.text],
        "costs": scores.bits.round(_DECIMALS).tolist(),
        "unseen": [*scores.unseen],
        "given": scores.given,
        "ends": [{"after": at, "bits": round(bits, _DECIMALS)} for at, bits in scores.ends],
        "mapped": changes,
        "usage": _usage(len(scores.text)),
    }


# Fillings


async def fill(request: Request) -> Response:
    """POST /v1/fill: the blanks of a text filled in."""
    service = service_of(request)
    body = await read_json(request)
    names = {item.name for item in fields(FillConfig)}
    check_known(body, {"model", "text", *_LABELS, *names, *IGNORED})
    served = service.find_text(body.get("model"))
    given = Fields(body)
    text = _text_of(given, "text", service, service.config.max_chars)
    for name, most in (("count", _MOST_COMPLETIONS), ("beam_width", _MOST_BEAM)):
        given.optional_integer(name, ge=1, le=most)
    settings = {name: body[name] for name in names if body.get(name) is not None}
    config = with_seed(_settings(FillConfig, settings))
    filling = await service.watched(_fill, served, parse_labels(given), text, config)
    return JSON(
        {
            "object": "fill",
            "model": served.name,
            "exact": filling.is_exact,
            "found": filling.found,
            "seed": config.seed if config.sample else None,
            "mapped": dict(filling.changes),
            "completions": [
                {
                    "index": index,
                    "text": each.text,
                    "filled": [each.text[start:end] for start, end in each.filled],
                    "bits": each.bits,
                    "bpc": each.bpc,
                    "share": each.share,
                }
                for index, each in enumerate(filling.completions)
            ],
            "usage": _usage(len(text)),
        }
    )


def _fill(
    watch: Watch, served: Served, labels: Sequence[str], text: str, config: FillConfig
) -> Filling:
    return _labelled(served, labels).fill(text, config, on_progress=watch)


# Predictions


async def classify(request: Request) -> Response:
    """POST /v1/classify: the labels of texts."""
    return await _predict(request, ("text", "classification"), ("column", "top", "threshold"))


async def convert(request: Request) -> Response:
    """POST /v1/convert: what texts become, or their tags."""
    return await _predict(request, _CONVERTING, ("top", "beam", "confidence"))


async def _predict(request: Request, tasks: tuple[str, ...], names: tuple[str, ...]) -> Response:
    service = service_of(request)
    body = await read_json(request)
    known = (*names, *(("prior",) if "text" in tasks else ()))
    check_known(body, {"model", "input", *known, *IGNORED})
    served = service.find(body.get("model"))
    if served.task not in tasks:
        right = "/v1/convert" if served.task in _CONVERTING else "/v1/classify"
        raise bad_request(f"{served.name} is a model for {served.task}; use POST {right}", "model")
    given = Fields(body)
    for name in {"top", "beam"} & {*known}:
        given.optional_integer(name, ge=1, le=_MOST_TARGETS if tasks == _CONVERTING else None)
    texts = _inputs_of(body.get("input"), service.config.max_prompt)
    settings = {name: body[name] for name in known if body.get(name) is not None}
    wanted = _settings(PredictRequest, settings)
    found, mapped = await service.watched(_predict_all, served, texts, wanted)
    describe = _describe_label if tasks != _CONVERTING else _describe_conversion
    data = [{"index": i, **describe(each, served.task)} for i, each in enumerate(found)]
    return JSON(
        {
            "object": "list",
            "model": served.name,
            "data": data,
            "mapped": mapped,
            "usage": _usage(sum(map(len, texts))),
        }
    )


def _predict_all(
    watch: Watch, served: Served, texts: list[str], wanted: PredictRequest
) -> tuple[list[Prediction], dict[str, int]]:
    predictor = make_predictor(served.file, wanted)
    found: list[Prediction] = []
    for group in _groups(texts):
        watch()
        found += predictor.predict(group)
    return found, dict(predictor.changes)


def _groups(texts: Sequence[str]) -> Iterator[list[str]]:
    """Yield the texts in groups that take milliseconds, unless one of them takes longer."""
    group: list[str] = []
    for text in texts:
        if group and (len(group) == _AT_ONCE or sum(map(len, group)) + len(text) > _GROUP_CHARS):
            yield group
            group = []
        group.append(text)
    yield group


def _describe_label(found: Prediction, _: str) -> dict[str, Any]:
    return {
        "label": found.label,
        "probability": found.probability,
        "top": [{"label": label, "probability": each} for label, each in found.top],
    }


def _describe_conversion(found: Prediction, task: str) -> dict[str, Any]:
    own: dict[str, Any] = {"text": found.label, "probability": found.probability}
    if task == "tagging":
        tags = {"chars": found.tagged, "tags": found.tags}
        return own | tags | {"probabilities": found.tag_probabilities}
    return own | {"top": [{"text": text, "probability": each} for text, each in found.top]}


# Embeddings and tokens


async def embed(request: Request) -> Response:
    """POST /v1/embeddings: the hidden state after each text, of all layers (L·H), of length 1."""
    service = service_of(request)
    body = await read_json(request)
    check_known(body, {"model", "input", "encoding_format", "dimensions", *IGNORED})
    served = service.find_text(body.get("model"))
    given = Fields(body)
    if body.get("dimensions") is not None:
        raise bad_request("dimensions cannot be chosen; leave it out", "dimensions")
    form = given.text("encoding_format") or "float"
    if form not in ("float", "base64"):
        message = f"encoding_format is {shown(form)}; choose from float, base64"
        raise bad_request(message, "encoding_format")
    texts = await service.check(_read_input, body.get("input"), info_of(served, service.config))
    vectors = await service.watched(_embed, served, texts, form)
    data = [
        {"object": "embedding", "index": i, "embedding": each} for i, each in enumerate(vectors)
    ]
    usage = _usage(sum(map(len, texts)))
    return JSON({"object": "list", "data": data, "model": served.name, "usage": usage})


def _read_input(value: Any, info: ModelInfo) -> list[str]:
    """Return the texts of `input`, which may be ids too: of one text, or of several."""
    if not isinstance(value, list) or not value or isinstance(value[0], str):
        return _inputs_of(value, info.max_prompt)
    if all(map(is_int, value)):
        return [spell(value, info, "input")]
    _check_count(value)
    texts = []
    for i, each in enumerate(value):
        if not isinstance(each, list) or not all(map(is_int, each)):
            _refuse_input(each, f"input[{i}]")
        texts.append(spell(each, info, f"input[{i}]"))
    _check_length(sum(map(len, texts)), "input", info.max_prompt)
    return texts


def _embed(watch: Watch, served: Served, texts: list[str], form: str) -> list[Any]:
    """Return the vector of each text, as a list or as bytes in base64."""
    generator = served.generator
    found = []
    for text in texts:
        ids = generator.encode(generator.fit(text, "map").text)
        state = generator.language_model.initial_state()
        for _, after in iter_prefill(generator.language_model, ids, state):
            watch()
            state = after or state
        vector = np.concatenate([layer[0] for layer in state]).astype(np.float32)
        vector /= max(float(np.linalg.norm(vector)), 1e-12)
        found.append(_spell_vector(vector, form))
    return found


def _spell_vector(vector: np.ndarray[Any, Any], form: str) -> Any:
    if form == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    return [round(float(each), 8) for each in vector]


async def tokenize(request: Request) -> Response:
    """POST /tokenize: the ids of a text, as vLLM's server answers."""
    service = service_of(request)
    body = await read_json(request)
    known = ("model", "prompt", "add_special_tokens", "return_token_strs")
    check_known(body, {*known, *IGNORED})
    served = service.find_text(body.get("model"))
    given = Fields(body)
    text = _text_of(given, "prompt", service)
    has_names = given.flag("return_token_strs")
    given.flag("add_special_tokens")  # there are none: an end of a record is a character of ours
    ids, names = await service.check(_encode, served, text, has_names)
    return JSON(
        {
            "count": len(ids),
            "max_model_len": service.config.max_prompt,
            "tokens": ids,
            "token_strs": names,
        }
    )


def _encode(served: Served, text: str, has_names: bool) -> tuple[list[int], list[str] | None]:
    """Return the ids of a text, and what each of them writes if that is asked for."""
    ids = served.generator.encode(text).tolist()
    if not has_names:
        return ids, None
    vocab = served.file.vocab
    names = {each: vocab.name_of(each) for each in set(ids)}
    return ids, [names[each] for each in ids]


async def detokenize(request: Request) -> Response:
    """POST /detokenize: the text of ids."""
    service = service_of(request)
    body = await read_json(request)
    check_known(body, {"model", "tokens", *IGNORED})
    served = service.find_text(body.get("model"))
    info = info_of(served, service.config)
    return JSON({"prompt": await service.check(_decode, body.get("tokens"), info)})


def _decode(ids: Any, info: ModelInfo) -> str:
    """Return the text of ids."""
    if not isinstance(ids, list) or not all(map(is_int, ids)):
        raise bad_request(f"tokens is {shown(ids)}; it must be a list of ids", "tokens")
    return spell(ids, info, "tokens")


async def tokenizer_info(request: Request) -> Response:
    """GET /tokenizer_info: what evaluation programs ask of a tokenizer."""
    service = service_of(request)
    served = service.find_text(request.query_params.get("model"))
    vocab = served.file.vocab
    begin = None  # what comes before a text
    if vocab.has_end:
        begin = served.generator.text_format.mark or END
    elif vocab.newline >= 0:
        begin = "\n"
    return JSON(
        {
            "tokenizer_class": "characters",
            "vocab_size": vocab.size,
            "model_max_length": service.config.max_prompt,
            "eos_token": begin,
            "bos_token": begin,
            "pad_token": None,
            "chat_template": None,
        }
    )


# Fields that several requests have


def _text_of(given: Fields, name: str, service: Service, most: int | None = None) -> str:
    """Return a text that is not too long."""
    text = given.text(name)
    if text is None:
        raise bad_request(f"there is no {name}; give the text as {name}", name)
    _check_length(len(text), name, most or service.config.max_prompt)
    return text


def _inputs_of(value: Any, most: int) -> list[str]:
    """Return the texts of `input`: one, or a list of them; most: characters of all together."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        return [_refuse_input(value, "input")]
    _check_count(texts)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            _refuse_input(text, f"input[{i}]")
    _check_length(sum(map(len, texts)), "input", most)
    return texts


def _check_count(texts: Sequence[Any]) -> None:
    if len(texts) > _MOST_TEXTS:
        raise bad_request(f"input has {len(texts):,} texts; give at most {_MOST_TEXTS:,}", "input")


def _refuse_input(value: Any, place: str) -> str:
    raise bad_request(f"{place} is {shown(value)}; it must be a text, or a list of texts", place)


def _check_length(chars: int, name: str, most: int) -> None:
    if chars > most:
        raise bad_request(
            f"{name} has {chars:,} characters; this server takes at most {most:,}",
            name,
            "context_length_exceeded",
        )


def _settings(kind: Callable[..., T], settings: dict[str, Any]) -> T:
    """Return a settings object; the field that is wrong is named."""
    try:
        return kind(**settings)
    except ConfigError as error:
        raise refused(error, blamed(error, settings)) from error


def _usage(chars: int) -> dict[str, int]:
    """Return how many characters were read, by OpenAI's names."""
    return {"prompt_tokens": chars, "total_tokens": chars}
