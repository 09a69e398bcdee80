"""What an attack is asked, and what came of it, as a JSON file that a later run can continue."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import shadowsim

MOST_TOLD = 200  # failures that are kept in words; all are counted


class Wrong(Exception):
    """What must not be, in words."""


@dataclass(frozen=True)
class Wanted:
    """What the command line asks of an attack.

    `cases` None: its own number, quick or full; `workers` None: as many processes as suit it.
    """

    quick: bool = False
    seed: int = 1
    cases: int | None = None
    only: str | None = None
    case: int | None = None
    out: Path | None = None
    resume: bool = False
    workers: int | None = None


@dataclass(frozen=True)
class Failure:
    """Something that must not happen, and the one line that makes it happen again."""

    line: str
    what: str


@dataclass
class Result:
    """What has been done so far. `counts`: of every part of the attack, by kind of outcome."""

    attack: str
    seed: int
    cases: int
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    slowest_s: dict[str, list[float]] = field(default_factory=dict)  # with the case's number
    spent_s: dict[str, float] = field(default_factory=dict)  # CPU in the parser itself
    failures: list[Failure] = field(default_factory=list)
    took_s: float = 0.0
    cpu_s: float = 0.0
    finished: bool = False
    code: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        return sum(sum(kinds.values()) for kinds in self.counts.values())

    @property
    def failed(self) -> int:
        return sum(kinds.get("failed", 0) for kinds in self.counts.values())

    def fail(self, failure: Failure) -> None:
        """Keep a failure in words and say it at once."""
        print(f"FAILED {failure.what}\n       {failure.line}", flush=True)
        if len(self.failures) < MOST_TOLD:
            self.failures.append(failure)

    def save(self, out: Path | None) -> None:
        """Write it down, whole or not at all."""
        if out is None:
            return
        out.parent.mkdir(parents=True, exist_ok=True)
        fresh = out.with_name(f".{out.name}.{os.getpid()}")
        document = {"done": self.done, "failed": self.failed, **asdict(self)}
        fresh.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        fresh.replace(out)


Attack = Callable[[Wanted], Result]


def begun(attack: str, wanted: Wanted, cases: int) -> Result:
    """A fresh result; or, to resume, the one that lies where results go."""
    fresh = Result(attack, wanted.seed, cases, code=[code()])
    if not wanted.resume or wanted.out is None or not wanted.out.exists():
        return fresh
    found: Mapping[str, Any] = json.loads(wanted.out.read_text(encoding="utf-8"))
    if found["seed"] != wanted.seed or found["attack"] != attack:
        raise SystemExit(f"{wanted.out}: is of {found['attack']} with seed {found['seed']}")
    known = {name: found[name] for name in Result.__dataclass_fields__}
    known["failures"] = [Failure(**one) for one in known["failures"]]
    codes = [*dict.fromkeys([*found["code"], code()])]
    return Result(**{**known, "cases": cases, "finished": False, "code": codes})


def code() -> str:
    """Which code was attacked: a digest of the sources of shadowsim."""
    found = hashlib.sha256()
    root = Path(shadowsim.__file__).parent
    for path in sorted(root.rglob("*.py")):
        found.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return found.hexdigest()[:12]
