"""States of one network to planes, paths and verdicts: those of the last states are remembered.

Networks that run side by side, or one after another, come through the same states: a change in
production through those of the shadow, and every change of a site from the same one on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from shadowsim.dataplane.forwarding import Addresses, Compiler, Physical
from shadowsim.dataplane.loading import Loader, Routed
from shadowsim.dataplane.plane import Plane
from shadowsim.dataplane.verify import Verdict, Verifier
from shadowsim.model.change import Configs
from shadowsim.model.intents import Intents
from shadowsim.model.topology import Topology
from shadowsim.model.traffic import Demand

MOST, MOST_BYTES = 32, 2**26  # states that are remembered, and what their planes may take


@dataclass(frozen=True)
class _State:
    """A plane and what it is the plane of; what follows from it is found when it is asked for."""

    atoms: bytes
    physical: Physical
    configs: Configs
    plane: Plane
    loader: Loader
    verifier: Verifier

    @cached_property
    def routed(self) -> Routed:
        return self.loader.route(self.plane)

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        return self.verifier.check(self.plane, witnesses=False)

    def is_of(self, atoms: bytes, physical: Physical, configs: Configs) -> bool:
        # Maps do not look into what is the same object, as nearly all configs are.
        return self.atoms == atoms and self.physical == physical and self.configs == configs


class Worked:
    """Compiles, routes and verifies for one topology, its demands and intents.

    All of it is a pure function of the arguments; what is remembered only saves time.
    """

    def __init__(self, topology: Topology, demands: Sequence[Demand], intents: Intents) -> None:
        self.loader = Loader(topology, demands)
        self.verifier = Verifier(topology, intents.paths)
        self._compiler = Compiler(topology)
        self._states: list[_State] = []  # the last that was asked for first

    def plane(self, configs: Configs, physical: Physical, atoms: Addresses) -> Plane:
        """The plane of these configs, with atoms at least as fine as these."""
        key = atoms.tobytes()
        found = next((s for s in self._states if s.is_of(key, physical, configs)), None)
        if found is None:
            plane = self._compiler.compile(configs, physical, atoms)
            found = _State(key, physical, dict(configs), plane, self.loader, self.verifier)
        kept = [state for state in self._states if state is not found]
        self._states = [found, *kept[: _most(found.plane) - 1]]
        return found.plane

    def routed(self, plane: Plane) -> Routed:
        """The paths of all flows on it."""
        state = self._state(plane)
        return self.loader.route(plane) if state is None else state.routed

    def verdicts(self, plane: Plane) -> tuple[Verdict, ...]:
        """The verdict on each intent, in order, without witnesses."""
        state = self._state(plane)
        return self.verifier.check(plane, witnesses=False) if state is None else state.verdicts

    def _state(self, plane: Plane) -> _State | None:
        return next((state for state in self._states if state.plane is plane), None)


def _most(plane: Plane) -> int:
    """How many planes like this one are remembered."""
    return max(1, min(MOST, MOST_BYTES // max(plane.next_hops.nbytes + plane.decision.nbytes, 1)))
