"""Words of messages: the name that a mistyped one probably meant, and options as Python has them.

A message is written once, with the options of the command line. The command line shows it so;
Python shows an error's message by way of `in_python`.
"""

import codecs
import difflib
import json
import re
import shlex
from collections.abc import Iterable

_MEANT = {"gpu": "cuda", "nvidia": "cuda"}  # other words for the same thing, however unlike
_CUTOFF = 0.66  # a name that shares less with what was typed is a guess, not a correction


def nearest(typed: str, names: Iterable[str]) -> str | None:
    """Return the name that was probably meant; None where none is near.

    >>> nearest("shakespear", ["tiny-shakespeare", "names"])
    'tiny-shakespeare'
    >>> nearest("GPU", ["cpu", "cuda"]), nearest("book", ["letters"])
    ('cuda', None)
    """
    spelled = {name.lower(): name for name in names}
    word = typed.lower()
    if word in _MEANT:
        return spelled.get(_MEANT[word])
    near = difflib.get_close_matches(word, spelled, n=1, cutoff=_CUTOFF)
    return spelled[near[0]] if near else None


COMMAND_LINE_ONLY = {"--csv", "--local-addr", "--mark-copies"}
"""Options in messages that no Python call has: torchrun's, and one that changes what is shown."""
PARAMETERS = {
    "cache": "cache_size",
    "feature": "features",
    "file": "files",
    "load-state": "with_state",
    "m": "models",
    "neuron": "neurons",
    "out": "output",
    "temp": "temperature",
}
"""Options whose parameter has another name; any other gets its_name."""

_CALLS = {"train": "train", "eval": "evaluate"}
_TURNED_ON = {"overwrite", "line"}  # switches; messages say to give them
_NAMING = {"resume", "init-from", "name", "val-file"}  # a word after these is a name, except for
_NO_NAMES = {"and", "are", "or", "out", "too"}
_VALUE = re.compile(
    r"\d+(\.\d+)?(e-?\d+)?[smhd]?|[A-Z_]+|auto|byte|c|char|classification|columns|cpu|csv|cuda"
    r"|exponential|fp32|fp16|html|huggingface|int8|map|nfc|onnx|replace|rnn|skip|slash|space"
    r"|tail|tensorboard|test|train|val"
)
"""What is a value after any other option: a number, a PLACEHOLDER or a choice. Any other word goes
on with the sentence. A test compares these with the values in all messages."""

# Of a command, as a shell reads it: a quote within quotes is spelled '"'"'.
_WORD = r"""(?:'[^']*'(?:"'"'[^']*')*|[^\s;,()'?-][^\s;,()'?]*)"""
_SPELLINGS = re.compile(
    rf"""\$'\\n'\ in\ bash\ or\ zsh(?:,\ "\\n"\ in\ a\ configuration\ file)?(?P<newline>)
    | (?P<quoted>(?<!\w)(?:'[^']*'|"[^"]*")(?!\w))  # somebody's text
    | charrnn\ (?P<call>train|eval)(?P<names>(?:\ {_WORD})*)(?P<options>(?:\ --[a-z-]+\ {_WORD})*)
    | charrnn\ (?P<command>list|compress)\b
    | ,\ --mark-copies(?P<listed>)(?=\ and\b)
    | (?<![\w-])(?:--(?P<no>no-)?|-(?=m\b))(?P<option>[a-z](?:[a-z-]*[a-z])?)\b
      (?:\ (?P<value>{_WORD}))?
    """,
    re.VERBOSE,
)


def in_python(message: str) -> str:
    """Return a message that names commands and options with Python's calls and parameters.

    >>> in_python("continue it with --resume s1, replace it with --overwrite, or lower --seq-len")
    'continue it with resume="s1", replace it with overwrite=True, or lower seq_len'
    >>> in_python("charrnn train 'my book.txt' --init-from s1")
    'charrnn.train("my book.txt", init_from="s1")'
    """
    return _SPELLINGS.sub(_in_python, message)


def _in_python(match: re.Match[str]) -> str:
    """Return one spelling as Python has it."""
    spelled = match.group()
    if match["listed"] is not None:  # among options that Python has
        return ""
    if match["quoted"] or f"--{match['option']}" in COMMAND_LINE_ONLY:
        return spelled
    if match["newline"] is not None:
        return r'"\n"'
    if match["command"]:
        return {"list": "charrnn.list_runs()", "compress": "charrnn.compress"}[match["command"]]
    if match["call"]:
        return _call(match["call"], match["names"], match["options"])

    option = match["option"]
    name = _parameter(option)
    value = (match["value"] or "").rstrip(".:")
    rest = (match["value"] or "")[len(value) :]
    is_name = option in _NAMING and value and value not in _NO_NAMES
    if is_name or (option == "encoding" and _is_encoding(value)):
        return f"{name}={_quoted(*_words(value))}{rest}"
    if _VALUE.fullmatch(value):
        return f"{name}={_literal(value)}{rest}"
    if match["no"]:
        name += "=False"
    elif option in _TURNED_ON:
        name += "=True"
    return f"{name} {value}{rest}" if value else name


def _call(command: str, names: str, options: str) -> str:
    """Return a command with its names and options as a call."""
    firsts = [name if name == "..." else _quoted(name) for name in _words(names)]
    first = f"[{', '.join(firsts)}]" if len(firsts) > 1 else "".join(firsts)
    pairs = re.findall(rf"--([a-z-]+) ({_WORD})", options)
    files = [_quoted(*_words(value)) for option, value in pairs if option == "file"]
    arguments = [first, f"files=[{', '.join(files)}]" if files else ""]
    for option, value in pairs:
        if option != "file":
            literal = _quoted if option in _NAMING else _literal
            arguments.append(f"{_parameter(option)}={literal(*_words(value))}")
    return f"charrnn.{_CALLS[command]}({', '.join(filter(None, arguments))})"


def _is_encoding(word: str) -> bool:
    """Return whether Python knows an encoding of that name."""
    try:
        codecs.lookup(word)
    except LookupError:
        return False
    return True


def _words(text: str) -> list[str]:
    """Return the words of a command without their quotes."""
    words = re.findall(_WORD, text)
    return ["".join(shlex.split(word)) if word[0] == "'" else word for word in words]


def _parameter(option: str) -> str:
    return PARAMETERS.get(option, option.replace("-", "_"))


def _literal(value: str) -> str:
    """Return a value as Python writes it: a number as it is, anything else in quotes."""
    return value if re.fullmatch(r"[\d.]+(e-?\d+)?", value) else _quoted(value)


def _quoted(text: str) -> str:
    """Return a text in double quotes, which stand out in a message better than single ones."""
    return json.dumps(text, ensure_ascii=False)
