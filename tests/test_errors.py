"""Messages name options for the command line, and Python's parameters in Python."""

from __future__ import annotations

import ast
import copy
import inspect
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn import config, errors
from charrnn.cli.main import main
from charrnn.config.export import FORMATS
from charrnn.config.inspect import InspectConfig
from charrnn.config.serve import ServeConfig
from charrnn.errors import ConfigError, CorpusError, located
from charrnn.tasks.eval_text import EvalTextRequest
from charrnn.tasks.open_models import OpenModels
from charrnn.tasks.predictions import PredictRequest
from charrnn.tasks.sample import SampleRequest
from charrnn.wording import COMMAND_LINE_ONLY, PARAMETERS, in_python

PACKAGE = Path(charrnn.__file__).parent
CLASSES = [kind for name, kind in vars(config).items() if name.endswith("Config")]
SETTINGS = [
    each
    for cls in (
        *CLASSES,
        SampleRequest,
        EvalTextRequest,
        PredictRequest,
        InspectConfig,
        ServeConfig,
    )
    for each in fields(cls)
]
CHOICES = {(each.name, choice) for each in SETTINGS for choice in each.metadata["choices"]}
CHOICES |= {("encoding", "auto"), *(("to", name) for name in FORMATS)}
ERRORS = {name for name, kind in vars(errors).items() if name.endswith("Error")}
OPTION = re.compile(r"(?<![\w-])(?:--(?:no-)?[a-z][a-z-]*[a-z]|-m\b)")


def texts_of(path: Path) -> Iterator[str]:
    """Yield the texts in a module's code, with {} for what is put in; no docstring, no help."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    settings = [each for node in nodes if isinstance(node, ast.ClassDef) for each in node.body]
    skipped: set[ast.AST] = {node.value for node in nodes if isinstance(node, ast.Expr)}
    for node in settings:
        skipped |= set(ast.walk(node)) if isinstance(node, ast.AnnAssign) else set()
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            skipped |= set(ast.walk(node)) - {node}
    for node in nodes:
        if node in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                getattr(part, "value", "") if isinstance(part, ast.Constant) else "{}"
                for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if "cli" not in path.parts]
MESSAGES = [
    text
    for path in MODULES
    if path.name != "wording.py"
    for text in texts_of(path)
    if OPTION.search(text) or re.search("charrnn (train|eval)", text)
]


def parameters() -> set[str]:
    """Return every name that a Python caller can give a value, and the methods of OpenModels."""
    calls: list[Any] = [getattr(charrnn, name) for name in dir(charrnn) if name != "__version__"]
    names = {name for call in calls for name in inspect.signature(call).parameters}
    return names | {each.name for each in SETTINGS} | set(vars(OpenModels))


def test_every_option_in_a_message_is_a_parameter_in_python() -> None:
    assert len(MESSAGES) > 50
    named = {option for text in MESSAGES for option in OPTION.findall(text)}
    spelled = {in_python(option).partition("=")[0] for option in named - COMMAND_LINE_ONLY}

    assert spelled - parameters() == set()
    assert named >= COMMAND_LINE_ONLY
    assert set(PARAMETERS.values()) <= parameters()


@pytest.mark.parametrize("text", MESSAGES)
def test_a_message_loses_its_options_in_python(text: str) -> None:
    spoken = in_python(text.replace("{}", "7"))

    assert set(OPTION.findall(spoken)) <= COMMAND_LINE_ONLY
    assert not re.search(r"charrnn (train|list|eval|sample)\b", spoken)


@pytest.mark.parametrize("text", MESSAGES)
def test_what_follows_an_option_is_its_value_where_it_can_be_one(text: str) -> None:
    for option, word in re.findall(rf"({OPTION.pattern}) ([\w.{{}}]*\w|{{}})", text):
        name = in_python(option).partition("=")[0]
        if (name, word) in CHOICES or "{}" in word or word.isupper() or word[0].isdigit():
            value = word.replace("{}", "cp1252" if name == "encoding" else "7")
            spoken = in_python(f"{option} {value}")
            assert spoken in (f"{name}={value}", f'{name}="{value}"')
        else:
            assert in_python(f"{option} {word}") == f"{in_python(option)} {word}"


@pytest.mark.parametrize(
    ("message", "spoken"),
    [
        ("give another --name", "give another name"),
        ("replace it with --overwrite, or", "replace it with overwrite=True, or"),
        ("or give --no-cuda-graph where", "or give cuda_graph=False where"),
        ("make --beam larger", "make beam larger"),
        ("--encoding says how", "encoding says how"),
        (
            "pass --encoding gb18030, or --encoding auto",
            'pass encoding="gb18030", or encoding="auto"',
        ),
        ("lower --dynamic-rate than 0.1", "lower dynamic_rate than 0.1"),
        ("give --batch-size 3 or more", "give batch_size=3 or more"),
        ("go on with --resume 2031.", 'go on with resume="2031".'),
        ("go on with --resume 'my run', or", 'go on with resume="my run", or'),
        ("To continue: --budget 2m", 'To continue: budget="2m"'),
        ("name two or more by -m, or", "name two or more by models, or"),
        ("--file and --text both", "files and text both"),
        ("corpus and --val-file are both", "corpus and val_file are both"),
        (
            "charrnn train 'a b.txt' c.txt --init-from s",
            'charrnn.train(["a b.txt", "c.txt"], init_from="s")',
        ),
        ("charrnn train 9 --init-from 3 --steps 3", 'charrnn.train("9", init_from="3", steps=3)'),
        (
            """charrnn train 'it'"'"'s.txt' --resume 'it'"'"'s'""",
            """charrnn.train("it's.txt", resume="it's")""",
        ),
        ("""with --resume 'it'"'"'s', or""", """with resume="it's", or"""),
        (
            "moved it: charrnn eval a 'b c' --file X --file 3 --split val",
            'moved it: charrnn.evaluate(["a", "b c"], files=["X", "3"], split="val")',
        ),
        ("charrnn eval a --file X", 'charrnn.evaluate("a", files=["X"])'),
        (
            "leave --max-copy, --mark-copies and --skip-known-lines out",
            "leave max_copy and skip_known_lines out",
        ),
        ("charrnn train ... --init-from s1", 'charrnn.train(..., init_from="s1")'),
        ("(charrnn list shows the runs)", "(charrnn.list_runs() shows the runs)"),
        ("there is no file '--resume x'", "there is no file '--resume x'"),
        ("it's --steps 9, the run's", "it's steps=9, the run's"),
        ("a -- b, well-known --, x--y", "a -- b, well-known --, x--y"),
    ],
)
def test_a_message_in_python_has_pythons_words(message: str, spoken: str) -> None:
    assert in_python(message) == spoken


def test_an_error_speaks_python_and_keeps_what_was_written() -> None:
    error = ConfigError("drop --name")

    assert (str(error), error.message) == ("drop name", "drop --name")
    assert copy.copy(error).message == "drop --name"
    assert str(ConfigError()) == ""
    with pytest.raises(CorpusError) as caught, located("line 3"):
        raise CorpusError("pass --unknown skip")
    assert caught.value.message == "line 3: pass --unknown skip"


def test_the_command_line_names_options_and_python_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cats.txt").write_text("the cat sat on the mat. " * 50, encoding="utf-8")
    small: dict[str, Any] = {"steps": 1, "hidden_size": 3, "threads": 1, "name": "my cat"}
    list(charrnn.train("cats.txt", **small))

    with pytest.raises(ConfigError, match='with resume="my cat", replace it with overwrite=True'):
        list(charrnn.train("cats.txt", **small))
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["train", "cats.txt", "--steps", "1", "--hidden-size", "4", "--name", "my cat"])
    assert "with --resume 'my cat', replace it with --overwrite, or" in capsys.readouterr().err


def test_a_longer_message_is_made_of_the_message_that_was_written() -> None:
    """`str` of our error has Python's words, and would bring them to the command line."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ExceptHandler) or node.name is None:
                continue
            kinds = {each.id for each in ast.walk(node.type or node) if isinstance(each, ast.Name)}
            if not kinds <= ERRORS | {"Stopped"} or not kinds:  # with others there is no message
                continue
            body = ast.unparse(ast.Module(node.body, []))
            assert not re.search(rf"\{{{node.name}\}}|\bstr\({node.name}\)", body), path


def test_a_missing_extra_names_the_packages_of_the_project_file() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf-8"))["project"]
    packages = {
        extra: " ".join(re.split("[<>=]", each)[0] for each in listed)
        for extra, listed in project["optional-dependencies"].items()
        if extra not in ("dev", "docs")
    }

    assert packages == errors.EXTRAS
