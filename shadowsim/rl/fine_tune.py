"""A policy, and the change at hand, to a policy that has tried that change in its shadow.

What can happen to the change is simulated again and again, as the shadow can: with the configs and
the demands of production as they are known, but none of what is still to come there, which nobody
knows: the traffic is drawn, and half of the time it steps up or down later. Over these tapes the
gradient of the expected reward is exact, since every decision and what follows it is on a tape
(policy gradient theorem, Sutton et al., "Policy gradient methods for reinforcement learning with
function approximation", NIPS 1999); a penalty keeps the policy near what it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from shadowsim.env.making import tape
from shadowsim.env.pool import OVER, Floats, Pool, pool
from shadowsim.env.tape import Tape
from shadowsim.env.worlds import Setting
from shadowsim.errors import BadInput
from shadowsim.model.traffic import Profile
from shadowsim.precog.model import Model
from shadowsim.precog.policy import Policy
from shadowsim.rl.learner import LAYERS, told
from shadowsim.scenario import Scenario

SPREAD = 0.25  # of the logarithm of how much traffic there is, in a future
SHARE = 0.7  # of the budget in which futures are simulated; the rest is for learning
LEAST = 2  # futures
MOST_STEPS = 400
RATE = 3e-4
LEASH = 2.0  # what a nat of divergence from the policy before counts, beside REWARD_SCALE
REWARD_SCALE = 0.05

Clock = Callable[[], float]


@dataclass(frozen=True)
class Tuned:
    """The policy after, how many futures were simulated, how many steps were learned on them, and
    what one of these futures costs on average, before and after.
    """

    policy: Policy
    futures: int
    steps: int
    before: float
    after: float


def fine_tune(
    policy: Policy, setting: Setting, model: Model | None, budget_s: float, seed: int,
    clock: Clock = time.monotonic,
) -> Tuned:  # fmt: skip
    """Learn from futures of this very change until the budget is used up, at least from LEAST.

    Raises BadInput for a policy that is no distribution.
    """
    if not policy.drawn:
        raise BadInput(f"what {policy.algorithm} learned is no distribution to be tuned")
    began_s = clock()
    tapes: list[Tape] = []
    random = np.random.default_rng(seed)
    while len(tapes) < LEAST or clock() - began_s < SHARE * budget_s:
        tapes.append(tape(replace(setting, scenario=future(setting.scenario, random))))
    return tuned(policy, told(pool(tapes, model)), len(tapes), lambda: clock() - began_s < budget_s)


def future(scenario: Scenario, random: np.random.Generator) -> Scenario:
    """The change as it may go: nothing that the scenario holds in store is looked at."""
    factor = float(np.exp(SPREAD * random.standard_normal()))
    demands = tuple(
        replace(demand, rate_bps=demand.rate_bps * factor) for demand in scenario.traffic.demands
    )
    plan = scenario.workflow
    lasts_s = plan.baseline_s + plan.shadow_s + plan.monitor_s
    step = float(random.uniform(0.0, lasts_s)), float(np.exp(SPREAD * random.standard_normal()))
    profile = Profile(steps=(step,)) if random.random() < 0.5 else Profile()
    traffic = replace(scenario.traffic, demands=demands, profile=profile)
    return replace(scenario, seed=int(random.integers(2**31)), traffic=traffic, faults=())


def tuned(policy: Policy, futures: Pool, count: int, goes_on: Callable[[], bool]) -> Tuned:
    """Climb the exact gradient on a pool of futures, as long as there is time, up to MOST_STEPS."""
    network = _network(policy)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    places = [futures.names.index(name) for name in policy.names]
    seen = torch.from_numpy(futures.observations[:, places])
    closed = torch.from_numpy(~futures.masks)
    with torch.no_grad():
        before = _log_chances(network, seen, closed, policy.masked)
    first = expected(futures, before.exp().numpy().astype(np.float64))[0]
    steps = 0
    while steps < MOST_STEPS and goes_on():
        told_now = _log_chances(network, seen, closed, policy.masked)
        chance = told_now.exp()
        _, worth, reached = expected(futures, chance.detach().numpy().astype(np.float64))
        gain = (chance * torch.from_numpy(worth * REWARD_SCALE).float()).sum(dim=1)
        apart = (chance * (told_now - before).masked_fill(closed, 0.0)).sum(dim=1)
        weight = torch.from_numpy(reached / len(futures)).float()
        loss = (weight * (LEASH * apart - gain)).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        steps += 1
    with torch.no_grad():
        after = _log_chances(network, seen, closed, policy.masked).exp()
    last = expected(futures, after.numpy().astype(np.float64))[0]
    return Tuned(_learned(policy, network), count, steps, -first, -last)


def expected(futures: Pool, chance: Floats) -> tuple[float, Floats, Floats]:
    """Of a policy that takes actions with these chances `[R, ACTIONS]`: the mean reward of an
    episode; `[R, ACTIONS]`, what is expected from an action on; `[R]`, how often a decision is
    reached, the beginnings once each.
    """
    worth = np.array(futures.reward)
    value, reached = np.zeros(len(chance)), np.zeros(len(chance))
    for look in range(len(chance) - 1, -1, -1):  # what follows a decision has a higher number
        to = futures.to[look]
        worth[look] += np.where(to == OVER, 0.0, value[to])
        value[look] = chance[look] @ worth[look]
    reached[futures.first] = 1.0
    for look in range(len(chance)):
        on = futures.to[look] != OVER
        np.add.at(reached, futures.to[look][on], reached[look] * chance[look][on])
    return float(value[futures.first].mean()), worth, reached


def _network(policy: Policy) -> torch.nn.Sequential:
    parts: list[torch.nn.Module] = []
    for weight, bias in zip(policy.weights, policy.biases, strict=True):
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight.data = torch.from_numpy(weight.copy())
        layer.bias.data = torch.from_numpy(bias.copy())
        parts += [layer, LAYERS[policy.activation]()]
    return torch.nn.Sequential(*parts[:-1])


def _log_chances(
    network: torch.nn.Module, seen: torch.Tensor, closed: torch.Tensor, masked: bool
) -> torch.Tensor:
    scores = network(seen)
    if masked:
        scores = scores.masked_fill(closed, -1e8)
    return torch.log_softmax(scores, dim=1)


def _learned(policy: Policy, network: torch.nn.Sequential) -> Policy:
    layers: Sequence[torch.nn.Linear] = [p for p in network if isinstance(p, torch.nn.Linear)]
    return replace(
        policy,
        weights=tuple(layer.weight.detach().numpy().copy() for layer in layers),
        biases=tuple(layer.bias.detach().numpy().copy() for layer in layers),
    )
