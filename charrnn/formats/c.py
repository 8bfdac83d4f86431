"""A model as C99: NAME.h and NAME.c, and by choice NAME_main.c, a program that writes.

`c_source.py` makes the text. To verify it, it is compiled, with warnings as errors, and run.

V = vocabulary, T = tokens.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config.export import ExportConfig
from charrnn.errors import ConfigError, ExportError
from charrnn.formats.c_source import CSource
from charrnn.formats.precision import bits_lost, restored
from charrnn.formats.verified import (
    Verified,
    all_logits,
    check_greedy,
    check_logits,
    sampled_ids,
)
from charrnn.generation.labels import with_labels
from charrnn.generation.network import Network
from charrnn.text.vocab import Ids, Vocab

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
"""What an export is compiled with when it is verified."""

_COMPILERS = ("cc", "gcc", "clang")
_COMPILE_SECONDS = 900.0
_RUN_SECONDS = 600.0
_MOST_COMPARED = 1 << 22  # logits


def make_c(file: ModelFile, name: str, config: ExportConfig) -> dict[str, bytes]:
    """Return the files of a model: NAME.h, NAME.c and, with config.main, NAME_main.c.

    Labels that are not fixed are left out: the network is of texts of which nothing is known.

    Raises:
        ConfigError: the model cannot be exported, as `CSource` says.
    """
    source = CSource(with_labels(file), name, config.dtype or "fp32", config.licence or "")
    contents = {f"{name}.h": source.render("model.h"), f"{name}.c": source.render("model.c")}
    if config.main:
        contents[f"{name}_main.c"] = source.render("main.c")
    return {each: text.encode() for each, text in contents.items()}


def verify_c(folder: Path, names: Sequence[str], file: ModelFile, config: ExportConfig) -> Verified:
    """Compile and run the files, and compare logits and a greedy text with the model's.

    The compiler is that of the environment's CC, or else cc, gcc or clang.

    Raises:
        ExportError: they differ, or do not compile without a warning.
        ConfigError: there is no compiler.
    """
    compiler = find_compiler()
    name = next(each.removesuffix(".h") for each in names if each.endswith(".h"))
    dtype = config.dtype or "fp32"
    file = with_labels(file)
    weights = restored(file.weights, dtype)
    network = Network(file.config, weights)
    source = CSource(file, name, dtype)
    ids = sampled_ids(network, config.verify_chars)
    random = np.random.default_rng(0)
    ids[::11] = random.integers(file.vocab.size, size=len(ids[::11]))  # of the whole vocabulary
    with tempfile.TemporaryDirectory() as scratch:
        program = Path(scratch, "check")
        compile_c(compiler, folder, ["-", f"{name}.c"], program, source.render("check.c"))
        compared = ids[: max(_MOST_COMPARED // file.vocab.size, 50)]
        data = _run([program, str(config.verify_chars)], compared.astype(np.int32).tobytes())
        greedy = np.frombuffer(data[: 4 * config.verify_chars], np.int32)
        logits = np.frombuffer(data[4 * config.verify_chars :], np.float32)
        if len(logits) != len(compared) * file.vocab.size:
            raise ExportError("the C program ended before it had read all of a text")
        logits = logits.reshape(len(compared), -1)
        error = check_logits(all_logits(network, compared), logits)
        opening = file.vocab.encode(source.opening).tolist()
        start = network.prefill(opening, network.initial_state())
        ties = check_greedy(network, file.vocab, greedy.tolist(), start)
        if f"{name}_main.c" in names:
            compile_c(compiler, folder, [f"{name}_main.c", f"{name}.c"], program)
            _check_main(program, file.vocab, greedy)
    notes = [f"compiled by {shlex.join(compiler)} -O2 {' '.join(WARNINGS)}"]
    if ties:
        notes.append(f"{ties} times two characters were equally likely but for rounding")
    if dtype != "fp32":
        lost = bits_lost(file, weights, ids)
        notes.append(f"{dtype} costs {lost:+.4f} bits per character on a text of the model's own")
    return Verified(config.verify_chars, error, tuple(notes))


def check_program(file: ModelFile, name: str, config: ExportConfig) -> str:
    """Return the C of a program that prints what is compared, to be compiled with NAME.c.

    Its argument is the number of tokens of the likeliest text to print, as int32; then it reads
    tokens and prints the logits after each.
    """
    return CSource(with_labels(file), name, config.dtype or "fp32").render("check.c")


def find_compiler() -> list[str]:
    """Return the command of a C compiler: that of CC, or the first there is.

    Raises:
        ConfigError: there is none.
    """
    hint = "install gcc or clang, name another by the environment's CC, or pass --no-verify"
    asked = os.environ.get("CC", "").strip()
    if asked:
        try:
            command = shlex.split(asked)
        except ValueError as error:
            raise ConfigError(f"CC={asked!r} is no command: {error}; {hint}") from error
        if shutil.which(command[0]) is None:
            raise ConfigError(f"there is no compiler {command[0]!r}, which CC names; {hint}")
        return command
    for name in _COMPILERS:
        if shutil.which(name):
            return [name]
    raise ConfigError(f"to verify C, a C compiler is needed, and there is none; {hint}")


def compile_c(
    compiler: Sequence[str],
    folder: Path,
    sources: Sequence[str],
    program: Path,
    standard_input: str = "",
    flags: Sequence[str] = ("-O2", *WARNINGS),
) -> None:
    """Compile sources of a folder to a program; "-" is a text of C on standard input.

    Raises:
        ExportError: there is an error or a warning.
    """
    paths = [each if each == "-" else f"./{each}" for each in sources]  # -x.c is no option
    command = [*compiler, *flags, "-o", str(program), "-x", "c", *paths]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            input=standard_input.encode(),
            capture_output=True,
            timeout=_COMPILE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExportError(f"{compiler[0]} cannot compile it: {error}") from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").splitlines()
        found = next((each for each in lines if "error" in each), "no reason was given")
        raise ExportError(f"{shlex.join([*compiler, *flags])} refuses the C code: {found}")


def _run(command: Sequence[str | Path], standard_input: bytes = b"") -> bytes:
    """Return what a compiled program prints."""
    try:
        done = subprocess.run(
            command, input=standard_input, capture_output=True, timeout=_RUN_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExportError(f"the C program cannot be run: {error}") from error
    if done.returncode:
        raise ExportError(
            f"the C program ended with code {done.returncode}: "
            f"{done.stderr.decode(errors='replace').strip()[:200]}"
        )
    return done.stdout


def _check_main(program: Path, vocab: Vocab, greedy: Ids) -> None:
    """Compare what the program writes at temperature 0 with ids (T,) that the network chose."""
    length = len(greedy) // (4 if vocab.has_bytes else 1)  # a character has up to 4 bytes
    expected = b""
    count = 0
    for token in greedy.tolist():
        text = b"" if token == vocab.end else _bytes_of(vocab, token)
        count += sum(byte & 0xC0 != 0x80 for byte in text)  # characters begin with those
        if token == vocab.end or count > length:
            break
        expected += text
    found = _run([program, "-t", "0", "-n", str(length)])
    if found != expected + b"\n":
        raise ExportError("the program of --main does not write the text that the model writes")


def _bytes_of(vocab: Vocab, token: int) -> bytes:
    """Return the bytes that a token writes."""
    return vocab.text_of(token).encode() or bytes([token - len(vocab.alphabet)])
