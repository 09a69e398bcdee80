"""How much shadow is enough?

The same changes are tried in shadows that are less and less of production: only the devices around
the change, a fraction of the packets, traffic and configs that are seconds behind. What the gate
then says (facts, and the forecast of `hybrid`) is compared with what the change does to production.

    python experiments/how_much_shadow.py [--seeds 5] [--judged 8] [--quick]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer
from answer import (
    DOCUMENT,
    RUNS,
    TRACKED,
    Answer,
    Changes,
    Docs,
    Interval,
    Mlflow,
    Out,
    Quick,
    Seeds,
    Tapes,
    answering,
    kept,
    over_seeds,
    quicker,
    tell,
)
from changes import Changed, changes_of, tapes_of
from figures import dots
from late import late
from matplotlib.figure import Figure

from shadowsim.history.folds import UNSEEN
from shadowsim.history.simulate import Silent
from shadowsim.journal import Journal
from shadowsim.live import progress_of
from shadowsim.precog import variant
from shadowsim.scenario import Mirror, ShadowPlan
from shadowsim.workflow import Run
from shadowsim.workflow.gate import hard_checks
from shadowsim.workflow.phases import shadow_deployment, traffic_and_monitoring

QUESTION = "How much shadow is enough?"
FULL = "all of it"
ALL = ShadowPlan()


@dataclass(frozen=True)
class Way:
    """What the shadow is, and by how much it is behind."""

    plan: ShadowPlan = ALL
    lag_s: float = 0.0


WAYS: Mapping[str, Way] = {
    FULL: Way(),
    **{f"{n} hops around the change": Way(ShadowPlan("subset", hops=n)) for n in (2, 1, 0)},
    **{f"{100 * f:g} % of the packets": Way(ShadowPlan(mirror=Mirror(fraction=f)))
       for f in (0.5, 0.1, 0.01)},
    **{f"{s:g} s behind": Way(lag_s=s) for s in (2.0, 5.0, 10.0)},
}  # fmt: skip


def main(
    quick: Quick = False, seeds: Seeds = 5, changes: Changes = 240,
    judged: Annotated[int, typer.Option(help="Of each seed's changes so many.", min=1)] = 40,
    tapes: Tapes = RUNS / "tapes", out: Out = RUNS / "how_much_shadow",
    docs: Docs = DOCUMENT, mlflow: Mlflow = TRACKED,
) -> None:  # fmt: skip
    """How much shadow is enough?"""
    if quick:
        seeds, changes, judged, tapes, out = 2, 2, 1, quicker(tapes), quicker(out)
    ways = dict(list(WAYS.items())[::3]) if quick else WAYS
    rows = pl.DataFrame([
        row
        for seed in range(seeds)
        for row in of_seed(tapes_of(tapes, UNSEEN, seed, changes), seed, judged, ways, out)
    ])  # fmt: skip
    sizes = (
        f"Intervals over {seeds} seeds of {judged} changes each on unseen networks;"
        f" {int(rows['failing'].sum()) // len(ways)} of all fail. *Right*: a change that does not"
        " fail goes, one that fails does not. Nobody else changes production's configs in these"
        " trials, so what is behind is traffic."
    )
    command = (
        f"python experiments/how_much_shadow.py --seeds {seeds} --changes {changes}"
        f" --judged {judged}"
    )
    given = {"seeds": seeds, "judged": judged}
    tell(_answer(rows, sizes, command, given), out, None if quick else docs, mlflow)


def of_seed(
    folder: Path, seed: int, judged: int, ways: Mapping[str, Way], out: Path
) -> list[dict[str, object]]:
    """One row for each way: how right the gate is about the changes of a seed."""
    cases = list(changes_of(folder))
    cases = cases[:: max(len(cases) // judged, 1)][:judged]
    failed = np.array([case.tape.failed for case in cases])
    rows: list[dict[str, object]] = []
    with progress_of(f"trials, seed {seed}", quiet=False) as progress:
        for done, (name, way) in enumerate(ways.items()):
            progress(done, len(ways))
            place = out / "tried" / f"{UNSEEN}-{seed}" / name.replace(" ", "-")
            found = [
                kept(place / f"{case.number:05}.json", partial(gate, case, way)) for case in cases
            ]
            goes = np.array([one["goes"] for one in found])
            sure = np.array([one["sure"] for one in found])
            unseen = np.array([one["unseen"] for one in found])
            rows.append({
                "seed": seed, "shadow": name, "failing": float(failed.sum()),
                "right, %": 100.0 * float((goes != failed).mean()),
                "failing stopped, %": _percent(~goes[failed]),
                "good let go, %": _percent(goes[~failed]),
                "good, too little seen, %": _percent(unseen[~failed]),
                "Brier score": float(((sure - failed) ** 2).mean()),
                "devices, %": 100.0 * float(np.mean([one["devices"] for one in found])),
            })  # fmt: skip
    return rows


def gate(case: Changed, way: Way) -> dict[str, Any]:
    """Try a change in such a shadow: whether it goes, or would if the shadow showed enough of what
    it bears on; how sure a failure is; and the share of production's devices that the shadow had.
    """
    setting = case.setting
    scenario = replace(setting.scenario, shadow=way.plan)
    run = Run(scenario, late(way.lag_s), Silent(), setting.whatif, Journal(), past=setting.past)
    run.begin()
    if shadow_deployment(run):
        traffic_and_monitoring(run)
    forecast = variant("hybrid", setting.whatif).forecast(run.evidence("shadow"))
    failed, missing = hard_checks(run)
    known = [p for mode, p in forecast.probabilities.items() if mode not in forecast.unknown]
    sure, plan = max(known, default=0.5), scenario.workflow
    fits = not (failed or forecast.unknown or sure >= plan.inconclusive_above)
    devices = len(run.mirror.subset.devices) / len(scenario.topology.devices)
    run.shadow.close()
    run.production.close()
    return {
        "goes": fits and not missing, "unseen": fits and bool(missing),
        "sure": 1.0 if failed else sure, "devices": devices,
    }  # fmt: skip


def _percent(of: np.ndarray) -> float:
    return 100.0 * float(of.mean()) if len(of) else np.nan


def _answer(
    rows: pl.DataFrame, sizes: str, command: str, parameters: Mapping[str, object]
) -> Answer:
    columns = (
        "devices, %", "right, %", "failing stopped, %", "good let go, %",
        "good, too little seen, %", "Brier score",
    )  # fmt: skip
    parts = {name: part for (name,), part in rows.group_by("shadow", maintain_order=True)}
    right = {name: part["right, %"].to_list() for name, part in parts.items()}
    more = {
        name: over_seeds([a - b for a, b in zip(values, right[FULL], strict=True)])
        for name, values in right.items()
    }
    table = pl.DataFrame([
        {"shadow": name, **{what: str(over_seeds(part[what].to_list())) for what in columns},
         "right, more than with all": str(more[name])}
        for name, part in parts.items()
    ])  # fmt: skip
    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, what in zip(panels, ("right, %", "Brier score"), strict=True):
        values = {name: part[what].to_list() for name, part in parts.items()}
        dots(axes, {name: over_seeds(of) for name, of in values.items()}, values)
        axes.set_xlabel(what)
    return Answer(
        name="how_much_shadow", question=QUESTION, said=_in_words(more, right), sizes=sizes,
        command=command, table=table, rows=rows, figure=figure, parameters=parameters,
        metrics={f"right/{name}": float(np.mean(values)) for name, values in right.items()},
    )  # fmt: skip


def _in_words(more: Mapping[str, Interval], right: Mapping[str, list[float]]) -> str:
    worse = [f"{name} ({one} points)" for name, one in more.items() if one.is_below]
    apart = [
        f"{name} ({one} points)"
        for name, one in more.items()
        if not one.is_below and not np.allclose(right[name], right[FULL])
    ]
    return (
        f"**Of the decisions at the gate {over_seeds(right[FULL])} % are right with a shadow of all"
        " of production. Fewer, with an interval that does not hold 0:"
        f" {', '.join(worse) or 'none'}.** Different in the mean, with an interval that holds 0:"
        f" {', '.join(apart) or 'none'}."
    )


if __name__ == "__main__":
    answering(main)
