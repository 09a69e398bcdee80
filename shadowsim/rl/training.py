"""A plan, and pools of episodes, to a policy: the one that cost least where it was not trained.

A training has a folder: what it was begun with, its last checkpoints, and the best policy so far.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger

from shadowsim.env.evaluation import evaluate
from shadowsim.env.policies import Policy as Decided
from shadowsim.env.policies import Seen
from shadowsim.env.pool import Ints, Pool
from shadowsim.env.vector import ChangeRollbackVector
from shadowsim.errors import BadInput, Mistake
from shadowsim.precog import packed, policy_file
from shadowsim.precog.policy import Policy
from shadowsim.rl.checkpoint import Standing, checkpoints, renew, restore, save
from shadowsim.rl.learner import VERSIONS, learner, policy_of, told
from shadowsim.rl.settings import Settings
from shadowsim.rl.standard import Standard
from shadowsim.tracking import Tracked

BEGUN, BEST = "training.json", "best.policy"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Plan:
    """What a training is begun with; the same plan on the same pools gives the same policy.

    After every `checkpoint_every` and `evaluate_every` steps, at the end of what is being collected
    then, there is a checkpoint, or an evaluation; after `patience` evaluations that were none
    better it ends (0: it does not). Numbers are told after every `log_every` steps.
    """

    settings: Settings
    steps: int
    seed: int
    checkpoint_every: int = 100_000
    evaluate_every: int = 50_000
    patience: int = 0
    log_every: int = 50_000


def trained(
    plan: Plan, pool: Pool, validation: Pool, folder: Path, run: Tracked, told_to: Progress,
    *, resume: bool = False, threads: int = 1,
) -> Policy:  # fmt: skip
    """Train, and give the policy that cost least on the validation pool.

    With `resume` it goes on from the last checkpoint in the folder. Raises BadInput if the folder
    holds another training, or one that has begun and is not to be resumed.
    """
    torch.set_num_threads(threads)
    pool, validation = told(pool), told(validation)
    _claim(folder, _document(plan, pool, validation), resume)
    standard = Standard.of(pool) if plan.settings.normalize else None
    learned = learner(plan.settings, standard.shown(pool) if standard else pool, plan.seed)
    environment: Any = learned.get_env()
    vector: ChangeRollbackVector = environment.vector
    standing = Standing()
    if resume and (found := checkpoints(folder)):
        standing = restore(learned, vector, found[-1])
        renew(learned, vector, plan.seed)
    watcher = Watcher(plan, standard, validation, folder, vector, standing, told_to)
    learned.set_logger(Logger(None, [_Writer(run)]))
    left = plan.steps - learned.num_timesteps
    if left > 0 and not watcher.enough:
        learned.learn(left, watcher, log_interval=None, reset_num_timesteps=False)  # type: ignore[arg-type]
    watcher.evaluate(learned)
    save(learned, vector, standing, folder)
    return policy_file.load(folder / BEST)


class Watcher(BaseCallback):
    """Evaluations, checkpoints, numbers, and when it is enough, between two collections."""

    def __init__(
        self, plan: Plan, standard: Standard | None, validation: Pool, folder: Path,
        vector: ChangeRollbackVector, standing: Standing, told_to: Progress,
    ) -> None:  # fmt: skip
        super().__init__()
        self._plan, self._standard = plan, standard
        self._validation, self._folder = validation, folder
        self._vector, self._standing, self._told = vector, standing, told_to
        self._costs: list[float] = []
        self._cost = np.zeros(vector.num_envs)
        self._saved = self._logged = -1
        self._since_s, self._since_steps = time.monotonic(), 0

    @property
    def enough(self) -> bool:
        return 0 < self._plan.patience <= self._standing.since

    def evaluate(self, learned: BaseAlgorithm) -> None:
        """What the policy of now costs where it is not trained; it is kept if it is the best."""
        standing = self._standing
        if standing.evaluated == learned.num_timesteps:
            return
        plan = self._plan
        policy = policy_of(learned, plan.settings, self._validation.names, plan.seed)
        if self._standard:
            policy = self._standard.within(policy)
        cost = float(evaluate(acting(policy), self._validation)["cost"].to_numpy().mean())
        learned.logger.record("validation/cost", cost)
        standing.evaluated = learned.num_timesteps
        standing.since += 1
        if cost < standing.best:
            standing.best, standing.since = cost, 0
            policy_file.save(policy, self._folder / BEST)
        self._log(learned)

    def _on_training_start(self) -> None:
        self._saved = self._logged = self._since_steps = self.model.num_timesteps
        self._since_s = time.monotonic()

    def _on_rollout_start(self) -> None:
        plan, steps = self._plan, self.model.num_timesteps
        self._told(min(steps, plan.steps), plan.steps)
        if steps - max(self._standing.evaluated, 0) >= plan.evaluate_every:
            self.evaluate(self.model)
        if steps - self._saved >= plan.checkpoint_every:
            save(self.model, self._vector, self._standing, self._folder)
            renew(self.model, self._vector, plan.seed)
            self._saved = steps
        if steps - self._logged >= plan.log_every:
            self._log(self.model)

    def _on_step(self) -> bool:
        over = self.locals["dones"]
        self._cost -= self.locals["rewards"]
        if over.any():
            self._costs += self._cost[over].tolist()
            self._cost[over] = 0.0
        return not self.enough

    def _log(self, learned: BaseAlgorithm) -> None:
        """Tell all numbers at once."""
        steps, now_s = learned.num_timesteps, time.monotonic()
        if self._costs:
            scale = self._plan.settings.reward_scale
            learned.logger.record("training/cost", float(np.mean(self._costs)) / scale)
        if now_s > self._since_s:
            rate = (steps - self._since_steps) / (now_s - self._since_s)
            learned.logger.record("steps_per_s", rate)
        learned.logger.dump(steps)
        self._costs, self._logged = [], steps
        self._since_s, self._since_steps = now_s, steps


class _Writer(KVWriter):
    """What a learner tells, to the run that is tracked."""

    def __init__(self, run: Tracked) -> None:
        self._run = run

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        numbers = {
            name: float(value)
            for name, value in key_values.items()
            if isinstance(value, int | float | np.number)
        }
        self._run.metrics(numbers, step)

    def close(self) -> None: ...


def acting(policy: Policy) -> Decided:
    """A learned policy as one of the environment's."""

    def decide(seen: Seen) -> Ints:
        places = [seen.names.index(name) for name in policy.names]
        return policy.act(seen.observations[:, places], seen.masks)

    return decide


def _document(plan: Plan, pool: Pool, validation: Pool) -> Mapping[str, Any]:
    """All that decides what comes of a training, and the versions it was begun with."""
    plain: Mapping[str, Any] = json.loads(json.dumps({
        **asdict(plan), "pool": _digest(pool), "validation": _digest(validation),
        "names": pool.names, "versions": VERSIONS,
    }))  # fmt: skip
    return plain


def _digest(pool: Pool) -> str:
    found = hashlib.sha256()
    for array in (pool.observations, pool.to, pool.ends, pool.reward):
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()[:16]


def _claim(folder: Path, document: Mapping[str, Any], resume: bool) -> None:
    begun = folder / BEGUN
    if not begun.exists():
        packed.save(json.dumps(document, indent=1).encode(), begun)
        return
    try:
        found = json.loads(begun.read_bytes())
    except (OSError, ValueError):
        raise BadInput([Mistake("cannot be read", str(begun))]) from None
    if not isinstance(found, dict):
        raise BadInput([Mistake("holds no training", str(begun))])
    different = sorted(n for n in {*found, *document} if found.get(n) != document.get(n))
    if different:
        text = f"holds a training with other {', '.join(different)}; give another --out"
        raise BadInput([Mistake(text, str(folder))])
    if not resume:
        raise BadInput([Mistake("holds this training already; --resume goes on", str(folder))])
