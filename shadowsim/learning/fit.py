"""A table of past changes to a model: ensembles of boosted trees, calibrated, that can abstain."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from shadowsim import __version__
from shadowsim.learning.calibration import beta, conformal_bound
from shadowsim.learning.dataset import Bools, Floats, Ints, Table
from shadowsim.learning.extract import Grown, grown, trees_of
from shadowsim.learning.splits import Splits, share_out
from shadowsim.model.truth import MODES
from shadowsim.precog.model import PHASES, Model, PhaseModel
from shadowsim.precog.trees import Trees

MEMBERS = 4
LEAST_ROWS = 20  # of a mode that came, in a fold: with fewer there is a rate, and no trees
LEAST_CHANGES = 8
ABSTAIN = 0.02  # the share of rows like those of training that may be called strange or disputed
LEAST_APART = 0.5  # members that are nearer than this agree: else much of what fails were withheld
HORIZON_S = 15.0

Told = Callable[[str], None]
Answers = tuple[Ints, npt.NDArray[Any]]


@dataclass(frozen=True)
class Growing:
    """How the trees grow."""

    learning_rate: float = 0.1
    most_trees: int = 300
    most_leaves: int = 15
    least_rows: int = 40  # in a leaf
    l2: float = 1.0
    patience: int = 15  # trees that may fail to improve on the networks left out


DEFAULT = Growing()


def fit(
    table: Table,
    splits: Splits,
    seed: int,
    *,
    data_seed: int | None = None,
    horizon_s: float = HORIZON_S,
    growing: Growing = DEFAULT,
    jobs: int = 1,
    tell: Told = lambda _: None,
) -> Model:
    """Fit to the fold "train", calibrate on the fold "calibration".

    The same seed gives the same model, with any number of jobs. A mode that hardly ever comes in a
    phase gets the rate at which it does.
    """
    # One thread for each ensemble member; threads that share a tree wait for each other too much.
    with ThreadPoolExecutor(jobs, initializer=_one_thread) as pool:
        fitting = _Fitting(table, splits, seed, horizon_s, growing, pool, tell)
        phases = {phase: fitting.phase(phase) for phase in PHASES}
    versions = {"shadowsim": __version__, "scikit-learn": sklearn.__version__}
    return Model(
        features=table.features,
        phases=phases,
        horizon_s=horizon_s,
        seed=seed,
        data_seed=data_seed,
        versions={**versions, "numpy": np.__version__},
        card="",
    )


@dataclass(frozen=True)
class _Fitting:
    table: Table
    splits: Splits
    seed: int
    horizon_s: float
    growing: Growing
    pool: Executor
    tell: Told

    def phase(self, phase: str) -> PhaseModel:
        train = self.table.rows(phase, self.splits.of("train"))
        held = self.table.rows(phase, self.splits.of("calibration"))
        quarter = self._quarters(train)
        begun: list[Future[Grown]] = []
        for mode in range(len(MODES)):
            begun += self._members(train, quarter, held, mode)
        begun.append(self._time(train, quarter))
        outputs = []
        for number, one in enumerate(begun, start=1):
            outputs.append(one.result())
            self.tell(f"{phase}: {number} of {len(begun)} ensembles")
        trees = trees_of(outputs, len(self.table.features))
        raw = trees.raw(self.table.x[held])
        numbers = [self._calibration(raw, held, mode) for mode in range(len(MODES))]
        return self._bounded(trees, np.array(numbers).T, train, held, raw)

    def _quarters(self, rows: Ints) -> Ints:
        """Which member's trees stop by these rows: networks stay together."""
        network = self.table.changes.network[self.table.change[rows]]
        shares = np.full(MEMBERS, 1.0 / MEMBERS)
        return share_out(network, shares, np.random.default_rng([self.seed, 3]))

    def _members(self, train: Ints, quarter: Ints, held: Ints, mode: int) -> list[Future[Grown]]:
        rows, came = self.table.outcomes(train, mode, self.horizon_s)
        _, held_came = self.table.outcomes(held, mode, self.horizon_s)
        part = quarter[np.searchsorted(train, rows)]
        few = [_few(self.table, rows[part != n], came[part != n], 4) for n in range(MEMBERS)]
        if _few(self.table, rows, came, LEAST_CHANGES) or not held_came.any() or any(few):
            return [self.pool.submit(Grown, _log_odds(came), ())] * MEMBERS
        return [self._grow(_classifier, rows, came, part == n, (mode, n)) for n in range(MEMBERS)]

    def _time(self, train: Ints, quarter: Ints) -> Future[Grown]:
        ahead = self.table.ahead_s(train)
        known = np.flatnonzero(np.isfinite(ahead))
        log_s = np.log(np.maximum(ahead[known], 0.1))
        left_out = quarter[known] == 0
        if min(left_out.sum(), (~left_out).sum()) < LEAST_ROWS:
            return self.pool.submit(Grown, float(np.median(log_s)) if known.size else 0.0, ())
        return self._grow(_regressor, train[known], log_s, left_out, (len(MODES), 0))

    def _grow(
        self, make: Callable[..., Any], rows: Ints, y: npt.NDArray[Any], out: Bools,
        which: tuple[int, int],
    ) -> Future[Grown]:  # fmt: skip
        """Trees from the rows that are not left out, as many as serve best those that are."""
        seed = np.random.default_rng([self.seed, 4, *which]).integers(2**31)
        model = make(self.growing, int(seed))
        return self.pool.submit(
            _grow, model, self.table.x, (rows[~out], y[~out]), (rows[out], y[out])
        )

    def _calibration(self, raw: Floats, held: Ints, mode: int) -> Floats:
        rows, came = self.table.outcomes(held, mode, self.horizon_s)
        asked = np.searchsorted(held, rows)
        scores = raw[asked, mode * MEMBERS : (mode + 1) * MEMBERS].mean(axis=1)
        if not len(scores) or np.ptp(scores) == 0.0:
            return np.array([1.0, 1.0, 0.0])
        return beta(scores, came)

    def _bounded(
        self, trees: Trees, calibration: Floats, train: Ints, held: Ints, raw: Floats
    ) -> PhaseModel:
        """With the bounds beyond which a row is strange, or a mode of it disputed."""
        low, high, always = _range(self.table.x[train])
        made = PhaseModel(
            MEMBERS, trees, calibration, np.zeros(len(MODES)), low, high, always, 0
        )  # fmt: skip
        x = self.table.x[held]
        apart = made.look(x).apart
        outside = conformal_bound(made.outside(x).astype(np.float64), ABSTAIN)
        most = len(low) if not np.isfinite(outside) else int(outside)
        bounds = np.array([conformal_bound(column, ABSTAIN) for column in apart.T])
        return PhaseModel(
            MEMBERS, trees, calibration, np.clip(bounds, LEAST_APART, 1.0), low, high, always, most
        )


def _grow(model: Any, x: Floats, fitted: Answers, left_out: Answers) -> Grown:
    (rows, y), (rows_out, y_out) = fitted, left_out
    mine = x[rows]
    # scikit-learn 1.9 cannot bin a column without a value; one that is constant is never asked.
    mine[:, np.isnan(mine).all(axis=0)] = 0.0
    model.fit(mine, y, X_val=x[rows_out], y_val=y_out)
    return grown(model, int(np.argmax(model.validation_score_)))


def _one_thread() -> None:
    threadpool_limits(1, user_api="openmp")


def _few(table: Table, rows: Ints, came: Bools, least: int) -> bool:
    """Whether there is too little of either answer to learn from."""
    return min(_changes(table, rows[came]), _changes(table, rows[~came])) < least or (
        least > 1 and min(came.sum(), (~came).sum()) < LEAST_ROWS
    )


def _changes(table: Table, rows: Ints) -> int:
    return len(np.unique(table.change[rows]))


def _log_odds(came: Bools) -> float:
    """Of the rate at which it came, by Laplace's rule, so that nothing is impossible."""
    return float(np.log((came.sum() + 1.0) / ((~came).sum() + 1.0)))


def _range(x: Floats) -> tuple[Floats, Floats, Bools]:
    """The least and greatest of every feature, and whether it is there in every row."""
    known = np.isfinite(x)
    low: Floats = np.where(known, x, np.inf).min(axis=0, initial=np.inf)
    high: Floats = np.where(known, x, -np.inf).max(axis=0, initial=-np.inf)
    always: Bools = np.asarray(known.all(axis=0))
    return low, high, always


def _classifier(growing: Growing, seed: int) -> Any:
    return HistGradientBoostingClassifier(**_settings(growing, seed))


def _regressor(growing: Growing, seed: int) -> Any:
    return HistGradientBoostingRegressor(loss="absolute_error", **_settings(growing, seed))


def _settings(growing: Growing, seed: int) -> dict[str, Any]:
    return {
        "learning_rate": growing.learning_rate, "max_iter": growing.most_trees,
        "max_leaf_nodes": growing.most_leaves, "min_samples_leaf": growing.least_rows,
        "l2_regularization": growing.l2, "early_stopping": True, "scoring": "loss",
        "n_iter_no_change": growing.patience, "random_state": seed,
    }  # fmt: skip
