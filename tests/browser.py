"""A real browser for tests of pages: Chromium without a screen, driven through WebDriver (w3.org/TR/webdriver2)."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
ARE_THERE = CHROMIUM is not None and DRIVER is not None
REASON = "needs chromium and chromedriver (Debian: chromium, chromium-driver)"

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
]


class Browser:
    """One window. Use it in a ``with`` statement."""

    def __enter__(self) -> Browser:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._driver = subprocess.Popen([str(DRIVER), "--port=0"], stdout=subprocess.PIPE, text=True)
        assert self._driver.stdout is not None
        port = next(
            found[1] for line in self._driver.stdout if (found := re.search(r"successfully on port (\d+)", line))
        )
        self._address = f"http://127.0.0.1:{port}/session"
        options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={self._profile.name}"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self._ask("", capabilities={"alwaysMatch": wanted})
        self._address += f"/{session['sessionId']}"
        return self

    def __exit__(self, *_: object) -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(self._address, method="DELETE"), timeout=30).close()
        finally:
            self._driver.terminate()
            self._driver.wait()
            self._driver.stdout.close()
            self._profile.cleanup()

    def open(self, address: str) -> None:
        self._ask("/url", url=address)

    def resize(self, width: int, height: int = 900, dark: bool = False) -> None:
        self._set_size(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])

    def devtools(self, command: str, **parameters: Any) -> Any:
        return self._ask("/goog/cdp/execute", cmd=command, params=parameters)

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a function's body in the page."""
        return self._ask("/execute/sync", script=script, args=list(arguments))

    def wait(self, condition: str, seconds: float = 60) -> Any:
        """Until an expression is true in the page; its value."""
        end = time.monotonic() + seconds
        while not (value := self.run(f"return {condition}")):
            assert time.monotonic() < end, f"never true: {condition}"
            time.sleep(0.05)
        return value

    def click(self, selector: str) -> None:
        self._ask(f"/element/{self._find(selector)}/click")

    def type(self, selector: str, text: str) -> None:
        self._ask(f"/element/{self._find(selector)}/value", text=text)

    def press(self, keys: str) -> None:
        """Keys wherever the focus is; WebDriver's code points for those without a sign, held down in order."""
        down = [{"type": "keyDown", "value": key} for key in keys]
        up = [{"type": "keyUp", "value": key} for key in reversed(keys)]
        self._ask("/actions", actions=[{"type": "key", "id": "keys", "actions": down + up}])

    def screenshot(self, place: Path, whole: bool = False) -> None:
        """A PNG of the window; ``whole``: the window as high as the page, which it stays.

        After a change of size Chromium may wait for a frame, which a page at rest does not draw: it is kept busy.
        """
        if whole:
            width, height = self.run("return [innerWidth, Math.ceil(document.documentElement.scrollHeight)]")
            self._set_size(width, height)
        self.run(
            "let on = false; window.busy = setInterval(() => {"
            "document.documentElement.style.outline = (on = !on) ? '1px solid transparent' : ''}, 20)"
        )
        picture = self.devtools("Page.captureScreenshot", format="png")["data"]
        self.run("clearInterval(window.busy); document.documentElement.style.outline = ''")
        place.write_bytes(base64.b64decode(picture))

    def complaints(self) -> list[str]:
        """What the console has said since it was last asked, errors and warnings."""
        entries = self._ask("/se/log", type="browser")
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def _set_size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.devtools("Emulation.setDeviceMetricsOverride", **metrics)

    def _find(self, selector: str) -> str:
        found = self._ask("/element", using="css selector", value=selector)
        return next(iter(found.values()))

    def _ask(self, path: str, **body: Any) -> Any:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._address + path, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from None
