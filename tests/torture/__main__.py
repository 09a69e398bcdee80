"""`python tests/torture ATTACK`: run one attack, or all of them, and exit 1 on any failure."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

# Not `python -m tests.torture`: some package that Ryu needs installs a `tests` of its own.
TESTS = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(TESTS), str(TESTS.parent)]

from torture.result import Attack, Wanted  # noqa: E402

# An attack is a name, and the module in which it is a function of that name. It prints its progress
# and its failures itself. Only the wanted one is loaded: some replace parts of what they attack.
ATTACKS = {
    "steps": "steps",
    "disk": "power",
    "system": "system",
    "model": "model",
    "kills": "kills",
    "stops": "stops",
    "planted": "planted",
    "fuzz": "fuzz",
    "emulated": "emulated",
}


def attack_of(name: str) -> Attack:
    """The attack of a name."""
    module = ATTACKS[name]
    found: Attack = getattr(import_module(f"torture.{module}"), module)
    return found


def main() -> int:
    wanted, names = _asked()
    signal.signal(signal.SIGTERM, _ended)  # so that what was done is written down
    if len(names) > 1:  # each in a process of its own
        rest = [word for word in sys.argv[1:] if word != "all"]
        return max(subprocess.call([sys.executable, sys.argv[0], n, *rest]) for n in names)
    failed = 0
    for name in names:
        out = wanted.out or Path("runs") / "torture" / f"{name}.json"
        print(f"--- {name}", flush=True)
        result = attack_of(name)(replace(wanted, out=None if wanted.case is not None else out))
        failed += result.failed
        print(
            f"{name}: {result.done:,} cases with seed {result.seed} in {result.took_s:,.0f} s, "
            f"{result.failed:,} failed" + ("" if wanted.case is not None else f"; {out}"),
            flush=True,
        )
    return 1 if failed else 0


def _ended(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _asked() -> tuple[Wanted, list[str]]:
    parser = argparse.ArgumentParser(prog="python tests/torture", description=__doc__)
    parser.add_argument("attack", choices=["all", *ATTACKS])
    parser.add_argument("--quick", action="store_true", help="the numbers of CI")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, help="instead of the attack's own number")
    parser.add_argument("--only", metavar="PART", help="one part of the attack")
    parser.add_argument("--case", type=int, metavar="K", help="make only this case again (--only)")
    parser.add_argument("--json", type=Path, dest="out", metavar="FILE", help="where results go")
    parser.add_argument("--workers", type=int, metavar="N", help="processes side by side")
    parser.add_argument("--resume", action="store_true", help="go on with what FILE says")
    given = vars(parser.parse_args())
    chosen = given.pop("attack")
    if given["case"] is not None and given["only"] is None:
        parser.error("--case needs --only")
    if given["out"] is not None and chosen == "all":
        parser.error("--json is of one attack")
    return Wanted(**given), [*ATTACKS] if chosen == "all" else [chosen]


if __name__ == "__main__":
    sys.exit(main())
