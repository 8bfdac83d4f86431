"""How a text is read: the settings that turn bytes into ids, and hold out a part of them."""

from __future__ import annotations

import difflib
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
        "each character has a tag. spaces: its place in a word, where words stand with spaces "
        "between them; columns: a character and its tag a line, an empty line after each text; "
        "slash: word/tag",
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
                    raise ConfigError(f"unit byte reads files as they are; leave {_flag(name)} out")
        if self.document_end is not None:
            _check_end(self.document_end, self.normalize, is_lower=self.lowercase)

        self._check_records()

    def _check_records(self) -> None:
        """Refuse settings of records that do not go together."""
        self._check_sides()
        self._check_task()
        kinds = {
            "lines": self.lines,
            "files": self.files,
            "document_end": self.document_end is not None,
            "text_column": self.text_column is not None,
            "label_regex": self.label_regex is not None,
            "pairs": self.pairs,
            "target_file": self.target_file is not None,
            "tags": self.tags is not None,
            "restore": self.restore is not None,
        }
        if self.task == "tagging":  # of which each line is a record anyway
            del kinds["lines"]
        given = [_flag(name) for name, is_given in kinds.items() if is_given]
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
        is_table = self.text_column is not None or self.pairs
        for name in ("label_column", "group_column", "skip_bad", "header"):
            has_rows = is_table or (name == "skip_bad" and self.target_file is not None)
            if getattr(self, name) not in (None, False) and not has_rows:
                flag = _flag(name)
                raise ConfigError(f"{flag} is for the rows of a table; give --text-column too")
        if is_table and self.format == "text":
            column = "--pairs" if self.pairs else "--text-column"
            raise ConfigError(f"format text has no columns; leave {column} out, or --format")
        if not is_table and self.format in ("csv", "tsv", "jsonl"):
            raise ConfigError(
                f"format {self.format} is that of a table; give --text-column too, or --pairs"
            )
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

    def _check_sides(self) -> None:
        """Refuse settings of sources and targets that do not go together."""
        defaults = {each.name: each.default for each in fields(self)}
        changed = {name for name, default in defaults.items() if getattr(self, name) != default}
        if self.val_target_file is not None and self.target_file is None:
            raise ConfigError(
                "--val-target-file has the targets of --val-file; give --target-file too"
            )
        held_out = {"--val-file": self.val_file, "--val-target-file": self.val_target_file}
        missing = [flag for flag, path in held_out.items() if path is None]
        if self.target_file is not None and len(missing) == 1:
            raise ConfigError(
                f"{missing[0]} is missing: with --target-file, both --val-file and "
                "--val-target-file are given, or none"
            )
        for name in ("source_unit", "target_unit"):
            if name in changed and self.task != "seq2seq":
                raise ConfigError(
                    f"{_flag(name)} is for sources and targets; give --pairs or --target-file too"
                )
        for name in ("source_column", "target_column"):
            if name in changed and not self.pairs:
                raise ConfigError(f"{_flag(name)} is for the rows of a table; give --pairs too")
        if self.min_count > 1 and self.source_unit == self.target_unit == "space":
            raise ConfigError(
                f"min_count {self.min_count} is for characters, and both sides have tokens between "
                "spaces, which cannot be spelled; leave it out"
            )
        if self.source_column.strip() == self.target_column.strip():
            raise ConfigError(
                f"--source-column and --target-column are both {self.source_column!r}; give two "
                "columns"
            )

    def _check_task(self) -> None:
        """Refuse settings that do not go with targets or tags."""
        if self.tags is not None and self.restore is not None:
            raise ConfigError("--tags and --restore both say what the tags are; give one")
        if self.restore is not None:
            _check_restore(self.restored, self.restore)
        names = ("pairs", "target_file", "tags", "restore")
        given = [_flag(name) for name in names if getattr(self, name) not in (None, False)]
        if not given:
            return
        defaults = {each.name: each.default for each in fields(self)}
        for name in ("label", "label_prefix", "label_column", "min_label_count", "group_column"):
            if getattr(self, name) != defaults[name]:
                raise ConfigError(f"{_flag(name)} and {given[0]} do not go together; give one")
        if self.lines is False:
            raise ConfigError(
                f"--no-lines and {given[0]} do not go together: each {self.record_kind} is a "
                "record; leave --no-lines out"
            )
        if self.task == "tagging":
            for name, default in (("lowercase", False), ("normalize", "none")):
                if getattr(self, name) != default:
                    raise ConfigError(
                        f"{_flag(name)} and {given[0]} do not go together: there is a tag for each "
                        "character as it stands; leave it out"
                    )
        if self.unit != "char":
            way_out = "leave it out, as each character has a tag"
            if self.task == "seq2seq":
                way_out = "use --source-unit and --target-unit"
            raise ConfigError(f"--unit {self.unit} does not go with {given[0]}; {way_out}")

    @property
    def task(self) -> str:
        """What its texts are for: "seq2seq", "tagging" or, with neither, "text".

        >>> TextConfig(pairs=True).task, TextConfig(restore="case").task, TextConfig().task
        ('seq2seq', 'tagging', 'text')
        """
        if self.pairs or self.target_file is not None:
            return "seq2seq"
        return "text" if self.tags is None and self.restore is None else "tagging"

    @property
    def restored(self) -> tuple[str, ...]:
        """What is taken out of the text and learned.

        >>> TextConfig(restore="case, punctuation").restored
        ('case', 'punctuation')
        """
        return tuple(name.strip() for name in (self.restore or "").split(",") if name.strip())

    @property
    def record_kind(self) -> str | None:
        """What a record is: "line", "file", "document", "row", "speech"; None if not given.

        A speech is what a line that matches label_regex begins. Of tasks with targets: "pair", a
        source with its target; "line"; or "block", the lines up to an empty one.
        """
        if self.task == "seq2seq":
            return "pair"
        if self.task == "tagging":
            return "block" if self.tags == "columns" else "line"
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


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _check_restore(names: tuple[str, ...], given: str) -> None:
    """Refuse what cannot be taken out of a text, and what is asked for twice."""
    known = ", ".join(RESTORED)
    if not names:
        raise ConfigError(f"restore is {given!r}, which names nothing; give one or more of {known}")
    for name in names:
        if name not in RESTORED:
            near = difflib.get_close_matches(name.lower(), RESTORED, 1, cutoff=0.7)
            hint = f"the nearest is {near[0]!r} of {known}" if near else f"it has {known}"
            raise ConfigError(f"restore has no {name!r}; {hint}")
        if names.count(name) > 1:
            raise ConfigError(f"restore has {name!r} twice; give it once")


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
