"""How a text is read: the settings that turn bytes into ids, and hold out a part of them."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, fields

from charrnn.config.fields import refuse_escapes, setting, validate
from charrnn.errors import ConfigError

LIBRARY_FOLDER = "corpora"
ERRORS = ("strict", "replace", "skip")
UNITS = ("char", "grapheme", "byte")
FORMATS = ("auto", "text", "csv", "tsv", "jsonl")
LABELS = ("folder", "file", "prefix")
TAGS = ("spaces", "columns", "slash")
RESTORED = ("case", "punctuation", "diacritics", "spaces")
SIDE_UNITS = ("char", "grapheme", "space")
READ_AS_RECORDS = (
    *("lines", "files", "document_end", "format", "text_column", "header"),
    *("label", "label_prefix", "label_regex", "label_column"),
)
"""The settings that say what is a record, and what its labels are."""
KEPT_RECORDS = ("min_label_count", "group_column", "skip_bad")
"""Those that say which records and labels of a corpus are kept, and go together."""
SPLITS = ("auto", "tail", "blocks", "records")
_MAX_END_CHARS = 1000  # of what ends a document


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """How bytes become ids, and which part of them is held out."""

    encoding: str = setting(
        "utf-8",
        "text encoding, any that Python supports: gb18030, cp1251, utf-16, ...; auto chooses one "
        "for each file",
    )
    errors: str = setting(
        "strict",
        "bytes that are not in the encoding: an error, replaced by U+FFFD, or skipped",
        choices=ERRORS,
    )
    strict_files: bool = setting(
        False, "stop at a file of a folder that is not text, such as an image, instead of skipping"
    )
    unit: str = setting(
        "char",
        "what a token is: a character; a grapheme, which is a character as readers see it, such as "
        "a letter with its marks or an emoji; or a byte of files read as they are",
        choices=UNITS,
    )
    lowercase: bool = setting(False, "read capital letters as small ones")
    normalize: str = setting("none", "Unicode normalization form", choices=("none", "nfc", "nfkc"))
    min_count: int = setting(
        1,
        "encode characters that occur fewer times than this as UTF-8 bytes, and graphemes as "
        "characters",
        ge=1,
    )
    lines: bool | None = setting(
        None,
        "each line is a record: it starts from the initial state, it ends with an end that is "
        "learned, and the order is another in each epoch",
        unset="automatic: on for a list of short lines",
    )
    files: bool = setting(False, "each file is a record")
    document_end: str | None = setting(
        None, r"each record ends with this text, such as $'\n\n' or ---, or with its file"
    )
    format: str = setting(
        "auto", "how files are laid out; auto goes by their names", choices=FORMATS
    )
    text_column: str | None = setting(
        None, "each row of a table is a record: the column of its text, by name or number"
    )
    header: bool | None = setting(
        None, "the first row of a table names its columns", unset="on for CSV, off for TSV"
    )
    label: str | None = setting(
        None,
        "the label of each record: its folder, its file, or words such as __label__x before it",
        choices=LABELS,
    )
    label_prefix: str = setting("__label__", "with --label prefix: what such a word begins with")
    label_regex: str | None = setting(
        None,
        "a line that matches begins a record, and each named group is a label of it: "
        "'^(?P<speaker>[A-Z ]+):$'",
    )
    label_column: str | None = setting(
        None, "columns of a table that are labels, separated by commas: label,year"
    )
    min_label_count: int = setting(
        1, "a label that fewer records than this have is left out, as if it were not known", ge=1
    )
    group_column: str | None = setting(
        None, "rows that are equal in this column of a table go to the same side of the split"
    )
    skip_bad: bool = setting(False, "leave out rows that cannot be read, and count them")
    pairs: bool = setting(
        False, "each row of a table is a source and the target that it becomes: seq2seq"
    )
    source_column: str = setting("1", "with --pairs: the column of the sources, by name or number")
    target_column: str = setting("2", "with --pairs: the column of the targets, by name or number")
    target_file: str | None = setting(
        None, "each line of the corpus becomes the line of this file with its number: seq2seq"
    )
    val_target_file: str | None = setting(
        None, "with --target-file and --val-file: the file of the targets of --val-file"
    )
    source_unit: str = setting(
        "char",
        "what a token of a source is: a character, a grapheme, or what stands between spaces",
        choices=SIDE_UNITS,
    )
    target_unit: str = setting(
        "char", "what a token of a target is, as for --source-unit", choices=SIDE_UNITS
    )
    tags: str | None = setting(
        None,
        "each character has a tag: that of a segmentation, where words stand with spaces between "
        "them; columns, a character and its tag a line, an empty line after each text; or slash, "
        "word/tag",
        choices=TAGS,
    )
    restore: str | None = setting(
        None,
        "learn to give back what is taken out of the text: case, punctuation, diacritics, spaces, "
        "or several with commas",
    )
    val_fraction: float = setting(
        0.1, "fraction of the text that is held out for validation; 0 trains on all", ge=0, le=0.5
    )
    test_fraction: float = setting(
        0.0,
        "fraction of the text that is held out for testing, which training never looks at: the "
        "best model is the one that does best in validation, so a figure to publish comes from a "
        "part that chose nothing, by: charrnn eval RUN --split test",
        ge=0,
        le=0.5,
    )
    split: str = setting(
        "auto",
        "what is held out, for validation and then for testing: the tail of the text; the tail of "
        "blocks, which are the files, or ten parts of a single one; or records, of running text "
        "its lines, drawn by hash, so that equal ones are never on two sides. auto: records where "
        "there are any, of running text the blocks of several files, else the tail",
        choices=SPLITS,
    )
    val_file: str | None = setting(
        None,
        "hold out this file for validation instead; the corpus is trained on, but for its test "
        "part, if any",
    )

    def __post_init__(self) -> None:
        validate(self)
        if sum(self.held_out_fractions) >= 1:
            raise ConfigError(
                f"val_fraction {self.val_fraction:g} and test_fraction {self.test_fraction:g} "
                "leave nothing to train on; lower one of them"
            )
        if self.split in ("blocks", "records") and self.val_file and not self.test_fraction:
            raise ConfigError(
                f"val_file is held out, so split {self.split} would do nothing; leave one out"
            )
        if self.unit == "byte":
            defaults = {each.name: each.default for each in fields(self)}
            for name in ("encoding", "errors", "lowercase", "normalize", "min_count"):
                if getattr(self, name) != defaults[name]:
                    flag = "--" + name.replace("_", "-")
                    raise ConfigError(f"unit byte reads files as they are; leave {flag} out")
        if self.document_end is not None:
            _check_end(self.document_end, self.normalize, is_lower=self.lowercase)

        self._check_records()

    def _check_records(self) -> None:
        """Refuse settings of records that do not go together."""
        kinds = {
            "lines": self.lines,
            "files": self.files,
            "document_end": self.document_end is not None,
            "text_column": self.text_column is not None,
            "label_regex": self.label_regex is not None,
        }
        given = ["--" + name.replace("_", "-") for name, is_given in kinds.items() if is_given]
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} both say what a record is; give one")
        if self.label is not None and (self.label_regex or self.label_column):
            other = "label-regex" if self.label_regex else "label-column"
            raise ConfigError(f"--label and --{other} both say what the labels are; give one")
        if self.label == "prefix" and not self.label_prefix:
            raise ConfigError(
                "label_prefix is empty, so every word would be a label; give what labels begin with"
            )
        if self.label_column is not None and not self.label_columns:
            raise ConfigError(
                f"label_column is {self.label_column!r}, which names no column; give one, or leave "
                "it out"
            )
        for name in ("label_column", "group_column", "skip_bad", "header"):
            if getattr(self, name) not in (None, False) and self.text_column is None:
                flag = "--" + name.replace("_", "-")
                raise ConfigError(f"{flag} is for the rows of a table; give --text-column too")
        is_table = self.text_column is not None
        if is_table and self.format == "text":
            raise ConfigError("format text has no columns; leave --text-column out, or --format")
        if not is_table and self.format in ("csv", "tsv", "jsonl"):
            raise ConfigError(f"format {self.format} is that of a table; give --text-column too")
        if self.group_column is not None and self.split in ("tail", "blocks"):
            raise ConfigError(
                f"split {self.split} knows no groups, which are drawn by hash; leave "
                "--group-column or --split out"
            )
        if self.files and self.split == "blocks":
            raise ConfigError(
                "split blocks holds out the tail of each file, and with --files a file is one "
                "record; leave --split out, which draws files by hash, or give --split tail"
            )
        if self.label_regex is not None:
            _check_regex(self.label_regex)

    @property
    def task(self) -> str:
        """What a text that is read so is made for, unless its labels are asked for."""
        if self.pairs or self.target_file is not None:
            return "seq2seq"
        return "tagging" if self.tags is not None or self.restore is not None else "text"

    @property
    def record_kind(self) -> str | None:
        """What a record is: "line", "file", "document", "row" or "speech"; None if not given.

        A speech is what a line that matches label_regex begins.
        """
        if self.text_column is not None:
            return "row"
        if self.label_regex is not None:
            return "speech"
        if self.document_end is not None:
            return "document"
        return "file" if self.files else "line" if self.lines else None

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The columns of a table that are labels.

        >>> TextConfig(text_column="text", label_column="label, year").label_columns
        ('label', 'year')
        """
        names = (name.strip() for name in (self.label_column or "").split(","))
        return tuple(dict.fromkeys(filter(None, names)))

    @property
    def held_out_fractions(self) -> tuple[float, float]:
        """How much of the corpus is held out for validation, and how much for testing."""
        return 0.0 if self.val_file is not None else self.val_fraction, self.test_fraction


def _check_regex(regex: str) -> None:
    """Refuse a pattern that names no label."""
    example = "such as '^(?P<speaker>[A-Z ]+):$'"
    try:
        groups = re.compile(regex).groupindex
    except re.error as error:
        raise ConfigError(
            f"label_regex {regex!r} is not a pattern ({error}); give one {example}"
        ) from error
    if not groups:
        raise ConfigError(
            f"label_regex {regex!r} has no named group, which would be the label; give one "
            f"{example}"
        )


def _check_end(end: str, form: str, *, is_lower: bool) -> None:
    """Refuse an end that no text can contain after reading, and one with unread escapes."""
    if not 0 < len(end) <= _MAX_END_CHARS:
        raise ConfigError(
            f"document_end has {len(end):,} characters; it must have 1 to {_MAX_END_CHARS:,}"
        )
    # A byte that is not UTF-8 reaches Python's arguments as a lone surrogate.
    if any("\ud800" <= char <= "\udfff" for char in end):
        raise ConfigError(f"document_end is {end!r}, which is not valid UTF-8; write it in UTF-8")
    # Reading changes newlines, case and form: an end that changes too is never found.
    read = end.replace("\r\n", "\n").replace("\r", "\n")
    read = read.replace("Σ", "σ").lower() if is_lower else read
    if form != "none":
        read = unicodedata.normalize(form.upper(), read)  # type: ignore[arg-type]
    if read != end:
        raise ConfigError(
            f"document_end is {end!a}, which becomes {read!a} when a text is read; give that "
            "instead"
        )
    refuse_escapes("document_end", end)
