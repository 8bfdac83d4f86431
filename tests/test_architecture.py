"""The laws of the house, read from the imports and calls of the package's own source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import charrnn

PACKAGE = Path(charrnn.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# What each room may import from the package, besides itself.
ROOT = {"_version", "errors", "config", "metrics", "state", "storage", "wording"}
LEARNING = ROOT | {"text", "data", "corpora", "analysis", "model", "training"}
WRITING = ROOT | {"text", "data", "analysis", "checkpoint", "generation", "compression"}
SEEING = {"interpret", "web"}
SHARING = {"formats"}
ALLOWED = {
    "_version": set(),
    "errors": {"wording"},
    "metrics": set(),
    "state": set(),
    "wording": set(),
    "storage": {"errors"},
    "config": {"errors", "wording"},
    "text": ROOT,
    "data": ROOT | {"text"},
    "corpora": ROOT,
    "analysis": ROOT | {"text", "data"},
    "checkpoint": ROOT | {"text", "data"},
    "model": ROOT | {"text"},
    "generation": ROOT | {"text", "data", "analysis", "checkpoint", "model"},
    "compression": ROOT | {"text", "data", "checkpoint", "generation"},
    "interpret": ROOT | {"text", "data", "analysis", "checkpoint", "generation"},
    "training": ROOT | {"text", "data", "analysis", "model"},
    "bench": ROOT | {"text", "data", "checkpoint", "generation", "model", "training"},
    "web": ROOT,
    "formats": ROOT | {"text", "data", "checkpoint", "generation", "web"},
    "tasks": LEARNING | WRITING | SEEING | SHARING | {"bench"},
    "server": ROOT | WRITING | SEEING | {"tasks"},
    "api": WRITING | SHARING | {"bench", "tasks", "server"},
    "cli": LEARNING | WRITING | SEEING | SHARING | {"bench", "tasks", "server"},
    "__init__": {"_version", "api", "generation", "tasks"},
    "__main__": {"cli"},
}
TORCH_FILES = {Path("generation", "gpu.py"), Path("bench", "training.py")}
OUTSIDERS = {
    "torch": {"model", "training"},
    "click": {"cli"},
    "rich": {"cli"},
    "starlette": {"server"},
    "uvicorn": {"server"},
    "onnx": {"formats"},
    "onnxruntime": {"formats"},
    "huggingface_hub": {"checkpoint"},
    "tokenizers": {"formats"},
    "tensorboardX": {"tasks"},
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "torch.save", "torch.load", "os.system", "print"}
FORBIDDEN_CALLS |= {"os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "__import__"}
FORBIDDEN_KEYWORDS = {"allow_pickle", "shell"}  # of numpy.load and of subprocess
FORBIDDEN_IMPORTS = {"pickle", "shelve", "marshal", "dill", "joblib", "cloudpickle"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[str]:
    """Yield the dotted name of every import, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_every_room_has_its_law() -> None:
    assert {room_of(path) for path in MODULES} == set(ALLOWED)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    room = room_of(path)
    own = {name.split(".")[1] for name in imports_of(path) if name.startswith("charrnn.")}

    assert own - {room} <= ALLOWED[room]


def test_no_module_imports_itself_by_way_of_others() -> None:
    modules = {dotted_name(path): path for path in MODULES}
    edges = {name: {i for i in imports_of(path) if i in modules} for name, path in modules.items()}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"a cycle: {' → '.join((*way, name))}"
        if name not in done:
            for other in edges[name] - {name}:
                visit(other, (*way, name))
            done.add(name)

    for name in modules:
        visit(name, ())


def dotted_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_torch_click_and_rich_stay_in_their_rooms(path: Path) -> None:
    for name in imports_of(path):
        rooms = OUTSIDERS.get(name.split(".")[0])
        has_torch = name.startswith("torch") and path.relative_to(PACKAGE) in TORCH_FILES
        assert rooms is None or room_of(path) in rooms or has_torch, f"{name} in {room_of(path)}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_pickled_evaluated_or_printed(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    keywords = {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}

    assert not (calls | set(imports_of(path))) & FORBIDDEN_CALLS
    assert not keywords & FORBIDDEN_KEYWORDS
    assert not {name.split(".")[0] for name in imports_of(path)} & FORBIDDEN_IMPORTS


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_storage_and_downloads_open_files_to_write(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    writers = {"storage.py", str(Path("corpora", "download.py")), str(Path("text", "files.py"))}

    if name_of(path) not in writers:
        assert ".write_text(" not in source
        assert ".write_bytes(" not in source
        assert '.open("w' not in source
        assert '.open("a' not in source


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_and_public_function_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if tree.body:
        assert ast.get_docstring(tree) or path.name == "_version.py", f"{path} has no docstring"
    for node in tree.body:
        is_public = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
        assert not is_public or ast.get_docstring(node), f"{node.name} has no docstring"  # type: ignore[union-attr]
