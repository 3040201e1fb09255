"""A page in headless Chromium, controlled through its debugging pipe with only the standard library."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip

# Chromium reads commands from descriptor 3 and answers on 4.
_STARTER = """
import os, sys
commands, answers = os.dup(int(sys.argv[1])), os.dup(int(sys.argv[2]))
for wanted, given in ((3, commands), (4, answers)):
    os.dup2(given, wanted)
    os.set_inheritable(wanted, True)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Page:
    """One page: open a file, run scripts despite its policy, and read its requests, errors and colours."""

    def __init__(self, commands: IO[bytes], answers: IO[bytes]) -> None:
        self._commands, self._answers = commands, answers
        self._rest, self._number, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        (target,) = (info for info in self.send("Target.getTargets")["targetInfos"] if info["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: object) -> Any:
        """Send a command of the Chrome DevTools protocol and return its result."""
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, path: Path, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Open a file with the given window size and colour scheme."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.send("Page.navigate", url=path.absolute().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self._receive()

    def run(self, script: str) -> Any:
        """Return the value of a script's last expression."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def requests(self) -> list[str]:
        """Return the URLs that the page requested, except data: URLs and its own."""
        sent = [event["params"] for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        addresses = [request["request"]["url"] for request in sent if request["type"] != "Document"]
        return [address for address in addresses if not address.startswith("data:")]

    def complaints(self) -> list[str]:
        """Return the errors and policy violations that the browser logged for the page."""
        logged = [event["params"]["entry"]["text"] for event in self.events if event.get("method") == "Log.entryAdded"]
        thrown = [str(event["params"]) for event in self.events if event.get("method") == "Runtime.exceptionThrown"]
        return logged + thrown

    def colours(self, part: str) -> tuple[str, str]:
        """Return the CSS colours of the text and the background of the element that a selector names."""
        ink, ground = self.run(f"""(() => {{ let part = document.querySelector('{part}');
            const ink = getComputedStyle(part).color;
            while (getComputedStyle(part).backgroundColor == 'rgba(0, 0, 0, 0)') part = part.parentElement;
            return [ink, getComputedStyle(part).backgroundColor] }})()""")
        return ink, ground

    def contrast(self, part: str) -> float:
        """Return the contrast ratio of an element's text with its background (WCAG 2)."""
        darker, lighter = sorted(map(luminance, self.colours(part)))
        return (lighter + 0.05) / (darker + 0.05)

    def is_dark(self, part: str) -> bool:
        """Return whether an element has a dark background."""
        return luminance(self.colours(part)[1]) < 0.1

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._answers.fileno(), 2**16)
            assert part, "the browser is gone"
            self._rest += part
        first, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(first)
        self.events.append(message)
        return message


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour as CSS computes it, from 0 to 1 (WCAG 2)."""
    channels = [int(number) / 255 for number in re.findall(r"\d+", colour)[:3]]
    linear = [((value + 0.055) / 1.055) ** 2.4 if value > 0.04 else value / 12.92 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """Start Chromium with a new profile. Skip the test if Chromium is not installed."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("Chromium is not installed")
    commands_out, commands = os.pipe()
    answers, answers_in = os.pipe()
    words = [program, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"]
    starter = [sys.executable, "-c", _STARTER, str(commands_out), str(answers_in)]
    with (
        os.fdopen(commands, "wb") as write,
        os.fdopen(answers, "rb") as read,
        subprocess.Popen(
            [*starter, *words],
            pass_fds=(commands_out, answers_in),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process,
    ):
        os.close(commands_out)
        os.close(answers_in)
        try:
            yield Page(write, read)
        finally:
            process.kill()
