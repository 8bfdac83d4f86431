"""The page that writes is one inert file, whose weights and text are the model's."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config.export import ExportConfig
from charrnn.data.labels import LabelColumn
from charrnn.errors import ConfigError, ExportError
from charrnn.formats import html_page
from charrnn.formats.html_page import (
    Dtypes,
    make_html,
    pack_page,
    restored_page,
    unpack,
    verify_html,
)
from charrnn.formats.precision import bits_lost, restored
from charrnn.formats.verified import Verified, sampled_ids
from charrnn.generation.network import Network
from charrnn.text.vocab import Vocab
from charrnn.web.inline import csp_hash
from charrnn.web.weights import pack_weights, to_int8
from tests.formats.models import CELLS, every_model, make_file
from tests.generation.record_models import WHO, YEAR, make_records_file
from tests.generation.task_models import make_task_file
from tests.web.ngrams import with_ngrams

SHORT = ExportConfig(verify_chars=60)
HOSTILE = "</script><script>alert(1)</script>&\u2028@@data@@"
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def write(folder: Path, file: ModelFile, config: ExportConfig = SHORT) -> Path:
    path = folder / "a.html"
    path.write_bytes(make_html(file, "a", config)["a.html"])
    return path


def verify(folder: Path, file: ModelFile, config: ExportConfig = SHORT) -> Verified:
    return verify_html(folder, ["a.html"], file, config)


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "int8"])
def test_packed_weights_come_back_as_the_precision_has_them(dtype: str) -> None:
    file = make_records_file(labels=(WHO, YEAR))
    packed = pack_page(file.weights, Dtypes(dtype, dtype))
    found = unpack(packed.text, packed.index, packed.dtype)

    assert found.keys() == file.weights.keys()
    for name, array in restored(file.weights, dtype).items():
        np.testing.assert_array_equal(found[name], array)
    if dtype == "fp32":
        assert packed == pack_weights(file.weights)


@pytest.mark.parametrize(
    ("ngrams", "others"),
    [("fp32", "fp32"), ("fp16", "fp16"), ("int8", "fp32"), ("int8", "fp16"), ("int8", "int8")],
)
def test_the_table_of_n_grams_has_only_rows_with_an_n_gram(ngrams: str, others: str) -> None:
    file = with_ngrams(make_file(), 3, 40)
    dtypes = Dtypes(ngrams, others)
    weights = restored_page(file.weights, dtypes)
    used = file.weights["ngrams.check"] >= 0
    packed = pack_page(file.weights, dtypes)
    found = unpack(packed.text, packed.index, packed.dtype)

    assert 0 < used.sum() < 40
    assert found.keys() == file.weights.keys()
    np.testing.assert_array_equal(found["ngrams.weight"], weights["ngrams.weight"][used])
    for name in ("ngrams.check", "ngrams.key"):
        np.testing.assert_array_equal(found[name], file.weights[name])
    for name in ("embedding.weight", "layers.0.weight_hh", "output.bias"):
        expected = restored(file.weights, others)[name]
        np.testing.assert_array_equal(found[name], expected)
    if dtypes == ("fp32", "fp32"):
        assert packed == pack_weights(file.weights)


def test_int8_is_within_half_a_step_of_each_row() -> None:
    matrix = np.random.default_rng(1).normal(size=(7, 30)).astype(np.float32)
    matrix[3] = 0
    numbers, scales = to_int8(matrix)

    assert numbers.dtype == np.int8
    assert np.abs(numbers).max(axis=1).tolist() == [127, 127, 127, 0, 127, 127, 127]
    assert (np.abs(numbers * scales[:, None] - matrix) <= 0.5001 * scales[:, None]).all()


def test_other_weights_cost_bits_on_the_models_own_text() -> None:
    file = make_file()
    ids = sampled_ids(Network(file.config, file.weights), 400)
    noisy = {name: array + np.float32(0.5) for name, array in file.weights.items()}

    assert bits_lost(file, file.weights, ids) == 0
    assert bits_lost(file, noisy, ids) > 0.01


def test_a_small_page_keeps_all_digits_and_a_large_one_what_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = make_file()
    count = sum(array.size for array in file.weights.values())
    chosen = {}
    for limit in (4 * count, 3 * count):
        monkeypatch.setattr(html_page, "MAX_FLOAT32_BYTES", limit)
        chosen[limit // count] = html_page.choose_dtypes(file, SHORT).others
    monkeypatch.setattr(html_page, "MAX_FLOAT16_BYTES", count)
    chosen[1] = html_page.choose_dtypes(file, SHORT).others
    assert chosen == {4: "fp32", 3: "fp16", 1: "int8"}
    monkeypatch.setattr(html_page, "_MAX_WEIGHTS_BYTES", count - 1)
    with pytest.raises(ConfigError, match=r"the weights take .* as int8, and a page can have"):
        make_html(file, "a", SHORT)


def test_n_grams_take_8_bits_first(monkeypatch: pytest.MonkeyPatch) -> None:
    file = with_ngrams(make_file(), 3, 40)
    used = int((file.weights["ngrams.check"] >= 0).sum())
    table = used * file.config.embedding_size
    others = sum(array.size for name, array in file.weights.items() if name != "ngrams.weight")

    def chosen(float32: int, float16: int, dtype: str | None = None) -> tuple[str, str]:
        monkeypatch.setattr(html_page, "MAX_FLOAT32_BYTES", float32)
        monkeypatch.setattr(html_page, "MAX_FLOAT16_BYTES", float16)
        return html_page.choose_dtypes(file, ExportConfig(dtype=dtype))

    assert chosen(4 * (others + table), 0) == ("fp32", "fp32")
    assert chosen(4 * (others + table) - 1, 0) == ("int8", "fp32")
    assert chosen(4 * others, 0) == ("int8", "fp32")
    assert chosen(4 * others - 1, 2 * others) == ("int8", "fp16")
    assert chosen(4 * others - 1, 2 * others - 1) == ("int8", "int8")
    assert chosen(4 * others, 2 * others, "fp16") == ("fp16", "fp16")
    assert chosen(0, 0, "fp32") == ("fp32", "fp32")
    monkeypatch.setattr(html_page, "_MAX_WEIGHTS_BYTES", 4 * others + table)
    assert chosen(4 * others, 0) == ("int8", "fp32")
    monkeypatch.setattr(html_page, "_MAX_WEIGHTS_BYTES", 4 * others + table - 1)
    message = "as fp32 with n-grams in int8, and a page can have .*, or .*int8"
    with pytest.raises(ConfigError, match=message):
        chosen(4 * others, 0)


def test_a_weight_that_16_bits_cannot_hold_is_named() -> None:
    file = with_ngrams(make_file(), 3, 40)
    file.weights["output.bias"][2] = 70_000

    assert pack_page(file.weights, Dtypes("int8", "fp32")).dtype == "float32"
    with pytest.raises(ConfigError, match=r"output\.bias holds a number above 65,504"):
        pack_page(file.weights, Dtypes("int8", "fp16"))


@pytest.mark.parametrize("dtype", [None, "int8"])
def test_a_page_loads_nothing_and_runs_its_own_script_alone(
    dtype: str | None, tmp_path: Path
) -> None:
    page = write(tmp_path, make_file(), ExportConfig(dtype=dtype)).read_text()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    (script,) = re.findall(r'<script id="code">(.*?)</script>', page, re.DOTALL)

    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert csp_hash(script) in policy
    assert not re.search(r"https?://|\bsrc=|\bhref=\"[^#]|@import|url\(|\son\w+=| style=", page)
    assert len(page) - len(re.findall(r'id="weights">(.*?)<', page)[0]) < 44_000


def test_names_and_texts_stay_text(tmp_path: Path) -> None:
    who = LabelColumn(f"who{HOSTILE}", (HOSTILE, "B"), (3, 2))
    file = make_records_file(alphabet="".join(sorted(set(HOSTILE))), labels=(who,))
    file = replace(file, summary=file.summary | {"corpus": {"name": HOSTILE}})
    page = make_html(file, HOSTILE, ExportConfig(licence=HOSTILE))[f"{HOSTILE}.html"].decode()

    assert page.count("<script") == 3
    assert "alert(1)</script>" not in page
    data = json.loads(re.findall(r'id="data">(.*?)</script>', page, re.DOTALL)[0])
    assert data["name"] == HOSTILE
    assert "&lt;/script&gt;" in page


@needs_node
@pytest.mark.parametrize("cell", CELLS)
def test_the_script_of_every_kind_of_model_writes_its_text(cell: str, tmp_path: Path) -> None:
    for name, file in list(every_model(cell, 2))[3::5]:
        write(tmp_path, file)
        found = verify(tmp_path, file)

        assert found.chars == (240 if file.labels else 120), name
        assert "its script read and wrote texts in node" in found.notes[-1]


@needs_node
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "int8"])
def test_the_script_of_a_model_with_n_grams_writes_its_text(dtype: str, tmp_path: Path) -> None:
    config = ExportConfig(verify_chars=60, dtype=dtype)
    for cell, shape in CELLS.items():
        file = with_ngrams(make_file(**shape), 4, 80)
        write(tmp_path, file, config)
        assert verify(tmp_path, file, config).chars == 120, cell


@needs_node
@pytest.mark.parametrize(
    ("limits", "others", "words"),
    [((1, 2**20), "fp16", "in half precision (float16)"),
     ((8000, 0), "fp32", "as they were trained (float32)")],
)  # fmt: skip
def test_a_larger_page_has_its_n_grams_alone_in_8_bits(
    limits: tuple[int, int],
    others: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(html_page, "MAX_FLOAT32_BYTES", limits[0])
    monkeypatch.setattr(html_page, "MAX_FLOAT16_BYTES", limits[1])
    file = with_ngrams(make_file(), 4, 800)
    page = write(tmp_path, file).read_text()

    assert f"{words}, those of n-grams in 8 bits (int8)" in page
    found = verify(tmp_path, file)
    assert found.chars == 120
    assert found.notes[-1].startswith(f"{others} with n-grams in int8 costs ")


@needs_node
def test_a_page_with_another_n_gram_is_found_out(tmp_path: Path) -> None:
    file = with_ngrams(make_file(), 3, 40)
    write(tmp_path, file)
    file.weights["ngrams.check"][file.weights["ngrams.check"] > 0] -= 1

    with pytest.raises(ExportError, match=r"page's weight ngrams\.check is not"):
        verify(tmp_path, file)


@needs_node
@pytest.mark.parametrize("dtype", ["fp16", "int8"])
def test_fewer_bits_are_verified_as_what_they_are(dtype: str, tmp_path: Path) -> None:
    config = ExportConfig(verify_chars=60, dtype=dtype)
    file = make_records_file(labels=(WHO,))
    write(tmp_path, file, config)

    assert re.fullmatch(
        rf"{dtype} costs [+-]\d\.\d{{4}} bits per character, on 60 characters of the model's own",
        verify(tmp_path, file, config).notes[-1],
    )


def test_without_node_the_report_says_what_was_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    file = make_file()
    write(tmp_path, file)

    found = verify(tmp_path, file)

    assert found.chars == 0
    assert "its script was not run, as node is not installed" in found.notes[0]


def test_an_old_node_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = tmp_path / "node"
    node.write_text("#!/bin/sh\necho 'SyntaxError: Unexpected token ??=' >&2\nexit 1\n")
    node.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    file = make_file()
    write(tmp_path, file)

    found = verify(tmp_path, file)

    assert found.chars == 0
    assert found.notes[0].endswith(
        "its script was not run, as this node is too old for it; version 16 can"
    )


@needs_node
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("border-radius: 12px", "border-radius: 13px", "policy does not allow its own script"),
        ('"residual":false', '"residual":true', "network or alphabet is not the model's"),
        ('id="weights">AAAA', 'id="weights">AAAB', "page's weight embedding.weight is not"),
        ('id="weights">', 'id="weight">', "0 parts named weights"),
    ],
)
def test_a_page_that_was_changed_is_found_out(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    file = make_file()
    file.weights["embedding.weight"][0, 0] = 0
    path = write(tmp_path, file)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))

    with pytest.raises(ExportError, match=words):
        verify(tmp_path, file)


@needs_node
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("o * Math.tanh(after.c[j])", "o * after.c[j]", "the export gives character 1 of a text"),
        ("after.c[j] = f", "after.c[j] = oops", "failed in node: ReferenceError: oops is not"),
    ],
)
def test_a_script_that_computes_something_else_is_found_out(
    old: str, new: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    join = html_page.join_scripts
    monkeypatch.setattr(html_page, "join_scripts", lambda names: join(names).replace(old, new))
    file = make_file(spread=1.5)
    write(tmp_path, file)

    with pytest.raises(ExportError, match=words):
        verify(tmp_path, file)


def test_a_model_that_writes_nothing_has_no_page() -> None:
    with pytest.raises(ConfigError, match="a model for classification"):
        make_html(make_task_file("classification"), "a", SHORT)


def test_a_text_without_newlines_begins_anywhere(tmp_path: Path) -> None:
    file = make_file(Vocab("abc"))
    page = write(tmp_path, file).read_text()

    assert json.loads(re.findall(r'id="data">(.*?)</script>', page)[0])["opening"] == []
    verify(tmp_path, file)
