"""The kinds of changes that are tried, each with what writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from numpy.random import Generator

from shadowsim.history import link_changes as links
from shadowsim.history.link_changes import Script
from shadowsim.history.sites import Site

Writer = Callable[[Site, Generator], Script | None]

KINDS: Mapping[str, Writer] = {
    "drain": links.drain,
    "undrain": links.undrain,
    "recost": links.recost,
    "normalise costs": links.normalise,
    "capacity": links.capacity,
    "uncap": links.uncap,
    "maintenance": links.maintenance,
    "shut": links.shut,
    "open spare": links.open_spare,
    "retire": links.retire,
    "swap": links.swap,
    "large frames": links.jumbo,
    "empty device": links.empty_device,
    "describe": links.describe,
}


def written(site: Site, random: Generator) -> tuple[str, Script]:
    """A kind of change that can be made at this site, and a correct script of it."""
    kinds = list(KINDS)
    for place in random.permutation(len(kinds)):
        script = KINDS[kinds[place]](site, random)
        if script is not None:
            return kinds[place], script
    return "describe", Script("nothing to do", ())
