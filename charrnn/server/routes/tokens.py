"""POST /tokenize, /detokenize and GET /tokenizer_info: ids, as vLLM's server answers."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from charrnn.server.errors import bad_request
from charrnn.server.fields import Fields, check_known, is_int, shown
from charrnn.server.incoming import read_json, service_of, text_of
from charrnn.server.protocol import IGNORED, ModelInfo, spell
from charrnn.server.served import Served
from charrnn.server.texts import info_of
from charrnn.server.wire import JSON
from charrnn.text.vocab import END


async def tokenize(request: Request) -> Response:
    """POST /tokenize: the ids of a text, as vLLM's server answers."""
    service = service_of(request)
    body = await read_json(request)
    known = ("model", "prompt", "add_special_tokens", "return_token_strs")
    check_known(body, {*known, *IGNORED})
    served = service.find_text(body.get("model"))
    given = Fields(body)
    text = text_of(given, "prompt", service.config.max_prompt)
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
