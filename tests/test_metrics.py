"""What Prometheus scrapes: outcomes by hand, who may see them, and whether the dashboard asks for
what there is.
"""

# ruff: noqa: E402

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")
pytest.importorskip("prometheus_client")
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from shadowsim.api.app import make_app
from shadowsim.api.desk import Desk
from shadowsim.api.metrics import BUCKETS_S, Outcomes
from shadowsim.commit.disk import RealDisk
from shadowsim.commit.generations import ROLLED_BACK, Place, end
from shadowsim.commit.hold import beside
from shadowsim.commit.owner import claim
from shadowsim.model.truth import MODES
from shadowsim.outcomes import OutcomeStore
from shadowsim.rollback.key import installation_key
from shadowsim.shadow_commands import served

ROOT = Path(__file__).parent.parent
TOKEN, HERE = "of-this-test", "http://127.0.0.1:8000"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SHUT = "A: interface to-B / shutdown"
NOTHING_SAID = dict.fromkeys(MODES, 0.0)
DEGRADATION, OUTAGE, _ = MODES


def document(**more: Any) -> dict[str, Any]:
    return {
        "scenario": "x", "network": "simulated", "precog": "hybrid", "decision": "go",
        "end_state": "confirmed", "failure_mode": "none", "root_cause": "none",
        "forecast": {**NOTHING_SAID, OUTAGE: 0.2}, "failure_modes": [], "failed_after_s": {},
        "observed_in": "production", "blamed": [], "breach_s": 0.0, "time_to_rollback_s": None,
        **more,
    }  # fmt: skip


def back(took_s: float, **more: Any) -> dict[str, Any]:
    return document(
        end_state="rolled_back", failure_mode=OUTAGE, root_cause="change", blamed=[SHUT],
        failure_modes=[OUTAGE], failed_after_s={OUTAGE: 1.0}, breach_s=2.5,
        time_to_rollback_s=took_s, **more,
    )  # fmt: skip


DOCUMENTS = [document(), document(precog="judge"), back(1.0), back(4.0), back(1000.0)]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "outcomes.sqlite"
    with OutcomeStore(path) as opened:
        for day, found in enumerate(DOCUMENTS, 1):
            opened.add(found, f"2026-03-{day:02}T00:00:00+00:00")
    return path


def get(store: Path, **headers: str) -> Any:
    """What a session would answer whose store this is."""
    transport = httpx.ASGITransport(app=make_app(Desk(store, store.parent), TOKEN, writes=False))

    async def asked() -> Any:
        async with httpx.AsyncClient(transport=transport, base_url=HERE) as client:
            return await client.get("/metrics", headers=headers)

    return asyncio.run(asked())


def scraped(store: Path) -> list[Sample]:
    answer = get(store, **BEARER)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return [s for family in text_string_to_metric_families(answer.text) for s in family.samples]


def value(samples: list[Sample], name: str, **labels: str) -> float:
    (found,) = [s.value for s in samples if s.name == name and s.labels == labels]
    return found


def of_outcomes(samples: list[Sample]) -> list[tuple[str, float]]:
    return [(s.name, s.value) for s in samples if s.name != "shadowsim_commits"]


# -- what is told ------------------------------------------------------------------------------


def test_runs_are_counted_by_how_they_ended(store: Path) -> None:
    found = scraped(store)
    went = {"network": "simulated", "decision": "go"}
    good = {**went, "end_state": "confirmed", "failure_mode": "none"}
    assert value(found, "shadowsim_runs_total", variant="hybrid", **good) == 1
    assert value(found, "shadowsim_runs_total", variant="judge", **good) == 1
    bad = {**went, "end_state": "rolled_back", "failure_mode": OUTAGE}
    assert value(found, "shadowsim_runs_total", variant="hybrid", **bad) == 3


def test_rollbacks_are_a_histogram(store: Path) -> None:
    found, labels = scraped(store), {"variant": "hybrid", "failure_mode": OUTAGE}
    counts = {
        s.labels["le"]: s.value for s in found if s.name == "shadowsim_rollback_seconds_bucket"
    }
    assert len(counts) == len(BUCKETS_S)
    assert [counts[le] for le in ("0.5", "1", "2", "5", "300", "+Inf")] == [0, 1, 1, 2, 2, 3]
    assert value(found, "shadowsim_rollback_seconds_sum", **labels) == 1005.0
    assert value(found, "shadowsim_rollback_seconds_count", **labels) == 3


def test_breaches_causes_and_the_newest_outcome(store: Path) -> None:
    found = scraped(store)
    labels = {"variant": "hybrid", "failure_mode": OUTAGE}
    assert value(found, "shadowsim_breach_seconds_total", **labels) == 7.5
    due = {"variant": "hybrid", "cause": "change", "command": "shutdown"}
    assert value(found, "shadowsim_root_causes_total", **due) == 3
    none = {"variant": "judge", "cause": "none", "command": ""}
    assert value(found, "shadowsim_root_causes_total", **none) == 1
    newest = value(found, "shadowsim_newest_outcome_timestamp_seconds")
    assert newest == 1772668800.0  # 2026-03-05


def test_a_change_that_a_run_left_open_is_told(store: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("SHADOWSIM_KEY", str(store.with_name("key")))
    place = Place(RealDisk(), beside(store.parent / "run") / "c", installation_key())
    claim(place)
    place.disk.create(place.log(1), b"")
    assert value(scraped(store), "shadowsim_commits", state="open") == 1
    end(place, 1, ROLLED_BACK, "")
    assert value(scraped(store), "shadowsim_commits", state="open") == 0
    assert value(scraped(store), "shadowsim_commits", state="rolled_back") == 1


def test_calibration_of_the_forecasts(store: Path) -> None:
    found, labels = scraped(store), {"variant": "hybrid", "failure_mode": OUTAGE}
    assert value(found, "shadowsim_forecasts", **labels) == 4
    brier = value(found, "shadowsim_forecast_brier", **labels)
    assert brier == pytest.approx((0.2**2 + 3 * 0.8**2) / 4)
    assert value(found, "shadowsim_forecast_expected_brier", **labels) == pytest.approx(0.16)
    assert value(found, "shadowsim_forecast_ece", **labels) == pytest.approx(0.55)
    assert value(found, "shadowsim_forecast_bias", **labels) == pytest.approx(-0.55)
    sure = {"variant": "hybrid", "failure_mode": DEGRADATION}
    assert value(found, "shadowsim_forecast_brier", **sure) == 0.0


def test_what_is_added_is_seen_at_the_next_scrape_and_only_then_read(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes, times = Outcomes(store), 0
    read = OutcomeStore.read

    def counting(self: OutcomeStore) -> Any:
        nonlocal times
        times += 1
        return read(self)

    monkeypatch.setattr(OutcomeStore, "read", counting)
    runs = [sum(s.value for m in outcomes.collect() for s in m.samples if "runs" in s.name)]
    list(outcomes.collect())
    assert times == 1
    with OutcomeStore(store) as opened:
        opened.add(document(), "2026-03-09T00:00:00+00:00")
    runs += [sum(s.value for m in outcomes.collect() for s in m.samples if "runs" in s.name)]
    assert (runs, times) == ([5.0, 6.0], 2)


def test_without_a_store_there_is_nothing_and_none_is_made(tmp_path: Path) -> None:
    found = scraped(tmp_path / "none.sqlite")
    assert of_outcomes(found) == [("shadowsim_outcomes_readable", 1.0)]
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_read_says_only_that(tmp_path: Path) -> None:
    (tmp_path / "bad.sqlite").write_bytes(b"no database at all" * 100)
    found = scraped(tmp_path / "bad.sqlite")
    assert of_outcomes(found) == [("shadowsim_outcomes_readable", 0.0)]


# -- who may see it ----------------------------------------------------------------------------


def test_only_who_shows_the_token_may_scrape(store: Path) -> None:
    assert get(store).status_code == 401
    answer = get(store, Authorization="Bearer of-another")
    assert (answer.status_code, "shadowsim_runs" in answer.text) == (401, False)


def test_a_session_tells_of_the_store_beside_its_file(tmp_path: Path) -> None:
    desk, server = served(0, tmp_path / "shadow.json", writes=False)
    server.__exit__(None, None, None)
    assert desk.store == tmp_path / "outcomes.sqlite"


# -- the files beside it -----------------------------------------------------------------------

METRIC = re.compile(r"\bshadowsim_[a-z_]+\b")
MATCHED = re.compile(r"(shadowsim_[a-z_]+)\{([^}]*)\}")
GROUPED = re.compile(r"\bby \(([^)]*)\)")
SHOWN = re.compile(r"\{\{(\w+)\}\}")
VALUES = re.compile(r"label_values\((\w+), (\w+)\)")


def dashboard() -> Any:
    return json.loads((ROOT / "monitoring" / "grafana-dashboard.json").read_text())


def exposed(store: Path) -> dict[str, set[str]]:
    """The labels of every name that is scraped."""
    found: dict[str, set[str]] = {}
    for sample in scraped(store):
        found.setdefault(sample.name, set()).update(sample.labels)
    return found


def queries() -> list[tuple[str, str, str]]:
    return [
        (panel["title"], target["expr"], target["legendFormat"])
        for panel in dashboard()["panels"]
        for target in panel["targets"]
    ]


def test_the_dashboard_asks_only_for_what_is_exposed(store: Path) -> None:
    there, asked = exposed(store), queries()
    assert len(asked) >= 12
    for title, query, legend in asked:
        names = set(METRIC.findall(query))
        assert names, title
        assert names <= there.keys(), title
        known = set.union(*(there[name] for name in names))
        for name, matchers in MATCHED.findall(query):
            labels = set(re.findall(r"(\w+)=~?\"", matchers))
            assert labels <= there[name], title
        grouped = {w.strip() for found in GROUPED.findall(query) for w in found.split(",")}
        assert grouped <= known, title
        assert set(SHOWN.findall(legend)) <= (grouped or known), title


def test_the_dashboard_shows_every_metric_but_the_plain_counts(store: Path) -> None:
    asked = {name for _, query, _ in queries() for name in METRIC.findall(query)}
    left = exposed(store).keys() - asked
    assert left == {
        "shadowsim_forecasts", "shadowsim_newest_outcome_timestamp_seconds",
        "shadowsim_rollback_seconds_sum",
    }  # fmt: skip


def test_what_the_dashboard_lets_one_choose_is_exposed(store: Path) -> None:
    there = exposed(store)
    variables = [v["definition"] for v in dashboard()["templating"]["list"] if "definition" in v]
    found = [VALUES.fullmatch(text) for text in variables]
    assert all(match and match[2] in there[match[1]] for match in found)
    chosen = {v["name"] for v in dashboard()["templating"]["list"]} | {"__rate_interval"}
    used = {name for _, query, _ in queries() for name in re.findall(r"\$(\w+)", query)}
    assert used <= chosen


def test_panels_lie_beside_each_other() -> None:
    places = [
        {(x, y) for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])}
        for p in (panel["gridPos"] for panel in dashboard()["panels"])
    ]
    assert len(set.union(*places)) == sum(map(len, places))
    assert all(0 <= x < 24 for place in places for x, _ in place)


def test_the_scrape_config_shows_a_token_at_the_right_path() -> None:
    config = yaml.safe_load((ROOT / "monitoring" / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert job["authorization"]["type"] == "Bearer"
    assert all(t.startswith("127.0.0.1:") for c in job["static_configs"] for t in c["targets"])
