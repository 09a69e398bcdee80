"""What variants said of past changes to a stack that has learned whom to believe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.optimize import minimize
from scipy.special import expit

from shadowsim.errors import BadInput
from shadowsim.learning.dataset import Bools, Changes, Floats, Table, table
from shadowsim.learning.fit import HORIZON_S
from shadowsim.learning.splits import Splits
from shadowsim.model.truth import MODES
from shadowsim.precog.model import PHASES, Model
from shadowsim.precog.stack import Stack, Weights, inputs
from shadowsim.precog.stacked import statements

STACK = "stack"  # the fold that no variant was fitted to, and no test is of
LEAST_NETWORKS = 4
RIDGE = 1.0  # on the weights: as much as one change that speaks against each


def with_supervised(looks: pl.DataFrame, model: Model) -> pl.DataFrame:
    """The looks with what a model says of each; nan where it abstains."""
    x = looks.select(model.features).cast(pl.Float64).to_numpy()
    said = np.full((looks.height, len(MODES)), np.nan)
    for phase in PHASES:
        rows = np.flatnonzero((looks["phase"] == phase).to_numpy())
        if rows.size:
            told = model.look(np.ascontiguousarray(x[rows]), phase)
            said[rows] = np.where(told.unknown, np.nan, told.probabilities)
    names = statements(["supervised"])
    return looks.with_columns(pl.Series(name, said[:, n]) for n, name in enumerate(names))


def stack(
    looks: pl.DataFrame,
    labels: pl.DataFrame,
    splits: Splits,
    variants: Sequence[str],
    seed: int,
) -> Stack:
    """Learn whom of the variants to believe, from the fold STACK alone. Raises BadInput."""
    found = table(looks, labels, statements(variants))
    mine = stackable(found.changes, splits)
    phases = {phase: _phase(found, mine, phase, len(variants)) for phase in PHASES}
    return Stack(tuple(variants), phases, seed)


def stackable(changes: Changes, splits: Splits) -> Bools:
    """The changes that a stack learns from. Raises BadInput if they are of too few networks."""
    mine = splits.of(STACK)
    networks = len(np.unique(changes.network[mine]))
    if networks < LEAST_NETWORKS:
        raise BadInput(
            f"the hybrid learns from networks that nothing else does, and there are {networks} of "
            f"these; {LEAST_NETWORKS} are needed, so make a longer history"
        )
    return mine


def _phase(found: Table, mine: Bools, phase: str, variants: int) -> Weights:
    rows = found.rows(phase, mine)
    fitted = [_mode(found, rows, mode, variants) for mode in range(len(MODES))]
    return Weights(
        np.array([f[:variants] for f in fitted]),
        np.array([f[variants:-1] for f in fitted]),
        np.array([f[-1] for f in fitted]),
    )


def _mode(found: Table, rows: np.ndarray, mode: int, variants: int) -> Floats:
    """Weights of what was said, of silence, and the bias: the most likely, less the ridge."""
    asked, came = found.outcomes(rows, mode, HORIZON_S)
    said = found.x[asked].reshape(len(asked), variants, len(MODES))
    # Where the last of them, which has learned, abstains, the hybrid does not go by the stack.
    heard = np.isfinite(said[:, -1, mode])
    said, came = said[heard], came[heard]
    odds, silent = inputs(said)
    x = np.hstack([odds[:, :, mode], silent[:, :, mode], np.ones((len(said), 1))])
    y = came.astype(np.float64)
    penalty = np.append(np.full(2 * variants, RIDGE), 1e-3)

    def loss(w: Floats) -> tuple[float, Floats]:
        z = x @ w
        value = np.logaddexp(0.0, z).sum() - y @ z + 0.5 * penalty @ w**2
        return float(value), x.T @ (expit(z) - y) + penalty * w

    bounds = [(0.0, None)] * variants + [(None, None)] * (variants + 1)
    start = np.zeros(x.shape[1])
    best: Floats = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x
    return best
