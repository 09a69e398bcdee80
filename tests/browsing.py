"""What the tests in a real browser share: when they run, Debian's Chromium, and a page to show."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shadowsim.errors import ShadowsimError

ROOT = Path(__file__).parent.parent
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
LACKS = [
    *([] if importlib.util.find_spec("playwright") else ["playwright"]),
    *([] if CHROMIUM else ["chromium"]),
]

# With SHADOWSIM_BROWSER=required nothing is skipped: what is missing makes the tests fail.
needs_browser = pytest.mark.skipif(
    bool(LACKS) and os.environ.get("SHADOWSIM_BROWSER") != "required",
    reason=f"this machine lacks {', '.join(LACKS)}; 'make setup-browser' installs it",
)


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser that is there until the block is left."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=120_000)
    unsafe = ["--no-sandbox"] if os.geteuid() == 0 else []  # as root it starts in no other way
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=unsafe, timeout=90_000)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def page_of(browser: Any, **how: Any) -> Iterator[Any]:
    """A page in which nothing may go wrong: no error in its console, no request to elsewhere."""
    wrong: list[str] = []
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, **how)
    context.set_default_timeout(240_000)
    page = context.new_page()
    page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith(("http://127.0.0.1:", "blob:http://127.0.0.1:"))
            else wrong.append(request.url)
        ),
    )
    try:
        yield page
    finally:
        context.close()
    assert wrong == []


@contextmanager
def serving(folder: Path, scenario: str, *more: str) -> Iterator[str]:
    """`shadowsim serve` in a process of its own, with a run under `ask`; its address."""
    from shadowsim.api.client import read_session

    (folder / "scenario.yml").write_text(scenario, encoding="utf-8")
    command = [
        sys.executable, "-m", "shadowsim", "serve", "scenario.yml", "--autonomy", "ask", *more
    ]  # fmt: skip
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    env = {**os.environ, "PYTHONPATH": path, "SHADOWSIM_KEY": str(folder / "key")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
    try:
        yield _address(folder, process, read_session)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, (folder / "log").read_text()
    finally:
        process.kill()
        process.wait()


def _address(folder: Path, process: subprocess.Popen[bytes], read_session: Any) -> str:
    end_s = time.monotonic() + 90
    while process.poll() is None and time.monotonic() < end_s:
        try:
            found = read_session(folder / "runs" / "serve.json")
        except ShadowsimError:
            time.sleep(0.1)
        else:
            return f"{found.url}/#{found.token}"
    raise AssertionError((folder / "log").read_text())
