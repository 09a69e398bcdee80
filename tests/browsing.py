"""What the tests in a real browser share: when they run, and Debian's Chromium, headless."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

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

    expect.set_options(timeout=30_000)
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
    context.set_default_timeout(60_000)
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
