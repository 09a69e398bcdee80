"""A comparison to a page of Markdown with its figures beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from shadowsim.learning.comparison import LEARNED, Comparison
from shadowsim.learning.evaluation import Verdict
from shadowsim.learning.metrics import Interval
from shadowsim.model.truth import MODES
from shadowsim.plots.learning import calibration_figure, shares_figure

GOALS = (
    ("no_go_precision", "at least", 0.95),
    ("no_go_recall_of_signs", "at least", 0.998),
    ("rolled_back_before", "at least", 0.9),
    ("false_rollbacks", "at most", 0.01),
)
COLUMNS = {
    "no_go_precision": "precision of no-go",
    "no_go_recall_of_signs": "recall of no-go, of failures with a sign",
    "stopped": "failures stopped before production",
    "rolled_back_before": "slipped through: rolled back before the limit is broken",
    "rolled_back_in_time": "slipped through: rolled back before it counts as a failure",
    "rolled_back": "slipped through: rolled back at all",
    "false_rollbacks": "false rollbacks, of good changes let through",
    "false_refusals": "good changes refused",
    "inconclusive": "left to a person",
}


def write(found: Comparison, folder: Path) -> Path:
    """Write the page and its figures into a folder, and say where the page is. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    first = _of(found, found.slices[0])
    names = [verdict.variant for verdict in first]
    columns = {
        COLUMNS[name].split(",")[0]: [_triple(v.shares[name]) for v in first]
        for name in ("no_go_precision", "no_go_recall_of_signs", "stopped", "rolled_back_before")
    }
    shares_figure("On unseen networks", names, columns).savefig(folder / "decisions.png", dpi=110)
    for name in LEARNED:
        p, came = found.calibration[name]
        said = {mode: (p[:, n], came[:, n]) for n, mode in enumerate(MODES)}
        calibration_figure(said).savefig(folder / f"calibration-{name}.png", dpi=110)
    page = folder / "evaluation.md"
    page.write_text("\n".join(_lines(found)) + "\n")
    return page


def _lines(found: Comparison) -> Iterator[str]:
    yield "## The changes"
    yield from _table(found.makeup)
    yield f"Kinds of change held out of all that is learned: {', '.join(found.held_out)}."
    yield "\n## The goals"
    yield from _goals(found)
    for slice_ in found.slices:
        verdicts = _of(found, slice_)
        count = f"{verdicts[0].changes:,} changes, of which {verdicts[0].failures:,} fail"
        yield f"\n## {slice_.capitalize()}: {count}\n"
        yield from _decisions(verdicts)
    yield "\n![Decisions on unseen networks](decisions.png)"
    yield "\n## Per failure mode at the gate, on unseen networks"
    yield from _modes(_of(found, found.slices[0]))
    yield "\n![Calibration](calibration-hybrid.png)"
    yield "\n## What differs between seeds, on unseen networks"
    yield from _seeds(found)
    yield "\n## Failures with a sign that `hybrid` lets through, by kind of change"
    yield from _table(found.missed)
    yield "\n## Good changes that `hybrid` refuses or takes back, by kind of change"
    yield from _table(found.wronged)
    yield "\n## All failures that `hybrid` lets through"
    yield from _table(found.through)


def _of(found: Comparison, slice_: str) -> list[Verdict]:
    return [verdict for verdict in found.verdicts if verdict.slice == slice_]


def _goals(found: Comparison) -> Iterator[str]:
    hybrid = next(v for v in found.verdicts if v.variant == "hybrid")
    yield "| of `hybrid`, on unseen networks | goal | found | |\n|---|---|---|---|"
    for name, how, bound in GOALS:
        share = hybrid.shares[name]
        met = share.value >= bound if how == "at least" else share.value <= bound
        yield f"| {COLUMNS[name]} | {how} {bound:g} | {share} | {_met(met)} |"
    for mode in MODES:
        error = hybrid.modes[mode]["ECE"]
        yield (
            f"| expected calibration error, {mode} | below 0.03 | {error} | "
            f"{_met(error.value < 0.03)} |"
        )


def _met(met: bool) -> str:
    return "met" if met else "MISSED"


def _decisions(verdicts: Sequence[Verdict]) -> Iterator[str]:
    yield f"| variant | {' | '.join(COLUMNS.values())} | lead time, median |"
    yield "|---" * (len(COLUMNS) + 2) + "|"
    for verdict in verdicts:
        shares = " | ".join(_share(verdict.shares[name]) for name in COLUMNS)
        lead = f"{verdict.lead_s:.1f} s" if np.isfinite(verdict.lead_s) else "-"
        yield f"| {verdict.variant} | {shares} | {lead} |"


def _modes(verdicts: Sequence[Verdict]) -> Iterator[str]:
    names = list(next(iter(verdicts[0].modes.values())))
    yield f"| variant | failure mode | {' | '.join(names)} |"
    yield "|---" * (len(names) + 2) + "|"
    for verdict in verdicts:
        for mode, figures in verdict.modes.items():
            told = " | ".join(_figure(figures[name]) for name in names)
            yield f"| {verdict.variant} | {mode.replace('_', ' ')} | {told} |"


def _seeds(found: Comparison) -> Iterator[str]:
    yield f"| variant | {' | '.join(COLUMNS[name] for name, *_ in GOALS)} |"
    yield "|---" * (len(GOALS) + 1) + "|"
    for variant in LEARNED:
        cells = []
        for name, *_ in GOALS:
            values = np.array([one[variant].shares[name].value for one in found.of_seeds])
            cells.append(f"{np.nanmean(values):.3f} ({np.nanmin(values):.3f} to "
                         f"{np.nanmax(values):.3f})")  # fmt: skip
        yield f"| {variant}, {len(found.of_seeds)} seeds: mean (range) | {' | '.join(cells)} |"


def _share(share: Interval) -> str:
    if not np.isfinite(share.value):
        return "-"
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"


def _figure(figure: Interval) -> str:
    return str(figure) if np.isfinite(figure.value) else "-"


def _triple(share: Interval) -> tuple[float, float, float]:
    return share.value, share.low, share.high


def _table(frame: pl.DataFrame) -> Iterator[str]:
    yield f"| {' | '.join(name.replace('_', ' ') for name in frame.columns)} |"
    yield "|---" * len(frame.columns) + "|"
    for row in frame.iter_rows(named=True):
        yield f"| {' | '.join(_cell(row))} |"
    yield ""


def _cell(row: Mapping[str, object]) -> list[str]:
    return [f"{v:.1%}" if isinstance(v, float) else str(v) for v in row.values()]
