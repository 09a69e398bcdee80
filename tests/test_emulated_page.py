"""A run on real packets is approved, and taken back, on the page in a real browser."""

from __future__ import annotations

import json
from pathlib import Path

from browsing import ROOT, chromium, needs_browser, page_of, serving
from emulation import left_behind, needs_emulation

from shadowsim.network.emulated.rundir import leftovers


@needs_emulation
@needs_browser
def test_real_packets_under_the_page(tmp_path: Path) -> None:
    from playwright.sync_api import expect

    left = leftovers()
    scenario = (ROOT / "scenarios" / "square-then-busy.yml").read_text(encoding="utf-8")
    emulated = ("--network", "emulated", "--writes")
    with (
        chromium() as browser,
        serving(tmp_path, scenario, *emulated) as url,
        page_of(browser) as page,
    ):
        page.goto(url)
        page.get_by_role("button", name="Approve: deploy it").click()
        expect(page.locator("[data-network=production] .node.changed")).to_have_count(2)
        page.get_by_role("button", name="Approve: roll back").click()
        expect(page.locator("#state .badge")).to_contain_text("rolled back")
        expect(page.locator("[data-network=production] .node.restored").first).to_be_attached()
        expect(page.locator("#state")).to_contain_text("production in breach for")  # it is over
    result = json.loads((tmp_path / "runs" / "square-then-busy" / "result.json").read_text())
    assert result["network"] == "emulated"
    assert result["end_state"] == "rolled_back"
    assert result["expectations"]["met"]
    assert not left_behind(left), "a folder or a process was left on the machine"
