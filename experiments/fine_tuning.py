"""Does a short fine-tune in the shadow of the change at hand make a policy better?

For some changes of a folder of tapes: what the general policy costs on what really happens, and
what it costs after `shadowsim.rl.fine_tune` had `--budget` seconds with that change in its shadow.

    python experiments/fine_tuning.py POLICY TAPES [--budget 20] [--every 5] [--seed 0] [--quick]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl

from shadowsim.env.evaluation import evaluate
from shadowsim.env.pool import pool
from shadowsim.env.store import read_tapes
from shadowsim.env.tape import Tape
from shadowsim.env.worlds import Setting
from shadowsim.history.cases import CHANGES_PER_SITE, change_at
from shadowsim.history.sites import site
from shadowsim.history.store import read_manifest
from shadowsim.precog import policy_file
from shadowsim.precog.past import Past
from shadowsim.precog.policy import Policy
from shadowsim.rl.fine_tune import fine_tune
from shadowsim.rl.training import acting


def settings(folder: Path) -> Iterator[tuple[Setting, Tape]]:
    """Every change of a folder of tapes, with what is known before it, and its tape."""
    made, tapes = read_manifest(folder), read_tapes(folder)
    for number in range(made.sites):
        where, past = site(made.seed, number, made.networks), Past()
        setting = None
        for case_number in made.at(number):
            scenario = change_at(where, case_number % CHANGES_PER_SITE).scenario
            setting = setting or Setting.of(scenario, past)
            setting = replace(setting, scenario=scenario, past=past)
            yield setting, tapes[case_number]
            past = past.with_outcome(where.topology, scenario.change, tapes[case_number].failed)


def cost(policy: Policy, tape: Tape) -> float:
    """What a policy costs on what really happens."""
    return float(evaluate(acting(policy), pool([tape]))["cost"][0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("policy", type=Path)
    parser.add_argument("tapes", type=Path)
    parser.add_argument("--budget", type=float, default=20.0)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="two changes, two seconds each")
    given = parser.parse_args()
    budget_s, most = (2.0, 2) if given.quick else (given.budget, None)
    policy = policy_file.load(given.policy)
    rows = []
    chosen = [one for n, one in enumerate(settings(given.tapes)) if n % given.every == 0][:most]
    for setting, tape in chosen:
        found = fine_tune(policy, setting, None, budget_s, given.seed)
        rows.append({
            "network": tape.network, "kind": tape.kind, "failed": tape.failed,
            "futures": found.futures, "steps": found.steps,
            "simulated before": found.before, "simulated after": found.after,
            "before": cost(policy, tape), "after": cost(found.policy, tape),
        })  # fmt: skip
        print(rows[-1], flush=True)
    table = pl.DataFrame(rows)
    gain = (table["before"] - table["after"]).to_numpy()
    wide = 1.96 * gain.std(ddof=1) / len(gain) ** 0.5 if len(gain) > 1 else float("nan")
    before, after = table["before"].mean(), table["after"].mean()
    print(f"{len(gain)} changes: {before:.2f} before, {after:.2f} after")
    differ = int((gain != 0).sum())
    print(f"gain {gain.mean():.2f} +- {wide:.2f} seconds of outage a change; {differ} differ")


if __name__ == "__main__":
    main()
