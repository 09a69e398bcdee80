"""What a command line names to scenarios that can be run, or to every mistake in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from shadowsim.errors import BadInput, Mistake, choices
from shadowsim.network import CONTROLLERS, NETWORKS
from shadowsim.precog import VARIANTS
from shadowsim.record import telemetry_bytes
from shadowsim.scenario import Scenario, load

MOST_TELEMETRY = 4 * 2**30  # bytes
AUTONOMY = ("observe", "ask", "automatic")


def load_all(paths: Iterable[Path]) -> list[Scenario]:
    """All scenarios, or BadInput with the mistakes of all of them."""
    loaded: list[Scenario] = []
    mistakes: list[Mistake] = []
    for path in paths:
        try:
            loaded.append(load(path))
        except BadInput as error:
            mistakes += error.mistakes
    if mistakes:
        raise BadInput(mistakes)
    return loaded


def adjusted(
    scenario: Scenario, precog: str | None, autonomy: str | None, seed: int | None
) -> Scenario:
    """The scenario with what the command line says instead. Raises BadInput."""
    if precog is not None:
        check_named("--precog", precog, VARIANTS)
    if autonomy is not None:
        check_named("--autonomy", autonomy, AUTONOMY)
    workflow = replace(
        scenario.workflow,
        precog=precog or scenario.workflow.precog,
        autonomy=autonomy or scenario.workflow.autonomy,
    )
    return replace(scenario, workflow=workflow, seed=scenario.seed if seed is None else seed)


def check_networks(network: str, controller: str) -> None:
    """Raises BadInput if there is no such network or controller."""
    check_named("--network", network, NETWORKS)
    check_named("--controller", controller, CONTROLLERS)


def check_named(option: str, name: str, valid: Iterable[str]) -> None:
    """Raises BadInput, with what would have been right, if an option names what there is not."""
    known = tuple(valid)
    if name not in known:
        raise BadInput(f"{option}: there is no '{name}'; {choices(name, known)}")


def check_apart(scenarios: Sequence[Scenario]) -> None:
    """Raises BadInput if several have the same name, and so would have the same folder."""
    names = [scenario.name for scenario in scenarios]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInput(f"several scenarios are named {', '.join(twice)}; their folders would clash")


def check_size(scenario: Scenario) -> None:
    """Refuse what would not fit into memory, before it is begun."""
    wanted = telemetry_bytes(scenario)
    if wanted > MOST_TELEMETRY:
        raise BadInput(
            f"{scenario.name}: its telemetry would take {wanted / 2**30:.1f} GiB of memory, more "
            f"than {MOST_TELEMETRY / 2**30:.0f}; take fewer demands or shorter phases"
        )
