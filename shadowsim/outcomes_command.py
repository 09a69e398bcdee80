"""What real runs came to, to a better model or to none, and to how good forecasts were when.

`shadowsim train --from-outcomes`, and `shadowsim analytics --over-time`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from shadowsim.errors import BadInput, Mistake

if TYPE_CHECKING:
    from shadowsim.learning.duel import Duel
    from shadowsim.learning.monitoring import Drift
    from shadowsim.learning.outcomes import Outcomes
    from shadowsim.learning.retraining import Retrained
    from shadowsim.tracking import Tracking

Told = Callable[[str], None]


def learn_from_outcomes(
    store: Path, history: Sequence[Path], out: Path | None, seed: int, jobs: int,
    tracking: Tracking, tell: Told, as_json: bool,
) -> None:  # fmt: skip
    """Retrain, compare with the models in use, and promote what is better; say so either way.

    `out` names the model in use, if it is another. Raises BadInput, and then nothing was written.
    """
    from shadowsim.learning.looks import read
    from shadowsim.learning.monitoring import drift
    from shadowsim.learning.retraining import in_use, lacking, retrained

    target = out or place_of_use()
    champion = in_use(out or _standing())
    real = outcomes_of(store)
    past = read(history)
    moved = drift(real, champion, past.looks) if real.labels.height else None
    short = lacking(real)
    found = None if short else retrained(past, real, champion, seed, jobs, tell)
    if found is not None:
        _keep(found, target, tracking, seed)
    document = _document(target, real, found, moved, short)
    if as_json:
        typer.echo(json.dumps(document, indent=2))
    else:
        _show(target, real, found, moved, short)


def _standing() -> Path:
    from shadowsim.precog.supervised import model_path

    return model_path()


def place_of_use() -> Path:
    """Where a model has to lie to be the one in use: the one that came along is not written to."""
    from shadowsim.precog.supervised import user_model

    given = os.environ.get("SHADOWSIM_MODEL")
    return Path(given) if given else user_model()


def outcomes_of(store: Path) -> Outcomes:
    """What a store is good for. Raises BadInput if there is none, or it is damaged."""
    from shadowsim.history.observing import ASKED
    from shadowsim.learning.outcomes import tables
    from shadowsim.outcomes import OutcomeStore

    if not store.exists():
        raise BadInput([Mistake("no outcomes yet; 'shadowsim run' makes some", str(store))])
    with OutcomeStore(store) as opened:
        rows = opened.read()
    return tables(rows, store, ASKED)


def candidate_of(target: Path) -> Path:
    """Where the models lie that were made last, promoted or not."""
    return target.with_name(f"{target.stem}-candidate{target.suffix}")


def _keep(found: Retrained, target: Path, tracking: Tracking, seed: int) -> None:
    """Write the candidates, track them, and put them in use if they are better."""
    from shadowsim.precog.pair_file import save_pair
    from shadowsim.precog.supervised import beside

    fresh, hybrid = found.found.model, found.found.hybrid
    candidate = candidate_of(target)
    save_pair(fresh, hybrid, candidate)
    if found.better:
        save_pair(fresh, hybrid, target)
    parameters = {"seed": seed, "promoted": found.better, **fresh.versions}
    with tracking.run("train from outcomes", parameters, {"kind": "train"}) as run:
        run.metrics(_numbers(found.duels))
        run.model(candidate, "supervised")
        run.model(beside(candidate), "hybrid")
    if found.better:
        tracking.promote("supervised")
        tracking.promote("hybrid")


def _numbers(duels: Mapping[str, Duel]) -> dict[str, float]:
    return {
        f"{variant}/{name}/{which}": value
        for variant, duel in duels.items()
        for name, one in duel.figures.items()
        for which, value in (
            ("old", one.old), ("new", one.new), ("difference", one.difference.value),
        )
    }  # fmt: skip


def _document(
    target: Path, real: Outcomes, found: Retrained | None, moved: Drift | None,
    short: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    return {
        "model": str(target),
        "promoted": found is not None and found.better,
        "too_few": list(short),
        "used": dict(real.used),
        "unused": dict(real.unused),
        "compared": [] if found is None else [
            {
                "variant": variant, "changes": duel.changes, "groups": duel.groups,
                "figure": name, "old": _number(one.old), "new": _number(one.new),
                "difference": _number(one.difference.value),
                "low": _number(one.difference.low), "high": _number(one.difference.high),
            }
            for variant, duel in found.duels.items()
            for name, one in duel.figures.items()
        ],
        "drift": drift_document(moved),
    }  # fmt: skip


def drift_document(moved: Drift | None) -> list[dict[str, Any]]:
    """What has drifted, for JSON."""
    names = ("what", "of", "looks", "figure", "expected", "verdict")
    rows = [] if moved is None else moved.rows()
    return [dict(zip(names, map(_number, row), strict=True)) for row in rows]


def _number(value: Any) -> Any:
    finite = not isinstance(value, float) or abs(value) < float("inf")
    return value if finite and value == value else None


def _show(
    target: Path, real: Outcomes, found: Retrained | None, moved: Drift | None,
    short: Sequence[str],
) -> None:  # fmt: skip
    from shadowsim.live import print_table

    show_uses(real)
    if moved is not None:
        show_drift(moved)
    if found is None:
        typer.echo(f"too few outcomes: {'; '.join(short)}")
        typer.echo("nothing was trained or promoted; the model in use stays")
        return
    for variant, duel in found.duels.items():
        rows = [
            [name, one.old, one.new, one.difference.value, one.difference.low, one.difference.high]
            for name, one in duel.figures.items()
        ]
        title = f"{variant}, on {duel.changes} changes held out, of {duel.groups} groups"
        columns = ["figure", "in use", "candidate", "difference", "from", "to"]
        print_table(title, columns, [[_number(v) for v in row] for row in rows])
    typer.echo(_verdict(target, found))


def _verdict(target: Path, found: Retrained) -> str:
    duel = found.duels["hybrid"]
    if found.better:
        return f"promoted: the candidate is better by more than chance, and is now {target}"
    why = (
        "by more than chance it decides wrongly more often"
        if duel.worse
        else "its log loss is not lower by more than chance"
    )
    return f"not promoted: {why}; {target} stays in use"


def show_uses(real: Outcomes) -> None:
    """How many outcomes are used how, and how many are not, by why."""
    from shadowsim.live import print_table

    rows = [[how, "yes", number] for how, number in sorted(real.used.items())]
    rows += [[how, "no", number] for how, number in sorted(real.unused.items())]
    print_table("Outcomes", ["what came of it", "used", "runs"], rows)


def show_drift(moved: Drift) -> None:
    """What has drifted in the last outcomes."""
    from shadowsim.live import print_table

    columns = ["what", "of", "looks", "figure", "expected", "verdict"]
    print_table(f"Drift, of the last {moved.recent} outcomes", columns, moved.rows())
    if moved.shifts is not None and len(moved.shifts) > 10:
        typer.echo(f"{len(moved.shifts)} features have moved in all")


def export(
    rows: Sequence[Mapping[str, Any]], store: Path, path: Path, *, over_time: bool,
    window: int | None,
) -> None:  # fmt: skip
    """Write outcomes as a Parquet file: a row a run, or (over time) a row for each window, variant
    and failure mode. The file is there whole or not at all. Raises BadInput.
    """
    from io import BytesIO

    from shadowsim import analytics
    from shadowsim.batch.folder import keep, told
    from shadowsim.learning import overtime

    if path.suffix.lower() != ".parquet":
        raise BadInput([Mistake("outcomes are exported as .parquet", str(path))])
    by = overtime.by_week if window is None else overtime.by_runs(window)
    table = overtime.whole(rows, store, by) if over_time else analytics.whole(rows)
    data = BytesIO()
    table.write_parquet(data, compression="zstd")
    with told(path, "outcomes"):
        path.parent.mkdir(parents=True, exist_ok=True)
        keep(path, data.getvalue())


def show_over_time(
    rows: Sequence[Mapping[str, Any]], store: Path, window: int | None, plot: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Outcomes week by week (or by so many runs), causes found, and drift against the model."""
    from shadowsim.history.observing import ASKED
    from shadowsim.learning import overtime
    from shadowsim.learning.outcomes import tables
    from shadowsim.live import print_table

    by = overtime.by_week if window is None else overtime.by_runs(window)
    found = overtime.tables(rows, store, by)
    real = tables(rows, store, ASKED)
    moved, why = _moved(real)
    if as_json:
        names = (
            "accuracy", "time_to_rollback", "root_causes", "root_causes_found",
            "time_to_rollback_by_variant", "root_causes_by_variant", "root_causes_found_by_variant",
        )  # fmt: skip
        document: dict[str, Any] = {
            name: [{k: _number(v) for k, v in row.items()} for row in table.to_dicts()]
            for name, (_, table) in zip(names, found, strict=True)
        }
        document |= {"used": dict(real.used), "unused": dict(real.unused)}
        typer.echo(json.dumps({**document, "drift": drift_document(moved), "no_drift": why}))
    else:
        for title, table in found:
            print_table(title, table.columns, table.rows())
        show_uses(real)
        if moved is not None:
            show_drift(moved)
        else:
            typer.echo(f"drift is not known: {why}")
    if plot is not None:
        from shadowsim.plots import save_figure, weeks_figure

        save_figure(lambda: weeks_figure(found[0][1], found[1][1]), plot)


def _moved(real: Outcomes) -> tuple[Drift | None, str | None]:
    """Against the model in use; where that cannot be read, analytics go without, and say so."""
    from shadowsim.learning.monitoring import drift
    from shadowsim.learning.retraining import in_use

    if not real.labels.height:
        return None, "no outcome can be used"
    try:
        return drift(real, in_use(_standing())), None
    except BadInput as error:
        return None, str(error)
