"""The kinds of changes that are tried, each with what writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.random import Generator

from shadowsim.history import link_changes as links
from shadowsim.history import list_changes as lists
from shadowsim.history import route_changes as routes
from shadowsim.history.script import Script
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
    "block port": lists.block,
    "admit to database": lists.admit,
    "clean list": lists.clean,
    "new list": lists.new_list,
    "renew guard": lists.renew_guard,
    "move guard": lists.move_guard,
    "unbind list": lists.unbind,
    "remove list": lists.remove_list,
    "limit guests": lists.limit_guests,
    "limit hosts": lists.limit_hosts,
    "queues": lists.queues,
    "admit operators": lists.admit_noc,
    "renew management": lists.renew_management,
    "narrow management": lists.narrow_management,
    "close service": lists.close_service,
    "static route": routes.pin,
    "remove route": routes.unpin,
    "discard": routes.discard,
    "announce": routes.announce,
    "withdraw": routes.withdraw,
    "move service": routes.move_service,
    "refuse prefix": routes.refuse,
    "new filter": routes.new_filter,
    "reorder filter": routes.reorder_filter,
    "maximum-prefix": routes.maximum,
    "table size": routes.table,
}

# How often a kind is wanted where it can be, beside those of weight 1.
WEIGHTS: Mapping[str, float] = {
    "drain": 3.0,
    "undrain": 1.5,
    "recost": 2.0,
    "maintenance": 3.0,
    "shut": 2.0,
    "swap": 4.0,
    "empty device": 2.0,
    "capacity": 2.0,
    "clean list": 3.0,
    "admit to database": 2.0,
    "renew guard": 2.0,
    "move guard": 2.5,
    "renew management": 2.5,
    "narrow management": 1.5,
    "describe": 0.6,
    "queues": 0.6,
    "table size": 0.5,
    "close service": 0.5,
    "admit operators": 0.6,
}


def written(site: Site, random: Generator) -> tuple[str, Script]:
    """A kind of change that can be made at this site, and a correct script of it."""
    kinds, weights = list(KINDS), np.array([WEIGHTS.get(kind, 1.0) for kind in KINDS])
    for place in random.choice(len(kinds), len(kinds), replace=False, p=weights / weights.sum()):
        script = KINDS[kinds[place]](site, random)
        if script is not None:
            return kinds[place], script
    return "describe", Script("nothing to do", ())
