"""How early can a rollback be triggered, and how many false ones does that cost?

Every change is deployed, whatever the gate would say, and production is looked at every two
seconds. The lower the bound above which it is taken back, the earlier a failing change is, and the
more good ones are too.

    python experiments/how_early.py [--seeds 5] [--changes 16] [--quick]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
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
    over_seeds,
    quicker,
    tell,
)
from changes import Changed, changes_of, tapes_of
from figures import line
from matplotlib.figure import Figure
from said import all_said

from shadowsim.env.actions import WHOLE
from shadowsim.env.policies import Seen, by_hand
from shadowsim.env.pool import pool
from shadowsim.env.worlds import EVERY_S
from shadowsim.history.folds import UNSEEN
from shadowsim.model.truth import MODES
from shadowsim.precog.supervised import standing_model

QUESTION = "How early can a rollback be triggered?"
BOUNDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
ROLLBACK_S = 1.1  # the median time of one (`shadowsim bench revert-time`)
FIRST_S = EVERY_S + ROLLBACK_S  # from go, when the first rollback could be over
COUNTS_S = 3.0  # for which an outage has to last to be one
HAND = "rule by hand"
MEASURES = ("false rollbacks, %", "before it begins, %", "before it counts, %", "lead, s")

Floats = npt.NDArray[np.float64]
Look = tuple[float, float]  # seconds since go, how sure


def main(
    quick: Quick = False, seeds: Seeds = 5, changes: Changes = 240,
    tapes: Tapes = RUNS / "tapes", out: Out = RUNS / "how_early",
    docs: Docs = DOCUMENT, mlflow: Mlflow = TRACKED,
) -> None:  # fmt: skip
    """How early can a rollback be triggered, and how many false ones does that cost?"""
    if quick:
        seeds, changes, tapes, out = 2, 2, quicker(tapes), quicker(out)
    rows = pl.DataFrame([row for seed in range(seeds) for row in of_seed(seed, changes, tapes)])
    sizes = (
        f"Intervals over {seeds} seeds of {changes} changes each on unseen networks, 4 on each, of"
        f" which {int(rows.filter(pl.col('variant') == HAND)['failing'].sum())} fail; all are"
        " deployed. *Before it counts*: before it has lasted for 3 s. *Lead*: from the trigger to"
        " the beginning of the failure, the median; below 0 the trigger comes after it."
        f" A rollback is taken to last {ROLLBACK_S} s."
    )
    command = f"python experiments/how_early.py --seeds {seeds} --changes {changes}"
    given = {"seeds": seeds, "changes": changes}
    tell(_answer(rows, sizes, command, given), out, None if quick else docs, mlflow)


def of_seed(seed: int, changes: int, tapes: Path) -> list[dict[str, object]]:
    """One row for each variant and bound: what it reaches on the changes of a seed."""
    cases = list(changes_of(tapes_of(tapes, UNSEEN, seed, changes)))
    hybrid = all_said(cases, "hybrid", tapes / "said" / f"{UNSEEN}-{seed}")
    fails_s = [one.fails_s for one in hybrid]
    watched = {
        "hybrid": [_sure(case, one.chances) for case, one in zip(cases, hybrid, strict=True)],
        "supervised": [_sure(case, _supervised(case)) for case in cases],
    }
    rows: list[dict[str, object]] = []
    for name, looks in watched.items():
        for bound in BOUNDS:
            rows.append({"variant": name, "bound": bound, **reached(looks, fails_s, bound)})
    by_rule = [_sure(case, _ruled(case)) for case in cases]
    rows.append({"variant": HAND, "bound": None, **reached(by_rule, fails_s, 0.5)})
    return [{"seed": seed, **row} for row in rows]


def _sure(case: Changed, chances: Floats) -> list[Look]:
    """The looks at production that has the change after the whole trial; who does not know is not
    sure.
    """
    tape = case.tape
    there = np.flatnonzero(tape.world == tape.trial - 1)
    worst = np.nan_to_num(chances[there]).max(axis=1)
    return list(zip(tape.since_s[there].tolist(), worst.tolist(), strict=True))


def _supervised(case: Changed) -> Floats:
    """What the supervised model says at every look, `[R, MODES]`."""
    found, model = np.full((len(case.tape.world), len(MODES)), np.nan), standing_model()
    production = case.tape.world >= 0
    look = model.look(case.tape.features[production], "production")
    found[production] = np.where(look.unknown, np.nan, look.probabilities)
    return found


def _ruled(case: Changed) -> Floats:
    """1 where the rule by hand takes it back."""
    episode = pool([case.tape])
    looks = np.arange(len(episode.masks))
    acts = by_hand(Seen(episode.names, episode.observations, episode.masks, looks)) >= WHOLE
    return np.repeat(acts[:, None].astype(float), len(MODES), axis=1)


def reached(
    looks: Sequence[Sequence[Look]], fails_s: Sequence[float], bound: float
) -> Mapping[str, float]:
    """What a bound reaches, in the columns of MEASURES; nan where there is nothing to say it of."""
    at_s = np.array([
        next((since_s for since_s, sure in of if sure > bound), np.inf) for of in looks
    ])  # fmt: skip
    fails = np.array(fails_s)
    failing = np.isfinite(fails)
    back_s, triggered = at_s + ROLLBACK_S, np.isfinite(at_s)
    lead_s = (fails - at_s)[failing & triggered]
    return {
        "failing": float(failing.sum()),
        "at once": float((fails[failing] < FIRST_S).sum()),
        "false rollbacks, %": _percent(triggered[~failing]),
        "before it begins, %": _percent(back_s[failing] <= fails[failing]),
        "before it counts, %": _percent(back_s[failing] <= fails[failing] + COUNTS_S),
        "lead, s": float(np.median(lead_s)) if len(lead_s) else np.nan,
    }


def _percent(of: npt.NDArray[np.bool_]) -> float:
    return 100.0 * float(of.mean()) if len(of) else np.nan


def _answer(
    rows: pl.DataFrame, sizes: str, command: str, parameters: Mapping[str, object]
) -> Answer:
    found: dict[tuple[str, float | None], dict[str, Interval]] = {
        (name, bound): {what: over_seeds(part[what].to_list()) for what in MEASURES}
        for (name, bound), part in rows.group_by("variant", "bound", maintain_order=True)
    }
    of_rule = rows.filter(pl.col("variant") == HAND)
    counted = int(of_rule["failing"].sum()), int(of_rule["at once"].sum())
    table = pl.DataFrame([
        {"variant": name, "bound": "-" if bound is None else f"{bound:g}",
         **{what: str(one) for what, one in of.items()}}
        for (name, bound), of in found.items()
    ])  # fmt: skip
    return Answer(
        name="how_early", question=QUESTION, said=_in_words(*counted, found), sizes=sizes,
        command=command, table=table, rows=rows, figure=_figure(found), parameters=parameters,
        metrics={f"{n}/{b}/{what}": one.mean for (n, b), of in found.items()
                 for what, one in of.items()},
    )  # fmt: skip


def _in_words(
    failing: int, at_once: int, found: Mapping[tuple[str, float | None], Mapping[str, Interval]]
) -> str:
    first, usual = (found["hybrid", bound] for bound in (BOUNDS[0], 0.5))
    words = [
        f"**{at_once} of the {failing} failing changes fail within {FIRST_S:.1f} s, before a first"
        " look at production and a rollback could be over: nobody can have those back before they"
        " begin.**",
        f"With `hybrid` and a bound of {BOUNDS[0]}, {first['before it begins, %']} % of the"
        " failing changes are back before the failure begins, for"
        f" {first['false rollbacks, %']} % false rollbacks; with 0.5,"
        f" {usual['before it begins, %']} % for {usual['false rollbacks, %']} %.",
        f"Before it has lasted for {COUNTS_S:.0f} s: {first['before it counts, %']} % and"
        f" {usual['before it counts, %']} %.",
    ]
    return " ".join(words)


def _figure(found: Mapping[tuple[str, float | None], Mapping[str, Interval]]) -> Figure:
    figure = Figure(figsize=(8.0, 3.4), layout="constrained")
    for axes, what in zip(figure.subplots(1, 2), ("before it counts, %", "lead, s"), strict=True):
        for n, name in enumerate(("hybrid", "supervised", HAND)):
            of = [one for (variant, _), one in found.items() if variant == name]
            at = [one["false rollbacks, %"].mean for one in of]
            line(axes, at, [one[what] for one in of], name, n)
        axes.set_xlabel("false rollbacks: good changes taken back, %", fontsize=8.5)
        axes.set_ylabel(what)
    axes.legend(fontsize=8.5, frameon=False)
    return figure


if __name__ == "__main__":
    answering(main)
