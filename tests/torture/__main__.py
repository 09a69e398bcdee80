"""`python tests/torture ATTACK`: run one attack, or all of them, and exit 1 on any failure."""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import replace
from pathlib import Path

# Not `python -m tests.torture`: some package that Ryu needs installs a `tests` of its own.
TESTS = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(TESTS), str(TESTS.parent)]

from torture.emulated import emulated  # noqa: E402
from torture.fuzz import fuzz  # noqa: E402
from torture.kills import kills  # noqa: E402
from torture.model import model  # noqa: E402
from torture.planted import planted  # noqa: E402
from torture.power import power  # noqa: E402
from torture.result import Attack, Wanted  # noqa: E402
from torture.steps import steps  # noqa: E402
from torture.stops import stops  # noqa: E402
from torture.system import system  # noqa: E402

# An attack is a name and a function. It prints its progress and its failures itself.
ATTACKS: dict[str, Attack] = {
    "steps": steps,
    "disk": power,
    "system": system,
    "model": model,
    "kills": kills,
    "stops": stops,
    "planted": planted,
    "fuzz": fuzz,
    "emulated": emulated,
}


def main() -> int:
    wanted, names = _asked()
    signal.signal(signal.SIGTERM, _ended)  # so that what was done is written down
    failed = 0
    for name in names:
        out = wanted.out or Path("runs") / "torture" / f"{name}.json"
        print(f"--- {name}", flush=True)
        result = ATTACKS[name](replace(wanted, out=None if wanted.case is not None else out))
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
