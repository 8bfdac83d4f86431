"""Holds model files to their self-check: a file that was changed is refused, by a CheckpointError.

A mutant is a small model file with something done to it. Those that keep a wrong digest must all be
refused. Those that are signed anew may load, as a forger can write a model too; but then what is
loaded must be what an independent reading of the same bytes gives: the safetensors library for the
arrays, json for the document. Anything else counts as a silent load.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from charrnn.checkpoint.model_file import (
    ModelFile,
    config_to_json,
    pack_model,
    read_model,
    unpack_model,
)
from charrnn.errors import CheckpointError

MB = 1 << 20
DIGEST = b'"sha256":"'
SHAPE = {"cell": "rnn", "embedding_size": 1, "hidden_size": 1, "num_layers": 1}
ODD = [
    *(None, True, False, 0, -1, 1, 2, 2**31, 2**63, 2**64, 10**400, 0.5, -0.0, 1e308, math.nan),
    *(math.inf, "", "a", "\n\x1b[2J", "\ud800", "é", "F32", "F64", "rnn", "lstm", "../../etc"),
    *([], [1], [0, 8], [[]], {}, {"a": 1}, {"dtype": "F32"}, [2**32, 2**32], [0] * 40),
]
TOKENS = ["", "0", "1", "9", "-", ".5", "e9", '"', "\\", "\\u0000", "[", "]", "{", "}", ",", ":"]
TOKENS += [
    "null",
    "true",
    "NaN",
    "Infinity",
    "é",
    "\x00",
    "\n",
    " ",
    '"a":1,',
    "[" * 2000,
    "9" * 5000,
]

Mutate = Callable[[Random, int], bytes]
MakeModel = Callable[..., ModelFile]
Times = Callable[[int, int], int]
Figure = Callable[[str], None]


class Mutants:
    """Ways to change one file, each a function of a random generator and a running number."""

    def __init__(self, data: bytes, other: bytes) -> None:
        self._data, self._other = data, other
        self._start = 8 + int.from_bytes(data[:8], "little")

    def kept_digest(self) -> dict[str, Mutate]:
        """Return the kinds whose digest is no longer right."""
        return {
            "each byte in turn": self._each_byte,
            "bits": self._bits,
            "truncations": lambda random, i: self._data[: i % len(self._data)],
            "extensions": self._extension,
            "splices": self._splice,
            "swapped blocks": self._swap,
            "zeroed blocks": self._zeros,
            "header lengths": self._length,
            "header text": self._text,
            "header values": self._values,
        }

    def signed(self) -> dict[str, Mutate]:
        """Return the kinds whose digest is right again."""
        kinds = (self._each_byte, self._splice, self._swap, self._zeros, self._text, self._values)
        kinds += (self._infinite,)
        return {f"signed, {kind.__name__.strip('_')}": signed(kind) for kind in kinds}

    def _span(self, random: Random) -> tuple[int, int]:
        start = random.randrange(len(self._data))
        return start, min(start + random.choice((1, 4, 8, 64, 512)), len(self._data))

    def _each_byte(self, random: Random, i: int) -> bytes:
        place, step = i % len(self._data), 1 + i // len(self._data) % 255
        byte = bytes([(self._data[place] + 37 * step) % 256])
        return self._data[:place] + byte + self._data[place + 1 :]

    def _bits(self, random: Random, i: int) -> bytes:
        changed = bytearray(self._data)
        for _ in range(1 + i % 8):
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
        return bytes(changed)

    def _extension(self, random: Random, i: int) -> bytes:
        length = 1 + i % 512
        tails = (bytes(length), random.randbytes(length), self._data[:length], b" " * length)
        tail = tails[i % len(tails)]
        return tail + self._data if random.random() < 0.2 else self._data + tail

    def _splice(self, random: Random, i: int) -> bytes:
        first, second = random.choice([(self._data, self._other), (self._other, self._data)])
        end = random.randrange(len(first))
        start = end if i % 2 else random.randrange(len(second))
        return first[:end] + second[start:]

    def _swap(self, random: Random, i: int) -> bytes:
        size = random.choice((1, 4, 8, 64, 512))
        one, two = sorted(random.randrange(len(self._data) - size) for _ in range(2))
        blocks = self._data[two : two + size], self._data[one : one + size]
        changed = bytearray(self._data)
        changed[one : one + size], changed[two : two + size] = blocks
        return bytes(changed)

    def _zeros(self, random: Random, i: int) -> bytes:
        start, end = self._span(random)
        return self._data[:start] + bytes(end - start) + self._data[end:]

    def _length(self, random: Random, i: int) -> bytes:
        length = random.choice(
            (random.getrandbits(64), 1 << i % 64, (1 << i % 64) - 1, i % 9999, self._start + i % 9)
        )
        return length.to_bytes(8, "little") + self._data[8:]

    def _infinite(self, random: Random, i: int) -> bytes:
        """Put NaN or an infinity over numbers of an array."""
        number = random.choice((math.nan, math.inf, -math.inf))
        raw = np.array(number, dtype=random.choice(("<f4", "<f8"))).tobytes()
        place = random.randrange(self._start, len(self._data) - len(raw) + 1, 4)
        return self._data[:place] + raw + self._data[place + len(raw) :]

    def _text(self, random: Random, i: int) -> bytes:
        """Put a token somewhere into the header's text; the length field is right."""
        place = random.randrange(8, self._start)
        end = place + random.choice((0, 0, 1, 1, 2, 8, 64))
        header = (
            self._data[8:place] + random.choice(TOKENS).encode() + self._data[end : self._start]
        )
        return with_header(header, self._data[self._start :])

    def _values(self, random: Random, i: int) -> bytes:
        """Return a header where one value, of it or of its document, or one key is another."""
        header = json.loads(self._data[8 : self._start])
        document = json.loads(header["__metadata__"]["charrnn"])
        if i % 3:
            change_one(random, document)
            header["__metadata__"]["charrnn"] = json.dumps(document)
        else:
            change_one(random, header)
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=bool(i % 2))
        return with_header(text.encode("utf-8", "surrogatepass"), self._data[self._start :])


def with_header(header: bytes, rest: bytes) -> bytes:
    """Return a file of this header and these arrays."""
    return len(header).to_bytes(8, "little") + header + rest


def change_one(random: Random, value: Any) -> None:
    """Change, remove, rename or add one entry somewhere in an object."""
    places = list(iter_places(value))
    inside, key = random.choice(places)
    what = random.random()
    if what < 0.7:
        others = [other[k] for other, k in random.choices(places, k=5)]
        inside[key] = deepcopy(random.choice(ODD + others))
    elif what < 0.85:
        del inside[key]
    elif isinstance(inside, dict):
        inside[random.choice(("a", "\n", "step", "training.a", "output.weight"))] = deepcopy(
            inside[key]
        )
    else:
        inside.append(deepcopy(random.choice(ODD)))


def iter_places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every object or list with each of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from iter_places(value[key])


def signed(mutate: Mutate) -> Mutate:
    """Return the same mutants with the digest that they should have, if there is a place for it."""

    def mutate_and_sign(random: Random, i: int) -> bytes:
        changed = mutate(random, i)
        start = changed.find(DIGEST) + len(DIGEST)
        if start < len(DIGEST) or start + 64 > len(changed):
            return changed
        unsigned = changed[:start] + b"0" * 64 + changed[start + 64 :]
        digest = hashlib.sha256(unsigned).hexdigest().encode()
        return unsigned[:start] + digest + unsigned[start + 64 :]

    return mutate_and_sign


def is_what_it_says(model: ModelFile, data: bytes) -> bool:
    """Return whether a model that was loaded is what another reading of the file gives."""
    document = json.loads(document_of(data))
    json.dumps(
        document, allow_nan=False, ensure_ascii=False
    ).encode()  # a ValueError if it cannot be
    loaded = {
        "format": 1 if model.config.task == "text" else 3,
        "config": config_to_json(model.config),
        "vocab": model.vocab.to_json(),
        "summary": model.summary,
        "progress": model.progress,
    }
    if model.config.task != "text":
        loaded["labels"] = model.labels.to_json()
        loaded["target_vocab"] = model.target_vocab and model.target_vocab.to_json()
    ours = model.weights | {f"training.{name}": array for name, array in model.training.items()}
    theirs = safetensors.numpy.load(data)
    return (
        all(repr(sorted_keys(loaded[key])) == repr(sorted_keys(document[key])) for key in loaded)
        and {name: array.shape for name, array in model.weights.items()}
        == model.config.weight_shapes()
        and {name: facts(array) for name, array in ours.items()}
        == {name: facts(array) for name, array in theirs.items()}
        and all(np.isfinite(array).all() for array in theirs.values())
    )


def sorted_keys(value: Any) -> Any:
    """Return an object's entries by key."""
    return sorted(value.items()) if isinstance(value, dict) else value


def facts(array: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    """Return what makes two arrays the same."""
    return array.dtype.str, array.shape, array.tobytes()


def outcome(data: bytes) -> str:
    """Return what becomes of a mutant in one word."""
    try:
        model = unpack_model(data, "some.file")
    except CheckpointError as error:
        message = str(error)
        is_clear = message.startswith("some.file ") and message.isprintable()
        return "refused" if is_clear and len(message) < 350 else f"unclear: {message!r}"
    except Exception as error:  # that there is none is what is tested
        return f"crashed: {error!r}"
    try:
        return "loaded" if is_what_it_says(model, data) else "lied"
    except (ValueError, KeyError, safetensors.SafetensorError):  # others would not read it at all
        return "lied"


def run_all(
    kinds: dict[str, Mutate], number: int, files: tuple[bytes, bytes]
) -> dict[str, Counter[str]]:
    """Make `number` mutants in all, and count what became of those of each kind."""
    random, outcomes = Random(7), {}
    for kind, mutate in kinds.items():
        outcomes[kind] = Counter[str]()
        for i in range(number // len(kinds)):
            data = mutate(random, i)
            while data in files:  # a block swapped with its like, a splice of nothing and all
                i += 1
                data = mutate(random, i)
            outcomes[kind][outcome(data)] += 1
    return outcomes


@pytest.fixture(scope="module")
def files(make_model: MakeModel) -> tuple[bytes, bytes]:
    """Return two model files of about two thousand bytes."""
    model = make_model(**SHAPE)
    summary = model.summary | {"settings": {"seed": 1}, "baselines_bpc": {"gzip": 2.5}}
    first, second = replace(model, summary=summary), make_model(step=8, **SHAPE)
    return bytes(pack_model(first)), bytes(pack_model(second))


def test_every_mutant_with_a_wrong_digest_is_refused(
    files: tuple[bytes, bytes], times: Times, figure: Figure
) -> None:
    number = times(8_000, 853_000)
    began = time.perf_counter()
    outcomes = run_all(Mutants(*files).kept_digest(), number, files)
    total = sum(outcomes.values(), Counter())

    assert total == {"refused": number}, outcomes
    rate = number / (time.perf_counter() - began)
    figure(
        f"{number:,} mutants of a file of {len(files[0]):,} bytes, of {len(outcomes)} kinds: "
        f"{total['refused']:,} refused, 0 loaded, 0 crashes; {rate:,.0f} a second"
    )


def test_every_mutant_that_is_signed_anew_is_refused_or_is_what_it_says(
    files: tuple[bytes, bytes], times: Times, figure: Figure
) -> None:
    number = times(2_002, 147_000)
    began = time.perf_counter()
    outcomes = run_all(Mutants(*files).signed(), number, files)
    total = sum(outcomes.values(), Counter())

    assert total.keys() == {"refused", "loaded"}, outcomes
    assert sum(total.values()) == number
    assert total["loaded"] > number / 100, "the signature of mutants is wrong"
    rate = number / (time.perf_counter() - began)
    figure(
        f"{number:,} mutants signed anew, of {len(outcomes)} kinds: {total['refused']:,} refused, "
        f"{total['loaded']:,} loaded as what they say, 0 silent loads, 0 crashes; "
        f"{rate:,.0f} a second"
    )


# Large files, and files that claim to be


def measure(path: Path) -> tuple[str, float, int]:
    """Read a model file; give its message, seconds of the processor, and peak bytes of memory."""
    began = time.process_time()
    message = read(path)
    seconds = time.process_time() - began
    tracemalloc.start()  # apart from the clock, as it makes Python several times slower
    read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return message, seconds, peak


def read(path: Path) -> str:
    """Return the message with which a file is refused, nothing if it loads."""
    try:
        read_model(path)
    except CheckpointError as error:
        return str(error)
    return ""


def resign(data: bytes) -> bytes:
    """Return these bytes with their own digest."""
    return signed(lambda random, i: data)(Random(0), 0)


def test_a_large_file_sound_or_damaged_is_read_in_twice_its_memory(
    make_model: MakeModel, tmp_path: Path, times: Times, figure: Figure
) -> None:
    size = times(8, 64) * MB
    model = make_model(**SHAPE)
    data = pack_model(replace(model, training={"a": np.zeros(size // 4, dtype=np.float32)}))
    middle = len(data) // 2
    cases = {
        "sound": (data, ""),
        "with a flipped bit": (
            data[:middle] + b"\x01" + data[middle + 1 :],
            "not have the SHA-256",
        ),
        "without its second half": (data[:middle], "is cut short"),
        "with 1 MB more": (data + bytes(MB), "1,048,576 bytes after its end"),
        "with a NaN": (resign(data[:-4] + b"\0\0\xc0\x7f"), "'training.a' holds numbers that are"),
    }
    for kind, (content, expected) in cases.items():
        (tmp_path / "model").write_bytes(content)
        message, seconds, peak = measure(tmp_path / "model")

        assert expected in message if expected else message == ""
        assert peak <= 2 * len(content) + 64 * MB
        figure(f"{len(content) / MB:.0f} MB {kind}: peak {peak / MB:.1f} MB in {seconds:.2f} s")


def header_of(document: str, arrays: str = "") -> bytes:
    """Return a signed file of a header alone, arrays: their entries, with a comma before each."""
    metadata = f'"charrnn":{json.dumps(document)},"sha256":"{"0" * 64}"'
    return resign(with_header(f'{{"__metadata__":{{{metadata}}}{arrays}}}'.encode(), b""))


def document_of(data: bytes) -> str:
    """Return the JSON document of a model file."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return str(header["__metadata__"]["charrnn"])


def entry(size: int) -> str:
    """Return the entry of an array of bytes."""
    return f',"a":{{"dtype":"U8","shape":[{size}],"data_offsets":[0,{size}]}}'


TERABYTE = 10**12
LONG = 8 * MB - 300  # what a header may hold besides its frame
ABSURD: dict[str, tuple[Callable[[bytes, int], bytes], int, str]] = {
    "a header of 2^60 bytes": (
        lambda tiny, many: (1 << 60).to_bytes(8, "little") + tiny[8:],
        0,
        "its header would have 1,152,921,504,606,846,976 bytes, of 8,388,608 allowed",
    ),
    "a header of 10 GB that is there": (
        lambda tiny, many: (10**10).to_bytes(8, "little") + tiny[8:],
        10**10 + 8,
        "its header would have 10,000,000,000 bytes, of 8,388,608 allowed",
    ),
    "a terabyte of zeros": (lambda tiny, many: b"", TERABYTE, "is not a charrnn model"),
    "a terabyte that begins with a model": (
        lambda tiny, many: tiny,
        TERABYTE,
        "bytes after its end",
    ),
    "a terabyte as promised": (
        lambda tiny, many: header_of("{}", entry(8 * TERABYTE)),
        8 * TERABYTE + len(header_of("{}", entry(8 * TERABYTE))),
        "this machine's memory",
    ),
    "an array of 2^60 bytes": (
        lambda tiny, many: header_of("{}", entry(1 << 60)),
        0,
        "is cut short",
    ),
    "a shape whose product overflows": (
        lambda tiny, many: header_of(
            document_of(tiny), entry(0).replace("[0]", "[4294967296,4294967296]")
        ),
        0,
        "array 'a' has no type, shape and offsets that agree",
    ),
    "a text of 8 MB": (
        lambda tiny, many: header_of('"' + "a" * LONG + '\\ud83d\\ude00"'),
        0,
        "has model format None",
    ),
    "lists in 8 MB": (lambda tiny, many: header_of("[" + "[]," * (LONG // 3)), 0, "lists more"),
    "lists in lists": (lambda tiny, many: header_of("[" * 260_000), 0, "nested more than 32 deep"),
    "a number of 8,000,000 digits": (
        lambda tiny, many: header_of("9" * 8_000_000),
        0,
        "8,000,000 digits",
    ),
    "many keys and one twice": (
        lambda tiny, many: header_of(
            "{" + "".join(f'"{i}":0,' for i in range(2 * many)) + '"9":0}'
        ),
        0,
        "the key '9' occurs twice",
    ),
    "many arrays": (
        lambda tiny, many: header_of(
            document_of(tiny), "".join(f',"{i}":{{}}' for i in range(many))
        ),
        0,
        "array '0' has no type, shape and offsets",
    ),
}


@pytest.mark.parametrize("kind", ABSURD)
def test_an_absurd_file_is_refused_at_once_and_in_little_memory(
    kind: str, files: tuple[bytes, bytes], tmp_path: Path, times: Times, figure: Figure
) -> None:
    make, size, expected = ABSURD[kind]
    data = make(files[0], times(13_000, 130_000))
    (tmp_path / "model").write_bytes(data)
    try:
        os.truncate(tmp_path / "model", size or len(data))
    except OSError:
        pytest.skip(f"this file system has no files of {size:,} bytes")
    message, seconds, peak = measure(tmp_path / "model")

    assert expected in message
    assert message.isprintable()
    assert len(message.replace(str(tmp_path), "")) < 350
    assert seconds < (1 if sys.gettrace() is None else 3)  # coverage slows Python threefold
    assert peak <= 2 * len(data) + 64 * MB  # of a sparse file, what is really there
    figure(f"{seconds:.3f} s, peak {peak / MB:.1f} MB")
