"""Models pushed to a hub and pulled from it: a fake one, on this machine."""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

import charrnn
from charrnn.checkpoint.hub import CARD, HubName, Origin, name_of_run, parse_hub_name, read_origin
from charrnn.checkpoint.model_file import ModelFile, model_digest, pack_model, read_model
from charrnn.checkpoint.run_folder import SHARED, RunFolder
from charrnn.checkpoint.run_store import claim_run, find_model
from charrnn.errors import CheckpointError, ConfigError
from charrnn.storage import write_atomically
from tests.checkpoint.fake_hub import FakeHub
from tests.cli.program import complaint, end_of, output_of, run_without
from tests.formats.test_huggingface import SECRETS, make_file

# Of the hub library's own upload of large files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

TOKEN = "hf_thisIsMySecretToken"
REPO = "ada/book"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub, the folder of a user who is logged in there, and a run called "book"."""
    fake = FakeHub()
    monkeypatch.chdir(tmp_path)
    save("book", make_file())
    with fake.serve() as url:
        constants = huggingface_hub.constants
        use_endpoint(monkeypatch, url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield fake
        huggingface_hub.close_session()


def use_endpoint(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Do what HF_ENDPOINT does before huggingface_hub is loaded."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def save(name: str, file: ModelFile) -> Path:
    path = Path("checkpoints", name, "best.safetensors")
    write_atomically(path, pack_model(file))
    return path


def packed(**shape: Any) -> bytes:
    return bytes(pack_model(make_file(**shape)))


def test_what_is_pushed_is_pulled_byte_for_byte(hub: FakeHub) -> None:
    pushed = charrnn.push("book", REPO)
    pulled = charrnn.pull(REPO, "copy")

    assert pulled.run.best.read_bytes() == hub.files(REPO)[SHARED]
    assert model_digest(read_model(pulled.run.best)) == model_digest(make_file())
    assert pulled.origin == Origin(REPO, pushed.commit)
    assert sorted(path.name for path in pulled.run.path.iterdir() if path.name[0] != ".") == [
        "best.safetensors",
        "hub.json",
    ]


def test_a_repository_is_private_unless_it_is_to_be_public(hub: FakeHub) -> None:
    assert charrnn.push("book", REPO).is_private
    assert not charrnn.push("book", "ada/open", public=True).is_private

    assert [repo.is_private for repo in hub.repos.values()] == [True, False]


def test_nothing_private_is_pushed(hub: FakeHub) -> None:
    charrnn.push("book", REPO)

    for _, _, _, body in hub.requests:
        for content in (body, *hub.files(REPO).values()):
            for secret in SECRETS:
                for spelled in (secret, json.dumps(secret)[1:-1]):
                    assert spelled.encode() not in content
    assert not any(name.endswith((".txt", ".jsonl", ".toml")) for name in hub.files(REPO))
    assert b"## Samples" not in hub.files(REPO)[CARD]


def test_a_public_repository_is_pushed_to_only_if_that_is_asked_for(hub: FakeHub) -> None:
    hub.add(REPO, {"notes.md": b"mine"})

    with pytest.raises(ConfigError, match="is public on the hub"):
        charrnn.push("book", REPO)
    assert hub.files(REPO) == {"notes.md": b"mine"}
    charrnn.push("book", REPO, public=True)
    assert {"notes.md", SHARED} <= hub.files(REPO).keys()


def test_an_organization_that_makes_everything_public_gets_nothing(hub: FakeHub) -> None:
    hub.is_public_by_default = True

    with pytest.raises(ConfigError, match="is public on the hub"):
        charrnn.push("book", REPO)
    assert SHARED not in hub.files(REPO)


def test_a_refused_commit_names_the_empty_repository(hub: FakeHub) -> None:
    hub.add("ada/old", {}, is_private=True)
    hub.trouble["/commit/"] = (403, {}, ECHO)

    for repo, is_new in ((REPO, True), ("ada/old", False)):
        with pytest.raises(CheckpointError, match="the hub answered 403") as caught:
            charrnn.push("book", repo)
        assert (f"{repo}, which this made and left empty: " in str(caught.value)) is is_new


def test_a_card_that_was_edited_on_the_hub_is_kept(hub: FakeHub) -> None:
    first = charrnn.push("book", REPO)
    edited = hub.files(REPO)[CARD].replace(b"# ada", b"# My model, ada")
    hub.repos[REPO].commit({CARD: edited})
    save("book", make_file(hidden_size=5))
    second = charrnn.push("book", REPO)

    assert (first.has_kept_card, second.has_kept_card) == (False, True)
    assert hub.files(REPO)[CARD] == edited
    assert hub.files(REPO)[SHARED] != hub.repos[REPO].commits[first.commit][SHARED]


@pytest.mark.parametrize("card", [b"# Mine\n", b"x" * (1 << 21)])
def test_a_card_of_somebody_else_is_kept(card: bytes, hub: FakeHub) -> None:
    hub.add(REPO, {CARD: card}, is_private=True)

    assert charrnn.push("book", REPO).has_kept_card
    assert hub.files(REPO)[CARD] == card


def test_a_card_of_ours_is_brought_up_to_date(hub: FakeHub) -> None:
    charrnn.push("book", REPO)
    pushed = charrnn.push("book", REPO, licence="mit")

    assert not pushed.has_kept_card
    assert b'license: "mit"' in hub.files(REPO)[CARD]


def test_the_same_model_again_makes_no_commit(hub: FakeHub) -> None:
    first = charrnn.push("book", REPO)

    assert charrnn.push("book", REPO).commit == first.commit


def test_a_card_edited_in_the_middle_of_a_push_is_kept(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    charrnn.push("book", REPO)
    save("book", make_file(hidden_size=5))
    create = huggingface_hub.HfApi.create_commit

    def edit_and_create(*arguments: Any, **settings: Any) -> Any:
        hub.repos[REPO].commit({CARD: b"# Edited\n"})
        return create(*arguments, **settings)

    monkeypatch.setattr(huggingface_hub.HfApi, "create_commit", edit_and_create)
    with pytest.raises(CheckpointError, match="412; it changed meanwhile"):
        charrnn.push("book", REPO)
    assert hub.files(REPO)[CARD] == b"# Edited\n"


def test_a_branch_is_pushed_and_pulled_by_its_name(hub: FakeHub) -> None:
    main = charrnn.push("book", REPO)
    save("book", make_file(hidden_size=5))
    branch = charrnn.push("book", REPO, branch="v2")

    assert charrnn.describe(f"hf://{REPO}@v2")["hidden_size"] == 5
    assert charrnn.describe(f"hf://{REPO}")["hidden_size"] == 4
    assert charrnn.pull(f"{REPO}@v2", "new").origin == Origin(REPO, branch.commit, "v2")
    assert charrnn.pull(f"{REPO}@{main.commit}", "old").origin.commit == main.commit


def test_a_run_keeps_the_commit_that_it_came_from(hub: FakeHub) -> None:
    commit = charrnn.push("book", REPO).commit
    run = charrnn.pull(REPO, "copy").run
    hub.repos[REPO].commit({"later.md": b""})

    assert charrnn.describe("copy")["hub"] == {"repo": REPO, "commit": commit, "revision": None}
    assert read_origin(run.best) == Origin(REPO, commit)
    assert "hub" not in charrnn.describe("book")


def test_a_pulled_run_is_brought_up_to_date(hub: FakeHub) -> None:
    charrnn.push("book", REPO)
    first = charrnn.pull(REPO, "copy")
    save("book", make_file(hidden_size=5))
    commit = charrnn.push("book", REPO).commit
    second = charrnn.pull(REPO, "copy")

    assert (first.is_update, second.is_update) == (False, True)
    assert charrnn.describe("copy")["hidden_size"] == 5
    assert second.origin.commit == commit


def test_a_kill_between_a_model_and_its_note_leaves_no_wrong_commit(hub: FakeHub) -> None:
    charrnn.push("book", REPO)
    run = charrnn.pull(REPO, "copy").run
    before = (run.path / "hub.json").read_text(encoding="utf-8")
    save("book", make_file(hidden_size=5))
    charrnn.push("book", REPO)
    charrnn.pull(REPO, "copy")
    (run.path / "hub.json").write_text(before, encoding="utf-8")

    assert "hub" not in charrnn.describe("copy")
    with pytest.raises(ConfigError, match="not just a copy"):
        charrnn.pull(REPO, "copy")
    assert charrnn.pull(REPO, "copy", overwrite=True).run.path == run.path


def test_an_update_stays_in_the_folder_of_runs(hub: FakeHub) -> None:
    charrnn.push("book", REPO)
    charrnn.pull(REPO, "copy").run.path.rename("elsewhere")

    with pytest.raises(ConfigError, match=r"'\.\./elsewhere' cannot name a run"):
        charrnn.pull(REPO, "../elsewhere")


def test_a_run_of_ones_own_is_replaced_only_if_that_is_asked_for(hub: FakeHub) -> None:
    charrnn.push("book", REPO)
    save("mine", make_file(hidden_size=6))

    with pytest.raises(ConfigError, match="there is a run 'mine' in checkpoints already"):
        charrnn.pull(REPO, "mine")
    assert charrnn.describe("mine")["hidden_size"] == 6
    charrnn.pull(REPO, "mine", overwrite=True)
    assert charrnn.describe("mine")["hidden_size"] == 4
    assert not RunFolder(Path("checkpoints", "mine")).replaced.exists()


def test_a_kill_while_the_replaced_run_is_removed_keeps_the_pulled_one(hub: FakeHub) -> None:
    charrnn.push("book", REPO)
    save("mine", make_file(hidden_size=6))
    run = charrnn.pull(REPO, "mine", overwrite=True).run
    run.replaced.mkdir()
    (run.replaced / "metrics.jsonl").touch()  # half of what was there

    with (
        pytest.raises(ConfigError, match="there is a run 'mine'"),
        claim_run(Path("checkpoints"), "mine", "book"),
    ):
        pass
    assert charrnn.describe("mine")["hidden_size"] == 4
    assert not run.replaced.exists()


def test_a_replaced_run_loses_its_name_before_its_first_file(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    charrnn.push("book", REPO)
    save("mine", make_file(hidden_size=6))
    removed: list[str] = []
    remove = shutil.rmtree

    def note(folder: Path, **options: Any) -> None:
        removed.append(folder.name)
        remove(folder, **options)

    monkeypatch.setattr(shutil, "rmtree", note)
    charrnn.pull(REPO, "mine", overwrite=True)

    assert ".mine.removed" in removed
    assert ".mine.replaced" not in removed


def test_a_pulled_run_that_was_trained_since_is_not_overwritten(hub: FakeHub) -> None:
    charrnn.push("book", REPO)
    run = charrnn.pull(REPO, "copy").run
    write_atomically(run.path / "step-7.safetensors", pack_model(make_file()))

    with pytest.raises(ConfigError, match="not just a copy"):
        charrnn.pull(REPO, "copy")


def test_a_model_of_the_hub_is_a_model_everywhere(
    hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    charrnn.push("book", REPO)
    name = f"hf://{REPO}"
    here = output_of(capsys, "sample", "book", "--seed", "1", "--length", "30", "-q")

    assert output_of(capsys, "sample", name, "--seed", "1", "--length", "30", "-q") == here
    assert output_of(capsys, "sample", "-m", f"{name}:0.5", "--seed", "1", "--length", "9", "-q")
    assert f"hf://{REPO}, commit" in output_of(capsys, "info", name)
    assert charrnn.score("ab", name).bpc == charrnn.score("ab", "book").bpc
    assert not Path("checkpoints", "hf:").exists()
    assert name_of_run(find_model(name, Path("checkpoints"))) == "book"
    assert charrnn.export(name, "hf").path == Path("book-huggingface")
    assert charrnn.export("book-huggingface", "hf", "again").files.keys()


def test_what_is_cached_needs_no_network(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = charrnn.push("book", REPO).commit
    charrnn.load(f"hf://{REPO}")
    asked = len(hub.requests)
    charrnn.load(f"hf://{REPO}@{commit}")
    assert len(hub.requests) == asked

    use_endpoint(monkeypatch, "http://127.0.0.1:9")
    charrnn.load(f"hf://{REPO}")
    hub.trouble["HEAD"] = (503, {}, b"")
    charrnn.load(f"hf://{REPO}")


def test_a_damaged_file_is_refused(hub: FakeHub) -> None:
    data = bytearray(packed())
    data[-3] ^= 1
    hub.add(REPO, {SHARED: bytes(data)})

    with pytest.raises(CheckpointError, match=r"ada/book/charrnn\.safetensors is damaged"):
        charrnn.pull(REPO, "copy")
    assert not Path("checkpoints", "copy").exists()
    with pytest.raises(CheckpointError, match="is damaged"):
        charrnn.load(f"hf://{REPO}")


def test_a_damaged_copy_in_the_cache_is_fetched_again(hub: FakeHub) -> None:
    charrnn.push("book", REPO)
    charrnn.pull(REPO, "first")
    (blob,) = (each for each in Path("cache").glob("*/blobs/*") if each.stat().st_size > 999)
    blob.write_bytes(b"\0" * blob.stat().st_size)

    assert charrnn.pull(REPO, "second").run.best.read_bytes() == hub.files(REPO)[SHARED]


def test_only_the_model_file_is_read_back(hub: FakeHub) -> None:
    names = ("model.pkl", "setup.py", "../../evil.md", "pytorch_model.bin", "config.json")
    hub.add(REPO, {SHARED: packed(), **dict.fromkeys(names, b"danger")})
    charrnn.pull(REPO, "copy")

    asked = {path for _, path, _, _ in hub.requests if "/resolve/" in path}
    assert {path.rsplit("/", 1)[1] for path in asked} == {SHARED}
    assert not list(Path.cwd().parent.rglob("evil*"))
    assert not any(b"danger" in each.read_bytes() for each in Path("cache").rglob("blobs/*"))


def test_a_repository_without_our_file_is_not_a_model(hub: FakeHub) -> None:
    hub.add(REPO, {"model.safetensors": packed()})

    with pytest.raises(CheckpointError, match=r"it has no charrnn\.safetensors, so it is not a mo"):
        charrnn.load(f"hf://{REPO}")


def test_a_file_of_any_size_is_not_fetched(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    charrnn.push("book", REPO)
    monkeypatch.setattr("charrnn.checkpoint.hub.MAX_MODEL_BYTES", 100)

    with pytest.raises(CheckpointError, match="on the hub; at most 100 are fetched"):
        charrnn.load(f"hf://{REPO}")
    assert not any(
        path.startswith("/store/") for command, path, *_ in hub.requests if command == "GET"
    )


NAMES = {
    "ada/book": HubName("ada/book"),
    "hf://ada/book": HubName("ada/book"),
    "hf://a/b@refs/pr/1": HubName("a/b", "refs/pr/1"),
    "Ada_1/my.book-2@main": HubName("Ada_1/my.book-2", "main"),
}
MALFORMED = ["book", "a/b/c", "hf://", "hf://a/", "a/../b", "../a", "a/b@", "a/b@../c", "a b/c"]
MALFORMED += ["a--b/c", "a/b.git", "/a/b", "a/.b", "a/b@x\ny", f"a/{'b' * 97}", "a/é", "a/b@c@d"]


@pytest.mark.parametrize("text", NAMES)
def test_names_of_the_hub(text: str) -> None:
    assert parse_hub_name(text) == NAMES[text]


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_names_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no name on the hub"):
        parse_hub_name(text)


ECHO = json.dumps({"error": f"quota exceeded for Bearer {TOKEN}"}).encode()
TROUBLES = {
    "no such repository": ({}, "it is not there, or it is private"),
    "forbidden": ({"/resolve/": (403, {}, ECHO)}, "answered 403"),
    "gated": ({"/resolve/": (403, {"X-Error-Code": "GatedRepo"}, b"")}, "ask for access"),
    "busy": ({"/resolve/": (503, {}, b"")}, "answered 503; try again later"),
    "no hub": ({"/resolve/": (200, {}, b"")}, "is not a hub: its commit is None"),
    "bad commit": (
        {"/resolve/": (200, {"X-Repo-Commit": "../../x", "ETag": '"1"'}, b"")},
        "is not a hub: its commit is '../../x'",
    ),
}


@pytest.mark.parametrize("case", TROUBLES)
def test_trouble_with_fetching_is_one_line(
    case: str, hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    trouble, words = TROUBLES[case]
    hub.trouble.update(trouble)
    code, line = complaint(capsys, "sample", "hf://ada/nothing")

    assert (code, words in line) == (4, True), line
    assert TOKEN not in line


PUSH_TROUBLES = {
    "forbidden": ({"/create": (403, {"X-Error-Message": TOKEN}, ECHO)}, "answered 403"),
    "no room": ({"POST /api/models": (413, {}, ECHO)}, "no room for it in your account"),
    "bad card": ({"/validate-yaml": (400, {}, ECHO)}, "Invalid metadata"),
    "no room for a large file": ({"PUT /store": (507, {}, ECHO)}, "no room for it in your account"),
    "a large file refused": ({"objects/batch": (403, {}, ECHO)}, "answered 403"),
    "wrong token": ({"/api/": (401, {}, ECHO)}, "log in by hf auth login"),
}


@pytest.mark.parametrize("case", PUSH_TROUBLES)
def test_trouble_with_pushing_is_one_line(
    case: str, hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    trouble, words = PUSH_TROUBLES[case]
    hub.trouble.update(trouble)
    code, line = complaint(capsys, "push", "book", REPO)

    assert (code, words in line) == (4, True), line
    assert TOKEN not in line


def test_no_network_is_one_line(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_endpoint(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda _: None)

    for command in (
        ("sample", f"hf://{REPO}"),
        ("pull", REPO, "--name", "x"),
        ("push", "book", REPO),
    ):
        code, line = complaint(capsys, *command)
        assert (code, "is this machine online?" in line) == (4, True), line


def test_a_full_disk_is_one_line(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    charrnn.push("book", REPO)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    code, line = complaint(capsys, "pull", REPO, "--name", "copy")

    assert code == 7
    assert "No space left on device; set HF_HOME to another place" in line
    assert not Path("checkpoints", "copy").exists()


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"repo": "a/b", "commit": "../x"}', "\udc80"])
def test_a_note_that_is_not_ours_says_nothing(note: str, tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    (tmp_path / "hub.json").write_bytes(note.encode("utf-8", "surrogatepass"))

    assert read_origin(path) is None


def test_a_link_is_not_brought_up_to_date(hub: FakeHub) -> None:
    charrnn.push("book", REPO)
    charrnn.pull(REPO, "copy").run.path.rename("elsewhere")
    Path("checkpoints", "copy").symlink_to(Path("elsewhere").resolve())

    with pytest.raises(ConfigError, match="not just a copy"):
        charrnn.pull(REPO, "copy")


def test_without_a_token_nothing_is_pushed(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    code, line = complaint(capsys, "push", "book", REPO)

    assert (code, "run hf auth login, or set HF_TOKEN" in line) == (2, True)
    assert hub.requests == []


def test_the_token_is_in_no_output_and_in_no_file(
    hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (("push", "book", REPO), ("pull", REPO, "--name", "copy"), ("info", "copy")):
        assert end_of(*command) == 0
        out, err = capsys.readouterr()
        assert TOKEN not in out + err

    assert any(
        headers.get("authorization") == f"Bearer {TOKEN}" for _, _, headers, _ in hub.requests
    )
    to_others = [(p, headers) for _, p, headers, _ in hub.requests if p.startswith("/store/")]
    assert len(to_others) > 2
    assert not any(TOKEN in str(headers) for _, headers in to_others)
    files = [path for path in Path.cwd().rglob("*") if path.is_file()]
    assert not any(TOKEN.encode() in path.read_bytes() for path in files)


def test_the_commands_say_what_they_did(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert end_of("push", "book", REPO) == 0
    out, err = capsys.readouterr()
    assert out == f"{huggingface_hub.constants.ENDPOINT}/{REPO}\n"
    assert re.fullmatch(r"ada/book is private; branch main, commit [0-9a-f]{12}\n", err)

    hub.repos[REPO].commit({CARD: b"# Mine\n"})
    assert end_of("push", "book", REPO, "--public") == 0
    err = capsys.readouterr().err
    assert "it was private before and stays so" in err
    assert "README.md was edited on the hub" in err

    pulled = json.loads(output_of(capsys, "pull", REPO, "--name", "copy", "--json"))
    assert (pulled["run"], pulled["repo"]) == ("copy", REPO)


def test_nothing_of_the_hub_is_loaded_by_other_commands(tmp_path: Path) -> None:
    path = tmp_path / "book.safetensors"
    write_atomically(path, pack_model(make_file()))

    run_without("huggingface_hub,httpx,httpx2,tokenizers", "info", str(path))
    run_without("huggingface_hub,httpx,httpx2,torch", "push", "--help")
