"""The page of `serve`: what is seen of a run, live and from its folder; who may see and answer."""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_command_line import Shell

from shadowsim.api.desk import Desk, Room
from shadowsim.api.questions import NotAsked, Questions
from shadowsim.carried import begin, carry_out
from shadowsim.commit.hold import Unheld
from shadowsim.errors import BadInput
from shadowsim.journal import Event as Happened
from shadowsim.journal import Journal
from shadowsim.model.truth import MODES
from shadowsim.network import NETWORKS
from shadowsim.page import live, past
from shadowsim.page.view import Look, View, changes, document, read_off, view_of
from shadowsim.precog import Forecast
from shadowsim.report import TOKENS
from shadowsim.report.recorded import Event
from shadowsim.report.timeline import PHASES
from shadowsim.scenario import parse

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
from shadowsim.api.server import Server  # noqa: E402
from shadowsim.page import routes  # noqa: E402
from shadowsim.page.board import Board  # noqa: E402

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script> \"'&`${x}"
ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "scenarios" / "two-of-four.yml").read_text(encoding="utf-8")
SCENARIO = parse(TEXT.replace("summary: drain A-B", f"summary: {json.dumps(HOSTILE)} #"))
KEY = bytes(range(32))


def event(kind: str, at_s: float = 0.0, phase: str = PHASES[0], **more: Any) -> Event:
    return Event.model_validate({"at_s": at_s, "phase": phase, "event": kind, **more})


def planned(step: str, device: str, *after: str) -> dict[str, Any]:
    return {"step": step, "device": device, "commands": ["x"], "depends_on": list(after)}


# -- what is seen ------------------------------------------------------------------------------


def test_phases_are_done_now_or_ahead() -> None:
    view = view_of([event("phase", 0.0), event("phase", 16.0, PHASES[1]), event("x", 20.0)])
    found = document(view)["phases"]
    assert [phase["state"] for phase in found] == ["done", "now", "ahead", "ahead", "ahead"]
    assert [(p["from_s"], p["to_s"]) for p in found[:3]] == [(0, 16), (16, 20), (None, None)]
    ended = document(view_of([event("end", 21.0, end_state="refused")], view))
    assert [p["state"] for p in ended["phases"]] == ["done", "done", *["not reached"] * 3]
    assert ended["end"] == {"ended": True, "end_state": "refused"}


def test_steps_are_ticked_off_as_they_are_carried_out() -> None:
    plan = [planned("s1", "A"), planned("s2", "B", "s1"), planned("s3", "C")]

    def states(view: View) -> list[str]:
        assert view.plan is not None
        return [view.plan.state, *(step.state for step in view.plan.steps)]

    view = view_of([event("armed", 1.0, signature="w", plan=plan)])
    assert states(view) == ["armed", "ready", "ready", "ready"]
    view = view_of([event("rollback", 2.0, signature="b", scope="blamed", plan=plan)], view)
    assert states(view) == ["under way", "under way", "ready", "under way"]
    view = view_of([event("step", 3.0, step="s1", outcome="done")], view)
    assert states(view) == ["under way", "done", "under way", "under way"]
    view = view_of([event("step", 3.0, step="s3", outcome="skipped")], view)
    view = view_of([event("step", 4.0, step="s2", outcome="timed out")], view)
    assert states(view) == ["under way", "done", "timed out", "skipped"]
    assert view.seen["production"].restored == ("A",)
    assert states(view_of([event("halted", 5.0, failed=["x"])], view))[0] == "not verified"
    assert states(view_of([event("rolled_back", 5.0, took_s=1.0)], view))[0] == "verified"
    for rest in ("not_known", "by_others"):
        dark = event("rolled_back", 5.0, took_s=1.0, **{rest: ["critical traffic"]})
        assert states(view_of([dark], view))[0] == "configs verified"


def test_a_plan_that_was_only_held_ready_was_not_needed() -> None:
    view = view_of([event("armed", plan=[planned("s1", "A")]), event("confirmed", 9.0)])
    assert view.plan is not None
    assert (view.plan.state, view.plan.steps[0].state) == ("not needed", "ready")


def test_a_question_is_open_until_it_is_answered_and_has_a_number() -> None:
    asking = event("asking", 5.0, question="deploy", text="deploy it?", within_s=600)
    view = view_of([asking])
    assert view.question is not None
    assert (view.question.number, view.question.kind, view.question.within_s) == (1, "deploy", 600)
    view = view_of([event("asked", 5.0, question="deploy", answer=True)], view)
    assert view.question is None
    again = view_of([asking], view)
    assert again.question is not None
    assert again.question.number == 2


def test_what_is_not_met_stands_beside_its_network() -> None:
    view = view_of([event("unmet", network="shadow", names=["reachable any>any"])])
    assert document(view)["shadow"]["unmet"] == ["reachable any>any"]
    assert document(view)["production"]["unmet"] == []
    assert (
        view_of([event("unmet", 1.0, network="shadow", names=[])], view).seen["shadow"].unmet == ()
    )


def test_forecasts_are_kept_with_the_last_reasons() -> None:
    reason = {"variant": "judge", "mode": MODES[0], "probability": 0.5, "text": "slow"}
    odds = dict.fromkeys(MODES, 0.25) | {MODES[1]: None}
    view = view_of([event("forecast", 3.0, network="shadow", probabilities=odds, because=[reason])])
    found = document(view)["forecast"]
    assert found["shadow"]["series"] == [[3.0, *(odds[mode] for mode in MODES)]]
    assert found["shadow"]["because"] == [reason]
    assert found["production"] == {"series": [], "because": []}


def test_looks_are_shown_with_what_is_unknown_left_unknown() -> None:
    view = read_off(View(), {"shadow": Look(7.0, (0.12345, None, float("nan")), (1,))})
    found = document(view)
    assert found["shadow"]["load"] == [0.123, None, None]
    assert (found["shadow"]["down"], found["at_s"]) == ([1], 7.0)


KINDS = (
    "phase", "deploy", "forecast", "unmet", "decision", "rehearsed", "asking", "asked", "armed",
    "rollback", "step", "rolled_back", "confirmed", "halted", "end", "no_such_kind",
)  # fmt: skip
EVENTS = st.lists(
    st.builds(
        lambda kind, at_s, phase, network, text: event(
            kind, at_s, phase, network=network, device=text, step=text, names=[text],
            plan=[planned(text, text, "s9")], outcome="done",
        ),
        st.sampled_from(KINDS), st.floats(0, 100), st.sampled_from([*PHASES, "odd"]),
        st.sampled_from(["production", "shadow", "elsewhere"]), st.sampled_from(["s1", HOSTILE]),
    ),
    max_size=12,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(EVENTS, EVENTS)
def test_changes_merged_in_are_the_view(first: list[Event], second: list[Event]) -> None:
    """Whatever the events: the page's copy and the server's view are the same, and are JSON."""
    before, now = document(view_of(first)), document(view_of([*first, *second]))
    assert {**before, **changes(before, now)} == now
    assert json.loads(json.dumps(now, allow_nan=False)) == now
    assert document(view_of(second, view_of(first))) == now
    assert now["at_s"] >= before["at_s"]


# -- a whole run -------------------------------------------------------------------------------


class Went:
    """A run that asked twice, was approved twice, and was followed on a board."""

    def __init__(self, runs: Path) -> None:
        self.board, self.seen, self.questions = Board(), list[dict[str, Any]](), list[str]()
        asking = replace(SCENARIO, workflow=replace(SCENARIO.workflow, autonomy="ask"))
        self.board.begin(live.standing_of(asking, "simulated", writes=True))
        run = begin(asking, NETWORKS["simulated"], Journal(self._event), self._approve)
        run.beside = lambda run: self.board.looks(lambda: live.looks_of(run))
        self.folder = runs / asking.name
        found = carry_out(run, "simulated", self.folder, KEY, nullcontext(Unheld()))
        self.board.end(live.outcome_of_run(found))
        self.last = self.board.latest().document()

    def _event(self, happened: Happened) -> None:
        self.board.event(happened)
        self.seen.append(self.board.latest().document())

    def _approve(self, question: str, forecast: Forecast) -> bool:
        self.questions.append(self.seen[-1]["question"]["text"])
        assert self.questions[-1] == question
        return True


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page") / "runs"


@pytest.fixture(scope="module")
def went(runs: Path) -> Went:
    return Went(runs)


def test_a_run_from_its_folder_is_seen_as_it_was_live(went: Went) -> None:
    found = past.seen_at(went.folder, None)
    assert found["end"] == {"ended": True, "end_state": "rolled_back"}
    for key in ("phases", "decision", "end", "forecast", "plan", "told", "map", "outcome", "at_s"):
        assert found[key] == json.loads(json.dumps(went.last[key])), key
    for network in ("production", "shadow"):
        assert found[network] == json.loads(json.dumps(went.last[network])), network


def test_a_run_is_asked_and_taken_back_step_by_step(went: Went) -> None:
    assert [text.split(" ")[0] for text in went.questions] == ["deploy", "roll"]
    assert HOSTILE in went.questions[0]
    states = [
        tuple(step["state"] for step in view["plan"]["steps"])
        for view in went.seen
        if view["plan"] and view["plan"]["scope"] == "blamed"
    ]
    assert states[0] == ("under way", "under way")
    assert states[-1] == ("done", "done")
    assert went.last["plan"]["state"] == "verified"
    assert went.last["production"]["restored"] == ["A", "X"]
    assert went.last["outcome"]["time_to_rollback_s"] > 0


def test_an_instant_of_the_past_knows_nothing_of_what_came_after(went: Went) -> None:
    early = past.seen_at(went.folder, 12.0)
    assert early["outcome"] is None
    assert [phase["state"] for phase in early["phases"]][:2] == ["now", "ahead"]
    assert early["production"]["changed"] == []
    assert early["shadow"]["at_s"] <= 12.0
    assert all(one["at_s"] <= 12.0 for one in early["told"])
    assert set(early["marks"]) >= {one["at_s"] for one in went.last["told"]}


def test_past_runs_are_listed_and_what_is_damaged_says_so(went: Went, runs: Path) -> None:
    bad = runs / "bad"
    bad.mkdir()
    (bad / "result.json").write_text("[")
    (runs / "link").symlink_to(went.folder)
    try:
        found = {one["run"]: one for one in past.listed(runs)}
    finally:
        (bad / "result.json").unlink()
        bad.rmdir()
    assert set(found) == {"two-of-four", "bad"}
    assert "result.json" in found["bad"]["error"]
    assert found["two-of-four"]["outcome"]["end_state"] == "rolled_back"
    for name in ("link", "..", ".", "../runs/two-of-four", "no", "/etc", ""):
        with pytest.raises(BadInput):
            past.folder_of(runs, name)
    (runs / "link").unlink()


# -- questions ---------------------------------------------------------------------------------


def test_only_the_open_question_can_be_answered() -> None:
    def attend(seconds: float) -> None:
        with pytest.raises(NotAsked):
            questions.answer(2, approve=True)
        questions.answer(1, approve=False)
        with pytest.raises(NotAsked):
            questions.answer(1, approve=True)

    questions = Questions(attend, 5.0)
    with pytest.raises(NotAsked):
        questions.answer(1, approve=True)
    assert questions.approve("deploy?", Forecast()) is False
    with pytest.raises(NotAsked):
        questions.answer(1, approve=True)


def test_nobody_answers_in_time() -> None:
    assert Questions(lambda seconds: time.sleep(0.01), 0.05).approve("?", Forecast()) is None


# -- over HTTP ---------------------------------------------------------------------------------


class Serving:
    """A server of the page with a desk that a thread attends."""

    def __init__(self, folder: Path, runs: Path, *, writes: bool) -> None:
        self.board, self.desk = Board(), Desk()

        def extend(api: Any) -> Any:
            return routes.add_page(api, self.desk, self.board, runs, runs / "outcomes.sqlite")

        self.server = Server(self.desk, 0, folder / "s.json", writes=writes, extend=extend)
        self.questions = Questions(lambda seconds: self.desk.attend(self.room, seconds), 20.0)
        nothing: Any = None
        self.room = Room("x", "simulated", (), nothing, nothing, nothing, self.questions)

    def client(self, *, known: bool = True) -> Any:
        headers = {"Authorization": f"Bearer {self.server.address.token}"} if known else {}
        return httpx.Client(
            base_url=self.server.address.url, headers=headers, timeout=20, trust_env=False
        )


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, runs: Path, went: Went) -> Iterator[Serving]:
    found = Serving(tmp_path_factory.mktemp("armed"), runs, writes=True)
    with found.server:
        found.server.start()
        yield found


def test_what_the_page_consists_of_needs_no_token_and_all_else_does(serving: Serving) -> None:
    with serving.client(known=False) as client:
        for path in routes.OPEN:
            said = client.get(path)
            assert (said.status_code, said.headers["x-content-type-options"]) == (200, "nosniff")
            assert serving.server.address.token not in said.text
        for path in ("/live", "/runs", "/runs/two-of-four", "/analytics", "/analytics.svg"):
            assert client.get(path).status_code == 401, path
        asked = {"question": 1, "approve": True}
        assert client.post("/answer", json=asked).status_code == 401
        assert client.post("/", json={}).status_code == 401
        for path in ("/static/../routes.py", "/static/%2e%2e/routes.py", "/static/nothing.js"):
            assert client.get(path).status_code in (401, 404), path


def test_a_browser_may_do_nothing_with_it_but_show_it(serving: Serving) -> None:
    with serving.client() as client:
        for path in ("/", "/static/main.js", "/runs", "/runs/two-of-four"):
            policy = client.get(path).headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "script-src 'self';" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert "require-trusted-types-for 'script'" in policy
        assert client.get("/runs", headers={"Origin": "http://evil.example"}).status_code == 403
        assert client.get("/runs", headers={"Host": "evil.example"}).status_code == 400


def test_past_runs_and_numbers_over_http(serving: Serving) -> None:
    with serving.client() as client:
        assert [one["run"] for one in client.get("/runs").json()] == ["two-of-four"]
        found = client.get("/runs/two-of-four", params={"at_s": 12}).json()
        assert found["about"]["change"].startswith(HOSTILE[:10])
        for wrong in ("/runs/nothing", "/runs/%2e%2e", "/runs/two-of-four?at_s=x"):
            assert client.get(wrong).status_code in (404, 422), wrong
        assert client.get("/analytics").json() == {"runs": 0, "tables": []}


def test_an_answer_reaches_the_run_that_asked(serving: Serving) -> None:
    answers: list[bool | None] = []
    asks = threading.Thread(
        target=lambda: answers.append(serving.questions.approve("?", Forecast())), daemon=True
    )
    asks.start()
    with serving.client() as client:
        while (number := serving.questions.number) is None:
            time.sleep(0.01)
        stale = {"question": number + 1, "approve": True}
        assert client.post("/answer", json=stale).status_code == 409
        for wrong in ({"question": number}, {"question": number, "approve": "yes"}, []):
            assert client.post("/answer", json=wrong).status_code == 422
        assert client.post("/answer", json={"question": number, "approve": True}).status_code == 202
        asks.join(5)
        assert answers == [True]


def test_a_page_that_may_only_watch_answers_nothing(tmp_path: Path, runs: Path, went: Went) -> None:
    found = Serving(tmp_path, runs, writes=False)
    with found.server, found.client() as client:
        found.server.start()
        said = client.post("/answer", json={"question": 1, "approve": True})
        assert said.status_code == 403
        assert "--writes" in said.json()["error"]


def test_a_change_of_state_is_told_within_200_ms(serving: Serving) -> None:
    """From the event in the run's thread until the browser's end of the connection has it."""
    told: dict[float, float] = {}
    ready = threading.Event()

    def listen() -> None:
        with serving.client() as client, client.stream("GET", "/live") as stream:
            for line in stream.iter_lines():
                if line.startswith("data: ") and "at_s" in (news := json.loads(line[6:])):
                    told[news["at_s"]] = time.monotonic()
                ready.set()
                if 20.0 in told:
                    return

    serving.board.begin({"live": True})
    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    assert ready.wait(10)
    sent = {}
    for at_s in map(float, range(1, 21)):
        sent[at_s] = time.monotonic()
        serving.board.event(Happened(at_s, PHASES[0], "mirrored", {}))
        while at_s not in told:  # two that happen at once are told as one
            assert time.monotonic() < sent[at_s] + 30
            time.sleep(0.005)
    thread.join(10)
    assert statistics.median(told[at_s] - sent[at_s] for at_s in sent) < 0.2


def test_whoever_waits_is_told_at_once_and_else_in_time() -> None:
    board = Board()

    async def wait() -> tuple[int, int]:
        known = board.latest().version
        same = (await board.wait(known, 0.01)).version
        threading.Timer(0.02, board.begin, [{"live": True}]).start()
        begun = time.monotonic()
        other = (await board.wait(known, 10.0)).version
        assert time.monotonic() - begun < 5.0
        return same - known, other - known

    assert asyncio.run(wait()) == (0, 1)


def test_a_board_that_fails_says_so_and_does_not_end_the_run() -> None:
    board = Board()
    board.begin({"live": True})
    board.event(Happened(1.0, PHASES[0], "phase", {}))
    board.looks(lambda: [][1])
    board.event(Happened(2.0, PHASES[0], "mirrored", {}))
    found = board.latest().document()
    assert "IndexError" in found["lost"]
    assert found["at_s"] == 1.0
    board.begin({"live": True})
    board.event(Happened(3.0, PHASES[0], "step", {"step": 7}))  # no name of a step
    assert "step" in board.latest().document()["lost"]
    board.begin({"live": True})
    assert board.latest().document()["lost"] is None


# -- on the command line ------------------------------------------------------------------------


@pytest.fixture
def shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHADOWSIM_KEY", str(tmp_path / "key"))
    return Shell(tmp_path, capsys, monkeypatch)


def test_scenarios_run_under_the_page_and_it_ends_with_them(shell: Shell) -> None:
    (shell.folder / "s.yml").write_text(TEXT)
    said = shell("serve", "s.yml", "--once", "--json", "--pace", "5000", "--autonomy", "ask")
    assert said.code == 0
    found = json.loads(said.out)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", found["url"])
    assert not (shell.folder / found["session"]).exists()
    result = json.loads((shell.folder / "runs" / "two-of-four" / "result.json").read_text())
    assert (result["decision"], result["end_state"]) == ("go", "halted")  # nobody could answer
    lines = (shell.folder / "runs" / "two-of-four" / "journal.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["event"] for line in lines]
    assert kinds.index("asking") == kinds.index("asked") - 1


@pytest.mark.parametrize(("words", "told"), [
    (("nothing.yml",), "nothing.yml"),
    (("s.yml", "--network", "simulatd"), "did you mean 'simulated'"),
    (("s.yml", "--autonomy", "aks"), "did you mean 'ask'"),
    (("s.yml", "s.yml"), "several scenarios are named two-of-four"),
    (("--store", "s.yml"), "not an SQLite database"),
])  # fmt: skip
def test_what_cannot_be_served_is_told_before_anything_runs(
    words: tuple[str, ...], told: str, shell: Shell
) -> None:
    (shell.folder / "s.yml").write_text(TEXT)
    said = shell("serve", *words, "--once")
    assert (said.code, told in said.err) == (2, True), said.err
    assert not (shell.folder / "runs").exists()


# -- the files of the page ---------------------------------------------------------------------

STATIC = sorted((Path(routes.__file__).parent / "static").iterdir())


@pytest.mark.parametrize("path", STATIC, ids=lambda path: path.name)
def test_the_page_loads_nothing_from_elsewhere_and_parses_no_text(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\s\"')]+", text)) <= {"http://www.w3.org/2000/svg"}
    banned = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|cookie"
    assert not re.search(banned, text)
    if path.suffix == ".html":
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=\"/static/)", text)


def colours(theme: str) -> dict[str, str]:
    text = TOKENS.read_text() + (TOKENS.parents[1] / "page" / "static" / "page.css").read_text()
    dark = re.findall(r"dark\) \{\s*:root \{(.*?)\}", text, re.S)
    light = re.findall(r"^:root \{(.*?)\}", text, re.S | re.M)
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", " ".join(light)))
    if theme == "dark":
        found |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", " ".join(dark)))
    return found


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.2, from 1 to 21."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everything_can_be_read(theme: str) -> None:
    """Text 4.5 to 1 (WCAG 2.2, 1.4.3), what is drawn 3 to 1 (1.4.11)."""
    found = colours(theme)
    text = [("ink", "paper"), ("ink", "card"), ("soft", "paper"), ("soft", "card"), ("ink", "code"),
            ("accent", "card"), ("accent", "fair-paper"), ("ink", "wary-paper"), ("bad", "card"),
            ("card", "accent"), ("card", "good"),
            *((tone, f"{tone}-paper") for tone in ("good", "fair", "wary", "bad"))]  # fmt: skip
    drawn = [
        (name, "card") for name in ("l0", "l1", "l2", "l3", "l4", "lx", "production", "shadow")
    ]
    low = {pair: contrast(found[pair[0]], found[pair[1]]) for pair in (*text, *drawn)}
    assert {
        pair: ratio for pair, ratio in low.items() if ratio < (3 if pair in drawn else 4.5)
    } == {}
