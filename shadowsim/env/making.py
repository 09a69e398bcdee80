"""What can happen to a change to its tape: the costs of every decision there is.

A rollback is simulated as the workflow executes it, with the truth of what it leaves behind: a
device that does not answer, retries that keep a network down. That is done at the first look of
each world and at every REHEARSED-th from there, for the whole change and for every part that is to
blame; at a look between, it is taken to go as from the last one, later by the time between them.
Where the change does no harm at all its rollback is taken to do none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from shadowsim.env.harm import Harm, harm
from shadowsim.env.tape import AMOUNTS, Tape
from shadowsim.env.worlds import (
    Back,
    Commands,
    Setting,
    Trial,
    World,
    left_alone,
    taken_back,
    tried,
    untouched,
)
from shadowsim.model.truth import MODES, Spell, onsets

Floats = np.ndarray

REHEARSED = 5  # looks from one rollback that is simulated to the next
PARTS = 3  # of a change that are taken back
AFTERMATH_S = 60.0  # for which what is broken at the end stays so, until a person has found it
LATEST_S = 60.0  # after the last look, that a rollback is looked at
NOTHING = np.zeros(len(AMOUNTS))


def tape(setting: Setting, network: str = "", kind: str = "") -> Tape:
    """Everything that can happen to a change, at every decision; the same arguments, the same."""
    trial = tried(setting)
    worlds = [left_alone(setting, go_s) for go_s in trial.at_s]
    twin = untouched(setting.scenario, worlds[-1].end_s + LATEST_S)
    rows = _trial_rows(trial)
    for number, world in enumerate(worlds):
        intents = setting.scenario.intents
        done = harm(world.spells, twin, intents)
        came = np.array([mode in _came(world, twin) for mode in MODES])
        rows[number] = rows[number]._replace(
            acting=_amounts(done.between(world.go_s, world.at_s[0])), came=came
        )
        rows += _Costs(setting, world, number, done, twin, came).rows()
    columns = {
        name: np.array(found)
        for name, found in zip(_Row._fields, zip(*rows, strict=True), strict=True)
    }
    return Tape(network, kind, **columns)


class _Row(NamedTuple):
    """One decision of a Tape."""

    features: Floats
    world: int
    since_s: float
    left: float
    has_part: bool
    waiting: Floats
    acting: Floats
    parting: Floats
    restored: tuple[bool, bool]
    came: Floats


def _trial_rows(trial: Trial) -> list[_Row]:
    """The decisions of the trial; what go leads to is not known yet."""
    pauses_s = [*np.diff(trial.at_s), 0.0]
    return [
        _Row(
            trial.rows[n], -1, trial.since_s[n], trial.left[n], False,
            _amounts(delay_s=pauses_s[n]), NOTHING, NOTHING, (True, True), np.zeros(len(MODES)),
        )
        for n in range(len(trial.at_s))
    ]  # fmt: skip


@dataclass(frozen=True)
class _Simulated:
    """A rollback that was simulated at a look, and the harm in that world."""

    place: int
    back: Back
    harm: Harm


@dataclass(frozen=True)
class _Costs:
    """One world, and what is needed to say what its decisions cost."""

    setting: Setting
    world: World
    number: int
    done: Harm
    twin: Sequence[Spell]
    came: Floats

    def rows(self) -> list[_Row]:
        world, found = self.world, []
        simulated: dict[Commands, _Simulated] = {}
        for place, at_s in enumerate(world.at_s):
            whole = self._simulated(simulated, place, ())
            part = self._part(simulated, place)
            found.append(_Row(
                world.rows[place], self.number, at_s - world.go_s, world.left[place],
                part is not None,
                self._waiting(place), self._after(whole, at_s), self._after(part, at_s),
                (whole is None or whole.back.restored, part is None or part.back.restored),
                self.came,
            ))  # fmt: skip
        return found

    def _part(self, simulated: dict[Commands, _Simulated], place: int) -> _Simulated | None:
        """What the rollback of the part to blame leads to; None where there is no such part, or it
        is one too many.
        """
        part = self.world.parts[place]
        if not part or (part not in simulated and len(simulated) > PARTS):
            return None
        return self._simulated(simulated, place, part)

    def _simulated(
        self, simulated: dict[Commands, _Simulated], place: int, part: Commands
    ) -> _Simulated | None:
        """The last rollback of these that was simulated, or one from here; None if nothing needs
        to be.
        """
        if not self.done.any and not part:
            return None
        last = simulated.get(part)
        if last is None or place - last.place >= REHEARSED:
            back = taken_back(self.setting, self.world, place, part)
            intents = self.setting.scenario.intents
            last = simulated[part] = _Simulated(place, back, harm(back.spells, self.twin, intents))
        return last

    def _waiting(self, place: int) -> Floats:
        at_s, end_s = self.world.at_s, self.world.end_s
        if place + 1 < len(at_s):
            return _amounts(self.done.between(at_s[place], at_s[place + 1]))
        return _amounts(self.done.lasting(end_s, AFTERMATH_S))

    def _after(self, simulated: _Simulated | None, at_s: float) -> Floats:
        """What a rollback that begins now costs, until the end or until it is over."""
        if simulated is None:
            return NOTHING
        back, left = simulated.back, simulated.harm
        late_s = at_s - back.from_s
        until_s = min(back.until_s + late_s, self.world.end_s + LATEST_S)
        until_s = max(until_s, self.world.end_s)
        from_s = at_s if late_s < 1e-9 else back.done_s + late_s
        during = self.done.between(at_s, from_s)
        after = left.between(from_s, until_s) + left.lasting(back.until_s, AFTERMATH_S)
        return _amounts(during + after)


def _amounts(harms: Floats | None = None, delay_s: float = 0.0) -> Floats:
    return np.array([*(np.zeros(len(AMOUNTS) - 1) if harms is None else harms), delay_s])


def _came(world: World, twin: Sequence[Spell]) -> Sequence[str]:
    """The failure modes that came of the change until the end."""
    spells = [
        Spell(max(s.from_s, world.go_s), min(s.to_s, world.end_s), s.unreachable, s.exposed, s.slow)
        for s in world.spells
        if s.to_s > world.go_s and s.from_s < world.end_s
    ]
    return tuple(onsets(spells, twin))
