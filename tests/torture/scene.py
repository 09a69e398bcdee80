"""One small change to three devices, who makes it and who takes it back, on a simulated disk.

It shuts a port of A in passing, from its first command to its last, and empties a list of B.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from shadowsim.commit import devices as devices_module
from shadowsim.commit import generations
from shadowsim.commit.devices import Devices, FileDevices
from shadowsim.commit.disk import Disk
from shadowsim.commit.generations import CANCELLED, CONFIRMED, ROLLED_BACK, Place
from shadowsim.commit.owner import FIRST, Commit, claim
from shadowsim.commit.reach import DEVICES, FILES
from shadowsim.commit.settle import NOTHING, Standing, settle, standing
from shadowsim.commit.terms import Terms
from shadowsim.errors import Fenced, ShadowsimError
from shadowsim.model import change as algebra
from shadowsim.model.change import Change, apply, apply_one, parse_config, parse_script, revert
from shadowsim.model.config import DeviceConfig
from torture.armed import armed
from torture.campaign import Came, Case
from torture.result import Wrong
from torture.simulated_disk import Before, Crash, DiskOf, SimulatedDisk, unhindered

# Half the time of a case would go into reading the same few lines again. Both are pure functions
# to values that are not shared by identity.
algebra._edit = lru_cache(4096)(algebra._edit)
algebra.parse_script = lru_cache(4096)(algebra.parse_script)


@dataclass
class Tokens:
    """In place of `secrets`: names that are unique in a case, and the same when it is repeated."""

    count: int = 0

    def token_hex(self, length: int) -> str:
        self.count += 1
        return f"{self.count:0{2 * length}x}"


TOKENS = Tokens()
generations.secrets = devices_module.secrets = TOKENS  # type: ignore[attr-defined, assignment]


def repeatable(case: Case) -> Case:
    """A case whose names depend on nothing that came before it."""

    def alone(seed: int, number: int) -> Came | None:
        TOKENS.count = 0
        return case(seed, number)

    return alone


KEY = b"k" * 32
FOLDER = Path("/runs/a.commit")
OLD_CONFIGS = {
    name: parse_config(f"hostname {name}\n{body}")
    for name, body in {
        "A": "interface to-B\n ip ospf cost 10\n",
        "B": "ip access-list extended L\n 10 permit ip any any\n"
        "ip access-list extended M\n 10 deny ip any any\ninterface to-C\n shutdown\n",
        "C": "table-size 100\n",
    }.items()
}
CHANGE = Change(
    "a change",
    parse_script("""
device A
interface to-B
 shutdown
 ip ospf cost 20
device B
no ip access-list extended M
ip access-list extended M
 10 deny ip any any
ip access-list extended L
 no 10
 20 deny ip any any
interface to-C
 no shutdown
device C
table-size 200
device A
interface to-B
 no shutdown
"""),
)
NEW_CONFIGS = apply(OLD_CONFIGS, CHANGE.commands)


SIGNATURE = armed(CHANGE, OLD_CONFIGS).sealed(KEY)
TERMS = Terms(CHANGE, OLD_CONFIGS, SIGNATURE.armed(), FILES)
Wait = Callable[[], bool]
INJECTED = "injected"  # the words of an OSError that the attack has made


class Injected(Exception):
    """A mistake of the program, in the middle of an operation."""


@dataclass
class Said:
    """What the owner of a commit has told the world."""

    confirmed: bool = False
    rolled_back: bool = False


def place_on(disk: Disk) -> Place:
    return Place(disk, FOLDER, KEY)


def devices_on(disk: Disk) -> FileDevices:
    return FileDevices(disk, FOLDER / DEVICES)


def never() -> bool:
    """No patience."""
    return False


def nothing() -> None:
    """Nothing happens meanwhile."""


def make(
    disk: Disk,
    said: Said,
    arm: Callable[[], None] = nothing,
    meanwhile: Callable[[], None] = nothing,
) -> None:
    """Make the change as a run does: armed, device by device, confirmed; or taken back by itself.

    As in a run, what production has is known from memory, in which a failed write changed nothing.
    """
    place = place_on(disk)
    claim(place)
    devices = devices_on(disk)
    devices.fill(OLD_CONFIGS, FIRST)
    commit = Commit(place, TERMS)
    now = dict(OLD_CONFIGS)
    try:
        arm()
    except Crash:
        raise
    except BaseException:
        commit.end(CANCELLED, "the rollback could not be armed")
        raise
    try:
        for device, commands in groupby(CHANGE.commands, key=lambda c: c.device):
            mine = list(commands)
            commit.intend("deploy", device, [str(c) for c in mine])
            for command in mine:
                after = apply_one(now[device], [command])
                commit.write(devices, after)
                now[device] = after
            commit.did("deploy", device, "done")
            meanwhile()
        commit.end(CONFIRMED)
        said.confirmed = True
    except (Fenced, Crash):
        raise
    except BaseException:
        _undo(commit, devices, now)
        said.rolled_back = True
        raise


def _undo(commit: Commit, devices: FileDevices, now: dict[str, DeviceConfig]) -> None:
    """Take back what was begun, as an interrupted run does: by a plan made from where it is."""
    steps = revert(OLD_CONFIGS, now, CHANGE, CHANGE.commands, under_way=CHANGE.commands)
    for device, commands in groupby(steps, key=lambda c: c.device):
        mine = list(commands)
        commit.intend("rest", device, [c.line for c in mine])
        now[device] = apply_one(now[device], mine)
        commit.write(devices, now[device])
    commit.end(ROLLED_BACK)


def take_back(disk: Disk, wait: Wait = never, devices: Devices | None = None) -> Standing:
    """Settle it, as a guardian or a person does."""
    return settle(place_on(disk), lambda terms: devices or devices_on(disk), "attacked", wait)


def permitted(error: BaseException) -> bool:
    """Whether a process may end so: in words for people, or with what was done to it."""
    if isinstance(error, OSError):
        return error.strerror == INJECTED
    return isinstance(error, ShadowsimError | Crash | Injected | KeyboardInterrupt)


def judge(disk: SimulatedDisk, said: Said) -> Standing:
    """How it ended, after all faults. Raises Wrong unless it is all-old or all-new, and says so."""
    try:
        now = standing(place_on(DiskOf(disk)), lambda terms: devices_on(DiskOf(disk)))
        found = devices_on(DiskOf(disk)).read()
    except Exception as error:
        raise Wrong(f"it cannot be read: {type(error).__name__}: {error}") from error
    if not now.settled:
        raise Wrong(f"it is not settled: generation {now.generation}, production {now.position}")
    wanted = NEW_CONFIGS if now.state == CONFIRMED else OLD_CONFIGS
    for name, config in wanted.items():
        if name not in found and now.terms is None and now.state != CONFIRMED:
            continue  # that far it never came
        if name not in found or found[name] != config:
            raise Wrong(f"{now.state}, but {name} has not the config of that")
    if said.confirmed and now.state != CONFIRMED:
        raise Wrong(f"it was confirmed, and then {now.state}")
    if said.rolled_back and now.state in (CONFIRMED, NOTHING):
        raise Wrong(f"it was rolled back, and then {now.state}")
    return now


def settle_and_judge(disk: SimulatedDisk, said: Said) -> None:
    """Settle without faults; twice, the second time writing nothing. Raises Wrong."""
    settled_well(disk)
    now = judge(disk, said)
    before = disk.contents()
    seen: list[str] = []
    again = settled_well(disk, lambda operation, path: seen.append(operation))
    if disk.contents() != before or {*seen} - {"read", "names", "sync"}:
        raise Wrong("a second settling has written something")
    if again.state != now.state:
        raise Wrong(f"first {now.state}, then {again.state}")


def settled_well(disk: SimulatedDisk, before: Before = unhindered) -> Standing:
    """Settle where nothing is in the way. Raises Wrong for any exception."""
    try:
        return take_back(DiskOf(disk, before))
    except Exception as error:
        raise Wrong(f"settling failed: {type(error).__name__}: {error}") from error
