"""The loop of charrnn write: read a line, do what it means, show what came of it.

A line is text, or a command that begins with /, or empty: then the model continues. Session holds
the text, Terminal reads, View shows, Autosave keeps the files.
"""

from collections.abc import Callable

import click

from charrnn.cli.write import repl_commands as commands
from charrnn.cli.write.autosave import Autosave, read_draft, with_plain_newlines
from charrnn.cli.write.terminal import ReplExit, Terminal
from charrnn.cli.write.view import View
from charrnn.errors import CharRNNError, ConfigError, StorageError, VocabError, counted
from charrnn.generation.session import Session, join_pieces
from charrnn.text.substitutions import describe_changes

_NEXT_CHARS = "8"  # for /next alone


class Repl:
    """A session at a terminal. model: as a command line names it."""

    def __init__(self, session: Session, terminal: Terminal, view: View, model: str) -> None:
        self._session = session
        self._terminal = terminal
        self._view = view
        self._model = model
        self._autosave = Autosave()

    def greet(self) -> None:
        """Show which model writes, and the little that one must know."""
        config = self._session.model.config
        shape = f"{config.cell} {config.num_layers}×{config.hidden_size}"
        self._view.note(f"{self._model} · {shape}, {config.vocab_size:,} tokens")
        self._view.note(
            "What you type is added to the text; Enter alone lets the model continue. "
            "/r tries again, /u undoes, /n shows likely next characters, /h helps, /q quits."
        )
        if self._session.text:
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
                self._autosave.update(text)
                last_words = self._autosave.describe(text, self._model)
                # The second: of a signal that came after the exit, while files were written.
                return exit.signal_number or self._terminal.signal_number, last_words
            except StorageError as error:
                if exit.signal_number or is_warned:
                    raise
                is_warned = True
                hint = "/save it elsewhere, or /quit again to lose the text"
                self._view.complain(f"{error.message}; {hint}")

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

    def _answer_lines(self) -> ReplExit:
        while True:
            try:
                self._answer(self._terminal.read_line())
                self._autosave.update(self._session.text)
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
                self._session = self._session.add(self._fit(words))
            except VocabError as error:  # the whole line is refused, and is still in the history
                raise VocabError(f"{error.message}; press ↑ to edit your line") from error
        elif name in commands.COMMANDS:
            # /undo 2 is do_undo("2"), as in Python's own cmd module; /save! is do_save_over.
            getattr(self, "do_" + name.replace("!", "_over"))(words)
        else:
            if words:
                config = commands.change_setting(self._session.config, name, words)
                self._session = self._session.with_config(config)
            self._view.note(commands.describe_setting(self._session.config, name))

    def _fit(self, text: str) -> str:
        """Return a person's text as the model knows it, and tell what was changed."""
        if self._session.config.unknown == "error":
            return text  # Session refuses what it has to
        fitted = self._session.fit(text)
        if fitted.changes:
            self._view.note(describe_changes(fitted.changes))
        return fitted.text

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
            stream = self._session.write(is_retry=is_retry, length=length)
            self._view.begin(join_pieces(self._session.base(is_retry)))
            written = ""
            try:
                for piece in stream:
                    written += piece
                    self._view.show(piece)
                    if self._terminal.signal_number:
                        break
            finally:  # whatever happens, even a closed terminal, what was written is kept
                self._session = self._session.take(written, is_retry=is_retry)
            self._view.end()
        if not written and not self._terminal.signal_number:
            self._view.note(f"the model wrote nothing: {stream.reason} ended it at once")
        return written

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
        text = self._autosave.edit(self._session.text, lambda path: click.edit(filename=str(path)))
        try:
            self._session = self._session.rewrite(self._fit(text))
        except CharRNNError as error:
            path = self._autosave.edit_path
            hint = f"your edit is in {path}, /edit opens it again"
            raise ConfigError(f"{error.message}; {hint}") from error
        self._autosave.forget_edit()
        self._show_end()

    def do_next(self, count: str) -> None:
        """Show the likeliest next characters."""
        shown = commands.read_count(count or _NEXT_CHARS)
        self._view.show_next_chars(self._session.next_chars(shown))

    # ── commands for files ──

    def do_save(self, name: str, *, may_replace: bool = False) -> None:
        """Write the text to a new file, or to the one of the last time."""
        text = self._session.text
        path = self._autosave.save(name, text, may_replace=may_replace)
        self._view.note(f"{counted(len(text), 'character')} in {path}")

    def do_save_over(self, name: str) -> None:
        """Write the text to a file, whatever is there."""
        self.do_save(name, may_replace=True)

    def do_load(self, name: str) -> None:
        """Put a file's text in place of the present one."""
        self._session = self._session.rewrite(self._fit(read_draft(name)))
        self._show_end()

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
        self._view.note(" · ".join(commands.describe_setting(config, name) for name in names))

    def do_help(self, _: str) -> None:
        """Show what can be typed."""
        self._view.show_help(commands.HELP, f"Every turn is saved in {self._autosave.path}")

    def do_quit(self, _: str) -> None:
        """Leave."""
        raise ReplExit
