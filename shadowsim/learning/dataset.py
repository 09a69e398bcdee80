"""The two tables of a history, looks and labels, to arrays that a model is fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from shadowsim.errors import BadInput, Mistake, choices
from shadowsim.model.truth import MODES
from shadowsim.precog.model import PHASES

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Names = npt.NDArray[np.str_]

KEYS = ("case", "network", "kind", "phase", "since_s")
LABELS = ("case", "network", "kind", *MODES, *(f"{mode}_at_s" for mode in MODES))


@dataclass(frozen=True, eq=False)
class Changes:
    """`C` changes of the past, by number: where, of which kind, and what came of them.

    `came[C, modes]`; `at_s[C, modes]`: seconds from the change to the failure, nan without one.
    """

    number: Ints
    network: Names
    kind: Names
    came: Bools
    at_s: Floats


@dataclass(frozen=True, eq=False)
class Table:
    """`R` looks at these changes: `change[R]` is an index into them; `x[R, features]`."""

    features: tuple[str, ...]
    changes: Changes
    change: Ints
    production: Bools
    since_s: Floats
    x: Floats

    def rows(self, phase: str, chosen: Bools) -> Ints:
        """The rows seen in this phase of the changes chosen (`[C]`)."""
        return np.flatnonzero((self.production == (phase == PHASES[1])) & chosen[self.change])

    def outcomes(self, rows: Ints, mode: int, horizon_s: float) -> tuple[Ints, Bools]:
        """The rows, of these, that are a question about a mode, and the answers.

        At the gate: whether it came at all. In production: whether it began within the horizon
        after the look; a look after its beginning is no question.
        """
        came = self.changes.came[self.change[rows], mode]
        ahead_s = self.changes.at_s[self.change[rows], mode] - self.since_s[rows]
        production = self.production[rows]
        open_ = ~(production & came & (ahead_s <= 0.0))
        answer = came & (~production | (ahead_s <= horizon_s))
        return rows[open_], answer[open_]

    def ahead_s(self, rows: Ints) -> Floats:
        """`[R]`: seconds from these rows (at the gate: from the change) to the first failure that
        is still to come; nan where none is.
        """
        since = np.where(self.production[rows], self.since_s[rows], 0.0)
        ahead = self.changes.at_s[self.change[rows]] - since[:, None]
        ahead = np.where(ahead > 0.0, ahead, np.inf).min(axis=1)
        return np.where(np.isfinite(ahead), ahead, np.nan)


def table(looks: pl.DataFrame, labels: pl.DataFrame, features: Sequence[str]) -> Table:
    """The arrays of the two tables. Raises BadInput with everything that is wrong with them."""
    mistakes = [
        *_columns("looks", looks, (*KEYS, *features), features),
        *_columns("labels", labels, LABELS, ()),
    ]
    if not mistakes:
        mistakes = [*_looks(looks, features), *_labels(labels), *_join(looks, labels)]
    if mistakes:
        raise BadInput(mistakes)
    labels, looks = labels.sort("case"), looks.sort("case", "phase", "since_s")
    number = labels["case"].to_numpy()
    at_s = _matrix(labels, [f"{mode}_at_s" for mode in MODES])
    came = labels.select(MODES).to_numpy()
    changes = Changes(
        number,
        _names(labels["network"]),
        _names(labels["kind"]),
        came,
        np.where(came, at_s, np.nan),
    )
    return Table(
        tuple(features),
        changes,
        np.searchsorted(number, looks["case"].to_numpy()),
        (looks["phase"] == PHASES[1]).to_numpy(),
        looks["since_s"].to_numpy(),
        _matrix(looks, features),
    )


def _columns(
    what: str, frame: pl.DataFrame, wanted: Sequence[str], features: Sequence[str]
) -> list[Mistake]:
    if frame.is_empty():
        return [Mistake(f"no past changes: the {what} are empty", what)]
    lacking = [name for name in wanted if name not in frame.columns]
    if not lacking:
        return []
    there = [name for name in frame.columns if "." not in name]
    of = "a history for other features" if set(lacking) <= set(features) else "not a history"
    more = f", and {len(lacking) - 1} more" if len(lacking) > 1 else ""
    return [Mistake(f"{of}: no column '{lacking[0]}'{more}; {choices(lacking[0], there)}", what)]


def _looks(looks: pl.DataFrame, features: Sequence[str]) -> list[Mistake]:
    found = _missing("looks", looks, KEYS)
    wrong = [name for name in ("since_s", *features) if not looks[name].dtype.is_numeric()]
    if wrong:
        return [*found, Mistake(f"'{wrong[0]}' holds no numbers", "looks")]
    foreign = sorted(set(looks["phase"].drop_nulls()) - set(PHASES))
    if foreign:
        text = f"there is no phase '{foreign[0]}'; {choices(foreign[0], PHASES)}"
        found.append(Mistake(text, "looks"))
    # A feature may be unknown, never infinite: that would be a mistake in how it is computed.
    found += [
        Mistake(f"'{name}' is infinite in {int(count)} rows", "looks")
        for name, count in looks.select(
            pl.col(features).cast(pl.Float64).is_infinite().sum()
        ).row(0, named=True).items()
        if count
    ]  # fmt: skip
    return found


def _labels(labels: pl.DataFrame) -> list[Mistake]:
    found = _missing("labels", labels, LABELS[: 3 + len(MODES)])
    if labels["case"].is_duplicated().any():
        found.append(Mistake("a change has two labels", "labels"))
    for mode in MODES:
        if labels[mode].dtype != pl.Boolean:
            found.append(Mistake(f"'{mode}' says something else than yes and no", "labels"))
            continue
        if labels[mode].n_unique() == 1:
            all_ = "every change" if labels[mode][0] else "no change"
            text = f"{all_} of this history led to a {mode}: there is nothing to tell apart"
            found.append(Mistake(text, "labels"))
        came = labels.filter(pl.col(mode))[f"{mode}_at_s"].cast(pl.Float64)
        if came.is_null().any() or came.is_nan().any() or (came < 0).any():
            found.append(Mistake(f"a {mode} came, and '{mode}_at_s' says no time", "labels"))
    return found


def _missing(what: str, frame: pl.DataFrame, names: Sequence[str]) -> list[Mistake]:
    found = []
    for name in names:
        column = frame[name]
        missing = column.null_count()
        if column.dtype.is_float():
            missing += int(column.is_nan().sum())
        if missing:
            found.append(Mistake(f"'{name}' is missing in {missing} rows", what))
    return found


def _join(looks: pl.DataFrame, labels: pl.DataFrame) -> list[Mistake]:
    if looks["case"].dtype != pl.Int64 or labels["case"].dtype != pl.Int64:
        return [Mistake("'case' is not a number", "looks and labels")]
    stray = looks.join(labels, on="case", how="anti")
    if stray.is_empty():
        return []
    return [Mistake(f"change {stray['case'][0]} was looked at, and has no label", "labels")]


def _matrix(frame: pl.DataFrame, names: Sequence[str]) -> Floats:
    columns = frame.select(pl.col(names).cast(pl.Float64).fill_null(float("nan")))
    found: Floats = np.ascontiguousarray(columns.to_numpy())
    return found


def _names(column: pl.Series) -> Names:
    return np.array(column.to_list(), dtype=np.str_)
