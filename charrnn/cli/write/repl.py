"""The loop of charrnn write: read a line, do what it means, show what came of it.

A line is text, or a command that begins with /, or empty: then the model continues. Session holds
the text, Terminal reads, View shows, Autosave keeps the files.
"""

import os
import shlex
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import click

from charrnn.cli.formatting import describe_network
from charrnn.cli.write import repl_commands as commands
from charrnn.cli.write.autosave import Autosave, read_draft, with_plain_newlines
from charrnn.cli.write.terminal import ReplExit, Terminal
from charrnn.cli.write.view import View
from charrnn.config.sample import ENDS
from charrnn.errors import CharRNNError, ConfigError, StorageError, VocabError, counted
from charrnn.generation.stopping import TextStream
from charrnn.tasks.session import Session, join_pieces
from charrnn.text.vocab import END

_NEXT_CHARS = "8"  # for /next alone
_MOST_NAMED = 8  # characters that the model never saw
# In the order of how little one has to know, with how to save and to leave.
_EDITORS = {
    "nano": "Ctrl-O and Enter save, Ctrl-X leaves",
    "micro": "Ctrl-S saves, Ctrl-Q leaves",
    "vim": "press Esc, type :wq and Enter to save and leave",
    "vi": "press Esc, type :wq and Enter to save and leave",
}


class Repl:
    """A session at a terminal.

    command: the beginning of the command line that continues the text. given: the fields of the
    settings that the person set.
    """

    def __init__(
        self,
        session: Session,
        terminal: Terminal,
        view: View,
        autosave: Autosave,
        *,
        command: str,
        given: Iterable[str] = (),
    ) -> None:
        self._session = session
        self._terminal = terminal
        self._view = view
        self._autosave = autosave
        self._command = command
        self._given = frozenset(given)
        self._told: set[str] = set()  # characters that were said to be unknown

    def greet(self, model: str) -> None:
        """Show which model writes, and the little that one must know."""
        config = self._session.model.config
        self._view.note(f"{model} · {describe_network(config)}, {config.vocab_size:,} tokens")
        self._view.note(
            "What you type is added to the text; Enter alone lets the model continue. "
            "/r tries again, /u undoes, /n shows likely next characters, /h helps, /q quits."
        )
        self._view.note(self._saved_where())
        if values := commands.chosen_values(self._session.config, self._given):
            names = (field.replace("_", "-") for field in values)
            self._view.note(" · ".join(map(self._describe_setting, names)))
        if self._session.text:
            self._tell_changes(self._session.text)
            self._show_end()

    def run(self) -> tuple[int, str]:
        """Answer line after line; return the signal that ended it (0 for none) and the last words.

        Raises:
            StorageError: the text cannot be saved; unless a signal came, there was a warning.
        """
        is_warned = False
        while True:
            exit = self._answer_lines()
            try:
                # A line that was begun is text too, unless it is a command.
                begun = "" if commands.is_command(exit.typed) else with_plain_newlines(exit.typed)
                begun = begun.encode(errors="ignore").decode()  # without bytes that are no UTF-8
                text = self._session.text + begun
                self._save(text)
                last_words = self._describe_end(text)
                # The second: of a signal that came after the exit, while files were written.
                return exit.signal_number or self._terminal.signal_number, last_words
            except StorageError as error:
                if exit.signal_number or is_warned:
                    raise
                is_warned = True
                self._view.complain(
                    f"{error.message}; /save it elsewhere; /quit again loses the text"
                )

    def complete(self, line: str) -> list[str]:
        """Return what `line` may become at Tab: commands by their names, text by the model."""
        if commands.is_command(line):
            names = (*commands.COMMANDS, *commands.SETTINGS)
            return [f"/{name}" for name in names if name.startswith(line[1:])]
        try:
            rest = self._session.finish_word(line)
        except CharRNNError:
            return []
        return [line + rest] if rest else []

    def _saved_where(self) -> str:
        return f"Every turn is saved in {_shown_path(self._autosave.path)}"

    def _save(self, text: str) -> None:
        if self._autosave.update(text, commands.chosen_values(self._session.config, self._given)):
            path = _shown_path(self._autosave.path)
            with suppress(OSError):  # the terminal is gone
                self._view.note(f"another program changed the file; the text is saved in {path}")

    def _describe_end(self, text: str) -> str:
        """Return where the text is, and the command that continues it."""
        path = self._autosave.find(text)
        if path is None:
            return "nothing was written"
        values = commands.chosen_values(self._session.config, self._given)
        options = f"--prompt-file {shlex.quote(str(path))} {commands.format_options(values)}"
        return f"the text is saved; continue with: {self._command} {options.rstrip()}"

    def _answer_lines(self) -> ReplExit:
        while True:
            try:
                self._answer(self._terminal.read_line())
                self._save(self._session.text)
            except ReplExit as exit:
                return exit
            except OSError:  # the terminal is gone; files raise StorageError
                return ReplExit()
            except click.ClickException as error:  # from the editor
                self._view.complain(error.format_message())
            except CharRNNError as error:  # which names an option; here it is a command
                self._view.complain(error.message.replace("--unknown", "/unknown"))

    def _answer(self, line: str) -> None:
        """Do what a line asks for."""
        name, words = commands.read_command(line)
        if name == commands.ADD:
            try:
                self._session = self._session.add(words)
                self._tell_changes(words)
            except VocabError as error:  # the whole line is refused, and is still in the history
                raise VocabError(f"{error.message}; press ↑ to edit your line") from error
        elif name in commands.COMMANDS:
            # /undo 2 is do_undo("2"), as in Python's own cmd module; /save! is do_save_over.
            getattr(self, "do_" + name.replace("!", "_over"))(words)
        else:
            if words:
                config = commands.change_setting(self._session.config, name, words)
                self._session = self._session.with_config(config)
                field = {commands.SETTINGS[name].name}
                self._given = self._given - field if words == "off" else self._given | field
            self._view.note(self._describe_setting(name))

    def _describe_setting(self, name: str) -> str:
        config = self._session.config
        words = commands.describe_setting(config, name)
        if name != "length" or name in self._given:
            return words
        return "length off" if config.used(*ENDS) else f"{words}, then to the end of a sentence"

    def _tell_changes(self, text: str) -> None:
        """Show once which characters the model reads as others."""
        if self._session.config.unknown == "error":
            return  # those that it refuses stand in the text only from before
        changes: Counter[str] = self._session.fit(text).changes
        news = [change for change, _ in changes.most_common() if change not in self._told]
        self._told.update(news)
        if news:
            more = len(news) - _MOST_NAMED
            named = ", ".join(news[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")
            self._view.note(
                f"the model never saw some characters and reads others: {named} (your text keeps "
                "what you typed)"
            )

    # ── commands for the text: each takes what was typed after its name ──

    def do_more(self, count: str) -> None:
        """Let the model write on, by `count` characters."""
        self._let_write(length=commands.read_count(count) if count else None)

    def do_retry(self, _: str) -> None:
        """Let the model write something else in place of what it wrote last."""
        before = self._session.pieces
        written = self._let_write(is_retry=True)
        if written and self._session.pieces == before and not self._terminal.signal_number:
            self._view.note("the same again: the settings leave no other choice; see /settings")

    def _let_write(self, *, is_retry: bool = False, length: int | None = None) -> str:
        """Show what the model writes as it comes, and take it into the text; return it."""
        with self._terminal.without_echo():
            finish = length is None and "length" not in self._given
            stream = self._session.write(is_retry=is_retry, length=length, finish=finish)
            self._view.begin(join_pieces(self._session.base(is_retry)))
            written = ""
            try:
                for piece in self._with_end(stream):
                    written += piece
                    self._view.show(self._session.model.text_format.without_ends(piece))
                    if self._terminal.signal_number:
                        break
            finally:  # whatever happens, even a closed terminal, what was written is kept
                self._session = self._session.take(written, is_retry=is_retry)
            self._view.end()
        if not written and not self._terminal.signal_number:
            self._view.note(f"the model wrote nothing: {stream.reason} ended it at once")
        return written

    @staticmethod
    def _with_end(stream: TextStream) -> Iterator[str]:
        """Yield what the model writes, and the end of its record: it begins another one then."""
        yield from stream
        if stream.is_at_end:
            yield END

    def do_undo(self, count: str) -> None:
        """Take back steps."""
        self._repeat(Session.undo, count)

    def do_redo(self, count: str) -> None:
        """Redo steps."""
        self._repeat(Session.redo, count)

    def _repeat(self, step: Callable[[Session], Session], count: str) -> None:
        """Do `count` steps, or none of them where one fails."""
        session = self._session
        for _ in range(commands.read_count(count or "1")):
            session = step(session)
        self._session = session
        self._show_end()

    def _show_end(self) -> None:
        """Show how long the text is, and its last line."""
        text = self._session.text
        ending = " so far, ending:" if text.strip() else ""
        self._view.note(f"{counted(len(text), 'character')}{ending}")
        self._view.begin(text.rstrip("\n"))  # an empty last line would show nothing
        self._view.end()

    def do_show(self, _: str) -> None:
        """Show the whole text."""
        self._view.show_all((piece.text, piece.is_models) for piece in self._session.pieces)

    def do_edit(self, _: str) -> None:
        """Open the text in an editor; what the model cannot read stays in a file for next time."""
        editor = self._choose_editor()
        text = self._autosave.edit(
            self._session.text, lambda path: click.edit(filename=str(path), editor=editor)
        )
        try:
            self._session = self._session.rewrite(text)
        except CharRNNError as error:
            path = self._autosave.edit_path
            hint = f"your edit is in {path}, /edit opens it again"
            raise ConfigError(f"{error.message}; {hint}") from error
        self._autosave.forget_edit()
        self._tell_changes(text)
        self._show_end()

    def _choose_editor(self) -> str | None:
        """Return the editor to open; say how to save and leave it."""
        chosen = os.environ.get("VISUAL") or os.environ.get("EDITOR")
        editor = chosen or next(filter(shutil.which, _EDITORS), None)
        try:
            shlex.split(editor or "")
        except ValueError as error:
            raise ConfigError(f"the editor {editor} cannot be started: {error}") from error
        if how := _EDITORS.get(Path(editor or "").name):
            self._view.note(f"in {editor}, {how}")
            # It hides what stands above; who chose it knows it.
            if not chosen and not self._is_confirmed("Open it?"):
                raise ConfigError("the text has not changed; $EDITOR chooses another editor")
        return editor

    def _is_confirmed(self, question: str) -> bool:
        """Return whether the answer is yes; Ctrl-C and Ctrl-D mean no."""
        try:
            return self._terminal.confirm(question)
        except ReplExit as exit:
            if exit.signal_number not in (0, signal.SIGINT):
                raise
            return False

    def do_next(self, count: str) -> None:
        """Show the likeliest next characters."""
        shown = commands.read_count(count or _NEXT_CHARS)
        self._view.show_next_chars(self._session.next_chars(shown))

    # ── commands for files ──

    def do_save(self, name: str, *, may_replace: bool = False) -> None:
        """Write the text to a new file, or to the one of the last time."""
        text = self._session.text
        path = self._autosave.save(name, text, may_replace=may_replace)
        self._view.note(f"{counted(len(text), 'character')} saved in {path}")

    def do_save_over(self, name: str) -> None:
        """Write the text to a file, whatever is there."""
        self.do_save(name, may_replace=True)

    def do_load(self, name: str) -> None:
        """Put a file's text in place of the present one."""
        text = read_draft(name)
        before = self._session
        self._session = before.rewrite(text)
        # The file keeps the text that it has, unless this is the same one.
        is_left = self._session is not before and self._autosave.leave_file()
        self._tell_changes(text)
        self._show_end()
        if is_left:
            self._view.note(self._saved_where())

    # ── the rest ──

    def do_preset(self, name: str) -> None:
        """Change the penalties and filters to those of a preset."""
        config = commands.change_preset(self._session.config, name)
        self._session = self._session.with_config(config)
        self.do_settings("")

    def do_settings(self, _: str) -> None:
        """Show temperature, length, and what is not at its default."""
        config = self._session.config
        names = dict.fromkeys(["temperature", "length", *commands.changed_settings(config)])
        self._view.note(" · ".join(map(self._describe_setting, names)))

    def do_help(self, _: str) -> None:
        """Show what can be typed."""
        self._view.show_help(commands.HELP, self._saved_where())

    def do_quit(self, _: str) -> None:
        """Leave."""
        raise ReplExit


def _shown_path(path: Path) -> str:
    """Return a path as a shell takes it, with ~ for the home folder."""
    with suppress(ValueError, RuntimeError):
        return f"~/{shlex.quote(str(path.absolute().relative_to(Path.home())))}"
    return shlex.quote(str(path))
