"""A folder of runs to how the commits stand whose runs did not come to their end there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from shadowsim.commit.disk import RealDisk
from shadowsim.commit.generations import TAKEN_OVER, Place, endings
from shadowsim.commit.hold import beside, commits_in
from shadowsim.commit.settle import OPEN
from shadowsim.errors import ShadowsimError
from shadowsim.rollback.key import known_key

ALTERED = "altered"  # or not to be read, or made with another key


def lying(runs: Path) -> Counter[str]:
    """How many lie there, by the state that `Standing` would say, or ALTERED.

    A run that ends takes its commit into its own folder. So an open one belongs to a run that
    goes on, or to nobody; an ended one to a run that died. Asks no device, and writes nothing.
    """
    folders = sorted(runs.glob(beside(Path("*")).name))
    return Counter(_state(commit) for folder in folders for commit in commits_in(folder))


def _state(folder: Path) -> str:
    try:
        past = endings(Place(RealDisk(), folder, known_key() or b""))
    except (ShadowsimError, OSError):
        return ALTERED
    return past[-1].state if past and past[-1].state != TAKEN_OVER else OPEN
