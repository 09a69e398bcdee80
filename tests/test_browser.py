"""The page in a real browser: whole runs under `ask`, by mouse and by keyboard, light and dark."""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from browsing import ROOT, chromium, needs_browser, page_of, serving

from shadowsim.report.timeline import PHASES

pytestmark = needs_browser

PACED = ("--pace", "30")
HOSTILE = "<img src=x onerror=alert(1)></p><script>alert(2)</script> \"'&` drain"
TEXT = (ROOT / "scenarios" / "two-of-four.yml").read_text(encoding="utf-8")
SCENARIO = TEXT.replace("summary: drain A-B", f"summary: {json.dumps(HOSTILE)} #")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def test_a_run_is_approved_and_taken_back_and_seen_again(browser: Any, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    with (
        serving(tmp_path, SCENARIO, *PACED, "--writes") as url,
        page_of(browser, color_scheme="light") as page,
    ):
        page.goto(url)
        assert "#/" in page.url  # the token stands there no longer
        approve = page.get_by_role("button", name="Approve: deploy it")
        approve.wait_for()
        assert HOSTILE in page.locator("#question h2").inner_text()
        assert page.locator("#question img, #question script").count() == 0
        expect(page.locator("#phases [aria-current=step]")).to_contain_text("risk assessment")
        expect(page.locator("#plan")).to_contain_text("production has not been touched")
        approve.click()
        back = page.get_by_role("button", name="Approve: roll back")
        back.wait_for()
        expect(page.locator("#phases [aria-current=step]")).to_contain_text("realtime monitoring")
        expect(page.locator("#plan .steps li")).to_have_count(4)
        expect(page.locator("#plan .steps li").first).to_contain_text("held ready")
        expect(page.locator("[data-network=production] .node.changed")).to_have_count(3)
        back.click()
        expect(page.locator("#state .badge")).to_contain_text("rolled back")
        expect(page.locator("#plan .steps [data-state=done]")).to_have_count(2)
        expect(page.locator("[data-network=production] .node.restored")).to_have_count(2)
        expect(page.locator("#charts path.production").first).to_be_attached()
        _past_by_keyboard(page)  # the run may not be among them yet: it comes by itself


def _is_recorded(page: Any) -> None:
    """The end is shown at once; what the record says of it, when there is one."""
    from playwright.sync_api import expect

    expect(page.locator("#state")).to_contain_text("production in breach for")


def _past_by_keyboard(page: Any) -> None:
    """From the end of the run to an earlier instant of it, without a mouse."""
    from playwright.sync_api import expect

    page.get_by_role("link", name="Past runs").focus()
    page.keyboard.press("Enter")
    link = page.get_by_role("link", name="two-of-four")
    link.focus()
    page.keyboard.press("Enter")
    slider = page.get_by_role("slider", name="Seconds of the network")
    slider.wait_for()
    expect(page.locator("#state .badge")).to_contain_text("rolled back")
    slider.focus()
    page.keyboard.press("Home")
    expect(page.locator("#at")).to_contain_text(re.compile(r"^0\.0 s of"))
    expect(page.locator("#phases [aria-current=step]")).to_contain_text("shadow deployment")
    page.get_by_role("button", name="To the next event").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#at")).not_to_contain_text(re.compile(r"^0\.0 s of"))
    page.get_by_role("link", name="Analytics").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#list")).to_contain_text("Rollbacks triggered")
    expect(page.locator("#figure img")).to_be_visible()


def test_a_refusal_by_keyboard_alone_in_the_dark(browser: Any, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    with (
        serving(tmp_path, SCENARIO, *PACED, "--writes") as url,
        page_of(browser, color_scheme="dark") as page,
    ):
        page.goto(url)
        page.get_by_role("button", name="Refuse").wait_for()
        assert sum(_colour(page, "background-color")) < 3 * 64
        assert sum(_colour(page, "color")) > 3 * 160
        for _ in range(12):
            page.keyboard.press("Tab")
            if page.locator(":focus").inner_text() == "Refuse":
                break
        assert page.locator(":focus").evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
        page.keyboard.press("Enter")
        expect(page.locator("#state .badge")).to_contain_text("refused")
        _is_recorded(page)
        expect(page.locator("#question")).to_be_empty()
        expect(page.locator("[data-network=production] .node.changed")).to_have_count(0)
        _is_well_made(page)


def _colour(page: Any, of: str) -> list[int]:
    told = page.locator("body").evaluate(f"e => getComputedStyle(e).getPropertyValue('{of}')")
    return [int(part) for part in re.findall(r"\d+", told)][:3]


def _is_well_made(page: Any) -> None:
    """What a person who does not see it needs, and one with a small screen."""
    names = page.locator("button:visible, a:visible, input:visible, summary:visible, svg[role=img]")
    for one in names.all():
        told = one.evaluate(
            "e => e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent"
        )
        assert told.strip()
    ids = page.locator("[id]").evaluate_all("all => all.map((e) => e.id)")
    assert len(ids) == len(set(ids))
    labelled = page.locator("[aria-labelledby]").evaluate_all(
        "all => all.every((e) => document.getElementById(e.getAttribute('aria-labelledby')))"
    )
    assert labelled
    page.set_viewport_size({"width": 400, "height": 800})
    wide = "e => e.scrollWidth <= e.clientWidth"
    assert page.locator("html").evaluate(wide)


def test_without_its_token_the_page_says_where_to_get_one(browser: Any, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    with board(tmp_path) as (_, url), page_of_strangers(browser) as page:
        page.goto(url.partition("#")[0])
        expect(page.locator("#notice")).to_contain_text("open the address")
        expect(page.locator("#run")).to_be_hidden()


@contextmanager
def page_of_strangers(browser: Any) -> Iterator[Any]:
    """A page that will be refused: which its browser's console says."""
    context = browser.new_context()
    try:
        yield context.new_page()
    finally:
        context.close()


# -- a board that the test writes on -----------------------------------------------------------


@contextmanager
def board(folder: Path) -> Iterator[tuple[Any, str]]:
    """A page that shows what the test says, as it says it: (the board, its address)."""
    from shadowsim.api.desk import Desk
    from shadowsim.api.server import Server
    from shadowsim.page.board import Board
    from shadowsim.page.live import standing_of
    from shadowsim.page.routes import add_page
    from shadowsim.scenario import parse

    found, desk = Board(), Desk()

    def extend(api: Any) -> Any:
        return add_page(api, desk, found, folder, folder / "outcomes.sqlite")

    with Server(desk, 0, folder / "s.json", writes=False, extend=extend) as server:
        server.start()
        found.begin(standing_of(parse(SCENARIO), "simulated", writes=False))
        yield found, f"{server.address.url}/#{server.address.token}"


def happens(on: Any, kind: str, at_s: float, **data: Any) -> None:
    from shadowsim.journal import Event

    on.event(Event(at_s, PHASES[4], kind, data))


def test_a_rollback_is_ticked_off_step_by_step(browser: Any, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    plan = [
        {"step": f"s{i}", "device": d, "commands": [HOSTILE], "depends_on": [f"s{i - 1}"][: i - 1]}
        for i, d in enumerate("ABC", 1)
    ]
    with board(tmp_path) as (told, url), page_of(browser) as page:
        page.goto(url)
        steps = page.locator("#plan .steps li")
        happens(told, "armed", 1.0, signature="w", plan=plan)
        expect(steps).to_contain_text(["held ready"] * 3)
        happens(told, "rollback", 2.0, signature="b", scope="blamed", plan=plan)
        for done in range(3):
            expect(steps).to_contain_text(
                ["done"] * done + ["under way"] + ["held ready"] * (2 - done)
            )
            happens(told, "step", 3.0 + done, step=f"s{done + 1}", outcome="done")
        expect(steps).to_contain_text(["done"] * 3)
        expect(page.locator("#said")).to_contain_text("done")
        happens(told, "rolled_back", 7.0, took_s=5.0)
        expect(page.locator("#plan")).to_contain_text("rolled back and verified")
        _trouble(told, page)


def _trouble(told: Any, page: Any) -> None:
    """What is down or not met stands there in words and marks, not in a colour only."""
    from playwright.sync_api import expect

    from shadowsim.page.view import Look

    happens(told, "unmet", 8.0, network="production", names=[HOSTILE])
    told.looks(lambda: {"production": Look(9.0, (0.97, 0.5, *[0.1] * 12), (2,))})
    panel = page.locator("[data-network=production]")
    expect(panel.locator(".verdict")).to_contain_text("1 not met")
    expect(panel.locator(".unmet")).to_contain_text(HOSTILE)
    expect(panel.locator("svg.topology")).to_contain_text("97 %")
    expect(panel.locator("svg.topology")).to_contain_text("✕ down")
    expect(panel.locator("line.lx")).to_have_count(1)
    label = panel.locator("svg.topology").get_attribute("aria-label")
    assert "busiest link A – B at 97 %" in label
    assert "down: B – C" in label


def test_a_change_of_state_is_shown_within_200_ms(browser: Any, tmp_path: Path) -> None:
    """From the event in the run's thread until it stands in the page; both tell the same clock."""
    from playwright.sync_api import expect

    # The page notes by itself when each text came: asking it would take time of its own.
    watch = """() => {
      window.came = {};
      const note = () => { window.came[document.querySelector("#state .clock")?.textContent] ??= Date.now(); };
      new MutationObserver(note).observe(document.body, { childList: true, subtree: true, characterData: true });
    }"""  # noqa: E501
    with board(tmp_path) as (told, url), page_of(browser) as page:
        page.goto(url)
        expect(page.locator("#link")).to_have_text("connected")
        page.evaluate(watch)
        sent, took = {}, []
        while len(took) < 15:  # two that happen while nobody had a CPU are shown as one
            last = len(sent) + 20
            assert last <= 100
            for number in range(len(sent) + 1, last + 1):
                sent[number] = time.time()
                happens(told, "mirrored", float(number), packets=number)
                time.sleep(0.1)
            expect(page.locator("#state .clock")).to_contain_text(f"{last}.0 s")
            came = page.evaluate("() => window.came")
            texts = {text.split()[-2]: at for text, at in came.items() if text[-1:] == "s"}
            shown = {float(text): at / 1000 for text, at in texts.items()}
            took = [shown[number] - at for number, at in sent.items() if number in shown]
    assert statistics.median(took) < 0.2
