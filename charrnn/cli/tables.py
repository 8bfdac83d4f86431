"""Tables of models, runs, corpora and figures, on stdout: they are what was asked for.

Every cell that holds a name or a character from elsewhere is made safe to look at.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from charrnn.analysis.baselines import WHOLE_BYTES
from charrnn.cli.console import PROTOCOLS, Output, make_stdout
from charrnn.cli.formatting import format_count, one_line
from charrnn.config import DEFAULT_BUDGET
from charrnn.storage import format_bytes
from charrnn.text.vocab import MAX_ALPHABET

if TYPE_CHECKING:
    from charrnn.analysis.statistics import CorpusStats
    from charrnn.tasks.corpus_stats import CorpusSummary
    from charrnn.tasks.evaluate import EvalResult

_SHOWN_CHARACTERS = 200
_LEAST_COLUMNS = 50
_FIGURES = {
    *("weights", "step", "val\nbpc", "characters", "count"),
    *("nats", "bits per\ncharacter", "perplexity"),
}


def show_model(path: str, description: dict[str, Any]) -> None:
    """Write a model's description, one line a field."""
    shown = {"path": path} | description
    shown["alphabet"] = _shorten(description["alphabet"])
    corpus, settings = shown.pop("corpus", {}), shown.pop("settings", {})
    table = _plain_table()
    for key, value in shown.items():
        table.add_row(_cell(key), _cell(value))
    for key, value in corpus.items():
        table.add_row(_cell(f"corpus.{key}"), _cell(value))
    for key, value in settings.items():
        if key not in shown:
            digits = f"{value:g}" if isinstance(value, float) else value
            table.add_row(_cell(f"settings.{key}"), _cell(digits))
    _print(table)


def show_runs(rows: list[dict[str, Any]], checkpoints: str) -> None:
    """Write one line a run."""
    if not rows:
        text = f"no runs in {checkpoints} yet; make one with: charrnn train corpus.txt"
        Output(stderr=True).print(Text(one_line(text)), soft_wrap=True)
        return
    table = _table("run", "corpus", "model", "weights", "step", "val\nbpc", "written")
    for row in rows:
        if "error" in row:
            table.add_row(_cell(row["name"]), Text(one_line(row["error"]), style="red"))
            continue
        bpc = "" if row["val_bpc"] is None else f"{row['val_bpc']:.3f}"
        counts = format_count(row["parameters"]), f"{row['step']:,}"
        date = str(row["created"])[:10]
        table.add_row(*map(_cell, (row["name"], row["corpus"], row["model"], *counts, bpc, date)))
    _print(table)


def show_eval_result(result: EvalResult) -> None:
    """Write the models' scores on a text, and those of their average, by each protocol."""
    table = _table("protocol", "model", "nats", "bits per\ncharacter", "perplexity")
    rows = result.models if result.average is None else [*result.models, result.average]
    for protocol, label in PROTOCOLS.items():
        for row in rows:
            if figures := getattr(row, protocol):
                values = (figures.nats, figures.bpc, figures.perplexity)
                name = label if row is rows[0] else ""
                table.add_row(name, _cell(row.model), *(f"{value:.4f}" for value in values))
    _print(table)
    texts = one_line(", ".join(result.texts))
    part = "all" if result.split == "all" else f"the {result.split} part"
    line = f"\nover {result.chars:,} characters, {part} of {texts}"
    _print(Text(line))


def show_library(rows: list[tuple[Any, Path | None]]) -> None:
    """Write one line a named corpus: (its library entry, its file if it is here)."""
    table = _table("name", "characters", "", "what it is")
    for corpus, path in rows:
        how = "here" if path else {"built": "from this Python", "download": "to fetch"}[corpus.kind]
        table.add_row(corpus.name, f"{corpus.characters:,}", how, corpus.description)
    _print(table)


def show_corpus_summary(survey: CorpusSummary, rarest: int) -> None:
    """Write a text's figures, then its `rarest` characters."""
    table = _plain_table()
    for name, value in _survey_rows(survey):
        table.add_row(name, _cell(value))
    _print(table)
    characters = _table("rarest", "code point", "name", "count")
    for rare in survey.stats.rarest(rarest):
        row = (rare.character, rare.code_point, rare.name, rare.count)
        characters.add_row(*map(_cell, row))
    _print(Text())
    _print(characters)


def _survey_rows(survey: CorpusSummary) -> list[tuple[str, Any]]:
    stats = survey.stats
    entropies = (stats.order0_bpc, stats.order1_bpc, stats.order2_bpc)
    part = f" (first {stats.entropy_chars:,})" if stats.entropy_chars < stats.characters else ""
    return [
        ("size", f"{format_bytes(stats.utf8_bytes)} as UTF-8, {stats.characters:,} characters"),
        ("alphabet", f"{len(stats.alphabet):,} characters; the vocabulary {survey.vocab_size:,}"),
        ("lines", f"{stats.lines:,}, the longest of {stats.longest_line:,} characters"),
        *([] if survey.documents is None else [("documents", f"{survey.documents:,}")]),
        ("duplicate lines", f"{stats.duplicate_line_share:.1%} of those that are not empty"),
        ("trouble", _describe_trouble(stats)),
        ("entropy", " · ".join(f"{bpc:.3f}" for bpc in entropies) + f" bpc of order 0, 1, 2{part}"),
        ("compressed", _describe_compressed(survey)),
        ("to beat", _describe_baselines(survey.baselines_bpc)),
        ("train would use", _describe_plan(survey)),
    ]


def _describe_compressed(survey: CorpusSummary) -> str:
    is_cut = survey.stats.utf8_bytes > WHOLE_BYTES
    part = f" (first {WHOLE_BYTES >> 20} MiB)" if is_cut else ""
    return _list_bpc(survey.compressors_bpc) + part


def _describe_plan(survey: CorpusSummary) -> str:
    plan = survey.plan
    if plan is None and survey.vocab_size > MAX_ALPHABET:
        return f"nothing: {survey.vocab_size:,} different characters are too many; see --min-count"
    if plan is None:
        return "nothing: the text is too short to train on"
    model = plan.model
    return (
        f"{model.cell} {model.num_layers}×{model.hidden_size}, dropout {model.dropout:g}, "
        f"{plan.batch_size} lanes × {plan.seq_len} characters, for {DEFAULT_BUDGET} on a machine "
        "as fast as that of the README's figures; a faster one gets a larger network"
    )


def _list_bpc(bpc_by_name: dict[str, float]) -> str:
    return ", ".join(f"{name} {bpc:.3f}" for name, bpc in bpc_by_name.items()) + " bpc"


def _describe_baselines(baselines_bpc: dict[str, float]) -> str:
    if not baselines_bpc:
        return "what train holds out is too short to compare with anything"
    return f"{_list_bpc(baselines_bpc)} on what train holds out"


def _describe_trouble(stats: CorpusStats) -> str:
    """Name what looks like a wrong encoding, if anything does."""
    counts = {
        "replacement characters": stats.replacement_chars,
        "control characters": stats.control_chars,
        "private-use characters": stats.private_use_chars,
        "pairs like Ã©, UTF-8 read as another encoding": stats.mojibake_pairs,
    }
    return "; ".join(f"{count:,} {what}" for what, count in counts.items() if count) or "none seen"


def _table(*headings: str) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        collapse_padding=True,
        header_style="bold",
    )
    for heading in headings:
        is_whole = heading in {*_FIGURES, "written"}
        table.add_column(
            heading,
            justify="right" if heading in _FIGURES else "left",
            overflow="ellipsis" if is_whole else "fold",
            no_wrap=is_whole,
            min_width=3,
        )
    return table


def _plain_table() -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _cell(value: Any) -> Text:
    """Give a value as text that is shown as it is."""
    if value in (None, {}):
        return Text("-")
    if isinstance(value, float):
        return Text(f"{value:.4f}" if abs(value) < 1e4 else f"{value:,.0f}")
    if isinstance(value, int) and not isinstance(value, bool):
        return Text(f"{value:,}")
    if isinstance(value, dict):
        return Text(one_line(", ".join(f"{k} {_cell(v).plain}" for k, v in value.items())))
    if isinstance(value, list):
        return Text(one_line(", ".join(map(str, value))))
    return Text(one_line(str(value)))


def _shorten(alphabet: str) -> str:
    rest = len(alphabet) - _SHOWN_CHARACTERS
    return alphabet if rest <= 0 else f"{alphabet[:_SHOWN_CHARACTERS]} … and {rest:,} more"


def _print(shown: Table | Text) -> None:
    """Write it whole: what is still too wide is for the terminal to break."""
    make_stdout(_LEAST_COLUMNS).print(shown, soft_wrap=isinstance(shown, Text), crop=False)
