"""Past changes to folds that share no network, and no kind of change with those held out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shadowsim.errors import BadInput
from shadowsim.learning.dataset import Bools, Changes, Ints, Names

# What part of the changes each fold is to get; whole networks go to one fold.
SHARES = {"train": 0.55, "calibration": 0.15, "validation": 0.1, "test": 0.2}
KINDS_SHARE = 0.15  # of the changes, at most about: those of kinds that only tests see
LEAST_NETWORKS = 12


@dataclass(frozen=True, eq=False)
class Splits:
    """`fold[C]`: of each change, one of SHARES, or "new kind".

    Networks of one fold are in no other. Kinds in `held_out` are in no fold but "test", which has
    networks of its own, and "new kind", whose networks the others have too.
    """

    fold: Names
    held_out: tuple[str, ...]
    kind: Names

    def of(self, name: str) -> Bools:
        """`[C]`: which changes are in this fold."""
        found: Bools = self.fold == name
        return found

    def slices(self) -> dict[str, Bools]:
        """The tests, by what is new in them."""
        new = np.isin(self.kind, self.held_out)
        return {
            "new network": self.of("test") & ~new,
            "new network and kind": self.of("test") & new,
            "new kind": self.of("new kind"),
        }


def split(changes: Changes, seed: int) -> Splits:
    """Share out the changes. Raises BadInput where there are too few networks or kinds."""
    networks, kinds = np.unique(changes.network), np.unique(changes.kind)
    if len(networks) < LEAST_NETWORKS:
        raise BadInput(
            f"the history knows {len(networks)} networks; {LEAST_NETWORKS} are needed, so that a "
            "model can be tested where it has never been"
        )
    if len(kinds) < 2:
        raise BadInput(
            "the history knows one kind of change; without a second none can be held out"
        )
    random = np.random.default_rng([seed, 1])
    held_out = _held_out(changes.kind, random)
    shares = np.array(list(SHARES.values()))
    fold = np.array(list(SHARES))[share_out(changes.network, shares, random)]
    new = np.isin(changes.kind, held_out)
    fold = np.where(new & (fold != "test"), "new kind", fold)
    return Splits(fold, tuple(held_out.tolist()), changes.kind)


def share_out(group: Names, shares: npt.NDArray[np.float64], random: np.random.Generator) -> Ints:
    """`[C]`: the part that each row goes to, so that rows of one group stay together.

    Groups are drawn in a random order, the large ones first; each goes to the part that then lacks
    most of what it should have.
    """
    names, index, sizes = np.unique(group, return_inverse=True, return_counts=True)
    order = random.permutation(len(names))
    order = order[np.argsort(-_scale(sizes[order]), kind="stable")]
    part, has = np.zeros(len(names), np.int64), np.zeros(len(shares))
    for number in order:
        part[number] = np.argmax(shares * len(group) - has)
        has[part[number]] += sizes[number]
    return part[index]


def _scale(sizes: Ints) -> Ints:
    # Sizes within a factor of two count as the same, or chance would have no say.
    return np.floor(np.log2(sizes)).astype(np.int64)


def _held_out(kind: Names, random: np.random.Generator) -> Names:
    """Kinds drawn until their changes are the wanted share; at least one, never all."""
    names, sizes = np.unique(kind, return_counts=True)
    order = random.permutation(len(names))
    within = np.cumsum(sizes[order]) <= KINDS_SHARE * len(kind)
    return np.sort(names[order[: max(int(within.sum()), 1)]])
