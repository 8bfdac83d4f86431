"""A hub on this machine that answers what huggingface_hub asks when it pushes and fetches models.

Repositories live in memory; every commit keeps all of its files. As on the hub, safetensors go the
way of large files: their bytes into a store on another host, their names into the commit. What a
request brought, headers too, is in `requests`. `trouble` makes requests whose path holds a text
fail with a status.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]


@dataclass
class Repo:
    is_private: bool
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Files, branch: str = "main") -> str:
        """Add files to a branch and return the commit."""
        head = self.branches.get(branch, "")
        whole = {**self.commits.get(head, {}), **files}
        sha = hashlib.sha1(f"{head}{sorted(whole.items())}{len(self.commits)}".encode()).hexdigest()
        self.commits[sha] = whole
        self.branches[branch] = sha
        return sha

    def resolve(self, revision: str) -> str | None:
        """Return the commit of a branch or of its own name."""
        return self.branches.get(revision, revision if revision in self.commits else None)


class FakeHub:
    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.trouble: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.is_public_by_default = False
        self.store: Files = {}  # large files, by their SHA-256

    def add(self, name: str, files: Files, *, is_private: bool = False) -> str:
        """Make a repository with these files and return its commit."""
        repo = self.repos.setdefault(name, Repo(is_private))
        return repo.commit(files)

    def files(self, name: str, branch: str = "main") -> Files:
        repo = self.repos[name]
        return repo.commits[repo.branches[branch]]

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Yield the address of the hub while it runs."""
        handler = type("Handler", (_Handler,), {"hub": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self._read_body()
        self.hub.requests.append((self.command, path, dict(self.headers), body))
        for part, (status, headers, content) in self.hub.trouble.items():
            if part in f"{self.command} {path}":
                self._send(status, content, headers)
                return
        if path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(\w+)/(.+))?", path):
            self._api(match[1], match[2] or "revision", match[3] or "main", body)
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._json({"objects": [self._place_of(each) for each in json.loads(body)["objects"]]})
        elif path.startswith("/store/") and self.command == "PUT":
            assert hashlib.sha256(body).hexdigest() == path.removeprefix("/store/")
            self.hub.store[path.removeprefix("/store/")] = body
            self._send(200, b"")
        elif path.startswith("/store/"):
            self._send(200, self.hub.store[path.removeprefix("/store/")])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(*match.groups())
        else:
            self._send(404, b"")

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if name not in self.hub.repos:
            is_private = asked.get("visibility") == "private" or asked.get("private") is True
            is_private = is_private and not self.hub.is_public_by_default
            self.hub.add(name, {".gitattributes": b""}, is_private=is_private)
        self._json({"url": f"http://{self.headers['Host']}/{name}"})

    def _api(self, name: str, what: str, revision: str, body: bytes) -> None:
        repo = self.hub.repos.get(name)
        if repo is None or (repo.is_private and not self.headers.get("authorization")):
            self._send(401, b"", {"X-Error-Code": "RepoNotFound"})
            return
        if what == "branch":
            repo.branches.setdefault(revision, repo.branches["main"])
            self._json({})
            return
        sha = repo.resolve(revision)
        if sha is None:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif what == "preupload":
            self._json(
                {
                    "files": [
                        _mode_of(each["path"], repo.commits[sha])
                        for each in json.loads(body)["files"]
                    ]
                }
            )
        elif what == "commit":
            self._commit(name, revision, [json.loads(line) for line in body.splitlines()])
        else:
            files = repo.commits[sha].items()
            siblings = [{"rfilename": path, "size": len(data)} for path, data in files]
            about = {"id": name, "sha": sha, "private": repo.is_private, "siblings": siblings}
            self._json(about)

    def _store_url(self, oid: str) -> str:
        port = self.headers["Host"].rsplit(":", 1)[1]
        return f"http://localhost:{port}/store/{oid}"

    def _place_of(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return where a large file is to be put, unless it is there."""
        href = self._store_url(asked["oid"])
        is_there = asked["oid"] in self.hub.store
        return asked | ({} if is_there else {"actions": {"upload": {"href": href}}})

    def _commit(self, name: str, branch: str, lines: list[dict[str, Any]]) -> None:
        repo = self.hub.repos[name]
        header = next(each["value"] for each in lines if each["key"] == "header")
        if header.get("parentCommit") not in (None, repo.branches[branch]):
            self._send(412, b"")
            return
        files = {}
        for value in (each["value"] for each in lines if each["key"] == "file"):
            files[value["path"]] = base64.b64decode(value["content"])
        for value in (each["value"] for each in lines if each["key"] == "lfsFile"):
            files[value["path"]] = self.hub.store[value["oid"]]
        sha = repo.commit(files, branch)
        url = f"http://{self.headers['Host']}/{name}/commit/{sha}"
        self._json({"commitUrl": url, "commitOid": sha})

    def _resolve(self, name: str, revision: str, path: str) -> None:
        repo = self.hub.repos.get(name)
        if repo is None or (repo.is_private and not self.headers.get("authorization")):
            self._send(401, b"", {"X-Error-Code": "RepoNotFound"})
            return
        sha = repo.resolve(revision)
        if sha is None:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
            return
        data = repo.commits[sha].get(path)
        about = {"X-Repo-Commit": sha}
        if data is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", **about})
        elif path.endswith(".safetensors"):
            oid = hashlib.sha256(data).hexdigest()
            self.hub.store[oid] = data
            about |= {"X-Linked-ETag": f'"{oid}"', "X-Linked-Size": str(len(data))}
            self._send(302, b"", {**about, "Location": self._store_url(oid)})
        else:
            self._send(200, data, {**about, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'})

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _mode_of(path: str, files: Files) -> dict[str, Any]:
    """Return how a file is to be pushed, and git's name of the one that is there."""
    data = files.get(path)
    mode = "lfs" if path.endswith(".safetensors") else "regular"
    oid = None
    if data is not None and mode == "lfs":
        oid = hashlib.sha256(data).hexdigest()
    elif data is not None:
        oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    return {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid}
