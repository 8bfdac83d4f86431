"""What was counted in records: their labels, and what a person is told of how they were read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from charrnn.config import TextConfig
from charrnn.data.label_table import describe_labels, make_labels
from charrnn.data.labels import Labels
from charrnn.data.records import Found, label_names
from charrnn.errors import CorpusError, counted


@dataclass
class Survey:
    """What was counted in the records of all texts.

    records, matches, values: of the text that is trained on: how many, how many lines begin a
    speech or marks end a document, and how many have each label, by column. found: in all texts.
    """

    records: int = 0
    matches: int = 0
    values: list[Counter[str]] = field(default_factory=list)
    found: Found = field(default_factory=Found)

    def add(self, result: Mapping[str, Any], *, is_trained: bool) -> None:
        """Add what a job of `encode` counted."""
        self.found.add(Found(**result["found"]))
        if not is_trained:
            return
        self.records += result["records"]
        self.matches += result["found"]["matches"]
        self.values = self.values or [Counter() for _ in result["values"]]
        for own, new in zip(self.values, result["values"], strict=True):
            own.update(new)

    def describe(self, config: TextConfig, notes: list[str]) -> tuple[Labels, str]:
        """Return the labels of the records, and what was read, in words.

        notes: takes what a person should know of the labels.

        Raises:
            CorpusError: a column is no label, no line begins a speech, or no mark ends a document.
        """
        kind = config.record_kind
        if kind is None:
            return Labels(), ""
        if kind == "speech" and not self.matches:
            raise CorpusError(f"no line matches label_regex {config.label_regex!r}; mend it")
        if kind == "document" and not self.matches:
            nowhere = f"document_end {config.document_end!r} stands nowhere in the text"
            if self.records < 2:
                raise CorpusError(f"{nowhere}; give the sign that stands between documents")
            notes.append(f"{nowhere}: each file is a document")
        names = label_names(config)
        values = self.values or [Counter() for _ in names]
        labels, of_labels = make_labels(names, values, self.records, config.min_label_count)
        notes += of_labels
        if self.found.several:
            several = counted(self.found.several, "record")
            notes.append(f"{several} with several labels before the text: the first one counts")
        what = {"row": f"column {config.text_column}", "line": "a line each"}
        what |= {"file": "a file each", "speech": "a speech each"}
        parts = [f"{counted(self.records, 'record')}, {what.get(kind, 'a document each')}"]
        parts += [describe_labels(labels)] * bool(names)
        if kind == "row":
            parts.append(self.found.describe_skipped())
        return labels, "; ".join(parts)
