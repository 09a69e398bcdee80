"""The verdicts over outages and ordinary changes to one page, with its figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from shadowsim.outages.blocks import Block, Code, Page, Part, Picture, Table, Text
from shadowsim.outages.table import by_change, by_variant
from shadowsim.outages.twin import LEFT_ALONE
from shadowsim.outages.verdicts import ASKED, HALTED, MISSED, REFUSED, STOPPED, TAKEN_BACK
from shadowsim.plots import svg
from shadowsim.plots.outages import Line, grid_figure, traffic_figure
from shadowsim.scenario import Scenario

SHOWN = "hybrid"  # the variant of the first table, if it was run
WAYS = {LEFT_ALONE: "left alone", "always-go": "always-go", SHOWN: SHOWN}  # in the first figure
COUNTED = {STOPPED: "stopped", REFUSED: "refused", TAKEN_BACK: "rolled back", MISSED: "missed"}
Row = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Found:
    """What a page is made of: `runs` as `table.frame` has them; `lines`, per scenario and way (a
    variant, or left alone), the share lost over time; the `command` that made all of it.
    """

    scenarios: Sequence[Scenario]
    runs: pl.DataFrame
    lines: Mapping[str, Mapping[str, Line]]
    command: str

    @property
    def outages(self) -> list[Scenario]:
        known = [(s.outage.day, s.name, s) for s in self.scenarios if s.outage is not None]
        return [scenario for *_, scenario in sorted(known, key=lambda one: one[:2])]

    @property
    def others(self) -> list[Scenario]:
        return [s for s in self.scenarios if s.outage is None]

    @property
    def names(self) -> list[str]:
        return [scenario.name for scenario in self.outages]


def page_of(found: Found) -> Page:
    """The page. Figures are drawn from the same tables that stand beside them."""
    table = by_change(found.runs)
    parts = [
        Part("outages", "The outages at a glance", list(_overview(found, table))),
        Part("variants", "The variants beside each other", list(_variants(found))),
        *(_outage(found, scenario, table) for scenario in found.outages),
        Part("ordinary", "Ordinary changes", list(_ordinary(found, table))),
        Part("method", "How it was measured", list(_method(found))),
    ]
    lead = (
        "Public outages that a network change brought about, rebuilt as small scenarios from their "
        "reports: what becomes of the same change where it is tried on a shadow first, judged, and "
        "taken back. Beside them, ordinary changes that go well, so that refusing everything does "
        "not win."
    )
    return Page("outages", "Outages that happened, with shadowsim and as they were", lead, parts)


# -- the parts ---------------------------------------------------------------------------------


def _overview(found: Found, table: pl.DataFrame) -> Iterator[Block]:
    variants = table["precog"].unique(maintain_order=True).to_list()
    shown = SHOWN if SHOWN in variants else next(iter(variants), SHOWN)
    mine = {row["scenario"]: row for row in table.filter(precog=shown).iter_rows(named=True)}
    rows = [
        [
            str(scenario.outage.day), scenario.outage.who, duration(scenario.outage.recovery_s),
            scenario.outage.lost, share(row["lost_alone"]), how(row), s(row["detected_s"]),
            s(row["back_s"]), share(row["lost"]),
        ]
        for scenario in found.outages
        if scenario.outage is not None and (row := mine.get(scenario.name)) is not None
    ]  # fmt: skip
    columns = [
        "day", "whose", "public recovery", "lost, by the reports", "left alone: lost", shown,
        "detected", "back", "lost",
    ]  # fmt: skip
    yield Text(
        f"Reports beside replays: what was published, what is lost here if the change is left "
        f"alone, and what becomes of it with shadowsim under the variant {shown}."
    )
    yield Table("The outages", columns, rows, (2, 4, 6, 7, 8))
    lines = {
        f"{one.outage.day} {one.outage.who}": {
            told: found.lines[one.name][way]
            for way, told in WAYS.items()
            if way in found.lines[one.name]
        }
        for one in found.outages
        if one.outage is not None and one.name in found.lines
    }
    if lines:
        alt = "Share of traffic lost over time, per outage, left alone and with shadowsim"
        yield Picture("outages-traffic.svg", svg(traffic_figure(lines)), alt, (
            "The share of traffic lost since the change came to production, under one seed. A line "
            "that stays at zero is of a change that never came there; one that ends, of a run that "
            "was over."
        ))  # fmt: skip


def _variants(found: Found) -> Iterator[Block]:
    told = by_variant(found.runs, found.names)
    rows = [
        [
            row["precog"], *(str(row[name]) for name in COUNTED), str(row[ASKED] + row[HALTED]),
            s(row["detected_s"]), s(row["back_s"]), share(row["lost"]), str(row["ordinary"]),
            str(row["false refusals"]), str(row["false rollbacks"]),
        ]
        for row in told.iter_rows(named=True)
    ]  # fmt: skip
    columns = [
        "variant", *COUNTED.values(), "left to a person", "detected", "back", "lost",
        "good", "refused", "rolled back",
    ]  # fmt: skip
    alone = told["lost_alone"].drop_nulls()
    yield Text(
        "Runs of outages by what became of them, all seeds together; median seconds to detection "
        "and to the verified end of a rollback; the mean share of traffic lost"
        + (f" ({share(alone[0])} if left alone)" if len(alone) else "")
        + ". The last three columns are of the ordinary changes that do no harm: how many runs, "
        "how many were not let through, and how many were rolled back. Runs of an outage that does "
        "no harm here if left alone are not counted."
    )
    yield Table("The variants", columns, rows, range(1, len(columns)))
    names = {one.name: f"{one.outage.day} {one.outage.who}" for one in found.outages if one.outage}
    names |= {one.name: one.name for one in found.others}
    if found.runs.height:
        drawn = svg(grid_figure(by_change(found.runs), names, len(found.outages)))
        alt = "Grid of changes and variants, each cell coloured by what became of the change"
        yield Picture("outages-variants.svg", drawn, alt, (
            "Outages above the line, ordinary changes below it. The seconds are those to the "
            "verified end of the rollback or, where there was none, to detection."
        ))  # fmt: skip


def _outage(found: Found, scenario: Scenario, table: pl.DataFrame) -> Part:
    outage = scenario.outage
    if outage is None:
        raise ValueError("not an outage")
    rows = table.filter(scenario=scenario.name)
    fails = float(rows["fails"].mean() or 0.0)  # type: ignore[arg-type]
    blocks: list[Block] = [
        Text(f"{scenario.summary}"),
        Text(f"The change: {outage.change}. How it became an outage: {outage.mechanism}."),
        Text(
            f"Public time to recovery: {duration(outage.recovery_s)}; lost, by the reports: "
            f"{outage.lost}. Sources: {'; '.join(outage.sources)}."
        ),
        _by_variant(rows),
    ]
    if fails < 1.0:
        blocks.append(
            Text(f"Left alone, the change does harm here in {100 * fails:.0f} % of the runs only.")
        )
    return Part(scenario.name, f"{outage.day} {outage.who}", blocks)


def _by_variant(rows: pl.DataFrame) -> Table:
    columns = [
        "variant", "what became of it", "detected after", "back after", "lost",
        "lost if left alone",
    ]  # fmt: skip
    cells = [
        [row["precog"], how(row), s(row["detected_s"]), s(row["back_s"]), share(row["lost"]),
         share(row["lost_alone"])]
        for row in rows.iter_rows(named=True)
    ]  # fmt: skip
    return Table("By variant", columns, cells, (2, 3, 4, 5))


def _ordinary(found: Found, table: pl.DataFrame) -> Iterator[Block]:
    variants = table["precog"].unique(maintain_order=True).to_list()
    rows = []
    for scenario in found.others:
        mine = table.filter(scenario=scenario.name)
        cells = {row["precog"]: how(row) for row in mine.iter_rows(named=True)}
        harm = float(mine["fails"].mean() or 0.0)  # type: ignore[arg-type]
        rows.append([
            scenario.name, scenario.change.summary, "no" if harm == 0.0 else f"{100 * harm:.0f} %",
            *(cells.get(variant, "") for variant in variants),
        ])  # fmt: skip
    columns = ["change", "what it is for", "harm, left alone", *variants]
    yield Table("Ordinary changes", columns, rows)
    yield Text(
        "A change that is not let through although it does no harm is a false alarm; the table of "
        "the variants counts them."
    )


def _method(found: Found) -> Iterator[Block]:
    seeds = found.runs["seed"].n_unique() if found.runs.height else 0
    yield Text(f"Made by this command, on the simulated network, over {seeds} seeds:")
    yield Code(found.command)
    yield Text(
        "Left alone: the same change, deployed at the same time to the same production, with nobody"
        " who judges it or takes it back, watched for as long as a run would watch it (monitor_s of"
        " the scenario, a minute or so). That is far shorter than the real outages were, so the "
        "shares lost are shares of that time, not of the hours it took."
    )
    yield Text(
        "Detected after: from the first command of the change, on the shadow or in production, to "
        "the first forecast that forbids it, or to the decision itself. Back after: from the first "
        "command in production to the end of a rollback that was verified; the median over seeds. "
        "Stopped in the shadow: the shadow was measured to fail. Refused at the gate: only the "
        "forecast spoke against it. Missed: confirmed, although left alone it does harm."
    )
    yield Text(
        "Lost: what demands want and do not get, over what they want, in the time in which the twin"
        " was watched. What is lost at the end of a run counts as lost until the end of that time. "
        "A demand of which nothing is reported is in neither. A change that never came to "
        "production costs nothing there."
    )
    yield Text(
        "always-go forecasts nothing: what it reaches is due to the checks of intents and limits "
        "alone, in the shadow and in production. Public times are from the reports and include "
        "finding out, deciding and repairing by people; ours begin with the change."
    )


# -- cells -------------------------------------------------------------------------------------


def how(row: Row) -> str:
    """What became of a change, and in how many of its runs if not in all."""
    if row["times"] == row["runs"]:
        return str(row["how"])
    return f"{row['how']} ({row['times']} of {row['runs']})"


def s(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f} s"


def share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def duration(seconds: float | None) -> str:
    """A public time to recovery, as people say it."""
    if seconds is None:
        return "not published"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
