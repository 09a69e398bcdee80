"""A change to what nobody could see of its circumstances: faults, peaks, what only production has.

Times count from when the shadow is made; `change_s` is when the change comes to production.
"""

from __future__ import annotations

from dataclasses import dataclass

from numpy.random import Generator

from shadowsim.history.lines import one
from shadowsim.history.networks import bridges
from shadowsim.history.quirks import struck
from shadowsim.history.sites import Site, shut_cables
from shadowsim.model.change import Change, apply
from shadowsim.model.faults import Fault
from shadowsim.model.traffic import Profile
from shadowsim.scenario import Mirror, ShadowPlan, WorkflowPlan

PLAN = WorkflowPlan(baseline_s=15.0, shadow_s=15.0, soak_s=2.0, monitor_s=45.0, horizon_s=15.0)
PEAK, SURGE, BACKGROUND, SUBSET = "later peak", "later surge", "background", "subset"
LATENT, STORM, QUIRK = "latent", "retry storm", "production quirk"


@dataclass(frozen=True)
class Circumstances:
    """What stands around a change. `hidden` are the names of what the shadow cannot show."""

    profile: Profile
    faults: tuple[Fault, ...]
    shadow: ShadowPlan
    hidden: tuple[str, ...]


def circumstances(site: Site, change: Change, random: Generator) -> Circumstances:
    """Mostly none; sometimes one, seldom several."""
    change_s = production_s(change)
    found: dict[str, tuple[Fault, ...]] = {}
    profile, shadow = Profile(), ShadowPlan()
    if random.random() < 0.2:
        found[PEAK] = ()
        profile = Profile(steps=((_later(change_s, random), _peak(site, random)),))
    if random.random() < 0.08:
        found[SURGE] = (_surge(site, change_s, random),)
    if random.random() < 0.15:
        found[BACKGROUND] = (_background(site, change_s, random),)
    if random.random() < 0.12:
        found[SUBSET] = ()
        shadow = ShadowPlan("subset", Mirror(fraction=one(random, (0.5, 1.0))))
    if random.random() < 0.2 and (fault := _latent(site, change, change_s, random)):
        found[LATENT] = (fault,)
    if random.random() < 0.05:
        found[STORM] = (Fault("retry_storm", 0.0, amount=float(random.uniform(1.5, 3.0))),)
    misbehaving = struck(site.quirks, site.topology, change)
    if any(fault.network == "production" for fault in misbehaving):
        found[QUIRK] = ()
    faults = (*misbehaving, *(fault for faults in found.values() for fault in faults))
    ordered = tuple(sorted(faults, key=lambda fault: fault.at_s))
    return Circumstances(profile, ordered, shadow, tuple(found))


def production_s(change: Change) -> float:
    """About when the change comes to production, if the shadow lets it."""
    return PLAN.baseline_s + PLAN.shadow_s + (PLAN.soak_s + 0.5) * len(change.devices)


def _later(change_s: float, random: Generator) -> float:
    """A time at which the change has been in production for a while."""
    return round(change_s + float(random.uniform(5.0, 28.0)), 1)


def _peak(site: Site, random: Generator) -> float:
    """How much more there is at the peak: about what the links were bought for, seldom more."""
    busiest = float(site.share[: 2 * len(site.topology.links)].max())
    bounds = [limit.bound for limit in site.intents.limits if limit.metric == "utilisation"]
    room = min([0.98, *bounds]) / busiest
    return round(1.0 + (room - 1.0) * float(random.uniform(0.4, 1.1)), 3)


def _surge(site: Site, change_s: float, random: Generator) -> Fault:
    """Everybody wants something of one place, for a while."""
    to = one(random, sorted({demand.destination for demand in site.traffic.demands}))
    factor = round(float(random.uniform(1.5, 4.0)), 1)
    return Fault("traffic_surge", _later(change_s, random), 20.0, destination=to, amount=factor)


def _background(site: Site, change_s: float, random: Generator) -> Fault:
    """Something that would have happened anyway."""
    at_s = round(float(random.uniform(2.0, change_s + 35.0)), 1)
    for_s = round(float(random.uniform(3.0, 15.0)), 1)
    link = site.topology.links[one(random, site.used)]
    ends = (link.a, link.b)
    device = one(random, site.topology.devices).name
    return one(random, (
        Fault("link_loss", at_s, for_s, link=ends, amount=one(random, (0.01, 0.03, 0.1))),
        Fault("link_flap", at_s, for_s, link=ends, amount=1.0),
        Fault("link_delay", at_s, for_s, link=ends, amount=one(random, (0.005, 0.02, 0.06))),
        Fault("link_down", at_s, for_s, link=ends),
        Fault("cpu_hog", at_s, for_s, device=device, amount=one(random, (0.5, 0.8, 0.95))),
        Fault("telemetry_gap", at_s, for_s, device=device),
        Fault("traffic_surge", at_s, for_s, amount=one(random, (1.2, 1.5)), traffic_class="bulk"),
    ))  # fmt: skip


def _latent(site: Site, change: Change, change_s: float, random: Generator) -> Fault | None:
    """A link fails later that could be missed before the change, and after it perhaps not."""
    shut = shut_cables(site.topology, apply(site.configs, change.commands))
    needed = sorted(bridges(site.topology, shut) & {*site.free})
    touched = {*change.devices}
    near = [c for c in site.free if touched & {end[0] for end in site.ends(c)}]
    if not (needed or near):
        return None
    link = site.topology.links[one(random, needed or near)]
    return Fault("link_down", _later(change_s, random), link=(link.a, link.b))
