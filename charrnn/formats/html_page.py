"""A model as one HTML file that writes in any browser: no server, no request, nothing to install.

The file holds the weights as base64, its style, and the JavaScript network of charrnn/web. A
content security policy with the hashes of its own script and style forbids all else.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape, unescape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn._version import __version__
from charrnn.checkpoint.model_file import ModelFile, model_digest, refuse_task
from charrnn.config import as_dict
from charrnn.config.export import ExportConfig
from charrnn.errors import ConfigError, ExportError, counted
from charrnn.formats.precision import bits_lost, is_stored_as_int8, restored
from charrnn.formats.verified import (
    Verified,
    check_costs,
    check_greedy,
    opening_id,
    sampled_ids,
    token_costs,
)
from charrnn.generation.labels import with_labels
from charrnn.generation.network import Network
from charrnn.generation.text_format import text_format_of
from charrnn.storage import format_bytes
from charrnn.text.vocab import Ids, Vocab
from charrnn.web.assets import read_asset
from charrnn.web.inline import as_island, csp_hash, join_scripts
from charrnn.web.weights import (
    MAX_FLOAT16_BYTES,
    MAX_FLOAT32_BYTES,
    NGRAM_TABLE,
    PackedWeights,
    pack,
    read_whole_numbers,
    table_size,
    without_empty_rows,
)

SCRIPTS = ("network.js", "signs.js", "tokens.js", "sampler.js", "export.js")
"""Files of charrnn/web that make the page's script, in this order."""

_MAX_WEIGHTS_BYTES = 128 * 2**20  # browsers open a page of twice that with difficulty
_BYTES = {"fp32": 4, "fp16": 2, "int8": 1}
_PART = re.compile(r"@@([a-z-]+)@@")
_ISLANDS = {
    "style": re.compile(r"<style>(.*?)</style>", re.DOTALL),
    "policy": re.compile(r'Content-Security-Policy" content="([^"]*)"'),
    "data": re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL),
    "weights": re.compile(r'<script type="text/plain" id="weights">(.*?)</script>', re.DOTALL),
    "code": re.compile(r'<script id="code">(.*?)</script>', re.DOTALL),
}
_MAX_GREEDY = 1000  # characters; soon a greedy text repeats itself
_MAX_READ = 10_000  # what a command line has room for
_NODE_SECONDS = 600


class Dtypes(NamedTuple):
    """What a page stores weights as: "fp32", "fp16" or "int8".

    ngrams: the table of n-grams; as the others in a model without one. others: all other weights.
    """

    ngrams: str
    others: str

    def of(self, name: str) -> str:
        """Return that of a weight."""
        return self.ngrams if name == NGRAM_TABLE else self.others

    def __str__(self) -> str:
        if self.ngrams == self.others:
            return self.others
        return f"{self.others} with n-grams in {self.ngrams}"


class _OldNodeError(Exception):
    """Node does not know the language of today's browsers."""


def make_html(file: ModelFile, name: str, config: ExportConfig) -> dict[str, bytes]:
    """Return the page of a model as the file NAME.html. Labels can be chosen in it.

    Raises:
        ConfigError: the model writes no text, or is too large for a page.
    """
    dtypes = choose_dtypes(file, config)
    packed = pack_page(file.weights, dtypes)
    script = join_scripts(SCRIPTS)
    style = read_asset("palette.css") + read_asset("export.css")
    parts = {
        "policy": _policy(script, style),
        "name": escape(name),
        "style": style,
        "intro": escape(_intro(file)),
        "labels": _label_choices(file),
        "about": _about(file, name, dtypes, config),
        "data": as_island(_data(file, name, packed)),
        "weights": packed.text,
        "script": script,
    }
    # In one pass, so that no text can name a part.
    page = _PART.sub(lambda match: parts[match[1]], read_asset("export.html"))
    return {f"{name}.html": page.encode("utf-8", "replace")}  # of a name that is no Unicode


def choose_dtypes(file: ModelFile, config: ExportConfig) -> Dtypes:
    """Return how the weights are stored: as asked, else by the model's size.

    The table of n-grams has most of the weights, and 8 bits cost it next to nothing; so it alone
    has them first.

    Raises:
        ConfigError: the model writes no text, or is too large for a page.
    """
    refuse_task(file)
    stored = without_empty_rows(file.weights)
    count = sum(array.size for array in stored.values())
    table = table_size(stored)
    limits = {"fp32": MAX_FLOAT32_BYTES, "fp16": MAX_FLOAT16_BYTES}
    fitting = [dtype for dtype, most in limits.items() if _BYTES[dtype] * (count - table) <= most]
    others = config.dtype or next(iter(fitting), "int8")
    dtypes = Dtypes(others, others)
    if table and not config.dtype and _BYTES["fp32"] * count > MAX_FLOAT32_BYTES:
        dtypes = Dtypes("int8", others)
    size = _BYTES[others] * (count - table) + _BYTES[dtypes.ngrams] * table
    if size > _MAX_WEIGHTS_BYTES:
        most = format_bytes(_MAX_WEIGHTS_BYTES)
        smaller = "" if dtypes == ("int8", "int8") else ", or --dtype int8"
        raise ConfigError(
            f"the weights take {format_bytes(size)} as {dtypes}, and a page can have "
            f"{most}; choose --to onnx{smaller}"
        )
    return dtypes


def pack_page(weights: Mapping[str, NDArray[np.float32]], dtypes: Dtypes) -> PackedWeights:
    """Return weights as base64, and the index by which the page finds them.

    Raises:
        ConfigError: as `restored`.
    """
    in_8_bits = [
        name
        for name, array in weights.items()
        if dtypes.of(name) == "int8" and is_stored_as_int8(name, array)
    ]
    packed = pack(weights, "float16" if dtypes.others == "fp16" else "float32", in_8_bits)
    if packed is None:
        restored_page(weights, dtypes)  # says which weight float16 cannot hold
        raise ExportError("a weight is not a finite number")
    return packed


def restored_page(
    weights: Mapping[str, NDArray[np.float32]], dtypes: Dtypes
) -> dict[str, NDArray[np.float32]]:
    """Return the weights float32 that come back from a page, with all rows of n-grams.

    Raises:
        ConfigError: as `restored`.
    """
    found: dict[str, NDArray[np.float32]] = {}
    for name, array in weights.items():
        found |= restored({name: array}, dtypes.of(name))
    return found


def unpack(text: str, index: Sequence[Mapping[str, Any]], dtype: str) -> dict[str, NDArray[Any]]:
    """Return the weights float32 that a page decodes, as `without_empty_rows` has them."""
    data = base64.b64decode(text, validate=True)
    weights: dict[str, NDArray[Any]] = {}
    for entry in index:
        shape = tuple(entry["shape"])
        count = int(np.prod(shape))
        if "whole" in entry:
            weights[str(entry["name"])] = read_whole_numbers(data, entry["whole"], count)
            continue
        kind = "i1" if "scales" in entry else {"float32": "<f4", "float16": "<f2"}[dtype]
        start = entry["start"] * np.dtype(kind).itemsize
        array = np.frombuffer(data, kind, count, start).astype(np.float32).reshape(shape)
        if "scales" in entry:
            array *= np.frombuffer(data, "<f4", shape[0], entry["scales"])[:, None]
        weights[str(entry["name"])] = array
    return weights


def _policy(script: str, style: str) -> str:
    """Return the content security policy that allows this one script and this one style."""
    return (
        f"default-src 'none'; script-src {csp_hash(script)}; style-src {csp_hash(style)}; "
        "worker-src blob:; base-uri 'none'; form-action 'none'"
    )


def _data(file: ModelFile, name: str, packed: PackedWeights) -> dict[str, Any]:
    """Return what the script reads."""
    vocab = file.vocab
    form = text_format_of(file.summary, has_end=vocab.has_end)
    has_opening = vocab.has_end or vocab.newline >= 0
    return {
        "name": name,
        "config": as_dict(file.config),
        "texts": _texts(vocab),
        "first_byte": len(vocab.alphabet) if vocab.has_bytes else -1,
        "end": vocab.end,
        # What is shown for an end, and what of a prompt is one.
        "separator": form.separator or "",
        "end_text": form.mark or "",
        "opening": [opening_id(vocab)] if has_opening else [],
        "normalize": form.normalize,
        "lowercase": form.lowercase,
        "dtype": packed.dtype,
        "index": packed.index,
    }


def _texts(vocab: Vocab) -> list[str]:
    """Return what each token writes; "" for a byte, and for the end of a record."""
    tokens = range(vocab.size)
    return ["" if token == vocab.end else vocab.text_of(token) for token in tokens]


def _intro(file: ModelFile) -> str:
    """Return what the page is, for a reader who sees it for the first time."""
    config = file.config
    kind = {"lstm": "an LSTM", "gru": "a GRU", "rnn": "a plain RNN"}[config.cell]
    layers = "one layer" if config.num_layers == 1 else f"{config.num_layers} layers"
    corpus = (file.summary.get("corpus") or {}).get("name")
    source = f" from the text {corpus}" if corpus else ""
    return (
        f"A small neural network ({kind}, {layers} of {config.hidden_size:,} units) learned to "
        f"write{source}, one character at a time. It is in this page and runs in your browser; "
        "nothing is sent anywhere."
    )


def _label_choices(file: ModelFile) -> str:
    """Return a choice of labels for each column that the model has; a value is its row, from 0."""
    row = 0
    choices = []
    for column in file.labels.columns:
        options = ['<option value="-1">any</option>']
        for value in column.values:
            options.append(f'<option value="{row}">{escape(value)}</option>')
            row += 1
        shown = escape(column.name[:1].upper() + column.name[1:])
        choices.append(
            f'<label>{shown} <select class="label">{"".join(options)}</select></label>\n'
        )
    return "".join(choices)


def _about(file: ModelFile, name: str, dtypes: Dtypes, config: ExportConfig) -> str:
    """Return where the page comes from."""
    words = {
        "fp32": "as they were trained (float32)",
        "fp16": "in half precision (float16)",
        "int8": "in 8 bits (int8)",
    }
    stored = words[dtypes.others]
    if dtypes.ngrams != dtypes.others:
        stored += f", those of n-grams {words[dtypes.ngrams]}"
    facts = [
        ("Model", name),
        ("Weights", f"{file.config.num_parameters:,}, {stored}"),
        ("SHA-256", model_digest(file).hex()),
        *([("Licence", config.licence)] if config.licence else []),
        ("Made by", f"charrnn {__version__}"),
    ]
    rows = (f"<dt>{escape(what)}</dt><dd>{escape(value)}</dd>\n" for what, value in facts)
    return f"<dl>{''.join(rows)}</dl>"


def verify_html(
    folder: Path, names: Sequence[str], file: ModelFile, config: ExportConfig
) -> Verified:
    """Read the page back and compare its weights; if node is there, let its own script write.

    Raises:
        ExportError: something differs.
    """
    dtypes = choose_dtypes(file, config)
    page = (folder / names[0]).read_text(encoding="utf-8")
    stored = replace(file, weights=restored_page(file.weights, dtypes))
    _check_parts(_read_back(page), stored)
    notes: list[str] = []
    chars = _check_script(page, stored, config.verify_chars, notes)
    if dtypes != ("fp32", "fp32"):
        plain = with_labels(file)
        ids = sampled_ids(Network(plain.config, plain.weights), config.verify_chars)
        lost = bits_lost(plain, with_labels(stored).weights, ids)
        size = counted(len(ids), "character")
        notes.append(f"{dtypes} costs {lost:+.4f} bits per character, on {size} of the model's own")
    return Verified(chars, None, tuple(notes))


def _check_parts(parts: Mapping[str, str], file: ModelFile) -> None:
    """Compare the parts of a page with the model, whose weights are those that are stored."""
    if parts["policy"] != _policy(parts["code"], parts["style"]):
        raise ExportError("the page's policy does not allow its own script and style")
    data = json.loads(parts["data"])
    found = unpack(parts["weights"].strip(), data["index"], data["dtype"])
    for name, array in without_empty_rows(file.weights).items():
        if name not in found or not np.array_equal(found[name], array):
            raise ExportError(f"the page's weight {name} is not the model's")
    if data["config"] != as_dict(file.config) or data["texts"] != _texts(file.vocab):
        raise ExportError("the page's network or alphabet is not the model's")


def _check_script(page: str, file: ModelFile, chars: int, notes: list[str]) -> int:
    """Let the page's script read and write in node, if it is there; return the characters."""
    node = shutil.which("node")
    reason = "node is not installed"
    if node:
        try:
            compared = _check_texts(node, page, file, chars, notes)
            notes.append("its weights were read back, and its script read and wrote texts in node")
            return compared
        except _OldNodeError:
            reason = "this node is too old for it; version 16 can"
    notes.append(
        f"its weights were read back and are the model's; its script was not run, as {reason}"
    )
    return 0


def _read_back(page: str) -> dict[str, str]:
    """Return the parts of a page, as a browser finds them."""
    parts: dict[str, str] = {}
    for name, pattern in _ISLANDS.items():
        found = pattern.findall(page)
        if len(found) != 1:
            raise ExportError(f"the page has {len(found)} parts named {name}, not one")
        parts[name] = found[0]
    return {name: unescape(text) if name == "policy" else text for name, text in parts.items()}


def _check_texts(node: str, page: str, file: ModelFile, chars: int, notes: list[str]) -> int:
    """Compare what the page's script finds with the model: without labels, and with the last one.

    It reads a sampled text and writes a greedy one. Returns the characters compared.
    """
    first = opening_id(file.vocab)
    compared = ties = 0
    for rows in [[], [len(file.labels) - 1]] if file.labels else [[]]:
        asked = ["=".join(file.labels.describe(row + 1)) for row in rows]
        plain = with_labels(file, asked)
        network = Network(plain.config, plain.weights)
        start = network.advance(first, network.initial_state())
        ids = sampled_ids(network, min(chars, _MAX_READ), start=start)
        found = _run_script(node, page, first, min(chars, _MAX_GREEDY), rows, ids)
        check_costs(token_costs(network, ids, start), np.array(found["costs"]))
        ties += check_greedy(network, file.vocab, found["ids"], start)
        compared += len(ids) + len(found["ids"])
    if ties:
        notes.append(f"{ties} times two characters were equally likely but for rounding")
    return compared


def _run_script(
    node: str, page: str, first: int, count: int, rows: Sequence[int], ids: Ids
) -> dict[str, list[Any]]:
    """Return the costs of ids and the ids written, as run_page.js finds them."""
    texts = [json.dumps(list(rows)), json.dumps(ids.tolist())]
    try:
        done = subprocess.run(
            [node, "-e", read_asset("run_page.js"), str(first), str(count), *texts],
            input=page,
            capture_output=True,
            encoding="utf-8",
            timeout=_NODE_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExportError(f"node could not run the page's script: {error}") from error
    # The script itself is what the policy's hash says, so it is node that cannot read it.
    if done.returncode and "SyntaxError" in done.stderr:
        raise _OldNodeError
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        reason = next((line for line in lines if "Error" in line), "it gave no reason")
        raise ExportError(f"the page's script failed in node: {reason}")
    found: dict[str, list[Any]] = json.loads(done.stdout)
    return found
