"""POST /v1/classify and /v1/convert: what models of other tasks make of texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from charrnn.server.answers import usage_of
from charrnn.server.errors import RequestError, bad_request
from charrnn.server.fields import Fields, check_known
from charrnn.server.incoming import inputs_of, read_json, service_of, settings_of
from charrnn.server.protocol import IGNORED
from charrnn.server.served import Served
from charrnn.server.service import Watch
from charrnn.server.wire import JSON
from charrnn.tasks.predict import make_predictor
from charrnn.tasks.predictions import Prediction, PredictRequest

_MOST_TARGETS = 64  # and the beam of a conversion
_AT_ONCE = 16  # texts that are predicted before the next look at the client
_GROUP_CHARS = 4096  # of them together, unless one alone is longer
_MOST_NAMED = 8  # models of a message
_CONVERTING = ("tagging", "seq2seq")


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
    if not _can(served, tasks):
        raise _wrong_model(served, [each for each in service.served.values() if _can(each, tasks)])
    given = Fields(body)
    for name in {"top", "beam"} & {*known}:
        given.optional_integer(name, ge=1, le=_MOST_TARGETS if tasks == _CONVERTING else None)
    texts = inputs_of(body.get("input"), service.config.max_prompt)
    settings = {name: body[name] for name in known if body.get(name) is not None}
    wanted = settings_of(PredictRequest, settings)
    found, mapped = await service.watched(_predict_all, served, texts, wanted)
    describe = _describe_label if tasks != _CONVERTING else _describe_conversion
    data = [{"index": i, **describe(each, served.task)} for i, each in enumerate(found)]
    return JSON(
        {
            "object": "list",
            "model": served.name,
            "data": data,
            "mapped": mapped,
            "usage": usage_of(sum(map(len, texts))),
        }
    )


def _can(served: Served, tasks: tuple[str, ...]) -> bool:
    """Return whether a model does one of these tasks; one of text names labels if it has them."""
    return served.task in tasks and (served.task != "text" or bool(served.file.labels.columns))


def _wrong_model(served: Served, others: Sequence[Served]) -> RequestError:
    """Return the error of a request that the model cannot answer; others: those that can."""
    if served.task in _CONVERTING:
        what, right = f"is a model for {served.task}", "/v1/convert"
    elif served.task == "text" and not served.file.labels.columns:
        what, right = "writes text, and was trained without labels", "/v1/completions"
    else:
        what, right = f"is a model for {served.task}", "/v1/classify"
    names = ", ".join(each.name for each in others[:_MOST_NAMED])
    hint = f"name one of these as model: {names}; or " if others else ""
    return bad_request(f"{served.name} {what}; {hint}use POST {right}", "model")


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
