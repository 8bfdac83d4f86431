"""What is typed in a session of writing together, and what it brings about.

A line is text, or a command that begins with /, or empty: then the model goes on. It joins the
session, the keyboard, the page and the files; what each can do is theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import click

from charrnn.cli.write.autosave import Autosave, find_file, read_draft, with_plain_newlines
from charrnn.cli.write.repl_commands import (
    ADD,
    COMMANDS,
    SETTINGS,
    change_preset,
    change_setting,
    describe_changes,
    describe_commands,
    describe_setting,
    is_command,
    read_command,
    read_count,
)
from charrnn.cli.write.terminal import ReplExit, Terminal
from charrnn.cli.write.view import View
from charrnn.errors import CharRNNError, ConfigError, StorageError
from charrnn.generation.session import Session, join_pieces

_SHOWN_CHANCES = 8


class Repl:
    """A session at a terminal. model: as its command line names it."""

    def __init__(self, session: Session, keyboard: Terminal, page: View, model: str) -> None:
        self._session, self._keyboard, self._page = session, keyboard, page
        self._model = model
        self._drafts = Autosave()
        self._is_warned = False

    def greet(self) -> None:
        """Say what writes, and the little that one must know."""
        config = self._session.model.config
        shape = f"{config.cell} {config.num_layers}×{config.hidden_size}"
        self._page.note(f"{self._model} · {shape}, {config.vocab_size:,} tokens")
        self._page.note(
            "What you type is added to the text; Enter alone lets the model go on. "
            "/r tries again, /u takes back, /n shows what may come, /h helps, /q leaves."
        )
        if self._session.text:
            self._show_end()

    def run(self) -> tuple[int, str]:
        """Answer line after line; give the signal that ended it (0 for none) and the last words.

        Raises:
            StorageError: the text cannot be kept, and the person knew it or was not asked.
        """
        while True:
            left = self._converse()
            try:
                last_words = self._leave(left)
                return left.number or self._keyboard.number, last_words
            except StorageError as error:
                if left.number or self._is_warned:
                    raise
                self._is_warned = True
                self._page.complain(f"{error}; /save it elsewhere, or /quit again to lose the text")

    def complete(self, line: str) -> list[str]:
        """Give what `line` may become: commands by their names, text by the model."""
        if is_command(line):
            return [f"/{name}" for name in (*COMMANDS, *SETTINGS) if name.startswith(line[1:])]
        try:
            rest = self._session.finish_word(line)
        except CharRNNError:
            return []
        return [line + rest] if rest else []

    def _converse(self) -> ReplExit:
        while True:
            try:
                self._answer(self._keyboard.read_line())
                self._drafts.keep(self._session.text)
            except ReplExit as left:
                return left
            except OSError:  # the terminal is gone; files raise StorageError
                return ReplExit()
            except click.ClickException as error:  # from the editor
                self._page.complain(error.format_message())
            except CharRNNError as error:
                self._page.complain(str(error))

    def _leave(self, left: ReplExit) -> str:
        """Keep the text and the line that was begun; say where they are."""
        typed = "" if is_command(left.typed) else with_plain_newlines(left.typed)
        text = self._session.text + typed
        self._drafts.keep(text)
        return self._drafts.describe(text, self._model)

    def _answer(self, line: str) -> None:
        """Do what a line asks for."""
        name, rest = read_command(line)
        if name in _ANSWERS:
            _ANSWERS[name](self, rest)
        else:
            self._set(name, rest)

    # ── the text ──

    def add(self, text: str) -> None:
        """Put what was typed at the end."""
        self._session = self._session.add(text)

    def go_on(self, count: str = "") -> None:
        """Let the model write, by so many characters."""
        self._let_write(length=read_count(count) if count else None)

    def retry(self, _: str) -> None:
        """Let the model write something else in place of what it wrote last."""
        before = self._session.pieces
        written = self._let_write(is_retry=True)
        if written and self._session.pieces == before and not self._keyboard.has_stopped():
            self._page.note("the same again: the settings leave no other choice; see /settings")

    def _let_write(self, *, is_retry: bool = False, length: int | None = None) -> str:
        """Show what the model writes as it comes, and take it; a stop ends it there."""
        with self._keyboard.silent():
            writing = self._session.write(is_retry=is_retry, length=length)
            self._page.begin(join_pieces(self._session.begun(is_retry)))
            written = ""
            try:
                for piece in writing:
                    written += piece
                    self._page.show(piece)
                    if self._keyboard.has_stopped():
                        break
            finally:
                self._session = self._session.take(written, is_retry=is_retry)
            self._page.end()
        if not written and not self._keyboard.has_stopped():
            self._page.note(f"the model wrote nothing: {writing.reason} ended it at once")
        return written

    def undo(self, count: str) -> None:
        """Take back steps."""
        self._step(Session.undo, count)

    def redo(self, count: str) -> None:
        """Do steps again."""
        self._step(Session.redo, count)

    def _step(self, step: Callable[[Session], Session], count: str) -> None:
        """Do so many steps, or none of them."""
        steps = range(read_count(count or "1"))
        self._session = reduce(lambda session, _: step(session), steps, self._session)
        self._show_end()

    def _show_end(self) -> None:
        """Show where the text ends now."""
        text = self._session.text
        self._page.note(f"{len(text):,} characters" + (", which end in:" if text.strip() else ""))
        self._page.begin(text.rstrip("\n"))
        self._page.end()

    def show(self, _: str) -> None:
        """Show the whole text."""
        self._page.show_whole((piece.text, piece.is_models) for piece in self._session.pieces)

    def edit(self, _: str) -> None:
        """Open the text in an editor; what the model cannot take stays in a file for next time."""
        text = self._drafts.edit(self._session.text, lambda path: click.edit(filename=str(path)))
        try:
            self._session = self._session.rewrite(text)
        except CharRNNError as error:
            raise ConfigError(f"{error}; {self._drafts.describe_edited()}") from error
        self._drafts.drop_edited()
        self._show_end()

    def next_chars(self, count: str) -> None:
        """Show the likeliest characters to come."""
        shown = read_count(count) if count else _SHOWN_CHANCES
        self._page.show_chances(self._session.next_chars(shown))

    # ── files ──

    def save(self, name: str) -> None:
        """Write the text to a new file, or to that of the last time."""
        self._save(name, may_replace=False)

    def replace_file(self, name: str) -> None:
        """Write the text to a file, whatever is there."""
        self._save(name, may_replace=True)

    def _save(self, name: str, *, may_replace: bool) -> None:
        text = self._session.text
        path = self._drafts.save(name, text, may_replace=may_replace)
        self._page.note(f"{len(text):,} characters are in {path}")

    def load(self, name: str) -> None:
        """Put a file's text in place of what there is."""
        self._session = self._session.rewrite(read_draft(find_file(name)))
        self._show_end()

    # ── the rest ──

    def _set(self, name: str, words: str) -> None:
        """Change a setting if there are words, and show it."""
        if words:
            config = change_setting(self._session.config, name, words)
            self._session = self._session.with_config(config)
        self._page.note(describe_setting(self._session.config, name))

    def preset(self, name: str) -> None:
        """Change the settings that a preset is a choice of."""
        config = change_preset(self._session.config, name)
        self._session = self._session.with_config(config)
        self.settings("")

    def settings(self, _: str) -> None:
        """Show the settings that are not at their defaults."""
        config = self._session.config
        shown = [describe_setting(config, "temperature"), describe_setting(config, "length")]
        self._page.note(" · ".join(dict.fromkeys([*shown, *describe_changes(config)])))

    def help(self, _: str) -> None:
        """Show what can be typed."""
        place = f"After every turn the text is in {self._drafts.path}"
        self._page.show_help(describe_commands(), place)

    def quit(self, _: str) -> None:
        """Leave."""
        raise ReplExit


_ANSWERS: dict[str, Callable[[Repl, str], None]] = {
    ADD: Repl.add,
    "retry": Repl.retry,
    "more": Repl.go_on,
    "undo": Repl.undo,
    "redo": Repl.redo,
    "next": Repl.next_chars,
    "show": Repl.show,
    "edit": Repl.edit,
    "save": Repl.save,
    "save!": Repl.replace_file,
    "load": Repl.load,
    "preset": Repl.preset,
    "settings": Repl.settings,
    "help": Repl.help,
    "quit": Repl.quit,
}
