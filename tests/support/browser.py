"""Chromium without a window for tests, out of its Debian package, driven over a pipe by the DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support import debian

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars",
    "--remote-debugging-pipe",
)  # fmt: skip
_ANSWER_S = 60.0
_EXEC = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
"""The protocol's pipes have fixed numbers."""


class Page:
    """One tab."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.complaints: list[str] = []
        """What the console said as a warning or error, exceptions, and breaches of the content security policy."""

    def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the answer to one call of the protocol."""
        return self._browser.tell(method, self._session, **parameters)

    def look_like(self, *, width: int, dark: bool, height: int = 900) -> None:
        """Take this width, of a phone if it is narrow, and a colour scheme."""
        self.tell(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.tell("Emulation.setEmulatedMedia", features=[scheme])

    def without_scripts(self) -> None:
        """Run no JavaScript of the pages that are opened from now on."""
        self.tell("Emulation.setScriptExecutionDisabled", value=True)

    def open(self, url: str) -> None:
        """Go to *url* and wait until it is there."""
        before = self._browser.loads
        self.tell("Page.navigate", url=url)
        self.settle(before)

    def settle(self, before: int) -> None:
        """Wait for a load after *before* of them."""
        deadline = time.monotonic() + _ANSWER_S
        while self._browser.loads <= before:
            assert time.monotonic() < deadline, "the page does not load"
            self._browser.listen(0.2)

    @property
    def loads(self) -> int:
        """How many pages were loaded so far."""
        return self._browser.loads

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript *expression*; ours, so it runs where the page's own may not."""
        answer = self.tell(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """Write what the whole page looks like as PNG."""
        shot = self.tell("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


class Browser:
    """A running Chromium with a profile of its own."""

    def __init__(self, process: subprocess.Popen[bytes], into: int, out: int) -> None:
        self._process = process
        self._into = into
        self._out = out
        self._buffer = b""
        self._number = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._pages: dict[str, Page] = {}
        self.loads = 0

    def page(self) -> Page:
        """Return a new, empty tab."""
        target = self.tell("Target.createTarget", None, url="about:blank")["targetId"]
        session = self.tell("Target.attachToTarget", None, targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Audits"):
            page.tell(f"{domain}.enable")
        return page

    def tell(self, method: str, session: str | None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._into, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + _ANSWER_S
        while number not in self._answers:
            assert time.monotonic() < deadline, f"no answer to {method}"
            self.listen(0.2)
        answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    def listen(self, seconds: float) -> None:
        """Take in what the browser says within *seconds*."""
        if not select.select([self._out], [], [], seconds)[0]:
            assert self._process.poll() is None, "Chromium has ended"
            return
        self._buffer += os.read(self._out, 1 << 20)
        *messages, self._buffer = self._buffer.split(b"\0")
        for message in messages:
            self._take(json.loads(message))

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers[message["id"]] = message
            return
        method, said = message["method"], message.get("params", {})
        if method == "Page.loadEventFired":
            self.loads += 1
        page = self._pages.get(message.get("sessionId", ""))
        if page is None:
            return
        entry_level = said.get("entry", {}).get("level")
        console = method == "Runtime.consoleAPICalled" and said["type"] in ("warning", "error", "assert")
        if (
            console
            or method in ("Runtime.exceptionThrown", "Audits.issueAdded")
            or (method == "Log.entryAdded" and entry_level in ("warning", "error"))
        ):
            page.complaints.append(json.dumps(said))


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Chromium. Raises: debian.NotToBeHad."""
    name = "chromium-headless-shell"
    fonts = ("fonts-dejavu-core", "fonts-droid-fallback")
    root = debian.unpack(name, also=("chromium-common", *fonts), libraries_of=(name,), recurse=True)
    _, environ = debian.program(root, name)
    program = root / "usr" / "lib" / "chromium" / name  # the one in bin is a script with paths of an installed package
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        settings = Path(folder) / "fonts.conf"
        settings.write_text(
            f"<fontconfig><dir>{root}/usr/share/fonts</dir><cachedir>{folder}/fonts</cachedir></fontconfig>"
        )
        their_in, our_out = os.pipe()
        our_in, their_out = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-c", _EXEC, str(their_in), str(their_out), str(program), *_FLAGS,
             f"--user-data-dir={folder}/profile", "about:blank"],
            pass_fds=(their_in, their_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**environ, "FONTCONFIG_FILE": str(settings), "HOME": folder},
        )  # fmt: skip
        os.close(their_in)
        os.close(their_out)
        browser = Browser(process, our_out, our_in)
        try:
            yield browser
        finally:
            with suppress(AssertionError, OSError):
                browser.tell("Browser.close", None)
            os.close(our_out)
            os.close(our_in)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
