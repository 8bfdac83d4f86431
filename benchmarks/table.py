"""A CSV file that grows by a row at a time and may be cut off in the middle of one.

It knows nothing of what the columns mean.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from charrnn.errors import ConfigError, StorageError
from charrnn.storage import append_text, write_atomically

Row = dict[str, str]


@dataclass(frozen=True)
class Table:
    """blank: every column, with what it stands for in a row that was made without it."""

    path: Path
    blank: Row

    def open(self) -> list[Row]:
        """Return the rows that are there, and leave the file with a whole header and whole rows.

        Raises:
            ConfigError: the file has a column that is none of ours.
            StorageError: it cannot be read or written.
        """
        text = self._read()
        reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
        if strange := [name for name in reader.fieldnames or () if name not in self.blank]:
            raise ConfigError(
                f"{self.path} has a column {strange[0]!r}, so it is no table of these runs, or one "
                "of another version; name another file with --table"
            )
        rows = [self.blank | {k: v for k, v in row.items() if k and v} for row in reader]
        whole = self._format([dict(zip(self.blank, self.blank, strict=True)), *rows])
        if whole != text:
            write_atomically(self.path, whole)
        return rows

    def add(self, row: Row) -> None:
        """Put a row at the end, out of this process's hands.

        Raises:
            StorageError: the disk is full, or the file may not be written.
        """
        append_text(self.path, self._format([row]))

    def _read(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        except (OSError, UnicodeError) as error:
            raise StorageError(f"cannot read the table {self.path}: {error}") from error

    def _format(self, rows: Sequence[Row]) -> str:
        lines = io.StringIO()
        csv.DictWriter(lines, list(self.blank), lineterminator="\n").writerows(rows)
        return lines.getvalue()
