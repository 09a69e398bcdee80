"""A rollback signature to a network that is verifiably back, or to the reason why it is not."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from shadowsim.errors import Unreachable
from shadowsim.model.change import apply
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
    """Execute the steps in order, and verify.

    A step whose commands change nothing is skipped, so executing twice does no more than once.
    `advance(seconds)` lets time pass for this network and all that run beside it; `healthy()`
    names the intents and limits that are not met. `intend` is told of a step right before its
    commands are sent, `notice` how it went. A device that does not answer is tried again
    until the step times out; then the rollback stops and says so.
    """
    start_s = network.now
    done = 0
    failed: tuple[str, ...] = ()
    for step in signature.ordered():
        outcome = _execute_step(network, step, advance, intend)
        notice(step.id, outcome)
        if outcome == "timed out":
            failed = (f"step {step.id} on {step.device} timed out after {step.timeout_s:g} s",)
            break
        done += 1
    if not failed:
        failed = verify(network, signature, advance, healthy)
    return Execution(not failed, done, network.now - start_s, failed)


def _execute_step(network: Network, step: Step, advance: Advance, intend: Intend) -> str:
    commands = [command.value() for command in step.commands]
    deadline_s = network.now + step.timeout_s
    sent = False
    while network.now < deadline_s:
        configs = network.configs()
        current = configs.get(step.device)
        if current is not None and not network.busy:
            if apply({step.device: current}, commands)[step.device] is current:
                return "done" if sent else "skipped"
            try:
                intend(step)
                network.apply(commands)
                sent = True
            except Unreachable:
                advance(RETRY_S)
        advance(POLL_S if current is not None else RETRY_S)
    return "timed out"


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
