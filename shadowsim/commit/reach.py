"""How production is reached, as a commit has it written down, to its devices."""

from __future__ import annotations

from pathlib import Path

from shadowsim.commit.devices import Devices, FileDevices
from shadowsim.commit.disk import RealDisk
from shadowsim.commit.log import LogAltered
from shadowsim.commit.settle import Reach
from shadowsim.commit.terms import Terms

FILES = {"kind": "files"}
DEVICES = "devices"  # the folder, beside the logs, of a simulated production


def reach_in(folder: Path) -> Reach:
    """What finds the devices of the commit in this folder, whatever they run on; once only."""
    found: list[Devices] = []

    def devices(terms: Terms) -> Devices:
        if not found:
            found.append(_devices(terms, folder))
        return found[0]

    return devices


def _devices(terms: Terms, folder: Path) -> Devices:
    if terms.reach == FILES:
        return FileDevices(RealDisk(), folder / DEVICES)
    if terms.reach.get("kind") == "emulated":
        from shadowsim.commit.switches import EmulatedDevices

        return EmulatedDevices(terms.reach)
    raise LogAltered(f"{folder}: production is of no kind that is known here")
