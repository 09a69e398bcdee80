"""A learner in the middle of its training to a file, and back.

The file is torch's, and is read with `weights_only=True`: numbers, texts and tensors, no code.
Beside it stands its digest, and it is only read where that fits. Random numbers begin anew at
every checkpoint, from the seed and the step, so there is no state of theirs to keep: a training
that goes on from a checkpoint is the training that went through it.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer

from shadowsim.env.vector import ChangeRollbackVector
from shadowsim.errors import BadInput, Mistake
from shadowsim.precog import packed

NAME = re.compile(r"checkpoint-(\d{12})\.pt", re.ASCII)
KEPT = 2  # the last ones
COUNTS = (
    "num_timesteps", "_n_updates", "_episode_num", "_n_calls", "exploration_rate",
    "_current_progress_remaining",
)  # fmt: skip
ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
UNREADABLE = (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError)


@dataclass
class Standing:
    """How the evaluations stand: the least cost so far, how many came since, and when the last."""

    best: float = float("inf")
    since: int = 0
    evaluated: int = -1


def renew(learned: BaseAlgorithm, vector: ChangeRollbackVector, seed: int) -> None:
    """Have all random numbers begin anew, from a seed and how far the training is."""
    begin = np.random.SeedSequence((seed, learned.num_timesteps)).generate_state(1)
    learned.set_random_seed(int(begin[0]))
    if (vector.looks >= 0).all():
        vector.stand(vector.looks, int(begin[0]))


def save(
    learned: BaseAlgorithm, vector: ChangeRollbackVector, standing: Standing, folder: Path
) -> None:
    """Write a checkpoint, whole or not at all, and remove those that are too old."""
    episode_starts: Any = learned._last_episode_starts
    found: dict[str, Any] = {
        "parameters": learned.get_parameters(),
        "counts": {name: getattr(learned, name) for name in COUNTS if hasattr(learned, name)},
        "looks": torch.from_numpy(vector.looks),
        "episode_starts": torch.from_numpy(np.asarray(episode_starts)),
        "standing": vars(standing).copy(),
    }
    buffer: Any = getattr(learned, "replay_buffer", None)
    if isinstance(buffer, ReplayBuffer):
        filled = buffer.buffer_size if buffer.full else buffer.pos
        found["buffer"] = {n: torch.from_numpy(getattr(buffer, n)[:filled]) for n in ARRAYS}
        found["buffer_at"] = [buffer.pos, int(buffer.full)]
    whole = io.BytesIO()
    torch.save(found, whole)
    path = folder / f"checkpoint-{learned.num_timesteps:012d}.pt"
    packed.save(_digest(whole.getvalue()).encode(), _beside(path))
    packed.save(whole.getvalue(), path)
    for old in checkpoints(folder)[:-KEPT]:
        old.unlink()
        _beside(old).unlink(missing_ok=True)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the oldest first."""
    return sorted(path for path in folder.glob("checkpoint-*.pt") if NAME.fullmatch(path.name))


def restore(learned: BaseAlgorithm, vector: ChangeRollbackVector, path: Path) -> Standing:
    """Bring a fresh learner to where one was at a checkpoint. Raises BadInput if that is damaged,
    or was made by another learner.
    """
    found = _read(path)
    try:
        learned.set_parameters(found["parameters"])
        for name, value in found["counts"].items():
            if name in COUNTS:
                setattr(learned, name, value)
        learned._last_obs = vector.stand(found["looks"].numpy(), 0)
        learned._last_episode_starts = found["episode_starts"].numpy()
        if "buffer" in found:
            _refill(learned, found)
        return Standing(**found["standing"])
    except (*UNREADABLE, TypeError, AttributeError) as error:
        raise BadInput([Mistake(f"a checkpoint of another training: {error}", str(path))]) from None


def _refill(learned: BaseAlgorithm, found: dict[str, Any]) -> None:
    buffer: Any = getattr(learned, "replay_buffer", None)
    for name in ARRAYS:
        filled = found["buffer"][name].numpy()
        getattr(buffer, name)[: len(filled)] = filled
    buffer.pos, buffer.full = found["buffer_at"][0], bool(found["buffer_at"][1])


def _read(path: Path) -> dict[str, Any]:
    try:
        data, told = path.read_bytes(), _beside(path).read_bytes()
    except OSError as error:
        raise BadInput([Mistake(f"cannot be read: {error.strerror}", str(path))]) from None
    if told != _digest(data).encode():
        raise BadInput([Mistake("altered or damaged: its digest does not fit", str(path))])
    try:
        found: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True)
    except UNREADABLE:
        raise BadInput([Mistake("no checkpoint, or a damaged one", str(path))]) from None
    return found


def _beside(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
