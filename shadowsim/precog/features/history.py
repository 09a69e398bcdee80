"""Counts of earlier changes at a site to how often such a change has failed there."""

from __future__ import annotations

from collections.abc import Iterable

from shadowsim.precog.features.feature import Feature, Values
from shadowsim.precog.past import Counts, Past

USUAL_RATE = 0.25  # of changes that fail, where nothing is known
SITE_WORTH = 4.0  # changes that the usual rate counts for against those of the site
WORTH = 2.0  # changes that the rate of the site counts for against those of a device, model, kind

_OF = {
    "device": "device that is changed",
    "model": "model of a device that is changed",
    "kind": "kind of command",
}
FEATURES = (
    Feature("history_changes", "changes", "earlier changes at the site"),
    Feature("history_failure_rate", "share", "of them failed, smoothed towards one in four"),
    *(
        feature
        for what, text in _OF.items()
        for feature in (
            Feature(
                f"history_{what}_failure_rate", "share",
                f"changes that failed, of the worst {text}, smoothed towards the site's",
            ),
            Feature(
                f"history_{what}_changes", "changes", f"earlier changes of the {text} known least"
            ),
        )
    ),
)  # fmt: skip


def values(
    past: Past, devices: Iterable[str], models: Iterable[str], kinds: Iterable[str]
) -> Values:
    """The values of FEATURES, for a change of these devices, of these models, with these commands.

    Rates are means of a beta distribution whose prior is worth some changes (Gelman et al.,
    Bayesian Data Analysis, 2.4).
    """
    changes, failed = past.total
    site = (failed + SITE_WORTH * USUAL_RATE) / (changes + SITE_WORTH)
    found = {"history_changes": float(changes), "history_failure_rate": site}
    for what, names, counts in (
        ("device", devices, past.by_device),
        ("model", models, past.by_model),
        ("kind", kinds, past.by_kind),
    ):
        found |= _rates(f"history_{what}", names, counts, site)
    return found


def _rates(prefix: str, names: Iterable[str], counts: Counts, site: float) -> Values:
    pairs = [counts.get(name, (0, 0)) for name in names]
    rates = [(failed + WORTH * site) / (changes + WORTH) for changes, failed in pairs]
    nan = float("nan")
    return {
        f"{prefix}_failure_rate": max(rates, default=nan),
        f"{prefix}_changes": float(min((changes for changes, _ in pairs), default=nan)),
    }
