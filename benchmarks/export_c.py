"""What `charrnn export --to c` makes, with each compiler: python benchmarks/export_c.py MODEL...

MODEL: model files or run folders. With gcc and clang, from -O0 to -O3, for this processor alone and
with sanitizers, no warning, and the likeliest text of 10,000 characters is the model's own, with
logits that are the same to the last bit; int8 costs at most .005 bits per character; at -O2 one
stream is at least half as fast as charrnn sample.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from charrnn.bench.sampling import sampling_rate
from charrnn.bench.speeds import Measurement, median_ratio, time_alternating
from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_store import find_model
from charrnn.config.export import ExportConfig
from charrnn.formats.c import WARNINGS, check_program, make_c, verify_c
from charrnn.formats.c_source import identifier
from charrnn.formats.precision import bits_lost, restored
from charrnn.formats.verified import sampled_ids
from charrnn.generation.labels import with_labels
from charrnn.generation.network import Network
from charrnn.generation.text_format import text_format_of

CHARS = 10_000
HELD_OUT_CHARS = 20_000
ROUNDS = 7
LEVELS = ("-O0", "-O1", "-O2", "-O3", "-O3 -march=native", "-O2 -std=gnu17 -march=native")
SANITIZERS = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"
NAME = "model"

SPEED = """
#include "model.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int count, char **arguments)
{
    static PREFIX_state state;
    const long chars = count > 1 ? atol(arguments[1]) : 1000;
    uint64_t seed = 1;
    clock_t begun;
    long i;

    PREFIX_start(&state);
    begun = clock();
    for (i = 0; i < chars; i++)
        PREFIX_next(&state, PREFIX_sample(&state, 0.8f, 0, 1.0f, &seed));
    printf("%g\\n", (double)chars * CLOCKS_PER_SEC / (double)(clock() - begun));
    return 0;
}
"""


def build(compiler: str, flags: str, folder: Path, source: str, program: Path) -> float:
    """Compile the model with a text of C; return the seconds that it took."""
    warnings = [each for each in WARNINGS if not (each.startswith("-std") and "-std" in flags)]
    command = [compiler, *flags.split(), *warnings, "-o", str(program), "-x", "c", "-", f"{NAME}.c"]
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, input=source.encode(), capture_output=True, check=True)
    return time.perf_counter() - began


def outputs(program: Path, ids: np.ndarray) -> bytes:
    """Return the tokens of the likeliest text and the logits after ids, as the program has them."""
    command = [str(program), str(CHARS)]
    given = ids.astype(np.int32).tobytes()
    return subprocess.run(command, input=given, capture_output=True, check=True).stdout


def speed_of(program: Path, chars: int) -> Measurement:
    """Return a measurement of a compiled program: characters per second of the processor."""
    return lambda: float(subprocess.run([program, str(chars)], capture_output=True).stdout)


def speed_of_sample(file: ModelFile, chars: int) -> Measurement:
    """Return a measurement of charrnn sample, in seconds of the processor as that of C."""
    sample = sampling_rate(file.config, dict(file.weights), chars)

    def measure() -> float:
        began = time.process_time()
        sample()
        return chars / (time.process_time() - began)

    return measure


def compare_everywhere(file: ModelFile, folder: Path, compilers: Sequence[str]) -> None:
    """Print for each compiler and level the seconds to compile, and whether all is the same."""
    ids = sampled_ids(Network(file.config, file.weights), max(500_000 // file.vocab.size, 50))
    program = folder / "check"
    source = check_program(file, NAME, ExportConfig())
    expected = b""
    for compiler in compilers:
        for flags in (*LEVELS, SANITIZERS):
            try:
                seconds = build(compiler, flags, folder, source, program)
            except subprocess.CalledProcessError:
                if flags != SANITIZERS or compiler == "gcc":
                    raise
                print(f"  {compiler} lacks the library of the sanitizers")
                continue
            found = outputs(program, ids)
            expected = expected or found
            same = "the same bits" if found == expected else "OTHER BITS"
            print(f"  {compiler} {flags:<62} {seconds:6.2f} s to compile, {same}", flush=True)
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"  a compiler took at most {memory:,.0f} MB")


def compare_speeds(file: ModelFile, folder: Path, compilers: Sequence[str]) -> None:
    """Print characters per second beside those of charrnn sample, all in turn."""
    chars = 4000 if file.vocab.size < 1000 else 1000
    names: list[str] = []
    measurements = [speed_of_sample(file, chars)]
    source = SPEED.replace("PREFIX", identifier(NAME))
    for compiler in compilers:
        for flags in ("-O2", "-O3 -march=native"):
            program = folder / f"speed{len(names)}"
            build(compiler, flags, folder, source, program)
            measurements.append(speed_of(program, chars))
            names.append(f"{compiler} {flags}")
    time_alternating(measurements, rounds=1)  # warms up
    numpy, *others = time_alternating(measurements, rounds=ROUNDS)
    print(f"  charrnn sample: {np.median(numpy):,.0f} characters/s")
    for name, found in zip(names, others, strict=True):
        ratio = median_ratio(found, numpy)
        print(f"  {name}: {np.median(found):,.0f} characters/s, {ratio:.2f} × as fast", flush=True)


def write(folder: Path, file: ModelFile, config: ExportConfig) -> None:
    """Write an export into a folder; print its size."""
    contents = make_c(file, NAME, config)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    print(f"  {config.dtype}: {len(contents[f'{NAME}.c']) / 1e6:.1f} MB of source", flush=True)


def show_costs(file: ModelFile, text: Path) -> None:
    """Print what fewer bits cost on the last characters of a text."""
    tail = text.read_text(encoding="utf-8")[-HELD_OUT_CHARS:]
    form = text_format_of(file.summary, has_end=file.vocab.has_end)
    ids = file.vocab.encode(form.with_ends(form.normalized(tail)))
    for dtype in ("fp16", "int8"):
        lost = bits_lost(file, restored(file.weights, dtype), ids)
        print(f"  {dtype} costs {lost:+.5f} bits per token on the last {len(ids):,} of {text.name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--only-speed", action="store_true")
    parser.add_argument("--text", type=Path, help="a text, of whose end the precisions' cost is")
    arguments = parser.parse_args()
    compilers = [each for each in ("gcc", "clang") if shutil.which(each)]
    for model in arguments.models:
        file = with_labels(read_model(find_model(model, Path("checkpoints"))))
        print(f"{model}: {file.config.cell}, {file.config.num_layers} × {file.config.hidden_size}")
        config = ExportConfig(main=True, verify_chars=CHARS)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            for dtype in ("fp32",) if arguments.only_speed else ("int8", "fp16", "fp32"):
                of_dtype = replace(config, dtype=dtype)
                write(folder, file, of_dtype)
                for compiler in () if arguments.only_speed else compilers:
                    os.environ["CC"] = compiler
                    names = [path.name for path in folder.glob(f"{NAME}*.[ch]")]
                    verified = verify_c(folder, names, file, of_dtype)
                    notes = "; ".join(verified.notes)
                    error = verified.max_logit_error
                    print(
                        f"  {verified.chars:,} characters equal, logits within {error:.1g}; {notes}"
                    )
            if arguments.text:
                show_costs(file, arguments.text)
            if not arguments.only_speed:
                compare_everywhere(file, folder, compilers)
            compare_speeds(file, folder, compilers)


if __name__ == "__main__":
    main()
