"""What a device holds beside what it should hold, to words for the difference."""

from __future__ import annotations

from shadowsim.dataplane.plane import Plane
from shadowsim.network.installed import astray, behind

SILENT = "they cannot be read: it does not answer"


def differ(**counts: int) -> str:
    """How many entries differ, by their plural: "3 flows, 1 group differ"; "" if none do."""
    found = [
        f"{count} {plural.removesuffix('s') if count == 1 else plural}"
        for plural, count in counts.items()
        if count
    ]
    alone = len(found) == 1 and 1 in counts.values()
    return f"{', '.join(found)} {'differs' if alone else 'differ'}" if found else ""


def not_as_compiled(installed: Plane, target: Plane) -> dict[str, str]:
    """The devices whose routes are not those of `target`, and how many differ."""
    return {
        target.topology.devices[number].name: differ(routes=astray(installed, target, number))
        for number in behind(installed, target).tolist()
    }
