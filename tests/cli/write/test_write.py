"""charrnn write at a fake terminal: what is typed, what is shown, and that no text is lost."""

from __future__ import annotations

import io
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

import charrnn
from charrnn.checkpoint.model_file import ModelFile
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.cli.main import main
from charrnn.cli.write import autosave, terminal
from charrnn.cli.write.autosave import Autosave
from charrnn.cli.write.repl import Repl
from charrnn.cli.write.repl_commands import COMMANDS, SETTINGS, read_command
from charrnn.cli.write.terminal import Terminal
from charrnn.cli.write.view import View, fit_end
from charrnn.config import SampleConfig
from charrnn.errors import ConfigError, StorageError
from charrnn.tasks.session import start_session
from charrnn.text.vocab import END, Vocab
from tests.generation.record_models import WHO, make_records_file

Act = Callable[[], object]
Talk = Callable[..., tuple[int, str]]
CYAN, RESET = "\x1b[36m", "\x1b[0m"


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Keys(io.StringIO):
    """A terminal at which lines are typed; a function in their place is called in its turn."""

    def __init__(self, lines: Iterable[str | Act]) -> None:
        super().__init__()
        self._lines = iter(lines)

    def isatty(self) -> bool:
        return True

    def readline(self, _: int | None = -1, /) -> str:
        for line in self._lines:
            if isinstance(line, str):
                return line + "\n"
            line()
        return ""


@pytest.fixture(autouse=True)
def _place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_model: Callable[..., ModelFile]
) -> None:
    """Stand in a folder with one run, named tiny, whose alphabet is newline, space, a, b, é."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power is cut here
    RunFolder(Path("checkpoints/tiny")).save_best(make_model())


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch) -> Talk:
    """Return a function that types lines at a session; it returns the exit code and the screen."""

    def talk(*lines: str | Act, options: str = "--seed 1 --length 20") -> tuple[int, str]:
        screen = Screen()
        monkeypatch.setattr(sys, "stdin", Keys(lines))
        monkeypatch.setattr(sys, "stdout", screen)
        monkeypatch.setattr(sys, "stderr", screen)
        with pytest.raises(SystemExit) as ending:
            main(["write", "tiny", *shlex.split(options)])
        return int(ending.value.code or 0), screen.getvalue()

    return talk


@pytest.fixture
def typed_so_far(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list whose last text is on the line that a signal interrupts."""
    lines = [""]

    class Line:
        def __getattr__(self, name: str) -> Callable[..., object]:
            return lambda *_: lines[-1]

    monkeypatch.setattr(terminal, "readline", Line())
    return lines


def continuation(text: str, index: int = 0, length: int = 20) -> str:
    return "".join(charrnn.load("tiny").generate(text, length=length, seed=1, index=index))


def autosaved() -> list[str]:
    """Return the texts that sessions autosaved."""
    return [path.read_text("utf-8") for path in Path("charrnn-texts").glob("tiny-*.txt")]


def send(number: int) -> Act:
    return lambda: signal.raise_signal(number)


def test_the_first_line_names_the_network_and_its_n_grams(
    talk: Talk, make_model: Callable[..., ModelFile]
) -> None:
    assert "lstm 2×4, 5 tokens" in talk()[1]

    RunFolder(Path("checkpoints/tiny")).save_best(make_model(step=9, ngram_order=3, ngram_rows=40))
    assert "lstm 2×4 + n-grams up to 3 (40 rows), 5 tokens" in talk()[1]


# ── turns ──


def test_an_empty_line_lets_the_model_continue_what_was_typed(talk: Talk) -> None:
    code, screen = talk("ab", "", " é", "/save out.txt")

    assert code == 0
    assert Path("out.txt").read_text("utf-8") == "ab" + continuation("ab") + " é"
    assert (
        "> ab" + continuation("ab").rstrip("\n") in screen
    )  # the line that is continued, and more


@pytest.mark.parametrize("retry", ["/retry", "/r"])
def test_retry_puts_another_continuation_in_place_and_undo_the_first_back(
    talk: Talk, retry: str
) -> None:
    talk("ab", "", retry, "/save two.txt", "/undo", "/save one.txt", "/redo", "/save again.txt")

    one, two, again = (Path(f"{name}.txt").read_text("utf-8") for name in ("one", "two", "again"))
    assert one == "ab" + continuation("ab")
    assert two == again == "ab" + continuation("ab", index=1)


def test_a_greedy_retry_says_that_it_is_the_same(talk: Talk) -> None:
    assert "the same again" in talk("ab", "", "/retry", options="--temp 0")[1]
    assert "the same again" not in talk("ab", "", "/retry")[1]


def test_more_writes_so_many_characters_this_once(talk: Talk) -> None:
    talk("ab", "/more 3", "/save out.txt")

    assert Path("out.txt").read_text("utf-8") == "ab" + continuation("ab", length=3)


def test_a_label_is_part_of_the_command_that_continues(talk: Talk) -> None:
    file = make_records_file("speech", labels=(WHO,), alphabet="\n ab", end_bias=1.0)
    RunFolder(Path("checkpoints/tiny")).save_best(file)

    code, screen = talk("a", "", "", "/save out.txt", options="--label ROMEO --seed 1")

    text = Path("out.txt").read_text("utf-8")
    assert code == 0
    assert text.count("\n\n") >= 2
    assert END not in text + screen
    assert "charrnn write tiny --label ROMEO" in " ".join(screen.split())


def test_a_turn_without_text_says_why(talk: Talk) -> None:
    assert "the model wrote nothing: length ended it at once" in talk("", options="--length 0")[1]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("ab\\", "ab\n"),
        ("\\", "\n"),
        ("ab\\\\", "ab\\"),
        (" a  ", " a  "),
        ("//a", "/a"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("a/b", "a/b"),
    ],
)
def test_a_line_without_a_command_is_text(line: str, text: str) -> None:
    assert read_command(line) == ("add", text)


def test_characters_that_the_model_does_not_know_are_named_and_the_text_stays(talk: Talk) -> None:
    code, screen = talk("ab", "/unknown error", "xyz", "/save out.txt")

    assert code == 0
    assert "the model never saw 'x' (U+0078 LATIN SMALL LETTER X)" in screen
    assert "press ↑ to edit your line" in " ".join(screen.split())
    assert Path("out.txt").read_text("utf-8") == "ab"


def test_the_whole_text_is_shown_and_the_models_part_has_a_colour(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    _, screen = talk("ab\\", "/more 1", "/show")

    written = continuation("ab\n", length=1)
    assert f"> {CYAN}{written}{RESET}" in screen
    assert f"ab\n{CYAN}{written}{RESET}" in screen


def test_no_colour_is_written_where_none_is_wanted(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")

    assert "\x1b[3" not in talk("ab", "", "/next", "/foo", "/help")[1]


def test_the_likeliest_next_characters_are_shown_with_their_probabilities(talk: Talk) -> None:
    char, share = charrnn.load("tiny").next_chars("ab", 1)[0]

    _, screen = talk("ab", "/next 1")
    name = {" ": "space", "\n": "␤"}.get(char, char)
    assert re.search(rf"{name} +{share:.1%} +█", screen)


def test_what_the_model_writes_never_controls_the_terminal(
    talk: Talk, make_model: Callable[..., ModelFile]
) -> None:
    model = replace(make_model(), vocab=Vocab("\n\x1bab\x9b"))
    RunFolder(Path("checkpoints/tiny")).save_best(model)
    Path("hostile.txt").write_text("a\x1b", encoding="utf-8")

    _, screen = talk("", "/next", "/show", "/load hostile.txt", "", "/save \x1b.txt", "/\x1b")
    assert not {"\x1b", "\x9b"} & set(screen)
    assert "␛" in screen
    assert "<9B>" in screen


# ── settings ──


@pytest.mark.parametrize("line", ["/temperature 0", "/temp 0", "/tempe 0"])
def test_a_setting_holds_from_the_next_turn_on(talk: Talk, line: str) -> None:
    _, screen = talk("ab", line, "", "/save out.txt")

    greedy = "".join(charrnn.load("tiny").generate("ab", length=20, temperature=0))
    assert Path("out.txt").read_text("utf-8") == "ab" + greedy
    assert "temperature 0.0" in screen


def test_a_setting_without_a_value_is_shown_and_off_is_its_default(talk: Talk) -> None:
    _, screen = talk("/ban a 'b é'", "/ban", "/ban off", "/length", "/length off")

    assert re.findall(r"> (.*)\n", screen)[-6:-1] == [
        "ban a 'b é'",
        "ban a 'b é'",
        "ban off",
        "length 20",
        "length 200, then to the end of a sentence",
    ]


def test_a_setting_turned_off_takes_along_what_needs_it(talk: Talk) -> None:
    _, screen = talk("/xtc 0.5", "/xtc-threshold 0.2", "/xtc 0", "/xtc-threshold")

    assert re.findall(r"> (.*)\n", screen)[-3:-1] == ["xtc 0.0", "xtc-threshold 0.1"]


def test_a_backslash_is_a_character(talk: Talk) -> None:
    _, screen = talk(r"/ban \ 'b c'", "/ban", "/quit")

    assert r"ban '\' 'b c'" in screen


def test_a_preset_changes_penalties_and_filters_and_nothing_else(talk: Talk) -> None:
    _, screen = talk("/top-k 3", "/preset careful", "/preset plain")

    assert "temperature 0.5 · length 20 · dry-penalty 0.5 · top-p 0.95 · seed 1" in screen
    assert "temperature 1.0 · length 20 · seed 1" in screen


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("/temp warm", "temperature is 'warm'; it must be a number"),
        ("/temp -1", "temperature is -1.0; it must be at least 0"),
        ("/preset odd", "preset is 'odd'; choose from careful, plain, wild"),
        ("/retri", "there is no /retri; did you mean /retry?"),
        ("/style careful", "there is no /style; did you mean /preset?"),
        ("/loop-penalty 1", "there is no /loop-penalty; did you mean /dry-penalty?"),
        ("/usr/bin", "there is no /usr/bin; is it text, which is typed as //usr/bin?"),
        ("/top 3", "/top may be top-"),
        ("/more some", "'some' is not a count"),
        ("/undo 0", "'0' is not a count"),
        ("/undo 2", "nothing to undo"),
        ("/redo", "nothing to redo"),
        ("/retry", "the model did not write last"),
        ("/save", "'' is not a file name"),
        ("/load -", "'-' is not a file name"),
        ("/save .", ". is not a regular file"),
        ("/save! .", ". is not a regular file"),
        ("/load none.txt", "cannot read the text none.txt: No such file"),
        (r"/stop \n", r"stop is \n with backslashes"),
        ("/ban-word don't", "don't has a quote without its end"),
        ("/xtc-threshold 0.2", "xtc_threshold works only with --xtc"),
    ],
)
def test_what_cannot_be_done_is_reported_and_changes_nothing(
    talk: Talk, line: str, complaint: str
) -> None:
    code, screen = talk("ab", line, "/save out.txt")

    assert code == 0
    assert complaint in " ".join(screen.split())
    assert Path("out.txt").read_text("utf-8") == "ab"


def test_every_setting_can_be_typed() -> None:
    from charrnn.cli.write.repl_commands import DEFAULTS, change_setting, describe_setting

    for name in SETTINGS:
        words = describe_setting(DEFAULTS, name).removeprefix(f"{name} ")
        assert change_setting(DEFAULTS, name, words) == DEFAULTS
        assert read_command(f"/{name} 1") == (name, "1")
    assert change_setting(DEFAULTS, "balanced", "on").balanced


def test_the_page_of_help_names_every_command(talk: Talk) -> None:
    _, screen = talk("/help")

    assert [name for name in COMMANDS if f"/{name} " not in screen] == []
    lines = screen.replace("> ", "").splitlines()
    assert max(len(line) for line in lines if "state" not in line) <= 80


# ── files ──


def test_a_file_that_exists_is_replaced_only_by_save_and_an_exclamation_mark(talk: Talk) -> None:
    Path("out.txt").write_text("mine")

    _, screen = talk("ab", "/save out.txt")
    assert "out.txt already exists; /save! out.txt replaces it" in screen
    assert Path("out.txt").read_text() == "mine"

    talk("n", "ab", "/save! out.txt", "é", "/save")  # the same file again needs no more
    assert Path("out.txt").read_text("utf-8") == "abé"


def test_a_link_that_leads_nowhere_is_there_too(talk: Talk) -> None:
    Path("out.txt").symlink_to("nowhere.txt")

    _, screen = talk("ab", "/save out.txt")
    assert "out.txt already exists" in screen
    assert Path("out.txt").is_symlink()


def test_a_device_is_not_replaced_by_a_file(talk: Talk) -> None:
    os.mkfifo("pipe")

    _, screen = talk("ab", "/save! pipe")
    assert "pipe is not a regular file; give another name" in screen
    assert Path("pipe").is_fifo()


def test_a_file_is_continued_and_loaded_and_that_can_be_undone(talk: Talk) -> None:
    Path("one.txt").write_text("ab\r\n")
    Path("two.txt").write_text("é")

    _, screen = talk("/load two.txt", "/undo", "/save out.txt", options="--prompt-file one.txt")
    assert "3 characters so far, ending:\nab\n" in screen
    assert Path("out.txt").read_bytes() == b"ab\n"


def test_a_text_is_edited_in_an_editor(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "sed -i s/b$/éb/")

    talk("aab", "/edit", "a", "/save out.txt")
    assert Path("out.txt").read_text("utf-8") == "aaéba"


def test_an_edit_that_the_model_cannot_read_is_not_lost(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", "sed -i s/b/xé/")

    def mend() -> None:
        monkeypatch.setenv("VISUAL", "sed -i s/x/a/")

    _, screen = talk("ab", "/unknown error", "/edit", mend, "/edit", "/save out.txt")
    assert "the model never saw 'x'" in screen
    assert Path("out.txt").read_text("utf-8") == "aaé"


def test_an_editor_that_fails_leaves_the_text(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "false")

    _, screen = talk("ab", "/edit", "/save out.txt")
    assert "Editing failed" in screen
    assert Path("out.txt").read_text("utf-8") == "ab"


@pytest.mark.parametrize("width", [1, 5])
def test_the_narrowest_terminal_shows_everything_and_loses_nothing(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    Path("wide.txt").write_text("é" * 300 + "\n" + "ab " * 300)

    code, screen = talk("ab", "/load wide.txt", "", "/r", "/n", "/show", "/help", "/save out.txt")

    assert code == 0
    assert "Traceback" not in screen
    assert Path("out.txt").read_text("utf-8").startswith("é" * 300 + "\n" + "ab " * 300)


def test_steps_are_undone_and_redone_across_a_load(talk: Talk) -> None:
    Path("other.txt").write_text("é b")
    saves = iter(range(9))

    def save() -> str:
        return f"/save {next(saves)}.txt"

    talk("ab", "/load other.txt", "a", save(), "/u 2", save(), "/redo", save(), "/redo", save())

    texts = [Path(f"{number}.txt").read_text("utf-8") for number in range(4)]
    assert texts == ["é ba", "ab", "é b", "é ba"]


def test_a_paste_with_control_characters_moves_no_cursor(talk: Talk) -> None:
    _, screen = talk("ab", "a\x1b[2Jb\x07\x9b", "/save out.txt", "/load \x1b[2J", "/\x1b[2J")

    assert Path("out.txt").read_text("utf-8") == "aba\x1b[2Jb\x07\x9b"
    assert "\x1b[2J" not in screen
    assert "\x9b" not in screen


def test_a_name_that_no_file_can_have_does_not_end_the_session(talk: Talk) -> None:
    name = "a" * 300

    code, screen = talk(
        "ab", f"/save {name}", f"/save! {name}", f"/load {name}", "é", "/save o.txt"
    )

    assert code == 0
    assert "File name too long" in " ".join(screen.split())
    assert Path("o.txt").read_text("utf-8") == "abé"


def test_a_saved_file_that_somebody_else_changed_is_not_written_over(talk: Talk) -> None:
    def change() -> None:
        Path("out.txt").write_text("theirs")

    _, screen = talk("ab", "/save out.txt", change, "a", "/save", "/save out.txt")

    assert "out.txt has changed since it was saved; /save! out.txt replaces it" in screen
    assert Path("out.txt").read_text() == "theirs"
    assert autosaved() == ["aba"]
    talk("n", "ab", "/save! out.txt", "a", "/save")
    assert Path("out.txt").read_text() == "aba"


@pytest.mark.parametrize("is_saved", [True, False])
def test_a_text_whose_file_is_gone_is_written_again_before_the_last_words(
    talk: Talk, is_saved: bool
) -> None:
    def remove() -> None:
        for path in (Path("out.txt"), *Path("charrnn-texts").glob("tiny-*.txt")):
            path.unlink(missing_ok=True)

    _, screen = talk("ab", *(["/save out.txt"] if is_saved else []), remove, "/quit")

    assert autosaved() == ["ab"]
    assert "continue with: charrnn write tiny --prompt-file" in screen


def test_a_link_in_place_of_the_autosaved_file_is_not_followed(talk: Talk) -> None:
    Path("mine.txt").write_text("mine")

    def replace_by_link() -> None:
        (path,) = Path("charrnn-texts").glob("tiny-*.txt")
        path.unlink()
        path.symlink_to(Path("mine.txt").resolve())

    talk("ab", replace_by_link, "/quit")

    assert Path("mine.txt").read_text() == "mine"
    assert autosaved() == ["ab"]
    (path,) = Path("charrnn-texts").glob("tiny-*.txt")
    assert not path.is_symlink()


def test_a_folder_in_place_of_the_autosaved_file_is_told(talk: Talk) -> None:
    def replace_by_folder() -> None:
        (path,) = Path("charrnn-texts").glob("tiny-*.txt")
        path.unlink()
        path.mkdir()

    _, screen = talk("ab", replace_by_folder, "/save out.txt", "a", "/save", "/quit")

    assert "cannot write" in screen
    assert Path("out.txt").read_text() == "aba"
    assert "charrnn write tiny --prompt-file out.txt" in screen.splitlines()[-1]


def test_a_full_disk_is_told_and_the_text_can_be_saved_elsewhere(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = autosave.write_atomically

    def fill(path: Path, data: str) -> None:
        if path.name != "elsewhere.txt":
            raise StorageError(f"cannot write {path}: No space left on device")
        write(path, data)

    def fill_disk() -> None:
        monkeypatch.setattr(autosave, "write_atomically", fill)

    _, screen = talk("ab", "/save out.txt", fill_disk, "a", "/save", "/save elsewhere.txt", "/quit")

    assert screen.count("No space left on device") >= 2
    assert Path("out.txt").read_text() == "ab"
    assert Path("elsewhere.txt").read_text() == "aba"
    assert "charrnn write tiny --prompt-file elsewhere.txt" in screen.splitlines()[-1]


def test_any_character_can_be_typed_and_stays_in_the_text(talk: Talk) -> None:
    _, screen = talk("B☃", "", "/u", "/u", "/redo", "B", "/save out.txt", "/quit")
    shown = " ".join(screen.split())

    told = "the model never saw some characters and reads others: B → b, ☃ → nothing"
    assert shown.count(told) == 1
    assert "B☃" + continuation("b").split("\n")[0] in screen  # it continues what it reads
    assert "2 characters so far, ending: B☃" in shown
    assert Path("out.txt").read_text("utf-8") == "B☃B"


def test_a_file_with_any_characters_is_continued_as_it_is(talk: Talk) -> None:
    Path("one.txt").write_text("ÀB")

    _, screen = talk("/load one.txt", "a", "/save two.txt", options="--prompt-file one.txt")
    assert screen.count("the model never saw some characters and reads others: À → a, B → b") == 1
    assert Path("two.txt").read_text("utf-8") == "ÀBa"


@pytest.mark.parametrize("options", ["--unknown error", "--seed 1"])
def test_characters_that_the_model_never_saw_are_refused_where_that_is_asked_for(
    talk: Talk, options: str
) -> None:
    _, screen = talk("/unknown error", "aB", "a", "/save out.txt", options=options)

    shown = " ".join(screen.split())
    assert "pass /unknown map (B → b), or skip to leave it out" in shown
    assert "press ↑ to edit your line" in shown
    assert Path("out.txt").read_text("utf-8") == "a"


def test_what_was_typed_before_characters_were_refused_stays_as_it_is(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", "sed -i s/$/a/")

    _, screen = talk("B", "/unknown error", "/edit", "/save out.txt")
    assert screen.count("never saw") == 1
    assert Path("out.txt").read_text("utf-8") == "Ba"


# ── ends ──


@pytest.mark.parametrize("line", ["/quit", "/q", None])
def test_leaving_saves_the_text_and_names_the_command_that_continues(
    talk: Talk, line: str | None
) -> None:
    code, screen = talk("ab", *([line] if line else []))

    assert code == 0
    assert autosaved() == ["ab"]
    command = re.search(r"charrnn write tiny --prompt-file (\S+) --length 20 --seed 1\n", screen)
    assert command is not None
    assert Path(command[1]).read_text("utf-8") == "ab"


def test_a_saved_text_is_offered_by_the_next_session_too(talk: Talk) -> None:
    _, screen = talk("ab", "/save out.txt", "/quit")

    assert "charrnn write tiny --prompt-file out.txt" in screen.splitlines()[-1]
    assert "Continue “ab” (today " in talk("n")[1]


def test_a_session_without_text_leaves_no_file(talk: Talk) -> None:
    assert talk("ab", "/undo")[1].endswith("nothing was written\n")
    assert autosaved() == []


def test_the_text_is_saved_after_every_turn(talk: Talk) -> None:
    seen: list[list[str]] = []

    talk("ab", lambda: seen.append(autosaved()), "é", lambda: seen.append(autosaved()))
    assert seen == [["ab"], ["abé"]]


def test_a_text_that_cannot_be_saved_is_not_left_without_a_warning(talk: Talk) -> None:
    Path("charrnn-texts").write_text("no folder")

    code, screen = talk("ab", "/quit", "/quit")
    assert screen.count("cannot write") == 3
    assert "/save it elsewhere; /quit again loses the text" in " ".join(screen.split())
    assert code == 7


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_saves_the_text_and_the_line_that_was_begun(
    talk: Talk, typed_so_far: list[str], number: int, code: int
) -> None:
    def begin_line() -> None:
        typed_so_far.append("é a")

    ended, screen = talk("ab", begin_line, send(number))
    assert ended == code
    assert autosaved() == ["abé a"]
    assert "continue with: charrnn write tiny --prompt-file" in screen


def test_bytes_that_are_no_text_do_not_lose_the_line_that_was_begun(
    talk: Talk, typed_so_far: list[str]
) -> None:
    def begin_line() -> None:
        typed_so_far.append("é\udcffa")  # as readline hands on a byte that is no UTF-8

    ended, _ = talk("ab", begin_line, send(signal.SIGTERM))

    assert ended == 143
    assert autosaved() == ["abéa"]


def test_a_signal_does_not_add_a_command_that_was_begun(
    talk: Talk, typed_so_far: list[str]
) -> None:
    talk("ab", lambda: typed_so_far.append("/und"), send(signal.SIGTERM))

    assert autosaved() == ["ab"]


def test_ctrl_c_clears_a_line_and_leaves_from_an_empty_one(
    talk: Talk, typed_so_far: list[str]
) -> None:
    def clear() -> None:
        typed_so_far.append("")

    code, _ = talk(
        "ab", lambda: typed_so_far.append("bb"), send(signal.SIGINT), clear, send(signal.SIGINT)
    )
    assert code == 130
    assert autosaved() == ["ab"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_while_the_model_writes_stops_it_and_saves_what_it_wrote(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    show, seen = View.show, []

    def show_and_stop(self: View, piece: str) -> None:
        show(self, piece)
        seen.append(piece)
        if len(seen) == 7:
            signal.raise_signal(number)

    monkeypatch.setattr(View, "show", show_and_stop)

    assert talk("ab", "")[0] == code
    assert autosaved() == ["ab" + continuation("ab", length=7)]


def test_a_terminal_that_is_gone_loses_nothing(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: View, piece: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(View, "show", fail)
    talk("ab", "")

    assert autosaved() == ["ab" + continuation("ab", length=1)]


def test_signals_are_as_before_once_a_session_ended(talk: Talk) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    talk("ab")

    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("stream", ["stdin", "stdout"])
def test_a_pipe_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stream: str
) -> None:
    monkeypatch.setattr(sys, "stdin", Keys([]))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(getattr(sys, stream), "isatty", lambda: False)

    with pytest.raises(SystemExit, match="2"):
        main(["write", "tiny"])
    assert capsys.readouterr().err == (
        "charrnn: charrnn write needs a terminal; in a script use: charrnn sample\n"
    )


def test_a_line_in_another_encoding_is_refused(talk: Talk) -> None:
    def fail() -> None:
        raise UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "unexpected end of data")

    code, screen = talk("ab", fail, "a", "/save out.txt")
    assert code == 0
    assert "not in the terminal's encoding" in screen
    assert Path("out.txt").read_text("utf-8") == "aba"


# ── the next session ──


def test_the_next_session_offers_the_last_text_and_continues_it_in_its_file(talk: Talk) -> None:
    talk("ab")
    _, screen = talk("", "é")

    assert "Continue “ab” (today " in screen
    assert ", 2 characters)? [Y/n] " in screen
    assert "2 characters so far, ending:\nab" in screen
    assert autosaved() == ["abé"]


def test_a_text_that_is_not_wanted_stays_as_it_is(talk: Talk) -> None:
    talk("ab")
    talk("perhaps", "n", "é")

    assert sorted(autosaved()) == ["ab", "é"]


@pytest.mark.parametrize("kept", ["", " \n"])
def test_a_text_without_words_is_not_offered(talk: Talk, kept: str) -> None:
    talk(*([kept.replace("\n", "\\")] if kept else []))

    assert "Continue" not in talk("ab")[1]


def test_a_file_to_which_nothing_was_added_is_not_copied_or_offered(talk: Talk) -> None:
    Path("draft.txt").write_text("ab")
    _, screen = talk("a", "/undo", options="--prompt-file draft.txt")

    assert screen.endswith("nothing was written\n")
    assert "Continue" not in talk()[1]


def test_the_text_of_the_same_model_is_offered_before_a_newer_one(talk: Talk) -> None:
    talk("ab")
    newer = Path("charrnn-texts/other-2026-11-28-154842.txt")
    newer.write_text("éé")
    os.utime(newer, (4e9, 4e9))

    assert "Continue “ab” (today" in talk("n")[1]
    for path in Path("charrnn-texts").glob("tiny-*.txt"):
        path.unlink()
    assert re.search(
        r"Continue “éé” \(2096-10-\d\d .*, written with other\)\? \[Y/n\]", talk("n")[1]
    )


def test_a_text_of_an_older_version_is_offered_and_goes_into_the_visible_folder(
    talk: Talk,
) -> None:
    old = Path("state/charrnn/writing-2026-11-28-154842-27173.txt")
    old.parent.mkdir(parents=True)
    old.write_text("ab")

    _, screen = talk("y", "é")
    assert "Continue “ab” (today " in screen
    assert ", written with " not in screen
    assert (old.read_text(), autosaved()) == ("ab", ["abé"])


def test_settings_come_back_with_the_text_unless_others_are_given(talk: Talk) -> None:
    talk("ab", "/temp 0.3", "/sentences 2", options="")

    assert "temperature 0.3 · sentences 2\n" in talk("y", options="")[1]
    assert "temperature 0.9\n" in talk("y", options="--temp 0.9")[1]
    (settings,) = Path("state/charrnn").glob("tiny-*.json")
    settings.write_text('{"temperature": "hot", "beam": 7}')  # by somebody else
    assert "temperature" not in talk("y", options="")[1]


def test_ctrl_c_at_the_question_leaves_and_changes_nothing(talk: Talk) -> None:
    talk("ab")

    code, screen = talk(send(signal.SIGINT))
    assert (code, autosaved()) == (130, ["ab"])
    assert screen.endswith("charrnn: nothing was written\n")


@pytest.mark.parametrize("line", ["/load empty.txt", "/load new.txt", "/save copy.txt", "/edit"])
def test_a_continued_text_is_never_removed_or_replaced_by_another(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setenv("VISUAL", "truncate -s 0")
    Path("empty.txt").touch()
    Path("new.txt").write_text("a b")
    talk("ab")
    talk("y", line, "/q")

    assert sorted(autosaved()) == (["a b", "ab"] if "new" in line else ["ab"])


def test_a_text_goes_on_in_a_new_file_after_a_load(talk: Talk) -> None:
    Path("new.txt").write_text("a b")
    _, screen = talk("ab", "/load new.txt", "/load new.txt", "é")

    assert sorted(autosaved()) == ["a bé", "ab"]
    assert screen.count("Every turn is saved in ~/charrnn-texts/tiny-") == 2


def test_a_refused_edit_is_not_offered_as_the_text(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", "sed -i s/b/x/")
    talk("ab", "/unknown error", "/edit", "a")
    assert sorted(autosaved()) == ["aba", "ax"]
    (edit,) = Path("charrnn-texts").glob("*-edited.txt")
    os.utime(edit, (4e9, 4e9))

    assert "Continue “aba” (today " in talk("n")[1]


@pytest.mark.parametrize("is_offered", [True, False])
def test_a_text_that_the_model_would_refuse_is_continued(talk: Talk, is_offered: bool) -> None:
    _, screen = talk("aB", "/unknown error", options="")
    command = screen.splitlines()[-1].partition("continue with: charrnn write tiny ")[2]

    code, screen = talk(
        *(["y"] if is_offered else []), "B", "b", options=is_offered * " " or command
    )
    assert (code, autosaved()) == (0, ["aBb"])
    assert screen.count("never saw") == 1  # what is typed is refused


def test_without_a_home_folder_texts_are_in_the_current_one(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HOME", "USERPROFILE", "XDG_STATE_HOME"):
        monkeypatch.delenv(variable, raising=False)

    def find_user(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr("pwd.getpwuid", find_user)
    code, screen = talk("ab", "/temp 0.3")
    assert (code, autosaved()) == (0, ["ab"])
    assert "Every turn is saved in charrnn-texts/tiny-" in screen
    assert not Path("~").exists()


def test_what_another_program_wrote_into_the_file_stays(talk: Talk) -> None:
    def change() -> None:
        (path,) = Path("charrnn-texts").glob("tiny-*.txt")
        path.write_text("theirs")

    _, screen = talk("ab", change, "é")
    assert "another program changed the file; the text is saved in ~/charrnn-texts/" in (
        " ".join(screen.split())
    )
    assert sorted(autosaved()) == ["abé", "theirs"]


# ── what is said at the start and at the end ──


def test_the_file_is_named_at_the_start(talk: Talk) -> None:
    _, screen = talk("ab")

    (path,) = Path("charrnn-texts").glob("tiny-*.txt")
    assert f"Every turn is saved in ~/{path}\n" in screen.partition("> ")[0]


@pytest.mark.parametrize("is_option", [True, False])
def test_texts_can_be_saved_in_another_folder(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, is_option: bool
) -> None:
    if not is_option:
        monkeypatch.setenv("CHARRNN_TEXTS", "my texts")
    _, screen = talk("ab", options="--texts my-texts" if is_option else "")

    folder = "my-texts" if is_option else "my texts"
    (path,) = Path(folder).glob("tiny-*.txt")
    assert path.read_text() == "ab"
    assert f"Every turn is saved in ~/{shlex.quote(str(path))}\n" in screen
    command = shlex.split(screen.splitlines()[-1].partition("continue with: ")[2])
    assert command == ["charrnn", "write", "tiny", "--texts", folder, "--prompt-file", str(path)]


def test_the_last_command_continues_the_text_with_its_settings_in_its_file(talk: Talk) -> None:
    lines = ("/preset careful", "/temp 0.9", "/sentences 3", "/ban 'b é' ' '", "/stop -", "/q")
    _, screen = talk("ab", *lines, options="")

    command = screen.splitlines()[-1].partition("continue with: charrnn write tiny ")[2]
    assert command.endswith(
        "--preset careful --temp 0.9 --ban 'b é' --ban ' ' --sentences 3 --stop=-"
    )
    _, screen = talk("a", "/settings", options=command)
    assert "ban 'b é' ' ' · " in screen
    assert "stop - ·" in " ".join(screen.split())
    assert autosaved() == ["aba"]


def test_a_length_that_was_given_is_kept_even_at_its_default(talk: Talk) -> None:
    assert "--length 200\n" in talk("ab", "/length 200", "/q", options="")[1]
    assert "--length" not in talk("y", "/length off", "/q", options="")[1].splitlines()[-1]


# ── where a turn ends ──


def test_a_turn_ends_with_a_word_unless_a_length_is_given(talk: Talk) -> None:
    talk("ab", "", "/save soft.txt", options="--seed 1")
    talk("n", "ab", "", "/save hard.txt", options="--seed 1 --length 200")
    talk("n", "ab", "/more 200", "/save more.txt", options="--seed 1")

    soft, hard, more = (Path(f"{name}.txt").read_text("utf-8") for name in ("soft", "hard", "more"))
    whole = "ab" + continuation("ab", length=400)
    assert hard == more == whole[:202]
    end = 302 + re.search(r"\s", whole[302:]).start()  # type: ignore[union-attr]
    assert soft == whole[:end]


# ── the editor ──


@pytest.mark.parametrize("installed", ["nano", "vim"])
def test_without_a_chosen_editor_a_simple_one_opens_and_its_keys_are_told(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, installed: str
) -> None:
    for variable in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(variable, raising=False)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in {"vim", "sensible-editor", installed}:
        program = programs / name
        program.write_text(f'#!/bin/sh\nprintf {"é" if name == installed else "b"} > "$1"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))

    _, screen = talk("ab", "/edit", "n", "/edit", "", "/save out.txt")
    keys = "Ctrl-O and Enter save, Ctrl-X leaves" if installed == "nano" else ":wq and Enter"
    assert screen.count(f"in {installed}, ") == 2
    assert keys in screen
    assert "the text has not changed; $EDITOR chooses another editor" in screen
    assert Path("out.txt").read_text("utf-8") == "é"


def test_a_chosen_editor_opens_at_once(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "sed -i s/b/é/")
    monkeypatch.delenv("VISUAL", raising=False)

    _, screen = talk("ab", "/edit", "/save out.txt")
    assert "Open it?" not in screen
    assert Path("out.txt").read_text("utf-8") == "aé"


def no_answer() -> None:
    raise EOFError


@pytest.fixture
def _only_nano(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Install an editor that changes nothing, and choose none."""
    for variable in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(variable, raising=False)
    program = tmp_path / "nano"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("_only_nano")
def test_a_signal_at_the_question_of_the_editor_ends_the_session(talk: Talk) -> None:
    assert talk("ab", "/edit", send(signal.SIGTERM), "é")[0] == 143
    assert autosaved() == ["ab"]


@pytest.mark.usefixtures("_only_nano")
@pytest.mark.parametrize("answer", ["n", send(signal.SIGINT), no_answer])
def test_an_editor_that_is_not_wanted_changes_nothing_and_leaves_no_copy(
    talk: Talk, answer: str | Act
) -> None:
    _, screen = talk("ab", "/edit", answer, "é", "/edit", "y")

    assert "the text has not changed; $EDITOR chooses another editor" in screen
    assert autosaved() == ["abé"]


def test_an_editor_that_fails_leaves_no_copy_that_is_older_than_the_text(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", "false")

    talk("ab", "/edit", "é", lambda: monkeypatch.setenv("VISUAL", "true"), "/edit")
    assert autosaved() == ["abé"]


def test_an_editor_with_an_open_quote_is_told(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "vim '")

    code, screen = talk("ab", "/edit", "é")
    assert "the editor vim ' cannot be started: No closing quotation" in screen
    assert (code, autosaved()) == (0, ["abé"])


# ── pieces of it ──


def test_tab_ends_commands_by_their_names_and_words_by_the_model() -> None:
    model = charrnn.load("tiny")
    session = start_session(model, SampleConfig(), "b ")
    repl = Repl(session, Terminal(), View(), Autosave(Path("texts"), "tiny"), command="")

    rest = session.finish_word("a")
    assert repl.complete("a") == ([f"a{rest}"] if rest else [])
    assert repl.complete("/und") == ["/undo"]
    assert repl.complete("/top") == ["/top-n-sigma", "/top-k", "/top-p"]
    assert repl.complete("x") == []


@pytest.mark.parametrize(
    ("line", "columns", "end"),
    [("abc", 3, "abc"), ("abcd", 3, "…cd"), ("一二三", 4, "…三"), ("一二三", 5, "…二三")],
)
def test_the_end_of_a_line_fits_into_columns(line: str, columns: int, end: str) -> None:
    assert fit_end(line, columns) == end


def test_the_setting_that_begins_all_others_is_meant() -> None:
    assert read_command("/xt 1") == ("xtc", "1")
    with pytest.raises(ConfigError, match="/t may be"):
        read_command("/t 1")
