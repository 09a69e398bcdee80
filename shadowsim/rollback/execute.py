"""A rollback signature to a network that is verifiably back, or to the reason why it is not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from shadowsim.errors import Unreachable
from shadowsim.model.change import apply_one
from shadowsim.network.protocol import Network
from shadowsim.rollback.signature import RollbackSignature, Step

POLL_S = 0.1
RETRY_S = 1.0
SETTLE_S = 1.0

Advance = Callable[[float], None]
Notice = Callable[[str, str], None]
Intend = Callable[[Step], None]


@dataclass(frozen=True)
class Execution:
    """What came of it. `verified`: every check of the signature held when it was made."""

    verified: bool
    steps_done: int
    took_s: float
    failed: tuple[str, ...]


def execute(
    network: Network,
    signature: RollbackSignature,
    advance: Advance,
    healthy: Callable[[], tuple[str, ...]],
    notice: Notice = lambda step, what: None,
    intend: Intend = lambda step: None,
) -> Execution:
    """Execute the steps, each after those it depends on, and verify.

    Steps that wait for no other go side by side. One whose commands change nothing is skipped, so
    executing twice does no more than once. `advance(seconds)` lets time pass for this network and
    all that run beside it; `healthy()` names the intents and limits that are not met. `intend` is
    told of a step right before its commands are sent, `notice` how it went. A device that does not
    answer is tried again until the step times out; then the rollback stops and says so.
    """
    start_s = network.now
    waiting = list(signature.ordered())
    done: set[str] = set()
    while waiting:
        ready = [step for step in waiting if done.issuperset(step.depends_on)]
        late = _execute_together(network, ready, advance, intend, notice)
        done |= {step.id for step in ready} - {step.id for step in late}
        if late:
            failed = tuple(
                f"step {s.id} on {s.device} timed out after {s.timeout_s:g} s" for s in late
            )
            return Execution(False, len(done), network.now - start_s, failed)
        waiting = [step for step in waiting if step.id not in done]
    failed = verify(network, signature, advance, healthy)
    return Execution(not failed, len(done), network.now - start_s, failed)


def _execute_together(
    network: Network, steps: Sequence[Step], advance: Advance, intend: Intend, notice: Notice
) -> list[Step]:
    """Execute these steps side by side; those that were not done in their time."""
    start_s = network.now
    left, sent = list(steps), set[str]()
    while True:
        configs, idle = network.configs(), not network.busy
        for step in tuple(left) if idle else ():
            commands = [command.value() for command in step.commands]
            if step.device not in configs:
                continue
            if apply_one(configs[step.device], commands) is configs[step.device]:
                notice(step.id, "done" if step.id in sent else "skipped")
                left.remove(step)
                continue
            with suppress(Unreachable):
                intend(step)
                network.apply(commands)
                sent.add(step.id)
        late = [step for step in left if network.now >= start_s + step.timeout_s]
        for step in late:
            notice(step.id, "timed out")
        if late or not left:
            return late
        answering = any(step.device in configs for step in left)
        advance(POLL_S if answering or not idle else RETRY_S)


def verify(
    network: Network,
    signature: RollbackSignature,
    advance: Advance,
    healthy: Callable[[], tuple[str, ...]],
) -> tuple[str, ...]:
    """What does not hold: the digests read back, the tables read back, intents, limits.

    All but the digests get the time of convergence and one full reading. Tables are looked at on
    the devices of the signature, and on all others that answer.
    """
    expected = {
        check.subject: check.expected
        for check in signature.verification
        if check.kind == "config_digest"
    }
    configs = network.configs()
    wrong = [
        f"config of {device} is not what the plan leads to"
        for device, digest in sorted(expected.items())
        if device not in configs or configs[device].digest != digest
    ]
    if wrong:
        return tuple(wrong)
    advance(SETTLE_S)
    for _ in range(5):
        unmet = (*_misprogrammed(network, expected.keys()), *healthy())
        if not unmet:
            return ()
        advance(SETTLE_S)
    return unmet


def _misprogrammed(network: Network, devices: Collection[str]) -> list[str]:
    looked_at = {*devices, *network.configs()}
    return [
        f"rules of {device} as read back are not those of its config: {why}"
        for device, why in network.misprogrammed().items()
        if device in looked_at
    ]
