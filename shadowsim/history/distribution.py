"""Cases to how many there are of each kind, mistake, network and circumstance, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from shadowsim.history.cases import Case


def distribution(cases: Iterable[Case]) -> str:
    """One line for each: what it is, how many, and what share of all cases."""
    listed = list(cases)
    parts = {
        "group": Counter(case.network.partition("/")[0] for case in listed),
        "kind": Counter(case.kind for case in listed),
        "mistake": Counter(case.mistake or "none" for case in listed),
        "hidden": Counter(name for case in listed for name in case.hidden or ("nothing",)),
    }
    return "\n".join(
        f"{part:8} {name:20} {count:6} {count / len(listed):6.1%}"
        for part, counts in parts.items()
        for name, count in counts.most_common()
    )
