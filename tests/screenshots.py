"""A run under the page to its pictures, made by `python tests/screenshots.py FOLDER`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from browsing import chromium, page_of
from PIL import Image

from shadowsim.api.client import read_session
from shadowsim.errors import ShadowsimError

ROOT = Path(__file__).parent.parent
COMMAND = [
    sys.executable, "-m", "shadowsim", "serve", "scenarios/drain-then-peak.yml",
    "--autonomy", "ask", "--writes", "--pace", "20",
]  # fmt: skip


def main(out: Path) -> None:
    with tempfile.TemporaryDirectory() as made:
        runs = Path(made) / "runs"
        command = [*COMMAND, "--runs", str(runs), "--store", str(runs / "outcomes.sqlite")]
        env = {**os.environ, "SHADOWSIM_KEY": str(Path(made) / "key")}
        with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL) as serving:
            try:
                _take(_address(runs / "serve.json"), out)
            finally:
                serving.kill()


def _address(file: Path) -> str:
    for _ in range(600):
        try:
            found = read_session(file)
        except ShadowsimError:
            time.sleep(0.2)
        else:
            return f"{found.url}/#{found.token}"
    raise SystemExit("the page did not come up")


def _take(url: str, out: Path) -> None:
    """The question whether to roll back, in the light; what came of it, in the dark."""
    with chromium() as browser, page_of(browser, color_scheme="light") as page:
        page.set_viewport_size({"width": 1360, "height": 900})
        page.goto(url)
        page.get_by_role("button", name="Approve: deploy it").click()
        page.get_by_role("button", name="Approve: roll back").wait_for()
        page.locator(".answers .yes").focus()
        _shoot(page, out / "serve-light.png")
        page.get_by_role("button", name="Approve: roll back").click()
        page.locator("#state .badge", has_text="rolled back").wait_for()
        page.locator("#state", has_text="production in breach").wait_for()
        page.emulate_media(color_scheme="dark")
        _shoot(page, out / "serve-dark.png")


def _shoot(page: Any, path: Path) -> None:
    page.wait_for_timeout(600)  # until colours and widths have moved to where they belong
    page.screenshot(path=path, full_page=True)
    Image.open(path).quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
