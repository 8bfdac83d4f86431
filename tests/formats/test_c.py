"""A model in C: it writes what the model writes, however it is compiled and whatever it reads.

Every test compiles real C; without a compiler there is nothing to test.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import ModelConfig, SampleConfig
from charrnn.config.export import ExportConfig
from charrnn.errors import ConfigError, ExportError
from charrnn.formats.c import WARNINGS, compile_c, find_compiler, make_c, verify_c
from charrnn.formats.c_source import identifier
from charrnn.formats.precision import restored
from charrnn.generation.chain import SamplerChain
from charrnn.generation.network import Network
from charrnn.text.ngrams import NO_CHECK
from charrnn.text.vocab import END, Vocab
from tests.formats import models
from tests.generation.random_models import random_weights
from tests.generation.record_models import WHO, make_records_file
from tests.generation.task_models import make_task_file

COMPILERS = [each for each in ("gcc", "clang") if shutil.which(each)]
pytestmark = pytest.mark.skipif(not COMPILERS, reason="there is no C compiler")

HOSTILE = "".join(sorted('\0\n\r\t "\\?=/(*)%@$aé\u2028春\ue000\ufffe\U0001f600\U0010fffe'))
QUICK = ExportConfig(verify_chars=60)
SHAPES: list[dict[str, Any]] = [
    {"cell": "lstm"},
    {"cell": "lstm", "num_layers": 2, "residual": True, "tie_embeddings": True},
    {"cell": "lstm", "embedding_size": 1, "hidden_size": 1, "num_layers": 1},
    {"cell": "gru", "num_layers": 3, "residual": True},
    {"cell": "gru", "embedding_size": 7, "tie_embeddings": True},
    {"cell": "rnn", "num_layers": 2},
    {"cell": "rnn", "nonlinearity": "relu", "residual": True},
    {"cell": "rnn", "nonlinearity": "logistic", "embedding_size": 5, "tie_embeddings": True},
]

# Runs one request and prints what comes of it.
PROGRAM = r"""
#include "tiny.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char text[1 << 16];

int main(int count, char **arguments)
{
    static tiny_state one, other;
    uint64_t seed = count > 2 ? strtoull(arguments[2], 0, 10) : 0;
    size_t bytes = fread(text, 1, sizeof text, stdin), at = 0, used;
    int i;

    if (!strcmp(arguments[1], "encode")) {
        for (; at < bytes; at += used)
            printf("%d ", tiny_encode(text + at, bytes - at, &used));
        return tiny_encode(text, 0, &used) == -1 && used == 0 ? 0 : 1;
    }
    if (!strcmp(arguments[1], "decode")) {
        for (i = -2; i < TINY_VOCAB + 2; i++) {
            char written[TINY_MAX_TEXT];
            used = tiny_decode(i, written);
            for (at = 0; at < used; at++)
                printf("%02x", (unsigned char)written[at]);
            printf(",");
        }
        return 0;
    }
    if (!strcmp(arguments[1], "sample")) {
        tiny_start(&one);
        for (i = 0; i < 300; i++) {
            const int token = tiny_sample(&one, (float)atof(arguments[3]), atoi(arguments[4]),
                                          (float)atof(arguments[5]), &seed);
            printf("%d ", token);
            tiny_next(&one, token);
        }
        return 0;
    }
    /* The second state reads other tokens in between, the third is a copy. */
    tiny_start(&one);
    tiny_start(&other);
    for (i = 0; i < 40; i++) {
        tiny_state copy = one;
        tiny_next(&copy, (i + 1) % TINY_VOCAB);
        tiny_next(&other, i * 5 % TINY_VOCAB);
        tiny_logits(&copy);
        tiny_next(&one, i % TINY_VOCAB);
        if (tiny_next(&one, -1) != -1 || tiny_next(&one, TINY_VOCAB) != -1)
            return 1;
        fwrite(tiny_logits(&one), sizeof(float), TINY_VOCAB, stdout);
    }
    return 0;
}
"""

Ask = Callable[..., bytes]


def make_file(vocab: Vocab | None = None, spread: float = 0.8, **shape: Any) -> ModelFile:
    vocab = vocab or Vocab("\n abcdé")
    sizes: dict[str, Any] = {
        "embedding_size": 3,
        "hidden_size": 5,
        "num_layers": 1,
        "initial_state": "learned",
    }
    ends = {"vocab_size": vocab.size, "has_end": vocab.has_end}
    config = ModelConfig(**(sizes | ends | shape))
    return ModelFile(config, vocab, random_weights(config, 3, spread), {})


def write(folder: Path, file: ModelFile, config: ExportConfig = QUICK, name: str = "tiny") -> None:
    for each, content in make_c(file, name, config).items():
        (folder / each).write_bytes(content)


def verify(folder: Path, file: ModelFile, config: ExportConfig = QUICK) -> float:
    """Write and verify; return the largest error of a logit."""
    write(folder, file, config)
    verified = verify_c(folder, sorted(each.name for each in folder.iterdir()), file, config)

    assert verified.chars == config.verify_chars
    assert verified.max_logit_error is not None
    return verified.max_logit_error


@pytest.fixture
def build(tmp_path: Path) -> Callable[[ModelFile], Ask]:
    """Return a function that compiles a model with PROGRAM, and returns what asks it."""

    def compiled(file: ModelFile, flags: tuple[str, ...] = ("-O1", *WARNINGS)) -> Ask:
        program = tmp_path / "program"
        write(tmp_path, file)
        compile_c(find_compiler(), tmp_path, ["-", "tiny.c"], program, PROGRAM, flags)

        def ask(*arguments: object, given: bytes = b"") -> bytes:
            command = [str(program), *map(str, arguments)]
            return subprocess.run(command, input=given, capture_output=True, check=True).stdout

        return ask

    return compiled


def sanitizers() -> tuple[str, ...]:
    """Return the flags that find reads and writes out of bounds, where the compiler has them."""
    flags = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    tried = subprocess.run(
        [*find_compiler(), *flags, "-o", "/dev/null", "-x", "c", "-"],
        input=b"int main(void) { return 0; }",
        capture_output=True,
    )
    return () if tried.returncode else flags


def ids_of(printed: bytes) -> list[int]:
    return [int(each) for each in printed.split()]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_writes_what_the_model_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: dict[str, Any]
) -> None:
    monkeypatch.setenv("CC", COMPILERS[SHAPES.index(shape) % len(COMPILERS)])

    assert verify(tmp_path, make_file(**shape)) < 1e-5


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_ngrams_are_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: dict[str, Any]
) -> None:
    place = SHAPES.index(shape)
    monkeypatch.setenv("CC", COMPILERS[place % len(COMPILERS)])
    file = make_file(Vocab("\n abc", has_end=place % 3 == 0), **shape)
    file = models.with_ngrams(file, order=2 + place % 4, has_plain_keys=place % 3 == 1)
    other = file.weights | {"ngrams.key": file.weights["ngrams.key"] + 1}

    assert verify(tmp_path, file) < 1e-5
    with pytest.raises(ExportError, match="logits differ"):
        verify_c(tmp_path, ["tiny.h", "tiny.c"], replace(file, weights=other), QUICK)


@pytest.mark.parametrize("dtype", ["fp16", "int8"])
def test_ngrams_have_the_precision_of_the_other_weights(tmp_path: Path, dtype: str) -> None:
    file = models.with_ngrams(make_file(tie_embeddings=True), order=3)

    assert verify(tmp_path, file, replace(QUICK, dtype=dtype, main=True)) < 1e-5


def test_a_table_without_any_ngram_is_no_error(tmp_path: Path) -> None:
    file = models.with_ngrams(make_file(), order=2)
    file.weights["ngrams.check"][:] = NO_CHECK

    assert verify(tmp_path, file) < 1e-5


def test_a_table_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    file = models.with_ngrams(make_file(), order=2)
    monkeypatch.setattr("charrnn.formats.c_source._MAX_NUMBERS", 400)

    with pytest.raises(ConfigError, match=r"numbers, and C compilers manage 400; .*ngram.rows"):
        make_c(file, "tiny", QUICK)


def test_rows_without_an_ngram_are_left_out(tmp_path: Path) -> None:
    file = models.with_ngrams(make_file(), order=2, rows=5000)
    used = int((file.weights["ngrams.check"] >= 0).sum())

    source = make_c(file, "tiny", QUICK)["tiny.c"].decode()

    assert used == 36
    assert f"FLOATS({37 * 3}) ngrams " in source  # the first row is always there


@pytest.mark.parametrize("dtype", ["fp16", "int8"])
@pytest.mark.parametrize("shape", [{"cell": "gru"}, SHAPES[1]], ids=str)
def test_fewer_bits_are_those_of_the_rounded_model(
    tmp_path: Path, dtype: str, shape: dict[str, Any]
) -> None:
    file = make_file(**shape)
    file.weights["output.bias"][0] = 6e-8  # of a half that has no leading one

    assert verify(tmp_path, file, replace(QUICK, dtype=dtype)) < 1e-5


@pytest.mark.parametrize(
    "vocab",
    [
        Vocab.of_bytes(),
        Vocab.of_bytes(has_end=True),
        Vocab("ab\u0301", has_bytes=True, has_end=True, clusters=("a\u0301", "b\u0301a")),
    ],
    ids=["bytes", "records of bytes", "clusters"],
)
def test_the_program_writes_what_the_model_writes(tmp_path: Path, vocab: Vocab) -> None:
    verify(tmp_path, make_file(vocab), replace(QUICK, main=True))


def test_labels_that_are_not_fixed_are_left_out(tmp_path: Path) -> None:
    verify(tmp_path, make_records_file(labels=(WHO,)), replace(QUICK, main=True))


def test_a_text_becomes_the_ids_of_the_vocabulary(build: Callable[..., Ask]) -> None:
    clusters = tuple(sorted(["春a", "春aé", "aé", "??=", '"\\']))
    vocab = Vocab(HOSTILE, has_bytes=True, has_end=True, clusters=clusters)
    ask = build(make_file(vocab), ("-O1", *WARNINGS, *sanitizers()))
    texts = ["", "春aé春a春", "??=??/", '"\\"\\', HOSTILE, f"a{END}é", "ß\U0010fffd", "aaéé", "春"]
    random = np.random.default_rng(0)
    texts += ["".join(random.choice([*HOSTILE, "ß", "龘"], 40)) for _ in range(20)]
    for text in texts:
        assert ids_of(ask("encode", given=text.encode())) == vocab.encode(text).tolist()

    # What is no UTF-8 is read byte by byte: overlong, half a pair, beyond Unicode, cut short.
    for raw in (b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xff", b"a\xe6\x98", b"\x80a"):
        bytes_of = {byte: len(HOSTILE) + byte for byte in raw} | {ord("a"): HOSTILE.index("a")}
        assert ids_of(ask("encode", given=raw)) == [bytes_of[byte] for byte in raw]


def test_ids_become_the_text_of_the_vocabulary(build: Callable[..., Ask]) -> None:
    vocab = Vocab(HOSTILE, has_bytes=True, has_end=True, clusters=("aé", "春a"))
    expected = [vocab.text_of(token).encode() for token in range(vocab.size - 1)]
    expected[len(HOSTILE) : len(HOSTILE) + 256] = [bytes([byte]) for byte in range(256)]

    found = build(make_file(vocab), ("-O1", *WARNINGS, *sanitizers()))("decode").split(b",")

    assert [bytes.fromhex(each.decode()) for each in found[2:-4]] == expected
    assert found[:2] == found[-2:-4:-1] == [b"", b""]


def test_unknown_characters_are_minus_one_without_bytes(build: Callable[..., Ask]) -> None:
    ask = build(make_file(Vocab("ac")))

    assert ids_of(ask("encode", given="aßc龘\N{GRINNING FACE}".encode())) == [0, -1, 1, -1, -1]
    assert ids_of(ask("encode", given=b"a\xff\xe6\x98c")) == [0, -1, -1, -1, 1]


@pytest.mark.parametrize("order", [1, 5])
def test_two_states_and_tokens_that_there_are_not(build: Callable[..., Ask], order: int) -> None:
    file = make_file(Vocab("abcd", has_end=True), num_layers=2, residual=True)
    if order > 1:
        file = models.with_ngrams(file, order)
    network = Network(file.config, file.weights)
    state = network.initial_state()
    expected = []
    for token in (np.arange(40) % 5).tolist():
        state = network.advance(token, state)
        expected.append(network.logits(state))

    found = np.frombuffer(build(file, ("-O1", *WARNINGS, *sanitizers()))("states"), np.float32)

    np.testing.assert_allclose(found.reshape(40, 5), expected, atol=1e-5)


def test_sampling_is_that_of_charrnn_for_the_same_random_numbers(build: Callable[..., Ask]) -> None:
    file = make_file(Vocab("abcdefghi"), spread=1.0)
    network = Network(file.config, file.weights)
    ask = build(file)
    for settings in (
        *((1, 0, 1), (0.5, 3, 1), (2, 0, 0.7), (1.3, 4, 0.8), (0, 0, 1), (1e-30, 0, 1)),
        *((1, 1, 0.5), (1, 9, 0.9), (1, 99, 1e-9)),
    ):
        temperature, top_k, top_p = settings
        chain = SamplerChain(SampleConfig(temperature=temperature, top_k=top_k, top_p=top_p), 9)
        nothing = chain.initial_state(np.array([]))
        state = network.initial_state()
        seed = 2**64 - 5
        expected = []
        for _ in range(300):
            seed, uniform = splitmix64(seed)
            token, _ = chain.sample(network.logits(state), nothing, uniform)
            expected.append(token)
            state = network.advance(token, state)

        assert ids_of(ask("sample", 2**64 - 5, temperature, top_k, top_p)) == expected, settings


def splitmix64(seed: int) -> tuple[int, float]:
    """Return the next seed and a number from 0 up to 1 (Steele, Lea, Flood 2014)."""
    mask = 2**64 - 1
    seed = (seed + 0x9E3779B97F4A7C15) & mask
    z = (seed ^ seed >> 30) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
    return seed, ((z ^ z >> 31) >> 11) / 2**53


@pytest.mark.parametrize("order", [1, 4])
def test_every_compiler_gives_the_same_bits(
    build: Callable[..., Ask], monkeypatch: pytest.MonkeyPatch, order: int
) -> None:
    file = make_file(hidden_size=37, num_layers=2)
    if order > 1:
        file = models.with_ngrams(file, order)
    found = set()
    for compiler in COMPILERS:
        monkeypatch.setenv("CC", compiler)
        for flags in (("-O0", *WARNINGS), ("-O3", "-march=native", "-std=gnu11")):
            found.add(build(file, flags)("states"))

    assert len(found) == 1


def test_the_program_says_what_is_wrong(tmp_path: Path) -> None:
    write(tmp_path, make_file(Vocab("\nab")), replace(QUICK, main=True))
    program = tmp_path / "program"
    compile_c(find_compiler(), tmp_path, ["tiny_main.c", "tiny.c"], program)

    def run(*arguments: str) -> tuple[int, str, str]:
        done = subprocess.run([program, *arguments], capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    assert run("-n", "5", "-s", "1", "-i", "ab")[1].startswith("ab")
    assert run("-n", "0", "-i", "ab") == (0, "ab\n", "")
    assert run("-s", "7") == run("-s", "7")
    assert run("-h")[1].startswith("Usage: ")
    assert run("-i", "aé") == (
        3,
        "",
        "the model does not know 'é', at byte 1 of the prompt: leave it out\n",
    )
    for wrong in (["-n"], ["-n", "x"], ["-t", "-1"], ["-p", "2"], ["-s", "-1"], ["-z", "1"], ["a"]):
        code, text, message = run(*wrong)
        assert (code, text, message.count("\n")) == (2, "", 1)


def test_an_export_that_writes_another_text_is_refused(tmp_path: Path) -> None:
    file = make_file()
    write(tmp_path, file)
    weights = file.weights | {"output.bias": file.weights["output.bias"] + np.float32(0.01)}

    with pytest.raises(ExportError, match="logits differ"):
        verify_c(tmp_path, ["tiny.h", "tiny.c"], replace(file, weights=weights), QUICK)


def test_a_warning_is_an_error(tmp_path: Path) -> None:
    file = make_file()
    write(tmp_path, file)
    with (tmp_path / "tiny.c").open("a") as source:
        source.write("static int unused;\n")

    with pytest.raises(ExportError, match=r"refuses the C code: .*unused"):
        verify_c(tmp_path, ["tiny.h", "tiny.c"], file, QUICK)


@pytest.mark.parametrize("compiler", ["no-such-compiler", "'"])
def test_without_a_compiler_the_way_out_is_named(
    monkeypatch: pytest.MonkeyPatch, compiler: str
) -> None:
    monkeypatch.setenv("CC", compiler)
    with pytest.raises(ConfigError) as caught:
        find_compiler()
    assert compiler in caught.value.message
    assert "--no-verify" in caught.value.message

    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="a C compiler is needed"):
        find_compiler()


@pytest.mark.parametrize(
    ("name", "expected"), [("shakes-2", "shakes_2"), ("9 to 5", "model_9_to_5"), ("春", "model")]
)
def test_names_in_c_begin_with_the_name_of_the_model(name: str, expected: str) -> None:
    assert identifier(name) == expected
    header = make_c(make_file(), name, QUICK)[f"{name}.h"].decode()

    assert f"void {expected}_start({expected}_state *state);" in header


def test_the_licence_is_in_the_header_and_ends_no_comment(tmp_path: Path) -> None:
    licence = "GPL-3.0+ */ (https://a.org) \\"
    for name, content in make_c(make_file(), "a", replace(QUICK, licence=licence)).items():
        (tmp_path / name).write_bytes(content)

    assert "Licence of the model: GPL-3.0+ / (https://a.org)\n" in (tmp_path / "a.h").read_text()
    compile_c(find_compiler(), tmp_path, ["a.c"], tmp_path / "a.o", flags=("-c", *WARNINGS))


@pytest.mark.parametrize("dtype", [None, "fp16", "int8"])
def test_no_name_of_a_model_makes_a_name_in_c_twice(dtype: str | None) -> None:
    for shape in models.CELLS.values():
        file = models.make_file(models.ALPHABETS["graphemes"], residual=True, **shape)
        contents = make_c(file, "zzz", ExportConfig(dtype=dtype))
        code = b"".join(contents.values()).decode()
        names = set(re.findall(r"[A-Za-z]\w*(?=\()", code))
        own = {name.removeprefix("zzz") for name in names if name.startswith("zzz_")}

        assert own >= {"_start", "_next", "_logits"}
        assert [n for n in names if n[:4] != "zzz_" and n.endswith(tuple(own))] == []


@pytest.mark.parametrize("name", ["string", 'a"b', "a\\b", "a\nb", "a*/b"])
def test_names_that_no_c_file_can_have_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="name of C files"):
        make_c(make_file(), name, QUICK)


def test_models_that_write_no_text_and_weights_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="tagging"):
        make_c(make_task_file("tagging"), "tiny", QUICK)
    file = make_file()
    file.weights["output.bias"][0] = 1e6
    with pytest.raises(ConfigError, match="above 65,504"):
        make_c(file, "tiny", replace(QUICK, dtype="fp16"))
    assert restored(file.weights, "fp32")["output.bias"][0] == 1e6
