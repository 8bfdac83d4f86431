"""A browser for tests: Debian's chromium without a window, offline, driven through two pipes.

The DevTools protocol: JSON messages, each ended by a zero byte. No packages are needed.

    with Browser() as browser:
        page = browser.open(path)
        assert page.evaluate("document.title") == "inspect"
        assert not page.errors
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_SECONDS = 120
_OPTIONS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",  # it does not start as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
)
# The browser reads descriptor 3 and writes descriptor 4.
_START = """\
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
_MODIFIERS = {"Alt": 1, "Control": 2, "Meta": 4, "Shift": 8}
_KEY_CODES = {
    "Enter": 13, "Tab": 9, "Escape": 27, " ": 32, "Backspace": 8, "Delete": 46, "Home": 36,
    "End": 35, "PageUp": 33, "PageDown": 34, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39,
    "ArrowDown": 40,
}  # fmt: skip
_TEXT_OF_KEY = {"Enter": "\r", "Tab": "\t"}

Message = dict[str, Any]


class BrowserError(Exception):
    """The browser or a script in it failed."""


class BrowserTimeoutError(BrowserError):
    """The browser said nothing for too long."""


def find_browser() -> str | None:
    """Return the path of a chromium, if there is one."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """A running chromium with a profile of its own."""

    def __init__(self, program: str | None = None) -> None:
        path = program or find_browser()
        if path is None:
            raise BrowserError(f"no browser: none of {', '.join(NAMES)} is on the path")
        self._folder = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        to_browser, self._write_fd = os.pipe()
        self._read_fd, from_browser = os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_browser, from_browser)]
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", "-c", _START, *map(str, ends)),
                *(path, *_OPTIONS, f"--user-data-dir={self._folder.name}", "about:blank"),
            ],
            pass_fds=ends,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (to_browser, from_browser, *ends):
            os.close(end)
        self._buffer = b""
        self._number = 0
        self._answers: dict[int, Message] = {}  # a page may ask while another answer is waited for
        self._pages: dict[str, Page] = {}  # by the session of the page, and of its workers

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the browser and remove its profile."""
        os.close(self._write_fd)  # chromium ends when the pipe does
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read_fd)
        self._folder.cleanup()

    def open(self, path: Path, fragment: str = "", width: int = 1200, height: int = 900) -> Page:
        """Open a file in a new tab, offline; return it once it has loaded."""
        page = self._make_page(width, height)
        page.go_offline()
        page.load(path.resolve().as_uri() + (f"#{fragment}" if fragment else ""))
        return page

    def visit(self, address: str, width: int = 1200, height: int = 900) -> Page:
        """Open an address of a server in a new tab; return it once it has loaded."""
        page = self._make_page(width, height)
        page.load(address)
        return page

    def _make_page(self, width: int, height: int) -> Page:
        """Return a new tab, in which nothing has been loaded."""
        target = self.send("Target.createTarget", {"url": "about:blank"})["targetId"]
        attach = {"targetId": target, "flatten": True}
        session = self.send("Target.attachToTarget", attach)["sessionId"]
        page = self._pages[session] = Page(self, target, session)
        page.prepare(width, height)
        return page

    def send(self, method: str, parameters: Message | None = None, session: str = "") -> Message:
        """Call a method of the protocol, and return its result."""
        self._number += 1
        number = self._number
        message: Message = {"id": number, "method": method, "params": parameters or {}}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write_fd, data) :]
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while number not in self._answers:
            self.receive(deadline)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        result: Message = answer["result"]
        return result

    def receive(self, deadline: float) -> None:
        """Take the browser's next message: an answer to keep, or an event for its page.

        Raises:
            BrowserTimeoutError: none comes before the deadline, by time.monotonic().
            BrowserError: the browser ended.
        """
        while b"\0" not in self._buffer:
            seconds = deadline - time.monotonic()
            if seconds <= 0 or not select.select([self._read_fd], [], [], seconds)[0]:
                raise BrowserTimeoutError("the browser gave no answer in time")
            part = os.read(self._read_fd, 1 << 20)
            if not part:
                raise BrowserError("the browser ended")
            self._buffer += part
        data, _, self._buffer = self._buffer.partition(b"\0")
        message: Message = json.loads(data)
        page = self._pages.get(message.get("sessionId", ""))
        if "id" in message:
            self._answers[message["id"]] = message
        elif page is not None:
            page.receive(message)

    def add_session(self, session: str, page: Page) -> None:
        """Let a page hear what a worker of it reports."""
        self._pages[session] = page

    def forget(self, page: Page) -> None:
        """Let a page that was closed hear nothing more."""
        self._pages = {name: each for name, each in self._pages.items() if each is not page}


class Page:
    """A tab, and all that happened in it since it was opened, in its workers too.

    requests: addresses. console: (level, text). exceptions: their texts. violations: of the content
    security policy.
    """

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self._browser = browser
        self._target = target
        self._session = session
        self._has_loaded = False
        self.requests: list[str] = []
        self.console: list[tuple[str, str]] = []
        self.exceptions: list[str] = []
        self.violations: list[str] = []

    @property
    def errors(self) -> list[str]:
        """All that went wrong: exceptions, violations, errors and warnings on the console."""
        bad = [text for level, text in self.console if level in ("error", "warning", "assert")]
        return [*self.exceptions, *self.violations, *bad]

    def send(self, method: str, parameters: Message | None = None) -> Message:
        """Call a method of the protocol on this tab."""
        return self._browser.send(method, parameters, self._session)

    def prepare(self, width: int, height: int) -> None:
        """Take a size, and report all that happens."""
        for domain in ("Page", "Audits", "Accessibility", "DOM"):
            self.send(f"{domain}.enable")
        self._watch(self._session)
        attach = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True}
        self.send("Target.setAutoAttach", attach)
        self.resize(width, height)

    def go_offline(self) -> None:
        """Let no request leave the machine's own files."""
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        self.send("Network.emulateNetworkConditions", offline)

    def _watch(self, session: str) -> None:
        """Hear what happens in this tab, or in a worker of it."""
        for domain in ("Network", "Runtime", "Log"):
            self._browser.send(f"{domain}.enable", {}, session)

    def load(self, address: str) -> None:
        """Go to an address and wait until it has loaded."""
        self._has_loaded = False
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not self._has_loaded and time.monotonic() < deadline:
            self.send("Page.navigate", {"url": address})
            # A page that changes its own address at this moment ends the navigation: ask again.
            again = time.monotonic() + TIMEOUT_SECONDS / 4
            with suppress(BrowserTimeoutError):
                while not self._has_loaded:
                    self._browser.receive(again)
        if not self._has_loaded:
            raise BrowserTimeoutError(f"{address} did not load in {TIMEOUT_SECONDS} s")

    def receive(self, event: Message) -> None:
        """Take note of an event."""
        method, parameters = event["method"], event["params"]
        if method == "Page.loadEventFired":
            self._has_loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Runtime.consoleAPICalled":
            words = [str(each.get("value", each.get("description"))) for each in parameters["args"]]
            self.console.append((parameters["type"], " ".join(words)))
        elif method == "Runtime.exceptionThrown":
            self.exceptions.append(_describe(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded":
            entry = parameters["entry"]
            self.console.append((entry["level"], f"{entry['text']} {entry.get('url', '')}"))
        elif method == "Audits.issueAdded":
            issue = parameters["issue"]
            if issue["code"] == "ContentSecurityPolicyIssue":
                self.violations.append(json.dumps(issue["details"]))
        elif method == "Target.attachedToTarget":
            worker = parameters["sessionId"]
            self._browser.add_session(worker, self)
            self._watch(worker)
            self._browser.send("Runtime.runIfWaitingForDebugger", {}, worker)

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression as JSON has it; a promise is waited for.

        Raises:
            BrowserError: the script throws.
        """
        options = {"expression": script, "awaitPromise": True, "returnByValue": True}
        answer = self.send("Runtime.evaluate", options)
        if "exceptionDetails" in answer:
            raise BrowserError(_describe(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def wait_for(self, script: str, seconds: float = 30) -> Any:
        """Return the value of an expression once it is true.

        Raises:
            BrowserError: it is not by then.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            value = self.evaluate(script)
            if value:
                return value
            self.evaluate("new Promise((resolve) => setTimeout(resolve, 20))")
        raise BrowserError(f"not true after {seconds} s: {script}")

    def press(self, keys: str) -> None:
        """Press a key, such as "ArrowLeft", "a" or "Control+ArrowRight"."""
        *names, key = keys.split("+") if len(keys) > 1 else [keys]
        text = _TEXT_OF_KEY.get(key, key if len(key) == 1 else "")
        event: Message = {
            "key": key,
            "modifiers": sum(_MODIFIERS[name] for name in names),
            "code": f"Key{key.upper()}" if len(key) == 1 and key.isalpha() else key,
            "windowsVirtualKeyCode": _KEY_CODES.get(key, ord(key.upper()) if len(key) == 1 else 0),
        }
        if text and not {"Control", "Alt", "Meta"} & set(names):
            event["text"] = text
        kind = "keyDown" if "text" in event else "rawKeyDown"
        self.send("Input.dispatchKeyEvent", event | {"type": kind})
        event.pop("text", None)
        self.send("Input.dispatchKeyEvent", event | {"type": "keyUp"})

    def write(self, text: str) -> None:
        """Put a text where the cursor is, as a keyboard or clipboard does."""
        self.send("Input.insertText", {"text": text})

    def click(self, selector: str) -> None:
        """Click on the middle of the first element that a selector finds, once it stays in place.

        A page that is being drawn moves it away from under the pointer.
        """
        x, y = self.wait_for(
            f"""(async () => {{
                const find = () => {{
                    const node = document.querySelector({json.dumps(selector)});
                    node.scrollIntoView({{block: "center", behavior: "instant"}});
                    const box = node.getBoundingClientRect();
                    return [node, box.x + box.width / 2, box.y + box.height / 2];
                }};
                const before = find();
                await new Promise((resolve) => setTimeout(resolve, 30));
                const after = find();
                return before.every((part, k) => part === after[k]) && after.slice(1);
            }})()"""
        )
        event = {"x": x, "y": y, "button": "left", "clickCount": 1}
        self.send("Input.dispatchMouseEvent", event | {"type": "mousePressed"})
        self.send("Input.dispatchMouseEvent", event | {"type": "mouseReleased"})

    def accessibility(self) -> list[tuple[str, str]]:
        """Return (role, name) of what a screen reader meets, in its order."""
        nodes = self.send("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"]
        ]

    def screenshot(self, path: Path | None = None, *, is_whole: bool = False) -> bytes:
        """Return what is seen, or the whole page, as PNG, and write it to `path`."""
        answer = self.send("Page.captureScreenshot", {"captureBeyondViewport": is_whole})
        data = base64.b64decode(answer["data"])
        if path is not None:
            path.write_bytes(data)
        return data

    def resize(self, width: int, height: int) -> None:
        """Make the window so many CSS pixels wide and high."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", size)

    def set_media(self, media: str = "", **features: str) -> None:
        """Emulate a medium, such as "print", and features, such as prefers_color_scheme="dark"."""
        pairs = [{"name": key.replace("_", "-"), "value": each} for key, each in features.items()]
        self.send("Emulation.setEmulatedMedia", {"media": media, "features": pairs})

    def set_vision(self, deficiency: str) -> None:
        """Show colours as with "protanopia", "deuteranopia", "tritanopia" or "none"."""
        self.send("Emulation.setEmulatedVisionDeficiency", {"type": deficiency})

    def close(self) -> None:
        """Close the tab."""
        self._browser.forget(self)
        self._browser.send("Target.closeTarget", {"targetId": self._target})


def _describe(details: Message) -> str:
    """Return the text of an exception."""
    exception = details.get("exception", {})
    return str(exception.get("description") or exception.get("value") or details["text"])
