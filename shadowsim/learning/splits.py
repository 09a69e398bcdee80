"""Past changes to folds that share no network, and no kind of change with those held out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shadowsim.errors import BadInput
from shadowsim.history.folds import KNOWN, UNSEEN, VALIDATION, fold_of, is_held_out
from shadowsim.learning.dataset import Bools, Changes, Ints, Names

# What part of the changes on known networks each fold is to get; whole networks go to one fold.
SHARES = {"train": 0.65, "calibration": 0.18, "stack": 0.17}
FOLDS = (*SHARES, "validation", "test", "new kind")
FOLD_OF = {KNOWN: KNOWN, VALIDATION: "validation", UNSEEN: "test"}
TESTS = {VALIDATION: "validation", UNSEEN: "test"}
LEAST_NETWORKS = 12


@dataclass(frozen=True, eq=False)
class Splits:
    """`fold[C]`: of each change, one of FOLDS.

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
    """Share out the changes. Networks and kinds that are tested on are so for good, by name
    (`history.folds`); what becomes of the known ones is the seed's.

    Raises BadInput where there are too few networks.
    """
    networks, place = np.unique(changes.network, return_inverse=True)
    folds = np.array([FOLD_OF[fold_of(str(network))] for network in networks], dtype="<U16")
    fold = folds[place]
    known = np.flatnonzero(fold == KNOWN)
    count = len(np.unique(changes.network[known]))
    if count < LEAST_NETWORKS:
        raise BadInput(
            f"the history has {count} networks to learn from; {LEAST_NETWORKS} are needed, so that "
            "a model can be calibrated where it has not been"
        )
    shares = np.array(list(SHARES.values()))
    part = share_out(changes.network[known], shares, np.random.default_rng([seed, 1]))
    fold[known] = np.array(list(SHARES))[part]
    kinds, place = np.unique(changes.kind, return_inverse=True)
    held_out = np.array([is_held_out(str(kind)) for kind in kinds])
    fold = np.where(held_out[place] & (fold != "test"), "new kind", fold)
    return Splits(fold, tuple(kinds[held_out].tolist()), changes.kind)


def split_for_tests(changes: Changes) -> Splits:
    """The changes on networks that nothing is fitted to; those on known ones are in no fold."""
    fold = np.array([TESTS.get(fold_of(str(name)), "") for name in changes.network], dtype="<U16")
    new = np.array([is_held_out(str(kind)) for kind in changes.kind])
    fold = np.where(new & (fold == "validation"), "", fold)
    return Splits(fold, tuple(sorted(set(changes.kind[new].tolist()))), changes.kind)


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
