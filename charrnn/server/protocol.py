"""Requests as OpenAI's API words them, checked: JSON objects to frozen dataclasses. No HTTP here.

Every field is known by name and has its type and range, or the request is refused with the name of
the field: nothing that changes the text is ignored. Beside OpenAI's fields each setting of
SampleConfig is taken by its own name, and vLLM's structured_outputs as another spelling of two.

A token is a character here: max_tokens, logprobs and logit_bias speak of characters.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from charrnn.config import SampleConfig, checked, with_seed
from charrnn.config.sample import PRESETS
from charrnn.errors import CharRNNError, ConfigError
from charrnn.generation.labels import list_labels
from charrnn.generation.text_format import TextFormat
from charrnn.server.errors import bad_request, refused
from charrnn.server.fields import Fields, check_known, is_int, shown
from charrnn.text.vocab import END, Vocab

DEFAULT_MAX_TOKENS = 16  # as OpenAI documents
MAX_LOGPROBS = 1000
MAX_CHOICES = 128
MAX_TEXTS = 2048  # of one request: prompts times the candidates of each
_MAX_BIAS = 100.0
_MOST_LISTED = 300  # texts of a setting that takes several, and biases
_MOST_OF = {"stop": 64, "choices": 10_000, "structured_outputs": 10_000}
_MOST_CHARS = 100_000  # of all of them
_LONGEST_STOP = 500  # characters
_SMALLEST_TOP_P = 1e-9  # keeps one character: OpenAI allows a top_p of 0, SampleConfig does not

MOST_CHARS = {  # measured: half a second at most, of a model with 7,000 characters
    **dict.fromkeys(("regex", "stop_regex", "template"), 2000),
    **dict.fromkeys(("must", "ban_word"), 500),
    **dict.fromkeys(("choices", "stop", "only", "ban", "bias"), 50_000),
}
_MOST_VALUES = 300  # of a list; OpenAI takes as many biases
SETTINGS = {item.name: item for item in fields(SampleConfig)}
IGNORED = (
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
)
"""Fields that change no text: accepted whatever they are."""
_COMPLETION = (
    "best_of",
    "echo",
    "label_strength",
    "logit_bias",
    "logprobs",
    "max_tokens",
    "model",
    "n",
    "preset",
    "prompt",
    "stream",
    "stream_options",
    "structured_outputs",
    "suffix",
)
LABELS = ("label", "labels")
COMPLETION_FIELDS = frozenset((*_COMPLETION, *LABELS, *IGNORED, *SETTINGS))
_FILL_SETTINGS = frozenset(("length", "temperature", "only", "ban", "seed", "unknown"))
_STREAM_OPTIONS = ("include_usage", "include_obfuscation")


@dataclass(frozen=True)
class ModelInfo:
    """What a request has to fit: a model's vocabulary and form of text, and the server's limits.

    max_chars: of one text. max_prompt: characters.
    """

    name: str
    vocab: Vocab
    text_format: TextFormat = field(default_factory=TextFormat)
    max_chars: int = 20_000
    max_prompt: int = 1_000_000


@dataclass(frozen=True, kw_only=True)
class CompletionRequest:
    """A request for texts: `n` choices for each prompt, the likeliest of `best_of` candidates.

    prompts: as they were given; ids are spelled. config: its seed is set, its length is max_tokens.
    logprobs: alternatives for each character; None: no costs. suffix: what follows the text, which
    is then filled in; None: nothing. labels: as the command line has them.
    """

    model: str
    prompts: tuple[str, ...]
    config: SampleConfig
    n: int = 1
    best_of: int = 1
    echo: bool = False
    logprobs: int | None = None
    suffix: str | None = None
    stream: bool = False
    include_usage: bool = False
    labels: tuple[str, ...] = ()
    label_strength: float = 1.0


def parse_completion(body: Mapping[str, Any], info: ModelInfo) -> CompletionRequest:
    """Return the checked request of POST /v1/completions.

    Raises:
        RequestError: a field is unknown, of another type, out of range, or clashes with another.
    """
    check_known(body, COMPLETION_FIELDS)
    given = Fields(body)
    prompts = parse_prompts(given.get("prompt"), info)
    n = given.integer("n", 1, ge=1, le=MAX_CHOICES)
    best_of = given.integer("best_of", n, ge=1, le=MAX_CHOICES)
    if best_of < n:
        raise bad_request(
            f"best_of is {best_of} and n {n}; of best_of candidates the n likeliest are returned, "
            "so it must be n or more",
            "best_of",
        )
    stream = given.flag("stream")
    if stream and best_of > n:
        raise bad_request(
            "best_of above n cannot be streamed, as all candidates are compared first; leave "
            "best_of or stream out",
            "best_of",
        )
    if len(prompts) * best_of > MAX_TEXTS:
        raise bad_request(
            f"{len(prompts):,} prompts with {best_of} texts each are more than {MAX_TEXTS:,}; send "
            "several requests",
            "prompt",
        )
    length = parse_length(given, ("max_tokens",), DEFAULT_MAX_TOKENS, info)
    request = CompletionRequest(
        model=info.name,
        prompts=prompts,
        config=parse_settings(given, length, info),
        n=n,
        best_of=best_of,
        echo=given.flag("echo"),
        logprobs=given.optional_integer("logprobs", ge=0, le=MAX_LOGPROBS),
        suffix=given.text("suffix") or None,
        stream=stream,
        include_usage=parse_stream_options(given, stream=stream),
        labels=parse_labels(given),
        label_strength=given.number("label_strength", 1.0, gt=0, le=1000),
    )
    _check_together(request, given)
    return request


def _check_together(request: CompletionRequest, given: Fields) -> None:
    """Refuse what a search or a filling cannot give."""
    config = request.config
    if config.beam:
        if request.logprobs is not None:
            raise bad_request("a beam gives no logprobs; leave one of them out", "logprobs")
        if request.best_of > request.n:
            raise bad_request("a beam finds the likeliest texts; leave best_of out", "best_of")
        if request.n > config.beam:
            raise bad_request(
                f"a beam of {config.beam} finds at most as many texts, not {request.n}; make beam "
                "larger",
                "beam",
            )
    if request.suffix is None:
        return
    if request.best_of > request.n:
        raise bad_request("suffix gives the samples of a search; leave best_of out", "best_of")
    for name in ("logprobs", "preset", "structured_outputs", "logit_bias"):
        if given.get(name) is not None:
            raise bad_request(
                f"{name} does not go with suffix, which fills a blank; leave one of them out", name
            )
    for name in SETTINGS:
        if name not in _FILL_SETTINGS and getattr(config, name) != getattr(SampleConfig, name):
            raise bad_request(
                f"{name} does not go with suffix, which fills a blank by its own search; leave one "
                "of them out",
                name,
            )


# Prompts, stop texts and settings


def parse_prompts(value: Any, info: ModelInfo) -> tuple[str, ...]:
    """Return the prompts: a text, ids, or a list of either; "" begins a text.

    Raises:
        RequestError: they are of another type, too long or too many, or spell no text.

    >>> parse_prompts([1, 0], ModelInfo("m", Vocab("ab")))
    ('ba',)
    """
    if value is None or value == "":
        return ("",)
    if isinstance(value, str):
        return (_checked_prompt(value, info, "prompt"),)
    if not isinstance(value, list) or not value:
        raise bad_request(
            f"prompt is {shown(value)}; it must be a text, ids, or a list of texts or ids",
            "prompt",
        )
    if all(map(is_int, value)):
        return (spell(value, info, "prompt"),)
    if len(value) > MAX_TEXTS:
        raise bad_request(f"prompt has {len(value):,} texts; give at most {MAX_TEXTS:,}", "prompt")
    return tuple(_parse_prompt(each, info, f"prompt[{i}]") for i, each in enumerate(value))


def _parse_prompt(value: Any, info: ModelInfo, place: str) -> str:
    """Return one of several prompts."""
    if isinstance(value, str):
        return _checked_prompt(value, info, place)
    if isinstance(value, list) and all(map(is_int, value)):
        return spell(value, info, place)
    raise bad_request(f"{place} is {shown(value)}; it must be a text or a list of ids", place)


def _checked_prompt(text: str, info: ModelInfo, place: str) -> str:
    """Return a prompt that is not too long."""
    if len(text) > info.max_prompt:
        raise bad_request(
            f"{place} has {len(text):,} characters; this server reads at most {info.max_prompt:,}",
            place,
            "context_length_exceeded",
        )
    return text


def spell(ids: list[int], info: ModelInfo, place: str) -> str:
    """Return the text of ids.

    Raises:
        RequestError: there is no such id, or their bytes are no UTF-8.
    """
    vocab = info.vocab
    if len(ids) > 4 * info.max_prompt:  # before anything is made of them; a character has 4 bytes
        _checked_prompt("?" * (info.max_prompt + 1), info, place)
    wrong = next((each for each in ids if not 0 <= each < vocab.size), None)
    if wrong is not None:
        raise bad_request(
            f"{place} has the id {shown(wrong)}; this model has ids from 0 to {vocab.size - 1}",
            place,
        )
    if not ids:
        return ""
    text = vocab.decode(np.array(ids))
    if "\ufffd" in text and "\ufffd" not in vocab.alphabet:
        raise bad_request(f"{place} has bytes that are no UTF-8; they spell no text", place)
    shown_text = info.text_format.without_ends(text)
    if END in text and info.text_format.mark is None:
        raise bad_request(
            f"{place} has the id {vocab.end}, the end of a record, which no text of this model "
            "spells; send the records one by one",
            place,
        )
    return _checked_prompt(shown_text, info, place)


def parse_length(given: Fields, names: tuple[str, ...], default: int, info: ModelInfo) -> int:
    """Return how many characters a text may have: max_tokens by its names, or our own `length`.

    Raises:
        RequestError: two of them are given, or it is out of range.
    """
    used = [name for name in (*names, "length") if given.get(name) is not None]
    if len(used) > 1:
        raise bad_request(
            f"{used[0]} and {used[1]} are the same, the most characters to write; keep one", used[1]
        )
    if not used:
        return min(default, info.max_chars)
    return given.integer(used[0], default, ge=0, le=info.max_chars)


def parse_settings(given: Fields, length: int, info: ModelInfo) -> SampleConfig:
    """Return the settings of the sampler, with a seed.

    OpenAI's defaults hold where it has them: temperature 1. Any other is SampleConfig's.

    Raises:
        RequestError: a setting is out of range, or two clash.
    """
    preset = given.text("preset")
    if preset is not None and preset not in PRESETS:
        raise bad_request(f"preset is {shown(preset)}; choose from {', '.join(PRESETS)}", "preset")
    settings: dict[str, Any] = {"temperature": 1.0, **(PRESETS[preset] if preset else {})}
    for name, item in SETTINGS.items():
        value = given.get(name)
        if value is not None:
            is_list = str(item.type).startswith("tuple")
            settings[name] = _texts(name, value) if is_list else value
    if given.get("top_p") == 0 and not isinstance(given.get("top_p"), bool):
        settings["top_p"] = _SMALLEST_TOP_P
    settings["length"] = length
    settings["stop"] = drop_unwritable(settings.get("stop", ()), info)
    settings["bias"] = (*settings.get("bias", ()), *parse_logit_bias(given.get("logit_bias"), info))
    settings |= _parse_structured(given, settings)
    check_sizes(settings)
    try:
        return with_seed(SampleConfig(**settings))
    except ConfigError as error:
        raise refused(error, blamed(error)) from error


def check_sizes(settings: Mapping[str, Any]) -> None:
    """Refuse patterns and lists from which an automaton could take seconds to make.

    Raises:
        RequestError: names the setting.
    """
    for name, most in MOST_CHARS.items():
        value = settings.get(name) or ()
        size = sum(map(len, value)) if isinstance(value, tuple) else len(str(value))
        if size > most:
            raise bad_request(
                f"{name} has {size:,} characters; this server takes at most {most:,}", name
            )
    for name, value in settings.items():
        if isinstance(value, tuple) and name != "choices" and len(value) > _MOST_VALUES:
            message = f"{name} has {len(value):,} values; this server takes at most {_MOST_VALUES}"
            raise bad_request(message, name)


def blamed(error: CharRNNError, names: Collection[str] = SETTINGS) -> str | None:
    """Return which of these fields a message of the library begins with, if it does.

    >>> blamed(ConfigError("top_k is -1; it must be at least 0"))
    'top_k'
    """
    match = re.match(r"-{0,2}([a-z][a-z_-]*)", str(error))
    name = match[1].replace("-", "_") if match else ""
    return name if name in names else None


def _texts(name: str, value: Any) -> tuple[str, ...]:
    """Return a setting of several texts: a text, a list of them, or a bias by character."""
    texts = [value] if isinstance(value, str) else value
    if name == "bias" and isinstance(value, dict):
        texts = [f"{char}={_bias_of(name, char, each)}" for char, each in value.items()]
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        raise bad_request(f"{name} is {shown(value)}; it must be a text or a list of texts", name)
    # Each of them costs time at every character, or for every character of the alphabet.
    most = _MOST_OF.get(name, _MOST_LISTED)
    longest = max(map(len, texts), default=0)
    if len(texts) > most or sum(map(len, texts)) > _MOST_CHARS:
        raise bad_request(
            f"{name} has {len(texts):,} texts of up to {longest:,} characters; give at most "
            f"{most:,}, with {_MOST_CHARS:,} characters in all",
            name,
        )
    if name == "stop" and longest > _LONGEST_STOP:
        raise bad_request(
            f"stop has a text of {longest:,} characters; give at most {_LONGEST_STOP}", name
        )
    return tuple(texts)


def drop_unwritable(stops: Iterable[str], info: ModelInfo) -> tuple[str, ...]:
    """Return the stop texts without those that the model can never write, which never end a text.

    Clients send the marks of other models, such as <|endoftext|>.

    >>> drop_unwritable(("b", "<|end|>", ""), ModelInfo("m", Vocab("ab")))
    ('b', '')
    """
    vocab = info.vocab
    if vocab.has_bytes:
        return tuple(stops)
    known = frozenset(vocab.alphabet)
    return tuple(each for each in stops if known.issuperset(info.text_format.normalized(each)))


def parse_logit_bias(value: Any, info: ModelInfo) -> tuple[str, ...]:
    """Return OpenAI's biases, by id or by character, as SampleConfig has them.

    They are cut to −100 … 100. A key of digits is an id.

    Raises:
        RequestError: a key names no character, or a value is no number.

    >>> parse_logit_bias({"1": -200, "a": 0.5}, ModelInfo("m", Vocab("ab")))
    ('b=-100.0', 'a=0.5')
    """
    if value is None:
        return ()
    if not isinstance(value, dict):
        raise bad_request(
            f"logit_bias is {shown(value)}; it must be an object from characters or ids to numbers",
            "logit_bias",
        )
    if len(value) > _MOST_LISTED:
        raise bad_request(
            f"logit_bias has {len(value):,} biases; give at most {_MOST_LISTED}", "logit_bias"
        )
    return tuple(
        f"{_char_of(key, info)}={_bias_of('logit_bias', key, each)}" for key, each in value.items()
    )


def _char_of(key: str, info: ModelInfo) -> str:
    """Return the character that a key of logit_bias names."""
    vocab = info.vocab
    place = f"logit_bias[{shown(key)}]"
    if not (key.isascii() and key.isdigit()):
        if len(key) != 1 or (key not in vocab.alphabet and not vocab.has_bytes):
            raise bad_request(f"{place} is no character that this model has, and no id", place)
        return key
    token = int(key[:9])
    if len(key) > 9 or token >= vocab.size:
        raise bad_request(f"{place}: this model has ids from 0 to {vocab.size - 1}", place)
    if token >= len(vocab.alphabet):
        raise bad_request(
            f"{place} is the id of {vocab.name_of(token)}, which is no character of the alphabet; "
            "only characters can have a bias",
            place,
        )
    return vocab.alphabet[token]


def _bias_of(name: str, key: str, value: Any) -> float:
    """Return the bias of a character."""
    try:
        amount = float(checked(f"{name}[{shown(key)}]", value, "float"))
    except ConfigError as error:
        raise refused(error, name) from error
    return max(-_MAX_BIAS, min(amount, _MAX_BIAS)) if name == "logit_bias" else amount


def _parse_structured(given: Fields, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return vLLM's structured_outputs as our settings."""
    value = given.get("structured_outputs")
    if value is None:
        return {}
    names = {"regex": "regex", "choice": "choices"}
    if not isinstance(value, dict) or len(value) != 1 or not set(value) <= set(names):
        raise bad_request(
            f"structured_outputs is {shown(value)}; it must be an object with regex or choice",
            "structured_outputs",
        )
    ((kind, form),) = value.items()
    if settings.get(names[kind]) is not None:
        raise bad_request(f"{names[kind]} is given twice; keep one", "structured_outputs")
    return {names[kind]: form if kind == "regex" else _texts("structured_outputs", form)}


def parse_labels(given: Fields) -> tuple[str, ...]:
    """Return the labels of the text, given as `label` or `labels`.

    Raises:
        RequestError: both are given, or it is no text, list of texts or object of them.
    """
    used = [name for name in LABELS if given.get(name) is not None]
    if len(used) == 2:
        raise bad_request("label and labels are the same; keep one", "labels")
    if not used:
        return ()
    try:
        return tuple(list_labels(given.get(used[0])))
    except ConfigError as error:
        raise refused(error, used[0]) from error


def parse_stream_options(given: Fields, *, stream: bool) -> bool:
    """Return whether a stream ends with its usage.

    Raises:
        RequestError: there is no stream, or an option is unknown or not true or false.
    """
    options = given.get("stream_options")
    if options is None:
        return False
    if not stream:
        raise bad_request(
            "stream_options is given without stream; add stream: true, or leave it out",
            "stream_options",
        )
    if not isinstance(options, dict):
        raise bad_request(
            f"stream_options is {shown(options)}; it must be an object with include_usage",
            "stream_options",
        )
    check_known(options, _STREAM_OPTIONS, "stream_options")
    inner = Fields(options, "stream_options")
    inner.flag("include_obfuscation")  # pads the chunks of a service far away: nothing to do here
    return inner.flag("include_usage")
