"""The kinds of changes that are tried, each with what writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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


def written(site: Site, random: Generator) -> tuple[str, Script]:
    """A kind of change that can be made at this site, and a correct script of it."""
    kinds = list(KINDS)
    for place in random.permutation(len(kinds)):
        script = KINDS[kinds[place]](site, random)
        if script is not None:
            return kinds[place], script
    return "describe", Script("nothing to do", ())
