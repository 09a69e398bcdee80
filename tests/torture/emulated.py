"""Kills in whole runs on real packets, while production is changed and while it is changed back."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import product
from pathlib import Path

from bad_day_runs import PARTS, Bad, Left, faults, run

from shadowsim.commit.disk import RealDisk
from shadowsim.commit.generations import Place, endings
from shadowsim.commit.hold import commit_in
from shadowsim.commit.log import read_log
from torture.campaign import Came, Part, work_off
from torture.result import Result, Wanted, Wrong

CI, FULL = 5, 100  # of each kind of process, in each of the two phases
RUNS = 3  # at most for a case, where the gate refuses
LATE_S = 10.0  # until production is back after the run has died
AT_ONCE = 4  # runs that pass the time side by side; each waits more than it works
RUN = "run"
KINDS = (RUN, *(part for part in PARTS if part != "plant"))
DEPLOY, ROLLBACK = "deploy", "rollback"
LONGEST_S = {DEPLOY: 2.5, ROLLBACK: 1.5}  # after it has begun
FIRST_S = 600.0
Digests = dict[str, str]
SAID = 1_000  # characters of what a run has said
# What a run costs is its packets, and its processes: so there are few packets.
SCENARIO = """
name: small
seed: 7
topology:
  nodes: [A, B, C, D]
  links: [[A, B], [B, C], [C, D], [A, D]]
  defaults: {rate_mbps: 0.8, delay_ms: 5, queue_packets: 20}
traffic:
  demands:
    - {from: A, to: B, rate_mbps: 0.16, protocol: udp, port: 4500, packet_bytes: 1400}
    - {from: D, to: C, rate_mbps: 0.24, protocol: udp, port: 4500, packet_bytes: 1400}
intents:
  - {reachable: {from: any, to: any}}
  - {loss: {class: normal, below_percent: 2}}
change:
  summary: drain the link A-B
  script: |
    device A
    interface to-B
     ip ospf cost 900
     ip ospf cost 1000
    device B
    interface to-A
     ip ospf cost 1000
workflow: {baseline_s: 2, shadow_s: 5, monitor_s: 7, soak_s: 1, autonomy: automatic}
"""
BUSY = "faults:\n  - {at_s: 15, traffic_surge: {from: any, to: any, class: normal, factor: 2.6}}\n"


def emulated(wanted: Wanted) -> Result:
    """Every kind of process x while deploying, while rolling back."""
    each = wanted.cases or (CI if wanted.quick else FULL)
    parts = {
        f"{kind}-{phase}": Part(each, partial(_case, kind, phase))
        for kind, phase in product(KINDS, (DEPLOY, ROLLBACK))
    }
    if wanted.case is None:
        _compile()
    return work_off("emulated", wanted, parts, workers=AT_ONCE)


def _compile() -> None:
    """A run that nobody kills: the first on a machine compiles kernels, and where several do that
    at once none of them comes up in time.
    """
    with run(scenario=SCENARIO) as bad:
        bad.watch(lambda: bad.ended, FIRST_S)


def _case(kind: str, phase: str, seed: int, number: int) -> Came:
    outcome, wrong = one(seed, kind, phase, number)
    if wrong:
        raise Wrong("; ".join(wrong))
    return Came(outcome)


def one(seed: int, kind: str, phase: str, number: int) -> tuple[str, list[str]]:
    """One run with one kill: how it ended, and what is wrong with that.

    Where the packets of the shadow were so late that its gate refuses the change, and production
    was never touched, that is right, and there is nothing to kill: another run is made.
    """
    for _ in range(RUNS):
        found = _one(seed, kind, phase, number)
        if found is not None:
            return found
    return "not there", [f"none of {RUNS} runs was let by its gate"]


def _one(seed: int, kind: str, phase: str, number: int) -> tuple[str, list[str]] | None:
    """None if the change was refused."""
    chance = random.Random(f"{seed} {kind} {phase} {number}")
    before = Left.look()
    with run(scenario=SCENARIO + (BUSY if phase == ROLLBACK else "")) as bad:
        commit = bad.home / "runs/small.commit"
        if not bad.watch(lambda: has_begun(commit, phase) or bad.ended) or bad.ended:
            if bad.ended and _is_refused(bad, commit):
                return None
            said = [(bad.home / name).read_text() for name in ("err", "out")]
            return "not there", [f"it never came to {phase}: {''.join(said)[-SAID:]}"]
        time.sleep(chance.uniform(0.0, LONGEST_S[phase]))
        bad.look()
        there = [bad.process.pid] if kind == RUN else bad.parts(kind)
        if there:
            os.kill(chance.choice(there), signal.SIGKILL)
        killed_s = time.monotonic()
        wrong = list(_await_end(bad, commit, kind, killed_s))
        wrong += faults(bad, before, folder=kind != RUN)
        if not bad.ended:
            return "goes on", wrong
        outcome, amiss = _verdict(bad)
        return outcome, wrong + amiss


def _is_refused(bad: Bad, commit: Path) -> bool:
    """Whether it was not let, and has sent nothing to production, by its own record and log."""
    if not (bad.home / "runs/small/result.json").exists() or any(commit.glob("*/1.log")):
        return False
    result = bad.result()
    untouched = result["digests"]["after"] == result["digests"]["before"]
    return result["decision"] in ("no-go", "inconclusive") and bool(untouched)


def has_begun(commit: Path, phase: str) -> bool:
    """Whether the log says that the first command of this phase is about to be sent."""
    mark = b'"what":"deploy"' if phase == DEPLOY else b'"what":"s1"'
    try:
        return any(mark in log.read_bytes() for log in commit.glob("*/1.log"))
    except FileNotFoundError:
        return False


def _await_end(bad: Bad, commit: Path, kind: str, killed_s: float) -> Iterator[str]:
    if not bad.watch(lambda: bad.ended):
        yield "the run did not end"
    elif kind != RUN and bad.process.returncode not in (0, 1, 3, 4):
        yield f"exit code {bad.process.returncode}"
    if not bad.watch(lambda: _ended(bad), max(killed_s + LATE_S - time.monotonic(), 0.1)):
        yield f"not settled {LATE_S:g} s after the kill: {(bad.home / 'err').read_text()[-500:]}"


def _ended(bad: Bad) -> bool:
    found = endings(_place(bad))
    return bool(found) and found[-1].state != "taken over"


def _place(bad: Bad) -> Place:
    key = (bad.home / "state/shadowsim/key").read_bytes()
    folders = (bad.home / "runs/small.commit", bad.home / "runs/small/commit")
    found = next(filter(None, map(commit_in, folders)), folders[0])
    return Place(RealDisk(), found, key)


def _verdict(bad: Bad) -> tuple[str, list[str]]:
    """How the commit ended, and whether what was read back of production at the end fits that."""
    place = _place(bad)
    past = endings(place)
    if not past:
        return "open", ["the commit is open still"]
    ending = past[-1]
    last = read_log(
        place.disk, place.log(len(past)), place.key, place.head("log", len(past))
    ).records
    if len(past) > 1:  # by the guardian, which has read production back itself
        verified = [record.data["failed"] for record in last if record.kind == "verified"]
        return f"{ending.state} by guardian", [] if verified == [[]] else [f"verified: {verified}"]
    return ending.state, unlike(ending.state, bad.result()["digests"], _planned(bad))


def _planned(bad: Bad) -> dict[str, Digests]:
    found: dict[str, Digests] = json.loads((bad.home / "runs/small/signature.json").read_text())[
        "digests"
    ]
    return found


def unlike(state: str, seen: Mapping[str, Digests], planned: Mapping[str, Digests]) -> list[str]:
    """What is wrong with the configs that a run has read back in the end, for how it ended.

    A plan speaks of what production had of the change by then, and of that alone: where a device
    never came to its turn, it is to be as before.
    """
    wanted = {"confirmed": "now", "rolled_back": "after", "cancelled": "before"}
    ends = [wanted[state]] if state in wanted else ["before", "now", "after"]
    after = seen["after"]  # a rollback may have been of the blamed part alone
    fits = any(after == {**seen["before"], **planned[end]} for end in ends)
    return [] if fits else [f"{state}, yet production has {after}"]
